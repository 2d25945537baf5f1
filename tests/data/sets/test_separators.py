"""Tables with other separators than their names promise, and spreadsheets, are refused with a remedy."""

import re
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.sets.table import Table
from tl_lab.data.sets.table_files import check_separator, read_table, refuse_spreadsheet
from tl_lab.data.sets.table_stream import stored_table
from tl_lab.errors import UserError
from tl_lab.run.given import read_given, rows_of
from tl_lab.run.kept_columns import kept_columns

ROWS = [["age", "paid", "label"], ["31", "3,5", "yes"], ["45", "4,0", "no"]]


def written(place: Path, name: str, separator: str) -> Path:
    path = place / name
    path.write_text("".join(separator.join(row) + "\n" for row in ROWS))
    return path


def stored(path: Path) -> None:
    stored_table(path, "utf-8", ["age"], [("label_column", ["label"])])


def kept(path: Path) -> None:
    kept_columns([path], ["age"], {})


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("read", [read_table, stored, rows_of, kept, lambda path: Table(path=str(path)).read()])
def test_semicolons_are_named_with_a_remedy_that_works(read, tmp_path: Path) -> None:
    path = written(tmp_path, "loans.csv", ";")
    with pytest.raises(UserError) as refused:
        read(path)
    message = str(refused.value)
    assert message == (
        f"{path} is separated by semicolons, not by commas: save it with commas (in Python: pandas.read_csv(path, "
        "sep=';').to_csv(new_path, sep=',', index=False); for numbers such as 3,5 add decimal=',' to read_csv)"
    )
    pd.read_csv(path, sep=";", decimal=",").to_csv(tmp_path / "new.csv", sep=",", index=False)
    table = read_table(tmp_path / "new.csv")
    assert table.to_dict("list") == {"age": ["31", "45"], "paid": ["3.5", "4.0"], "label": ["yes", "no"]}


@pytest.mark.parametrize("read", [read_table, stored, rows_of])
@pytest.mark.parametrize(
    ("name", "separator", "message"),
    [
        (
            "loans.csv",
            "\t",
            "is separated by tabs, not by commas: let its name end in .tsv, or save it with commas (in",
        ),
        ("loans.tsv", ";", "is separated by semicolons, not by tabs: save it with tabs (in Python:"),
        ("loans.tsv", "|", "is separated by vertical bars, not by tabs: save it with tabs (in Python:"),
    ],
)
def test_other_separators_are_named(read, name: str, separator: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read(written(tmp_path, name, separator))


def test_tsv_files_have_tabs_everywhere(tmp_path: Path) -> None:
    path = written(tmp_path, "loans.tsv", "\t")
    assert rows_of(path) == read_table(path).to_dict("records")
    assert rows_of(path)[0] == {"age": "31", "paid": "3,5", "label": "yes"}


@pytest.mark.parametrize(
    "content",
    [
        "text\nfine; really\nbad; truly\n",
        "I like it; really\nnot at all\n",
        '"a;b",c\n"d;e",f\n',
        "",
        "text\n",
        "a,b\n1;2,3;4\n",
    ],
)
def test_single_columns_and_quoted_cells_are_no_other_separator(content: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    check_separator(path, ",")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.tsv", "City, state\nParis, FR\nRome, IT\n"),
        ("t.tsv", "\nCity,state\nParis,FR\nRome\nOslo, with, more\n"),
        ("t.csv", "Symptoms; causes\nrash; heat\n"),
    ],
)
def test_a_single_column_of_sentences_is_read(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    table = read_table(path)
    header, *cells = content.split("\n")[content.startswith("\n") : -1]
    assert table.to_dict("list") == {header: cells}


@pytest.mark.parametrize(
    "content", ["\nage;label\n31;yes\n", " \r\n\r\nage;label\r\n31;yes\r\n", 'age;label\n31;"yes\nno"\n5;no\n']
)
def test_blank_first_lines_and_cells_of_several_lines_hide_no_separator(content: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content, newline="")
    with pytest.raises(UserError, match=r"t\.csv is separated by semicolons, not by commas: save it with"):
        read_table(path)


@pytest.mark.parametrize("ending", ["xlsx", "XLS", "ods"])
def test_spreadsheets_are_refused_wherever_tables_are_read(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"loans.{ending}"
    path.write_bytes(b"PK\x03\x04\xff")
    model = SimpleNamespace(spec=ImageSpec((4, 4), 1), shape=(1, 4, 4), reading={})
    for read in (refuse_spreadsheet, read_table, rows_of, kept, lambda one: list(read_given(one, model))):
        with pytest.raises(
            UserError, match=rf"loans\.{ending} is a spreadsheet, and tables end in \.csv, .*: save the"
        ):
            read(path)
