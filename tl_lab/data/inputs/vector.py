"""Vector inputs: rows of numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from tl_lab.data.inputs.spec import InputSpec

__all__ = ["VectorSpec"]


@dataclass(frozen=True)
class VectorSpec(InputSpec):
    """Vectors ``(N, D)``, used unchanged.

    Args:
        length: D, at least 1.
    """

    modality: ClassVar[str] = "vector"

    length: int

    def fit(self, raw: Tensor) -> Tensor:
        """Convert vectors ``(N, D)`` to float32."""
        return raw.float()

    def mismatch(self, shape: tuple[int, ...]) -> str:
        """Reject images, and vectors of another length."""
        if shape[1:] != (1, 1):
            return f"it takes vectors, but the data are images of {shape[1]}x{shape[2]} pixels"
        if shape[0] != self.length:
            return f"it takes vectors of length {self.length}, but the data have length {shape[0]}"
        return ""

    def state(self) -> dict[str, Any]:
        """Return the length."""
        return {"modality": self.modality, **asdict(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the spec from its length."""
        return cls(length=int(state["length"]))

    def __str__(self) -> str:
        return f"{self.length}x1x1"
