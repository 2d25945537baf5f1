"""Evaluation on episodes: the mean accuracy over episodes, and its interval."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import CatMetric

__all__ = ["EPISODIC", "EpisodeMeter", "episode_scores"]

EPISODIC = ("loss", "acc")
"""Scores of a set of episodes that may select a checkpoint."""
_NORMAL_QUANTILE = 1.96  # of a two-sided 95 % interval: the convention for hundreds of episodes


def episode_scores(accuracies: Tensor) -> dict[str, float]:
    """Summarise the accuracies of one model's episodes.

    Args:
        accuracies: accuracy of each episode, ``(n,)``, in [0, 1]; the interval requires n >= 2.

    Returns:
        ``acc``, their mean, and ``acc_ci95``, the half-width of its 95 % interval: 1.96 s / sqrt(n). The interval
        covers the sampling of episodes, not the variation between models of different seeds.
    """
    accuracies = accuracies.double()
    half = _NORMAL_QUANTILE * float(accuracies.std()) / math.sqrt(len(accuracies)) if len(accuracies) > 1 else math.nan
    return {"acc": float(accuracies.mean()), "acc_ci95": half}


class EpisodeMeter(nn.Module):
    """Collects one set's episodes over its batches and processes.

    Attributes:
        last_accuracies: accuracies of the last summarised episodes, in the order of their numbers, ``(n,)``.
    """

    def __init__(self) -> None:
        super().__init__()
        # the default ignores NaN, and would thus ignore a diverged episode
        self.accuracies, self.losses, self.numbers = (CatMetric(nan_strategy="disable") for _ in range(3))
        self.last_accuracies = torch.empty(0)

    def update(self, logits: Tensor, y: Tensor, number: Tensor) -> None:
        """Add E episodes: logits of their queries ``(E, M, N)``, classes ``(E, M)``, and numbers ``(E,)``."""
        self.numbers.update(number.to(y.device))
        right = (logits.argmax(2) == y) & logits.isfinite().all(2)  # argmax returns the first class for NaN
        self.accuracies.update(right.float().mean(1))
        losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
        self.losses.update(losses.view(y.shape).mean(1))

    def compute(self) -> dict[str, float]:
        """Return loss, accuracy and the interval over all episodes, and reset."""
        order = torch.as_tensor(self.numbers.compute()).flatten().argsort()  # episodes are split among processes
        self.last_accuracies = torch.as_tensor(self.accuracies.compute()).flatten()[order].cpu()
        loss = torch.as_tensor(self.losses.compute()).double().mean()
        for metric in (self.accuracies, self.losses, self.numbers):
            metric.reset()
        return {"loss": float(loss), **episode_scores(self.last_accuracies)}
