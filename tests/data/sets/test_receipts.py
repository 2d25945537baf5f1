"""Receipts: positions of field values among the words, the fixed split, and a run from words to fields."""

import io
import json
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from composing import run_in
from encoders_at_hand import tiny
from finished_runs import is_assessed, is_monitored_and_described

from tl_lab.data.sets.fields import find_amount, find_lines, find_text
from tl_lab.data.sets.receipts import Receipts, tag_words, words_of_line
from tl_lab.errors import UserError
from tl_lab.run.given_pages import pages_in, read_pages
from tl_lab.run.inference import predict_to_csv

ROOT = Path(os.environ.get("TL_LAB_DATA", ""))
real = pytest.mark.skipif(not (ROOT / "sroie").is_dir(), reason="TL_LAB_DATA with the folder sroie is not here")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
TEXT = "ACME (JOHOR) SDN BND|LOT 5, JALAN TUN|81100 JOHOR.|DATE:25/12/2018 10:00|ITEM 9.00|TOTAL RM 9.00|CASH 9.00"
WORDS = TEXT.replace("|", " ").split()
LINES = [(0, 4), (4, 8), (8, 10), (10, 12), (12, 14), (14, 17), (17, 19)]
MIDDLES = [float(10 * line) for line, (first, end) in enumerate(LINES) for _ in range(first, end)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("25/12/2018", (10, 11)), ("25/12/2018 10:00", (10, 12)), ("81100 JOHOR", (8, 10)), ("1/1/2020", None)],
)
def test_a_value_that_stands_whole(value: str, expected: tuple | None) -> None:
    assert find_text(value, WORDS) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ACME (JOHOR) SDN BHD", (0, 4)),  # a letter is read wrongly
        ("LOT 5, JALAN TUN, 81100 JOHOR", (4, 10)),  # two lines
        ("SOMEWHERE ELSE ENTIRELY", None),
    ],
)
def test_a_value_that_lines_are_like(value: str, expected: tuple | None) -> None:
    assert find_lines(value, LINES, WORDS) == expected


def test_the_amount_beside_the_word_total() -> None:
    assert find_amount("9.00", LINES, WORDS, MIDDLES) == 16
    assert find_amount("RM9.00", LINES, WORDS, MIDDLES) == 16
    assert find_amount("8.00", LINES, WORDS, MIDDLES) is None
    assert find_amount("9.00", LINES[:5], WORDS, MIDDLES) == 18  # no total: the last


def test_fields_become_tags() -> None:
    fields = {"company": "ACME (JOHOR) SDN BHD", "date": "25/12/2018", "address": "", "total": "9.00"}
    tags, lost = tag_words(fields, WORDS, LINES, MIDDLES)
    assert lost == 0
    assert tags[:5] == [1, 2, 2, 2, 0]
    assert (tags[10], tags[16], sum(map(bool, tags))) == (3, 7, 6)
    assert tag_words({"company": "NOBODY AT ALL"}, WORDS, LINES, MIDDLES)[1] == 1


def test_words_share_the_box_of_their_line() -> None:
    assert words_of_line("ab c", (0, 0, 40, 10)) == [("ab", (0, 0, 20, 10)), ("c", (30, 0, 40, 10))]
    assert words_of_line("a a", (0, 0, 30, 10)) == [("a", (0, 0, 10, 10)), ("a", (20, 0, 30, 10))]


def archive(folder: Path, count: int = 20) -> Path:
    """Receipts of three lines: a name, a date, and a total."""
    place = folder / "sroie"
    place.mkdir()
    with tarfile.open(place / "box_key.tar.xz", "w:xz") as file:
        for i in range(count):
            name, amount = "abc"[i % 3] * 3, f"{i + 1}.50"
            lines = [(0, "b " + name), (50, f"2{i % 10}/1/2018"), (100, f"TOTAL {amount}")]
            boxes = "\n".join(f"0,{y},200,{y},200,{y + 20},0,{y + 20},{text}" for y, text in lines)
            key = json.dumps({"company": "b " + name, "date": f"2{i % 10}/1/2018", "total": amount})
            for path, text in ((f"data/box/{i:03}.csv", boxes), (f"data/key/{i:03}.json", key)):
                content = text.encode()
                info = tarfile.TarInfo(path)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return folder


def test_a_run_finds_fields_and_names_their_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    encoder = tiny(tmp_path / "encoder", "bert")
    options = ["data=receipts", f"data.root={archive(tmp_path)}", "backbone=layout_text", f"backbone.name={encoder}"]
    options += ["backbone.max_length=12", "data.batch_size=4", "strategy.layers.backbone_lr=1.0", "optimizer.lr=0.1"]
    found = run_in(tmp_path / "run", *options, "trainer.max_epochs=8", "logger=none", "scheduler=constant")
    assert found["sizes"] == {"train": 14, "val": 2, "test": 4}
    assert found["metrics"]["test/entity_f1"] == 1.0  # places alone tell what is what
    assert (tmp_path / "run" / "figures" / "pages_test.png").is_file()
    rows = [[1, 1, 0, 0, 200, 120, ""], [5, 1, 0, 0, 40, 20, "b"], [5, 1, 80, 0, 120, 20, "ccc"]]
    rows += [[5, 1, 0, 50, 200, 20, "27/1/2018"], [5, 1, 0, 100, 100, 20, "TOTAL"], [5, 1, 120, 100, 80, 20, "7.50"]]
    columns = ["level", "page_num", "left", "top", "width", "height", "text"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "new.tsv", sep="\t", index=False)
    table = pd.read_csv(predict_to_csv(tmp_path / "run", tmp_path / "new.tsv", tmp_path / "said.csv"))
    assert table.label.tolist() == ["company b ccc; date 27/1/2018; total 7.50"]
    is_monitored_and_described(tmp_path / "run", *options[:2])
    is_assessed(tmp_path / "assessed", *options[:5])


def test_hocr_of_two_pages(tmp_path: Path) -> None:
    word = "<span class='ocrx_word' title='bbox {} 10 {} 20; x_wconf 90'>{}</span>"
    pages = [
        f"<div class='ocr_page' title='image \"a.png\"; bbox 0 0 100 50'>{word.format(0, 20, '<strong>A</strong>')}"
        f"{word.format(30, 50, 'B&amp;C')}</div>",
        f"<div class='ocr_page' title='bbox 0 0 200 100'>{word.format(0, 200, 'D')}</div>",
    ]
    (tmp_path / "a.hocr").write_text(f"<html><body>{''.join(pages)}</body></html>")
    found = pages_in(tmp_path / "a.hocr")
    assert [page.words for _, page in found] == [("A", "B&C"), ("D",)]
    assert found[0][1].boxes == ((0, 200, 200, 400), (300, 200, 500, 400))
    assert found[1][0].endswith("a.hocr#2")
    (tmp_path / "b.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(UserError, match=r"b\.tsv is not a table of Tesseract, which has the columns height, left"):
        pages_in(tmp_path / "b.tsv")
    model = SimpleNamespace(spec=SimpleNamespace(fit=len))
    with pytest.raises(UserError, match=r"b\.tsv is not a table of Tesseract.*--skip-unreadable .* skips such files"):
        list(read_pages(tmp_path, model, 8))
    with pytest.warns(UserWarning, match=r"skipped: 1 of 2 files of pages cannot be used: .*b\.tsv is not a table"):
        ((names, x, words),) = read_pages(tmp_path, model, 8, skip=True)
    assert (x, words) == (2, [("A", "B&C"), ("D",)])
    assert [Path(name).name for name in names] == ["a.hocr#1", "a.hocr#2"]
    with pytest.raises(UserError, match=r"^1 of 1 files of pages cannot be used"):
        list(read_pages(tmp_path / "b.tsv", model, 8, skip=True))


@real
def test_the_receipts_at_hand() -> None:
    data = Receipts()
    data.load()
    assert {name: len(samples) for name, samples in data.sets.items()} == {"train": 438, "val": 63, "test": 125}
    assert "not comparable with published ones" in " ".join(data.notes)
    assert data.notes[0] == "71 of 2,502 field values were not found among the words"
    # number 4 is the first for test; what it says is read from its own files
    tags = [data.class_names[tag] for tag in data.sets["test"].y[0].tolist() if tag >= 0]
    words = data.sets["test"].x.items[0].words
    assert len(tags) == len(words)
    assert torch.equal(data.sets["val"].y[0, :3], torch.tensor([0, 0, 0]))  # TAN WOON YANN, written above receipt 0
    assert data.sets["val"].x.items[0].words[:3] == ("TAN", "WOON", "YANN")
    assert data.sets["val"].y[0, 3:9].tolist() == [1, 2, 2, 2, 2, 2]  # BOOK TA .K(TAMAN DAYA) SDN BND
