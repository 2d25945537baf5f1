"""How a strategy is measured: a meter for each set, scores logged under the sets' names."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn

from tl_lab.data.base import DataModule
from tl_lab.data.batches import Episode, Labelled, Unlabelled
from tl_lab.data.inputs.operations import Inputs, join, move, numel
from tl_lab.data.names import SetName
from tl_lab.data.samples import in_memory
from tl_lab.evaluation import EPISODIC
from tl_lab.training.step import Step

__all__ = ["Measuring", "Scorer", "WholeSets", "validation_metrics"]

Scorer = Callable[["Measuring", DataModule], Mapping[str, float]]
"""Computes further scores at the end of a validation, by name; it must leave weights, modes and random state as they
are."""


class Measuring(Step):
    """Collects predictions in meters, and logs their scores."""

    meters: nn.ModuleDict
    last_validation: dict[str, float]
    last_test: dict[str, float]
    scorers: list[Scorer]
    _prepared: set[str]
    """Domains whose evaluation was prepared in this validation or test."""

    @property
    def data(self) -> DataModule:
        """The data module of the running trainer."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def validation_step(self, batch: Labelled | Unlabelled | Episode, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Take a batch into the set's meter; during training, of cached features where those are served."""
        self._measure(self.data.val_names[dataloader_idx], batch, batch_idx)

    def test_step(self, batch: Labelled | Unlabelled | Episode, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Take a batch into the set's meter."""
        self._measure(self.data.test_names[dataloader_idx], batch, batch_idx)

    def _measure(self, name: str, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self._prepare_evaluation(self.data.domain_of(name))
        self._take_in(name, self.features(batch.x), batch)

    def _take_in(self, name: str, features: Tensor, batch: Labelled | Unlabelled) -> None:
        if isinstance(batch, Labelled):
            self.meters[name].update(*self.classify(features, batch))  # type: ignore[operator]
        else:
            self.meters[name].update(self.network.head(features), None)  # type: ignore[operator]

    def _prepare_evaluation(self, domain: str | None) -> None:
        self.network.use(domain)
        if str(domain) not in self._prepared:
            self._prepared.add(str(domain))
            self.adaptation.before_evaluation(self.network, domain, WholeSets(self, self.data))

    def return_to(self, domain: str) -> None:
        """Prepare the network for a domain that it was prepared for before, after another one."""
        self.network.use(domain)
        self.adaptation.before_evaluation(self.network, domain, WholeSets(self, self.data))

    def on_validation_epoch_start(self) -> None:
        """Forget what was prepared for other weights."""
        self._prepared.clear()

    def on_test_epoch_start(self) -> None:
        """Forget what was prepared for other weights."""
        self._prepared.clear()

    def on_validation_epoch_end(self) -> None:
        """Log the scores of every validation set."""
        self.last_validation = self._scores(
            {name: SetName.parse(name).validation_metrics for name in self.data.val_names}
        )
        self._calibrate()
        losses = {name: value for name, value in self.last_validation.items() if name.endswith("/loss")}
        losses = {name: value for name, value in losses.items() if not name.startswith("oracle/")}  # stops nothing
        if wrong := [name for name, value in losses.items() if not math.isfinite(value)]:
            raise self.diverged(" and ".join(wrong))
        for scorer in self.scorers:
            self.last_validation |= scorer(self, self.data)
        self.record(self.last_validation)

    def on_test_epoch_end(self) -> None:
        """Log the scores of every test set."""
        self.last_test = self._scores({name: SetName.parse(name).metrics for name in self.data.test_names})
        self.record(self.last_test)

    def _scores(self, prefixes: Mapping[str, str]) -> dict[str, float]:
        return {
            f"{prefix}/{score}": value
            for name, prefix in prefixes.items()
            for score, value in self.meters[name].compute().items()  # type: ignore[operator]
        }

    def record(self, metrics: Mapping[str, float]) -> None:
        """Write metrics under the current update, and offer them to callbacks (checkpoints, early stopping)."""
        self.log_dict(dict(metrics), logger=False, rank_zero_only=False)
        self.write(metrics)

    def _calibrate(self) -> None:
        """Let the problem choose its thresholds on the validation set that chooses the checkpoint."""
        for name in self.data.val_names:
            if name in self.meters and SetName.parse(name).validation_metrics == self.data.monitored:
                self.problem.calibrate(self.meters[name])  # type: ignore[arg-type]

    @torch.no_grad()
    def backbone_features(self, data: DataModule, name: str) -> Tensor:
        """Run the backbone over a set once, in evaluation mode, without augmentation, shared by all processes.

        Args:
            data: the data module.
            name: of the set.

        Returns:
            Features in the set's order, ``(N, backbone.num_features)``, on the device.
        """
        self.network.use(data.domain_of(name))
        backbone, loader = self.network.encoder()[0], data.loader(name, cached=False)
        mode, size = backbone.training, (len(data.sets[name]), backbone.num_features)
        backbone.eval()
        features = torch.zeros(size, device=self.device)
        precision = self.trainer.precision_plugin
        inputs = data.sets[name].x
        large = not in_memory(inputs) or numel(inputs) > 10**8
        for batch in track(loader, f"features of {name}", len(loader), transient=True, disable=not large):
            with precision.forward_context():
                features[batch.index] = backbone(precision.convert_input(move(batch.x, self.device))).to(features)
        backbone.train(mode)
        if self.trainer.world_size > 1:
            features = self.trainer.strategy.reduce(features, reduce_op="sum")
        return features


class WholeSets:
    """Whole sets for an adaptation (see :class:`~tl_lab.domain_adaptation.base.Domains`): every process gets all.

    Args:
        strategy: whose backbone computes features.
        data: the data module.
    """

    def __init__(self, strategy: "Measuring", data: DataModule) -> None:
        self._strategy, self._data = strategy, data

    def inputs(self, name: str) -> Inputs:
        """Give a set as the network gets it, ``(N, ...)``, without augmentation."""
        return join(list(self.batches(name)), self._data.padding)

    def features(self, name: str) -> Tensor:
        """Give the backbone's features of a set, ``(N, D)``, in evaluation mode."""
        return self._strategy.backbone_features(self._data, self._data.set_for(name))

    def batches(self, name: str) -> Iterator[Inputs]:
        """Give the network's inputs in the set's order, batch by batch, on the device."""
        precision = self._strategy.trainer.precision_plugin
        for batch in self._data.loader(self._data.set_for(name), cached=False, shared=False):
            yield precision.convert_input(move(batch.x, self._strategy.device))


def validation_metrics(data: DataModule) -> list[str]:
    """Name the metrics that validation logs for some data."""
    chosen_by = [name for name in data.val_names if SetName.parse(name).part != "test"]
    labelled = EPISODIC if "episodes" in data.traits else data.problem.labelled
    names = {name: data.problem.label_free if data.sets[name].y is None else labelled for name in chosen_by}
    return [
        f"{SetName.parse(name).validation_metrics}/{metric}" for name, metrics in names.items() for metric in metrics
    ]
