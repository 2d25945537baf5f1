"""Texts from a table of the user, with label columns for several tasks, in which cells may be empty."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tl_lab.data.request import Request
from tl_lab.data.roots import places_of
from tl_lab.data.samples import Samples
from tl_lab.data.sets.columns import check_columns
from tl_lab.data.sets.roles import Roles, RowSplit, Shares
from tl_lab.data.sets.tasks import TasksInBatches
from tl_lab.data.sets.text_table import texts_and_others
from tl_lab.errors import UserError, nearest
from tl_lab.options import Fraction
from tl_lab.problems import MultiLabel, Problem, Regression, Several, SingleLabel
from tl_lab.texts import counted

__all__ = ["TasksOfTable"]

_KINDS = ("classes", "numbers")


class TasksOfTable(TasksInBatches):
    """A table whose rows have one or two texts and labels of several tasks; an empty cell is a missing label.

    Args:
        path: path of the file, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        text_column: name of the column with the text; a list of two columns for pairs of texts.
        tasks: kind of each task by its name: ``classes`` or ``numbers`` if the column of this name contains them, or a
            list of columns with 0 and 1 for a multi-label task.
        group_column: name of the column with the group of each sample, or a list of columns whose cells are
            combined; None if there are no groups.
        domain_column: name of the column with the domain of each sample, or such a list; None if there are no domains.
        time_column: name of a column with numbers or dates, or a list (a date and a time of day); None if there are no
            times.
        split: ``random``; ``group``: at random, with all rows of a group in one part; or ``time``: the earliest rows
            are for training, the latest for test.
        val_share: share of all rows for validation.
        test_share: share of all rows for test.
        encoding: encoding of a text file.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.

    Raises:
        UserError: an option is missing, or two tasks use the same column; from :meth:`load`: a column is missing, or a
            cell is not a label of its task.
    """

    modality = "text"
    place_options = ("path",)

    def __init__(
        self,
        *,
        path: str | None = None,
        text_column: str | Sequence[str] = "text",
        tasks: Mapping[str, str | Sequence[str]] | None = None,
        group_column: str | Sequence[str] | None = None,
        domain_column: str | Sequence[str] | None = None,
        time_column: str | Sequence[str] | None = None,
        split: RowSplit = "random",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.shares, self.column_values = Shares(val_share, test_share, self.seed), dict[str, list[str]]()
        self.roles = Roles(group_column, domain_column, time_column, split)
        if path is None:
            raise UserError("data.path is not set: give the table")
        if not tasks:
            raise UserError(
                "data.tasks must define the tasks, as in {topic: classes, stars: numbers, tone: [polite, formal]}"
            )
        self.path, self.encoding, self.wanted = path, encoding, dict(tasks)
        self.text_columns = [text_column] if isinstance(text_column, str) else [*text_column]
        self._shape = ()
        used: list[str] = []
        for task, kind in self.wanted.items():
            if isinstance(kind, str) and kind not in _KINDS:
                raise UserError(
                    f"data.tasks.{task}={kind} must be classes, numbers or a list of columns; {nearest(kind, _KINDS)}"
                )
            used += [task] if isinstance(kind, str) else [*kind]
        if twice := [name for i, name in enumerate(used) if name in used[:i]]:
            raise UserError(f"data.tasks uses the column {twice[0]!r} in two tasks: use each column in one task only")

    @property
    def reading(self) -> dict[str, Any]:
        """Return the columns with the texts and the encoding."""
        return {"text_column": self.text_columns, "encoding": self.encoding}

    def load(self, request: Request | None = None) -> None:
        """Read the table; the shape of texts is ``()``."""
        super().load(request)
        self._shape = ()

    def read(self) -> dict[str, Samples]:
        """Read the table, drop rows without any label, and split the others."""
        path = next((place for place in places_of(self.path) if place.is_file()), None)
        if path is None:
            raise UserError(f"data.path: there is no file {' or '.join(map(str, places_of(self.path)))}")
        wanted = [(f"tasks.{task}", _columns(task, kind)) for task, kind in self.wanted.items()]
        texts, table = texts_and_others(self, path, self.encoding, self.text_columns, [*wanted, *self.roles.named])
        problems, columns = {}, []
        for task, kind in self.wanted.items():
            names = _columns(task, kind)
            check_columns(table, f"tasks.{task}", names, path)
            problems[task], labels = _labels(table[names].astype(object), kind, f"{path}, column")
            columns.append(labels)
        self.several = Several(tasks=problems)
        self.class_names = list(self.several.output_names)
        y = torch.cat(columns, 1)
        kept = self.several.known(y).any(1)
        if not bool(kept.all()):
            self.notes.append(f"{int((~kept).sum()):,} of {len(y):,} rows have no label and were dropped")
        known, self.column_values = self.roles.read(table, path)
        self.contents = [Samples(texts, y).subset(kept.nonzero()[:, 0]).fingerprint(), *self.roles.content(known)]
        samples = Samples(texts, y, columns=known).subset(kept.nonzero()[:, 0])
        sets = self.roles.parts(samples, self.shares, None)
        return {**sets, "test": self.few_tested(sets["test"], "table")}


def _columns(task: str, kind: str | Sequence[str]) -> list[str]:
    return [task] if isinstance(kind, str) else list(kind)


def _labels(cells: pd.DataFrame, kind: str | Sequence[str], where: str) -> tuple[Problem, Tensor]:
    """Read the columns of one task; return its problem, and labels ``(N, W)`` with NaN for empty cells."""
    texts = cells.map(lambda value: "" if value is None or value != value else str(value).strip())
    if kind == "classes":
        column = texts.iloc[:, 0]
        names = sorted(set(column) - {""})
        if len(names) < 2:
            raise UserError(
                f"{where} {cells.columns[0]!r}, has {counted(len(names), 'class', 'classes')}: at least two are needed"
            )
        numbers = {name: float(i) for i, name in enumerate(names)}
        return SingleLabel(names), torch.tensor([[numbers.get(cell, torch.nan)] for cell in column])
    columns = []
    for name in texts:
        values = pd.to_numeric(texts[name].where(texts[name] != ""), errors="coerce")
        wrong = (values.isna() & (texts[name] != "")) | (values.notna() & ~values.isin([0, 1]) & (kind != "numbers"))
        if bool(wrong.any()):
            row = int(wrong.to_numpy().argmax())
            needed = "a number" if kind == "numbers" else "0 or 1"
            raise UserError(f"{where} {name!r}, row {row + 1}, has {texts[name].iloc[row]!r}, which is not {needed}")
        columns.append(torch.tensor(values.to_numpy(dtype="float32")))
    names = list(map(str, cells.columns))
    return (Regression(names) if kind == "numbers" else MultiLabel(names)), torch.stack(columns, 1)
