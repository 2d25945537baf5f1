"""What does one more job of a sweep cost beside its training and test? And does a long sweep grow?

    python benchmarks/sweep_overhead.py              # 12 jobs: what one costs
    python benchmarks/sweep_overhead.py --jobs 200   # 200 tiny jobs: memory, open files and time per job

Everything but ``fit`` and ``test`` counts: the process, composing, checking, data, networks, results, W&B. Checkpoints
are part of fit. CPU time is that of this process and of the jobs, as on a machine where nothing else runs.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from tl_lab.cli import train
from tl_lab.sweeps import running
from tl_lab.sweeps.jobs import Job

STORED = Path(__file__).resolve().parent.parent / "docs" / "results" / "sweep_overhead.json"
TINY = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "health=false"]
TINY += ["trainer.limit_test_batches=1", "data.batch_size=8", "domain_adaptation=none"]
DATA = {
    "printed_to_handwritten": ["data.source_count=200", "data.source_test_count=50", "data.target_test_count=1600"],
    "digits": ["data=digits", "backbone=mlp"],
}


def main() -> None:
    """Measure, print and, where asked, store."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--jobs", type=int, default=12)
    options.add_argument("--data", choices=list(DATA), default="digits")
    options.add_argument("--logger", choices=["none", "wandb"], default="none")
    options.add_argument("--store", action="store_true", help="write docs/results/sweep_overhead.json")
    chosen = options.parse_args()
    overrides = [*TINY, *DATA[chosen.data], f"logger={chosen.logger}"]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), chosen.jobs, overrides)
    found = summarise(rows) | {"data": chosen.data, "logger": chosen.logger}
    print(json.dumps(found, indent=2))
    if chosen.store:
        stored = json.loads(STORED.read_text()) if STORED.exists() else {}
        stored[f"{chosen.data}, logger={chosen.logger}, {chosen.jobs} jobs"] = found
        STORED.write_text(json.dumps(stored, indent=2) + "\n")


def measure(folder: Path, jobs: int, overrides: list[str]) -> list[dict[str, float]]:
    """Run a sweep over seeds and take down, a row a job, its times and what this process then holds."""
    spent, rows = folder / "spent.jsonl", list[dict[str, float]]()
    _time_training(spent)
    settle, prepare = running._settle, running.prepare
    before = [0.0, 0.0]

    def prepared(first: Job) -> None:
        prepare(first)
        before[:] = _clock()

    def settled(job: Any, child: Any, progress: Any) -> Any:
        returned = settle(job, child, progress)
        now, last = _clock(), json.loads(spent.read_text().splitlines()[-1])
        rows.append(
            {
                "wall_s": now[0] - before[0] - last["wall_s"],
                "cpu_s": now[1] - before[1] - last["cpu_s"],
                "memory_mb": _memory_mb(),
                "files": sum(1 for _ in Path("/proc/self/fd").iterdir()),
            }
        )
        before[:] = now
        return returned

    running.prepare, running._settle = prepared, settled
    train.main(["-m", f"seed=range({jobs})", *overrides, f"hydra.sweep.dir={folder / 'sweep'}"])
    return rows


def _clock() -> tuple[float, float]:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(each.ru_utime + each.ru_stime for each in used)


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _time_training(spent: Path) -> None:
    """Have each job take down what its fit and test cost."""
    total = [0.0, 0.0]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*given: Any, **named: Any) -> Any:
            began = time.perf_counter(), time.process_time()
            try:
                return function(*given, **named)
            finally:
                total[0] += time.perf_counter() - began[0]
                total[1] += time.process_time() - began[1]

        return wrapper

    for name in ("fit", "test"):
        setattr(pl.Trainer, name, timed(getattr(pl.Trainer, name)))
    run = Job.run

    def noted(self: Job, tell: Callable[[Any], None], gpu: str | None = None) -> dict[str, Any]:
        value = run(self, tell, gpu)
        with spent.open("a") as file:
            file.write(json.dumps({"wall_s": total[0], "cpu_s": total[1]}) + "\n")
        return value

    Job.run = noted  # type: ignore[method-assign]


def summarise(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Give the median of the jobs, and how the last quarter differs from the first."""
    quarter = max(len(rows) // 4, 1)
    found: dict[str, Any] = {"jobs": len(rows)}
    for name in rows[0]:
        first, last = ([row[name] for row in part] for part in (rows[:quarter], rows[-quarter:]))
        found[name] = {
            "median": round(statistics.median(row[name] for row in rows), 3),
            "first quarter": round(statistics.median(first), 3),
            "last quarter": round(statistics.median(last), 3),
        }
    found["where"] = f"{os.cpu_count()} cores ({platform.machine()}), PyTorch {torch.__version__}, 1 thread"
    return found


if __name__ == "__main__":
    main()
