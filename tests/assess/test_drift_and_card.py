"""The commands ``drift`` and ``card`` on a stored run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tl_lab.assess.card import write_card
from tl_lab.assess.monitor import _read
from tl_lab.cli.main import main
from tl_lab.errors import UserError
from tl_lab.model.base_weights import hash_of
from tl_lab.run.inference import load_classifier

STORED = Path(__file__).resolve().parents[1] / "golden" / "stored" / "supervised"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    shutil.copytree(STORED, folder)
    return folder


def _code(*argv):
    try:
        main([str(one) for one in argv])
    except SystemExit as end:
        return end.code
    return 0


def test_a_runs_own_test_data_have_not_drifted(run, capsys):
    assert _code("drift", run, "data=digits", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["drift"]
    assert found["count"] == 359
    known, estimated = found["known_accuracy"], found["estimated_accuracy"]
    assert known["value"] == pytest.approx(0.7465, abs=1e-4)  # as the run's results have it
    for one in estimated.values():
        assert one["low"] <= one["accuracy"] <= one["high"]
        assert one["low"] < known["high"]
        assert one["high"] > known["low"]
    assert len(found["moved_most"]) == 10
    assert [path.suffix for path in (run / "drift").iterdir()] == [".json"]


def test_the_reference_is_held_out_data_and_is_fitted_once(run):
    with np.load(run / "drift_reference.npz") as arrays:
        assert len(arrays["labels"]) == 180  # the validation set, never training data
        assert float(arrays["correct"].mean()) == pytest.approx(0.72778, abs=1e-4)
    before = (run / "drift_reference.npz").stat().st_mtime_ns
    assert _code("drift", run, "data=digits", "data.seed=1", "--part", "test", "--detectors", "softmax_ks") in (0, 2)
    assert (run / "drift_reference.npz").stat().st_mtime_ns == before


def test_a_reference_of_other_weights_is_fitted_again(run):
    weights = hash_of(load_classifier(run).network)
    assert _read(run, weights).weights == weights
    assert _read(run, "of another checkpoint") is None


def test_printed_digits_are_drift_for_a_model_of_handwritten_ones(run, capsys, tmp_path):
    output = tmp_path / "weekly.json"
    words = ["data=printed_to_handwritten", "data.source_count=400", "data.source_test_count=200"]
    assert _code("drift", run, *words, "--part", "source/test", "--output", output) == 2
    assert json.loads(output.read_text())["drift"]
    said = capsys.readouterr().out
    assert said.startswith("Drift")
    assert "retrain" in said.lower()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["data=digits", "--part", "tset"], "did you mean 'test'"),
        (["data=digits", "--detectors", "softmax"], "did you mean 'softmax_ks'"),
        (["nowhere"], "there is no folder or file 'nowhere'"),
        (["data=digits", "--alpha", "2"], "between 0 and 1"),
    ],
)
def test_a_mistake_of_the_monitor_is_one_sentence(run, argv, said, capsys):
    assert _code("drift", run, *argv) == 1
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


def test_the_card_says_what_the_run_is_and_scores(run, capsys):
    assert _code("card", run) == 0
    text = (run / "model_card.md").read_text(encoding="utf-8")
    # Wilson's interval of 268 of 359
    assert "74.7 % (69.9 to 78.9)" in " ".join(text.split())
    for heading in ("Intended use", "Training data", "Metrics", "Calibration", "Groups", "Energy", "Licences"):
        assert f"## {heading}\n" in text
    assert "python train.py" in text
    page = (run / "model_card.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "74.7 %" in capsys.readouterr().out


def test_the_card_takes_an_assessment_over(run, tmp_path):
    measures = {"group/a probe/difference/fpr": {"value": 0.2, "low": 0.1, "high": 0.3}}
    part = {"status": "assessed", "sentence": "Groups differ.", "measures": measures}
    footprint = {"kwh": 0.001, "kg": 0.0004, "source": "estimated"}
    found = tmp_path / "assessment.json"
    found.write_text(json.dumps({"parts": {"bias": part}, "footprint": footprint, "overrides": []}))
    text = write_card(run, tmp_path, found)[0].read_text(encoding="utf-8")
    assert "Groups differ." in text
    assert "0.200 (0.100 to 0.300)" in text
    assert "1.00 Wh, 0.40 g CO2e" in text
    found.write_text("{}")
    with pytest.raises(UserError, match="is no assessment"):
        write_card(run, tmp_path, found)
