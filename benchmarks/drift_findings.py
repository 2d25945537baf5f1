"""Drift in data with a natural order, for benchmarks/assess.py."""

from collections import defaultdict

import numpy as np
import torch
from assess_findings import Finding, material_of
from torch import Tensor

from tl_lab.assess.detectors import Drift, Reference, detect, reference_of
from tl_lab.assess.probes import Probe, fit_probe
from tl_lab.assess.results import wilson
from tl_lab.functional.calibration import temperature
from tl_lab.results.report.blocks import p_cell

_WINDOWS = 8


def electricity_in_time(size: int = 1000, draws: int = 200, alpha: float = 0.05) -> Finding:
    """Hold later half hours of Elec2 against the first ones, and halves of the first ones against each other.

    Args:
        size: half hours of a window; a probe is fitted to as many, and as many others of the same time are the
            reference.
        draws: of random halves of the reference, for the rate of false alarms.
        alpha: level.
    """
    x, y = _in_time()
    order = torch.randperm(2 * size, generator=torch.Generator().manual_seed(0))
    fitted, held = order[:size].sort()[0], order[size:].sort()[0]
    probe = fit_probe(x[fitted], y[fitted])
    reference = _reference(probe, x[held], y[held])
    starts = np.linspace(2 * size, len(x) - size, _WINDOWS).astype(int).tolist()
    rows, drifted, accuracies = [], 0, []
    missed: dict[str, list[float]] = defaultdict(list)
    for start in starts:
        window = slice(start, start + size)
        found, right = _against(reference, probe, x[window], alpha), _right(probe, x[window], y[window])
        known = wilson(int(right.sum()), size)
        drifted += found.drifted
        accuracies.append(known.value)
        for name, one in found.estimates.items():
            missed[name].append(abs(one.accuracy - known.value))
        rejecting = sum(one.p * len(found.detections) < alpha for one in found.detections.values())
        estimates = [f"{one.accuracy:.1%}" for one in found.estimates.values()]
        days = f"{start / 48:,.0f} to {(start + size) / 48:,.0f}"
        p = p_cell(found.p).text
        rows.append([days, p, f"{rejecting} of {len(found.detections)}", known.text(percent=True), *estimates])
    alarms = _false_alarms(probe, x[held], y[held], draws, alpha)
    rate, bound = wilson(alarms, draws), alpha + 2 * (alpha * (1 - alpha) / draws) ** 0.5
    rows.append(["random halves of the reference", f"{alarms} of {draws}", rate.text(percent=True), "", "", "", ""])
    errors = ", ".join(f"{name} {100 * np.mean(values):.1f}" for name, values in missed.items())
    return Finding(
        "Elec2 in chronological order: which later weeks have drifted from the first, and do estimates without labels "
        "show the loss of accuracy?",
        [
            "days",
            "p of all detectors together",
            "detectors that reject",
            "accuracy, known (95 %)",
            "CBPE",
            "DoC",
            "ATC",
        ],
        rows,
        f"{drifted} of {_WINDOWS} windows of {size:,} half hours drift (the columns of "
        f"Victoria's market are constant in the first months); the accuracy of the first weeks' probe is "
        f"{reference.correct.mean():.1%} on the reference and {min(accuracies):.1%} to {max(accuracies):.1%} later, "
        f"which the estimates miss by {errors} points on average; false alarms in {rate.value:.1%} of the null draws, "
        f"{'at most' if rate.value <= bound else 'more than'} {bound:.3f}.",
    )


def _in_time() -> tuple[Tensor, Tensor]:
    """Read all rows in the order of time: numbers ``(N, D)`` and classes ``(N,)``.

    The numbers are standardised by all rows: those of Victoria's market are constant in the first months.
    """
    words = ["data=electricity", "backbone=mlp", "assess=drift", "assess.samples=100000"]
    material = material_of(*words)
    raw = [material.raw(name) for name in ("train", "val", "test")]
    x = torch.cat([part for part in raw if part is not None])
    y = torch.cat([material.labels(name) for name in ("train", "val", "test")])
    time = torch.cat([material.drawn[name].columns["time"] for name in ("train", "val", "test")])
    order = time.argsort(stable=True)
    x = x[:, x.std(0) > 0]
    return ((x - x.mean(0)) / x.std(0))[order], y[order]


def _reference(probe: Probe, x: Tensor, y: Tensor) -> Reference:
    logits = probe.logits(x, 2).double()
    heat = temperature(logits, y)
    return reference_of((logits / heat).softmax(1), x, y, temperature=heat)


def _against(reference: Reference, probe: Probe, x: Tensor, alpha: float) -> Drift:
    p = (probe.logits(x, 2).double() / reference.temperature).softmax(1)
    return detect(reference, p.numpy(), reference.project(x), features=x.numpy(), alpha=alpha)


def _right(probe: Probe, x: Tensor, y: Tensor) -> Tensor:
    return probe.logits(x, 2).argmax(1) == y


def _false_alarms(probe: Probe, x: Tensor, y: Tensor, draws: int, alpha: float) -> int:
    draw, alarms = torch.Generator().manual_seed(1), 0
    for _ in range(draws):
        order = torch.randperm(len(x), generator=draw)
        one, other = order[: len(x) // 2], order[len(x) // 2 :]
        alarms += _against(_reference(probe, x[one], y[one]), probe, x[other], alpha).drifted
    return alarms
