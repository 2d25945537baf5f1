"""How long the parts of an assessment take, and how long whole ones take by their commands."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from assess_findings import Finding, material_of
from torch import Tensor

from tl_lab.assess.material import Material
from tl_lab.assess.results import PartResult
from tl_lab.assess.running import run_parts
from tl_lab.functional.gaussian_distance import otdd
from tl_lab.functional.log_evidence import logme
from tl_lab.randomness import generator

SAMPLES, WIDTH, CLASSES, BACKBONES = 5000, 512, 10, 4
PARTS = ("similarity", "transferability", "calibration")
LIMIT = 180
"""Seconds that ``assess=quick`` may take on two cores."""
COMMANDS = (
    ("data=printed_to_handwritten", "backbone=lenet"),
    ("data=compas",),
    ("data=office_caltech10", "backbone=efficientnet_lite0"),
)


def speed() -> Finding:
    """Time the parts on cached features, and quick assessments from their commands on, with an empty cache."""
    draw = generator(0, "benchmark of assess")
    (x, y), (z, w) = _labelled(draw), _labelled(draw)
    cached = _cached()
    parts = f"similarity, ranking of {BACKBONES} cached backbones and of raw inputs, calibration; {SAMPLES:,} samples"
    rows = [
        _timed(f"LogME, {SAMPLES:,} x {WIDTH}, {CLASSES} classes", 2, lambda: logme(x, y)),
        _timed("OTDD, 1,000 against 1,000", 30, lambda: otdd(x[:1000], y[:1000], z[:1000], w[:1000])),
        _timed(parts, 60, lambda: _run(cached)),
    ]
    slow = [row[0] for row in rows if float(row[1]) > float(row[3])]
    commands = [_command(*words) for words in COMMANDS]
    slow += [row[0] for row in commands if float(row[2]) > float(row[3])]
    sentence = f"Above its limit: {', '.join(slow)}." if slow else "All times are below their limits."
    return Finding(
        "How long do parts of an assessment take on one core, and whole commands?",
        ["part or command", "CPU, s", "wall, s", "limit, s"],
        [*rows, *commands],
        f"{sentence} Limits of parts apply to CPU time on one core, those of commands to wall time on two; the "
        "commands start with an empty cache of features.",
    )


def _timed(label: str, limit: int, work: Callable[[], Any]) -> list[str]:
    used, began = time.process_time(), time.perf_counter()
    work()
    return [label, f"{time.process_time() - used:.1f}", f"{time.perf_counter() - began:.1f}", str(limit)]


def _command(*words: str) -> list[str]:
    """Assess in a program of its own."""
    with tempfile.TemporaryDirectory() as place:
        used, began = _children(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "tl_lab", "assess", *words, "--output", f"{place}/assessment"],
            env=os.environ | {"TL_LAB_CACHE": f"{place}/cache"}, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        wall = time.perf_counter() - began
    return [f"`assess {' '.join(words)}`", f"{_children() - used:.1f}", f"{wall:.1f}", str(LIMIT)]


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _labelled(draw: torch.Generator, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Draw features around class means, ``(N, D)``, and their classes, which may be given."""
    y = torch.randint(CLASSES, (SAMPLES,), generator=draw) if y is None else y
    means = 0.3 * torch.randn(CLASSES, WIDTH, generator=generator(1, "means of classes"))
    return torch.randn(len(y), WIDTH, generator=draw) + means[y], y


def _cached() -> Material:
    """Read MNIST and USPS, and give four backbones features that need no reading."""
    words = ["data=mnist_usps", "backbone=lenet", "assess=quick", f"assess.samples={SAMPLES}"]
    material = material_of(*words, f"assess.parts=[{','.join(PARTS)}]")
    (one,) = material.subjects
    material.subjects = tuple(replace(one, name=f"backbone {k}") for k in range(BACKBONES))
    for k, subject in enumerate(material.subjects):
        draw = generator(k, "features of a backbone")
        for name, samples in material.drawn.items():
            y = torch.randint(CLASSES, (len(samples),), generator=draw) if samples.y is None else samples.y
            material._features[subject.name, name] = _labelled(draw, y)[0]
    return material


def _run(material: Material) -> None:
    """Run the parts as the command does; one that fails would be quick."""
    for part in run_parts(material, {}).values():
        if not isinstance(part, PartResult):
            raise RuntimeError(part.why)
