"""How episodes are scored: the mean accuracy over episodes, and its interval."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import CatMetric

__all__ = ["EPISODIC", "EpisodeMeter", "episode_scores"]

EPISODIC = ("loss", "acc")
"""Scores of a set of episodes that may choose a checkpoint."""
_NORMAL_QUANTILE = 1.96  # of a two-sided interval of 95 %: the field's custom for hundreds of episodes


def episode_scores(accuracies: Tensor) -> dict[str, float]:
    """Sum up the accuracies of one model's episodes.

    Args:
        accuracies: of each episode, ``(n,)``, in [0, 1], n >= 2.

    Returns:
        ``acc``, their mean, and ``acc_ci95``, half the width of its 95 % interval: 1.96 s / sqrt(n). It says how well
        these episodes pin down this model's accuracy, and nothing of how models of other seeds differ.
    """
    accuracies = accuracies.double()
    half = _NORMAL_QUANTILE * float(accuracies.std()) / math.sqrt(len(accuracies)) if len(accuracies) > 1 else math.nan
    return {"acc": float(accuracies.mean()), "acc_ci95": half}


class EpisodeMeter(nn.Module):
    """Collects one set's episodes over its batches and processes.

    Attributes:
        last_accuracies: of the episodes that were last summed up, in the order of their numbers, ``(n,)``.
    """

    def __init__(self) -> None:
        super().__init__()
        # by default what is not a number would be left out, and a diverged episode with it
        self.accuracies, self.losses, self.numbers = (CatMetric(nan_strategy="disable") for _ in range(3))
        self.last_accuracies = torch.empty(0)

    def update(self, logits: Tensor, y: Tensor, number: Tensor) -> None:
        """Take in E episodes: logits of their queries ``(E, M, N)``, classes ``(E, M)``, and numbers ``(E,)``."""
        self.numbers.update(number.to(y.device))
        right = (logits.argmax(2) == y) & logits.isfinite().all(2)  # of NaN the first would be the largest
        self.accuracies.update(right.float().mean(1))
        losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
        self.losses.update(losses.view(y.shape).mean(1))

    def compute(self) -> dict[str, float]:
        """Give loss, accuracy and the interval over the episodes taken in, and forget them."""
        order = torch.as_tensor(self.numbers.compute()).flatten().argsort()  # processes take turns
        self.last_accuracies = torch.as_tensor(self.accuracies.compute()).flatten()[order].cpu()
        loss = torch.as_tensor(self.losses.compute()).double().mean()
        for metric in (self.accuracies, self.losses, self.numbers):
            metric.reset()
        return {"loss": float(loss), **episode_scores(self.last_accuracies)}
