"""Base class of pretext tasks: losses that are computed from inputs only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.operations import Inputs
from tl_lab.errors import UserError
from tl_lab.model.network import Network

__all__ = ["Options", "Pretext", "Seen", "loss_and_accuracy"]


@dataclass(frozen=True)
class Options:
    """Options of pretext tasks; see :class:`~tl_lab.strategies.pretraining.Pretraining`."""

    temperature: float
    projection: int
    mask_share: float
    patch: int = 4
    window: int = 5
    negatives: int = 5
    next_sentence: bool = False


@dataclass(frozen=True)
class Seen:
    """A batch without its labels.

    Args:
        x: inputs, augmented if the run has an augmentation.
        again: returns the same samples with a new augmentation.
        draw: random generator.
    """

    x: Inputs
    again: Callable[[], Inputs]
    draw: torch.Generator


class Pretext(nn.Module):
    """A pretext task; calling it returns the loss and further quantities for the log.

    Args:
        network: the trained network; its parameters are not registered as those of the task.
        options: of all pretext tasks.
    """

    name: ClassVar[str]
    """Its value of ``strategy.pretext``."""
    modality: ClassVar[str] = "image"

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__()
        self._network, self.options = (network,), options
        if network.backbone.spec.modality != self.modality:
            raise UserError(
                f"strategy.pretext={self.name} needs inputs of the kind {self.modality}, but the backbone takes "
                f"{network.backbone.spec.modality}"
            )

    @property
    def network(self) -> Network:
        """The trained network."""
        return self._network[0]

    def prepare(self, data: DataModule) -> None:
        """Read the training set before the first update, which most tasks do not need."""

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Compute the ``loss`` and further values for the log, scalars by name."""
        raise NotImplementedError


def loss_and_accuracy(scores: Tensor, truth: Tensor, name: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Compare predictions with labels; a batch of very short texts may have nothing to predict.

    Args:
        scores: logits, ``(P, K)``.
        truth: the labels, ``(P,)``.
        name: of the accuracy.

    Returns:
        The mean cross-entropy, 0 with a gradient of 0 if P is 0; and the accuracy in [0, 1] under its name, unless P is
        0.
    """
    if not len(truth):
        return 0.0 * scores.sum(), {}
    return F.cross_entropy(scores, truth), {name: (scores.argmax(1) == truth).float().mean()}
