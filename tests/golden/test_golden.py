"""The tool that compares golden runs: equal runs are equal, a planted difference is found and named."""

import copy
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import driver
import pytest
import record
from digests import compare

HERE = Path(__file__).resolve().parent
NAMES = ["class_weights_and_smoothing", "pair_moons"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Record by the command line, whose driver imports the code itself."""
    path = tmp_path_factory.mktemp("golden") / "golden.json"
    command = [sys.executable, str(HERE / "record.py"), "record", "--output", str(path), "--only", ",".join(NAMES)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"tl_lab: {HERE.parents[1] / 'tl_lab'}" in ended.stdout
    return path


@pytest.fixture
def compared(recorded, monkeypatch, capsys):
    """Compare with what is recorded; the driver is forked from this process, which has imported the code."""
    monkeypatch.setattr(record, "drive", _fork)

    def compare() -> tuple[int, str]:
        return record.main(["compare", str(recorded), "--only", ",".join(NAMES)]), capsys.readouterr().out

    return compare


def _fork(work: Path, environment: dict[str, str], argv: list[str]) -> None:
    if (pid := os.fork()) == 0:
        code = 1
        try:
            os.chdir(work)
            os.environ.update(environment)
            sys.argv[1:] = argv
            driver.main()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.slow
def test_equal_runs_are_equal(compared):
    code, printed = compared()
    assert code == 0, printed
    assert "2 of 2 runs equal to the last bit" in printed


@pytest.mark.slow
def test_another_seed_is_found_in_weights_metrics_and_hashes(compared, monkeypatch):
    monkeypatch.setenv("GOLDEN_OVERRIDES", "seed=7")
    code, printed = compared()
    assert code == 1
    for name in NAMES:
        for part in ("metrics.val", "hashes.data_hash", "tables.metrics.csv", "checkpoints.last.values"):
            assert f"{name}: {part}" in printed
    assert "0 of 2 runs equal to the last bit" in printed


@pytest.mark.slow
def test_a_rename_is_distinguished_from_a_change_of_numbers(recorded):
    before = json.loads(recorded.read_text())["runs"]["pair_moons"]
    assert compare(before, before) == []
    renamed = copy.deepcopy(before)
    weights = renamed["checkpoints"]["last"]
    old = weights["names"][0]
    weights["names"][0] = "elsewhere.weight"
    (difference,) = compare(before, renamed)
    assert difference.startswith("checkpoints.last.names: 1 tensors renamed, their numbers the same")
    assert old in difference
    changed = copy.deepcopy(before)
    changed["checkpoints"]["last"]["values"][0][2] = "0" * 64
    (difference,) = compare(before, changed)
    assert difference == f"checkpoints.last.values: 1 of {len(weights['names'])} tensors differ in their numbers: {old}"
    changed = copy.deepcopy(before)
    changed["metrics"]["test/target/acc"] += 2**-52
    (difference,) = compare(before, changed)
    assert difference.startswith("metrics.test/target/acc: ")
