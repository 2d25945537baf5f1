"""The tool that compares golden runs: equal runs are equal, a planted difference is found and named."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from digests import compare

HERE = Path(__file__).resolve().parent
NAMES = ["class_weights_and_smoothing", "pair_moons"]


def tool(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the comparison's command line."""
    command = [sys.executable, str(HERE / "record.py"), *map(str, words), "--only", ",".join(NAMES)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "golden.json"
    ended = tool("record", "--output", path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"tl_lab: {HERE.parents[1] / 'tl_lab'}" in ended.stdout
    return path


@pytest.mark.slow
def test_equal_runs_are_equal(recorded):
    ended = tool("compare", recorded)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 of 2 runs equal to the last bit" in ended.stdout


@pytest.mark.slow
def test_another_seed_is_found_in_weights_metrics_and_hashes(recorded):
    ended = tool("compare", recorded, GOLDEN_OVERRIDES="seed=7")
    assert ended.returncode == 1
    for name in NAMES:
        for part in ("metrics.val", "hashes.data_hash", "tables.metrics.csv", "checkpoints.last.values"):
            assert f"{name}: {part}" in ended.stdout
    assert "0 of 2 runs equal to the last bit" in ended.stdout


@pytest.mark.slow
def test_a_rename_is_told_from_a_change_of_numbers(recorded):
    before = json.loads(recorded.read_text())["runs"]["pair_moons"]
    assert compare(before, before) == []
    renamed = copy.deepcopy(before)
    weights = renamed["checkpoints"]["last"]
    old = weights["names"][0]
    weights["names"][0] = "elsewhere.weight"
    (said,) = compare(before, renamed)
    assert said.startswith("checkpoints.last.names: 1 tensors renamed, their numbers the same")
    assert old in said
    changed = copy.deepcopy(before)
    changed["checkpoints"]["last"]["values"][0][2] = "0" * 64
    (said,) = compare(before, changed)
    assert said == f"checkpoints.last.values: 1 of {len(weights['names'])} tensors differ in their numbers: {old}"
    changed = copy.deepcopy(before)
    changed["metrics"]["test/target/acc"] += 2**-52
    (said,) = compare(before, changed)
    assert said.startswith("metrics.test/target/acc: ")
