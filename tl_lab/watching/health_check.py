"""Measurements for the diagnosis of a run on two domains, in training and at the test (see :mod:`.health`)."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from tl_lab.data.base import DataModule
from tl_lab.data.names import SetName
from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.functional import (
    a_distance,
    class_mean_gap,
    disparity_discrepancy,
    linear_domain_accuracy,
    output_discrepancy,
)
from tl_lab.problems import SingleLabel
from tl_lab.randomness import generator
from tl_lab.strategies.base import Strategy
from tl_lab.training.feature_reader import evaluating
from tl_lab.watching.health import Health

__all__ = ["HealthCheck", "domain_features", "gradient_norms", "head_distances"]

_SAMPLES = 2000  # of each domain
_ENOUGH = 200  # validation samples of the source that suffice without its training set
_HUGE = 1e30
_PAIRED = ("a_distance_start", "a_distance", "linear_acc_start", "linear_acc")
_HOOKS = (
    "source_input",
    "target_input",
    "sample_weights",
    "adapt",
    "before_evaluation",
    "before_update",
    "after_update",
)

_Features = Callable[[Strategy, DataModule, str, int], Tensor]


def gradient_norms(terms: Mapping[str, Tensor], features: Sequence[Tensor]) -> dict[str, float]:
    """Measure the gradient of each term of the objective at the features: ||d term / d features||.

    Behind a gradient reversal this is the reversed gradient, including lambda.

    Args:
        terms: scalars by name, with their weights in the objective.
        features: features of each domain, ``(B, D)``.

    Returns:
        ``grad_norm_<term>`` -> Euclidean norm over all samples and features; 0 for a term that does not depend on
        them. Empty if the features carry no gradient, as in a phase that updates no encoder.
    """
    whole = _joint(features)
    if not any(part.requires_grad for part in whole):
        return {}
    norms = {}
    for name, term in terms.items():
        parts: Sequence[Tensor | None] = ()
        if term.requires_grad:
            learns = [part for part in whole if part.requires_grad]
            parts = torch.autograd.grad(term, learns, retain_graph=True, allow_unused=True)
        squares = [part.double().square().sum() for part in parts if part is not None]
        norm = torch.stack(squares).sum().sqrt() if squares else torch.zeros(())
        # non-finite values here must not stop the run: half precision skips such a step
        norms[f"grad_norm_{name}"] = float(torch.nan_to_num(norm, nan=_HUGE, posinf=_HUGE).clamp(max=_HUGE))
    return norms


def _joint(features: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the tensor of which the two domains' features are slices, if there is one."""
    base = features[0]._base
    if len(features) == 2 and base is not None and base is features[1]._base:
        return [base]
    return features


def domain_features(strategy: Strategy, data: DataModule, name: str, count: int = _SAMPLES) -> Tensor:
    """Compute the head's input for a draw from a set, in evaluation mode, with the domain's statistics and encoder.

    Every process computes all of it, so that none waits for another.

    Args:
        strategy: on its device; its mode is restored.
        data: the data module.
        name: name of the set, ``source/...`` or ``target/...``.
        count: samples to draw; all of a smaller set.

    Returns:
        ``(min(count, N), D)`` on the CPU.
    """
    return strategy.reader(data).read(name, index=_draw(data, name, count)).float().cpu()


def _draw(data: DataModule, name: str, count: int) -> Tensor:
    """Draw positions in a set, ``(min(count, N),)``, in ascending order."""
    return torch.randperm(len(data.sets[name]), generator=generator(0, "health", name))[:count].sort().values


def head_distances(source: Tensor, target: Tensor, classes: bool = True) -> dict[str, float]:
    """Measure the distance between the domains at the head's outputs.

    Args:
        source: outputs, ``(N, C)``, N >= 2.
        target: outputs, ``(M, C)``, M >= 2.
        classes: whether the largest output is the predicted class; otherwise, only two of the four are measured.

    Returns:
        The entries of :attr:`~tl_lab.watching.health.Health.head` that are defined; empty if an output is not finite.
    """
    if not bool(source.isfinite().all() & target.isfinite().all()):
        return {}
    found: dict[str, float | None] = {
        "linear_acc": linear_domain_accuracy(source, target),
        "mmd": output_discrepancy(source, target),
    }
    if classes and source.shape[1] > 1:
        found |= {"disparity": disparity_discrepancy(source, target), "class_gap": class_mean_gap(source, target)}
    return {name: value for name, value in found.items() if value is not None}


def _has_outputs(strategy: Strategy) -> bool:
    """Whether the head predicts, that is, neither returns an embedding nor is fitted to each episode."""
    return strategy.answers_by_head and not isinstance(strategy.network.head, nn.Identity)


def _compared(data: DataModule) -> tuple[str, str]:
    """Return the names of the compared sets; the source's is the validation set if it has enough samples."""
    source = "source/val" if len(data.sets["source/val"]) >= _ENOUGH else "source/train"
    return source, "target/train"


def _acts(adaptation: DomainAdaptation) -> bool:
    """Whether a method acts on the domains: it implements a hook, or keeps statistics of each domain."""
    return any(_overrides(adaptation, hook) for hook in _HOOKS) or adaptation.batch_norm != "joint"


class HealthCheck(Callback):
    """Measures the domains' distance before training and at the tested weights, and each term's gradient in between.

    It has its own random streams and restores networks, modes and gradients, so it does not change the result of
    training by a single bit. Target labels are not used.

    Args:
        keep: called with each measurement, to save it for a resumed run.
        known: measurements of an interrupted run.
    """

    def __init__(self, keep: Callable[[dict[str, Any]], None], known: Mapping[str, Any] | None = None) -> None:
        self._keep, self.measured = keep, dict(known or {})
        self._seconds = float(self.measured.get("seconds", 0.0))
        self._backbone_features: dict[str, Tensor] = {}

    # ------------------------------------------------------------------ Lightning's events

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure gradients on the last batch of every epoch."""
        if self._watch not in pl_module.watchers:  # type: ignore[operator]
            pl_module.watchers.append(self._watch)  # type: ignore[union-attr, operator]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the distance before the first update; a resumed run has already measured it."""
        strategy, data = _parts(trainer, pl_module)
        if strategy.updates_done == 0:
            self._measure(strategy, data, "_start", domain_features)
        count = self._count(data)
        for name in _compared(data):
            if data.has_features(name) and not _overrides(strategy.adaptation, "before_evaluation"):
                # otherwise images would have to pass through the frozen backbone again at the end
                index = _draw(data, name, count)
                self._backbone_features[name] = strategy.reader(data).read(name, "backbone", index=index)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the distance at the tested weights."""
        strategy, data = _parts(trainer, pl_module)
        self._measure(strategy, data, "", self._tested_features)

    # ------------------------------------------------------------------ results

    def metrics(self) -> dict[str, float]:
        """Return the numbers that are stored with a run's metrics."""
        names = {"a_distance_start": "a_distance_start", "a_distance": "a_distance", "linear_acc": "domain_acc"}
        return {f"val/{metric}": self.measured[name] for name, metric in names.items() if name in self.measured}

    def health(
        self,
        adaptation: DomainAdaptation,
        rows: Sequence[Mapping[str, float]],
        validation: Mapping[str, float],
        monitor: str = f"val/source/{SingleLabel.monitor}",
        baseline: tuple[Mapping[str, Any], str] | None = None,
    ) -> Health:
        """Combine measurements and logged values.

        Args:
            adaptation: the run's adaptation method.
            rows: rows of ``metrics.csv``, in the order of their steps.
            validation: scores of the tested checkpoint, which occur in one of the rows.
            monitor: name of the source's validation score by which methods are ranked.
            baseline: measurements of the same configuration without adaptation, and a description of that run.
        """
        rows, epoch = _until_tested(rows, validation)
        last = [row for row in rows if row.get("epoch") == epoch]
        names = dict.fromkeys(name for row in rows for name in row if name.startswith("train/grad_norm_"))
        norms = {name.removeprefix("train/grad_norm_"): _mean(rows, name) for name in names}
        source = [row[monitor] for row in rows if monitor in row]
        measured = {name: self.measured.get(name) for name in (*_PAIRED, "scored")}
        without, origin = baseline or ({}, None)
        return Health(
            adapts=_acts(adaptation),
            head=self.measured.get("head", {}),
            baseline=without.get("head") or {},
            baseline_source_score=without.get("source_score"),
            baseline_origin=origin,
            discriminator_acc=_mean(last, "train/domain_acc"),
            lambda_end=next((row["train/lambda"] for row in reversed(last) if "train/lambda" in row), None),
            gradient_norms={name: norm for name, norm in norms.items() if norm is not None},
            source_score=validation.get(monitor),
            best_source_score=max(source, default=None),
            **measured,
        )

    # ------------------------------------------------------------------ measuring

    def _watch(self, terms: Mapping[str, Tensor], features: list[Tensor]) -> Mapping[str, float]:
        began = time.monotonic()
        norms = gradient_norms(terms, features)
        self._seconds += time.monotonic() - began
        return norms

    def _measure(self, strategy: Strategy, data: DataModule, when: str, features: _Features) -> None:
        began, names, count = time.monotonic(), _compared(data), self._count(data)
        source, target = (features(strategy, data, name, count) for name in names)
        found: dict[str, Any] = {"scored": count // 2, "sets": list(names)}
        # only the first process fits the classifier; non-finite features have no distance
        finite = bool(source.isfinite().all() & target.isfinite().all())
        if strategy.global_rank == 0 and finite and count >= 2:
            accuracy = linear_domain_accuracy(source, target)
            found |= {f"linear_acc{when}": accuracy, f"a_distance{when}": a_distance(accuracy)}
            if not when and _has_outputs(strategy):
                classify, classes = strategy.reader(data).classify, data.problem.numbers_outputs
                outputs = [classify(part.to(strategy.device)).float().cpu() for part in (source, target)]
                found["head"] = head_distances(outputs[0], outputs[1], classes)
        self._seconds += time.monotonic() - began
        self.measured.update(found, seconds=round(self._seconds, 3))
        self._keep(self.measured)

    @staticmethod
    def _count(data: DataModule) -> int:
        return min(_SAMPLES, *(len(data.sets[name]) for name in _compared(data)))

    @torch.no_grad()
    def _tested_features(self, strategy: Strategy, data: DataModule, name: str, count: int) -> Tensor:
        domain = str(SetName.parse(name).domain)
        strategy.network.use(domain)
        with evaluating(strategy):
            if _overrides(strategy.adaptation, "before_evaluation"):  # the last preparation was for the other domain
                strategy.reader(data).prepare(domain)
            elif name in self._backbone_features:
                kept = self._backbone_features[name].to(strategy.device)
                return strategy.network.encoder()[1](kept).float().cpu().flatten(1)
        return domain_features(strategy, data, name, count)


def _overrides(adaptation: DomainAdaptation, hook: str) -> bool:
    return getattr(type(adaptation), hook) is not getattr(DomainAdaptation, hook)


def _until_tested(
    rows: Sequence[Mapping[str, float]], validation: Mapping[str, float]
) -> tuple[Sequence[Mapping[str, float]], float | None]:
    """Return the rows up to the tested checkpoint, which is found by its validation scores, and its epoch."""
    finite = {name: value for name, value in validation.items() if math.isfinite(value)}
    for end in range(len(rows), 0, -1):
        if finite and all(rows[end - 1].get(name) == value for name, value in finite.items()):
            return rows[:end], rows[end - 1].get("epoch")
    return rows, next((row["epoch"] for row in reversed(rows) if "epoch" in row), None)


def _mean(rows: Sequence[Mapping[str, float]], name: str) -> float | None:
    values = [row[name] for row in rows if name in row]
    return sum(values) / len(values) if values else None


def _parts(trainer: pl.Trainer, module: pl.LightningModule) -> tuple[Strategy, DataModule]:
    return cast(Strategy, module), trainer.datamodule  # type: ignore[attr-defined]
