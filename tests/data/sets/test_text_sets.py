"""Sets of texts: the user's own tables, SST-2 and TREC."""

import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from tl_lab.data.inputs.tokenisers import Words
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.data.sets.table_files import read_table
from tl_lab.data.sets.text import Sst2, Trec
from tl_lab.data.sets.text_table import TextTable
from tl_lab.errors import UserError
from tl_lab.run.given import read_given

ROWS = {"review": [f"film {i}" for i in range(40)], "stars": [str(1 + i % 3 * 5) for i in range(40)], "id": [*"x" * 40]}
ROOT = Path(os.environ.get("TL_LAB_DATA", ""))
real = pytest.mark.skipif(not (ROOT / "text").is_dir(), reason="TL_LAB_DATA with the folder text is not here")


def write(folder: Path, kind: str) -> Path:
    path, table = folder / f"reviews.{kind}", pd.DataFrame(ROWS)
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        table.to_parquet(path)
    elif kind == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, sep="," if kind == "csv" else "\t", index=False)
    return path


def table(path: Path, **options) -> TextTable:
    data = TextTable(path=str(path), **{"text_column": "review", "label_column": "stars", **options})
    data.load()
    return data


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_table_gives_the_same_sets(kind: str, tmp_path: Path) -> None:
    data, expected = table(write(tmp_path, kind)), table(write(tmp_path, "csv"))
    assert data.class_names == ["1", "6", "11"]  # numbers by their value
    assert {name: len(samples) for name, samples in data.sets.items()} == {"train": 28, "val": 4, "test": 8}
    assert data.fingerprint() == expected.fingerprint()
    train = data.sets["train"]
    assert all(
        ROWS["stars"][int(text[5:])] == data.class_names[y] for text, y in zip(train.x.items, train.y, strict=True)
    )


def test_two_columns_are_pairs(tmp_path: Path) -> None:
    assert table(write(tmp_path, "csv"), text_column=["review", "id"]).sets["test"].x.items[0][1] == "x"


def test_predictions_read_the_columns_that_training_read(tmp_path: Path) -> None:
    path = write(tmp_path, "tsv")
    words = Words(["film"])
    model = SimpleNamespace(spec=TokenSpec(words.size, 3, 0, words), reading=table(path).reading)
    (batch,) = read_given(path, model)
    assert batch.names == [str(i) for i in range(40)]
    assert batch.x["ids"][7].tolist() == [2, 1]  # film 7
    (batch,) = read_given(["film", "a film"], model)
    assert batch.x["ids"].tolist() == [[2, 0], [1, 2]]
    with pytest.raises(UserError, match="no column 'text'"):
        next(read_given(path, SimpleNamespace(spec=model.spec, reading={})))


def test_fewer_test_samples_are_drawn_by_seed(tmp_path: Path) -> None:
    path = write(tmp_path, "csv")
    drawn = [table(path, test_count=3, seed=0).sets["test"].x.items for _ in range(2)]
    whole = table(path, seed=0).sets["test"].x.items
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 3
    assert set(drawn[0]) < set(whole)
    with pytest.raises(UserError, match="test_count=9 is more than the 8 samples of test"):
        table(path, test_count=9)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("review,stars\na,1\n", {"text_column": "reviw"}, r"text_column: .* no column 'reviw'; did you mean 'review'"),
        ("review,stars\na,1\n", {"label_column": "star"}, r"label_column: .* no column 'star'; did you mean 'stars'"),
        ("review,stars\n ,1\na,2\n", {}, r"column 'review' is empty in 1 of 2 rows \(1\)"),
        ("review,stars\na,\na,2\n", {}, r"label \(stars\) is empty in 1 row of 2 \(1\): .* data\.unlabelled=skip"),
        ("review,stars\na,2\nb,2\n", {}, r"has a single class, '2'"),
        ("review,stars\na,2\nb,2,3\n", {}, r"cannot be read as a table"),
    ],
)
def test_a_wrong_table_is_refused_in_one_sentence(content: str, options: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        table(path, **options)


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("review,stars\ncafé,1\n".encode("latin-1"))
    with pytest.raises(
        UserError, match=r"byte 16 is 0xe9, .*: set data\.encoding to the file.s, such as data\.encoding=latin-1$"
    ):
        read_table(path)
    assert read_table(path, "latin-1")["review"].tolist() == ["café"]
    path.write_bytes("review,stars\ncafé,1\n".encode("utf-8-sig"))
    assert [*read_table(path).columns] == ["review", "stars"]


def test_a_table_that_is_absent_or_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        table(tmp_path / "absent.csv")
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(
        UserError, match=r"t\.xlsx is a spreadsheet, and tables end in \.csv, .*: save the sheet as CSV"
    ):
        table(tmp_path / "t.xlsx")
    (tmp_path / "t.doc").touch()
    with pytest.raises(
        UserError, match=r"^data\.path: .*t\.doc ends in \.doc, but tables end in .*: convert or rename it$"
    ):
        table(tmp_path / "t.doc")


def test_a_wrong_label_is_named_with_its_row_below_the_header(tmp_path: Path) -> None:
    place = tmp_path / "text" / "sst2"
    place.mkdir(parents=True)
    (place / "train.tsv").write_text("label\tsentence\n1\tgood\n7\tbad\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"row 2, has the label '7'"):
        Sst2(root=tmp_path).load()


@real
@pytest.mark.real_data
def test_sst2_has_the_published_sizes() -> None:
    data = Sst2()
    data.load()
    assert {name: len(samples) for name, samples in data.sets.items()} == {"train": 67349, "val": 872, "test": 1821}
    assert torch.bincount(data.sets["test"].y).tolist() == [912, 909]
    assert data.sets["val"].x.items[0] == "one long string of cliches ."


@real
@pytest.mark.real_data
def test_trecs_classes_are_named_rightly() -> None:
    coarse, fine = Trec(), Trec(fine=True)
    for data in (coarse, fine):
        data.load()
    sizes = [{name: len(samples) for name, samples in data.sets.items()} for data in (coarse, fine)]
    assert sizes == [{"train": 4907, "val": 545, "test": 500}, {"train": 4898, "val": 546, "test": 499}]
    assert len(fine.class_names) == 50
    of = dict(zip(fine.sets["test"].x.items, fine.sets["test"].y.tolist(), strict=True))
    heads = {"DESC": "description", "ENTY": "entity", "ABBR": "abbreviation", "HUM": "human", "LOC": "location"}
    agree = Counter(
        heads.get(fine.class_names[of[text]].partition(":")[0], "number") == coarse.class_names[y]
        for text, y in zip(coarse.sets["test"].x.items, coarse.sets["test"].y.tolist(), strict=True)
        if text in of
    )
    assert agree[True] >= 480
    assert agree[False] <= 5


@pytest.mark.parametrize("kind", [Sst2, Trec])
def test_an_absent_set_is_named(kind: type, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{kind.title} was not found"):
        kind(root=str(tmp_path)).load()
