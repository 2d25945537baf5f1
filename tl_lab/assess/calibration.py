"""Held-out data: the gap to deployment, calibration, selective accuracy, the worst class and group."""

from collections.abc import Mapping

import numpy as np

from tl_lab.assess.answering import Answerer, answerer_of
from tl_lab.assess.groups import group_columns, group_names
from tl_lab.assess.material import Material
from tl_lab.assess.pictures import curves, reliability_diagram
from tl_lab.assess.results import Confidence, Measure, NotApplicable, PartResult, difference_of_shares, wilson
from tl_lab.functional.calibration import aurc_interval, calibration, reliability, risk_coverage
from tl_lab.results.report.blocks import Cell, Table, p_cell

__all__ = ["assess", "lowest"]

TITLE = "Held-out performance and calibration"
_COVERAGES = (0.5, 0.8, 0.9, 1.0)
_NO_CLASSES = "This part is about probabilities of classes, which these data do not have."
_OF_FINDINGS = "This part is about classes; the calibration error of each finding is in the findings.csv of a run."
_FEW = 10  # samples of a class or group below which its accuracy is not compared with others


def assess(material: Material) -> PartResult | NotApplicable:
    """Judge the answers on the test set of the training domain, and on that of the domain of deployment.

    Args:
        material: of the assessment.
    """
    if not material.classifies:
        return NotApplicable(TITLE, _OF_FINDINGS if material.finds else _NO_CLASSES)
    sets = [name for name in (material.test, material.deployment) if name is not None]
    if not sets:
        return NotApplicable(TITLE, "There is no labelled test set.")
    answerer = answerer_of(material)
    measures: dict[str, Measure] = {"temperature": (scaling := answerer.measured_temperature())}
    heat = scaling.value
    rows, selective, diagrams, lines = [], [], {}, {}
    for name in sets:
        title = material.display_name(name)
        found, row = _judged(material, answerer, name, heat)
        measures |= {f"{name}/{key}": value for key, value in found.items()}
        rows.append([title, *row])
        confidence, correct = _answers(answerer, material, name, 1.0)
        diagrams[title] = reliability(confidence, correct)
        coverage, risk, area = risk_coverage(confidence, correct)
        lines[title] = (coverage.tolist(), risk.tolist())
        measures[f"{name}/aurc"] = Measure(area, *aurc_interval(confidence, correct, seed=material.plan.seed))
        measures |= {f"{name}/accuracy_at/{share:g}": _at(risk, share) for share in _COVERAGES[:-1]}
        at = [_at(risk, share).text(percent=True) for share in _COVERAGES]
        selective.append([title, *at, measures[f"{name}/aurc"].text()])
    gap = _gap(material, measures)
    head = [
        "set",
        "accuracy (95 %)",
        "ECE (95 %)",
        "expected by sampling (95 %)",
        "p",
        "ECE at T (95 %)",
        "worst class",
        "worst group",
    ]
    tables = [
        Table(head, rows, 1, f"Predictions of {answerer.name}; T = {scaling.text(2)} by validation data"),
        Table(
            ["set", *(f"most confident {share:.0%}" for share in _COVERAGES), "AURC (95 %)"], selective, 1,
            "Accuracy among the most confident predictions, with 95 % intervals",
        ),
    ]  # fmt: skip
    figures = {
        "Accuracy against confidence; the area of a point is its share of the samples": reliability_diagram(diagrams),
        "Error among the most confident predictions, by the share of samples classified": curves(
            lines, "share of samples classified", "error", percent_x=True
        ),
    }
    notes = [
        "ECE is biased upwards: the column **expected by sampling** is its mean for a perfectly calibrated classifier "
        "with the same confidences, and where 95 % of its draws lie, p the share of such draws with an ECE as large. "
        "The interval of T is a bootstrap over validation samples. The intervals of the worst class and of the worst "
        "group (over all columns of groups) are widened for their number (Bonferroni), for the lowest of several is "
        "low by chance, too."
    ]
    sentence, trust = _sentence(material, answerer, measures, sets[-1], gap)
    return PartResult(TITLE, sentence, trust, measures, tables, figures, notes)


def _judged(
    material: Material, answerer: Answerer, name: str, heat: float
) -> tuple[dict[str, Measure], list[str | Cell]]:
    y = material.labels(name)
    p = answerer.probabilities(name)
    right = p.argmax(1) == y
    raw = calibration(p, y, seed=material.plan.seed)
    scaled = calibration(answerer.probabilities(name, heat), y, seed=material.plan.seed)
    found = {
        "accuracy": wilson(int(right.sum()), len(y)),
        "ece": Measure(raw.error, raw.low, raw.high, raw.p),
        "ece_bias": Measure(raw.bias, raw.bias_low, raw.bias_high),
        "ece_scaled": Measure(scaled.error, scaled.low, scaled.high, scaled.p),
    }
    worst = {"class": lowest(_classes(material, y.numpy()), right.numpy())}
    worst["group"] = lowest(_groups(material, name), right.numpy())
    found |= {f"worst_{kind}/{one[0]}": one[1] for kind, one in worst.items() if one is not None}
    row: list[str | Cell] = [
        found["accuracy"].text(percent=True),
        found["ece"].text(),
        found["ece_bias"].text(),
        p_cell(raw.p),
        found["ece_scaled"].text(),
        *("-" if one is None else f"'{one[0]}': {one[1].text(percent=True)}" for one in worst.values()),
    ]
    return found, row


def lowest(members: Mapping[str, np.ndarray], right: np.ndarray, few: int = _FEW) -> tuple[str, Measure] | None:
    """Find the part of the samples with the lowest accuracy, with Wilson's interval at Bonferroni's level.

    Args:
        members: of each part by its name, ``(N,)``, bool; parts may overlap.
        right: whether each answer is right, ``(N,)``, bool.
        few: samples below which a part is left out.

    Returns:
        Its name and accuracy; None where no part has so many samples.
    """
    from scipy.special import ndtri

    known = {name: inside for name, inside in members.items() if int(inside.sum()) >= few}
    if not known:
        return None
    worst = min(known, key=lambda name: right[known[name]].mean())
    # the lowest of several is low by chance, too: Bonferroni's level over the parts
    z = float(ndtri(1 - 0.025 / len(known)))
    return worst, wilson(int(right[known[worst]].sum()), int(known[worst].sum()), z)


def _classes(material: Material, y: np.ndarray) -> dict[str, np.ndarray]:
    return {name: y == number for number, name in enumerate(material.class_names)}


def _groups(material: Material, name: str) -> dict[str, np.ndarray]:
    """Mark the samples of every group of every column; the bias audit reports a column that the data lack."""
    columns = material.drawn[name].columns
    try:
        found = group_columns(material, name)
    except ValueError:
        found = [one for one in material.options.groups or () if one in columns]
    return {
        f"{column}={group}" if group != f"{column} {number}" else group: columns[column].numpy() == number
        for column in found
        for number, group in enumerate(group_names(material, column))
    }


def _answers(answerer: Answerer, material: Material, name: str, heat: float) -> tuple[np.ndarray, np.ndarray]:
    confidence, answer = answerer.probabilities(name, heat).max(1)
    return confidence.numpy(), (answer == material.labels(name)).numpy()


def _at(risk: np.ndarray, share: float) -> Measure:
    """Accuracy of the most confident share of the answers, with Wilson's interval of as many samples."""
    count = max(1, int(np.ceil(share * len(risk))))
    return wilson(round((1 - risk[count - 1]) * count), count)


def _gap(material: Material, measures: dict[str, Measure]) -> Measure | None:
    """Accuracy of deployment minus that of the training domain, of independent samples."""
    if material.test is None or material.deployment is None:
        return None
    found = (measures[f"{name}/accuracy"] for name in (material.deployment, material.test))
    measures["gap"] = difference_of_shares(*found)
    return measures["gap"]


def _sentence(
    material: Material, answerer: Answerer, measures: dict[str, Measure], last: str, gap: Measure | None
) -> tuple[str, Confidence]:
    accuracy, ece, bias = (measures[f"{last}/{key}"] for key in ("accuracy", "ece", "ece_bias"))
    calibrated = (ece.p or 0) >= material.options.alpha
    how = (
        f"no worse than sampling alone gives, {bias.text()}"
        if calibrated
        else f"above what sampling alone gives, {bias.text()}"
    )
    sentence = (
        f"On {material.display_name(last)}, {answerer.name} is right in {accuracy.text(percent=True)} of cases, with a "
        f"calibration error of {ece.text()}, {how}."
    )
    if gap is not None:
        sentence += f" Against {material.display_name(str(material.test))} its accuracy changes by {gap.points()}."
    width = (accuracy.high or 1) - (accuracy.low or 0)
    return sentence, "high" if width < 0.06 else "moderate" if width < 0.15 else "low"
