"""Hold the verdict on an adaptation's health against what it gained: pairs of domains, methods and seeds.

    uv run python benchmarks/adaptation_health.py run outputs/health
    uv run python benchmarks/adaptation_health.py collect outputs/health
    uv run python benchmarks/adaptation_health.py count

``run`` starts one sweep for each pair, every method beside no adaptation; it needs ``TL_LAB_DATA`` and takes about 40
minutes of CPU time. ``collect`` writes docs/results/adaptation_health.json: what was measured at the head of
each run, without labels of the target, and its accuracy on the target's test set. ``count`` reads that file and prints
how often the verdict has the sign of the gain, on the pairs that fixed its thresholds and on the others.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tl_lab.watching.health import verdict

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "results" / "adaptation_health.json"
METHODS = ["none", "dann", "dann_paper", "cdan", "mmd", "jmmd", "coral", "mcd", "mdd", "mcc", "afn", "self_training"]
SEED = 0
FIXED = ("printed_to_handwritten", "moons")  # the pairs that fixed the verdict's limits
NEITHER = 0.01  # a gain below this, either way, is none: the test sets hold 150 to 2,000 samples
_DIGITS = ["backbone=lenet", "backbone.batch_norm=true", "data.batch_size=32", "data.batches_per_epoch=150"]
_DIGITS += ["trainer.max_epochs=4", "trainer.check_val_every_n_epoch=4"]
_FEWER = ["data.source_count=7000", "data.target_count=7000"]
_REVIEWS = ["data=amazon_reviews", "backbone=mlp", "backbone.hidden=[100]", "trainer.max_epochs=5"]
PAIRS = {
    "printed_to_handwritten": ["data=printed_to_handwritten", *_DIGITS],
    "moons": ["data=moons", "backbone=mlp", "trainer.max_epochs=40", "trainer.check_val_every_n_epoch=40"],
    "books_to_kitchen": [*_REVIEWS, "data.pair=books_to_kitchen"],
    "dvd_to_electronics": [*_REVIEWS, "data.pair=dvd_to_electronics"],
    "mnist_to_usps": ["data=mnist_usps", "data.pair=mnist_to_usps", *_DIGITS, *_FEWER],
    "usps_to_mnist": ["data=mnist_usps", "data.pair=usps_to_mnist", *_DIGITS, *_FEWER],
}


def run(folder: Path) -> None:
    """Train every pair and method; sweeps that are complete are left as they are."""
    quiet = ["logger=none", "validator=[]", "figures=false", "trainer.enable_progress_bar=false", f"seed={SEED}"]
    for pair, overrides in PAIRS.items():
        sweep = folder / f"{pair}-{SEED}"
        if (sweep / "done").exists():
            continue
        # self-training changes images, which points and counts of words are not
        methods = METHODS if "backbone=lenet" in overrides else METHODS[:-1]
        choice = [f"domain_adaptation={','.join(methods)}", f"hydra.sweep.dir={sweep}/0"]
        subprocess.run([sys.executable, "train.py", "-m", *overrides, *quiet, *choice], cwd=ROOT, check=False)
        (sweep / "done").touch()


def collect(folder: Path) -> None:
    """Write what the runs' folders say."""
    rows = []
    for path in sorted(folder.glob("*/*/*/results.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        if results["status"] != "completed":
            continue
        health = results["health"]
        rows.append(
            {
                "pair": path.parents[2].name.rsplit("-", 1)[0],
                "method": results["choices"]["domain_adaptation"],
                "seed": results["seed"],
                "head": {name: round(value, 5) for name, value in health["head"].items()},
                "a_distance": round(health["a_distance"], 4),
                "source_score": health["source_score"],
                "target_acc": round(results["metrics"]["test/target/acc"], 5),
            }
        )
    text = ",\n".join(json.dumps(row) for row in rows)
    OUT.write_text(f"[\n{text}\n]\n", encoding="utf-8")


def count() -> None:
    """Print how often the verdict has the sign of the gain: with its own limits, and with those that two pairs fix."""
    pairs = judged(json.loads(OUT.read_text(encoding="utf-8")))
    print("pair, right, of so many decided, undecided, with the limits as they are")
    for pair, cases in pairs.items():
        print(f"{pair}, {format_counts(cases)}{', fixed the limits' if pair in FIXED else ''}")
    for name, those in (("fixed the limits", True), ("others", False)):
        print(f"{name}, {format_counts([case for pair in pairs if (pair in FIXED) is those for case in pairs[pair]])}")
    print("pairs that fix the limits, right, of so many decided, undecided, on all others")
    limits = list(itertools.product((-0.1, -0.05, 0.0, 0.05, 0.1, 0.2), (0.03, 0.05, 0.1)))
    for two in itertools.combinations(pairs, 2):
        best = max(limits, key=lambda each: sum(right_less_wrong(pairs[pair], *each) for pair in two))
        rest = [case for pair, cases in pairs.items() if pair not in two for case in cases]
        print(f"{' and '.join(two)}, {best}: {format_counts(rest, *best)}")


def judged(rows: list[Row]) -> dict[str, list[tuple[Row, Row]]]:
    """Pair each run that gained or lost with the one without adaptation, by pair of domains."""
    without = {row["pair"]: row for row in rows if row["method"] == "none"}
    cases: dict[str, list[tuple[Row, Row]]] = {}
    for row in rows:
        base = without.get(row["pair"])
        if base is not None and abs(row["target_acc"] - base["target_acc"]) >= NEITHER:
            cases.setdefault(row["pair"], []).append((row, base))
    return cases


def counts(cases: list[tuple[Row, Row]], *limits: float) -> tuple[int, int, int]:
    """Count the verdicts that have the sign of the gain, those that have the other, and those left undecided."""
    signs = [verdict(r["head"], b["head"], r["source_score"], b["source_score"], *limits) for r, b in cases]
    gains = [r["target_acc"] > b["target_acc"] for r, b in cases]
    right = sum(sign is not None and sign != 0 and (sign > 0) == gain for sign, gain in zip(signs, gains, strict=True))
    undecided = sum(not sign for sign in signs)
    return right, len(cases) - right - undecided, undecided


def right_less_wrong(cases: list[tuple[Row, Row]], *limits: float) -> int:
    """Score limits: a verdict counts by its sign, an undecided one as nothing."""
    right, wrong, _ = counts(cases, *limits)
    return right - wrong


def format_counts(cases: list[tuple[Row, Row]], *limits: float) -> str:
    """Write the counts as a row."""
    right, wrong, undecided = counts(cases, *limits)
    return f"{right}, {right + wrong}, {undecided}"


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"run": run, "collect": collect, "count": count}
    commands[sys.argv[1]](*map(Path, sys.argv[2:]))
