"""Hooks of a strategy, one for each stage of an update, in the order in which the training step calls them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.batches import Labelled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Hooks"]


class Hooks(pl.LightningModule):
    """The hooks of a strategy; each does nothing by default.

    Before training: :meth:`prepare`. One update: set the learning rates; :meth:`classify`, :meth:`further_terms`
    and :meth:`penalties` form the objective; backward pass; :meth:`on_gradients`; clipping; optimizer step;
    :meth:`on_update`. For the results: :meth:`facts`, :meth:`artifacts` and
    :meth:`figures`.
    """

    def prepare(self, data: DataModule) -> None:
        """Prepare once before the first epoch, on the device, with the data loaded (also after a resume)."""

    def classify(self, features: Tensor, batch: Labelled) -> tuple[Tensor, Tensor]:
        """Return the outputs ``(B, C)`` for a labelled batch's features ``(B, D)``, and the corresponding labels.

        Labels are ``(B,)`` or ``(B, C)``, depending on the data's problem.
        """
        raise NotImplementedError

    def further_terms(self, batch: Labelled, features: Tensor, outputs: Tensor) -> dict[str, Tensor]:
        """Return terms of the objective that need the batch (replay, distillation), already weighted.

        Args:
            batch: the batch of labelled samples.
            features: features of these samples, ``(B, D)``.
            outputs: outputs of the head, ``(B, C)``.
        """
        return {}

    def penalties(self) -> dict[str, Tensor]:
        """Return the penalties on the parameters (L2-SP, EWC), already weighted."""
        return {}

    def on_gradients(self) -> None:
        """Modify the gradients after their reduction over processes and before clipping."""

    def on_update(self) -> None:
        """Observe the parameters after an optimizer step."""

    def facts(self) -> dict[str, str]:
        """Return facts that must be reported with any number obtained with this strategy."""
        return {}

    def artifacts(self, folder: Path, data: DataModule) -> dict[str, Any]:
        """Write further tables of a tested run, and return their entries in the run's results.

        Args:
            folder: folder of the run.
            data: the run's data.
        """
        return {}

    def figures(self, data: DataModule) -> "dict[str, Figure]":
        """Draw the figures of the tested run, in addition to its learning curves.

        Args:
            data: the run's data, on the strategy's device.

        Returns:
            Figures by name.
        """
        return {}
