"""Rates by group as fairlearn computes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tl_lab.errors import UserError
from tl_lab.functional.group_rates import RATES

__all__ = ["by_group"]


def by_group(y: np.ndarray, answer: np.ndarray, group: np.ndarray, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Compute selection rate, TPR, FPR, FNR and accuracy of a binary decision for each group.

    Args:
        y: labels ``(N,)``, 0 or 1.
        answer: decisions ``(N,)``, 0 or 1.
        group: numbers ``(N,)``, from 0; negative ones are left out.
        names: of the groups.

    Returns:
        By rate, ``(G,)``; NaN for groups without samples, or without those that a rate is a share of.

    Raises:
        UserError: fairlearn is not installed.
    """
    try:
        from fairlearn.metrics import (
            MetricFrame,
            false_negative_rate,
            false_positive_rate,
            selection_rate,
            true_positive_rate,
        )
    except ImportError as error:
        raise UserError(f"the bias audit needs the library fairlearn ({error}): install tl_lab[fairness]") from error
    from sklearn.metrics import accuracy_score

    kept = group >= 0
    metrics: dict[str, Any] = {
        "selection_rate": selection_rate,
        "tpr": true_positive_rate,
        "fpr": false_positive_rate,
        "fnr": false_negative_rate,
        "accuracy": accuracy_score,
    }
    truth, decided, number = y[kept].astype(int), answer[kept].astype(int), group[kept]
    frame = MetricFrame(metrics=metrics, y_true=truth, y_pred=decided, sensitive_features=number).by_group
    found = {name: np.full(len(names), np.nan) for name in RATES}
    for g in frame.index:
        positives = truth[number == g]
        for name in RATES:
            # fairlearn gives 0 for a share of nothing
            empty = (name in ("tpr", "fnr") and not positives.any()) or (name == "fpr" and positives.all())
            found[name][int(g)] = np.nan if empty else float(frame.loc[g, name])
    return found
