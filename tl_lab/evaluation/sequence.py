"""Evaluation of sequence tags: exactly matched entities, and single tags."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from tl_lab.evaluation.meter import Meter
from tl_lab.functional.entities import count_entities, precision_recall_f1

__all__ = ["PADDING", "SEQUENCE", "SequenceMeter", "tags_of"]

PADDING = -100
"""The label of padding positions."""
SEQUENCE = ("loss", "entity_f1", "entity_precision", "entity_recall", "token_acc")
"""Scores of a set with labels."""


def tags_of(numbers: Tensor, y: Tensor, names: Sequence[str]) -> tuple[list[list[str]], list[list[str]]]:
    """Convert predicted and true tags of each sequence to names, without its padding.

    Args:
        numbers: predicted tags, ``(N, W)``.
        y: true tags, ``(N, W)``, :data:`PADDING` after the last word.
        names: names of the tags.
    """
    predicted, true = [], []
    for predicted_tags, true_tags in zip(numbers.tolist(), y.tolist(), strict=True):
        inside = [place for place, tag in enumerate(true_tags) if tag != PADDING]
        predicted.append([names[predicted_tags[place]] for place in inside])
        true.append([names[true_tags[place]] for place in inside])
    return predicted, true


class EntityCounts(Metric):
    """Counts of entities and tags and the sum of the losses, over sequences and processes.

    Args:
        names: names of the tags.
    """

    full_state_update = False
    right: Tensor
    given: Tensor
    wanted: Tensor
    tokens: Tensor
    hits: Tensor
    total_loss: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)
        for name in ("right", "given", "wanted", "tokens", "hits", "total_loss"):
            self.add_state(name, torch.zeros((), dtype=torch.double), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, y: Tensor) -> None:
        """Add logits ``(B, W, C)`` and tags ``(B, W)``."""
        counted, numbers = y != PADDING, outputs.argmax(-1)
        right, given, wanted = count_entities(*tags_of(numbers.cpu(), y.cpu(), self.names))
        self.right += right.total()
        self.given += given.total()
        self.wanted += wanted.total()
        self.tokens += counted.sum()
        self.hits += (numbers == y)[counted].sum()
        self.total_loss += F.cross_entropy(outputs[counted].double(), y[counted], reduction="sum")

    def compute(self) -> Tensor:
        """Return the sums, in the order of their names."""
        return torch.stack([self.right, self.given, self.wanted, self.tokens, self.hits, self.total_loss])


class SequenceMeter(Meter):
    """Accumulates the entity and tag scores of one set.

    Args:
        names: names of the tags.

    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.counts = EntityCounts(names)

    def update(self, outputs: Tensor, y: Tensor | None) -> None:
        """Add logits ``(B, W, C)`` and tags ``(B, W' >= W)``; without tags there is nothing to score."""
        if y is not None:
            self.counts.update(outputs, y[:, : outputs.shape[1]])

    def compute(self) -> dict[str, float]:
        """Return the scores of all batches, and reset."""
        if not self.counts.update_called:
            return {}
        right, given, wanted, tokens, hits, loss = self.counts.compute().tolist()
        self.counts.reset()
        precision, recall, f1 = precision_recall_f1(right, given, wanted)
        scores = {"loss": loss / max(tokens, 1), "entity_f1": f1, "entity_precision": precision}
        return {**scores, "entity_recall": recall, "token_acc": hits / max(tokens, 1)}
