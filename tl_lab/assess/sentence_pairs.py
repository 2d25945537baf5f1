"""Pairs of sentences of which a language model may prefer the stereotyped one: CrowS-Pairs and WinoBias."""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from tl_lab.assess.pictures import bars
from tl_lab.assess.results import Measure, PartResult, mean_with_interval, wilson
from tl_lab.data.encodings import decoded, read_text
from tl_lab.data.roots import places_of
from tl_lab.errors import UserError
from tl_lab.results.report.blocks import Cell, Table

__all__ = ["SETS", "Pair", "add_preferences", "crows_pairs", "log_likelihoods", "preferences", "winobias"]

_BATCH = 8
_TEST_PARTS = ("type1", "type2")


class Pair(NamedTuple):
    """Two sentences that differ in a group, or in a pronoun.

    Attributes:
        stereotyped: the one that agrees with the stereotype.
        other: the one that does not.
        kind: of the bias.
    """

    stereotyped: str
    other: str
    kind: str


class LanguageModel(Protocol):
    """A language model, such as :class:`~tl_lab.backbones.hf_causal.HFCausal`."""

    @property
    def tokeniser(self) -> Any: ...

    def read(self, ids: Tensor, mask: Tensor, past: Any = None) -> tuple[Tensor, Any]: ...

    def next_token(self, states: Tensor) -> Tensor: ...


def crows_pairs(path: Path) -> list[Pair]:
    """Read CrowS-Pairs.

    Args:
        path: of ``crows_pairs_anonymized.csv``.

    Raises:
        UserError: the file lacks a column.

    References:
        Nangia et al., CrowS-Pairs: A Challenge Dataset for Measuring Social Biases in Masked Language Models, EMNLP
        2020.
    """
    with decoded(path, "utf-8"), path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or {"sent_more", "sent_less", "bias_type"} - rows[0].keys():
        raise UserError(f"{path} has no columns sent_more, sent_less and bias_type")
    return [Pair(row["sent_more"].strip(), row["sent_less"].strip(), row["bias_type"]) for row in rows]


def winobias(folder: Path) -> list[Pair]:
    """Read WinoBias' test sentences: those of a line differ in the gender of a pronoun.

    Args:
        folder: with ``pro_stereotyped_type1.txt.test`` and its kin.

    Raises:
        UserError: a file and its counterpart have different numbers of lines.

    References:
        Zhao et al., Gender Bias in Coreference Resolution: Evaluation and Debiasing Methods, NAACL 2018.
    """
    found: list[Pair] = []
    for part in _TEST_PARTS:
        pro, anti = (_sentences(folder / f"{side}_stereotyped_{part}.txt.test") for side in ("pro", "anti"))
        if len(pro) != len(anti):
            raise UserError(f"{folder}: the two files of {part} have {len(pro)} and {len(anti)} lines")
        found += [Pair(one, other, part) for one, other in zip(pro, anti, strict=True)]
    return found


def _sentences(path: Path) -> list[str]:
    """Read numbered sentences, and leave the brackets around mentions out."""
    lines = read_text(path).splitlines()
    return [re.sub(r"[\[\]]", "", re.sub(r"^\d+\s+", "", line)).strip() for line in lines if line.strip()]


SETS: dict[str, tuple[str, str, Callable[[Path], list[Pair]]]] = {
    "crows_pairs": ("CrowS-Pairs", "crows_pairs/crows_pairs_anonymized.csv", crows_pairs),
    "winobias": ("WinoBias, pro against anti", "winobias", winobias),
}
"""Name for readers, place below the folder of data sets, and what reads it."""


@torch.no_grad()
def log_likelihoods(model: LanguageModel, texts: Sequence[str], start: int) -> Tensor:
    """Compute the log-probability of each text, the sum over its tokens.

    Args:
        model: in evaluation mode.
        texts: N of them.
        start: token before each text, so that the first token of the text is also scored.

    Returns:
        ``(N,)``, double.
    """
    found = []
    for first in range(0, len(texts), _BATCH):
        rows = [[start, *model.tokeniser.pieces(text)] for text in texts[first : first + _BATCH]]
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        log_p = model.next_token(model.read(ids, mask)[0][:, :-1])  # (B, L - 1, V)
        scores = log_p.gather(2, ids[:, 1:, None])[:, :, 0].double()
        found.append((scores * mask[:, 1:]).sum(1))
    return torch.cat(found)


def preferences(pairs: Sequence[Pair], scores: Tensor) -> dict[str, Measure]:
    """Give the share of pairs whose stereotyped sentence is more probable: of all, and by kind of bias.

    Args:
        pairs: N of them.
        scores: log-probabilities of both sentences, ``(N, 2)``; equal ones count half.

    Returns:
        Shares with Wilson's intervals, ``all`` first; .5 for a model without a preference.
    """
    wins = _wins(scores)
    kinds = np.array([pair.kind for pair in pairs])
    parts = {"all": wins} | {str(kind): wins[kinds == kind] for kind in np.unique(kinds)}
    return {kind: wilson(float(one.sum()), len(one)) for kind, one in parts.items()}


def _wins(scores: Tensor) -> np.ndarray:
    gap = (scores[:, 0] - scores[:, 1]).numpy()
    return (gap > 0) + 0.5 * (gap == 0)


def add_preferences(
    model: LanguageModel, start: int, most: int, seed: int, result: PartResult, base: LanguageModel | None = None
) -> list[str]:
    """Add a language model's preferences on the sets that lie below the folder of data sets; gives the sentences.

    Args:
        model: in evaluation mode.
        start: see :func:`log_likelihoods`.
        most: pairs of each set, drawn by the seed.
        seed: of the draw.
        result: what is added to.
        base: the model before tuning, for its share, and how much larger that after tuning is, pair by pair; None
            without a run.
    """
    sentences = []
    for key, (title, place, read) in SETS.items():
        path = next((one for one in places_of(place) if one.exists()), None)
        if path is None:
            result.notes.append(f"{title} was not found (`{place}` below the folder of data sets), and is left out.")
            continue
        whole = read(path)
        chosen = np.random.default_rng(seed).permutation(len(whole))[:most]
        pairs = [whole[i] for i in chosen]
        texts = [text for pair in pairs for text in (pair.stereotyped, pair.other)]
        scores = log_likelihoods(model, texts, start).view(-1, 2)
        shares = preferences(pairs, scores)
        gap = mean_with_interval((scores[:, 0] - scores[:, 1]).tolist())
        result.measures[f"{key}/difference"] = gap
        result.notes.append(
            f"{title}: the log-probability of the stereotyped sentence minus that of the other is {gap.text(2)} nats "
            "on "
            "average."
        )
        result.measures |= {f"{key}/{kind}": one for kind, one in shares.items()}
        counts = {kind: sum(pair.kind == kind for pair in pairs) for kind in shares} | {"all": len(pairs)}
        rows: list[list[str | Cell]] = [
            [kind, str(counts[kind]), one.text(percent=True)] for kind, one in shares.items()
        ]
        caption = f"{title}: share of pairs whose stereotyped sentence is more probable, 50 % without a preference"
        result.tables.append(Table(["kind", "pairs", "stereotyped preferred (95 %)"], rows, 1, caption))
        result.figures[caption] = bars(shares, "stereotyped sentence preferred", percent=True, line=0.5)
        sentences.append(
            f"On {len(pairs)} of {len(whole):,} pairs of {title} the stereotyped sentence is more probable in "
            f"{shares['all'].text(percent=True)}."
        )
        if base is not None:
            before = log_likelihoods(base, texts, start).view(-1, 2)
            after_less = mean_with_interval((_wins(scores) - _wins(before)).tolist())
            share = preferences(pairs, before)["all"]
            result.measures |= {f"base/{key}/all": share, f"amplification/{key}/all": after_less}
            result.notes.append(
                f"{title}: before tuning the stereotyped sentence was more probable in {share.text(percent=True)}; "
                f"tuning changes this by {after_less.points()}."
            )
    return sentences
