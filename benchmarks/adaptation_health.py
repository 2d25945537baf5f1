"""Hold the verdict on an adaptation's health against what it gained: pairs of domains, methods and seeds.

    uv run python benchmarks/adaptation_health.py run outputs/health
    uv run python benchmarks/adaptation_health.py collect outputs/health
    uv run python benchmarks/adaptation_health.py count

``run`` starts one sweep for each pair and seed, every method beside no adaptation; it needs ``TL_LAB_DATA`` and takes
about 40 minutes of CPU time. ``collect`` writes docs/results/adaptation_health.json: what was measured at the head of
each run, without labels of the target, and its accuracy on the target's test set. ``count`` reads that file and prints
how often the verdict has the sign of the gain, on the pairs that fixed its thresholds and on the others.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "results" / "adaptation_health.json"
METHODS = ["none", "dann", "dann_paper", "cdan", "mmd", "jmmd", "coral", "mcd", "mdd", "mcc", "afn", "self_training"]
SEEDS = (0, 1)
_DIGITS = ["backbone=lenet", "backbone.batch_norm=true", "data.batch_size=32", "data.batches_per_epoch=150"]
_DIGITS += ["trainer.max_epochs=4", "trainer.check_val_every_n_epoch=4"]
_FEWER = ["data.source_count=7000", "data.target_count=7000"]
_REVIEWS = ["data=amazon_reviews", "backbone=mlp", "backbone.hidden=[100]", "trainer.max_epochs=5"]
PAIRS = {
    "printed_to_handwritten": ["data=printed_to_handwritten", *_DIGITS],
    "mnist_to_usps": ["data=mnist_usps", "data.pair=mnist_to_usps", *_DIGITS, *_FEWER],
    "usps_to_mnist": ["data=mnist_usps", "data.pair=usps_to_mnist", *_DIGITS, *_FEWER],
    "moons": ["data=moons", "backbone=mlp", "trainer.max_epochs=40", "trainer.check_val_every_n_epoch=40"],
    "books_to_kitchen": [*_REVIEWS, "data.pair=books_to_kitchen"],
    "dvd_to_electronics": [*_REVIEWS, "data.pair=dvd_to_electronics"],
}


def run(folder: Path) -> None:
    """Train every pair, method and seed; sweeps that are complete are left as they are."""
    for seed in SEEDS:
        for pair, overrides in PAIRS.items():
            sweep = folder / f"{pair}-{seed}"
            if (sweep / "done").exists():
                continue
            strong = ["domain_adaptation.strong=null"] if "backbone=mlp" in overrides else []
            quiet = ["logger=none", "validator=[]", "figures=false", "trainer.enable_progress_bar=false"]
            fixed = [*overrides, *quiet, f"seed={seed}"]
            usual = [name for name in METHODS if name != "self_training"]
            for number, (methods, more) in enumerate([(usual, []), (["self_training"], strong)]):
                choice = [f"domain_adaptation={','.join(methods)}", f"hydra.sweep.dir={sweep}/{number}"]
                subprocess.run([sys.executable, "train.py", "-m", *fixed, *more, *choice], cwd=ROOT, check=False)
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


if __name__ == "__main__":
    {"run": run, "collect": collect}[sys.argv[1]](*map(Path, sys.argv[2:]))
