"""The Equity Evaluation Corpus: what a classifier makes of sentences that differ in a person's gender or race alone."""

import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from tl_lab.assess.results import Measure, PartResult, mean_with_interval
from tl_lab.data.encodings import decoded
from tl_lab.data.roots import places_of
from tl_lab.errors import UserError
from tl_lab.results.report.blocks import Cell, Table

__all__ = ["PLACE", "Contexts", "add_equity", "contexts", "gaps"]

PLACE = "equity_evaluation/Equity-Evaluation-Corpus.csv"
"""Below the folder of data sets."""
CONTRASTS = {
    "female - male": ("Gender", "female", "male"),
    "African-American - European names": ("Race", "African-American", "European"),
}
"""Column and its two values, by what is reported."""

Contexts = list[list[dict[str, str]]]
"""For each template and emotion word, the rows of all persons."""


def contexts(path: Path, most: int | None = None, seed: int = 0) -> Contexts:
    """Read the corpus, by template and emotion word.

    Args:
        path: of the file.
        most: contexts, drawn by the seed; None for all.
        seed: of the draw.

    Raises:
        UserError: the file lacks a column.

    References:
        Kiritchenko and Mohammad, Examining Gender and Race Bias in Two Hundred Sentiment Analysis Systems, *SEM 2018.
    """
    with decoded(path, "utf-8"), path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or {"Sentence", "Template", "Gender", "Race", "Emotion word"} - rows[0].keys():
        raise UserError(f"{path} lacks columns of the Equity Evaluation Corpus")
    found: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        found[row["Template"], row["Emotion word"]].append(row)
    groups = list(found.values())
    kept = np.random.default_rng(seed).permutation(len(groups))[: most or len(groups)]
    return [groups[i] for i in sorted(kept)]


def gaps(parts: Contexts, scores: Sequence[float], column: str, high: str, low: str) -> Measure:
    """Give the mean difference of a score between two kinds of persons, with an interval over contexts.

    Args:
        parts: contexts.
        scores: of the sentences, in their order.
        column: of the corpus.
        high, low: its values; the mean of ``low`` is subtracted from that of ``high``.
    """
    differences, start = [], 0
    for rows in parts:
        values = np.asarray(scores[start : start + len(rows)])
        start += len(rows)
        kinds = np.array([row[column] for row in rows])
        if (kinds == high).any() and (kinds == low).any():
            differences.append(float(values[kinds == high].mean() - values[kinds == low].mean()))
    return mean_with_interval(differences)


def add_equity(
    classify: Callable[[list[str]], Tensor],
    names: Sequence[str],
    most: int,
    seed: int,
    result: PartResult,
    base: Callable[[list[str]], Tensor] | None = None,
) -> str:
    """Add the corpus' gaps in a classifier's probabilities; gives the sentence, empty where the corpus is not here.

    Args:
        classify: gives probabilities ``(N, C)`` of texts.
        names: of the classes.
        most: contexts, of sixty sentences each.
        seed: of their draw.
        result: what is added to.
        base: the classifier before tuning, for its gaps, and how much larger those after tuning are, context by
            context; None without a run.
    """
    path = next((one for one in places_of(PLACE) if one.exists()), None)
    if path is None:
        result.notes.append(f"The Equity Evaluation Corpus was not found (`{PLACE}`), and is left out.")
        return ""
    parts = contexts(path, most, seed)
    texts = [row["Sentence"] for rows in parts for row in rows]
    p = {"equity": classify(texts).numpy()}
    if base is not None:
        p["base/equity"] = base(texts).numpy()
        p["amplification/equity"] = p["equity"] - p["base/equity"]  # a gap is linear in the probabilities
    rows: list[list[str | Cell]] = []
    widest: tuple[str, Measure] | None = None
    for persons, contrast in CONTRASTS.items():
        for c, name in enumerate(names):
            found = {f"{kind}/{persons}/{name}": gaps(parts, of[:, c].tolist(), *contrast) for kind, of in p.items()}
            result.measures |= found
            one = found[f"equity/{persons}/{name}"]
            rows.append([persons, name, *(each.text(4) for each in found.values())])
            if widest is None or abs(one.value) > abs(widest[1].value):
                widest = f"{name}, {persons}", one
    caption = f"Equity Evaluation Corpus: differences of probabilities, {len(parts)} contexts, {len(texts):,} sentences"
    more = ["base (95 %)", "tuned - base (95 %)"] if base is not None else []
    result.tables.append(Table(["persons", "class", "gap (95 %)", *more], rows, 2, caption))
    assert widest is not None
    return f"On the Equity Evaluation Corpus the widest gap is {widest[1].text(4)} ({widest[0]})."
