"""What the run of a stream leaves in its folder."""

import csv
import json

import numpy as np
import pytest

from tl_lab.cli import main
from tl_lab.results import run_figures

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SHORT = ["trainer.max_epochs=2", "threads=1", "trainer.enable_progress_bar=false", "logger=none"]
SPLIT = ["data=split_digits", "domain_adaptation=none", "backbone=mlp", "backbone.hidden=[16]"]


def run(folder, *overrides):
    main([*SHORT, *SPLIT, *overrides, f"hydra.run.dir={folder}"])
    return json.loads((folder / "results.json").read_text())


def matrix_in(path):
    with path.open(newline="") as file:
        _, *rows = csv.reader(file)
    return [row[0] for row in rows], [[float(value) if value else None for value in row[1:]] for row in rows]


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_a_streams_run_leaves_its_accuracy_matrix(scenario, tmp_path):
    folder = tmp_path / "run"
    results = run(folder, "strategy=naive", f"data.scenario={scenario}", "figures=false")
    metrics, matrix = results["metrics"], results["accuracy_matrix"]
    names, written = matrix_in(folder / "accuracy_matrix.csv")
    assert names == ["before training", "task1", "task2", "task3", "task4", "task5"]
    assert written == matrix
    assert matrix[-1] == [metrics[f"test/task{k}/acc"] for k in range(1, 6)]
    assert np.mean(matrix[-1]) == pytest.approx(metrics["test/acc"])
    undefined = [[value is None for value in row] for row in matrix]
    expected = np.arange(5) >= np.arange(6)[:, None] if scenario == "class" else np.zeros((6, 5), bool)
    np.testing.assert_array_equal(undefined, expected)
    assert ("within_task_accuracy_matrix" in results) == (scenario == "class")
    assert (folder / "within_task_accuracy_matrix.csv").exists() == (scenario == "class")
    if scenario == "class":
        assert matrix_in(folder / "within_task_accuracy_matrix.csv")[1] == results["within_task_accuracy_matrix"]
        assert np.mean(results["within_task_accuracy_matrix"][-1]) == pytest.approx(metrics["test/within_task_acc"])


def test_other_runs_have_no_such_matrix(tmp_path):
    results = run(tmp_path / "run", "data=digits", "figures=false")
    assert "accuracy_matrix" not in results
    assert not (tmp_path / "run" / "accuracy_matrix.csv").exists()


@pytest.mark.parametrize(
    ("options", "more"),
    [
        (["strategy=naive", "data.scenario=task"], {"task_accuracies"}),
        (["strategy=naive", "data.scenario=domain"], {"task_accuracies", "confusion_all_tasks"}),
        (
            ["strategy=naive", "data.scenario=class"],
            {"task_accuracies", "confusion_all_tasks", "within_task_accuracy_matrix"},
        ),
        (["strategy=joint", "data.scenario=domain"], {"confusion_all_tasks"}),  # there is no course over the stream
    ],
)
def test_a_streams_figures(options, more, tmp_path, monkeypatch):
    drawn, original = {}, run_figures.confusion_matrix

    def confusion_matrix(counts, *rest):
        drawn["counts"], drawn["title"] = counts, rest[-1]
        return original(counts, *rest)

    monkeypatch.setattr(run_figures, "confusion_matrix", confusion_matrix)
    results = run(tmp_path / "run", *options)
    figures = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"learning_curves", "accuracy_matrix"} | more
    if "confusion_all_tasks" in more:
        tested = {name: size for name, size in results["sizes"].items() if name.endswith("test")}
        assert int(drawn["counts"].sum()) == sum(tested.values())
        correct = sum(size * results["metrics"][f"test/{name.split('/')[0]}/acc"] for name, size in tested.items())
        assert int(drawn["counts"].trace()) == pytest.approx(correct)
        assert drawn["title"] == f"all tasks, {options[1].removeprefix('data.scenario=')}-incremental"
