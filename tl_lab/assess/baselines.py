"""The three-way baseline: from scratch, transfer by frozen features, upper or all layers, and zero-shot."""

import numpy as np

from tl_lab.assess.material import Material
from tl_lab.assess.pictures import bars
from tl_lab.assess.results import Confidence, Measure, NotApplicable, PartResult, mean_with_interval
from tl_lab.assess.tuning import WAYS, too_few_classes, trained
from tl_lab.assess.zero_shot import zero_shot
from tl_lab.results.report.blocks import Cell, Table
from tl_lab.texts import counted

__all__ = ["assess", "negative"]

TITLE = "Three-way baseline"


def negative(difference: Measure) -> bool:
    """Whether transfer harms: only where the whole interval of the paired difference lies below zero."""
    return difference.high is not None and difference.high < 0


def assess(material: Material) -> PartResult | NotApplicable:
    """Train from scratch and from what was learned with equal budgets, over seeds, and compare seed by seed.

    A backbone with pretrained weights is trained on all classes; one without is first trained on half of
    the classes, and carried over to the others.

    Args:
        material: of the assessment.
    """
    if not material.classifies:
        return NotApplicable(TITLE, "The baselines are classifiers, and these data have no classes.")
    subject, options = material.subjects[0], material.options
    if not subject.learned and (reason := too_few_classes(material, subject)) is not None:
        return NotApplicable(TITLE, f"{reason[:1].upper()}{reason[1:]}.")
    found = trained(material, options.budgets[:1] if options.budgets else None)
    ((labels, ways),) = found.by_labels.items()
    scores = {way: [one.accuracy for one in tuned] for way, tuned in ways.items()}
    measures = {name: mean_with_interval(values) for name, values in scores.items()}
    scratch = scores["from scratch"]
    differences = {way: mean_with_interval(np.subtract(scores[way], scratch).tolist()) for way in WAYS[1:]}
    measures |= {f"{name} - from scratch": one for name, one in differences.items()}
    shot = zero_shot(material)
    if isinstance(shot, Measure):
        measures["zero-shot"] = shot
    shown = {name: one for name, one in measures.items() if "/seconds" not in name}
    rows: list[list[str | Cell]] = [[name, one.text(percent=True)] for name, one in shown.items()]
    seconds = {way: [one.seconds for one in tuned] for way, tuned in ways.items()}
    measures |= {f"{way}/seconds": mean_with_interval(values) for way, values in seconds.items()}
    each = [f"{name}: {_verdict(one)} ({one.points()})" for name, one in differences.items()]
    sentence = (
        f"With {labels:,} labels training from scratch reaches "
        f"{measures['from scratch'].text(percent=True)}; compared with it, {', '.join(each)}, "
        f"over {counted(options.seeds, 'seed')}."
    )
    ways_shown = {name: one for name, one in shown.items() if " - " not in name}
    figure = {
        "Accuracy by kind of training over seeds, with 95 % intervals": bars(ways_shown, "accuracy", percent=True)
    }
    notes = [
        "Negative transfer is stated only if the whole interval of the paired difference lies below zero, for each "
        "kind of training separately: none is chosen by test samples. All are trained with the same labels and number "
        "of updates, and scored on the same test samples."
    ]
    if isinstance(shot, str):
        notes.append(f"Zero-shot is not applicable: {shot}.")
    if not subject.learned:
        notes.append(
            f"{subject.name} has no learned weights: it was trained on half of the classes first, then on the others."
        )
    table = Table(["training", "accuracy or difference (95 %)"], rows, 1, f"Over {counted(options.seeds, 'seed')}")
    confidence: Confidence = "moderate" if options.seeds > 2 else "low"
    return PartResult(TITLE, sentence, confidence, measures, [table], figure, notes, {"seconds": seconds})


def _verdict(difference: Measure) -> str:
    if difference.low is None:
        return "too few seeds for a verdict"
    if negative(difference):
        return "transfer hurts (negative transfer)"
    return "transfer helps" if difference.low > 0 else "transfer shows no difference"
