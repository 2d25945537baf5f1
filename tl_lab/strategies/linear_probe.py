"""Linear probes: linear models fitted to fixed features, which provide the weights of a head."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from tl_lab.errors import UserError
from tl_lab.problems import Problem

__all__ = ["Probe", "fit_label_probe", "fit_linear_probe", "fit_value_probe", "probe_of"]

Probe = Callable[..., tuple[Tensor, Tensor, float]]
"""Features ``(N, D)``, labels, validation features and labels, inverse penalties, balanced -> weights ``(C, D)``,
offsets ``(C,)``, and the validation score of the penalty that was chosen."""

_Fit = tuple[np.ndarray, np.ndarray, float]


def probe_of(problem: Problem) -> Probe:
    """Return the probe of a problem: logistic regression, one per label, or ridge regression of the scaled targets."""

    def probe(
        features: Tensor, y: Tensor, val_features: Tensor, val_y: Tensor, *rest: Any, **options: Any
    ) -> tuple[Tensor, Tensor, float]:
        targets, val_targets = problem.targets(y), problem.targets(val_y)
        if targets is None or val_targets is None:
            raise UserError(
                f"no linear probe fits {problem.name.replace('_', '-')} data: set strategy.linear_probe.enabled=false"
            )
        if problem.numbers_outputs:
            return fit_linear_probe(
                features, targets.columns[0], val_features, val_targets.columns[0], *rest, **options
            )
        fit = fit_value_probe if targets.numbers else fit_label_probe
        return fit(features, targets.columns.T, val_features, val_targets.columns.T, *rest, **options)

    return probe


def fit_linear_probe(
    features: Tensor,
    y: Tensor,
    val_features: Tensor,
    val_y: Tensor,
    inverse_penalties: tuple[float, ...],
    balanced: bool = False,
) -> tuple[Tensor, Tensor, float]:
    """Fit a logistic regression on standardised features, and fold the standardisation into its weights.

    W = V / sigma, b = a - V mu / sigma, for weights V and offsets a on (f - mu) / sigma.

    Args:
        features: ``(N, D)``.
        y: classes, ``(N,)``; each of the C classes occurs.
        val_features: ``(M, D)``, on which the penalty is chosen.
        val_y: ``(M,)``.
        inverse_penalties: values of C to try, > 0.
        balanced: weight classes by the inverse of their frequency.

    Returns:
        Weights ``(C, D)``, offsets ``(C,)``, and the best validation accuracy in [0, 1].
    """
    mu, sigma, (train, val) = _standardised(features, val_features)
    labels, truth = y.cpu().numpy(), val_y.cpu().numpy()

    def fit(c: float) -> _Fit:
        probe = LogisticRegression(C=c, max_iter=1000, class_weight="balanced" if balanced else None).fit(train, labels)
        return probe.coef_, probe.intercept_, float(probe.score(val, truth))

    weights, offsets, best_acc = _best_of(inverse_penalties, fit)
    if len(weights) == 1:  # two classes have one score: split it, so that the softmax gives the same probabilities
        weights, offsets = torch.cat([-weights, weights]) / 2, torch.cat([-offsets, offsets]) / 2
    return *_folded(weights, offsets, mu, sigma), best_acc


def fit_label_probe(
    features: Tensor,
    y: Tensor,
    val_features: Tensor,
    val_y: Tensor,
    inverse_penalties: tuple[float, ...],
    balanced: bool = False,
) -> tuple[Tensor, Tensor, float]:
    """Fit a logistic regression per label; a label that is constant gets its log odds as the offset.

    Args:
        features: ``(N, D)``.
        y: labels, ``(N, L)``, of 0 and 1.
        val_features: ``(M, D)``, on which the penalty is chosen.
        val_y: ``(M, L)``.
        inverse_penalties: values of C to try, > 0.
        balanced: weight the two values of each label by the inverse of their frequency.

    Returns:
        Weights ``(L, D)``, offsets ``(L,)``, and the best share of correct labels on validation.
    """
    mu, sigma, (train, val) = _standardised(features, val_features)
    labels, truth = y.cpu().numpy(), val_y.cpu().numpy()

    def fit(c: float) -> _Fit:
        fits = [_one_label(train, labels[:, k], c, balanced) for k in range(labels.shape[1])]
        weights, offsets = np.stack([w for w, _ in fits]), np.array([b for _, b in fits])
        return weights, offsets, float(((val @ weights.T + offsets >= 0) == truth).mean())

    weights, offsets, score = _best_of(inverse_penalties, fit)
    return *_folded(weights, offsets, mu, sigma), score


def _one_label(features: np.ndarray, y: np.ndarray, c: float, balanced: bool) -> tuple[np.ndarray, float]:
    if len(np.unique(y)) == 1:
        share = (y.sum() + 0.5) / (len(y) + 1)
        return np.zeros(features.shape[1]), float(np.log(share / (1 - share)))
    probe = LogisticRegression(C=c, max_iter=1000, class_weight="balanced" if balanced else None).fit(features, y)
    return probe.coef_[0], float(probe.intercept_[0])


def fit_value_probe(
    features: Tensor,
    y: Tensor,
    val_features: Tensor,
    val_y: Tensor,
    inverse_penalties: tuple[float, ...],
    balanced: bool = False,
) -> tuple[Tensor, Tensor, float]:
    """Fit a ridge regression on standardised features, with the penalty 1 / C.

    Args:
        features: ``(N, D)``.
        y: targets on the scale of the outputs, ``(N, K)``.
        val_features: ``(M, D)``, on which the penalty is chosen.
        val_y: ``(M, K)``.
        inverse_penalties: values of C to try, > 0.
        balanced: has no effect here; False.

    Returns:
        Weights ``(K, D)``, offsets ``(K,)``, and the negative mean squared error of the best penalty on validation.
    """
    mu, sigma, (train, val) = _standardised(features, val_features)
    targets, truth = y.double().cpu().numpy(), val_y.double().cpu().numpy()

    def fit(c: float) -> _Fit:
        probe = Ridge(alpha=1 / c).fit(train, targets)
        score = -float(((probe.predict(val).reshape(truth.shape) - truth) ** 2).mean())
        return np.atleast_2d(probe.coef_), np.atleast_1d(probe.intercept_), score

    weights, offsets, score = _best_of(inverse_penalties, fit)
    return *_folded(weights, offsets, mu, sigma), score


def _best_of(inverse_penalties: Sequence[float], fit: Callable[[float], _Fit]) -> tuple[Tensor, Tensor, float]:
    """Fit with each penalty, and return the weights, offsets and score of the first that is best on validation."""
    weights, offsets, score = max(map(fit, inverse_penalties), key=lambda found: found[2])
    return torch.from_numpy(weights), torch.from_numpy(offsets), score


def _standardised(*sets: Tensor) -> tuple[Tensor, Tensor, list[np.ndarray]]:
    """Standardise by the first set: return the mean, the deviation, and the sets as arrays in double precision."""
    mu, sigma = sets[0].mean(0), sets[0].std(0, unbiased=False)
    sigma = torch.where(sigma > 1e-6 * sigma.max(), sigma, torch.ones_like(sigma))  # constant features: no scaling
    return mu, sigma, [((f - mu) / sigma).double().cpu().numpy() for f in sets]


def _folded(weights: Tensor, offsets: Tensor, mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Convert weights on standardised features to weights on the original ones: W = V / sigma, b = a - W mu."""
    weights = weights / sigma.cpu().double()
    return weights, offsets - weights @ mu.cpu().double()
