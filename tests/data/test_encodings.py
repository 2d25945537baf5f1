"""Files of text in another encoding, without rows or with blank texts: one sentence from every reader."""

import codecs
from pathlib import Path

import pandas as pd
import pytest

from tl_lab.assess.equity import contexts
from tl_lab.assess.sentence_pairs import crows_pairs
from tl_lab.data.encodings import read_text
from tl_lab.data.sets.question_answering import read_squad
from tl_lab.data.sets.table import Table
from tl_lab.data.sets.table_files import read_table
from tl_lab.data.sets.text import Sst2, Trec
from tl_lab.data.sets.text_corpora import AgNews, Cola, Mr, Mrpc, Rte, StsB
from tl_lab.data.sets.text_pairs import StsBGenres
from tl_lab.data.sets.text_table import TextTable
from tl_lab.errors import UserError
from tl_lab.run.given import rows_of
from tl_lab.run.given_pages import pages_in

_RTE = "sentence1\tsentence2\tlabel\n{}\tb\tentailment\nc\td\tnot_entailment\n"
_STS = "main-news\tfile\t2016\t7\t3.5\t{}\tAnother sentence.\n"
FILES = {
    Sst2: dict.fromkeys(("train.tsv", "dev.tsv", "test.tsv"), "label\tsentence\n1\t{}\n0\tbad\n"),
    Trec: dict.fromkeys(("TREC.train.all", "TREC.test.all"), "0 {}\n1 What is a film ?\n"),
    Mr: dict.fromkeys(("rt-polarity.neg", "rt-polarity.pos"), "{}\na film\n"),
    Cola: dict.fromkeys(("train.tsv", "dev.tsv"), "{}\t1\nbad it\t0\n"),
    AgNews: {"train_10k.tsv": "{}\tWorld\nnews\tSports\n", "test.csv": "label,title,description\n1,t,{}\n2,t,more\n"},
    Rte: dict.fromkeys(("train.tsv", "dev.tsv"), _RTE),
    Mrpc: {
        f"msr_paraphrase_{name}.txt": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\t{}\tb\n"
        for name in ("train", "test")
    },
    StsB: {f"sts-{name}.tsv": _STS for name in ("train", "dev", "test")},
    StsBGenres: {f"sts-{name}.tsv": _STS for name in ("train", "dev", "test")},
}
LATIN = {Trec, Mr}  # published in this encoding, in which every byte is a letter


def written(root: Path, kind: type, text: str, encoding: str = "utf-8") -> Path:
    """Write the files of a published set below a folder, and return that folder."""
    folder = root / kind.place
    folder.mkdir(parents=True)
    for name, content in FILES[kind].items():
        (folder / name).write_bytes(content.format(text).encode(encoding))
    return root


@pytest.mark.parametrize("kind", sorted(set(FILES) - LATIN, key=lambda kind: kind.__name__))
def test_published_texts_in_another_encoding_are_refused_with_the_place(kind: type, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        kind(root=str(written(tmp_path, kind, "café", "latin-1"))).read()
    message = str(caught.value)
    path = next(
        path for path in (tmp_path / kind.place / name for name in FILES[kind]) if message.startswith(str(path))
    )
    byte = path.read_bytes().index(b"\xe9")
    assert message.startswith(f"{path} is not in the encoding utf-8 (byte {byte} is 0xe9, ")
    assert message.endswith("): save it in utf-8")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("kind", FILES)
def test_published_texts_in_utf_16_are_refused(kind: type, encoding: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is in the encoding utf-16(-le|-be)?, not .*: save it in (utf-8|latin-1)$"):
        kind(root=str(written(tmp_path, kind, "a good film", encoding))).read()


@pytest.mark.parametrize("kind", FILES)
def test_blank_published_texts_are_refused_and_others_are_not(kind: type, tmp_path: Path) -> None:
    if kind is not Mr:  # in which blank lines are no texts
        with pytest.raises(UserError, match=r"the text is empty in 1 of [12] rows \(1\): fill them or leave these"):
            kind(root=str(written(tmp_path / "blank", kind, " "))).read()
    if kind in (Sst2, StsB):  # the others split off a validation part, for which these files are too small
        sets = kind(root=str(written(tmp_path / "filled", kind, "café"))).read()
        text = sets["train"].x.items[0]
        assert text == "café" if kind is Sst2 else text == ("café", "Another sentence.")


def test_a_mark_or_zeros_tell_utf_16_from_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    text = "review,stars\na good film,1\n"
    for encoding, found in {"utf-16": "utf-16", "utf-16-le": "utf-16-le", "utf-16-be": "utf-16-be"}.items():
        path.write_bytes(text.encode(encoding))
        for given in ("utf-8", "latin-1"):
            message = rf"is in the encoding {found}, not {given}: set data\.encoding={found}$"
            with pytest.raises(UserError, match=message):
                read_table(path, given)
        assert read_table(path, found)["review"].tolist() == ["a good film"]
    path.write_bytes(text.encode())
    with pytest.raises(UserError, match=r"t\.csv is not in the encoding utf-16"):
        read_table(path, "utf-16")
    with pytest.raises(UserError, match=r"unknown encoding: utf-9; set data\.encoding"):
        read_table(path, "utf-9")


def test_the_first_wrong_byte_is_counted_from_the_start_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_bytes("é".encode() * 600_000 + b"x\xff")  # letters of two bytes, read in parts
    with pytest.raises(UserError, match=r"\(byte 1,200,001 is 0xff, invalid start byte\)"):
        read_text(path)
    path.write_bytes(b"a" + "é".encode() * 600_000 + b"\xc3")
    with pytest.raises(UserError, match=r"\(byte 1,200,001 is 0xc3, unexpected end of data\)"):
        read_text(path)
    path.write_bytes(codecs.BOM_UTF8 + b"a")
    assert read_text(path, "utf-8-sig") == "a"


@pytest.mark.parametrize("read", [contexts, crows_pairs, read_squad, rows_of, pages_in], ids=lambda read: read.__name__)
def test_other_readers_name_file_and_place(read, tmp_path: Path) -> None:
    path = tmp_path / "given.csv"
    path.write_bytes("Sentence,café\na,b\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"given\.csv is not in the encoding utf-8 \(byte 12 is 0xe9"):
        read(path)


def _empty(path: Path) -> Path:
    table = pd.DataFrame({"text": pd.Series(dtype=str), "label": pd.Series(dtype=str)})
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="tl_lab[text] is not installed")
        table.to_parquet(path)
    else:
        path.write_text({".csv": "text,label\n", ".tsv": "text\tlabel\n", ".jsonl": ""}[path.suffix])
    return path


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_without_rows_is_refused(ending: str, lazy: bool, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    path = _empty(tmp_path / f"t.{ending}")
    message = rf"t\.{ending} has no rows"
    with pytest.raises(UserError, match=message):
        TextTable(path=str(path), lazy=lazy).read()
    with pytest.raises(UserError, match=message):
        Table(path=str(path)).read()


def test_published_files_without_rows_are_refused(tmp_path: Path) -> None:
    for kind in (Sst2, Cola, StsB):
        folder = tmp_path / kind.place
        folder.mkdir(parents=True)
        for name, content in FILES[kind].items():
            (folder / name).write_text(content.partition("\n")[0] + "\n" if kind is Sst2 else "")
        with pytest.raises(UserError, match=r"has no rows|cannot be read \(No columns to parse"):
            kind(root=str(tmp_path)).read()


def test_a_wrong_column_is_answered_with_the_near_name_and_all_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("review,stars,country\ngood,1,x\n")
    message = r"no column 'reviw'; did you mean 'review'\? Its columns are review, stars, country$"
    with pytest.raises(UserError, match=message):
        TextTable(path=str(path), text_column="reviw", label_column="stars").read()
    with pytest.raises(UserError, match=r"no column 'zzz'; valid: review, stars, country$"):
        TextTable(path=str(path), text_column="review", label_column="zzz").read()


@pytest.mark.parametrize("encoding", ["utf16", "U16", "utf_16_le", "utf-32-le", "UTF-16"])
def test_wide_encodings_are_read_however_they_are_spelled(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\ngood,1\n", encoding=encoding)
    assert read_text(path, encoding, "data.encoding") == "text,label\ngood,1\n"
