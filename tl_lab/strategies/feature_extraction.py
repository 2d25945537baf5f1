"""A frozen backbone whose features are computed once."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.cache import cached_arrays
from tl_lab.data.inputs.operations import Inputs, numel
from tl_lab.data.samples import in_memory
from tl_lab.errors import UserError
from tl_lab.problems import ALL, OF_PLACES
from tl_lab.strategies.base import Strategy

__all__ = ["FeatureExtraction"]

_LARGE = 10**7  # values in a set; features of larger sets, which take seconds, are cached on disk
_WORK = 10**9  # samples times parameters of the backbone, likewise


class FeatureExtraction(Strategy):
    """Train bottleneck and head on the features of a frozen backbone.

    The backbone stays in evaluation mode and its batch-norm statistics do not change. Its features are then a fixed
    function of the inputs, so they are computed once and kept in memory for training, validation and tests; the results
    are the same as with a forward pass at every step. Features that take seconds are cached on disk for later runs with
    the same backbone, inputs and settings. States of words and frames (sequences, spans, transcripts) are computed at
    every step.

    Args:
        cache: compute features once; False runs the backbone at every step, which augmented inputs require.
        options: keyword arguments of :class:`Strategy`.

    Raises:
        UserError: the layer policy trains a layer, or inputs are augmented while features are cached.
    """

    wants_weights = True
    takes_adapter = False
    problems = ALL | OF_PLACES.keys()

    def __init__(self, *, cache: bool = True, **options: Any) -> None:
        super().__init__(**options)
        if not self.layers.freezes_all:
            raise UserError(
                "strategy=feature_extraction keeps the backbone frozen (strategy.layers.trainable=none); "
                "use strategy=fine_tuning to train layers of it"
            )
        self.cache = cache

    def prepare(self, data: DataModule) -> None:
        """Compute the features of every set that training, validation and tests use."""
        if not self.cache or self.problem.of_places:  # states of every word or frame would take much memory
            return
        if data.augmentation is not None and data.augmentation.active:
            raise UserError(
                f"features of randomly augmented {data.augmentation.changes} cannot be computed once: set "
                "augmentation=none or strategy.cache=false"
            )
        if self.adaptation.changes_inputs:
            raise UserError(
                f"{type(self.adaptation).__name__} changes the images randomly in every batch, so that features cannot "
                "be computed once: set strategy.cache=false"
            )
        validated = data.val_names if self.trainer.limit_val_batches else []  # empty if validation is switched off
        names = {data.primary, *validated, *data.test_names} | ({"target/train"} if data.request.adapts else set())
        features: dict[str, Tensor] = {}
        for name in sorted(names):
            if data.domain_of(name) is not None:  # with the domain's statistics, as in its evaluation
                self._prepare_evaluation(data.domain_of(name))
            same = next((other for other in features if _share(data, name, other)), None)
            features[name] = self._features(data, name) if same is None else features[same]
        data.keep_features(features)
        self.feeds_features = True

    def _features(self, data: DataModule, name: str) -> Tensor:
        x = data.sets[name].x
        if self.trainer.world_size > 1 or not in_memory(x) or not self._takes_long(x, len(data.sets[name])):
            return self.reader(data).backbone_features(name)
        backbone = self.network.encoder()[0]
        key = {
            "backbone": _hash(backbone.state_dict()),
            "class": f"{type(backbone).__module__}.{type(backbone).__qualname__} {backbone.extra_repr()}",
            "inputs": _hash({"x": x} if isinstance(x, Tensor) else x),
            "spec": repr(data.spec),
            # other settings that affect the last bits
            "computed": [data.evaluated_at_once, torch.get_num_threads(), str(self.device), torch.__version__],
            "precision": str(self.trainer.precision),
        }

        def compute() -> dict[str, np.ndarray]:
            return {"features": self.reader(data).backbone_features(name).cpu().numpy()}

        return torch.from_numpy(cached_arrays("features", key, compute)["features"]).to(self.device)

    def _takes_long(self, x: Inputs, count: int) -> bool:
        """Whether computing the features of so many inputs takes long enough to cache them in a file."""
        parameters = sum(tensor.numel() for tensor in self.network.encoder()[0].parameters())
        return numel(x) >= _LARGE or count * parameters >= _WORK

    def on_test_end(self) -> None:
        """Return to images: figures and predictions run the whole network."""
        self.data.forget_features()
        self.feeds_features = False


def _share(data: DataModule, name: str, other: str) -> bool:
    return data.sets[name].x is data.sets[other].x and data.domain_of(name) == data.domain_of(other)


def _hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        dense = "last" if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last) else ""
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {dense}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
