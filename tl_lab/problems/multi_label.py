"""Multi-label problems: any subset of L labels for each sample."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.evaluation.meter import Meter
from tl_lab.evaluation.multi_label import MULTI_LABEL, MultiLabelMeter, best_thresholds
from tl_lab.functional.likelihoods import BERNOULLI
from tl_lab.problems.base import Criterion, Groups, Prediction, Problem, Targets, check_class_weights, check_smoothing
from tl_lab.problems.metrics import MULTI_LABEL as STATED

__all__ = ["BinaryCrossEntropy", "MultiLabel"]

_MOST_NAMED = 12  # labels whose prevalence is printed one by one
_MOST_GROUPS = 9  # combinations of labels with a separate colour in figures


class BinaryCrossEntropy(Criterion):
    """Mean over the labels of -w_l y_l log s(z_l) - (1 - y_l) log(1 - s(z_l)), s the logistic function.

    Args:
        positive_weight: w, ``(L,)``; None for 1.
        label_smoothing: e, in [0, 1): targets become (1 - e) y + e / 2.

    Examples:
        >>> round(float(BinaryCrossEntropy()(torch.zeros(1, 2), torch.tensor([[1, 0]]))), 3)
        0.693
    """

    positive_weight: Tensor | None

    def __init__(self, positive_weight: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("positive_weight", positive_weight, persistent=False)
        self.balanced, self.label_smoothing = positive_weight is not None, label_smoothing

    def forward(self, outputs: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Compute the loss of logits ``(B, L)`` and labels ``(B, L)``."""
        target = y.to(outputs) * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(outputs, target, pos_weight=self.positive_weight, reduction="none")
        return losses.mean(1) if reduction == "none" else losses.mean()


class MultiLabel(Problem):
    """Multi-label problem: labels are ``(N, L)`` of 0 and 1, outputs are one logit per label.

    ``f1_tuned`` uses thresholds that maximise F1 on the validation set; all other scores use .5.

    Examples:
        >>> problem = MultiLabel(["rain", "wind"])
        >>> meter = problem.meter()
        >>> meter.update(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.tensor([[1, 0], [0, 1]]))
        >>> scores = meter.compute()
        >>> scores["auroc"], scores["subset_acc"]
        (1.0, 1.0)
    """

    name = "multi_label"
    monitor = "auroc"
    labelled = MULTI_LABEL
    likelihood = BERNOULLI
    metrics = STATED.metrics
    units = STATED.units
    marks_outputs = True

    def __init__(self, output_names: Sequence[str]) -> None:
        super().__init__(output_names)
        self.thresholds = torch.full((len(self.output_names),), 0.5, dtype=torch.double)

    def at_chance(self, scores: Mapping[str, float], where: str, samples: int) -> str:
        """Compare the mean AUROC with .5."""
        value = scores.get("auroc", math.nan)
        return f"the AUROC on {where}, {value:.1%}, is at chance level" if value <= 0.5 else ""

    def check(self, name: str, y: Tensor, num_outputs: int | None = None) -> None:
        """Raise an error for labels other than 0 and 1, or a wrong number of labels."""
        if y.dim() != 2 or y.shape[1] != self.num_outputs:
            raise UserError(
                f"the set {name!r} has labels of shape {tuple(y.shape)}: give {self.num_outputs} per sample, "
                "each 0 or 1"
            )
        if not bool(((y == 0) | (y == 1)).all()):
            raise UserError(f"the set {name!r} has labels other than 0 and 1")

    def criterion(
        self, y: Tensor | None, *, class_weights: str | None = None, label_smoothing: float = 0.0
    ) -> Criterion:
        """Build the loss; ``balanced``: positive weight (N - n) / n for a label that n of N training samples have.

        Examples:
            >>> y = torch.tensor([[1, 0], [0, 0], [0, 1], [0, 1]])
            >>> loss = MultiLabel(["rain", "wind"]).criterion(y, class_weights="balanced")
            >>> loss.positive_weight.tolist()
            [3.0, 1.0]
        """
        weight = None
        if check_class_weights(class_weights):
            assert y is not None, "balanced class weights need the training labels"
            have = self.counts(y).float()
            weight = (len(y) - have).clamp(min=1) / have.clamp(min=1)
        return BinaryCrossEntropy(weight, check_smoothing(label_smoothing))

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute each sample's mean loss over its labels, ``(B,)``.

        Examples:
            >>> losses = MultiLabel(["rain", "wind"]).losses(torch.zeros(1, 2), torch.tensor([[1, 0]]))
            >>> [round(loss, 3) for loss in losses.tolist()]
            [0.693]
        """
        return F.binary_cross_entropy_with_logits(outputs, y.to(outputs), reduction="none").mean(1)

    def predict(self, outputs: Tensor) -> Prediction:
        """Return the labels with a probability of at least .5; the confidence is that of the least certain label.

        Examples:
            >>> problem = MultiLabel(["rain", "wind"])
            >>> prediction = problem.predict(torch.tensor([[2.0, -1.0]]))
            >>> problem.words(prediction.values), round(float(prediction.confidence), 3)
            (['rain'], 0.731)
        """
        p = outputs.sigmoid()
        return Prediction((p >= 0.5).long(), torch.maximum(p, 1 - p).min(1).values, p)

    def words(self, values: Tensor) -> list[str]:
        """List the labels that a sample has."""
        names = self.output_names
        return ["; ".join(name for name, has in zip(names, row, strict=True) if has) for row in values.tolist()]

    def columns(self, prediction: Prediction) -> dict[str, list[str]]:
        """Return the labels, the confidence, and the probability of each label."""
        assert prediction.probabilities is not None
        each = zip(self.output_names, prediction.probabilities.T.tolist(), strict=True)
        return {**super().columns(prediction), **{f"p({name})": [f"{p:.4f}" for p in column] for name, column in each}}

    def meter(self, num_outputs: int | None = None) -> Meter:
        """Build the meter of ranking scores and of scores at thresholds."""
        return MultiLabelMeter(self.thresholds)

    def batch_scores(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Mark the labels that are correct at a threshold of .5."""
        return {"label_acc": ((outputs >= 0) == y.bool()).flatten()}

    def groups(self, y: Tensor) -> Groups:
        """Group by the combination of labels; rare combinations form one group."""
        combinations, number, counts = y.long().unique(dim=0, return_inverse=True, return_counts=True)
        frequent = counts.argsort(descending=True, stable=True)[:_MOST_GROUPS]
        place = torch.full((len(combinations),), len(frequent))
        place[frequent] = torch.arange(len(frequent))
        names = [text or "none" for text in self.words(combinations[frequent])]
        return Groups(place[number], [*names, *(["others"] if len(combinations) > len(frequent) else [])], "labels")

    def counts(self, y: Tensor) -> Tensor:
        """Count the samples that have each label."""
        return y.cpu().long().sum(0)

    def present(self, y: Tensor) -> Tensor:
        """Mark the labels that each sample has."""
        return y == 1

    def findings(self, outputs: Tensor, y: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return each label with the samples for which it is known."""
        p, known = outputs.sigmoid(), y >= 0
        each = [(name, known[:, k]) for k, name in enumerate(self.output_names) if bool(known[:, k].any())]
        places = {name: k for k, name in enumerate(self.output_names)}
        return {name: (p[here, places[name]], y[here, places[name]].long()) for name, here in each}

    def targets(self, y: Tensor) -> Targets:
        """Return a column per label."""
        return Targets(y.T)

    def facts(self, y: Tensor) -> dict[str, str]:
        """Return the prevalence of each label in training, or the range of prevalences for many labels.

        Examples:
            >>> MultiLabel(["rain", "wind"]).facts(torch.tensor([[1, 0], [1, 1]]))
            {'prevalence': 'rain 100.0 %, wind 50.0 %'}
        """
        shares = (100 * self.counts(y).double() / len(y)).tolist()
        if len(shares) > _MOST_NAMED:
            ordered = sorted(shares)
            return {"prevalence": f"{ordered[0]:.1f} to {ordered[-1]:.1f} %, median {ordered[len(ordered) // 2]:.1f} %"}
        each = zip(self.output_names, shares, strict=True)
        return {"prevalence": ", ".join(f"{name} {share:.1f} %" for name, share in each)}

    def calibrate(self, meter: Meter) -> None:
        """Choose the thresholds on the validation set."""
        if not isinstance(meter, MultiLabelMeter) or not meter.outputs.update_called:
            return
        outputs, y = meter.collected()
        if bool(outputs.isfinite().all()):
            # in place: meters of other sets share the tensor
            self.thresholds.copy_(best_thresholds(outputs.double().sigmoid(), y))

    def state(self) -> dict[str, Any]:
        """Add the thresholds."""
        return {**super().state(), "thresholds": self.thresholds.tolist()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the thresholds."""
        self.thresholds.copy_(torch.tensor(state["thresholds"], dtype=torch.double))
