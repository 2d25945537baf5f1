"""Error as a function of the number of labels: a power law with a floor."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["PowerLaw", "fit_power_law"]

_EXPONENTS = np.linspace(0.05, 2.0, 391)


class PowerLaw(NamedTuple):
    """``error(n) = scale * n^-exponent + floor``.

    Attributes:
        scale: >= 0.
        exponent: > 0.
        floor: error that no number of labels removes, >= 0.
        residual: root mean squared error of the fit.

    Example:
        >>> law = PowerLaw(scale=1.0, exponent=0.5, floor=0.0, residual=0.0)
        >>> law.error(100), law.labels_for(0.1)
        (0.1, 100.0)
    """

    scale: float
    exponent: float
    floor: float
    residual: float

    def error(self, labels: float) -> float:
        """Predict the error with so many labels."""
        return self.scale * labels**-self.exponent + self.floor

    def labels_for(self, error: float) -> float:
        """Predict how many labels bring the error down to a value; infinite where it lies below the floor."""
        if error <= self.floor or self.scale == 0:
            return math.inf if error < self.floor or self.scale > 0 else 0.0
        return (self.scale / (error - self.floor)) ** (1 / self.exponent)


def fit_power_law(labels: Sequence[float], errors: Sequence[float]) -> PowerLaw:
    """Fit a power law by least squares: for each exponent of a grid, scale and floor are solved for, none negative.

    Args:
        labels: numbers of labels, > 0, at least three different ones.
        errors: measured with them, in [0, 1]; several for one number are welcome.

    Raises:
        ValueError: fewer than three numbers of labels, or none above 0.

    References:
        Cortes et al., Learning Curves: Asymptotic Values and Rate of Convergence, NIPS 1993, equation 1.

    Example:
        >>> law = fit_power_law([100, 400, 1600, 6400], [0.1, 0.05, 0.025, 0.0125])
        >>> round(law.exponent, 2), round(law.error(10_000), 3)
        (0.5, 0.01)
    """
    from scipy.optimize import nnls

    n, e = np.asarray(labels, dtype=float), np.asarray(errors, dtype=float)
    if len(set(n.tolist())) < 3 or (n <= 0).any():
        raise ValueError("a power law needs at least three numbers of labels, all above 0")
    scaled = n / n.min()  # so that both columns are of one size
    fits = []
    for exponent in _EXPONENTS:
        (scale, floor), norm = nnls(np.stack([scaled**-exponent, np.ones_like(n)], axis=1), e)
        fits.append((norm, exponent, scale, floor))
    norm, exponent, scale, floor = min(fits, key=lambda fit: (fit[0], fit[1]))
    return PowerLaw(float(scale * n.min() ** exponent), float(exponent), float(floor), float(norm / math.sqrt(len(n))))
