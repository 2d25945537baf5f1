"""CPU time from the command to the end of the first update, and the imports in it that belong to other packages.

    uv run python benchmarks/start_up.py

Writes docs/results/start_up.json. Each start is a process of its own on a warm file cache, and all of them take turns;
the least of several counts. ``import torch`` alone says how fast the machine is just now, so every time is also given
as a multiple of it.
"""

import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from tl_lab.results.folder.files import write_json

__all__ = ["main"]

_RESULT = Path(__file__).parents[1] / "docs" / "results" / "start_up.json"
_REPEATS = 5
_MODULES = ("torch", "torch._dynamo", "pytorch_lightning", "wandb")
_COMMANDS = (("data=digits", "logger=none"), ("data=digits",))
_IMPORT = """
import os, {module}
print(sum(os.times()[:2]))
"""
_FIRST_STEP = """
import os, sys
import tl_lab.cli.job as program
from tl_lab.cli.train import main as program_main

original = program.experiment

def experiment():
    run = original()
    from torch.optim.optimizer import register_optimizer_step_post_hook

    def stop(*_):
        print(sum(os.times()[:2]), file=sys.stderr, flush=True)
        os._exit(0)

    register_optimizer_step_post_hook(stop)
    return run

program.experiment = experiment
program_main(sys.argv[1:])
"""


def main() -> None:
    """Measure the starts in turn, print a table and store it."""
    starts: dict[str, tuple[str, list[str]]] = {
        f"import {module}": (_IMPORT.format(module=module), []) for module in _MODULES
    }
    starts |= {f"first update, {' '.join(words)}": (_FIRST_STEP, list(words)) for words in _COMMANDS}
    measured: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(_REPEATS):
        for name, (code, argv) in starts.items():
            measured[name].append(_measure(code, argv))
    torch_alone = min(measured["import torch"])
    rows = [
        {
            "start": name,
            "cpu_s": round(min(times), 2),
            "cpu_s_all": [round(time, 2) for time in times],
            "times_import_torch": round(min(times) / torch_alone, 2),
        }
        for name, times in measured.items()
    ]
    for row in rows:
        print(f"{row['start']:40} {row['cpu_s']:6.2f} s   {row['times_import_torch']:5.2f} x import torch")
    versions = {name: metadata.version(name) for name in ("torch", "pytorch-lightning", "torchmetrics", "wandb")}
    write_json(_RESULT, {"repeats": _REPEATS, "versions": versions, "starts": rows})


def _measure(code: str, argv: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "TL_LAB_OUTPUTS": folder}
        command = [sys.executable, "-c", code, *argv]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float((done.stdout if not argv else done.stderr).split()[-1])


if __name__ == "__main__":
    main()
