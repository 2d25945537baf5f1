"""Single-label classification: one of C classes for each sample."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.errors import UserError, nearest
from tl_lab.evaluation import LABEL_FREE, LABELLED, ClassificationMeter
from tl_lab.evaluation.meter import Meter
from tl_lab.functional.likelihoods import CATEGORICAL
from tl_lab.problems.base import Criterion, Prediction, Problem, Targets, check_class_weights, check_smoothing
from tl_lab.problems.metrics import SINGLE_LABEL
from tl_lab.texts import same_name

__all__ = ["CrossEntropy", "SingleLabel"]


class CrossEntropy(Criterion):
    """Cross-entropy, with class weights and label smoothing.

    Args:
        weight: weight of each class, ``(C,)``; None for equal weights.
        label_smoothing: share of the target spread over the outputs, in [0, 1).

    Attributes:
        ragged: whether samples may lack some outputs, whose logits are minus infinity; labels are then smoothed
            over the others.

    Examples:
        >>> round(float(CrossEntropy()(torch.zeros(1, 2), torch.tensor([1]))), 3)
        0.693
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.balanced, self.label_smoothing, self.ragged = weight is not None, label_smoothing, False

    def forward(self, outputs: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Compute the loss of logits ``(B, C)`` and classes ``(B,)``."""
        if not (self.ragged and self.label_smoothing):
            options: dict[str, Any] = {"weight": self.weight, "label_smoothing": self.label_smoothing}
            return F.cross_entropy(outputs, y, reduction=reduction, **options)
        missing, log_p = outputs.isinf(), outputs.log_softmax(1)
        uniform = log_p.masked_fill(missing, 0).sum(1) / (~missing).sum(1)
        own = log_p.gather(1, y[:, None])[:, 0]
        losses = -(1 - self.label_smoothing) * own - self.label_smoothing * uniform
        return losses if reduction == "none" else losses.mean()


class SingleLabel(Problem):
    """Single-label classification: labels are ``(N,)`` int64 in 0 to C - 1, outputs are logits of a softmax.

    Examples:
        >>> problem = SingleLabel(["cat", "dog"])
        >>> meter = problem.meter()
        >>> meter.update(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
        >>> meter.compute()["acc"]
        0.5
    """

    name = "single_label"
    monitor = "acc"
    labelled = LABELLED
    label_free = LABEL_FREE
    likelihood = CATEGORICAL
    metrics = SINGLE_LABEL.metrics
    units = SINGLE_LABEL.units
    numbers_outputs = True

    def at_chance(self, scores: Mapping[str, float], where: str, samples: int) -> str:
        """Compare the mean recall with p = 1 / C: up to p + 2 sqrt(p (1 - p) / n) counts as chance."""
        value, p = scores.get("balanced_acc", math.nan), 1 / max(2, self.num_outputs)
        if not value <= p + 2 * math.sqrt(p * (1 - p) / max(1, samples)):
            return ""
        if value <= p:
            return f"the balanced accuracy on {where}, {value:.1%}, is at chance level for {self.num_outputs} classes"
        return (
            f"the balanced accuracy on {where}, {value:.1%}, cannot be distinguished from chance ({p:.1%}) with "
            f"{samples:,} test samples"
        )

    def check(self, name: str, y: Tensor, num_outputs: int | None = None) -> None:
        """Raise an error for labels that are not classes."""
        count = self.num_outputs if num_outputs is None else num_outputs
        if y.is_floating_point() or y.dim() != 1:
            raise UserError(f"the set {name!r} has labels of {y.dtype}, {tuple(y.shape)}: give one class per sample")
        if int(y.min()) < 0 or int(y.max()) >= count:
            raise UserError(
                f"the set {name!r} has labels from {int(y.min())} to {int(y.max())}, but the head has "
                f"{count} classes (0 to {count - 1})"
            )

    def alike(self, y: Tensor) -> str | None:
        """Report the class if there is only one."""
        first = int(y[0])
        return f"the class {self.output_names[first]!r}" if bool((y == first).all()) else None

    def criterion(
        self, y: Tensor | None, *, class_weights: str | None = None, label_smoothing: float = 0.0
    ) -> Criterion:
        """Build the cross-entropy; ``balanced``: weight N / (C n_c) for a class with n_c of the N training samples.

        Examples:
            >>> loss = SingleLabel(["cat", "dog"]).criterion(torch.tensor([0, 0, 0, 1]), class_weights="balanced")
            >>> [round(weight, 3) for weight in loss.weight.tolist()]
            [0.667, 2.0]
        """
        weight = None
        if check_class_weights(class_weights):
            assert y is not None, "balanced class weights need the training labels"
            counts = self.counts(y)
            weight = counts.sum() / (len(counts) * counts.clamp(min=1).float())
        return CrossEntropy(weight, check_smoothing(label_smoothing))

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute each sample's cross-entropy, ``(B,)``.

        Examples:
            >>> problem = SingleLabel(["cat", "dog"])
            >>> [round(loss, 3) for loss in problem.losses(torch.zeros(2, 2), torch.tensor([0, 1])).tolist()]
            [0.693, 0.693]
        """
        return F.cross_entropy(outputs, y, reduction="none")

    def wrong(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mark the samples whose most probable class is not the true one."""
        return outputs.argmax(1).ne(y).double().cpu()

    def predict(self, outputs: Tensor) -> Prediction:
        """Return the class with the largest probability.

        Examples:
            >>> problem = SingleLabel(["cat", "dog"])
            >>> prediction = problem.predict(torch.tensor([[0.0, 3.0]]))
            >>> problem.words(prediction.values), round(float(prediction.confidence), 3)
            (['dog'], 0.953)
        """
        p = outputs.softmax(1)
        confidence, best = p.max(1)
        return Prediction(best, confidence, p)

    def words(self, values: Tensor) -> list[str]:
        """Return the names of the classes."""
        return [self.output_names[i] for i in values.tolist()]

    def label_columns(self, column: str) -> list[str]:
        """Return the column with classes."""
        return [column]

    def read_label(self, cells: Sequence[str], where: str) -> Tensor:
        """Read the name of a class."""
        names = [same_name(name) for name in self.output_names]
        if same_name(cells[0]) not in names:
            raise UserError(f"{where}: {cells[0]!r} is not a class of the run; {nearest(cells[0], names)}")
        return torch.tensor(names.index(same_name(cells[0])))

    def meter(self, num_outputs: int | None = None) -> Meter:
        """Build the meter of the confusion matrix and the scores computed from it."""
        return ClassificationMeter(self.num_outputs if num_outputs is None else num_outputs)

    def batch_scores(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Mark the correct decisions."""
        return {self.monitor: (outputs.argmax(1) == y).flatten()}

    def findings(self, outputs: Tensor, y: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Compare each class with all others; of two classes, the second is the finding."""
        p = outputs.softmax(1)
        first = 1 if p.shape[1] == 2 else 0
        return {self.output_names[c]: (p[:, c], (y == c).long()) for c in range(first, p.shape[1])}

    def targets(self, y: Tensor) -> Targets:
        """Return the classes as one column."""
        return Targets(y[None])

    def strata(self, y: Tensor) -> Tensor:
        """Group by class."""
        return y

    def counts(self, y: Tensor) -> Tensor:
        """Count the samples of each class.

        Examples:
            >>> SingleLabel(["cat", "dog", "hen"]).counts(torch.tensor([0, 1, 1])).tolist()
            [1, 2, 0]
        """
        return torch.bincount(y.cpu(), minlength=self.num_outputs)

    def renumber(self, y: Tensor, by: int) -> Tensor:
        """Shift classes by a number of outputs."""
        return y + by
