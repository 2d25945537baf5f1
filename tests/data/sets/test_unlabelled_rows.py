"""Rows of a user's table without a label: refused with their numbers, or left out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tl_lab.data.inputs.stored_texts import StoredTexts
from tl_lab.data.sets.table import Table
from tl_lab.data.sets.text_table import TextTable
from tl_lab.errors import UserError

EMPTY = [3, 11, 12]


def rows(labels: list[object]) -> pd.DataFrame:
    number = np.arange(len(labels))
    groups = [f"g{i // 4}" for i in number]
    return pd.DataFrame({"text": [f"film {i}" for i in number], "size": number * 1.5, "g": groups, "label": labels})


def written(folder: Path, kind: str, labels: list[object]) -> tuple[str, str]:
    """Write a table with empty labels, and the same table without these rows."""
    whole = rows(labels)
    whole.loc[EMPTY, "label"] = None
    paths = [str(folder / f"{name}.{kind}") for name in ("whole", "filled")]
    for path, table in zip(paths, (whole, whole.drop(EMPTY)), strict=True):
        if kind == "csv":
            table.to_csv(path, index=False)
        else:
            table.to_json(path, orient="records", lines=True)
    return paths[0], paths[1]


def sets_of(kind: type, path: str, **options: object) -> dict:
    data = kind(path=path, seed=1, **options)
    data.load()
    return data.sets


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (["bad", "good"] * 20, {}),
        (["bad", "good"] * 20, {"group_column": "g", "split": "group"}),
        ([i / 8 for i in range(40)], {"predict": "numbers"}),
    ],
)
@pytest.mark.parametrize("kind", [Table, TextTable])
def test_a_table_is_read_as_without_its_unlabelled_rows(
    kind: type, labels: list[object], options: dict, ending: str, tmp_path: Path
) -> None:
    whole, filled = written(tmp_path, ending, labels)
    given = {**options, "drop": ["text"]} if kind is Table else options
    expected, found = sets_of(kind, filled, **given), sets_of(kind, whole, unlabelled="skip", **given)
    for name, samples in expected.items():
        assert len(found[name]) == len(samples)
        assert found[name].y.tolist() == samples.y.tolist()
        if kind is Table:
            assert all(found[name].x[key].equal(samples.x[key]) for key in samples.x)
        else:
            assert found[name].x.items == samples.x.items


def test_a_table_in_files_leaves_the_same_rows_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    whole, _ = written(tmp_path, "csv", ["bad", "good"] * 20)
    memory, files = (sets_of(TextTable, whole, unlabelled="skip", lazy=lazy) for lazy in (False, True))
    for name, samples in memory.items():
        assert files[name].y.tolist() == samples.y.tolist()
        assert isinstance(files[name].x, StoredTexts)
        assert files[name].x.digests() == samples.x.digests()


@pytest.mark.parametrize("kind", [Table, TextTable])
def test_the_rows_are_named_or_counted(kind: type, tmp_path: Path) -> None:
    whole, _ = written(tmp_path, "csv", ["bad", "good"] * 20)
    message = r"the label \(label\) is empty in 3 rows of 40 \(4, 12, 13\): fill or .*, or set data\.unlabelled=skip to"
    with pytest.raises(UserError, match=message):
        kind(path=whole).load()
    data = kind(path=whole, unlabelled="skip")
    data.load()
    assert "3 rows of 40 left out, because they have no label" in data.notes
    blank = rows(["bad", "good"]).assign(label=" ")
    blank.to_csv(tmp_path / "blank.csv", index=False)
    with pytest.raises(UserError, match=r"the label \(label\) is empty in 2 rows of 2$"):
        kind(path=str(tmp_path / "blank.csv"), unlabelled="skip").load()


def test_a_row_needs_all_of_several_labels(tmp_path: Path) -> None:
    marks = pd.DataFrame({"size": range(20), "wet": [0, 1] * 10, "hot": [1, 1, 0, 0] * 5}).astype(object)
    marks.loc[2, "wet"] = marks.loc[5, "hot"] = ""
    marks.to_csv(tmp_path / "t.csv", index=False)
    data = Table(path=str(tmp_path / "t.csv"), label_column=["wet", "hot"], unlabelled="skip")
    data.load()
    assert sum(len(samples) for samples in data.sets.values()) == 18


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_messages_count_the_rows_of_the_file(ending: str, tmp_path: Path) -> None:
    def refused(kind: type, column: str, value: str, **options: object) -> str:
        table = rows([str(i / 8) for i in range(40)]).astype(str).set_index(pd.Index(range(100, 140)))
        table.iloc[EMPTY, table.columns.get_loc("label")] = ""
        table.iloc[20, table.columns.get_loc(column)] = value
        path = tmp_path / f"t.{ending}"
        table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path)
        with pytest.raises(UserError) as error:
            kind(path=str(path), unlabelled="skip", predict="numbers", **options).load()
        return str(error.value).removeprefix(f"{path}: ")

    for kind in (Table, TextTable):
        assert refused(kind, "label", "many") == "column 'label' has 'many' in row 21, which is not a number"
    assert refused(Table, "size", "big").startswith("column 'size' contains numbers and words ('big' in row 21): ")
    assert refused(Table, "size", "inf", drop=["text"]) == "column 'size' has 'inf' in row 21, which is not a number"


def test_marks_are_named_by_the_rows_of_the_file(tmp_path: Path) -> None:
    marks = pd.DataFrame({"size": range(20), "wet": [0, 1] * 10, "hot": [1, 1, 0, 0] * 5}).astype(object)
    marks.loc[2, "wet"], marks.loc[9, "hot"] = "", 3
    marks.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match="column 'hot' has '3' in row 10: several columns in data"):
        Table(path=str(tmp_path / "t.csv"), label_column=["wet", "hot"], unlabelled="skip").load()
