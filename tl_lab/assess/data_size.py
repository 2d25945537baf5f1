"""How much data: the rule of thumb, and how a linear probe's error falls with labels."""

import math

import numpy as np
import torch

from tl_lab.assess.material import Material
from tl_lab.assess.pictures import curves
from tl_lab.assess.probes import fit_probe
from tl_lab.assess.results import Confidence, Measure, NotApplicable, PartResult
from tl_lab.functional.power_law import PowerLaw, fit_power_law
from tl_lab.randomness import generator
from tl_lab.results.report.blocks import Table

__all__ = ["assess", "rule_of_thumb"]

TITLE = "How much data"
_DRAWS = 5  # of each number of labels


def rule_of_thumb(labels: int) -> str:
    """Say what the rule of thumb recommends for a number of labels."""
    if labels < 500:
        return "train a head on frozen features"
    return "tune the upper layers" if labels <= 5000 else "tune all layers"


def assess(material: Material) -> PartResult | NotApplicable:
    """Compare the rule of thumb with the probe's error over numbers of labels, and a power law through it.

    Args:
        material: of the assessment.
    """
    labels = material.sizes[material.train]
    rule = rule_of_thumb(labels)
    if not material.classifies:
        return NotApplicable(TITLE, f"With {labels:,} labels the rule of thumb is to {rule}; curves need classes.")
    budgets = _budgets(material)
    laws: dict[str, PowerLaw] = {}
    points: dict[str, tuple[list[int], list[float]]] = {}
    measures: dict[str, Measure] = {"labels": Measure(labels)}
    for name in material.representations:
        errors = {n: _errors(material, name, n) for n in budgets}
        points[name] = (budgets, [float(np.mean(errors[n])) for n in budgets])
        laws[name] = fit_power_law(budgets, points[name][1])
        measures |= {f"{name}/error/{n}": Measure(float(np.mean(e)), *_interval(e)) for n, e in errors.items()}
        measures[f"{name}/exponent"] = Measure(laws[name].exponent)
        measures[f"{name}/floor"] = Measure(laws[name].floor)
    best = min(laws, key=lambda name: points[name][1][-1])
    more = _one_point(laws[best], labels)
    measures[f"{best}/labels_for_a_point"] = Measure(more)
    across = np.geomspace(budgets[0], max(2 * labels, budgets[-1]), 60).tolist()
    figure = curves(
        {name: (across, [law.error(n) for n in across]) for name, law in laws.items()},
        "labels",
        "validation error of a linear probe",
        log_x=True,
        points=points,
    )
    rows = [[name, *(f"{e:.1%}" for e in points[name][1]), _law_said(laws[name])] for name in laws]
    table = Table(["representation", *(f"{n:,}" for n in budgets), "power law"], rows, 1, "Error by number of labels")
    said, confidence = _sentence(material, labels, rule, best, laws[best], more)
    caption = "Error of a linear probe against labels: points are measured, lines the fitted power laws"
    notes = [
        "The rule of thumb: below 500 labels frozen features, up to 5,000 the upper layers, beyond that all layers. "
        "The curve is that of a linear probe on frozen features; `assess=baselines` trains networks."
    ]
    return PartResult(TITLE, said, confidence, measures, [table], {caption: figure}, notes, {"rule": rule})


def _budgets(material: Material) -> list[int]:
    most = len(material.drawn[material.train])
    if material.options.budgets:
        return sorted({min(most, n) for n in material.options.budgets})
    least = max(2 * len(material.class_names), 10)
    if most < 4 * least:
        raise ValueError(f"a curve needs at least {4 * least} labelled samples, and there are {most}")
    return sorted({int(n) for n in np.geomspace(least, most, 6)})


def _errors(material: Material, name: str, labels: int) -> list[float]:
    """Measure the probe's validation error with some labels, drawn a few times; each class keeps one at least."""
    x, y = material.representation(name, material.train), material.labels(material.train)
    z, w = material.representation(name, material.validation), material.labels(material.validation)
    found = []
    for k in range(1 if labels >= len(x) else _DRAWS):
        order = torch.randperm(len(x), generator=generator(material.plan.seed, "budget", labels, k))
        first = {int(c): i for i, c in reversed(list(enumerate(y[order].tolist())))}  # the first of each class
        kept = torch.cat([order[list(first.values())], order])
        index = torch.tensor(list(dict.fromkeys(kept.tolist()))[: max(labels, len(first))])
        answers = fit_probe(x[index], y[index]).logits(z, len(material.class_names)).argmax(1)
        found.append(float((answers != w).double().mean()))
    return found


def _interval(errors: list[float]) -> tuple[float | None, float | None]:
    if len(errors) < 3:
        return None, None
    from scipy.special import stdtrit

    half = float(stdtrit(len(errors) - 1, 0.975) * np.std(errors, ddof=1) / math.sqrt(len(errors)))
    return max(0.0, float(np.mean(errors)) - half), float(np.mean(errors)) + half


def _one_point(law: PowerLaw, labels: int) -> float:
    """Count the labels beyond those at hand that lower the error by one point."""
    return law.labels_for(law.error(labels) - 0.01) - labels


def _law_said(law: PowerLaw) -> str:
    return f"{law.scale:.2f} n^-{law.exponent:.2f} + {law.floor:.3f}"


def _sentence(
    material: Material, labels: int, rule: str, best: str, law: PowerLaw, more: float
) -> tuple[str, Confidence]:
    said = f"With {labels:,} labels the rule of thumb is to {rule}; "
    if not math.isfinite(more) or more > 100 * labels:
        return (
            f"{said}no affordable number of further labels would lower the error of a probe on {best} by a point.",
            "moderate",
        )
    price = material.options.cost_per_label
    cost = "" if price is None else f", {more * price:,.0f} at {price:g} a label"
    said += (
        f"by the power law of a probe on {best}, about {more:,.0f} more labels would lower its error by a point{cost}."
    )
    return said, "moderate" if law.residual < 0.02 else "low"
