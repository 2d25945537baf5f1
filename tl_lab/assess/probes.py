"""Linear probes: logistic regressions on features, the only thing that a quick assessment fits."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Probe", "ProbeOfFindings", "fit_probe", "fit_probe_of_findings"]

_ABSENT = -30.0  # logit of a class that the training labels lack


@dataclass(frozen=True)
class Probe:
    """A logistic regression on standardised features.

    Args:
        centre, spread: of the training features, ``(D,)``.
        model: a fitted scikit-learn model.
    """

    centre: Tensor
    spread: Tensor
    model: Any

    def logits(self, features: Tensor, classes: int) -> Tensor:
        """Compute logits ``(N, classes)`` for features ``(N, D)``."""
        scores = self.model.decision_function(((features - self.centre) / self.spread).double().numpy())
        if scores.ndim == 1:
            scores = np.stack([-scores / 2, scores / 2], axis=1)
        found = torch.full((len(features), classes), _ABSENT, dtype=torch.float64)
        found[:, torch.from_numpy(self.model.classes_.astype(np.int64))] = torch.from_numpy(scores)
        return found


@dataclass(frozen=True)
class ProbeOfFindings:
    """A logistic regression for each of several findings.

    Args:
        probes: by finding; None for one that all known samples have or lack.
    """

    probes: tuple[Probe | None, ...]

    def logits(self, features: Tensor, findings: int) -> Tensor:
        """Compute logits ``(N, findings)`` for features ``(N, D)``; those without a probe get -30."""
        found = torch.full((len(features), findings), _ABSENT, dtype=torch.float64)
        for number, probe in enumerate(self.probes):
            if probe is not None:
                lacks, has = probe.logits(features, 2).T
                found[:, number] = has - lacks
        return found


def fit_probe_of_findings(features: Tensor, labels: Tensor, regularisation: float = 1.0) -> ProbeOfFindings:
    """Fit a logistic regression for each finding, to the samples whose label is known.

    Args:
        features: ``(N, D)``.
        labels: ``(N, L)`` of 0 and 1; negative: unknown.
        regularisation: as in :func:`fit_probe`.
    """

    def fitted(y: Tensor) -> Probe | None:
        known = y >= 0
        return fit_probe(features[known], y[known].long(), regularisation) if len(y[known].unique()) > 1 else None

    return ProbeOfFindings(tuple(fitted(y) for y in labels.T))


def fit_probe(features: Tensor, labels: Tensor, regularisation: float = 1.0) -> Probe:
    """Fit a logistic regression (L2) to standardised features.

    Args:
        features: ``(N, D)``.
        labels: classes ``(N,)``.
        regularisation: weight of |w|^2 / 2 against the summed log-loss, > 0.

    Raises:
        ValueError: there is one class only, or a feature is not finite.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(labels.unique()) < 2:
        raise ValueError("a linear probe needs two classes, and the labels have only one")
    if not bool(features.isfinite().all()):
        raise ValueError("features contain NaN or infinity")
    centre, spread = features.mean(0), features.std(0, correction=0)
    spread = torch.where(spread > 1e-6 * (1 + centre.abs()), spread, torch.ones_like(spread))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a boundary that is nearly final serves as well
        model = LogisticRegression(C=1 / regularisation, max_iter=100, tol=1e-3)
        model.fit(((features - centre) / spread).double().numpy(), labels.numpy())
    return Probe(centre, spread, model)
