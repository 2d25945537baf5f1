"""Audits of texts that need no groups: associations of words, and sentences that differ in one person only."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tl_lab.assess.answering import Answerer, base_probe
from tl_lab.assess.material import Material, Subject
from tl_lab.assess.pictures import bars
from tl_lab.assess.results import Measure, PartResult
from tl_lab.assess.word_lists import associations, gender_pairs
from tl_lab.results.report.blocks import Cell, Table, p_cell

__all__ = ["Classify", "add_associations", "add_templates", "classifiers"]

Classify = Callable[[list[str]], Tensor]
"""Gives the probabilities ``(N, C)`` of texts, double."""


@torch.no_grad()
def _features(subject: Subject, texts: list[str]) -> Tensor:
    """Read a backbone's features of texts, ``(N, D)``."""
    return torch.cat(
        [subject.backbone(subject.backbone.spec.prepare(texts[i : i + 64])) for i in range(0, len(texts), 64)]
    )


def add_associations(subject: Subject, result: PartResult, base: Subject | None = None) -> str:
    """Add the association tests of a backbone's words to a result; gives the sentence.

    Args:
        subject: whose words are tested.
        result: what is added to.
        base: the same backbone before it was tuned, which is tested as well; None without a run.
    """
    found = _finite_associations(subject, result)
    if not found:
        return ""
    rows: list[list[str | Cell]] = [[n, one.comparison, f"{one.effect:.3f}", p_cell(one.p)] for n, one in found.items()]
    result.measures |= {name: Measure(one.effect, p=one.p) for name, one in found.items()}
    if base is not None:
        before = _finite_associations(base, result)
        rows += [[f"{n}, base", one.comparison, f"{one.effect:.3f}", p_cell(one.p)] for n, one in before.items()]
        result.measures |= {f"base/{name}": Measure(one.effect, p=one.p) for name, one in before.items()}
    result.tables.append(Table(["test", "compares", "d", "p"], rows, 2, f"Word associations (WEAT) of {subject.name}"))
    strongest = max(found, key=lambda name: abs(found[name].effect))
    one = found[strongest]
    return f"Words of {subject.name} associate {one.comparison} with d = {one.effect:.2f} ({strongest})."


def _finite_associations(subject: Subject, result: PartResult) -> dict[str, Any]:
    """Test a backbone's words; tests whose words all have the same features are left out, with a note."""
    found = associations(lambda words: _features(subject, list(words)))
    finite = {name: one for name, one in found.items() if np.isfinite(one.effect)}
    if len(finite) < len(found):
        left_out = ", ".join(name for name in found if name not in finite)
        which = "all of the words" if not finite else f"all words of {left_out}"
        result.notes.append(f"> Word associations are left out: {subject.name} gives {which} the same features.")
    return finite


def classifiers(material: Material, answerer: Answerer) -> tuple[Classify, tuple[Subject, Classify] | None]:
    """Give the classifier of texts that answers, and with a run what it started from.

    Args:
        material: of an assessment of texts with classes.
        answerer: the run, or a probe.

    Returns:
        The classifier, and the untuned backbone with the classifier of a probe on it; None without a run.
    """
    count = len(material.class_names)
    if answerer.run is None:
        subject = next(one for one in material.subjects if one.name == answerer.on)
        probe = material.probe(answerer.on)
        return lambda texts: probe.logits(_features(subject, texts), count).double().softmax(1), None
    from tl_lab.run.inference import load_classifier

    model, (base, fitted) = load_classifier(answerer.run), base_probe(material)

    @torch.no_grad()
    def tuned(texts: list[str]) -> Tensor:
        return torch.cat([model(texts[i : i + 64]) for i in range(0, len(texts), 64)]).double().softmax(1)

    return tuned, (base, lambda texts: fitted.logits(_features(base, texts), count).double().softmax(1))


def add_templates(
    classify: Classify, names: Sequence[str], title: str, result: PartResult, base: Classify | None = None
) -> str:
    """Add how a classifier's probabilities differ between a female and a male person; gives the sentence.

    Args:
        classify: the classifier.
        names: of the classes.
        title: name of the classifier for readers.
        result: what is added to.
        base: classifier before tuning, for its gaps, and how much larger those after tuning are, over the same pairs of
            sentences; None without a run.
    """
    pairs = list(gender_pairs())
    texts = [text for pair in pairs for text in pair]

    def gaps_of(one: Classify) -> np.ndarray:
        p = one(texts).numpy().reshape(len(pairs), 2, -1)
        return p[:, 1] - p[:, 0]  # female less male

    gaps = {"templates": gaps_of(classify)}
    if base is not None:
        gaps["base/templates"] = gaps_of(base)
        gaps["amplification/templates"] = gaps["templates"] - gaps["base/templates"]
    found = {kind: {name: _mean(of[:, c]) for c, name in enumerate(names)} for kind, of in gaps.items()}
    for kind, by_class in found.items():
        result.measures |= {f"{kind}/{name}": one for name, one in by_class.items()}
    measures = found["templates"]
    rows: list[list[str | Cell]] = [[name, *(by_class[name].text(4) for by_class in found.values())] for name in names]
    caption = f"Probability for a female person minus that for a male one, over {len(pairs)} pairs of sentences"
    head = ["class", "gap (95 %)", *(["base (95 %)", "tuned - base (95 %)"] if base is not None else [])]
    result.tables.append(Table(head, rows, 1, caption))
    result.figures[caption] = bars(measures, "difference of probabilities", line=0)
    widest = max(measures, key=lambda name: abs(measures[name].value))
    gap, name = measures[widest], title
    more = "more" if gap.value > 0 else "less"
    ends = sorted(abs(end) for end in (gap.low, gap.high) if end is not None)
    return (
        f"{name[:1].upper()}{name[1:]} gives {widest} {abs(gap.value):.3f} ({ends[0]:.3f} to {ends[-1]:.3f}) {more} "
        "probability where the person is female."
    )


def _mean(differences: np.ndarray) -> Measure:
    """Give the mean of differences ``(N,)`` with its normal interval."""
    mean, half = float(differences.mean()), 1.96 * float(np.std(differences, ddof=1)) / len(differences) ** 0.5
    return Measure(mean, mean - half, mean + half)
