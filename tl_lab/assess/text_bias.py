"""Audits of texts that need no groups: associations of words, and sentences that differ in one person only."""

import numpy as np
import torch
from torch import Tensor

from tl_lab.assess.answering import Answerer
from tl_lab.assess.material import Material, Subject
from tl_lab.assess.pictures import bars
from tl_lab.assess.results import Measure, PartResult
from tl_lab.assess.word_lists import associations, gender_pairs
from tl_lab.results.report.blocks import Cell, Table, said_p

__all__ = ["add_associations", "add_templates", "probabilities_of"]


@torch.no_grad()
def _features(subject: Subject, texts: list[str]) -> Tensor:
    """Read a backbone's features of texts, ``(N, D)``."""
    return torch.cat(
        [subject.backbone(subject.backbone.spec.prepare(texts[i : i + 64])) for i in range(0, len(texts), 64)]
    )


def add_associations(material: Material, result: PartResult) -> str:
    """Add the association tests of a backbone's words to a result; gives the sentence."""
    subject = material.subjects[0]
    found = associations(lambda words: _features(subject, list(words)))
    rows: list[list[str | Cell]] = [[n, one.said, f"{one.effect:.3f}", said_p(one.p)] for n, one in found.items()]
    result.measures |= {name: Measure(one.effect, p=one.p) for name, one in found.items()}
    result.tables.append(Table(["test", "compares", "d", "p"], rows, 2, f"Word associations (WEAT) of {subject.name}"))
    strongest = max(found, key=lambda name: abs(found[name].effect))
    one = found[strongest]
    return f"Words of {subject.name} associate {one.said} with d = {one.effect:.2f} ({strongest})."


@torch.no_grad()
def probabilities_of(material: Material, answerer: Answerer, texts: list[str]) -> Tensor:
    """Let a classifier answer for texts: its probabilities, ``(N, C)``, double."""
    if answerer.run is not None:
        from tl_lab.run.inference import load_classifier

        model = load_classifier(answerer.run)
        logits = torch.cat([model(texts[i : i + 64]) for i in range(0, len(texts), 64)])
    else:
        subject = next(one for one in material.subjects if one.name == answerer.on)
        logits = material.probe(answerer.on).logits(_features(subject, texts), len(material.class_names))
    return logits.double().softmax(1)


def add_templates(material: Material, answerer: Answerer, result: PartResult) -> str:
    """Add how a classifier's probabilities differ between a female and a male person; gives the sentence."""
    pairs = list(gender_pairs())
    texts = [text for pair in pairs for text in pair]
    p = probabilities_of(material, answerer, texts).numpy().reshape(len(pairs), 2, -1)
    gaps = p[:, 1] - p[:, 0]  # female less male
    measures = {}
    for c, name in enumerate(material.class_names):
        half = 1.96 * float(np.std(gaps[:, c], ddof=1)) / len(pairs) ** 0.5
        mean = float(gaps[:, c].mean())
        measures[name] = Measure(mean, mean - half, mean + half)
    result.measures |= {f"templates/{name}": one for name, one in measures.items()}
    rows: list[list[str | Cell]] = [[name, one.text(4)] for name, one in measures.items()]
    caption = f"Probability for a female person less that for a male one, over {len(pairs)} pairs of sentences"
    result.tables.append(Table(["class", "gap (95 %)"], rows, 1, caption))
    result.figures[caption] = bars(measures, "difference of probabilities", line=0)
    widest = max(measures, key=lambda name: abs(measures[name].value))
    gap, name = measures[widest], answerer.name
    more = "more" if gap.value > 0 else "less"
    ends = sorted(abs(end) for end in (gap.low, gap.high) if end is not None)
    return (
        f"{name[:1].upper()}{name[1:]} gives {widest} {abs(gap.value):.3f} ({ends[0]:.3f} to {ends[-1]:.3f}) {more} "
        "probability where the person is female."
    )
