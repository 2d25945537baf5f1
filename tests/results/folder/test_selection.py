"""The choice of each validator, from a table written by hand."""

import io

import pytest

from tl_lab.results.folder.selection import oracle_metric, reached, read_rows, selection
from tl_lab.results.screen import console

METRICS = """epoch,step,train/loss,val/source/acc,val/target/entropy,oracle/target/acc
0,5,0.9,,,
0,10,0.8,0.8,0.5,0.4
1,20,0.7,0.9,nan,0.5
2,30,0.6,0.9,0.2,0.7
3,40,0.5,0.7,0.3,0.6
"""
VALIDATORS = {
    "accuracy": ("val/source/acc", "max"),
    "entropy": ("val/target/entropy", "min"),
    "dev": ("val/dev", "min"),
}


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "metrics.csv").write_text(METRICS)
    return read_rows(tmp_path / "metrics.csv")


def found(rows, validators=VALIDATORS):
    return {row["chooser"]: row for row in selection(rows, validators)}


def test_of_equally_good_epochs_the_first_is_chosen(rows):
    assert found(rows)["accuracy"] == {
        "chooser": "accuracy",
        "metric": "val/source/acc",
        "value": 0.9,
        "epoch": 2,
        "step": 20,
        "target_acc": 0.5,
        "oracle": False,
    }


def test_what_is_not_finite_is_passed_over_and_the_mode_decides(rows):
    row = found(rows)["entropy"]
    assert (row["epoch"], row["value"], row["target_acc"]) == (3, 0.2, 0.7)
    assert found(rows, {"entropy": ("val/target/entropy", "max")})["entropy"]["epoch"] == 1


def test_a_metric_that_was_not_measured_chooses_nothing(rows):
    assert list(found(rows)) == ["accuracy", "entropy", "last epoch", "oracle (target test labels)"]
    assert selection(rows, {"dev": ("val/dev", "min")}) == selection([], VALIDATORS) == selection(rows, {}) == []


def test_the_last_epoch_and_the_oracle_stand_beside(rows):
    last, oracle = found(rows)["last epoch"], found(rows)["oracle (target test labels)"]
    assert (last["epoch"], last["target_acc"], last["oracle"]) == (4, 0.6, False)
    assert (oracle["epoch"], oracle["target_acc"], oracle["oracle"]) == (3, 0.7, True)


def test_a_target_without_labels_has_choices_but_no_accuracy(rows):
    unlabelled = [{name: value for name, value in row.items() if "oracle" not in name} for row in rows]
    chosen = found(unlabelled)
    assert list(chosen) == ["accuracy", "entropy", "last epoch"]
    assert {row["target_acc"] for row in chosen.values()} == {None}
    assert chosen["last epoch"]["epoch"] == 4


def test_the_table_marks_the_oracle(rows):
    stream = io.StringIO()
    console.selection(selection(rows, VALIDATORS), stream)
    text = stream.getvalue()
    lines = [line.split() for line in text.splitlines()]
    assert ["accuracy", "2", "90.0", "50.0"] in lines
    assert ["entropy", "3", "0.2", "70.0"] in lines
    assert ["last", "epoch", "4", "60.0"] in lines
    assert ["oracle", "(target", "test", "labels)", "3", "70.0"] in lines


def test_the_targets_main_metric_is_that_of_the_problem():
    rows = [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "val/source/r2": score,
            "oracle/target/r2": -score,
            "oracle/target/mse": 1.0,
        }
        for epoch, score in enumerate((0.1, 0.3, 0.2))
    ]
    assert oracle_metric(rows) == "oracle/target/r2"
    chosen, last, oracle = selection(rows, {"source": ("val/source/r2", "max")})
    assert (chosen["epoch"], reached(chosen)) == (2, ("r2", -0.3))
    assert (last["epoch"], reached(last)) == (3, ("r2", -0.2))
    assert (oracle["epoch"], reached(oracle), oracle["oracle"]) == (1, ("r2", -0.1), True)
    assert reached({"chooser": "source"}) is None
