"""Linear probes: logistic regressions on features, the only thing that a quick assessment fits."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Probe", "fit_probe"]

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
        raise ValueError("a linear probe needs two classes, and the labels have one only")
    if not bool(features.isfinite().all()):
        raise ValueError("features contain NaN or infinity")
    centre, spread = features.mean(0), features.std(0, correction=0)
    spread = torch.where(spread > 1e-6 * (1 + centre.abs()), spread, torch.ones_like(spread))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a boundary that is nearly final serves as well
        model = LogisticRegression(C=1 / regularisation, max_iter=100, tol=1e-3)
        model.fit(((features - centre) / spread).double().numpy(), labels.numpy())
    return Probe(centre, spread, model)
