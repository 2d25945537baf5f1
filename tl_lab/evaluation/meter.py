"""What collects one set's predictions over its batches and processes."""

from torch import Tensor, nn

__all__ = ["Meter"]


class Meter(nn.Module):
    """Collects outputs and labels batch by batch, and gives scores at the end."""

    def update(self, outputs: Tensor, y: Tensor | None) -> None:
        """Take in a batch.

        Args:
            outputs: of the head, ``(B, C)``.
            y: its labels; None where they are withheld.
        """
        raise NotImplementedError

    def compute(self) -> dict[str, float]:
        """Give the scores of all that was taken in, and forget it."""
        raise NotImplementedError
