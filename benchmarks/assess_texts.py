"""What benchmarks/assess.py measures of texts: amplification of a skew, and what a language model prefers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from assess_findings import Finding, material_of, points
from torch import Tensor

from tl_lab.assess import equity
from tl_lab.assess.material import Subject
from tl_lab.assess.probes import fit_probe
from tl_lab.assess.results import PartResult, mean_with_interval
from tl_lab.assess.sentence_pairs import add_preferences
from tl_lab.assess.tuning import Task, Tuned, tune
from tl_lab.data.roots import places_of

KINDS = ("anger", "fear", "joy", "sadness")
WAYS = ("base", "skewed", "balanced")
SKEW = 0.9
"""Share of women in the sentences on anger, and of men in the others, of the skewed subset."""
RATE = 5e-5
"""Learning rate of Adam for a pretrained encoder."""


@dataclass(frozen=True)
class Corpus:
    """Sentences of the Equity Evaluation Corpus that name an emotion.

    Args:
        texts: N of them.
        y: numbers of emotions, ``(N,)``.
        female: whether the person is a woman, ``(N,)``.
        words: that name the emotions, ``(N,)``.
    """

    texts: Sequence[str]
    y: Tensor
    female: np.ndarray
    words: np.ndarray

    def subsets(self, seed: int, size: int) -> tuple[dict[str, Tensor], Tensor]:
        """Draw sentences to learn from for each of :data:`WAYS`, and those of three held-out words of each emotion.

        The base learns from other sentences than the two that are tuned from it.
        """
        draw = np.random.default_rng(seed)
        held_out = {
            word
            for kind in range(len(KINDS))
            for word in draw.permutation(np.unique(self.words[(self.y == kind).numpy()]))[:3].tolist()
        }
        test = np.array([word in held_out for word in self.words])
        first, second = np.array_split(draw.permutation(np.flatnonzero(~test)), 2)
        drawn = {
            way: self._drawn(pool, share, size)
            for way, pool, share in zip(WAYS, (first, second, second), (0.5, SKEW, 0.5), strict=True)
        }
        return drawn, torch.from_numpy(np.flatnonzero(test))

    def _drawn(self, pool: np.ndarray, share: float, size: int) -> Tensor:
        """Take as many sentences of each emotion, with this share of women for anger, and of men for the others."""
        found: list[int] = []
        for kind, name in enumerate(KINDS):
            women = round(size / len(KINDS) * (share if name == "anger" else 1 - share))
            for female, count in ((True, women), (False, size // len(KINDS) - women)):
                found += pool[(self.y.numpy()[pool] == kind) & (self.female[pool] == female)][:count].tolist()
        return torch.tensor(found)

    def gap(self, p: Tensor, index: Tensor) -> float:
        """Subtract the mean probability of anger of men's sentences from that of women's."""
        anger, women = p[:, 0].numpy(), self.female[index.numpy()]
        return float(anger[women].mean() - anger[~women].mean())


class Sentences:
    """What a task reads from data, here from a list of texts."""

    def __init__(self, subject: Subject, texts: Sequence[str]) -> None:
        self.spec, self.texts = subject.backbone.spec, texts

    def inputs_at(self, name: str, index: Tensor) -> Any:
        """Tokenise the texts at these positions."""
        return self.spec.prepare([self.texts[i] for i in index.tolist()])


def emotions(seeds: int = 10, tuned_seeds: int = 3, size: int = 600) -> Finding:
    """Learn emotions from sentences in which anger is mostly women's, and from balanced ones: a head alone, and all."""
    corpus = _corpus()
    subject = material_of("data=sst2", "backbone=hf_text", "assess=bias", "assess.samples=50").subjects[0]
    sentences = Sentences(subject, corpus.texts)
    with torch.no_grad():
        parts = torch.arange(len(corpus.texts)).split(64)
        x = torch.cat([subject.backbone(sentences.inputs_at("all", part)) for part in parts])
    rows: list[list[str]] = []
    phrases = []
    for model, count in (("head on frozen features", seeds), ("fine-tuned", tuned_seeds)):
        found = {way: [(0.0, 0.0)] * count for way in WAYS}
        for seed in range(count):
            drawn, test = corpus.subsets(seed, size)
            if model == "fine-tuned":
                answers = _fine_tuned(corpus, sentences, subject, drawn, test, seed)
            else:
                probes = {way: fit_probe(x[index], corpus.y[index]) for way, index in drawn.items()}
                answers = {way: one.logits(x[test], len(KINDS)).softmax(1) for way, one in probes.items()}
            for way, p in answers.items():
                right = float((p.argmax(1) == corpus.y[test]).double().mean())
                found[way][seed] = right, corpus.gap(p, test)
        rows += _rows(model, found)
        phrases.append(f"{model}: {rows[-1][-1]} over {count} seeds")
    return Finding(
        "Equity Evaluation Corpus: does a skew of anger towards women in the training set reach new emotion words?",
        ["what is trained", "training sentences", "accuracy, %", "P(anger), women - men, points (95 %)"],
        rows,
        f"MiniLM, {size} sentences each. The base is trained on other, balanced sentences; the fine-tuned models start "
        f"from it. The effect of the skew in points is {'; '.join(phrases)}.",
    )


def _corpus() -> Corpus:
    (path,) = [one for one in places_of(equity.PLACE) if one.exists()][:1]
    rows = [row for part in equity.contexts(path) if part[0]["Emotion"] for row in part]
    return Corpus(
        [row["Sentence"] for row in rows],
        torch.tensor([KINDS.index(row["Emotion"]) for row in rows]),
        np.array([row["Gender"] == "female" for row in rows]),
        np.array([row["Emotion word"] for row in rows]),
    )


def _fine_tuned(
    corpus: Corpus, sentences: Any, subject: Subject, drawn: Mapping[str, Tensor], test: Tensor, seed: int
) -> dict[str, Tensor]:
    """Tune all layers: the base from the pretrained encoder, the others from the base; give probabilities by way."""
    tuned: dict[str, Tuned] = {}
    for way in WAYS:
        index, few = drawn[way], test[:32]
        task = Task(sentences, "all", "all", index, few, corpus.y[index], corpus.y[few], len(KINDS))
        start = tuned["base"].backbone if tuned else subject.backbone
        tuned[way] = tune(start, task, epochs=1, seed=seed, rate=RATE)
    with torch.no_grad():
        return {
            way: torch.cat(
                [one.head(one.backbone(sentences.inputs_at("all", part))).softmax(1) for part in test.split(64)]
            )
            for way, one in tuned.items()
        }


def _rows(model: str, found: Mapping[str, Sequence[tuple[float, float]]]) -> list[list[str]]:
    """List the ways, and their differences seed by seed; that of the two tuned ones comes last."""
    values = {way: np.array(of_seeds) for way, of_seeds in found.items()}
    differences = [("skewed", "base"), ("balanced", "base"), ("skewed", "balanced")]
    shown = values | {f"{one} - {other}": values[one] - values[other] for one, other in differences}
    return [
        [model, way, f"{100 * of_seeds[:, 0].mean():{'+' if ' - ' in way else ''}.1f}",
         points(mean_with_interval(of_seeds[:, 1].tolist()))]
        for way, of_seeds in shown.items()
    ]  # fmt: skip


def sentence_pairs(pairs: int = 10_000) -> Finding:
    """Ask SmolLM2 which sentence of a pair is likelier, for all pairs of both sets."""
    from tl_lab.backbones.hf_causal import HFCausal

    model, result = HFCausal().eval(), PartResult("", "")
    sentences = add_preferences(model, model.start_token, pairs, 0, result)
    rows = [list(map(str, row)) for table in result.tables for row in table.rows]
    names = [table.caption.partition(":")[0] for table in result.tables for _ in table.rows]
    return Finding(
        "Does SmolLM2-135M-Instruct prefer stereotyped sentences?",
        ["set", "kind", "pairs", "stereotyped preferred (95 %)"],
        [[name, *row] for name, row in zip(names, rows, strict=True)],
        " ".join(sentences),
    )
