"""Evaluation of a strategy: each set has a meter, and its scores are logged under the set's name."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from tl_lab.data.base import DataModule
from tl_lab.data.batches import Episode, Labelled, Unlabelled
from tl_lab.data.names import SetName
from tl_lab.training.feature_reader import FeatureReader
from tl_lab.training.step import Step

__all__ = ["Measuring", "Scorer", "validation_metrics"]

Scorer = Callable[["Measuring", DataModule], Mapping[str, float]]
"""Function that computes further scores by name at the end of a validation, without changing weights, modes or random
state."""


class Measuring(Step):
    """Collects predictions in meters, and logs their scores."""

    meters: nn.ModuleDict
    num_outputs: int
    last_validation: dict[str, float]
    last_test: dict[str, float]
    whole_validation: dict[str, float]
    """Scores at the end of training on all samples of the sets of which each validation scored only a part."""
    answers: dict[str, list[tuple[int, int]]] | None = None
    """For each test set, the position of each sample and 1 or 0 for a correct or wrong prediction; None if not
    requested (see :mod:`tl_lab.training.answers`)."""
    scorers: list[Scorer]
    _prepared: set[str]
    """Domains whose evaluation was prepared in this validation or test."""

    @property
    def data(self) -> DataModule:
        """The data module of the running trainer."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def validation_step(self, batch: Labelled | Unlabelled | Episode, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add a batch to the set's meter; during training, the batch contains cached features if these are used."""
        self._measure(self.data.val_names[dataloader_idx], batch, batch_idx)

    def test_step(self, batch: Labelled | Unlabelled | Episode, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add a batch to the set's meter."""
        self._measure(self.data.test_names[dataloader_idx], batch, batch_idx)

    def _measure(self, name: str, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self._prepare_evaluation(self.data.domain_of(name))
        self._take_in(name, self.features(batch.x), batch)

    def _take_in(self, name: str, features: Tensor, batch: Labelled | Unlabelled) -> None:
        if isinstance(batch, Labelled):
            outputs, y = self.classify(features, batch)
            self.meters[name].update(outputs, y)  # type: ignore[operator]
            self.keep_answers(name, outputs, y, batch)
        else:
            self.meters[name].update(self.network.head(features), None)  # type: ignore[operator]

    def keep_answers(self, name: str, outputs: Tensor, y: Tensor, batch: Labelled) -> None:
        """Record which test samples are classified correctly, if requested."""
        if self.answers is not None and (wrong := self.problem.wrong(outputs, y)) is not None:
            right = (1 - wrong).long().tolist()
            self.answers.setdefault(name, []).extend(zip(batch.index.tolist(), right, strict=True))

    def _prepare_evaluation(self, domain: str | None) -> None:
        if str(domain) in self._prepared:
            self.network.use(domain)
        else:
            self._prepared.add(str(domain))
            self.reader(self.data).prepare(domain)

    def reader(self, data: DataModule) -> FeatureReader:
        """Return a reader for features of whole sets, on the trainer's device and in its precision."""
        trainer = self.trainer
        return FeatureReader(
            self.network,
            data,
            device=self.device,
            precision=trainer.precision_plugin,
            adaptation=self.adaptation,
            reduce=partial(trainer.strategy.reduce, reduce_op="sum") if trainer.world_size > 1 else None,
        )

    def on_validation_epoch_start(self) -> None:
        """Discard preparations for earlier weights."""
        self._prepared.clear()

    def on_test_epoch_start(self) -> None:
        """Discard preparations for earlier weights."""
        self._prepared.clear()

    def on_validation_epoch_end(self) -> None:
        """Log the scores of every validation set."""
        self._calibrate()
        self.last_validation = self._scores(
            {name: SetName.parse(name).validation_metrics for name in self.data.val_names}
        )
        losses = {name: value for name, value in self.last_validation.items() if name.endswith("/loss")}
        losses = {
            name: value for name, value in losses.items() if not name.startswith("oracle/")
        }  # these must not stop a run
        if wrong := [name for name, value in losses.items() if not math.isfinite(value)]:
            raise self.diverged(" and ".join(wrong))
        for scorer in self.scorers:
            self.last_validation |= scorer(self, self.data)
        self.record(self.last_validation)

    def on_test_epoch_end(self) -> None:
        """Log the scores of every test set, and score the validation sets of which only a part was scored."""
        self.whole_validation = self._score_whole()
        self.last_test = self._scores({name: SetName.parse(name).metrics for name in self.data.test_names})
        self.record(self.last_test)

    def _score_whole(self) -> dict[str, float]:
        scores: dict[str, float] = {}
        for name in self.data.val_names:
            if self.data.validation_part(name) is None:
                continue
            meter = self.problem.meter(self.num_outputs).to(self.device)
            self._prepare_evaluation(self.data.domain_of(name))
            for part in self.reader(self.data).stream(name, "outputs", shared=True, bar=True):
                meter.update(part.values, None)
            prefix = SetName.parse(name).validation_metrics
            scores |= {f"{prefix}/{score}": value for score, value in meter.compute().items()}
        return scores

    def _scores(self, prefixes: Mapping[str, str]) -> dict[str, float]:
        return {
            f"{prefix}/{score}": value
            for name, prefix in prefixes.items()
            for score, value in self.meters[name].compute().items()  # type: ignore[operator]
        }

    def record(self, metrics: Mapping[str, float]) -> None:
        """Write metrics under the current update, and pass them to callbacks (checkpoints, early stopping)."""
        self.log_dict(dict(metrics), logger=False, rank_zero_only=False)
        self.write(metrics)

    def _calibrate(self) -> None:
        """Let the problem choose its thresholds on the validation set that selects the checkpoint."""
        for name in self.data.val_names:
            if name in self.meters and self.calibrates_on(name):
                self.problem.calibrate(self.meters[name])  # type: ignore[arg-type]

    def calibrates_on(self, name: str) -> bool:
        """Whether thresholds are chosen on a validation set."""
        return SetName.parse(name).validation_metrics == self.data.monitored


def validation_metrics(data: DataModule) -> list[str]:
    """List the metrics that validation logs for given data."""
    chosen_by = [name for name in data.val_names if SetName.parse(name).part != "test"]
    labelled = data.labelled_scores
    names = {name: data.problem.label_free if data.sets[name].y is None else labelled for name in chosen_by}
    return [
        f"{SetName.parse(name).validation_metrics}/{metric}" for name, metrics in names.items() for metric in metrics
    ]
