"""Strategies that train features only and fit the head to them."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from tl_lab.errors import UserError
from tl_lab.strategies.base import Strategy
from tl_lab.training.sharding import load_weights

__all__ = ["Probed"]


class Probed(Strategy):
    """Fit the head, one linear layer, to the training set's features before each validation and checkpoint.

    Args:
        options: keyword arguments of :class:`~tl_lab.strategies.base.Strategy`.

    Raises:
        UserError: there is a bottleneck, or the head has hidden layers.
    """

    handles = frozenset({"labels"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if len(list(self.network.head.children())) != 1 or not isinstance(self.network.bottleneck, nn.Identity):
            raise UserError(
                f"{type(self).__name__} fits one linear layer to the backbone's features: set strategy.bottleneck=null "
                "and leave strategy.head as it is"
            )
        self._fitted_at = -1

    @abstractmethod
    def fit_head(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Fit weights ``(C, D)`` and offsets ``(C,)`` to the training features ``(N, D)`` and labels."""

    def on_validation_epoch_start(self) -> None:
        """Fit the head to the training set's features."""
        super().on_validation_epoch_start()
        self._fit_head()

    def on_train_epoch_end(self) -> None:
        """Fit the head if no validation has, so that every checkpoint contains one."""
        super().on_train_epoch_end()
        self._fit_head()

    def _fit_head(self) -> None:
        if self._fitted_at == self.updates_done or self.trainer.sanity_checking:
            return
        data = self.data
        weights, offsets = self.fit_head(self.reader(data).backbone_features(data.primary), data.training_labels)
        ((name, head),) = self.network.head.named_children()
        assert isinstance(head, nn.Linear)
        with torch.no_grad():
            load_weights(self.network.head, {f"{name}.weight": weights, f"{name}.bias": offsets})
        self._fitted_at = self.updates_done
