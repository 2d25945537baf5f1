"""Do stored runs of papers come out the same to the last digit when anyone runs them again?

    uv run python benchmarks/referee.py                              # three runs, drawn at random: run it every night
    uv run python benchmarks/referee.py --runs 5 --draw 7            # five, of the draw with that seed
    uv run python benchmarks/referee.py --experiment mnist_usps      # of one experiment

Draws runs from docs/results/reproductions, those of a quarter of an hour at most unless ``--longest`` says otherwise,
repeats each in a sweep of one job, and compares every test metric with the stored text. A run is *equal*, or differs
with the versions that differ named (torch, the machine, the configuration's hash), or differs though nothing does: that
alone is a fault, and the exit code is then 1. Needs TL_LAB_DATA for the experiments that read it; runs whose data are
absent are never drawn. Adds what it found to docs/results/referee.json.
"""

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from tl_lab.results.folder.files import write_json
from tl_lab.results.tables.papers import papers, place_of, stored

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "docs" / "results" / "referee.json"
NEEDS_NO_DATA = {"few_shot/printed_to_handwritten", "few_shot/glyphs", "incremental_learning/source_and_target"}
INCOMPLETE = "did not complete"
UNEXPLAINED = "differs, though versions and machine are the same"
Row = dict[str, str]


def main() -> int:
    """Draw, repeat and compare; give the exit code."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--runs", type=int, default=3, help="how many to repeat")
    options.add_argument("--draw", type=int, default=int(date.today().strftime("%Y%m%d")), help="seed of the draw")
    options.add_argument("--longest", type=float, default=900, help="seconds that a run took when it was stored")
    options.add_argument("--experiment", help="one of those that `python -m tl_lab papers` lists; all by default")
    given = options.parse_args()
    rows = candidates(given.experiment, given.longest)
    if not rows:
        print("no stored run fits: set TL_LAB_DATA, or raise --longest")
        return 1
    found = []
    for name, row in random.Random(given.draw).sample(rows, min(given.runs, len(rows))):
        found.append(repeated(name, row))
        print(f"{found[-1]['run']}: {found[-1]['verdict']}", flush=True)
    before = json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else []
    write_json(STORED, [*(one for one in before if one["run"] not in {new["run"] for new in found}), *found])
    return int(any(one["verdict"].startswith((UNEXPLAINED, INCOMPLETE)) for one in found))


def candidates(experiment: str | None, longest: float) -> list[tuple[str, Row]]:
    """List the stored runs that may be drawn, each with the name of its experiment."""
    found: list[tuple[str, Row]] = []
    for paper in papers():
        here = paper.name in NEEDS_NO_DATA or "TL_LAB_DATA" in os.environ
        if paper.runs is None or not here or experiment not in (None, paper.name):
            continue
        for row in pd.read_csv(place_of(paper.name), dtype=str, keep_default_na=False).to_dict("records"):
            if float(row["duration_s"]) <= longest and row["device"] == "cpu":
                found.append((paper.name, row))
    return found


def repeated(name: str, row: Row) -> dict[str, Any]:
    """Run a stored row again and compare.

    Args:
        name: of its experiment.
        row: every column as its text in the file.

    Returns:
        What was run, the verdict, and the largest difference of a metric.
    """
    keys = [key for key in row if key.startswith("override.") and row[key]]
    overrides = [f"{key.removeprefix('override.')}={row[key]}" for key in keys] + [f"seed={row['seed']}"]
    arguments = " ".join([f"experiment={name}", *overrides])
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "train.py", "-m", f"experiment={name}", *overrides]
        ended = subprocess.run(
            [*command, f"hydra.sweep.dir={folder}"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            last = (ended.stderr.strip() or ended.stdout.strip() or "nothing said").splitlines()[-1]
            verdict = f"{INCOMPLETE}: {last.replace(folder, '<folder>')}"
            return {"run": arguments, "verdict": verdict, "largest_difference": None, "date": date.today().isoformat()}
        again = as_text(stored(name, [folder], "again"))
    return {"run": arguments, **compared(row, again), "date": date.today().isoformat()}


def as_text(table: pd.DataFrame) -> Row:
    """Read a table's only row as its file would give it."""
    text = io.StringIO(table.to_csv(index=False))
    return pd.read_csv(text, dtype=str, keep_default_na=False).to_dict("records")[0]


def compared(row: Row, again: Row) -> dict[str, Any]:
    """Compare the test metrics of a stored row and of its repetition.

    Args:
        row: as it is stored.
        again: as it came out now, with the same columns.
    """
    metrics = [name for name in row if name.startswith("test/") and row[name]]
    largest = max(abs(float(row[name]) - float(again[name])) for name in metrics)
    if all(row[name] == again[name] for name in metrics):
        return {"verdict": "equal", "largest_difference": 0.0}
    others = [
        f"{what} {row[key] or 'not recorded'} then, {again[key]} now"
        for key, what in {"torch": "torch", "config_hash": "configuration", "machine": "machine"}.items()
        if row.get(key, "") != again[key]
    ]
    reason = f"differs: {'; '.join(others)}" if others else UNEXPLAINED
    return {"verdict": reason, "largest_difference": largest}


if __name__ == "__main__":
    sys.exit(main())
