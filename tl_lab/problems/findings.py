"""Multi-label findings with unknown and uncertain labels."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.evaluation.meter import Meter
from tl_lab.evaluation.multi_label import MULTI_LABEL, MultiLabelMeter, best_thresholds, f1_by_label, scores_by_label
from tl_lab.problems.base import Criterion, Groups, Targets, check_class_weights, check_smoothing
from tl_lab.problems.multi_label import BinaryCrossEntropy, MultiLabel

__all__ = ["UNCERTAIN", "UNKNOWN", "Findings"]

UNKNOWN, UNCERTAIN = -1, -2
"""``UNKNOWN`` labels are ignored; in training, ``UNCERTAIN`` labels are replaced by the network's prediction."""


class MaskedCrossEntropy(BinaryCrossEntropy):
    """Binary cross-entropy over the known labels; uncertain labels are replaced by the network's current prediction."""

    def forward(self, outputs: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Compute the loss of logits ``(B, L)`` and labels ``(B, L)``."""
        own = (outputs.detach() >= 0).to(outputs)
        truth = torch.where(y == UNCERTAIN, own, y.to(outputs).clamp(min=0))
        target = truth * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(outputs, target, pos_weight=self.positive_weight, reduction="none")
        counted = (y != UNKNOWN).to(losses)
        if reduction == "none":
            return (losses * counted).sum(1) / counted.sum(1).clamp(min=1)
        return (losses * counted).sum() / counted.sum().clamp(min=1)


class FindingsMeter(MultiLabelMeter):
    """Scores of each finding on the samples with a known label."""

    def compute(self) -> dict[str, float]:
        """Compute the scores of all samples since the last call and reset; NaN if an output is not finite."""
        if not self.outputs.update_called:
            return {}
        outputs, y = self.collected()
        for metric in (self.outputs, self.labels):
            metric.reset()
        p, known = outputs.double().sigmoid(), y >= 0
        whole = known.all(1)
        self.last_probabilities, self.last_labels = p[whole], y[whole]
        if not bool(outputs.isfinite().all()):
            return dict.fromkeys(MULTI_LABEL, math.nan)
        columns: dict[str, list[Tensor]] = {name: [] for name in ("auroc", "map", "f1_macro", "f1_tuned")}
        for label in range(y.shape[1]):
            here = known[:, label]
            own, truth = p[here][:, [label]], y[here][:, [label]]
            if not len(truth):
                continue
            ranking = scores_by_label(own, truth)
            columns["auroc"].append(ranking["auroc"])
            columns["map"].append(ranking["map"])
            columns["f1_macro"].append(f1_by_label(own >= 0.5, truth.bool()))
            columns["f1_tuned"].append(f1_by_label(own >= self.thresholds[label].to(own), truth.bool()))
        losses = F.binary_cross_entropy_with_logits(outputs.double(), y.double().clamp(min=0), reduction="none")
        scores = {name: float(torch.cat(parts).nanmean()) if parts else math.nan for name, parts in columns.items()}
        scores["loss"] = float((losses * known).sum() / known.sum().clamp(min=1))
        right = ((p >= 0.5) == y.bool())[whole].all(1)
        scores["subset_acc"] = float(right.double().mean()) if len(right) else math.nan
        return {name: scores[name] for name in MULTI_LABEL}


class Findings(MultiLabel):
    """Multi-label problem with labels ``(N, L)`` of 0, 1 and -1 (unknown), in training also -2 (uncertain).

    Examples:
        >>> problem = Findings(["nodule", "effusion"])
        >>> y = torch.tensor([[1, 0], [UNKNOWN, 1]])
        >>> problem.counts(y).tolist(), problem.facts(y)
        ([1, 1], {'prevalence': 'nodule 100.0 %, effusion 50.0 %', 'unknown labels': '25.0 %'})
    """

    def check(self, name: str, y: Tensor, num_outputs: int | None = None) -> None:
        """Raise an error for other values or a wrong number of labels."""
        if y.dim() != 2 or y.shape[1] != self.num_outputs:
            raise UserError(
                f"the set {name!r} has labels of shape {tuple(y.shape)}: give {self.num_outputs} per sample"
            )
        if not bool(((y == 0) | (y == 1) | (y == UNKNOWN) | (y == UNCERTAIN)).all()):
            raise UserError(f"the set {name!r} has labels other than 0, 1, -1 (unknown) and -2 (uncertain)")

    def criterion(
        self, y: Tensor | None, *, class_weights: str | None = None, label_smoothing: float = 0.0
    ) -> Criterion:
        """Build the loss; ``balanced``: positive weight (N - n) / n for a finding that n of N known samples have."""
        weight = None
        if check_class_weights(class_weights):
            assert y is not None, "balanced class weights need the training labels"
            have, known = self.counts(y).float(), (y.cpu() >= 0).sum(0).float()
            weight = (known - have).clamp(min=1) / have.clamp(min=1)
        return MaskedCrossEntropy(weight, check_smoothing(label_smoothing))

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute each sample's mean loss over its known labels, ``(B,)``.

        Examples:
            >>> y = torch.tensor([[1, UNKNOWN]])
            >>> [round(loss, 3) for loss in Findings(["nodule", "effusion"]).losses(torch.zeros(1, 2), y).tolist()]
            [0.693]
        """
        return MaskedCrossEntropy()(outputs, y.clamp(min=UNKNOWN), reduction="none")

    def meter(self, num_outputs: int | None = None) -> Meter:
        """Build the meter of ranking scores and of scores at thresholds."""
        return FindingsMeter(self.thresholds)

    def batch_scores(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Compute the share of known labels that are correct at a threshold of .5."""
        known = (y >= 0).float()
        right = ((outputs >= 0) == y.bool()).float()
        return {"label_acc": (right * known).sum() / known.sum().clamp(min=1)}

    def groups(self, y: Tensor) -> Groups:
        """Group by the combination of findings; unknown ones count as absent."""
        return super().groups(y.clamp(min=0))

    def state(self) -> dict[str, Any]:
        """Return the state of a multi-label problem, marked as one with unknown labels."""
        return {**super().state(), "unknown": True}

    def read_label(self, cells: Sequence[str], where: str) -> Tensor:
        """Read 0, 1 or an empty cell, which means that the finding is unknown."""
        return super().read_label([cell or str(UNKNOWN) for cell in cells], where)

    def targets(self, y: Tensor) -> Targets:
        """Return a column per finding; all labels must be known."""
        if bool((y < 0).any()):
            raise UserError(
                "a linear probe requires all labels to be known: set data.missing and data.uncertain to zero or one"
            )
        return super().targets(y)

    def counts(self, y: Tensor) -> Tensor:
        """Count the known positive samples of each finding."""
        return (y.cpu() == 1).sum(0)

    def facts(self, y: Tensor) -> dict[str, str]:
        """Return the prevalence of each finding among known training labels, and the share of unknown labels."""
        known = (y.cpu() >= 0).sum(0).clamp(min=1).double()
        shares = (100 * self.counts(y).double() / known).tolist()
        each = ", ".join(f"{name} {share:.1f} %" for name, share in zip(self.output_names, shares, strict=True))
        unknown = float((y.cpu() < 0).double().mean())
        return {"prevalence": each, **({"unknown labels": f"{100 * unknown:.1f} %"} if unknown else {})}

    def calibrate(self, meter: Meter) -> None:
        """Choose the thresholds on the known labels of the validation set."""
        if not isinstance(meter, FindingsMeter) or not meter.outputs.update_called:
            return
        outputs, y = meter.collected()
        if not bool(outputs.isfinite().all()):
            return
        for label in range(y.shape[1]):
            here = y[:, label] >= 0
            if bool(here.any()):
                p = outputs[here][:, [label]].double().sigmoid()
                self.thresholds[label] = best_thresholds(p, y[here][:, [label]])[0]
