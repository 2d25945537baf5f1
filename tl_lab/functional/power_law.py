"""Error as a function of the number of labels: a power law with a floor."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["EXPONENTS", "PowerLaw", "fit_power_law"]

EXPONENTS = (0.05, 2.0)
"""The smallest and the largest exponent that is fitted."""
_EXPONENTS = np.linspace(*EXPONENTS, 391)


class PowerLaw(NamedTuple):
    """``error(n) = scale * n^-exponent + floor``.

    Attributes:
        scale: >= 0.
        exponent: > 0.
        floor: error that no number of labels removes, >= 0.
        residual: root mean squared error of the fit.

    Examples:
        >>> law = PowerLaw(scale=1.0, exponent=0.5, floor=0.0, residual=0.0)
        >>> law.error(100), law.labels_for(0.1)
        (0.1, 100.0)
    """

    scale: float
    exponent: float
    floor: float
    residual: float

    def error(self, labels: float) -> float:
        """Predict the error for a number of labels."""
        return self.scale * labels**-self.exponent + self.floor

    @property
    def at_bound(self) -> bool:
        """Whether the exponent is the smallest or the largest that is fitted: the true one may lie beyond."""
        return self.exponent in EXPONENTS

    def labels_for(self, error: float) -> float:
        """Predict the number of labels for a given error; infinite if the error is below the floor."""
        if error <= self.floor or self.scale == 0:
            return math.inf if error < self.floor or self.scale > 0 else 0.0
        return (self.scale / (error - self.floor)) ** (1 / self.exponent)


def fit_power_law(labels: Sequence[float], errors: Sequence[float]) -> PowerLaw:
    """Fit a power law by least squares, with non-negative scale and floor for each exponent of a grid.

    Args:
        labels: numbers of labels, > 0, at least three different ones.
        errors: measured with them, in [0, 1]; there may be several for one number of labels.

    Raises:
        ValueError: fewer than three numbers of labels, or none above 0.

    References:
        Cortes et al., Learning Curves: Asymptotic Values and Rate of Convergence, NIPS 1993, equation 1.

    Examples:
        >>> law = fit_power_law([100, 400, 1600, 6400], [0.1, 0.05, 0.025, 0.0125])
        >>> round(law.exponent, 2), round(law.error(10_000), 3)
        (0.5, 0.01)
    """
    n, e = np.asarray(labels, dtype=float), np.asarray(errors, dtype=float)
    if len(set(n.tolist())) < 3 or (n <= 0).any():
        raise ValueError("a power law needs at least three numbers of labels, all above 0")
    scaled = n / n.min()  # so that both columns are of similar size
    falling = scaled[None, :] ** -_EXPONENTS[:, None]  # (E, N)
    scales, floors, squares = _solved(falling, e)
    k = int(squares.argmin())
    exponent = float(_EXPONENTS[k])
    return PowerLaw(float(scales[k] * n.min() ** exponent), exponent, float(floors[k]), math.sqrt(squares[k] / len(n)))


def _solved(falling: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solve ``e = scale * falling + floor`` for each row by least squares, neither below 0.

    If the unconstrained solution has a negative part, the optimum has either no floor or no falling part.

    Args:
        falling: ``(E, N)``, each row of different values.
        e: ``(N,)``, at least 0.

    Returns:
        Scales, floors and sums of squared errors, ``(E,)`` each.
    """
    centred = falling - falling.mean(1, keepdims=True)
    free = (centred @ e) / np.square(centred).sum(1)
    no_floor = np.maximum((falling @ e) / np.square(falling).sum(1), 0)
    level = np.full(len(falling), e.mean())
    scale = np.stack([free, no_floor, np.zeros_like(free)])  # (3, E)
    floor = np.stack([level - free * falling.mean(1), np.zeros_like(free), level])
    errors = np.square(scale[..., None] * falling + floor[..., None] - e).sum(-1)
    errors = np.where((scale >= 0) & (floor >= 0), errors, np.inf)
    best = errors.argmin(0), np.arange(len(falling))
    return scale[best], floor[best], errors[best]
