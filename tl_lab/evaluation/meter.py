"""The contract of a meter, which collects one set's predictions over its batches and processes."""

from torch import Tensor, nn

__all__ = ["Meter"]


class Meter(nn.Module):
    """Collects outputs and labels batch by batch, and returns scores at the end."""

    def update(self, outputs: Tensor, y: Tensor | None) -> None:
        """Add a batch.

        Args:
            outputs: outputs of the head, ``(B, C)``.
            y: its labels; None if they are withheld.
        """
        raise NotImplementedError

    def compute(self) -> dict[str, float]:
        """Return the scores of all batches, and reset."""
        raise NotImplementedError
