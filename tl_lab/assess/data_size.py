"""How much data: the rule of thumb, how errors fall with labels, and what a point less costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tl_lab.assess.material import Material
from tl_lab.assess.pictures import curves
from tl_lab.assess.probes import fit_probe
from tl_lab.assess.results import Confidence, Measure, NotApplicable, PartResult, mean_with_interval, wilson
from tl_lab.assess.tuning import WAYS, too_few_classes, trained
from tl_lab.functional.power_law import EXPONENTS, PowerLaw, fit_power_law
from tl_lab.randomness import generator
from tl_lab.results.report.blocks import Cell, Table

__all__ = ["Curve", "assess", "curve_of", "rule_of_thumb"]

TITLE = "How much data"
_DRAWS = 5  # of each number of labels
_RESAMPLED = 100  # bootstrap draws for the intervals of the power law and of the labels that a point takes
_POINT = 0.01
_TUNED_BUDGETS = 5  # numbers of labels at which networks are trained


@dataclass(frozen=True)
class Curve:
    """How an error falls with labels.

    Args:
        errors: measured, by number of labels.
        law: fitted to their means.
        scale, exponent, floor: of the law, with bootstrap intervals over draws.
        more: number of further labels that lower the error by one point; infinite if no number does.
        seconds: of processor time that a training with all labels takes; None for probes.
    """

    errors: Mapping[int, Sequence[float]]
    law: PowerLaw
    scale: Measure
    exponent: Measure
    floor: Measure
    more: Measure
    seconds: Measure | None = None

    @property
    def means(self) -> list[float]:
        """Mean error at each number of labels."""
        return [float(np.mean(values)) for values in self.errors.values()]


def rule_of_thumb(labels: int) -> str:
    """Say what the rule of thumb recommends for a number of labels."""
    if labels < 500:
        return "train a head on frozen features"
    return "tune the upper layers" if labels <= 5000 else "tune all layers"


def assess(material: Material) -> PartResult | NotApplicable:
    """Compare the rule of thumb with errors over numbers of labels, and power laws through them.

    The errors are those of linear probes, and with ``assess.tuned_curves`` those of networks trained in each
    way: from scratch, frozen, in their upper layers, and fine-tuned.

    Args:
        material: of the assessment.
    """
    labels = material.sizes[material.train]
    rule = rule_of_thumb(labels) if any(one.learned for one in material.subjects) else ""
    said = (
        f"With {labels:,} labels the rule of thumb is to {rule}"
        if rule
        else "The rule of thumb is for pretrained weights, and these are random"
    )
    if not material.classifies:
        return NotApplicable(TITLE, f"{said}; curves need classes.")
    budgets = _budgets(material)
    probes = {
        name: curve_of({n: _errors(material, name, n) for n in budgets}, labels, material.plan.seed)
        for name in material.representations
    }
    result = PartResult(TITLE, "", "moderate", {"labels": Measure(labels)}, facts={"rule": rule})
    scored = len(material.labels(material.validation))
    _add(result, probes, labels, "representation", "validation error of a linear probe", scored)
    best = min(probes, key=lambda name: probes[name].means[-1])
    result.sentence, result.confidence = _sentence(material, labels, said, best, probes[best])
    result.notes.append(
        "The rule of thumb: frozen features below 500 labels, the upper layers up to 5,000, and all layers beyond "
        "that. Intervals of the power law and of the number of labels for one point are bootstrap intervals over "
        "draws of labels. There are few draws: for known laws, the intervals cover 85 to 90 %, not 95 %. They do not "
        "account for the number of validation samples, nor for deviations from the power law beyond the measured "
        f"range. Exponents b are fitted from {EXPONENTS[0]:g} to {EXPONENTS[1]:g}: ≤ and ≥ mark those at a bound, "
        "which the true ones may exceed; predictions by such a law are unreliable."
    )
    if material.options.tuned_curves:
        _add_tuned(material, result)
    else:
        result.notes.append("The curve is that of a linear probe; `assess.tuned_curves=true` also trains networks.")
    return result


def curve_of(errors: Mapping[int, Sequence[float]], labels: int, seed: int, seconds: Measure | None = None) -> Curve:
    """Fit a power law, and find how many labels lower the error by a point, with bootstrap intervals over draws.

    Of n draws n - 1 are resampled, so that the variance of the mean is unbiased: with three or five draws the usual
    bootstrap is too narrow.

    Args:
        errors: by number of labels, one for each draw or seed.
        labels: number of available labels.
        seed: of the bootstrap.
        seconds: see :class:`Curve`.

    Raises:
        ValueError: there are fewer than three numbers of labels.

    References:
        McCarthy and Snowden, The Bootstrap and Finite Population Sampling, National Center for Health Statistics,
        Vital and Health Statistics 2-95 (1985).
    """
    sizes = list(errors)

    def numbers(means: Sequence[float]) -> tuple[PowerLaw, list[float]]:
        law = fit_power_law(sizes, means)
        return law, [law.scale, law.exponent, law.floor, _one_point(law, labels)]

    law, values = numbers([float(np.mean(of_draws)) for of_draws in errors.values()])
    draw = np.random.default_rng(seed)
    again = [
        numbers([float(draw.choice(of_draws, max(1, len(of_draws) - 1)).mean()) for of_draws in errors.values()])[1]
        for _ in range(_RESAMPLED)
    ]
    ends = np.quantile(again, [0.025, 0.975], axis=0, method="nearest")  # some may be infinite
    scale, exponent, floor, more = (
        Measure(value, min(value, float(low)), max(value, float(high)))
        for value, low, high in zip(values, *ends, strict=True)
    )
    return Curve(errors, law, scale, exponent, floor, more, seconds)


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


def _add(
    result: PartResult, found: Mapping[str, Curve], labels: int, what: str, axis: str, scored: int | None = None
) -> None:
    """Add curves to the numbers, tables and pictures.

    Args:
        result: what is added to.
        found: curves by name.
        labels: number of available labels.
        what: the names are.
        axis: of the pictures.
        scored: samples that a single draw is scored on, for its interval; None where there is none.
    """
    shown: dict[str, list[Measure]] = {}
    for name, curve in found.items():
        shown[name] = [_error(values, scored) for values in curve.errors.values()]
        result.measures |= {f"{name}/error/{n}": one for n, one in zip(curve.errors, shown[name], strict=True)}
        result.measures |= {
            f"{name}/scale": curve.scale,
            f"{name}/exponent": curve.exponent,
            f"{name}/floor": curve.floor,
            f"{name}/labels_for_a_point": curve.more,
        }
    budgets = list(next(iter(found.values())).errors)
    rows: list[list[str | Cell]] = [
        [
            name, *map(_error_cell, shown[name]), curve.scale.text(2), _exponent(curve.exponent), curve.floor.text(3),
            _format_labels(curve.more),
        ]
        for name, curve in found.items()
    ]  # fmt: skip
    head = [what, *(f"{n:,}" for n in budgets), "a (95 %)", "b (95 %)", "c (95 %)", "labels for one point (95 %)"]
    caption = (
        f"{axis[:1].upper()}{axis[1:]} by number of labels, with 95 % intervals over draws"
        f"{', of a single draw over the scored samples,' if scored else ''} and the power law a n^-b + c"
    )
    result.tables.append(Table(head, rows, 1, caption))
    across = np.geomspace(budgets[0], max(2 * labels, budgets[-1]), 60).tolist()
    lines = {name: (across, [curve.law.error(n) for n in across]) for name, curve in found.items()}
    points = {name: (budgets, curve.means) for name, curve in found.items()}
    caption = f"{axis[:1].upper()}{axis[1:]} against labels: points are measured, lines the fitted power laws"
    result.figures[caption] = curves(lines, "labels", "error", log_x=True, points=points)


def _add_tuned(material: Material, result: PartResult) -> None:
    """Train networks in each way over numbers of labels, and set labels against computing."""
    subject = material.subjects[0]
    if not subject.learned and (reason := too_few_classes(material, subject)) is not None:
        result.notes.append(f"> No networks are trained for these curves: {reason}.")
        return
    most = len(material.drawn[material.train])
    least = max(2 * len(material.class_names), 10)
    found = trained(material, material.options.budgets or [int(n) for n in np.geomspace(least, most, _TUNED_BUDGETS)])
    if len(found.by_labels) < 3:
        result.notes.append("> Curves of trained networks need three numbers of labels (`assess.budgets`).")
        return
    tuned = {
        way: curve_of(
            {n: [1 - one.accuracy for one in by_way[way]] for n, by_way in found.by_labels.items()},
            found.most,
            material.plan.seed,
            mean_with_interval([one.seconds for one in found.by_labels[max(found.by_labels)][way]]),
        )
        for way in WAYS
    }
    _add(result, tuned, found.most, "training", "test error of trained networks")
    result.tables.append(_costs(material, tuned, found.most))
    if not subject.learned:
        result.notes.append(
            f"{subject.name} has no learned weights: for these curves it was trained on half of the classes first, "
            f"then on the others, of which there are {found.most:,} labels."
        )


def _costs(material: Material, tuned: Mapping[str, Curve], labels: int) -> Table:
    """Set the price of a point in labels against that of the training."""
    label, hour = material.options.cost_per_label, material.options.cost_per_hour
    rows: list[list[str | Cell]] = []
    for way, curve in tuned.items():
        assert curve.seconds is not None
        price = _format_labels(curve.more.times(label), 2) if label and math.isfinite(curve.more.value) else "-"
        computing = curve.seconds.times(hour / 3600).text(4) if hour else "-"
        rows.append([way, _format_labels(curve.more), price, curve.seconds.text(1), computing])
    head = [
        "training",
        "labels for one point (95 %)",
        "cost of these labels (95 %)",
        "seconds of training (95 %)",
        "cost of training (95 %)",
    ]
    return Table(
        head, rows, 1, f"One point less error: labels needed beyond {labels:,}, and the computation of one training run"
    )


def _one_point(law: PowerLaw, labels: int) -> float:
    """Compute the number of further labels that lower the error by one point."""
    return law.labels_for(law.error(labels) - _POINT) - labels


def _error(errors: Sequence[float], scored: int | None) -> Measure:
    """Give the mean over draws with Student's interval; a single draw has that of its scored samples."""
    if len(errors) == 1 and scored:
        return wilson(errors[0] * scored, scored)
    return mean_with_interval(errors)


def _error_cell(error: Measure) -> str | Cell:
    return Cell(f"{error.times(100).short(1)} %", value=error.value)


def _exponent(exponent: Measure) -> str:
    """Write an exponent with its interval, if both ends exist, and each number at a bound of the fit as ≤ or ≥."""
    marks = dict(zip(EXPONENTS, ("≤ ", "≥ "), strict=True))
    written = [
        f"{marks.get(one, '')}{one:.2f}" for one in (exponent.value, exponent.low, exponent.high) if one is not None
    ]
    return f"{written[0]} ({written[1]} to {written[2]})" if len(written) == 3 else written[0]


def _format_labels(more: Measure, digits: int = 0) -> str:
    """Write a number of labels with its interval, whose upper end is infinite where no number suffices."""
    low, high = more.low or 0.0, math.inf if more.high is None else more.high
    value = f"{more.value:,.{digits}f}" if math.isfinite(more.value) else "no number suffices"
    if not math.isfinite(low):
        return value
    return f"{value} ({low:,.{digits}f} {f'to {high:,.{digits}f}' if math.isfinite(high) else 'or more'})"


def _more_labels(more: Measure) -> str:
    if math.isfinite(more.high or 0.0):
        return f"{_format_labels(more)} more labels"
    return f"{more.value:,.0f} more labels (at least {more.low or 0:,.0f}; the 95 % interval has no upper end)"


def _sentence(material: Material, labels: int, said: str, best: str, curve: Curve) -> tuple[str, Confidence]:
    sentence, more = f"{said}; ", curve.more.value
    if not math.isfinite(more) or more > 100 * labels:
        return (
            f"{sentence}no feasible number of further labels would lower the error of a probe on {best} by one point.",
            "moderate",
        )
    price = material.options.cost_per_label
    cost = "" if not price else f", {_format_labels(curve.more.times(price))} at {price:g} a label"
    sentence += (
        f"by the power law of a probe on {best}, {_more_labels(curve.more)} would lower its error by one point{cost}."
    )
    if curve.law.at_bound:
        sentence += f" The fitted exponent is at the bound of the fit ({curve.law.exponent:g}): this is unreliable."
        return sentence, "low"
    sharp = curve.more.high is not None and curve.more.high < 4 * more
    return sentence, "moderate" if curve.law.residual < 0.02 and sharp else "low"
