"""Classification by attention over an episode's support."""

import torch
from torch import Tensor

from tl_lab.functional.prototypes import cosine_similarities

__all__ = ["attention_logits"]


def attention_logits(queries: Tensor, support: Tensor, labels: Tensor, way: int, scale: float = 1.0) -> Tensor:
    """Logarithms of class probabilities from attention over the support, up to one constant per query.

    P(y = k | x) = sum_{i in S_k} a(x, x_i), with a the softmax over the support of scale * cos(f(x), g(x_i)); the
    softmax of the logits log sum_{i in S_k} exp(scale * cos) is P.

    Args:
        queries: embeddings f(x), ``(E, M, D)``.
        support: embeddings g(x_i), ``(E, N*K, D)``.
        labels: classes of the support, ``(E, N*K)``, int64 in 0..N-1, in any order; each class occurs.
        way: number of classes N.
        scale: factor of the cosine, > 0.

    Returns:
        ``(E, M, N)``.

    References:
        Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016, equations 1 and 2 (scale 1).

    Examples:
        >>> queries, support = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> attention_logits(queries, support, labels=torch.tensor([[0, 1]]), way=2).tolist()
        [[[1.0, 0.0]]]
    """
    similarities = scale * cosine_similarities(queries, support)  # (E, M, N*K)
    others = labels[:, None, :] != torch.arange(way, device=labels.device)[:, None]  # (E, N, N*K)
    of_class = similarities[:, :, None, :].masked_fill(others[:, None], -torch.inf)  # (E, M, N, N*K)
    return of_class.logsumexp(3)
