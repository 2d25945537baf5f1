"""Bad input of ``assess`` by the command line: one sentence, and the other parts still run."""

import json
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest

from tl_lab.assess.answering import Answerer
from tl_lab.cli.main import main


def _table(place, **changes):
    """Write 120 rows of two classes and two groups, with changed columns."""
    draw = np.random.default_rng(0)
    kind = np.repeat(["low", "high"], 60)
    columns = {"x": draw.normal(2.0 * (kind == "high")), "z": draw.normal(size=120), "site": np.tile(["a", "b"], 60)}
    path = place / "table.csv"
    pd.DataFrame({**columns, "label": kind, **changes}).to_csv(path, index=False)
    return ["data=table", f"data.path={path}", "data.label_column=label", "data.trees=false", "backbone=mlp"]


@pytest.fixture
def assess(tmp_path, monkeypatch, capsys):
    """Give what runs the command, and returns its exit code, the stored parts, and the error stream's last line."""
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TL_LAB_OUTPUTS", str(tmp_path / "outputs"))

    def run(*words):
        few = ["assess.samples=120", "assess.permutations=19"]
        code = 0
        try:
            main(["assess", *words, *few, "--output", str(tmp_path / "out")])
        except SystemExit as end:
            code = end.code
        path = tmp_path / "out" / "assessment.json"
        stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"parts": {}, "notes": []}
        return code, stored, capsys.readouterr().err.strip().splitlines()[-1]

    return run


def _failed(stored):
    return {name: one["why"] for name, one in stored["parts"].items() if one["status"] != "assessed"}


def _one_sentence(text):
    return "\n" not in text and text.endswith(".") and "Traceback" not in text


def test_one_class_only(assess, tmp_path):
    code, stored, _ = assess(*_table(tmp_path, label="low"), "data.group_column=site")
    assert code == 0
    failed = _failed(stored)
    assert stored["parts"]["similarity"]["status"] == "assessed"
    assert {"transferability", "calibration"} <= set(failed)
    assert all(_one_sentence(why) for why in failed.values())


def test_an_empty_group(assess, tmp_path):
    """All samples belong to one group."""
    code, stored, _ = assess(*_table(tmp_path, site="a"), "data.group_column=site")
    assert code == 0
    assert set(_failed(stored)) == {"bias"}
    assert _one_sentence(_failed(stored)["bias"])


def test_a_group_without_test_samples_is_left_out(assess, tmp_path):
    """Two rows of a third group are in the training set: the audit of the test set compares the other two."""
    site = np.where(np.arange(120) % 60 == 7, "rare", np.tile(["a", "b"], 60))
    code, stored, _ = assess(*_table(tmp_path, site=site), "data.group_column=site", "assess=bias")
    assert code == 0
    assert stored["parts"]["bias"]["status"] == "assessed"
    assert "rare" not in json.dumps(stored["parts"]["bias"])
    assert "rare" in set(site)


def test_fewer_samples_than_folds(assess, tmp_path):
    code, stored, _ = assess(*_table(tmp_path), "data.group_column=site", "assess.folds=60")
    assert code == 0
    failed = _failed(stored)
    assert "60 folds" in failed["similarity"]
    assert "60 folds" in failed["transferability"]
    assert all(_one_sentence(why) for why in failed.values())
    assert {"data_size", "calibration", "bias", "drift"} <= set(stored["parts"]) - set(failed)


def test_constant_features(assess, tmp_path):
    code, stored, _ = assess(*_table(tmp_path, x=1.0, z=2.0), "data.group_column=site")
    assert code == 0
    failed = _failed(stored)
    assert all(_one_sentence(why) for why in failed.values())
    assert set(stored["parts"]) - set(failed)
    for part in stored["parts"].values():  # what is no number is stored as none
        for one in part.get("measures", {}).values():
            assert all(value is None or np.isfinite(value) for value in one.values())


def test_probabilities_that_do_not_sum_to_one(assess, tmp_path, monkeypatch):
    true = Answerer.probabilities
    monkeypatch.setattr(Answerer, "probabilities", lambda self, *given: 0.9 * true(self, *given))
    code, stored, _ = assess(*_table(tmp_path), "data.group_column=site")
    assert code == 0
    failed = _failed(stored)
    assert failed["calibration"] == "Probabilities of each sample must sum to one; some sum to 0.9."
    assert {"similarity", "transferability", "data_size"} <= set(stored["parts"]) - set(failed)


def test_times_that_do_not_parse(assess, tmp_path):
    when = np.where(np.arange(120) == 7, "soon", np.arange(120).astype(str))
    words = [*_table(tmp_path, when=when), "data.time_column=when", "assess=calibration"]
    code, stored, _ = assess(*words)
    assert code == 0
    assert stored["parts"]["calibration"]["status"] == "assessed"
    (note,) = stored["notes"]
    assert note.startswith("The times of the data are left out: data.time_column=when has 'soon'")
    code, _, last = assess(*words, "data.split=time")
    assert code == 1
    assert "'soon', which is neither a number nor a date" in last


def test_the_folder_of_an_assessment_can_be_named(assess, tmp_path):
    folder = tmp_path / "own folder"
    with suppress(SystemExit):
        main(["assess", *_table(tmp_path), "assess=bias", "assess.samples=120", f"hydra.run.dir='{folder}'"])
    assert (folder / "assessment.html").is_file()
