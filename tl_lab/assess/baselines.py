"""The three-way baseline: from scratch, transfer with frozen and tuned layers, and zero-shot where it can answer."""

import math

import numpy as np

from tl_lab.assess.answering import answerer_of
from tl_lab.assess.material import Material
from tl_lab.assess.pictures import bars
from tl_lab.assess.results import Measure, NotApplicable, PartResult, wilson
from tl_lab.assess.tuning import fresh, halves, tune, whole
from tl_lab.results.report.blocks import Cell, Table
from tl_lab.results.tables.statistics import paired_t

__all__ = ["assess", "negative"]

TITLE = "Three-way baseline"


def negative(difference: Measure) -> bool:
    """Whether transfer harms: only where the whole interval of the paired difference lies below zero."""
    return difference.high is not None and difference.high < 0


def assess(material: Material) -> PartResult | NotApplicable:
    """Train from scratch and from what was learned with equal budgets, over seeds, and compare seed by seed.

    A backbone with learned weights starts from these, and learns all classes; one without is first trained on half of
    the classes, and carried over to the others.

    Args:
        material: of the assessment.
    """
    if not material.classifies:
        return NotApplicable(TITLE, "The baselines are classifiers, and these data have no classes.")
    subject, options = material.subjects[0], material.options
    groups = len(subject.backbone.layer_groups())
    scores: dict[str, list[float]] = {"from scratch": [], "frozen": [], "fine-tuned": []}
    first = None if subject.learned else halves(material, subject)[0]
    task = whole(material, subject) if first is None else halves(material, subject)[1]
    labels = options.budgets[0] if options.budgets else len(task.y_train)
    for seed in range(options.seeds):
        few = task.few(labels, seed)
        random = fresh(material, subject, seed)
        start = subject.backbone if first is None else tune(random, first, epochs=options.epochs, seed=seed).backbone
        scores["from scratch"].append(
            tune(fresh(material, subject, seed + 1000), few, epochs=options.epochs, seed=seed).accuracy
        )
        scores["frozen"].append(tune(start, few, frozen=groups, epochs=options.epochs, seed=seed).accuracy)
        scores["fine-tuned"].append(tune(start, few, epochs=options.epochs, seed=seed).accuracy)
    measures = {name: _over_seeds(values) for name, values in scores.items()}
    differences = {name: _difference(scores[name], scores["from scratch"]) for name in ("frozen", "fine-tuned")}
    measures |= {f"{name} - from scratch": one for name, one in differences.items()}
    if first is None and (shot := _zero_shot(material)) is not None:
        measures["zero-shot"] = shot
    rows: list[list[str | Cell]] = [[name, measures[name].text(percent=True)] for name in measures]
    best = max(("frozen", "fine-tuned"), key=lambda name: measures[name].value)
    verdict = (
        "transfer harms (negative transfer)" if negative(differences[best])
        else "transfer helps" if (differences[best].low or -1) > 0
        else "no difference is shown"
    )  # fmt: skip
    said = (
        f"With {min(labels, len(task.y_train)):,} labels, {best} transfer reaches {measures[best].value:.1%}, training "
        f"from scratch {measures['from scratch'].value:.1%}: {verdict} "
        f"(difference {differences[best].text(percent=True)}, {options.seeds} seeds)."
    )
    shown = {name: one for name, one in measures.items() if " - " not in name}
    figure = {"Accuracy of each way over seeds, with 95 % intervals": bars(shown, "accuracy", percent=True)}
    notes = [
        "Negative transfer is stated only where the whole interval of the paired difference lies below zero. All ways "
        "see the same labels, as many updates and the same test samples."
    ]
    if first is not None:
        notes.append(f"{subject.name} has no learned weights: it learned half of the classes first, then the others.")
    table = Table(["way", "accuracy or difference (95 %)"], rows, 1, f"Over {options.seeds} seeds")
    return PartResult(TITLE, said, "moderate" if options.seeds > 2 else "low", measures, [table], figure, notes)


def _over_seeds(values: list[float]) -> Measure:
    found = paired_t(values)
    return Measure(found.mean, *_ends(found.mean, found.half))


def _difference(ours: list[float], theirs: list[float]) -> Measure:
    found = paired_t(np.subtract(ours, theirs).tolist())
    return Measure(found.mean, *_ends(found.mean, found.half), None if math.isnan(found.p) else found.p)


def _ends(mean: float, half: float) -> tuple[float | None, float | None]:
    return (None, None) if math.isnan(half) else (mean - half, mean + half)


def _zero_shot(material: Material) -> Measure | None:
    """Score the run given by ``init_from`` as it is, where it has the data's classes."""
    answerer = answerer_of(material)
    name = material.test
    if answerer.run is None or name is None:
        return None
    y = material.labels(name)
    return wilson(int((answerer.logits(name).argmax(1) == y).sum()), len(y))
