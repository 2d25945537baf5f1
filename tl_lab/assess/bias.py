"""Bias audit: the same rates for each group, of decisions that came with the data and of models trained on them."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from tl_lab.assess.answering import Answerer, answerer_of, base_of
from tl_lab.assess.fairness import by_group
from tl_lab.assess.groups import group_columns, group_names
from tl_lab.assess.material import Material
from tl_lab.assess.pictures import bars
from tl_lab.assess.results import Confidence, Measure, NotApplicable, PartResult, wilson
from tl_lab.backbones.hf_causal import HFCausal
from tl_lab.functional.group_rates import RATES, cell_counts, gaps, rates, resampled
from tl_lab.results.report.blocks import Cell, Table

__all__ = ["Audit", "assess", "audit"]

TITLE = "Bias audit"
_CONTEXTS = 30  # of the Equity Evaluation Corpus, sixty sentences each
_MOST_CLASSES = 10  # that are audited one versus the rest
_NO_CLASSES = "Rates by group are those of decisions for classes or labels, and these data have none."
_SMALL = 30  # samples of a group below which its rates say little
_DECISION = re.compile(r"([\w.]+)\s*>=\s*(-?[\d.]+)")
_RATE_NAMES = {"selection_rate": "selected", "tpr": "TPR", "fpr": "FPR", "fnr": "FNR", "accuracy": "accuracy"}


class Audit(NamedTuple):
    """Rates of one decision by group.

    Attributes:
        counts: samples of each group, ``(G,)``.
        rates: of each group by name, with intervals, in the order of the groups.
        differences, ratios: between the extreme groups by rate, with bootstrap intervals.
    """

    counts: list[int]
    rates: Mapping[str, list[Measure]]
    differences: Mapping[str, Measure]
    ratios: Mapping[str, Measure]


def audit(
    y: np.ndarray,
    answer: np.ndarray,
    group: np.ndarray,
    names: Sequence[str],
    draws: int = 1000,
    seed: int = 0,
    least: int = 1,
) -> Audit:
    """Compare the rates of a binary decision between groups.

    Args:
        y: labels ``(N,)``, 0 or 1.
        answer: decisions ``(N,)``, 0 or 1.
        group: numbers ``(N,)``, from 0; negative ones are left out.
        names: of the groups.
        draws: of the bootstrap.
        seed: of the draws.
        least: samples that a group needs to count in differences and ratios; any, where fewer than two have so many.

    Raises:
        ValueError: fewer than two groups have samples.
    """
    cells = cell_counts(y, answer, group, len(names))
    present = cells.sum((1, 2)) > 0
    if int(present.sum()) < 2:
        raise ValueError("an audit compares groups, and fewer than two of them have samples")
    compared = compared_groups(cells, least)
    drawn = rates(resampled(cells, draws, seed))
    found = by_group(y, answer, group, names)
    per_group = {
        name: [Measure(float(found[name][g]), *_ends(drawn[name][:, g])) for g in range(len(names))] for name in RATES
    }
    differences, ratios = {}, {}
    for name in RATES:
        difference, ratio = gaps(found[name][compared])
        again = gaps(drawn[name][:, compared])
        differences[name] = Measure(float(difference), *_ends(again[0]))
        ratios[name] = Measure(float(ratio), *_ends(again[1]))
    return Audit(cells.sum((1, 2)).tolist(), per_group, differences, ratios)


def compared_groups(cells: np.ndarray, least: int) -> np.ndarray:
    """Mark the groups that count in differences and ratios: those of at least so many samples, or else all with any.

    Args:
        cells: counts by group, label and answer, ``(G, 2, 2)``.
        least: samples.

    Returns:
        ``(G,)``, bool.
    """
    counts = cells.sum((1, 2))
    large = counts >= least
    return large if int(large.sum()) > 1 else counts > 0


def assess(material: Material) -> PartResult | NotApplicable:
    """Audit decisions by each column of groups.

    Args:
        material: of the assessment.
    """
    if not material.classifies and not material.finds:
        return NotApplicable(TITLE, _NO_CLASSES)
    name = material.deployment or material.test or material.validation
    columns = group_columns(material, name)
    texts = material.data.modality_for(material.plan.data.node) == "text"
    if not columns and not (texts and material.classifies):
        return NotApplicable(
            TITLE, "The data have no column of groups: set `data.group_column` if the data have this option."
        )
    result = PartResult(TITLE, "", "moderate")
    sentences: list[str] = []
    if texts and material.classifies:
        sentences += _of_texts(material, result)
    for column in columns:
        sentences += _by_column(material, name, column, result)
    sentences.sort(key=lambda one: "no two groups" in one)  # stable: what is known comes first
    result.sentence = " ".join(sentences[:2])
    result.confidence = _confidence(result)
    if not columns:
        return result
    result.notes.append(
        f"Differences are between the extreme groups of at least {_SMALL} samples, so that chance alone makes "
        "them larger than zero; intervals are "
        "by bootstrap over samples. "
        + ("Classes are audited one versus the rest." if material.classifies else "Labels are decided at .5.")
    )
    if (left := len(material.class_names) - _MOST_CLASSES) > 0:
        result.notes.append(f"> The first {_MOST_CLASSES} of them are audited, and the other {left} are not.")
    return result


def _of_texts(material: Material, result: PartResult) -> list[str]:
    """Audit words and templates, which need no groups."""
    from tl_lab.assess.equity import add_equity
    from tl_lab.assess.sentence_pairs import add_preferences
    from tl_lab.assess.text_bias import add_associations, add_templates, classifiers

    answerer, seed, subject = answerer_of(material), material.plan.seed, material.subjects[0]
    classify, before = classifiers(material, answerer)
    base, base_answers = (None, None) if before is None else before
    names = material.class_names
    sentences = [
        add_templates(classify, names, answerer.name, result, base_answers),
        add_associations(subject, result, base),
        add_equity(classify, names, _CONTEXTS, seed, result, base_answers),
    ]
    model = subject.backbone
    if isinstance(model, HFCausal):  # a language model may have preferences independent of the data
        untuned = base.backbone if base is not None and isinstance(base.backbone, HFCausal) else None
        sentences = [
            *add_preferences(model, model.start_token, material.options.pairs, seed, result, untuned),
            *sentences,
        ]
    result.notes.append(
        "Word associations use English words and do not apply to backbones for other languages. The sentences of a "
        "pair differ only in the person, so that every difference is due to the model."
    )
    return [one for one in sentences if one]


def _by_column(material: Material, name: str, column: str, result: PartResult) -> list[str]:
    """Audit the given decision on all samples, then the model's and its base's on held-out ones."""
    groups = group_names(material, column)
    sentences = []
    if given := _given(material, column):
        title, y, answer, group = given
        sentences.append(_one(title, y, answer, group, groups, column, result, material))
    answerer = answerer_of(material)
    column_of = material.drawn[name].columns[column].numpy()
    decided = _decisions(material, answerer, name)
    for one in decided:
        label = f"{answerer.name}, {one.title}" if one.title else answerer.name
        y, group = one.y[one.known], column_of[one.known]
        sentences.append(_one(label, y, one.answer[one.known], group, groups, column, result, material))
        if one.base is not None:
            before = f"base, {one.title}" if one.title else "base"
            _one(before, y, one.base[one.known], group, groups, column, result, material)
            _amplification(label, before, column, result, y, one.answer[one.known], one.base[one.known], group, groups)
    _calibration(material, column_of, column, groups, decided, result)
    return sentences


class _Decision(NamedTuple):
    """A yes or no for each of N samples.

    Attributes:
        name: of the class or label.
        title: of its audit; empty where there is one decision only.
        known: samples whose truth is known.
        y: the truth.
        answer: of the model.
        base: answer of its base; None without a run.
        p: probability that the model states.
        base_p: that its base states; None without a run.
    """

    name: str
    title: str
    known: np.ndarray
    y: np.ndarray
    answer: np.ndarray
    base: np.ndarray | None
    p: np.ndarray
    base_p: np.ndarray | None


def _decisions(material: Material, answerer: Answerer, name: str) -> list[_Decision]:
    """List what is decided on a set: for the second of two classes, for each of several, or for each label."""
    y, p = material.labels(name), answerer.probabilities(name).numpy()
    before = base_of(material, name) if answerer.run is not None else None
    earlier = None
    if before is not None:
        earlier = (before.sigmoid() if material.finds else before.softmax(1)).numpy()
    found = []
    if material.finds:
        for number, label in enumerate(material.class_names[:_MOST_CLASSES]):
            known, truth = (y[:, number] >= 0).numpy(), (y[:, number] == 1).numpy()
            base = None if before is None else (before[:, number] >= 0).numpy()
            base_p = None if earlier is None else earlier[:, number]
            found.append(_Decision(label, label, known, truth, p[:, number] >= 0.5, base, p[:, number], base_p))
        return found
    answer, chosen = answerer.logits(name).argmax(1), None if before is None else before.argmax(1)
    for number, title in _positives(material):
        truth, decided = (y == number).numpy(), (answer == number).numpy()
        base = None if chosen is None else (chosen == number).numpy()
        everyone, base_p = np.ones(len(y), dtype=bool), None if earlier is None else earlier[:, number]
        found.append(
            _Decision(material.class_names[number], title, everyone, truth, decided, base, p[:, number], base_p)
        )
    return found


def _positives(material: Material) -> list[tuple[int, str]]:
    """List the classes that are audited: the second of two, or each of several against the rest."""
    names = material.class_names
    if len(names) == 2:
        return [(1, "")]
    return [(c, f"{one} against the rest") for c, one in enumerate(names[:_MOST_CLASSES])]


def _given(material: Material, column: str) -> tuple[str, np.ndarray, np.ndarray, np.ndarray] | None:
    """Read a decision that came with the data, over all samples of all sets."""
    sets = [one for one in material.whole.values() if one.y is not None and column in one.columns]
    text = material.options.decision or ("decile>=5" if sets and "decile" in sets[0].columns else None)
    if text is None or not sets or not material.classifies:
        return None
    found = _DECISION.fullmatch(text)
    if found is None or found[1] not in sets[0].columns:
        raise ValueError(f"assess.decision is <column>>=<number> with a column of the data, not {text!r}")
    whole = [torch.cat([one.columns[name] for one in sets]).numpy() for name in (found[1], column)]
    y = torch.cat([one.y for one in sets if one.y is not None]).numpy()
    positive = _positives(material)[0][0]
    return f"given decision {text}", y == positive, whole[0] >= float(found[2]), whole[1]


def _one(
    title: str,
    y: np.ndarray,
    answer: np.ndarray,
    group: np.ndarray,
    groups: Sequence[str],
    column: str,
    result: PartResult,
    material: Material,
) -> str:
    """Audit one decision, and add it to the result; gives the sentence."""
    found = audit(y, answer, group, groups, seed=material.plan.seed, least=_SMALL)
    where = f"{column}/{title}"
    shown = [g for g in range(len(groups)) if found.counts[g] > 0]
    large = [g for g in shown if found.counts[g] >= _SMALL]
    for name in RATES:
        result.measures |= {f"{where}/{groups[g]}/{name}": found.rates[name][g] for g in shown}
        if len(large) > 1:  # those of a handful of samples would stand in the verdict like any other
            result.measures[f"{where}/difference/{name}"] = found.differences[name]
            result.measures[f"{where}/ratio/{name}"] = found.ratios[name]
    rows: list[list[str | Cell]] = [
        [groups[g], f"{found.counts[g]:,}", *(_share(found.rates[name][g]) for name in RATES)] for g in shown
    ]
    rows.append([Cell("difference (95 %)", "best"), "", *(found.differences[n].text(percent=True) for n in RATES)])
    rows.append([Cell("ratio (95 %)", "best"), "", *(found.ratios[n].text(2) for n in RATES)])
    result.tables.append(
        Table([column, "n", *(_RATE_NAMES[name] for name in RATES)], rows, 1, title[:1].upper() + title[1:])
    )
    small = [f"{groups[g]} ({found.counts[g]})" for g in shown if found.counts[g] < _SMALL]
    if small:
        note = f"> Groups of fewer than {_SMALL} samples, whose rates are unreliable: {', '.join(small)}."
        result.notes += [note] if note not in result.notes else []
    if len(large) < 2:
        return f"For {title}, no two groups of {column} have {_SMALL} samples."
    result.figures[f"False positive rate of {title} by {column}, with 95 % intervals"] = bars(
        {groups[g]: found.rates["fpr"][g] for g in large}, "false positive rate", percent=True
    )
    high, low = sorted(large, key=lambda g: -found.counts[g])[:2]  # the two whose rates are known best
    a, b = found.rates["fpr"][high], found.rates["fpr"][low]
    return (
        f"{title[:1].upper() + title[1:]}: the false positive rate is {a.text(percent=True)} for "
        f"{groups[high]} and {b.text(percent=True)} for {groups[low]}, the false negative rate "
        f"{found.rates['fnr'][high].text(percent=True)} and {found.rates['fnr'][low].text(percent=True)}."
    )


def _amplification(
    tuned: str,
    before: str,
    column: str,
    result: PartResult,
    y: np.ndarray,
    answer: np.ndarray,
    base: np.ndarray,
    group: np.ndarray,
    groups: Sequence[str],
    draws: int = 500,
) -> None:
    """Add how much larger the tuned model's differences are than its base's, samples paired in the bootstrap."""
    both = [answer, base]
    compared = compared_groups(cell_counts(y, both[0], group, len(groups)), _SMALL)
    draw = np.random.default_rng(0)
    again: dict[str, list[float]] = {name: [] for name in RATES}
    for _ in range(draws):
        i = draw.integers(len(y), size=len(y))
        found = [rates(cell_counts(y[i], one[i], group[i], len(groups))) for one in both]
        for name in RATES:
            large, small = (float(gaps(one[name][compared])[0]) for one in found)
            again[name].append(large - small)
    rows: list[list[str | Cell]] = []
    for name in RATES:
        value = (
            result.measures[f"{column}/{tuned}/difference/{name}"].value
            - result.measures[f"{column}/{before}/difference/{name}"].value
        )
        one = result.measures[f"{column}/{tuned}/amplification/{name}"] = Measure(value, *_ends(np.array(again[name])))
        rows.append([_RATE_NAMES[name], one.text(percent=True)])
    result.tables.append(Table(["rate", "tuned - base (95 %)"], rows, 1, "Amplification of differences by tuning"))


def _calibration(
    material: Material,
    group: np.ndarray,
    column: str,
    groups: Sequence[str],
    decided: Sequence[_Decision],
    result: PartResult,
) -> None:
    """Add the mean predicted probability and the observed rate of each group, by class or label where several are."""
    several = len(decided) > 1 or material.finds
    rows: list[list[str | Cell]] = []
    for one in decided:
        where = f"{column}/{one.title}/calibration" if one.title else f"{column}/calibration"
        for g, name in enumerate(groups):
            inside = (group == g) & one.known
            if inside.any():
                observed = wilson(int(one.y[inside].sum()), int(inside.sum()))
                cells = []
                for key, p in ((where, one.p), (f"base/{where}", one.base_p)):
                    if p is not None:
                        stated = float(p[inside].mean())
                        apart = result.measures[f"{key}/{name}"] = Measure(
                            stated - observed.value, stated - (observed.high or 0), stated - (observed.low or 0)
                        )
                        cells += [f"{stated:.1%}", apart.points()]
                rows.append([*([one.name] if several else []), name, *cells, observed.text(percent=True)])
    kind = "class" if material.classifies else "label"
    shares = f"each {kind}" if several else decided[0].name
    title = f"Calibration by {column}: stated and observed share of {shares}"
    less = "less observed (95 %)"
    before = ["stated by the base", less] if decided[0].base_p is not None else []
    head = [*([kind] if several else []), column, "stated", less, *before, "observed (95 %)"]
    result.tables.append(Table(head, rows, 2 if several else 1, title))


def _confidence(result: PartResult) -> Confidence:
    widths = [(m.high or 0) - (m.low or 0) for key, m in result.measures.items() if "/difference/fpr" in key]
    return "high" if widths and min(widths) < 0.1 else "moderate" if widths and min(widths) < 0.25 else "low"


def _ends(values: np.ndarray) -> tuple[float | None, float | None]:
    values = values[np.isfinite(values)]
    if not len(values):
        return None, None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _share(one: Measure) -> str | Cell:
    return "-" if one.value != one.value else Cell(one.text(percent=True, digits=3), value=one.value)
