"""Learning curves over seeds, from files in the format of runs."""

import numpy as np

from tl_lab.results.tables.curves import curve_names, mean_curve, read_curves


def _write(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.csv").write_text(text)
    return folder


def test_curves_are_read_as_they_were_logged(tmp_path):
    text = "epoch,step,train/loss,train/dann_loss,val/source/acc,val/source/loss,oracle/target/acc\n"
    run = _write(tmp_path / "a", text + "0,10,1.5,,,,\n0,20,1.0,2,0.5,0.7,0.9\n1,30,nan,,0.75,0.6,\n")
    assert curve_names(run) == ["val/source/acc", "train/loss"]
    assert read_curves(run, ["val/source/acc", "train/loss"]) == {
        "val/source/acc": {20: 0.5, 30: 0.75},
        "train/loss": {10: 1.5, 20: 1.0},
    }


def test_missing_and_damaged_files_hold_no_curves(tmp_path):
    assert curve_names(tmp_path / "none") == []
    assert read_curves(tmp_path / "none", ["val/acc"]) == {"val/acc": {}}
    damaged = _write(tmp_path / "b", "epoch,step,val/acc\n0,10,0.5\n0,20\n")
    assert read_curves(damaged, ["val/acc"]) == {"val/acc": {}}


def test_the_mean_is_over_steps_that_all_seeds_logged():
    curve = mean_curve([{10: 0.5, 20: 0.7}, {10: 0.7, 20: 0.8, 30: 0.9}, {}])
    assert curve.steps.tolist() == [10, 20]
    np.testing.assert_allclose(curve.mean, [0.6, 0.75])
    np.testing.assert_allclose(curve.spread, [0.1, 0.05], err_msg="of two seeds half their distance")
    assert curve.n == 2
    alone = mean_curve([{10: 0.5}])
    assert (alone.n, np.isnan(alone.spread).all()) == (1, True)
    assert mean_curve([{}]) is None
