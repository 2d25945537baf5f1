"""Classifiers fitted to the supports of E episodes at once, on fixed features."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.functional.prototypes import cosine_similarities

__all__ = ["cosine_scores", "fit_heads", "linear_scores", "random_heads"]


def linear_scores(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """W f + b: ``(E, M, D)``, ``(E, N, D)``, ``(E, N)`` -> ``(E, M, N)``.

    Examples:
        >>> linear_scores(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0]]]), torch.tensor([[0.5]])).tolist()
        [[[11.5]]]
    """
    return features @ weight.mT + bias[:, None]


def cosine_scores(features: Tensor, weight: Tensor, scale: float) -> Tensor:
    """Cosines of features ``(E, M, D)`` and weights ``(E, N, D)``, times a scale: ``(E, M, N)``.

    Examples:
        >>> cosine_scores(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), scale=10.0).tolist()
        [[[10.0, 0.0]]]
    """
    return scale * cosine_similarities(features, weight)


def random_heads(episodes: int, way: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw weights ``(E, N, D)`` and offsets ``(E, N)`` like those of a new linear layer: uniform up to 1 / sqrt(D).

    Examples:
        >>> weight, bias = random_heads(episodes=1, way=2, width=4, generator=torch.Generator().manual_seed(0))
        >>> tuple(weight.shape), tuple(bias.shape), bool(weight.abs().max() <= 0.5)
        ((1, 2, 4), (1, 2), True)
    """
    bound = width**-0.5
    shapes = (episodes, way, width), (episodes, way)
    weight, bias = (torch.rand(shape, generator=generator, device=generator.device) for shape in shapes)
    return bound * (2 * weight - 1), bound * (2 * bias - 1)


def fit_heads(
    scores: Callable[..., Tensor],
    start: tuple[Tensor, ...],
    features: Tensor,
    labels: Tensor,
    *,
    epochs: int = 100,
    batch_size: int = 4,
    rate: float = 0.01,
    momentum: float = 0.9,
    dampening: float = 0.9,
    weight_decay: float = 0.001,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, ...]:
    """Minimise the cross-entropy of each episode's support separately, by gradient descent with momentum.

    Args:
        scores: features and a head's tensors -> logits, ``(E, M, N)``.
        start: the heads' tensors before the first step, ``(E, ...)``.
        features: of the supports, ``(E, M, D)``; no gradient reaches them.
        labels: ``(E, M)``, int64 in 0..N-1.
        epochs: passes over the support.
        batch_size: samples of a step; M or more for all at once.
        rate, momentum, dampening, weight_decay: of torch.optim.SGD.
        generator: draws the order of the samples, the same for all episodes; None for the given order.

    Returns:
        The heads' tensors after the last step, detached.

    References:
        Chen et al., A Closer Look at Few-shot Classification, ICLR 2019, whose published code has the defaults.

    Examples:
        >>> features, labels = torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[0, 1]])
        >>> heads = fit_heads(linear_scores, (torch.zeros(1, 2, 1), torch.zeros(1, 2)), features, labels, epochs=5)
        >>> linear_scores(features, *heads).argmax(2).tolist()
        [[0, 1]]
    """
    features, count = features.detach(), features.shape[1]
    with torch.enable_grad():
        heads = [tensor.detach().clone().requires_grad_() for tensor in start]
        optimizer = torch.optim.SGD(heads, rate, momentum, dampening, weight_decay)
        for _ in range(epochs):
            order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
            for rows in order.to(features.device).split(batch_size):
                logits = scores(features[:, rows], *heads)
                losses = F.cross_entropy(logits.mT, labels[:, rows], reduction="none")
                optimizer.zero_grad()
                # in a sum over episodes, the gradient of each is independent of the others
                losses.mean(1).sum().backward()
                optimizer.step()
    return tuple(head.detach() for head in heads)
