"""Correlation alignment: the distance between two covariances."""

from torch import Tensor

from tl_lab.errors import UserError
from tl_lab.functional.precision import in_full_precision

__all__ = ["coral", "covariance"]


@in_full_precision
def covariance(x: Tensor) -> Tensor:
    """Covariance of the columns of ``(N, D)``, divided by N - 1: ``(D, D)``.

    Examples:
        >>> covariance(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).tolist()
        [[2.0, 0.0], [0.0, 0.0]]
    """
    centred = x - x.mean(0)
    return centred.T @ centred / (len(x) - 1)


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Squared Frobenius distance between the domains' covariances: ||C_s - C_t||_F^2 / (4 D^2).

    Args:
        source: features, ``(n, D)``, n >= 2.
        target: features, ``(m, D)``, m >= 2.

    Returns:
        A scalar >= 0.

    Raises:
        UserError: a domain has fewer than two samples.

    References:
        Sun and Saenko, Deep CORAL: Correlation Alignment for Deep Domain Adaptation, ECCV Workshops 2016,
        equations 1 to 3.

    Examples:
        >>> float(coral(torch.tensor([[1.0], [-1.0]]), torch.tensor([[2.0], [-2.0]])))
        9.0
    """
    if len(source) < 2 or len(target) < 2:
        raise UserError(
            f"a covariance needs two samples of each domain, but a batch has {len(source)} of the source and "
            f"{len(target)} of the target: raise data.batch_size"
        )
    distance = (covariance(source) - covariance(target)).square().sum()
    return distance / (4 * source.shape[1] ** 2)
