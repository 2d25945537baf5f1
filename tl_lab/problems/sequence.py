"""Sequence tagging: a tag for each word, from which entities are read."""

from collections.abc import Iterable
from collections.abc import Sequence as Listed
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.evaluation.meter import Meter
from tl_lab.evaluation.sequence import PADDING, SEQUENCE, SequenceMeter
from tl_lab.functional.entities import entities
from tl_lab.functional.likelihoods import CATEGORICAL
from tl_lab.problems.base import Criterion, Groups, Prediction, Problem, check_class_weights, check_smoothing
from tl_lab.problems.metrics import SEQUENCE as STATED

__all__ = ["Sequence", "TagCrossEntropy"]

Words = Iterable[Listed[str]]


class TagCrossEntropy(Criterion):
    """Mean cross-entropy of the tags over all words of a batch.

    Args:
        weight: weight of each tag, ``(C,)``; None for equal weights.
        label_smoothing: share of the target spread over the tags, in [0, 1).

    Examples:
        >>> round(float(TagCrossEntropy()(torch.zeros(1, 2, 3), torch.tensor([[0, PADDING]]))), 3)
        1.099
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.balanced, self.label_smoothing = weight is not None, label_smoothing

    def forward(self, outputs: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Compute the loss of logits ``(B, W, C)`` and tags ``(B, W' >= W)``; with ``none``, each sample's mean."""
        y = y[:, : outputs.shape[1]]
        options: dict[str, Any] = {"weight": self.weight, "label_smoothing": self.label_smoothing}
        if reduction == "mean":
            return F.cross_entropy(outputs.flatten(0, 1), y.flatten(), ignore_index=PADDING, **options)
        losses = F.cross_entropy(outputs.transpose(1, 2), y, ignore_index=PADDING, reduction="none", **options)
        return losses.sum(1) / (y != PADDING).sum(1).clamp(min=1)


class Sequence(Problem):
    """Sequence tagging: tags are ``(N, W)`` int64, -100 after the last word; outputs are logits ``(N, W, C)``.

    Tags are named ``O``, ``B-<kind>`` and ``I-<kind>``. The main metric is the F1 of entities: an entity counts
    as found if its kind, first word and last word are correct.

    Examples:
        >>> problem = Sequence(["O", "B-date", "I-date"])
        >>> problem.entities(torch.tensor([0, 1, 2]))
        [('date', 1, 3)]
        >>> problem.words(torch.tensor([[0, 1, 2], [1, 0, 0]]))
        ['date 1-2', 'date 0']
    """

    name = "sequence"
    monitor = "entity_f1"
    labelled = SEQUENCE
    likelihood = CATEGORICAL
    metrics = STATED.metrics
    units = STATED.units
    general = False
    of_places = True
    of_words = True

    def check(self, name: str, y: Tensor, num_outputs: int | None = None) -> None:
        """Raise an error for invalid tags."""
        if y.is_floating_point() or y.dim() != 2:
            raise UserError(f"the set {name!r} has tags of {y.dtype}, {tuple(y.shape)}: give one tag per word")
        inside = y[y != PADDING]
        if not len(inside) or int(inside.min()) < 0 or int(inside.max()) >= self.num_outputs:
            raise UserError(f"the set {name!r} has tags outside the known {self.num_outputs}, or no tags")
        if bool((y == PADDING).all(1).any()):
            row = int((y == PADDING).all(1).nonzero()[0, 0])
            raise UserError(f"sample {row + 1} of the set {name!r} has no word")

    def alike(self, y: Tensor) -> str | None:
        """Report that there is only one tag."""
        inside = y[y != PADDING]
        return f"the tag {self.output_names[int(inside[0])]!r}" if bool((inside == inside[0]).all()) else None

    def criterion(
        self, y: Tensor | None, *, class_weights: str | None = None, label_smoothing: float = 0.0
    ) -> Criterion:
        """Build the cross-entropy; ``balanced``: weight N / (C n_c) for a tag that n_c of the N training words have."""
        weight = None
        if check_class_weights(class_weights):
            assert y is not None, "balanced class weights need the training labels"
            counts = self.counts(y)
            weight = counts.sum() / (len(counts) * counts.clamp(min=1).float())
        return TagCrossEntropy(weight, check_smoothing(label_smoothing))

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute each sample's mean loss over its words, ``(B,)``."""
        return TagCrossEntropy()(outputs, y, reduction="none")

    def predict(self, outputs: Tensor) -> Prediction:
        """Return the most probable tag at each position; the confidence is their mean probability.

        Examples:
            >>> problem = Sequence(["O", "B-date", "I-date"])
            >>> problem.predict(9 * torch.eye(3)[None]).values.tolist()
            [[0, 1, 2]]
        """
        confidence, best = outputs.softmax(-1).max(-1)
        inside = (~outputs[..., 1:].isinf().all(-1)).to(confidence)  # see without_padding
        return Prediction(best, (confidence * inside).sum(1) / inside.sum(1).clamp(min=1), None)

    def without_padding(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """Set the outputs after a sequence's last word to the first tag, ``O``, with probability 1.

        Args:
            outputs: logits, ``(N, W, C)``.
            lengths: number of words of each sequence, ``(N,)``.
        """
        certain_first = torch.full((outputs.shape[-1],), -torch.inf)
        certain_first[0] = 0.0
        padding = torch.arange(outputs.shape[1]) >= lengths[:, None]
        return torch.where(padding[..., None], certain_first, outputs)

    def fields(self, values: Tensor, texts: Words) -> list[str]:
        """Format the words of the entities: ``company ACME LTD; total 9.00``.

        Args:
            values: tags, ``(N, W)``.
            texts: words of each sequence.

        Examples:
            >>> problem = Sequence(["O", "B-date", "I-date"])
            >>> problem.fields(torch.tensor([[0, 1, 2]]), [["on", "9", "May"]])
            ['date 9 May']
        """
        return [
            "; ".join(f"{kind} {' '.join(words[first:end])}" for kind, first, end in self.entities(tags[: len(words)]))
            for tags, words in zip(values, texts, strict=True)
        ]

    def words(self, values: Tensor) -> list[str]:
        """Format the entities with their positions: ``total 41``, ``company 3-6``."""
        return [
            "; ".join(f"{kind} {first}" + (f"-{end - 1}" if end > first + 1 else "") for kind, first, end in found)
            for found in map(self.entities, values)
        ]

    def label_columns(self, column: str) -> list[str]:
        """Raise an error: a cell cannot hold the tags of a text."""
        raise UserError("a table cannot hold a tag for each word: tags are scored in training runs only; use predict")

    def entities(self, values: Tensor) -> list[tuple[str, int, int]]:
        """Find the entities of one sequence of tags, ``(W,)``."""
        return entities([self.output_names[tag] for tag in values.tolist()])

    def meter(self, num_outputs: int | None = None) -> Meter:
        """Build the meter of entity scores."""
        return SequenceMeter(self.output_names)

    def batch_scores(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Compute the share of words with the correct tag."""
        y = y[:, : outputs.shape[1]]
        counted = y != PADDING
        return {"token_acc": ((outputs.argmax(-1) == y) & counted).sum() / counted.sum().clamp(min=1)}

    def groups(self, y: Tensor) -> Groups:
        """Group by whether a sample has any entity."""
        return Groups((y > 0).any(1).long(), ["no entity", "entities"], "entities")

    def counts(self, y: Tensor) -> Tensor:
        """Count the words that have each tag."""
        return torch.bincount(y[y != PADDING].cpu(), minlength=self.num_outputs)

    def facts(self, y: Tensor) -> dict[str, str]:
        """Return the number of entities of each kind in training."""
        rows = [[tag for tag in row if tag != PADDING] for row in y.tolist()]
        found = [kind for row in rows for kind, _, _ in self.entities(torch.tensor(row))]
        kinds = dict.fromkeys(name.partition("-")[2] for name in self.output_names if name != "O")
        return {"entities": ", ".join(f"{kind} {found.count(kind):,}" for kind in kinds)}
