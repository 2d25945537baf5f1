"""Questions about passages as inputs of a prediction: SQuAD's format, tables, or Passage objects."""

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_lab.data.encodings import read_text
from tl_lab.errors import UserError, no_column
from tl_lab.functional.answers import Passage, words_in
from tl_lab.texts import printable

if TYPE_CHECKING:
    from tl_lab.run.inference import TrainedModel

__all__ = ["passages_in", "read_passages"]

_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
_FORMS = (
    "a file in SQuAD's format (.json), a table with the columns question and context (.csv, .tsv, .jsonl, .parquet)"
)


def read_passages(given: Any, model: "TrainedModel", batch_size: int) -> Iterator[tuple[list[str], Any, list[Passage]]]:
    """Read questions with their passages in batches.

    Args:
        given: a file in SQuAD's format, a table with the columns ``question`` and ``context``, a
            :class:`~tl_lab.functional.answers.Passage`, or a list of files, or of passages, or of pairs of question and
            context.
        model: provides the tokeniser.
        batch_size: questions in a batch.

    Yields:
        Names, inputs and passages.

    Raises:
        UserError: there are no questions, or a file is in another format.
    """
    if isinstance(given, str | os.PathLike | Passage):
        given = [given]
    named: list[tuple[str, Passage]] = []
    for one in given:
        if isinstance(one, str | os.PathLike):
            named += passages_in(Path(one))
        elif isinstance(one, tuple) and len(one) in (2, 3) and all(isinstance(text, str) for text in one[:2]):
            number = str(len(named))
            named.append((number, _checked(one[0], one[1], f"question {number}")))
        else:
            raise UserError(f"questions must be {_FORMS}, or Passage objects, not {type(one).__name__}")
    if not named:
        raise UserError("the list of questions is empty")
    spec: Any = model.spec
    cut = 0
    for start in range(0, len(named), batch_size):
        part = named[start : start + batch_size]
        x = spec.fit([passage for _, passage in part])
        cut += int((x["first"].ge(0).sum(1) < x["words"]).sum())
        yield [name for name, _ in part], x, [passage for _, passage in part]
    if cut:
        warnings.warn(
            f"{cut:,} of {len(named):,} passages were cut to {spec.max_length} tokens, and later answers are lost",
            stacklevel=2,
        )


def passages_in(path: Path) -> list[tuple[str, Passage]]:
    """Read the questions of a file, each with its id, or else its number from 0.

    Raises:
        UserError: the file is absent, is in another format, or lacks a question or a passage.
    """
    from tl_lab.data.sets.table_files import refuse_spreadsheet

    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {kind}: questions are read from {_FORMS}")
    if path.suffix.lower() == ".json":
        found = _of_squad(path)
    elif path.suffix.lower() in _TABLES:
        found = _of_table(path)
    else:
        refuse_spreadsheet(path)
        raise UserError(f"{path} contains no questions that can be read: give {_FORMS}")
    if not found:
        raise UserError(f"{path} contains no questions")
    return found


def _of_squad(path: Path) -> list[tuple[str, Passage]]:
    found: list[tuple[str, Passage]] = []
    try:
        articles = json.loads(read_text(path, "utf-8-sig"))["data"]
        for paragraph in (one for article in articles for one in article["paragraphs"]):
            for asked in paragraph["qas"]:
                name = printable(str(asked.get("id", len(found))))
                found.append((name, _checked(asked["question"], paragraph["context"], f"{path}, question {name}")))
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is not a file of questions in SQuAD's format ({reason})") from error
    return found


def _of_table(path: Path) -> list[tuple[str, Passage]]:
    from tl_lab.data.sets.table_files import read_table

    table = read_table(path, option=None)
    for name in ("question", "context"):
        if name not in table.columns:
            raise no_column(path, name, table.columns)
    ids = table["id"].astype(str).tolist() if "id" in table.columns else [str(i) for i in range(len(table))]
    rows = zip(ids, table["question"].tolist(), table["context"].tolist(), strict=True)
    return [
        (printable(name), _checked(question, context, f"{path}, row {i}"))
        for i, (name, question, context) in enumerate(rows, 1)
    ]


def _checked(question: Any, context: Any, where: str) -> Passage:
    """Build a passage.

    Raises:
        UserError: question or context contains no word.
    """
    for name, text in (("question", question), ("context", context)):
        if not isinstance(text, str) or not words_in(text):
            raise UserError(f"{where}: its {name} is empty")
    return Passage(question, context, ())
