"""What every pretext task is: a loss made of inputs alone."""

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

__all__ = ["Options", "Pretext", "Seen", "told"]


@dataclass(frozen=True)
class Options:
    """What pretext tasks can be told; see :class:`~tl_lab.strategies.pretraining.Pretraining`."""

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
        x: inputs, augmented where the run augments.
        again: gives the same samples, augmented anew.
        draw: the random stream.
    """

    x: Inputs
    again: Callable[[], Inputs]
    draw: torch.Generator


class Pretext(nn.Module):
    """A task made of inputs alone; calling it gives the loss, and quantities to be logged beside it.

    Args:
        network: that learns; held outside, so that it is no part of the task's own parameters.
        options: of all tasks.
    """

    name: ClassVar[str]
    """Its choice of ``strategy.pretext``."""
    modality: ClassVar[str] = "image"

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__()
        self._network, self.options = (network,), options
        if network.backbone.spec.modality != self.modality:
            raise UserError(
                f"strategy.pretext={self.name} is made of "
                f"inputs of the kind {self.modality}, and the backbone takes {network.backbone.spec.modality}"
            )

    @property
    def network(self) -> Network:
        """The network that learns."""
        return self._network[0]

    def prepare(self, data: DataModule) -> None:
        """Look at the training set before the first update; most tasks need nothing of it."""

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Compute ``loss`` and further values to be logged, scalars by name."""
        raise NotImplementedError


def told(scores: Tensor, truth: Tensor, name: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Compare predictions with the truth; a batch of very short texts may have nothing to predict.

    Args:
        scores: logits, ``(P, K)``.
        truth: what is right, ``(P,)``.
        name: of the share that is right.

    Returns:
        The mean cross entropy, 0 with a gradient of 0 if P is 0; and by its name the share that is right, in [0, 1],
        which is left out if P is 0.
    """
    if not len(truth):
        return 0.0 * scores.sum(), {}
    return F.cross_entropy(scores, truth), {name: (scores.argmax(1) == truth).float().mean()}
