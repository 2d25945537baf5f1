"""Prototypes of classes, and similarities of embeddings to them, for E episodes at once."""

from torch import Tensor
from torch.nn import functional as F

from tl_lab.functional.distances import expanded_distances
from tl_lab.functional.precision import in_full_precision

__all__ = ["cosine_similarities", "prototypes", "squared_distances"]


@in_full_precision
def prototypes(embeddings: Tensor, labels: Tensor, way: int) -> Tensor:
    """Mean embedding of each class: c_k = 1/|S_k| sum_{i in S_k} f(x_i).

    Args:
        embeddings: of each episode's support, ``(E, N*K, D)``.
        labels: ``(E, N*K)``, int64 in 0..N-1, in any order; each class occurs.
        way: number of classes N.

    Returns:
        ``(E, N, D)``.

    References:
        Snell, Swersky and Zemel, Prototypical Networks for Few-shot Learning, NeurIPS 2017, equation 1.

    Examples:
        >>> prototypes(torch.tensor([[[0.0], [2.0], [5.0]]]), labels=torch.tensor([[0, 0, 1]]), way=2).tolist()
        [[[1.0], [5.0]]]
    """
    members = F.one_hot(labels, way).to(embeddings.dtype)
    # a product instead of a scatter, whose order of additions varies between runs on a GPU
    return (members / members.sum(1, keepdim=True)).mT @ embeddings  # (E, N, N*K) @ (E, N*K, D) -> (E, N, D)


def squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distances |x_i - c_j|^2 between each episode's points and centres.

    Args:
        points: ``(E, M, D)``.
        centres: ``(E, N, D)``.

    Returns:
        ``(E, M, N)``, each >= 0, at least in single precision.

    Examples:
        >>> squared_distances(torch.tensor([[[0.0]]]), torch.tensor([[[1.0], [3.0]]])).tolist()
        [[[1.0, 9.0]]]
    """
    return expanded_distances(points, centres)


@in_full_precision
def cosine_similarities(points: Tensor, centres: Tensor) -> Tensor:
    """Cosines x_i . c_j / (|x_i| |c_j|) between each episode's points and centres.

    Args:
        points: ``(E, M, D)``.
        centres: ``(E, N, D)``.

    Returns:
        ``(E, M, N)``, each in [-1, 1] up to rounding; 0 if a vector is 0.

    Examples:
        >>> cosine_similarities(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])).tolist()
        [[[1.0, 0.0]]]
    """
    return F.normalize(points, dim=2) @ F.normalize(centres, dim=2).mT
