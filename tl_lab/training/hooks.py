"""What a strategy may fill: one hook for each place of an update, in the order in which the step calls them."""

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

    Before training: :meth:`prepare`. One update: the rates of this progress; :meth:`classify`, :meth:`further_terms`
    and :meth:`penalties` make up the objective; backward pass; :meth:`on_gradients`; clipping; optimizer step;
    :meth:`on_update`. Beside the results: :meth:`facts`, :meth:`artifacts` and
    :meth:`figures`.
    """

    def prepare(self, data: DataModule) -> None:
        """Act once before the first epoch, on the device, with the data at hand (also after a resume)."""

    def classify(self, features: Tensor, batch: Labelled) -> tuple[Tensor, Tensor]:
        """Give the outputs ``(B, C)`` for a labelled batch's features ``(B, D)``, and the labels that belong to them.

        Labels are ``(B,)`` or ``(B, C)``, as the data's problem has them.
        """
        raise NotImplementedError

    def further_terms(self, batch: Labelled, features: Tensor, outputs: Tensor) -> dict[str, Tensor]:
        """Give terms of the objective that need the batch (replay, distillation), already weighted.

        Args:
            batch: the labelled samples.
            features: their features, ``(B, D)``.
            outputs: what the head made of them, ``(B, C)``.
        """
        return {}

    def penalties(self) -> dict[str, Tensor]:
        """Give the terms that tie the parameters to something (L2-SP, EWC), already weighted."""
        return {}

    def on_gradients(self) -> None:
        """Change the gradients after their reduction over processes and before clipping."""

    def on_update(self) -> None:
        """Look at the parameters after an optimizer step."""

    def facts(self) -> dict[str, str]:
        """State what must be printed beside any number obtained with this strategy."""
        return {}

    def artifacts(self, folder: Path, data: DataModule) -> dict[str, Any]:
        """Write further tables of a tested run, and give what its results keep of them.

        Args:
            folder: of the run.
            data: its data.
        """
        return {}

    def figures(self, data: DataModule) -> "dict[str, Figure]":
        """Draw what the tested run shows, beside its learning curves.

        Args:
            data: its data, on the strategy's device.

        Returns:
            Figures by name.
        """
        return {}
