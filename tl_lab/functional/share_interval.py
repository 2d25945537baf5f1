"""Wilson's confidence interval of a share."""

import math

__all__ = ["wilson_interval"]


def wilson_interval(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Compute Wilson's interval of a share.

    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Args:
        share: observed share p, in [0, 1].
        count: number of observations n, at least 1.
        z: quantile of the normal distribution; the default gives a 95 % interval.

    Returns:
        The lower and the upper end, in [0, 1].

    Examples:
        >>> [round(end, 3) for end in wilson_interval(0.8, 10)]
        [0.49, 0.943]

    References:
        E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927.
    """
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    scale = 1 + z * z / count
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
