"""Does a run that is killed at any of its writes end, once resumed, as one that was never killed?

    python benchmarks/reliability.py                        # every write of every case
    python benchmarks/reliability.py --cases ewc --kills 20  # the first 20 of the cases whose name holds "ewc"

For each case (a strategy with a scenario, or a method on two domains) a run without a kill is made first, and its
writes are counted: every file of a run gets its name by one call. Then a run for each write is killed, in turn before
and after the file has its name, and resumed; everything in the folder is compared: metrics, protocol, tables, matrices,
figures, weights, optimizers, random states. What the clock says is left out.
"""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from portable import portable

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from killing import contents, count_writes, differing, run_with_kills  # noqa: E402

import tl_lab.run.experiment  # noqa: E402, F401  (once for all processes)

STORED = ROOT / "docs" / "results" / "reliability.json"
SMALL = ["logger=none", "threads=1", "trainer.enable_progress_bar=false", "backbone=mlp", "backbone.hidden=[8]"]
DRAWN = ("ewc, class", "pair, dann", "set, from_scratch")  # the others draw no figures, which takes most of the time
STREAM = ["data=split_digits", "data.num_tasks=2", "data.batches_per_epoch=2", "trainer.max_epochs=1"]
PAIR = ["data=printed_to_handwritten", "data.source_count=200", "data.source_test_count=50"]
PAIR += ["data.target_test_count=50", "data.batches_per_epoch=2", "trainer.max_epochs=2"]
CONTINUAL = ["naive", "joint", "ewc", "online_ewc", "si", "mas", "lwf", "replay", "a_gem", "der_plus_plus"]
METHODS = ["none", "dann", "mcd", "adda", "self_training", "mmd", "importance_weighting"]


def cases() -> dict[str, list[str]]:
    """Give the overrides of each case by its name."""
    found = {}
    for scenario in ("class", "domain", "task"):
        for strategy in CONTINUAL:
            if (strategy, scenario) != ("lwf", "domain"):
                found[f"{strategy}, {scenario}"] = [*STREAM, f"strategy={strategy}", f"data.scenario={scenario}"]
    for method in METHODS:
        found[f"pair, {method}"] = [*PAIR, f"domain_adaptation={method}"]
    found["set, from_scratch"] = ["data=digits", "data.labels=100", "trainer.max_epochs=3"]
    return {
        name: [*SMALL, *overrides, f"figures={str(name in DRAWN).lower()}"]
        for name, overrides in sorted(found.items(), key=lambda case: case[0] not in DRAWN)
    }


def kills(writes: int) -> Iterator[tuple[int, bool]]:
    """Name the places of a run's kills: a write, and whether the file has its name already."""
    for number in range(1, writes + 1):
        yield number, number % 2 == 0


def main() -> None:
    """Kill, resume, compare; the stored result grows with every kill."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", default="", help="part of the names of the cases to try")
    options.add_argument("--kills", type=int, default=10**6, help="how many at most")
    options.add_argument("--store", action="store_true", help="write docs/results/reliability.json")
    chosen = options.parse_args()
    left, rows = chosen.kills, list[dict[str, Any]]()
    for name, overrides in cases().items():
        if chosen.cases in name and left > 0:
            row = _try(name, overrides, left)
            rows.append(row)
            left -= row["kills"]
            print(json.dumps(row), flush=True)
            if chosen.store:
                _store(rows)


def _try(name: str, overrides: list[str], at_most: int) -> dict[str, Any]:
    """Kill one case at each of its writes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        writes = count_writes(folder / "unbroken", overrides)
        unbroken = contents(folder / "unbroken")
        equal, wrong = 0, {}
        places = list(kills(writes))[:at_most]
        for number, whole in places:
            killed = folder / f"killed_{number}"
            run_with_kills(killed, overrides, [(number, whole)])
            places_that_differ = differing(unbroken, contents(killed))
            equal += not places_that_differ
            if places_that_differ:
                wrong[f"{'after' if whole else 'before'} write {number}"] = places_that_differ[:5]
    return {"case": name, "writes": writes, "kills": len(places), "equal": equal, "different": wrong}


def _store(rows: list[dict[str, Any]]) -> None:
    """Write the rows, and how many kills of how many left no trace."""
    said = {
        "kills": sum(row["kills"] for row in rows),
        "equal": sum(row["equal"] for row in rows),
        "cases": len(rows),
        "of_cases": len(cases()),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    STORED.write_text(json.dumps(portable({**said, "rows": rows}), indent=2) + "\n")


if __name__ == "__main__":
    main()
