"""The referee: what counts as equal, as explained and as a failure."""

import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
ROW = {"test/acc": "0.5", "test/loss": "", "torch": "2.11", "config_hash": "a", "machine": "m", "seed": "0"}


@pytest.fixture
def referee(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("referee")
    monkeypatch.setattr(module, "STORED", tmp_path / "referee.json")
    monkeypatch.setattr(module, "candidates", lambda experiment, longest: [("mine", ROW)])
    monkeypatch.setattr("sys.argv", ["referee.py"])
    return module


def test_metrics_are_compared_to_the_last_digit(referee) -> None:
    assert referee.compared(ROW, ROW) == {"verdict": "equal", "largest_difference": 0.0}
    other = {**ROW, "test/acc": "0.50001"}
    found = referee.compared(ROW, other)
    assert found["verdict"] == referee.UNEXPLAINED
    assert found["largest_difference"] == pytest.approx(1e-5)
    explained = referee.compared(ROW, {**other, "torch": "2.12"})
    assert explained["verdict"] == "differs: torch 2.11 then, 2.12 now"


@pytest.mark.parametrize(
    ("verdict", "code"),
    [("equal", 0), ("differs: torch 2.11 then, 2.12 now", 0), ("UNEXPLAINED", 1), ("INCOMPLETE", 1)],
)
def test_what_is_not_explained_is_a_failure(referee, monkeypatch, verdict: str, code: int) -> None:
    words = getattr(referee, verdict, verdict)
    found = {"run": "experiment=mine seed=0", "verdict": words, "largest_difference": None, "date": "2026-01-01"}
    monkeypatch.setattr(referee, "repeated", lambda name, row: found)
    assert referee.main() == code
    assert json.loads(referee.STORED.read_text()) == [found]
