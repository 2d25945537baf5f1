"""A frozen backbone whose features are computed once."""

from typing import Any

from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.errors import UserError
from tl_lab.strategies.base import Strategy

__all__ = ["FeatureExtraction"]


class FeatureExtraction(Strategy):
    """Train bottleneck and head on the features of a frozen backbone.

    The backbone stays in evaluation mode, its batch-norm statistics stand still. Its features are a fixed
    function of the images then, so they are computed once and training reads them from memory; the numbers are
    those of running it at every step.

    Args:
        cache: compute features once; False runs the backbone at every step, as augmented images need.
        options: those of :class:`Strategy`.

    Raises:
        UserError: if the layer policy lets a layer learn, or images are augmented while features are cached.
    """

    def __init__(self, *, cache: bool = True, **options: Any) -> None:
        super().__init__(**options)
        if not self.layers.freezes_all:
            raise UserError(
                "strategy=feature_extraction keeps the backbone frozen (strategy.layers.trainable=none); "
                "use strategy=fine_tuning to let layers learn"
            )
        self.cache = cache

    def prepare(self, data: DataModule) -> None:
        """Compute the features of every set that training and validation read."""
        if not self.cache:
            return
        if data.augmentation is not None and data.augmentation.active:
            raise UserError(
                "features of randomly augmented images cannot be computed once: set augmentation=none or "
                "strategy.cache=false"
            )
        if self.adaptation.changes_inputs:
            raise UserError(
                f"{type(self.adaptation).__name__} changes the images anew in every batch, so that features cannot be "
                "computed once: set strategy.cache=false"
            )
        names = {data.primary, *data.val_names} | ({"target/train"} if data.adapts else set())
        features: dict[str, Tensor] = {}
        for name in sorted(names):
            if "/" in name:  # a domain's features are computed as they will be for its evaluation
                self._prepare_evaluation(name.split("/")[0])
            features[name] = self.backbone_features(data, name)
        data.keep_features(features)
        self.feeds_features = True

    def on_fit_end(self) -> None:
        """Go back to images: tests and predictions run the whole network."""
        self.data.forget_features()
        self.feeds_features = False
