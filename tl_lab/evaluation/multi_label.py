"""Evaluation of multi-label classifiers: ranking of samples by each label, and decisions at thresholds."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import CatMetric
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from tl_lab.evaluation.meter import Meter

__all__ = ["MULTI_LABEL", "MultiLabelMeter", "best_thresholds", "f1_by_label", "multi_label_scores", "scores_by_label"]

MULTI_LABEL = ("loss", "auroc", "map", "f1_macro", "f1_tuned", "subset_acc")
"""Scores of a set with labels."""
_DEFAULT_THRESHOLD = 0.5


def f1_by_label(decisions: Tensor, y: Tensor) -> Tensor:
    """Compute F1 = 2 TP / (2 TP + FP + FN) of each label, ``(L,)``; NaN without true or predicted positives.

    Args:
        decisions: ``(N, L)``, bool.
        y: ``(N, L)``, bool.
    """
    hit = (decisions & y).sum(0).double()
    given, true = decisions.sum(0), y.sum(0)
    return 2 * hit / (given + true)  # 0 / 0 is NaN


def scores_by_label(p: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Score the ranking of the samples by each label.

    Args:
        p: probabilities or logits, ``(N, L)``; the result depends only on their order.
        y: labels, ``(N, L)``, of 0 and 1.

    Returns:
        ``auroc`` and ``map`` (average precision), ``(L,)`` each, NaN for a constant label; and
        ``prevalence``, the share of samples that have it.
    """
    y = y.long()
    prevalence = y.double().mean(0)
    found = {name: torch.full_like(prevalence, torch.nan) for name in ("auroc", "map")}
    for label in ((prevalence > 0) & (prevalence < 1)).nonzero()[:, 0].tolist():
        # ranks with ties: in the single precision of the metrics, probabilities near 1 would become equal
        places = p[:, label].unique(return_inverse=True)[1]
        ranks = places.double() / (places.max() + 1)
        found["auroc"][label] = binary_auroc(ranks, y[:, label])
        found["map"][label] = binary_average_precision(ranks, y[:, label])
    return {**found, "prevalence": prevalence}


def multi_label_scores(p: Tensor, y: Tensor, thresholds: Tensor) -> dict[str, Tensor]:
    """Score probabilities; means are over the labels for which a score is defined.

    Args:
        p: probabilities, ``(N, L)``.
        y: labels, ``(N, L)``, of 0 and 1.
        thresholds: threshold of each label, chosen on the validation set, ``(L,)``.

    Returns:
        ``auroc``, ``map``; ``f1_macro`` at the threshold .5; ``f1_tuned`` at ``thresholds``; ``subset_acc``, the share
        of samples whose labels at .5 are all correct.
    """
    ranking, truth = scores_by_label(p, y), y.bool()
    decisions = p >= _DEFAULT_THRESHOLD
    return {
        "auroc": ranking["auroc"].nanmean(),
        "map": ranking["map"].nanmean(),
        "f1_macro": f1_by_label(decisions, truth).nanmean(),
        "f1_tuned": f1_by_label(p >= thresholds.to(p), truth).nanmean(),
        "subset_acc": (decisions == truth).all(1).double().mean(),
    }


def best_thresholds(p: Tensor, y: Tensor) -> Tensor:
    """Choose the threshold of each label that maximises F1, among the midpoints between neighbouring probabilities.

    Args:
        p: probabilities of validation samples, ``(N, L)``.
        y: their labels, ``(N, L)``, of 0 and 1.

    Returns:
        Thresholds, ``(L,)``; .5 for a label without positives.
    """
    thresholds = torch.full((p.shape[1],), _DEFAULT_THRESHOLD, dtype=torch.double)
    for label in range(p.shape[1]):
        order = p[:, label].double().argsort(descending=True, stable=True)
        ranked, hit = p[order, label].double(), y[order, label].double().cumsum(0)
        if not float(hit[-1]):
            continue
        given = torch.arange(1, len(p) + 1, dtype=torch.double)
        f1 = 2 * hit / (given + hit[-1])
        ends = torch.cat([ranked[:-1] != ranked[1:], torch.tensor([True])])  # equal probabilities belong together
        best = int(torch.where(ends, f1, -1.0).argmax())
        below = float(ranked[best + 1]) if best + 1 < len(ranked) else 0.0
        thresholds[label] = (float(ranked[best]) + below) / 2
    return thresholds


class MultiLabelMeter(Meter):
    """Collects the logits and labels of one set.

    Args:
        thresholds: threshold of each label for ``f1_tuned``, ``(L,)``; read again at each :meth:`compute`.

    Attributes:
        last_probabilities: probabilities of the last summarised samples, ``(N, L)``.
        last_labels: their labels, ``(N, L)``.
    """

    def __init__(self, thresholds: Tensor) -> None:
        super().__init__()
        self.thresholds = thresholds
        self.outputs, self.labels = (CatMetric(nan_strategy="disable") for _ in range(2))
        self.last_probabilities, self.last_labels = torch.empty(0), torch.empty(0)

    def update(self, outputs: Tensor, y: Tensor | None) -> None:
        """Add a batch: logits ``(B, L)`` and labels ``(B, L)``; without labels there is nothing to score."""
        if y is not None:
            self.outputs.update(outputs)
            self.labels.update(y.to(outputs))

    def collected(self) -> tuple[Tensor, Tensor]:
        """Return the logits and labels added so far, ``(N, L)`` each, over all processes, on the CPU."""
        return torch.as_tensor(self.outputs.compute()).cpu(), torch.as_tensor(self.labels.compute()).cpu()

    def compute(self) -> dict[str, float]:
        """Return the scores of all batches, and reset; NaN if an output is not finite."""
        if not self.outputs.update_called:
            return {}
        outputs, y = self.collected()
        for metric in (self.outputs, self.labels):
            metric.reset()
        self.last_probabilities, self.last_labels = outputs.double().sigmoid(), y
        if not bool(outputs.isfinite().all()):
            return dict.fromkeys(MULTI_LABEL, math.nan)
        loss = F.binary_cross_entropy_with_logits(outputs.double(), y.double())
        scores = {"loss": loss, **multi_label_scores(self.last_probabilities, y, self.thresholds)}
        return {name: float(value) for name, value in scores.items()}
