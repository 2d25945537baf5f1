"""How long does ``python -m tl_lab report`` take over 1,000 runs, figures and page included?

    python benchmarks/report.py                 # print
    python benchmarks/report.py --store         # and write docs/results/report.json
    python benchmarks/report.py --keep <folder> # keep the made-up sweep, to look at its page

The runs are made up: 5 methods x 10 pairs of domains x 4 rates x 5 seeds, each with results.json, overrides and a
metrics.csv of 200 rows. Each repeat is a process of its own, imports included.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np

from tl_lab.results.folder.files import write_json

STORED = Path(__file__).resolve().parent.parent / "docs" / "results" / "report.json"
METHODS = {"none": 0.0, "coral": 0.03, "mmd": 0.05, "dann": 0.045, "cdan": 0.055}
PAIRS = [f"{a}_to_{b}" for a, b in product("abcd", repeat=2) if a != b][:10]
RATES = ("0.0003", "0.001", "0.003", "0.01")
SEEDS = 5


def main() -> None:
    """Make the runs, measure, print and, where asked, store."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--keep", type=Path, help="where to make the runs; default: a temporary folder")
    options.add_argument("--store", action="store_true", help=f"write {STORED.name}")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        runs = make_runs(folder)
        found = measure(folder, chosen.repeats) | {"runs": runs, "repeats": chosen.repeats}
    print(json.dumps(found, indent=2))
    if chosen.store:
        STORED.write_text(json.dumps(found, indent=2) + "\n")


def make_runs(folder: Path) -> int:
    """Write made-up runs below a folder and count them; one in a hundred has failed."""
    draw = np.random.default_rng(0)
    jobs = list(product(METHODS, PAIRS, RATES, range(SEEDS)))
    for number, (method, pair, rate, seed) in enumerate(jobs):
        run = folder / str(number)
        (run / ".hydra").mkdir(parents=True)
        overrides = ["data=mnist_usps", f"domain_adaptation={method}", f"data.pair={pair}", f"optimizer.lr={rate}"]
        text = "".join(f"- {line}\n" for line in [*overrides, f"seed={seed}"])
        (run / ".hydra" / "overrides.yaml").write_text(text)
        level = 0.55 + 0.03 * PAIRS.index(pair) + METHODS[method] - 0.02 * abs(RATES.index(rate) - 1)
        scores = np.clip(level + 0.02 * draw.standard_normal(2), 0, 1)
        failed = number % 100 == 99
        write_json(
            run / "results.json",
            {
                "schema": 1, "status": "failed" if failed else "completed", "seed": seed, "oracle": False,
                "error": "the loss is NaN at update 120" if failed else None, "duration_s": 20 + 5 * draw.random(),
                "parameters": {"total": 431080, "trainable": 431080}, "versions": {"torch": "2.15.0"},
                "git_commit": "0" * 40, "device": "cpu", "config_hash": f"{number:064x}", "data_hash": pair,
                "name": f"{method}-from_scratch-mnist_usps", "tested_checkpoint": "last",
                "protocol": {"protocol": "inductive"}, "sizes": {"source/train": 2000},
                "metrics": {} if failed else {
                    "test/target/acc": scores[0], "test/source/acc": scores[1], "test/target/f1_macro": scores[0],
                },
            },
        )  # fmt: skip
        steps = np.arange(10, 2001, 10)
        curve = level * (1 - np.exp(-steps / 300)) + 0.01 * draw.standard_normal(len(steps))
        rows = [f"{s // 200},{s},{np.exp(-s / 500):.5f},{v:.5f}" for s, v in zip(steps, curve, strict=True)]
        (run / "metrics.csv").write_text("\n".join(["epoch,step,train/loss,val/source/acc", *rows]) + "\n")
    return len(jobs)


def measure(folder: Path, repeats: int) -> dict[str, float]:
    """Report several times and give the median of the wall-clock and CPU seconds of the whole process."""
    wall, cpu = [], []
    for _ in range(repeats):
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-m", "tl_lab", "report", str(folder)], check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall.append(time.monotonic() - began)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {
        "wall_s_median": round(statistics.median(wall), 2),
        "cpu_s_median": round(statistics.median(cpu), 2),
        "cpu_s_max": round(max(cpu), 2),
    }


if __name__ == "__main__":
    main()
