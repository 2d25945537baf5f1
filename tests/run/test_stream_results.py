"""Files in the folder of a stream's run."""

import csv
import json
import time

import numpy as np
import pytest
from program_starts import Start, two_processes

from tl_lab.cli.train import main
from tl_lab.data.sets.printed_digits import handwritten_digits
from tl_lab.errors import UserError
from tl_lab.run.inference import load
from tl_lab.strategies.continual import figures as stream_figures

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
    drawn, original = {}, stream_figures.confusion_matrix

    def confusion_matrix(counts, *rest):
        drawn["counts"], drawn["title"] = counts, rest[-1]
        return original(counts, *rest)

    monkeypatch.setattr(stream_figures, "confusion_matrix", confusion_matrix)
    results = run(tmp_path / "run", *options)
    figures = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"learning_curves", "accuracy_matrix"} | more
    if "confusion_all_tasks" in more:
        tested = {name: size for name, size in results["sizes"].items() if name.endswith("test")}
        assert int(drawn["counts"].sum()) == sum(tested.values())
        correct = sum(size * results["metrics"][f"test/{name.split('/')[0]}/acc"] for name, size in tested.items())
        assert int(drawn["counts"].trace()) == pytest.approx(correct)
        assert drawn["title"] == f"all tasks, {options[1].removeprefix('data.scenario=')}-incremental"


# ---------------------------------------------------------------------- the model of a stream


def test_the_model_of_a_class_incremental_stream_tells_all_classes_apart(tmp_path):
    folder = tmp_path / "run"
    results = run(folder, "strategy=joint", "figures=false")
    x, y = handwritten_digits()
    model = load(folder)
    assert model.class_names == [str(digit) for digit in range(10)]
    predicted = model.predict(x)
    right = np.mean([label == str(int(digit)) for label, digit in zip(predicted.labels, y, strict=True)])
    assert abs(right - results["metrics"]["test/acc"]) < 0.1  # on all images, those of training included


def test_of_heads_of_their_own_one_is_named(tmp_path):
    folder = tmp_path / "run"
    run(folder, "strategy=joint", "data.scenario=task", "figures=false")
    x, y = handwritten_digits()
    model = load(folder, task=3)
    assert model.class_names == ["4", "5"]
    own = (y == 4) | (y == 5)
    predicted = model.predict(x[own])
    assert set(predicted.labels) == {"4", "5"}
    assert np.mean([label == str(int(digit)) for label, digit in zip(predicted.labels, y[own], strict=True)]) > 0.9
    with pytest.raises(UserError, match=r"one head each: select one from 1 to 5 by --task 1 \(in Python: task=1\)$"):
        load(folder)
    with pytest.raises(UserError, match=r"from 1 to 5 by --task 1 \(in Python: task=1\), not 6$"):
        load(folder, task=6)


def test_a_model_of_permuted_pixels_labels_nothing(tmp_path):
    folder = tmp_path / "run"
    run(folder, "data=permuted_digits", "strategy=naive", "data.num_tasks=2", "figures=false")
    with pytest.raises(UserError, match="permuted pixels"):
        load(folder)


# ---------------------------------------------------------------------- a kill, and several processes


@pytest.mark.slow
def test_a_killed_stream_resumes_to_the_same_table(tmp_path):
    """Killed hard between its tasks or inside one, wherever it happens to be after its first checkpoint."""
    given = ["strategy=online_ewc", "data.scenario=domain", "figures=false", "trainer.max_epochs=12"]
    main([*SHORT, *SPLIT, *given, f"hydra.run.dir={tmp_path / 'whole'}"])
    killed = tmp_path / "killed"
    process = Start(*SHORT, *SPLIT, *given, f"hydra.run.dir={killed}", output=tmp_path / "output.txt")
    last = killed / "checkpoints" / "last.ckpt"
    ended = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < ended:
        time.sleep(0.01)
    process.kill()
    main([f"resume={killed}"])
    whole, resumed = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "killed"))
    assert resumed["metrics"] == whole["metrics"]
    assert resumed["accuracy_matrix"] == whole["accuracy_matrix"]
    assert resumed["protocol"] == whole["protocol"]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ewc", "si", "replay"])
def test_two_processes_learn_as_one(strategy, tmp_path):
    given = [f"strategy={strategy}", "data.scenario=domain", "figures=false", "data.batch_size=24"]
    one = run(tmp_path / "cpu", *given, "trainer=cpu")["metrics"]
    two_processes(*SHORT, *SPLIT, *given, folder=tmp_path / "ddp_cpu")
    two = json.loads((tmp_path / "ddp_cpu" / "results.json").read_text())["metrics"]
    assert one.keys() == two.keys()
    for name in one:
        assert two[name] == pytest.approx(one[name], abs=2e-2), name
