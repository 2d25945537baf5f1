"""Held-out data: the gap to deployment, calibration, selective accuracy, the worst class."""

import numpy as np

from tl_lab.assess.answering import Answerer, answerer_of
from tl_lab.assess.material import Material
from tl_lab.assess.pictures import curves, reliability_diagram
from tl_lab.assess.results import Confidence, Measure, NotApplicable, PartResult, difference_of_shares, wilson
from tl_lab.functional.calibration import calibration, reliability, risk_coverage
from tl_lab.results.report.blocks import Cell, Table, said_p

__all__ = ["assess"]

TITLE = "Held-out performance and calibration"
_COVERAGES = (0.5, 0.8, 0.9, 1.0)
_FEW = 10  # samples of a class below which its accuracy is not held against others


def assess(material: Material) -> PartResult | NotApplicable:
    """Judge the answers on the test set of the training domain, and on that of the domain of deployment.

    Args:
        material: of the assessment.
    """
    if not material.classifies:
        return NotApplicable(TITLE, "Calibration is that of class probabilities, and these data have none.")
    sets = [name for name in (material.test, material.deployment) if name is not None]
    if not sets:
        return NotApplicable(TITLE, "There is no labelled test set.")
    answerer = answerer_of(material)
    heat = answerer.temperature()
    measures: dict[str, Measure] = {"temperature": Measure(heat)}
    rows, selective, diagrams, lines = [], [], {}, {}
    for name in sets:
        said = material.said(name)
        found, row = _judged(material, answerer, name, heat)
        measures |= {f"{name}/{key}": value for key, value in found.items()}
        rows.append([said, *row])
        confidence, correct = _answers(answerer, material, name, 1.0)
        diagrams[said] = reliability(confidence, correct)
        coverage, risk, area = risk_coverage(confidence, correct)
        lines[said] = (coverage.tolist(), risk.tolist())
        measures[f"{name}/aurc"] = Measure(area)
        at = [f"{1 - risk[max(0, int(np.ceil(share * len(risk))) - 1)]:.1%}" for share in _COVERAGES]
        selective.append([said, *at, f"{area:.3f}"])
    gap = _gap(material, measures)
    head = ["set", "accuracy (95 %)", "ECE (95 %)", "expected of sampling", "p", "ECE at T", "worst class"]
    tables = [
        Table(head, rows, 1, f"Predictions of {answerer.name}; T = {heat:.2f} by validation data"),
        Table(
            ["set", *(f"most confident {share:.0%}" for share in _COVERAGES), "AURC"], selective, 1,
            "Accuracy among the most confident predictions",
        ),
    ]  # fmt: skip
    figures = {
        "Accuracy against confidence; the area of a point is its share of the samples": reliability_diagram(diagrams),
        "Error among the most confident predictions, by the share of samples classified": curves(
            lines, "share of samples classified", "error", percent_x=True
        ),
    }
    notes = [
        "ECE is biased upwards: the column **expected of sampling** is its mean for a perfectly calibrated classifier "
        "with the same confidences, p the share of such draws with an ECE as large. The interval of the worst class is "
        "widened for their number (Bonferroni), for the lowest of several is low by chance, too."
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
        "ece_bias": Measure(raw.bias),
        "ece_scaled": Measure(scaled.error, scaled.low, scaled.high, scaled.p),
    }
    worst = _worst(material, y.numpy(), right.numpy())
    if worst is not None:
        found[f"worst_class/{worst[0]}"] = worst[1]
    row: list[str | Cell] = [
        found["accuracy"].text(percent=True),
        found["ece"].text(),
        f"{raw.bias:.3f}",
        said_p(raw.p),
        f"{scaled.error:.3f}",
        "-" if worst is None else f"{worst[0]} {worst[1].text(percent=True)}",
    ]
    return found, row


def _worst(material: Material, y: np.ndarray, right: np.ndarray) -> tuple[str, Measure] | None:
    from scipy.special import ndtri

    counts = np.bincount(y, minlength=len(material.class_names))
    known = [c for c in range(len(counts)) if counts[c] >= _FEW]
    if not known:
        return None
    worst = min(known, key=lambda c: right[y == c].mean())
    # the lowest of several is low by chance, too: Bonferroni's level over the classes
    z = float(ndtri(1 - 0.025 / len(known)))
    return material.class_names[worst], wilson(int(right[y == worst].sum()), int(counts[worst]), z)


def _answers(answerer: Answerer, material: Material, name: str, heat: float) -> tuple[np.ndarray, np.ndarray]:
    confidence, answer = answerer.probabilities(name, heat).max(1)
    return confidence.numpy(), (answer == material.labels(name)).numpy()


def _gap(material: Material, measures: dict[str, Measure]) -> Measure | None:
    """Accuracy of deployment less that of the training domain, of independent samples."""
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
        f"no worse than sampling alone gives ({bias.value:.3f})"
        if calibrated
        else f"above the {bias.value:.3f} that sampling alone gives"
    )
    said = (
        f"On {material.said(last)}, {answerer.name} is right in {accuracy.text(percent=True)} of cases, with a "
        f"calibration error of {ece.value:.3f}, {how}."
    )
    if gap is not None:
        said += f" Against {material.said(str(material.test))} its accuracy changes by {gap.points()}."
    width = (accuracy.high or 1) - (accuracy.low or 0)
    return said, "high" if width < 0.06 else "moderate" if width < 0.15 else "low"
