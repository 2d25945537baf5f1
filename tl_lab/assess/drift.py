"""Whether test and deployment data still look like held-out training data, and the accuracy estimated on them."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tl_lab.assess.answering import answerer_of
from tl_lab.assess.detectors import DETECTORS, LARGEST_MISSED, Drift, detect, moved_most, reference_of
from tl_lab.assess.material import Material
from tl_lab.assess.moved import moved_pictures, moved_table
from tl_lab.assess.pictures import bars
from tl_lab.assess.results import Confidence, Measure, NotApplicable, PartResult, difference_of_shares, wilson
from tl_lab.assess.untrained import untrained
from tl_lab.randomness import generator
from tl_lab.results.report.blocks import Cell, Table, p_cell

__all__ = ["advice", "assess", "compared", "detections_table", "estimates_table", "more_samples"]

TITLE = "Drift"
_UNTRAINED = 200  # samples of each set that the untrained encoder reads


def assess(material: Material) -> PartResult | NotApplicable:
    """Hold test data against validation data.

    Args:
        material: of the assessment.
    """
    sets = [name for name in (material.test, material.deployment) if name is not None]
    if not sets:
        return NotApplicable(TITLE, "There is no test set to compare with the validation data.")
    answerer, held_out = answerer_of(material) if material.classifies else None, material.validation
    heat = 1.0 if answerer is None else answerer.temperature()
    subject = material.subjects[0]

    def answers(name: str) -> Tensor:
        nothing = torch.zeros(len(material.drawn[name]), 0)  # without classes, the features are compared alone
        return nothing if answerer is None else answerer.probabilities(name, heat)

    blank = _untrained_features(material, [held_out, *sets])
    reference = reference_of(
        answers(held_out),
        material.features(subject, held_out),
        None if answerer is None else material.labels(held_out),
        temperature=heat,
        untrained=blank[held_out],
    )
    result = PartResult(TITLE, "", "moderate")
    sentences = []
    verdicts = {}
    for name in sets:
        found = detect(
            reference,
            answers(name).numpy(),
            (components := reference.project(features := material.features(subject, name))),
            features=features.numpy(),
            untrained=blank[name].numpy(),
            alpha=material.options.alpha,
            permutations=material.options.permutations,
            seed=material.plan.seed,
        )
        verdicts[name] = found.verdict
        title = material.display_name(name)
        result.tables += [detections_table(found, compared(found, title, material.display_name(held_out)))]
        result.measures |= {f"{name}/{key}": Measure(one.statistic, p=one.p) for key, one in found.detections.items()}
        known = None
        if answerer is not None:
            y = material.labels(name)
            known = wilson(int((answerer.logits(name).argmax(1) == y).sum()), len(y))
            _add_estimates(result, found, known, name, title)
        if found.drifted:
            moved = moved_most(reference, components)
            result.tables += [moved_table(material, name, moved)]
            if (pictures := moved_pictures(material, name, moved)) is not None:
                result.figures[f"Samples of {title} that moved most, with their distance"] = pictures
        p = "< 0.001" if found.p < 0.001 else f"= {found.p:.3f}"
        old = f"held-out {material.display_name(held_out)} data (p {p})"
        relation = {
            "drift": f"{title} data differ from {old}",
            "no drift": f"no difference of {title} data from {old} is detected",
            "undecided": f"there are too few samples to decide whether {title} data differ from {old}",
        }
        sentences.append(f"{relation[found.verdict]}: {advice(found, known)}")
    result.sentence = " ".join(one[:1].upper() + one[1:] for one in sentences)
    result.confidence = _confidence(material, sets)
    result.facts = {"verdicts": verdicts}
    result.notes += [
        "Undecided means that no drift is detected, and that these numbers of samples would miss a shift of "
        f"{LARGEST_MISSED:g} standard deviation in more than 20 % of cases.",
        "Each detector corrects for its number of dimensions, and the decision for the number of detectors; the "
        "reference is validation data, never training data."
        + (
            " CBPE, DoC and ATC assume that labels depend on the inputs in the same way as before."
            if answerer is not None
            else ""
        ),
        "The untrained encoder has the architecture of the backbone and random weights; it reads at most "
        f"{_UNTRAINED} samples of each set.",
    ]
    return result


def _add_estimates(result: PartResult, found: Drift, known: Measure, name: str, title: str) -> None:
    """Add the accuracies estimated without labels, beside the known one."""
    estimates = {key: Measure(*one) for key, one in found.estimates.items()}
    result.tables += [estimates_table(found, known, f"Accuracy on {title}, estimated without labels")]
    result.measures |= {f"{name}/{key}": one for key, one in estimates.items()}
    result.measures[f"{name}/accuracy"] = known
    result.figures[f"Accuracy on {title}: estimated without labels, and known"] = bars(
        {**estimates, "known": known},
        "accuracy",
        percent=True,
        line=None if found.accuracy is None else found.accuracy.value,
    )


def _untrained_features(material: Material, names: Sequence[str]) -> dict[str, Tensor]:
    """Read the features of an untrained encoder, of few samples of each set: large networks take long."""
    subject, few = material.subjects[0], copy.copy(material)
    few._features, few.drawn = {}, dict(material.drawn)
    for name in names:
        samples = material.drawn[name]
        order = torch.randperm(len(samples), generator=generator(material.plan.seed, "untrained", name))
        few.drawn[name] = samples.subset(order[:_UNTRAINED].sort()[0])
    blank = replace(subject, name=f"{subject.name} untrained", backbone=untrained(subject.backbone, material.plan.seed))
    return {name: few.features(blank, name) for name in names}


def advice(found: Drift, known: Measure | None = None) -> str:
    """Say what to do, in a clause.

    Args:
        found: by the detectors.
        known: accuracy on the new samples, where they have labels.
    """
    if found.accuracy is None:
        if found.undecided:
            return f"{more_samples(found)}."
        return "label a sample of the new data before deciding." if found.drifted else "keep the model."
    low = min(one.low for one in found.estimates.values())
    high = max(one.high for one in found.estimates.values())
    span = f"estimated accuracy {100 * low:.0f} % to {100 * high:.0f} %"
    span += f", {found.accuracy.text(percent=True)} on the reference"
    if known is not None:
        span += f", known {known.text(percent=True)}"
        lost, missed = (difference_of_shares(known, found.accuracy).high or 0) < 0, (known.high or 0) < low
        if lost and missed:
            return (
                f"retrain or adapt; the estimates without labels do not show the loss here and are unreliable ({span})."
            )
        if lost:
            return f"retrain or adapt ({span})."
    if found.undecided:
        return f"{more_samples(found)} ({span})."
    if not found.drifted and high < found.accuracy.value:
        return f"label a sample of the new data before deciding; the estimates show a loss ({span})."
    if not found.drifted:
        return f"keep the model ({span})."
    if high < found.accuracy.value:
        return f"label some of the new data and retrain on old and new together ({span})."
    return f"label a sample of the new data before deciding; the estimates do not show a loss ({span})."


def more_samples(found: Drift) -> str:
    """Say how many samples a decision requires, and what the present ones would show, in a clause."""
    power = found.power
    shown = (
        "show no shift reliably"
        if math.isinf(power.shift)
        else f"show only shifts of {power.shift:.2f} standard deviations or more with a power of 80 %"
    )
    if power.enough is not None:
        remedy = f"compare at least {power.enough:,} new samples"
    else:
        remedy = "train with a larger validation set, from which the reference is taken"
        if power.alone is not None:
            name, count = power.alone
            remedy += f", or use one detector (--detectors {name}), which requires at least {count:,} new samples"
    return f"{remedy}; {power.new:,} new samples against {power.reference:,} of the reference {shown}"


def compared(found: Drift, new: str, reference: str) -> str:
    """Name two sets with their sizes, for a caption."""
    return f"{new} ({found.power.new:,} samples) against {reference} ({found.power.reference:,})"


def detections_table(found: Drift, caption: str) -> Table:
    """List the result of each detector."""
    rows: list[list[str | Cell]] = [
        [DETECTORS[name], f"{one.statistic:.3f}", p_cell(one.p), f"{one.rejected} of {one.dimensions}"]
        for name, one in found.detections.items()
    ]
    rows.append([Cell("all together", "best"), "", p_cell(found.p), found.verdict])
    return Table(["detector", "statistic", "p", "rejected"], rows, 1, caption)


def estimates_table(found: Drift, known: Measure | None, caption: str) -> Table:
    """List the estimated accuracies and the known one."""
    rows: list[list[str | Cell]] = [[name, Measure(*one).text(percent=True)] for name, one in found.estimates.items()]
    if found.accuracy is not None:
        rows.append(["reference, known", found.accuracy.text(percent=True)])
    if known is not None:
        rows.append(["known", known.text(percent=True)])
    return Table(["estimate", "accuracy (95 %)"], rows, 1, caption)


def _confidence(material: Material, sets: list[str]) -> Confidence:
    smallest = min(len(material.drawn[name]) for name in (*sets, material.validation))
    return "high" if smallest >= 500 else "moderate" if smallest >= 100 else "low"
