"""Squared Euclidean distances by their expansion, which needs only a matrix product."""

from torch import Tensor

from tl_lab.functional.precision import in_full_precision

__all__ = ["expanded_distances"]


@in_full_precision
def expanded_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Squared distances |x_i - c_j|^2 = |x_i|^2 - 2 x_i . c_j + |c_j|^2, measured from the centres' mean.

    The expansion suffers from cancellation if all points are far from the origin, so that the mean of the centres is
    subtracted first. The remaining error is the rounding unit times the squared distance from that mean: small compared
    with the mean distance, but not compared with the distance of two points that are much closer to each other.

    Args:
        points: ``(..., M, D)``.
        centres: ``(..., N, D)``.

    Returns:
        ``(..., M, N)``, each >= 0, at least in single precision.

    Examples:
        >>> expanded_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
        [[25.0, 1.0]]
    """
    origin = centres.detach().mean(-2, keepdim=True)
    points, centres = points - origin, centres - origin
    norms = points.square().sum(-1)[..., :, None] + centres.square().sum(-1)[..., None, :]
    return (norms - 2 * points @ centres.mT).clamp(min=0)
