"""CPU time from the command to the end of the first update: ``python benchmarks/start_up.py data=digits``.

Each start is a process of its own on a warm file cache; the least of several is printed, beside that of
``import torch`` alone, which says how fast the machine is just now.
"""

import os
import subprocess
import sys
import tempfile

__all__ = ["main"]

_REPEATS = 3
_IMPORT = """
import os, {module}
print(sum(os.times()[:2]))
"""
_FIRST_STEP = """
import os, sys
import tl_lab.cli.train as program

original = program._experiment

def experiment():
    run = original()
    from torch.optim.optimizer import register_optimizer_step_post_hook

    def stop(*_):
        print(sum(os.times()[:2]), file=sys.stderr, flush=True)
        os._exit(0)

    register_optimizer_step_post_hook(stop)
    return run

program._experiment = experiment
program.main(sys.argv[1:])
"""


def main(overrides: list[str]) -> None:
    """Measure a start with some overrides, and its parts that are other packages' imports."""
    for module in ("torch", "torch._dynamo", "pytorch_lightning"):
        print(f"import {module:18} {_least(_IMPORT.format(module=module), []):5.1f} s")
    print(f"to the first update {_least(_FIRST_STEP, overrides):9.1f} s   {' '.join(overrides)}")


def _least(code: str, argv: list[str]) -> float:
    return min(_measure(code, argv) for _ in range(_REPEATS))


def _measure(code: str, argv: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "TL_LAB_OUTPUTS": folder}
        command = [sys.executable, "-c", code, *argv]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float((done.stdout if not argv else done.stderr).split()[-1])


if __name__ == "__main__":
    main(sys.argv[1:] or ["data=digits", "logger=none"])
