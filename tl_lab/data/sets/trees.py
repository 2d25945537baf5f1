"""A tree ensemble as baseline for networks on tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from tl_lab.data.cache import cached_arrays
from tl_lab.data.names import SetName
from tl_lab.data.samples import Samples
from tl_lab.problems import Problem
from tl_lab.problems.base import Targets

__all__ = ["tree_scores"]

_LEAST = 1e-12  # probability assigned to a class that does not occur in training
_MOST_CATEGORIES = 254  # scikit-learn's limit for categorical features


def tree_scores(
    sets: Mapping[str, Samples], train: str, tests: Sequence[str], problem: Problem, seed: int, fingerprint: str
) -> dict[str, float]:
    """Fit scikit-learn's histogram gradient boosting with its default options, and score it.

    Args:
        sets: sets of rows, encoded by :class:`~tl_lab.data.inputs.table.TableSpec`.
        train: name of the training set.
        tests: names of the sets to score.
        problem: kind of prediction.
        seed: the run's seed.
        fingerprint: fingerprint of the data; results are cached.

    Returns:
        Scores by metric, such as ``test/trees/acc`` or, for the set of a domain, ``test/target trees/acc``; empty if
        trees cannot predict the labels.
    """
    trained = sets[train].y
    assert trained is not None
    targets = problem.targets(trained.cpu())
    if targets is None:
        return {}
    key = {"version": 1, "data": fingerprint, "train": train, "seed": seed, "problem": problem.name}
    key |= {"count": len(sets[train]), "rows": {name: len(sets[name]) for name in tests}}
    outputs = cached_arrays("trees", key, lambda: _outputs(sets, train, tests, problem, targets, seed))
    scores: dict[str, float] = {}
    for name in tests:
        y = sets[name].y
        assert y is not None
        meter = problem.meter()
        meter.update(torch.from_numpy(outputs[SetName.parse(name).file]), y.cpu())
        where = SetName.parse(name)
        trees = " ".join(filter(None, [where.domain, "trees"]))
        scores |= {f"{where.part}/{trees}/{metric}": value for metric, value in meter.compute().items()}
    return scores


def _outputs(
    sets: Mapping[str, Samples], train: str, tests: Sequence[str], problem: Problem, targets: Targets, seed: int
) -> dict[str, np.ndarray]:
    """Compute what a head would output: logits, or numbers on the scale of the outputs."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    x, categorical = _rows(sets[train].x)
    options: dict[str, Any] = {"random_state": seed, "categorical_features": categorical}
    rows = {name: _rows(sets[name].x)[0] for name in tests}
    with threadpool_limits(1):  # the order of sums in several threads would change the last bits
        columns = targets.columns.numpy()
        if targets.numbers:
            models = [HistGradientBoostingRegressor(**options).fit(x, column) for column in columns]
            return {
                SetName.parse(name).file: np.stack([model.predict(rows[name]) for model in models], 1) for name in tests
            }
        fits = [HistGradientBoostingClassifier(**options).fit(x, labels) for labels in columns]
        found = {}
        for name in tests:
            p = [_probabilities(fit, rows[name], max(problem.num_outputs, 2)) for fit in fits]
            logits = [np.log(one[:, 1]) - np.log(one[:, 0]) for one in p]
            found[SetName.parse(name).file] = np.log(p[0]) if problem.numbers_outputs else np.stack(logits, 1)
        return found


def _probabilities(model: Any, rows: np.ndarray, classes: int) -> np.ndarray:
    """Return the probability of each class, ``(N, classes)``, including those that do not occur in training."""
    p = np.full((len(rows), classes), _LEAST)
    p[:, model.classes_] = model.predict_proba(rows).clip(min=_LEAST)
    return p


def _rows(x: Any) -> tuple[np.ndarray, list[bool]]:
    """Concatenate numbers (NaN if missing) and codes of categories; also return which columns are categories."""
    parts: list[np.ndarray] = []
    categorical: list[bool] = []
    if "numbers" in x:
        numbers: Tensor = torch.where(x["known"] > 0, x["numbers"], torch.nan)
        parts.append(numbers.cpu().double().numpy())
        categorical += [False] * numbers.shape[1]
    if "categories" in x:
        codes = x["categories"].cpu().numpy()
        parts.append(codes.astype(np.float64))
        categorical += [bool(codes[:, k].max(initial=0) <= _MOST_CATEGORIES) for k in range(codes.shape[1])]
    return np.concatenate(parts, 1), categorical
