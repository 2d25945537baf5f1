"""Evaluation of answers to questions."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from tl_lab.evaluation.meter import Meter
from tl_lab.functional.answers import best_spans

__all__ = ["SPANS", "SpanMeter", "span_losses"]

SPANS = ("loss", "span_f1", "exact_match")
"""Scores of a set with labels."""

Compare = Callable[[Tensor, Tensor], Tensor]
"""Converts spans ``(N, 2)`` and indices of passages ``(N,)`` to exact matches and F1, ``(N, 2)``."""


def span_losses(outputs: Tensor, y: Tensor, reduction: str = "none", smoothing: float = 0.0) -> Tensor:
    """Compute the mean of the cross-entropies of an answer's first and last word, over the words of its passage.

    Args:
        outputs: scores of each word as the first and as the last word, ``(B, W, 2)``.
        y: first word, last word, number of words and index of the passage, ``(B, 4)``.
        reduction: ``none`` for ``(B,)``, or ``mean`` for a scalar.
        smoothing: share of the target that is spread over the words of the passage, in [0, 1).
    """
    padding = torch.arange(outputs.shape[1], device=outputs.device) >= y[:, 2, None]  # (B, W)
    log_p = outputs.masked_fill(padding[..., None], -torch.inf).log_softmax(1)
    own = log_p.gather(1, y[:, None, :2])[:, 0]  # (B, W, 2) -> (B, 2)
    losses = -own.mean(1)
    if smoothing:
        uniform = -log_p.masked_fill(padding[..., None], 0.0).sum(1).mean(1) / y[:, 2]
        losses = (1 - smoothing) * losses + smoothing * uniform
    return losses if reduction == "none" else losses.mean()


class _Sums(Metric):
    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(4, dtype=torch.double), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Add loss, exact match and F1 of samples, ``(N, 3)``."""
        self.sums += torch.cat([values.double().sum(0), values.new_tensor([len(values)]).double()]).to(self.sums)

    def compute(self) -> Tensor:
        """Return the three sums, and the number of samples."""
        return self.sums


class SpanMeter(Meter):
    """Accumulates the scores of answers to the questions of one set.

    Args:
        compare: computes exact match and F1 of spans.
    """

    def __init__(self, compare: Compare) -> None:
        super().__init__()
        self.compare, self.totals = compare, _Sums()

    def update(self, outputs: Tensor, y: Tensor | None) -> None:
        """Add scores ``(B, W, 2)`` and labels ``(B, 4)``; without labels there is nothing to score."""
        if y is not None:
            scores = self.compare(best_spans(outputs, y[:, 2]).cpu(), y[:, 3].cpu())
            losses = span_losses(outputs.double(), y)
            self.totals.update(F.pad(losses.cpu()[:, None], (0, 2)) + F.pad(scores, (1, 0)))

    def compute(self) -> dict[str, float]:
        """Return the scores of all batches, and reset."""
        if not self.totals.update_called:
            return {}
        loss, exact, f1, count = self.totals.compute().tolist()
        self.totals.reset()
        return {"loss": loss / count, "span_f1": f1 / count, "exact_match": exact / count}
