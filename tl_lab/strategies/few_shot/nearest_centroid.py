"""Nearest class mean on fixed features."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.functional import prototypes
from tl_lab.functional.prototypes import squared_distances
from tl_lab.strategies.few_shot.base import EmbeddingStrategy

__all__ = ["NearestCentroid"]

TRANSFORMS = ("none", "l2", "centred_l2")


class NearestCentroid(EmbeddingStrategy):
    """Classify by the nearest class mean of the features of a given backbone; nothing is trained.

    The backbone must be trained beforehand: ``init_from`` (an earlier run, for example of strategy=baseline) or
    ``backbone.pretrained``.

    Args:
        transform: of the features: ``none``; ``l2``, x / |x|; ``centred_l2``, the same of x minus the mean feature of
            the training classes.
        options: keyword arguments of :class:`~tl_lab.strategies.few_shot.base.FewShotStrategy`.

    Raises:
        UserError: an unknown transform, or a bottleneck, which would stay untrained.

    References:
        Wang, Chao, Weinberger and van der Maaten, SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot
        Learning, 2019, section 3. https://arxiv.org/abs/1911.04623
    """

    wants_weights = True
    trains = False
    takes_adapter = False
    trains_on = "classes"

    base_mean: Tensor

    def __init__(self, *, transform: Literal["none", "l2", "centred_l2"] = "centred_l2", **options: Any) -> None:
        super().__init__(**options)
        if transform not in TRANSFORMS:
            raise UserError(f"strategy.transform must be one of {', '.join(map(repr, TRANSFORMS))}, not {transform!r}")
        if options.get("bottleneck"):
            raise UserError("strategy.bottleneck must be null for nearest_centroid, which would not train it")
        self.transform = transform
        self.register_buffer("base_mean", torch.full((self.network.num_features,), torch.nan))

    def _measure_base_classes(self) -> None:
        if self.transform == "centred_l2" and not bool(self.base_mean.isfinite().all()):
            self.base_mean = self.reader(self.data).backbone_features(self.data.primary).mean(0)

    def on_validation_epoch_start(self) -> None:
        """Compute the mean feature of the training classes."""
        super().on_validation_epoch_start()
        self._measure_base_classes()

    def on_test_epoch_start(self) -> None:
        """Compute the mean feature of the training classes if no validation has."""
        super().on_test_epoch_start()
        self._measure_base_classes()

    def compare(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Return the negative squared distances of the transformed features to their class means."""
        support, query = (self._transformed(part) for part in (support, query))
        return -squared_distances(query, prototypes(support, labels, way))

    def _transformed(self, features: Tensor) -> Tensor:
        if self.transform == "none":
            return features
        return F.normalize(features - self.base_mean if self.transform == "centred_l2" else features, dim=2)

    def facts(self) -> dict[str, str]:
        """Report the transform in addition to the facts of every few-shot strategy."""
        return {**super().facts(), "features": f"frozen, transform {self.transform}"}
