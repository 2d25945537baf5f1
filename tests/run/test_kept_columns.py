"""Columns of a table of inputs in the file of its predictions."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest

from tl_lab.errors import UserError
from tl_lab.run import inference
from tl_lab.run.inference import Predictions, predict_to_csv
from tl_lab.run.kept_columns import kept_columns

TABLE = "id, date,text,label,input\n007,,=a,old,x\n8,2020,b,,y\n9,2021,c,new,z\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    path.write_text(TABLE)
    return path


def test_cells_are_copied_as_they_stand(table: Path) -> None:
    assert kept_columns([table], [], {}) == {}
    assert kept_columns([table], ["date", "id"], {}) == {"date": ["", "2020", "2021"], "id": ["007", "8", "9"]}
    assert [*kept_columns([table], ["l*", "*"], {})] == ["label", "id", "date", "text", "input"]


def test_brackets_of_a_name_are_no_pattern(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a[1],a1\n5,6\n")
    assert kept_columns([path], ["a[1]"], {}) == {"a[1]": ["5"]}


def test_only_a_single_table_has_columns(table: Path, tmp_path: Path) -> None:
    for inputs in ([tmp_path], [table, table], [tmp_path / "a.png"]):
        with pytest.raises(
            UserError, match=r"^--keep: columns are copied from a table .*, which must be the only input"
        ):
            kept_columns(inputs, ["id"], {})
    with pytest.raises(UserError, match="no column 'idd'; did you mean 'id'"):
        kept_columns([table], ["idd"], {})


@pytest.mark.parametrize("header", ["id,id,text", "id, id,text"])
def test_columns_of_one_name_are_refused(header: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{header}\n1,2,a\n")
    for patterns in (["id"], ["text", "i*"]):
        with pytest.raises(UserError) as refused:
            kept_columns([path], patterns, {})
        assert str(refused.value) == f"--keep: {path} has several columns called 'id': rename them"
    assert kept_columns([path], ["text"], {}) == {"text": ["a"]}


class Fixed(SimpleNamespace):
    """A model that predicts the same labels for each batch of two."""

    def predict_batches(self, given: object, **_: object) -> object:
        for names in self.batches:
            yield Predictions(["p"] * len(names), None, None, None, names)  # type: ignore[arg-type]


def fixed(batches: list[list[str]]) -> Fixed:
    problem = SimpleNamespace(of_words=True, columns=lambda _: {})
    return Fixed(batches=batches, reading={}, problem=problem)


def test_rows_are_joined_over_batches(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "load_classifier", lambda *_, **__: fixed([["0", "1"], ["2"]]))
    path = predict_to_csv(tmp_path, table, tmp_path / "out.csv", keep=["*"])
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["input file", "id", "date", "text", "input label", "input", "label"],
        ["0", "007", "", "'=a", "old", "x", "p"],
        ["1", "8", "2020", "b", "", "y", "p"],
        ["2", "9", "2021", "c", "new", "z", "p"],
    ]
    monkeypatch.setattr(inference, "load_classifier", lambda *_, **__: fixed([["0", "1"]]))
    with pytest.raises(UserError, match="2 predictions do not match the 3 rows"):
        predict_to_csv(tmp_path, table, tmp_path / "short.csv", keep=["id"])
    monkeypatch.setattr(inference, "load_classifier", lambda *_, **__: fixed([["0", "1"], ["2", "3"]]))
    with pytest.raises(UserError, match=r"^4 or more predictions do not match the 3 rows to keep$"):
        predict_to_csv(tmp_path, table, tmp_path / "long.csv", keep=["id"])
    assert not (tmp_path / "short.csv").exists()
    assert not (tmp_path / "long.csv").exists()
    with pytest.raises(UserError, match="leave --skip-unreadable out"):
        predict_to_csv(tmp_path, table, keep=["id"], skip_unreadable=True)
