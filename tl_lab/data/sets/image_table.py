"""Images listed in a table, with classes or findings, and a split that keeps the images of a patient together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.image_files import ImageFiles
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.inputs.table import cells_of
from tl_lab.data.samples import Samples
from tl_lab.data.sets.class_folders import find_folder
from tl_lab.data.sets.columns import check_columns, labels_of, sorted_labels
from tl_lab.data.sets.given_split import split_as_given
from tl_lab.data.sets.image_folder import ImageReading
from tl_lab.data.sets.roles import Roles, RowSplit, Shares, numbered, refuse_two_splits
from tl_lab.data.sets.table import file_of
from tl_lab.data.sets.table_files import read_table
from tl_lab.data.splits import group_split
from tl_lab.errors import UserError
from tl_lab.options import Count, Fraction, Limits
from tl_lab.problems import Findings, Problem, SingleLabel
from tl_lab.problems.findings import UNCERTAIN, UNKNOWN
from tl_lab.texts import listed

__all__ = ["ImageTable", "Reading"]

Reading = Literal["ignore", "zero", "one", "self_train"]
_READ_AS = {"ignore": UNKNOWN, "zero": 0, "one": 1, "self_train": UNCERTAIN}


class ImageTable(ImageReading, DataModule):
    """A table with one row per image: its file, and its class or its findings.

    Either each finding has its own column, which is 1, 0, -1 (uncertain) or empty (missing), as in CheXpert; or one
    column lists the findings that are present, as in ChestX-ray14.

    Args:
        path: path of the table, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        root: folder to which the files' names are relative; None for the folder of the table.
        image_column: name of the column with the files.
        label_column: name of the column with the class; None for findings.
        findings: names of the columns with one finding each; or, with ``finding_column``, the findings to use.
        finding_column: name of the column that lists findings; None if each finding has its own column.
        separator: separator of the findings in a cell.
        uncertain: how training treats an uncertain label: ``ignore``; as ``zero`` or ``one``; or ``self_train``, which
            replaces it by the network's current prediction. Except as ``zero`` and ``one``, such labels are not scored.
        missing: how a missing label is treated, with the same choices.
        patient_column: name of the column with the patient; None if each image is of a different patient.
        split_column: name of the column with ``train``, ``val`` and ``test``; None to split by ``split``.
        group_column: name of the column with the group of each image for audits, such as sex, age band or view, or a
            list of columns whose values are combined; None if there are no groups.
        domain_column: name of the column with the domain of each image, such as the hospital, or a list of columns
            whose values are combined; None if there are no domains.
        time_column: name of a column with numbers or dates, or a list (a date and a time of day); None if there are no
            times.
        split: ``random``, stratified by class or, with ``patient_column``, with all images of a patient in one part;
            ``group``: at random, with all images of a group in one part; or ``time``: the earliest images are for
            training, the latest for test.
        view_column: name of the column with the view; None if there is none.
        views: views to keep; None for all.
        val_share: share of all images, or of the training images if a column gives the test, for validation.
        test_share: share of all images for test.
        unreadable: what to do with images that cannot be decoded: ``stop``, or ``skip`` them and report them in
            ``notes``.
        size: height and width in pixels, for a backbone without a fixed size.
        channels: 1 (grey) or 3 (RGB), for a backbone without a fixed number of channels.
        levels: values displayed as black and white, for images of more than 8 bits; None for the window of DICOM files,
            and for other files 0 and the largest value of the smallest usual range.
        encoding: encoding of a text file.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.
    """

    place_options = ("path", "root")
    screens = True

    def __init__(
        self,
        *,
        path: str | None = None,
        root: str | None = None,
        image_column: str = "path",
        label_column: str | None = None,
        findings: Sequence[str] = (),
        finding_column: str | None = None,
        separator: str = "|",
        uncertain: Reading = "ignore",
        missing: Reading = "ignore",
        patient_column: str | None = None,
        split_column: str | None = None,
        group_column: str | Sequence[str] | None = None,
        domain_column: str | Sequence[str] | None = None,
        time_column: str | Sequence[str] | None = None,
        split: RowSplit = "random",
        view_column: str | None = None,
        views: Sequence[str] | None = None,
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        unreadable: Literal["stop", "skip"] = "stop",
        size: Count = 224,
        channels: Literal[1, 3] = 1,
        levels: Limits | None = None,
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.shares = Shares(val_share, test_share, self.seed)
        self.roles = Roles(group_column, domain_column, time_column, split)
        refuse_two_splits(split, split_column=split_column, patient_column=patient_column)
        self.set_reading(unreadable, size, channels, levels)
        if (label_column is None) == (not findings):
            raise UserError(
                "set either data.label_column (the column with the class) or data.findings (the findings), not both"
            )
        if views is not None and view_column is None:
            raise UserError("data.views requires the column with the view: set data.view_column")
        self.path, self.root, self.image_column, self.encoding = path, root, image_column, encoding
        self.label_column, self.findings = label_column, list(findings)
        self.finding_column, self.separator = finding_column, separator
        self.uncertain, self.missing = uncertain, missing
        self.patient_column, self.split_column = patient_column, split_column
        self.view_column, self.views = view_column, None if views is None else list(views)
        self.problem_kind = self.problem_for({"label_column": label_column})
        self.problem = self.problem_kind(())
        self.column_values: dict[str, list[str]] = {}

    @classmethod
    def problem_for(cls, node: Mapping[str, Any]) -> type[Problem]:
        """Return the problem: classification if there is a column with the class, and otherwise findings."""
        return SingleLabel if node.get("label_column") else Findings

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width for a backbone that does not define a size."""
        return self.channels, self.size, self.size

    # ------------------------------------------------------------------ reading

    def read(self) -> dict[str, Samples]:
        """Read the table, check the images, and split them by patient."""
        place = file_of(self.path)
        self.contents = []
        table = self._views(self.prepared(read_table(place, self.encoding), place), place)
        named = {"image_column": self.image_column, "patient_column": self.patient_column}
        for option, name in {**named, "split_column": self.split_column}.items():
            if name is not None:
                check_columns(table, option, [name], place)
        y = self._classes(table, place) if self.findings == [] else self._findings(table, place)
        root = place.parent if self.root is None else find_folder(self.root, "data.root")
        files = ImageFiles(root, cells_of(table[self.image_column]).tolist())
        seen = self.examined(files, torch.arange(len(table)), self.class_names)
        assert seen.y is not None
        rows = seen.y
        patients = self._patients(table)[rows]
        columns, values = self.roles.read(table, place)
        self.column_values |= values
        columns = {name: column[rows] for name, column in columns.items()}
        whole = Samples(seen.x, y[rows], columns={"patient": patients, **columns})
        self.contents += [str(y[rows].tolist()), *self.roles.content(columns)]
        sets = self._parts(whole, table.iloc[rows.numpy()], place)
        return self.levelled({name: self._scored(name, samples) for name, samples in sets.items()}, root)

    def prepared(self, table: pd.DataFrame, place: Path) -> pd.DataFrame:
        """Add columns that are derived from others; a hook for subclasses."""
        return table

    def _views(self, table: pd.DataFrame, place: Path) -> pd.DataFrame:
        if self.views is None:
            return table
        assert self.view_column is not None
        check_columns(table, "view_column", [self.view_column], place)
        views = cells_of(table[self.view_column])
        if unknown := [view for view in self.views if view not in set(views)]:
            raise UserError(f"data.views: {place} has no view {unknown[0]!r}; valid: {listed(sorted(set(views)))}")
        kept = table[views.isin(self.views)].reset_index(drop=True)
        self.notes.append(f"{len(kept):,} of {len(table):,} images, those of the views {listed(self.views)}")
        return kept

    def _classes(self, table: pd.DataFrame, place: Path) -> Tensor:
        assert self.label_column is not None
        check_columns(table, "label_column", [self.label_column], place)
        labels = labels_of(cells_of(table[self.label_column]), self.label_column, place)
        self.class_names = sorted_labels(labels)
        return torch.tensor([self.class_names.index(label) for label in labels])

    def _findings(self, table: pd.DataFrame, place: Path) -> Tensor:
        """Read findings as ``(N, L)`` with the values 0, 1, unknown and uncertain."""
        self.class_names = list(self.findings)
        if self.finding_column is not None:
            check_columns(table, "finding_column", [self.finding_column], place)
            cells = cells_of(table[self.finding_column]).map(
                lambda cell: {w.strip() for w in cell.split(self.separator)}
            )
            return torch.tensor([[float(name in found) for name in self.findings] for found in cells])
        check_columns(table, "findings", self.findings, place)
        meaning = {"": _READ_AS[self.missing], "-1": _READ_AS[self.uncertain], "0": 0, "1": 1}
        columns = []
        for name in self.findings:
            cells = cells_of(table[name]).map(lambda cell: cell.removesuffix(".0"))
            if (wrong := ~cells.isin(list(meaning))).any():
                row = int(wrong.to_numpy().argmax())
                raise UserError(
                    f"{place}: the finding {name!r} is {cells.iloc[row]!r} in row {row + 1}: findings must be 1, 0, -1 "
                    "(uncertain) or empty (missing)"
                )
            columns.append(torch.tensor([float(meaning[cell]) for cell in cells]))
        return torch.stack(columns, 1)

    def _scored(self, name: str, samples: Samples) -> Samples:
        """Make uncertain labels unknown in validation and test, because only training uses them."""
        if name == "train" or samples.y is None or self.problem_kind.numbers_outputs:
            return samples
        return replace(samples, y=samples.y.clamp(min=UNKNOWN))

    # ------------------------------------------------------------------ patients

    def _patients(self, table: pd.DataFrame) -> Tensor:
        if self.patient_column is None:
            return torch.arange(len(table))
        codes, self.column_values["patient"] = numbered(table[self.patient_column])
        return codes

    def _parts(self, whole: Samples, table: pd.DataFrame, place: Path) -> dict[str, Samples]:
        patients, shares = whole.columns["patient"], self.shares
        if self.split_column is not None:
            names = self.column_values["patient"] if self.patient_column else None
            return split_as_given(
                whole,
                cells_of(table[self.split_column]).tolist(),
                patients,
                names,
                "patient",
                column=self.split_column,
                place=place,
                val_share=shares.val,
                seed=shares.seed,
            )
        classes = self.problem_kind.numbers_outputs
        if self.roles.split != "random" or (self.patient_column is None and classes):
            return self.roles.parts(whole, shares, self.class_names if classes else None)
        kind, wanted = "patients" if self.patient_column else "images", {"val": shares.val, "test": shares.test}
        index = group_split(patients, wanted, shares.seed, kind)
        return {name: whole.subset(places) for name, places in index.items()}

    def use(self, spec: InputSpec) -> None:
        """Decode the images for the backbone, or leave this to the workers if there are many."""
        super().use(spec)
        assert isinstance(spec, ImageSpec)
        self.note_sizes(self.sets, spec)
