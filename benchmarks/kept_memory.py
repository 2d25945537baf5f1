"""What it saves to keep freed memory for the next tensor of its size, in training steps on the CPU.

    uv run python benchmarks/kept_memory.py

Writes docs/results/kept_memory.json.
Forward, backward and update of three networks on noise, in processes of their own that take turns, with and without
:func:`tl_lab.run.allocator.keep_freed_memory`; CPU time, the kernel's included, and peak memory. One thread.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from quiet import cpu_seconds
from torch import nn
from torch.nn import functional as F

from tl_lab.backbones.base import Backbone
from tl_lab.backbones.conv4 import Conv4
from tl_lab.backbones.lenet import LeNet
from tl_lab.backbones.torchvision import Torchvision
from tl_lab.results.folder.files import write_json
from tl_lab.run.allocator import keep_freed_memory

CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "LeNet, 128 images of 28x28": (lambda: LeNet(in_channels=1, input_size=(28, 28)), (128, 1, 28, 28)),
    "Conv4, 360 images of 28x28": (lambda: Conv4(in_channels=1, input_size=(28, 28)), (360, 1, 28, 28)),
    "ResNet-18, 32 images of 96x96": (lambda: Torchvision(name="resnet18"), (32, 3, 96, 96)),
}


def step_seconds(name: str, steps: int) -> float:
    """Train on noise; CPU seconds a step, the first steps left out."""
    make, shape = CASES[name]
    backbone: Backbone = make()
    network = nn.Sequential(backbone, nn.Linear(backbone.num_features, 10)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    x = torch.rand(shape).to(memory_format=torch.channels_last)
    y = torch.arange(shape[0]) % 10
    for step in range(5 + steps):
        if step == 5:
            began = cpu_seconds()
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
    return (cpu_seconds() - began) / steps


def measure(name: str, steps: int, kept: bool) -> dict[str, float]:
    """Measure in a process of its own."""
    # a setting of the user's, here one without effect, is left alone
    environment = {**os.environ, **({} if kept else {"GLIBC_TUNABLES": "glibc.malloc.check=0"})}
    command = [sys.executable, __file__, "--only", name, "--steps", str(steps)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    assert found.pop("kept") == kept
    return found


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=30, help="timed steps of each process (default: %(default)s)")
    options.add_argument("--repeats", type=int, default=5, help="processes of each kind (default: %(default)s)")
    options.add_argument("--only", choices=CASES, help="measure one case in this process and print it")
    given = options.parse_args()
    torch.set_num_threads(1)
    if given.only:
        kept = keep_freed_memory()
        seconds = step_seconds(given.only, given.steps)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(json.dumps({"kept": kept, "seconds": seconds, "peak_mb": peak}))
        return
    results = []
    for name in CASES:
        turns = [[measure(name, given.steps, kept) for kept in (False, True)] for _ in range(given.repeats)]
        ratios = [without["seconds"] / with_it["seconds"] for without, with_it in turns]
        before, after = (
            {key: statistics.median(turn[side][key] for turn in turns) for key in turns[0][side]} for side in (0, 1)
        )
        results.append(
            {
                "case": name,
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "without": before,
                "kept": after,
            }
        )
        print(f"{name}: {results[-1]['ratio']:.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)
    facts = {"torch": torch.__version__.split("+")[0], "steps": given.steps, "repeats": given.repeats}
    write_json(Path(__file__).parent.parent / "docs" / "results" / "kept_memory.json", {**facts, "cases": results})


if __name__ == "__main__":
    main()
