"""Runs stored by an earlier version remain usable: predictions, resuming, reproduction, reports, loading.

The stored folders and what made them: ``stored/README.md``. Numbers that are trained anew are compared with a tolerance
of 1e-5: another processor or PyTorch rounds sums differently in the last bits, and the folders travel between machines.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from program_starts import command

import tl_lab

STORED = Path(__file__).resolve().parent / "stored"
VARYING = {"folder", "written", "duration_s"}  # of a sweep's table: the file's place and time

pytestmark = pytest.mark.slow


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def copied(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORED / name, tmp_path / name))


@pytest.mark.parametrize(
    ("run", "given", "stem"),
    [
        ("supervised", [], "supervised"),
        ("dann", [], "dann"),
        ("ewc", ["--task", "1"], "ewc_task1"),
        ("ewc", ["--task", "3"], "ewc_task3"),
    ],
)
def test_a_stored_run_predicts_what_it_predicted(run, given, stem, tmp_path):
    ended = command("predict", STORED / run, STORED / "images", "--output", "out.csv", *given, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    then, now = rows(STORED / "predictions" / f"{stem}.csv"), rows(tmp_path / "out.csv")
    assert len(then) == 20
    assert [(row["input"], row["label"]) for row in now] == [(row["input"], row["label"]) for row in then]
    for old, new in zip(then, now, strict=True):  # written with four digits
        assert float(new["confidence"]) == pytest.approx(float(old["confidence"]), abs=1.01e-4)


def test_a_stored_interrupted_run_resumes_to_its_twins_result(tmp_path):
    folder, whole = copied("interrupted", tmp_path), results(STORED / "supervised")
    before = results(folder)
    assert before["status"] == "running"
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < last["epoch"] < 39
    ended = command("train", f"resume={folder}", cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    resumed = results(folder)
    assert resumed["status"] == "completed"
    assert resumed["metrics"] == pytest.approx(whole["metrics"], abs=1e-5)
    assert len(rows(folder / "metrics.csv")) == len(rows(STORED / "supervised" / "metrics.csv"))


def test_a_stored_run_is_reproduced(tmp_path):
    ended = command("reproduce", STORED / "supervised", "--output", "again", cwd=tmp_path)
    again, then = results(tmp_path / "again"), results(STORED / "supervised")
    assert again["metrics"] == pytest.approx(then["metrics"], abs=1e-5)
    assert again["data_hash"] == then["data_hash"]
    # equal, or else circumstances are named; another commit always is one
    assert ("code: a7fb69b" in ended.stdout) == (again["git_commit"] != then["git_commit"])
    assert ("equal to the last bit" in ended.stdout) == (ended.returncode == 0)
    assert ended.returncode == 0 or "other differences:" in ended.stdout


def test_a_stored_sweep_is_reported_as_it_was(tmp_path):
    folder = copied("sweep", tmp_path)
    (folder / "results.csv").unlink()
    (folder / "summary.md").unlink()
    ended = command("report", folder, "--no-figures", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    then, now = rows(STORED / "sweep" / "results.csv"), rows(folder / "results.csv")
    assert len(then) == 2
    assert [{k: v for k, v in row.items() if k not in VARYING} for row in now] == [
        {k: v for k, v in row.items() if k not in VARYING} for row in then
    ]
    lines = (STORED / "sweep" / "summary.md").read_text().splitlines()
    settings = [line for line in lines if line.startswith("|")]
    assert len(settings) >= 3
    assert [line for line in (folder / "summary.md").read_text().splitlines() if line.startswith("|")] == settings


def test_a_stored_stream_is_loaded_with_a_task():
    model = tl_lab.load(STORED / "ewc", task=3)
    assert sorted(model.class_names) == ["4", "5"]
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.as_tensor(digits.images[-20:][::-1].copy(), dtype=torch.float32).unsqueeze(1) * 15 / 255
    labels = [row["label"] for row in rows(STORED / "predictions" / "ewc_task3.csv")]
    assert list(model.predict(images).labels) == labels
    assert len(set(labels)) == 2
