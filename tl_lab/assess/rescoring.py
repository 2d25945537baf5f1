"""Intervals of a run's test scores that have no formula: its test samples predicted again, and drawn by bootstrap."""

import contextlib
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tl_lab.assess.results import Measure
from tl_lab.config.identity import to_plain
from tl_lab.config.instantiate import build_node, foreign
from tl_lab.config.stored import read_stored
from tl_lab.data.base import DataModule
from tl_lab.data.batches import Labelled
from tl_lab.data.inputs.operations import move
from tl_lab.data.names import SetName
from tl_lab.data.request import Request
from tl_lab.errors import UserError
from tl_lab.evaluation.meter import Meter
from tl_lab.results.folder.files import SCHEMA, read_results, write_json
from tl_lab.results.names import is_score, split_name
from tl_lab.run.inference import TrainedModel, load_classifier

__all__ = ["KEPT", "NotByTheSample", "bootstrapped", "intervals_of", "rescored"]

KEPT = "test_intervals.json"
"""In the folder of a run whose test samples were predicted again."""

_DRAWS = 300
_SAME = 1e-4  # largest relative difference between a stored score and that of the samples predicted again


class NotByTheSample(UserError):
    """Scores of a run are not means over its test samples."""


def intervals_of(run: Path, predicts: bool = True, allow: Sequence[str] = ()) -> dict[str, Measure] | None:
    """Return the intervals of a run's test scores: those kept in its folder, or those of :func:`rescored`, kept there.

    Kept intervals are of the scores that the results have now: after further training, or a test on changed data,
    the samples are predicted again.

    Args:
        run: a completed run's folder.
        predicts: whether the test samples may be predicted, which can take as long as the run's own test.
        allow: further names that the run's configuration may use.

    Returns:
        By the name of the metric; None where none are kept and no sample may be predicted.

    Raises:
        NotByTheSample: as :func:`rescored`.
        UserError: likewise.
    """
    results = read_results(run)
    scores = {name: value for name, value in (results.get("metrics") or {}).items() if split_name(name).split == "test"}
    identity = {"schema": SCHEMA, "data": results.get("data_hash"), "draws": _DRAWS, "scores": scores}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or damaged
        kept = json.loads((run / KEPT).read_text(encoding="utf-8"))
        intervals = {name: Measure(**one) for name, one in kept.pop("intervals").items()}
        if kept == identity:
            return intervals
    if not predicts:
        return None
    found = rescored(run, allow)
    with contextlib.suppress(UserError):  # of a folder that cannot be written to, they are computed each time
        write_json(run / KEPT, identity | {"intervals": {name: one.plain() for name, one in found.items()}})
    return found


def rescored(run: Path, allow: Sequence[str] = ()) -> dict[str, Measure]:
    """Predict a run's test sets anew, and return the intervals of the scores that these predictions reproduce.

    Args:
        run: a completed run's folder.
        allow: further names that the run's configuration may use.

    Returns:
        By the name of the metric, ``test/target/f1_macro``; without those that are not reproduced, such as the scores
        of a baseline, of episodes, or of a network that adapts to each test batch.

    Raises:
        NotByTheSample: the scores are of tasks, of episodes, or of places in samples.
        UserError: the model or the data cannot be read any more.
    """
    stored = {name: value for name, value in (read_results(run).get("metrics") or {}).items() if value is not None}
    model, config = load_classifier(run, allow=allow), read_stored(run)
    with foreign(run / "config.yaml", allow):
        data: DataModule = build_node(to_plain(config.data))
    if not data.every_class:
        raise NotByTheSample("they are scored by task or by episode")
    if model.problem.of_places:
        raise NotByTheSample("they are scored by place, in samples of different lengths")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training has printed these
        data.load(Request())
    found: dict[str, Measure] = {}
    for name in data.test_names:
        if data.sets[name].y is None:
            continue
        outputs, y = _predicted(model, data, name)
        domain = SetName.parse(name).domain
        scores = bootstrapped(model.problem.meter(), outputs, y)
        for metric, one in scores.items():
            key = "/".join(filter(None, ["test", domain, metric]))
            if is_score(metric) and math.isclose(stored.get(key, math.inf), one.value, rel_tol=_SAME, abs_tol=1e-9):
                found[key] = one
    return found


def bootstrapped(meter: Meter, outputs: Tensor, y: Tensor, draws: int = _DRAWS, seed: int = 0) -> dict[str, Measure]:
    """Compute a meter's scores with 95 % percentile intervals over samples drawn with replacement.

    A score that is equal in all draws, such as the balanced accuracy of a constant answer, has no interval.

    Args:
        meter: of the problem.
        outputs: of the head, ``(N, C)``.
        y: labels ``(N,)`` or ``(N, C)``.
        draws: of N samples each.
        seed: of the draws.
    """

    def scores(index: Tensor) -> Mapping[str, float]:
        meter.update(outputs[index], y[index])
        return meter.compute()

    draw, whole = np.random.default_rng(seed), scores(torch.arange(len(y)))
    again = [scores(torch.from_numpy(draw.integers(len(y), size=len(y)))) for _ in range(draws)]
    found = {}
    for name, value in whole.items():
        drawn = np.array([one.get(name, math.nan) for one in again])
        drawn = drawn[np.isfinite(drawn)]  # a class may be missing from a draw, which then has no AUC
        varies = len(drawn) > 0 and drawn.min() < drawn.max()  # equal draws show no uncertainty, however few samples
        ends = np.quantile(drawn, [0.025, 0.975]) if varies else (None, None)
        found[name] = Measure(value, *(None if end is None else float(end) for end in ends))
    return found


@torch.no_grad()
def _predicted(model: TrainedModel, data: DataModule, name: str) -> tuple[Tensor, Tensor]:
    data = data.serving({name: data.sets[name]}, model.spec)
    device = next(model.network.parameters()).device
    outputs, labels = [], []
    for batch in data.loader(name, cached=False, shared=False):
        assert isinstance(batch, Labelled)
        outputs.append(model.see(move(batch.x, device)).outputs)
        labels.append(batch.y.cpu())
    return torch.cat(outputs), torch.cat(labels)
