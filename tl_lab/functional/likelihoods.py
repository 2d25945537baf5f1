"""Distributions of labels given a model's outputs, for the Fisher information."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["BERNOULLI", "CATEGORICAL", "GAUSSIAN", "Bernoulli", "Categorical", "Gaussian", "Likelihood"]


class Likelihood(Protocol):
    """p(y | z) of labels given outputs z, ``(B, C)``.

    Examples:
        >>> likelihood: Likelihood = BERNOULLI
        >>> likelihood.score(torch.zeros(1, 2), torch.tensor([[1, 0]])).tolist()
        [[0.5, -0.5]]
    """

    def factors(self, outputs: Tensor) -> Iterator[Tensor]:
        """Return vectors v_j, ``(B, C)``, with sum_j v_j v_j^T = E_y[(d log p / dz) (d log p / dz)^T] per sample."""

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw labels from p(y | z), on the device of the outputs."""

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute d log p(y | z) / dz, ``(B, C)``."""

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the mean of -log p(y | z) over the samples, up to a constant; a scalar."""


class Categorical:
    """One of C classes, with the softmax of the outputs; labels are ``(B,)`` int64.

    Examples:
        >>> CATEGORICAL.score(torch.zeros(1, 2), torch.tensor([0])).tolist()
        [[0.5, -0.5]]
        >>> [v.tolist() for v in CATEGORICAL.factors(torch.zeros(1, 2))]
        [[[0.5, -0.5]]]
    """

    def factors(self, outputs: Tensor) -> Iterator[Tensor]:
        """Factorise diag(p) - p p^T; C - 1 vectors suffice.

        They are the columns of the Cholesky factor: the label is drawn class by class, as k or one of the later
        classes, and each of these binary choices is independent of the earlier ones.

        References:
            Tanabe and Sagae, An Exact Cholesky Decomposition and the Generalized Inverse of the Variance-Covariance
            Matrix of the Multinomial Distribution, with Applications, Journal of the Royal Statistical Society B 54
            (1992).
        """
        p = outputs.softmax(1)
        # of k and the later classes, summed from the end to avoid cancellation of small ones
        remaining = p.flip(1).cumsum(1).flip(1)
        smallest = torch.finfo(p.dtype).tiny
        for k in range(p.shape[1] - 1):
            after = remaining[:, k + 1 :][:, :1]
            v = torch.zeros_like(p)
            v[:, k] = 1
            v[:, k + 1 :] = -p[:, k + 1 :] / after.clamp_min(smallest)
            yield v * (p[:, k : k + 1] * after / remaining[:, k : k + 1].clamp_min(smallest)).sqrt()

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a class of each sample."""
        p = outputs.softmax(1).to(generator.device)
        return p.multinomial(1, generator=generator)[:, 0].to(outputs.device)

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """d log p_k / dz = e_k - p."""
        return F.one_hot(y, outputs.shape[1]) - outputs.softmax(1)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(outputs, y)


class Bernoulli:
    """C independent labels, each 1 with the sigmoid of its output; labels are ``(B, C)`` of 0 and 1.

    Examples:
        >>> round(float(BERNOULLI.loss(torch.zeros(1, 2), torch.tensor([[1, 0]]))), 3)
        1.386
        >>> [v.tolist() for v in BERNOULLI.factors(torch.zeros(1, 2))]
        [[[0.5, 0.0]], [[0.0, 0.5]]]
    """

    def factors(self, outputs: Tensor) -> Iterator[Tensor]:
        """Factorise diag(p (1 - p)): one vector per label."""
        deviation = torch.sqrt(torch.sigmoid(outputs) * torch.sigmoid(-outputs))
        for k in range(outputs.shape[1]):
            v = torch.zeros_like(outputs)
            v[:, k] = deviation[:, k]
            yield v

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw every label."""
        p = torch.sigmoid(outputs).to(generator.device)
        return torch.bernoulli(p, generator=generator).to(outputs.device)

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """d log p / dz = y - p."""
        return y.to(outputs) - torch.sigmoid(outputs)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Binary cross-entropy, summed over the labels."""
        return F.binary_cross_entropy_with_logits(outputs, y.to(outputs), reduction="sum") / len(outputs)


class Gaussian:
    """C numbers around the outputs with unit variance; labels are ``(B, C)`` in the units of the outputs.

    Examples:
        >>> float(GAUSSIAN.loss(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])))
        12.5
        >>> GAUSSIAN.score(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).tolist()
        [[3.0, 4.0]]
    """

    def factors(self, outputs: Tensor) -> Iterator[Tensor]:
        """Factorise the identity: one unit vector per output."""
        for k in range(outputs.shape[1]):
            v = torch.zeros_like(outputs)
            v[:, k] = 1
            yield v

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Add standard normal noise."""
        noise = torch.randn(outputs.shape, generator=generator, device=generator.device)
        return outputs + noise.to(outputs)

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """d log p / dz = y - z."""
        return y.to(outputs) - outputs

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Half the squared distance."""
        return (outputs - y.to(outputs)).square().sum(1).mean() / 2


CATEGORICAL, BERNOULLI, GAUSSIAN = Categorical(), Bernoulli(), Gaussian()
