"""Rates of a binary decision by group, computed from counts, and their bootstrap."""

from collections.abc import Mapping

import numpy as np

__all__ = ["RATES", "cell_counts", "gaps", "rates", "resampled"]

RATES = ("selection_rate", "tpr", "fpr", "fnr", "accuracy")


def cell_counts(y: np.ndarray, answer: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Count samples by group, label and answer.

    Args:
        y: labels ``(N,)``, 0 or 1.
        answer: decisions ``(N,)``, 0 or 1.
        group: numbers ``(N,)`` from 0; negative ones are left out.
        groups: G.

    Returns:
        ``(G, 2, 2)``: group, label, answer.

    Examples:
        >>> y, answer, group = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
        >>> cell_counts(y, answer, group, groups=2).tolist()
        [[[1, 0], [0, 1]], [[0, 1], [1, 0]]]
    """
    kept = group >= 0
    cells = (group[kept] * 2 + y[kept].astype(int)) * 2 + answer[kept].astype(int)
    return np.bincount(cells, minlength=groups * 4).reshape(groups, 2, 2)


def rates(cells: np.ndarray) -> Mapping[str, np.ndarray]:
    """Compute rates from counts ``(..., 2, 2)`` by label and answer; NaN where nothing is counted.

    Examples:
        >>> {name: float(rate) for name, rate in rates(np.array([[3, 1], [2, 2]])).items()}
        {'selection_rate': 0.375, 'tpr': 0.5, 'fpr': 0.25, 'fnr': 0.5, 'accuracy': 0.625}
    """
    cells = cells.astype(float)
    total, negatives, positives = cells.sum((-2, -1)), cells[..., 0, :].sum(-1), cells[..., 1, :].sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "selection_rate": cells[..., 1].sum(-1) / total,
            "tpr": cells[..., 1, 1] / positives,
            "fpr": cells[..., 0, 1] / negatives,
            "fnr": cells[..., 1, 0] / positives,
            "accuracy": (cells[..., 0, 0] + cells[..., 1, 1]) / total,
        }


def gaps(by_group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the difference between the largest and the smallest rate, and the ratio of the smallest to the largest.

    Args:
        by_group: ``(..., G)``; groups with NaN are left out.

    Examples:
        >>> [float(gap) for gap in gaps(np.array([0.5, 0.25, np.nan]))]
        [0.25, 0.5]
    """
    high, low = np.fmax.reduce(by_group, -1), np.fmin.reduce(by_group, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return high - low, np.where(high > 0, low / high, np.nan)


def resampled(cells: np.ndarray, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """Draw counts as a bootstrap over samples does: from a multinomial distribution with the observed shares.

    Args:
        cells: ``(G, 2, 2)``.
        draws: R.
        seed: of the draws.

    Returns:
        ``(R, G, 2, 2)``.

    Examples:
        >>> resampled(np.ones((1, 2, 2)), draws=3).sum((1, 2, 3)).tolist()
        [4, 4, 4]
    """
    total = int(cells.sum())
    drawn = np.random.default_rng(seed).multinomial(total, cells.ravel() / total, size=draws)
    return drawn.reshape(draws, *cells.shape)
