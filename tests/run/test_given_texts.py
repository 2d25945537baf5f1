"""Texts in files, folders and tables are predicted and scored as in training; so are recordings listed in a table."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from composing import run_in
from encoders_at_hand import tiny
from small_sets import recordings

from tl_lab.data.sets.tasks import Tasks
from tl_lab.data.sets.text import Sst2
from tl_lab.data.sets.text_corpora import Mrpc, Rte, StsB
from tl_lab.data.sets.text_pairs import StsBGenres
from tl_lab.errors import UserError
from tl_lab.run.given_texts import cells_at
from tl_lab.run.inference import load, predict_to_csv
from tl_lab.run.scoring import score

QUIET = ["logger=none", "figures=false", "health=false", "trainer.max_epochs=1", "forgetting=false"]
pytestmark = pytest.mark.filterwarnings("ignore")


def write(folder: Path, count: int, encoding: str = "utf-8", seed: int = 0) -> dict[str, str]:
    """Write texts of two classes; give the text of each file, by its name."""
    draw, found = np.random.default_rng(seed), {}
    for name, letters in (("high", "bbc"), ("low", "aab")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            text = " ".join([*draw.choice(list(letters), 5), "ö" if encoding != "utf-8" else "c"])
            (folder / name / f"{number}.txt").write_bytes(text.encode(encoding))
            found[f"{name}/{number}.txt"] = text
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("texts")
    write(place / "texts", 20, "latin-1")
    encoder = tiny(place / "encoder", "bert")
    words = ["data=text_folder", f"data.path={place / 'texts'}", "data.encoding=latin-1"]
    run_in(place / "run", *words, "backbone=hf_text", f"backbone.name={encoder}", *QUIET)
    return place / "run"


def test_a_folder_of_texts_is_predicted_and_scored(run: Path, tmp_path: Path) -> None:
    written = write(tmp_path / "new", 4, "latin-1", seed=1)
    model = load(run)
    expected = model.predict(list(written.values()))  # strings are texts
    found = model.predict(tmp_path / "new")
    assert found.names == [str(tmp_path / "new" / name) for name in written]
    assert found.labels == expected.labels
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-6)
    said = pd.read_csv(predict_to_csv(run, tmp_path / "new", tmp_path / "said.csv"))
    assert said.label.tolist() == expected.labels
    right = np.mean([name.split("/")[0] == label for name, label in zip(written, expected.labels, strict=True)])
    scores = score(run, tmp_path / "new", tmp_path / "scores.json")
    assert scores["metrics"]["test/new/acc"] == pytest.approx(right)
    assert scores["count"] == 8
    files = [tmp_path / "new" / name for name in list(written)[2:5]]
    assert model.predict(files).labels == expected.labels[2:5]
    assert model.predict(files[0]).labels == expected.labels[2:3]


def test_a_table_of_texts_is_scored(run: Path, tmp_path: Path) -> None:
    written = write(tmp_path / "new", 4, seed=2)
    labels = [name.split("/")[0] for name in written]
    table = pd.DataFrame({"text": [*written.values()], "label": labels})
    right = np.mean([a == b for a, b in zip(load(run).predict([*written.values()]).labels, labels, strict=True)])
    for ending in ("csv", "tsv", "jsonl"):
        path = tmp_path / f"table.{ending}"
        if ending == "jsonl":
            table.to_json(path, orient="records", lines=True)
        else:
            table.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
        assert score(run, path, tmp_path / "scores.json")["metrics"]["test/table/acc"] == pytest.approx(right)


def test_recordings_listed_in_a_table_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    run_in(tmp_path / "run", *recordings(tmp_path), *QUIET)
    files = sorted((tmp_path / "waves").rglob("*.wav"))[::7]
    table = pd.DataFrame({"path": [str(file.relative_to(tmp_path)) for file in files]})
    table["label"] = [file.parent.name for file in files]
    table.to_csv(tmp_path / "table.csv", index=False)
    found = load(tmp_path / "run").predict(files)
    right = np.mean([label == file.parent.name for label, file in zip(found.labels, files, strict=True)])
    assert score(tmp_path / "run", tmp_path / "table.csv")["metrics"]["test/table/acc"] == pytest.approx(right)
    table.rename(columns={"path": "file"}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(UserError, match=r"has no column 'path' with recordings; valid: file"):
        score(tmp_path / "run", tmp_path / "other.csv")


def test_texts_that_cannot_be_read_are_skipped_if_asked(run: Path, tmp_path: Path) -> None:
    write(tmp_path / "new", 3, "latin-1")
    (tmp_path / "new" / "low" / "1.txt").write_text(" ")
    with pytest.raises(UserError, match=r"low/1\.txt contains no text"):
        score(run, tmp_path / "new")
    with pytest.warns(UserWarning, match=r"skipped: 1 of 6 texts: .*low/1\.txt contains no text"):
        assert score(run, tmp_path / "new", skip_unreadable=True)["count"] == 5
    with pytest.warns(UserWarning, match=r"skipped: 1 of 6 texts"):
        assert len(load(run).predict(tmp_path / "new", skip_unreadable=True).labels) == 5


def test_a_model_of_pairs_refuses_single_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    table = pd.DataFrame({"one": ["a b", "b c"] * 20, "two": ["c c", "a a"] * 20, "label": ["no", "yes"] * 20})
    table.to_csv(tmp_path / "pairs.csv", index=False)
    words = ["data=text_table", f"data.path={tmp_path / 'pairs.csv'}", "data.text_column=[one,two]"]
    run_in(tmp_path / "run", *words, "backbone=hf_text", f"backbone.name={tiny(tmp_path / 'encoder', 'bert')}", *QUIET)
    model = load(tmp_path / "run")
    pairs = list(zip(table.one, table.two, strict=True))
    assert model.predict(tmp_path / "pairs.csv").labels == model.predict(pairs).labels
    write(tmp_path / "new", 2)
    expected = "takes pairs of texts: give a table with the columns one and two, or in Python a list of pairs"
    for given in (tmp_path / "new", ["a b"]):
        with pytest.raises(UserError, match=expected):
            model.predict(given)
    (tmp_path / "new" / "high").rename(tmp_path / "new" / "yes")
    (tmp_path / "new" / "low").rename(tmp_path / "new" / "no")
    with pytest.raises(UserError, match=expected):
        score(tmp_path / "run", tmp_path / "new")


def test_published_pairs_have_two_columns() -> None:
    for data in (Rte(), Mrpc(), StsB(), StsBGenres()):
        assert data.reading["text_column"] == ["sentence1", "sentence2"]
    assert Sst2().reading["text_column"] == ["text"]
    assert Tasks(datasets={"rte": Rte(), "sst2": Sst2()}).reading == {"encoding": "utf-8"}  # each task has its own


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"new/a.txt": "a", "b.md": "a"}, r"b\.md is neither a text \(\.txt\) nor a table \(\.csv, "),
        ({"new/a.doc": "a b"}, r"new contains no texts \(\.txt\)"),
        ({"new/a.txt": "  "}, r"new/a\.txt contains no text: fill it or leave it out"),
        ({"new/a.txt": "a", "t.csv": "text\na\n"}, r"t\.csv is a table, which must be the only input"),
    ],
)
def test_what_cannot_be_predicted_is_one_sentence(
    content: dict[str, str], message: str, run: Path, tmp_path: Path
) -> None:
    for name, text in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        load(run).predict([tmp_path / "new", *tmp_path.glob("*.csv"), *tmp_path.glob("*.md")])


def test_what_cannot_be_scored_is_one_sentence(run: Path, tmp_path: Path) -> None:
    (tmp_path / "new" / "high").mkdir(parents=True)
    with pytest.raises(UserError, match=r"contains no texts \(\.txt\) in its sub-folders"):
        score(run, tmp_path / "new")
    for given in (tmp_path / "nowhere", [tmp_path / "nowhere", tmp_path]):
        with pytest.raises(UserError, match=r"there is no folder or file .*nowhere to predict"):
            load(run).predict(given)


def test_a_table_in_another_encoding_has_to_be_saved_anew(tmp_path: Path) -> None:
    """``predict`` has no option for it: the encoding is that of training."""
    path = tmp_path / "new.csv"
    path.write_bytes("review\ncafé\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"is not in the encoding utf-8 .*: save it in utf-8$"):
        cells_at(path, SimpleNamespace(reading={}))
