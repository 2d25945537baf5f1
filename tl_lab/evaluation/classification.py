"""Evaluation of classifiers: one confusion matrix, and the scores derived from it."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import CatMetric, Metric

from tl_lab.evaluation.meter import Meter
from tl_lab.functional import information_maximisation, mean_entropy, soft_neighbourhood_density
from tl_lab.functional.precision import widened

__all__ = ["LABELLED", "LABEL_FREE", "ClassificationMeter", "Counts", "classification_scores", "label_free_scores"]

LABELLED = ("loss", "acc", "balanced_acc", "f1_macro")
"""Scores of a set with labels."""
LABEL_FREE = ("entropy", "info_max", "snd")
"""Scores of a set without labels."""
_SND_SAMPLES = 2000  # the soft neighbourhood density compares all pairs of samples


def classification_scores(confusion: Tensor) -> dict[str, Tensor]:
    """Derive the usual scores from a confusion matrix.

    Args:
        confusion: counts, ``(C, C)``, rows the true class, columns the predicted one.

    Returns:
        ``acc``; ``balanced_acc``, the mean recall of the classes that occur; ``f1_macro``, the mean F1 of the
        classes that occur or are predicted. All in [0, 1].
    """
    counts = confusion.double()
    hit, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    occurs, counted = true > 0, (true + predicted) > 0
    return {
        "acc": hit.sum() / counts.sum(),
        "balanced_acc": (hit[occurs] / true[occurs]).mean(),
        "f1_macro": (2 * hit[counted] / (true + predicted)[counted]).mean(),
    }


def label_free_scores(p: Tensor) -> dict[str, Tensor]:
    """Score predictions on unlabelled samples; see :mod:`tl_lab.functional.label_free`.

    Args:
        p: probabilities, ``(N, C)``.

    Returns:
        ``entropy``, ``info_max`` and ``snd`` (the last on at most 2,000 samples, evenly spaced).
    """
    few = p[:: -(-len(p) // _SND_SAMPLES)]
    return {
        "entropy": mean_entropy(p),
        "info_max": information_maximisation(p),
        "snd": soft_neighbourhood_density(few),
    }


class Counts(Metric):
    """Counts of predicted classes for each true class, and the sum of the losses; summed over processes.

    In deterministic runs, the confusion matrix of torchmetrics compares every sample with all C^2 cells, which takes
    seconds and gigabytes per batch for a thousand classes; counting does not. The means of torchmetrics skip NaN; the
    sum used here does not.

    Args:
        num_classes: number of classes C.
    """

    full_state_update = False
    counts: Tensor
    total_loss: Tensor
    undefined: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("counts", torch.zeros(num_classes, num_classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total_loss", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("undefined", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Tensor, y: Tensor) -> None:
        """Add a batch: logits ``(B, C)`` and true classes ``(B,)``."""
        cells = (y * self.num_classes + logits.argmax(1)).cpu()  # on a GPU counting is not deterministic
        self.counts += torch.bincount(cells, minlength=self.num_classes**2).view_as(self.counts).to(self.counts)
        self.total_loss += F.cross_entropy(widened(logits), y, reduction="sum")
        # argmax returns the first class for NaN; -inf marks an excluded class
        self.undefined += (~widened(logits).logsumexp(1).isfinite()).sum()

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the confusion matrix, ``(C, C)``, rows the true class, and the mean cross-entropy."""
        return self.counts.cpu(), self.total_loss.cpu() / self.counts.sum().cpu()


class ClassificationMeter(Meter):
    """Collects one set's predictions over its batches and processes.

    Args:
        num_classes: number of classes C.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.counts = Counts(num_classes)
        self.probabilities = CatMetric()
        self.labelled = True

    def update(self, logits: Tensor, y: Tensor | None) -> None:
        """Add a batch: logits ``(B, C)`` and classes ``(B,)``, or None if they are withheld."""
        self.labelled = y is not None
        if y is None:
            self.probabilities.update(widened(logits).softmax(1))
        else:
            self.counts.update(logits, y)

    def compute(self) -> dict[str, float]:
        """Return the scores of all batches, and reset; NaN if logits do not yield probabilities."""
        if self.labelled:
            self.last_confusion, loss = self.counts.compute()
            scores = {"loss": loss, **classification_scores(self.last_confusion)}
            if int(self.counts.undefined):
                scores = dict.fromkeys(scores, torch.tensor(torch.nan))
        else:
            p = self.probabilities.compute()
            scores = label_free_scores(torch.as_tensor(p))
        for metric in (self.counts, self.probabilities):
            metric.reset()
        return {name: float(value) for name, value in scores.items()}
