"""Multi-label and regression data through the commands: train, resume, predict, reproduce, sweep and report."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_sweeps import sweep

from tl_lab import load
from tl_lab.cli.main import main as tl_lab_main
from tl_lab.cli.train import main
from tl_lab.data.sets.digits_properties import PROPERTIES, properties_of
from tl_lab.data.sets.printed_digits import handwritten_digits

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")]

SMALL = ["trainer.max_epochs=4", "logger=none", "figures=true", "threads=1", "backbone=mlp", "optimizer.lr=0.003"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A run on each."""
    folder = tmp_path_factory.mktemp("problems")
    for data in ("digits_properties", "digits_value"):
        main([f"data={data}", *SMALL, f"hydra.run.dir={folder / data}"])
    return {data: folder / data for data in ("digits_properties", "digits_value")}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Thirty digits as PNG files named by digit."""
    folder = tmp_path_factory.mktemp("images")
    x, y = handwritten_digits()
    for i in range(30):
        Image.fromarray(x[i, 0].numpy()).save(folder / f"{i:02}_{int(y[i])}.png")
    return folder


def results(folder: Path) -> dict:
    """Read what a run has written."""
    return json.loads((folder / "results.json").read_text())


def test_results_name_the_problem_and_its_scores(runs):
    labels, value = (results(runs[data]) for data in ("digits_properties", "digits_value"))
    assert labels["problem"] == {"name": "multi_label", "monitor": "auroc"}
    assert value["problem"] == {"name": "regression", "monitor": "r2"}
    assert labels["objective_metric"] == "val/auroc"
    assert labels["metrics"]["test/auroc"] > 0.8  # chance gives .5
    assert value["metrics"]["test/r2"] > 0.3
    assert {"test/map", "test/f1_macro", "test/f1_tuned", "test/subset_acc"} <= set(labels["metrics"])
    assert {"test/spearman", "test/mae", "test/mse"} <= set(value["metrics"])


def test_figures_show_labels_and_numbers(runs):
    figures = {data: {file.stem for file in (run / "figures").glob("*.png")} for data, run in runs.items()}
    assert figures["digits_properties"] == {
        "learning_curves",
        "labels_test",
        "label_errors_test",
        "labels_together_test",
    }
    assert figures["digits_value"] == {"learning_curves", "predictions_test"}


def test_predict_writes_labels_and_their_probabilities(runs, images, tmp_path):
    table = tmp_path / "labels.csv"
    tl_lab_main(["predict", str(runs["digits_properties"]), str(images), "--output", str(table)])
    rows = list(csv.DictReader(table.open()))
    assert list(rows[0]) == ["input", "label", "confidence", *(f"p({name})" for name in PROPERTIES)]
    truth = properties_of(torch.tensor([int(row["input"][3]) for row in rows])).bool()
    given = torch.tensor([[float(row[f"p({name})"]) >= 0.5 for name in PROPERTIES] for row in rows])
    assert (given == truth).float().mean() > 0.75
    for row, decisions in zip(rows, given.tolist(), strict=True):
        names = [name for name, has in zip(PROPERTIES, decisions, strict=True) if has]
        assert row["label"] == "; ".join(names)


def test_predict_writes_numbers_in_their_units(runs, images, tmp_path):
    table = tmp_path / "values.csv"
    tl_lab_main(["predict", str(runs["digits_value"]), str(images), "--output", str(table)])
    rows = list(csv.DictReader(table.open()))
    assert list(rows[0]) == ["input", "value"]
    errors = [abs(float(row["value"]) - int(row["input"][3])) for row in rows]
    assert sum(errors) / len(errors) < 2.4  # the mean of the digits is 2.5 away from them on average


def test_a_loaded_model_gives_values_without_confidence(runs):
    model = load(runs["digits_value"])
    predicted = model.predict(handwritten_digits()[0][:5])
    assert predicted.values.shape == (5, 1)
    assert predicted.confidence is None
    assert predicted.probabilities is None


def test_a_run_is_reproduced_to_the_last_bit(runs, tmp_path, capsys):
    tl_lab_main(["reproduce", str(runs["digits_properties"]), "--output", str(tmp_path / "again")])
    assert "equal to the last bit" in capsys.readouterr().out


@pytest.mark.parametrize("data", ["digits_properties", "digits_value"])
def test_an_interrupted_run_ends_as_the_unbroken_one(runs, data, tmp_path, monkeypatch):
    def stop(self):
        if self.current_epoch == 2:
            raise KeyboardInterrupt

    copy = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("tl_lab.strategies.base.Strategy.on_train_epoch_start", stop)
        with pytest.raises(SystemExit):
            main([f"data={data}", *SMALL, "figures=false", f"hydra.run.dir={copy}"])
    assert results(copy)["status"] != "completed"
    main([f"resume={copy}"])
    assert results(copy)["metrics"] == results(runs[data])["metrics"]


@pytest.mark.parametrize(("data", "heading"), [("digits_properties", "test AUROC %"), ("digits_value", "test R²")])
def test_a_sweep_reports_the_main_metric(data, heading, tmp_path):
    assert sweep(tmp_path / "sweep", f"data={data}", "strategy=from_scratch,fine_tuning", "seed=0,1,2") == 0
    summary = (tmp_path / "sweep" / "summary.md").read_text()
    table = next(line for line in summary.splitlines() if line.startswith("| setting"))
    assert heading in table.split("|")[3]
    assert "accuracy" not in table.replace("exact match", "")
    shutil.rmtree(tmp_path / "sweep")


def test_options_that_do_not_apply_to_a_problem_are_refused_in_one_sentence(capsys, tmp_path):
    for overrides, message in (
        (["data=digits_value", "strategy.label_smoothing=0.1"], "does not apply to regression data"),
        (["data=digits_value", "strategy.class_weights=balanced"], "does not apply to regression data"),
        (["data=printed_to_handwritten_value", "domain_adaptation=cdan"], "cdan supports single-label problems"),
        (["data=split_digits", "data@data.of=digits_properties", "strategy=naive"], "single-label"),
        (["data=permuted_digits", "data@data.of=digits_value", "strategy=lwf"], "lwf supports single-label problems"),
        (["data=episodes_of", "data@data.of=digits_value", "strategy=prototypical"], "single-label"),
    ):
        with pytest.raises(SystemExit):
            main([*overrides, "logger=none", f"hydra.run.dir={tmp_path / 'refused'}"])
        lines = capsys.readouterr().err.strip().splitlines()
        assert len([line for line in lines if line.startswith("tl_lab: ")]) == 1, lines
        assert message in lines[-1]
        shutil.rmtree(tmp_path / "refused", ignore_errors=True)


FAST = ["logger=none", "figures=false", "threads=1", "backbone=mlp", "backbone.hidden=[32]", "optimizer.lr=0.003"]
STREAM = [
    *FAST,
    "data=permuted_digits",
    "data.num_tasks=2",
    "data.scenario=domain",
    "strategy=ewc",
    "trainer.max_epochs=4",
]
PAIR = [*FAST, "domain_adaptation=dann", "trainer.max_epochs=3", "data.batches_per_epoch=30", "health=false"]
MAIN = {"properties": ("auroc", 0.6, "AUROC"), "value": ("r2", 0.0, "R²")}


@pytest.mark.parametrize("problem", MAIN)
def test_ewc_trains_on_a_stream_and_its_report_has_the_problems_unit(problem, tmp_path, capsys):
    score, least, word = MAIN[problem]
    run = tmp_path / "run"
    main([*STREAM, f"data@data.of=digits_{problem}", f"hydra.run.dir={run}"])
    assert word in capsys.readouterr().out
    written = results(run)
    assert written["status"] == "completed"
    metrics = written["metrics"]
    assert {f"test/task{k}/{score}" for k in (1, 2)} <= set(metrics)
    assert metrics[f"test/task1/{score}"] > least  # after the second task; guessing gives .5, or at most 0
    assert metrics["test/bwt"] == pytest.approx(_forgotten(run), abs=1e-9)
    tl_lab_main(["report", str(run), "--output", str(tmp_path / "report"), "--no-figures"])
    assert word in (tmp_path / "report" / "summary.md").read_text()
    shutil.rmtree(tmp_path)


def _forgotten(run: Path) -> float:
    """Backward transfer over two tasks: the change of the first one's score by the second."""
    with (run / "accuracy_matrix.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    column = rows[0].index("task1")
    return float(rows[-1][column]) - float(rows[-2][column])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, Path]:
    """Runs of DANN from printed to handwritten digits, with properties and with values."""
    folder = tmp_path_factory.mktemp("pairs")
    for problem in MAIN:
        main([*PAIR, f"data=printed_to_handwritten_{problem}", f"hydra.run.dir={folder / problem}"])
    return {problem: folder / problem for problem in MAIN}


@pytest.mark.parametrize("problem", MAIN)
def test_dann_adapts_a_pair(pairs, problem):
    score, least, _ = MAIN[problem]
    metrics = results(pairs[problem])["metrics"]
    assert {f"test/source/{score}", f"test/target/{score}"} <= set(metrics)
    assert metrics[f"test/source/{score}"] > least
    rows = list(csv.DictReader((pairs[problem] / "metrics.csv").open()))
    assert any(row.get("train/domain_loss") or row.get("train/dann_loss") for row in rows), rows[0].keys()


def test_adapted_models_predict_handwritten_images(pairs, images, tmp_path):
    tables = {problem: tmp_path / f"{problem}.csv" for problem in pairs}
    for problem, table in tables.items():
        tl_lab_main(["predict", str(pairs[problem]), str(images), "--output", str(table)])
    rows = {problem: list(csv.DictReader(table.open())) for problem, table in tables.items()}
    assert [len(rows[problem]) for problem in MAIN] == [30, 30]
    assert list(rows["properties"][0]) == ["input", "label", "confidence", *(f"p({name})" for name in PROPERTIES)]
    assert list(rows["value"][0]) == ["input", "value"]
    values = [float(row["value"]) for row in rows["value"]]
    assert max(values) - min(values) > 0.5


def test_a_sweep_over_adaptations_ranks_them_by_the_main_metric_of_the_target(tmp_path):
    short = ["trainer.max_epochs=1", "data.batches_per_epoch=4", "health=false"]
    given = ["data=printed_to_handwritten_value", "domain_adaptation=none,dann", "seed=0,1", *short]
    assert sweep(tmp_path / "sweep", *given) == 0
    summary = (tmp_path / "sweep" / "summary.md").read_text()
    assert "test target R²" in summary
    assert "accuracy" not in next(line for line in summary.splitlines() if line.startswith("| setting"))
    shutil.rmtree(tmp_path / "sweep")
