"""Means of the quantities that updates log: summed on the device, and read rarely."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Means", "Reading"]


class Reading(NamedTuple):
    """Sums during their copy to the CPU.

    Attributes:
        names: of the quantities.
        sums: float32 on the CPU, ``(Q,)``; complete after ``arrived``.
        counts: number of values of each quantity, ``(Q,)``.
        arrived: event of a copy in progress; None if it is complete.
    """

    names: list[str]
    sums: Tensor
    counts: Tensor
    arrived: torch.cuda.Event | None

    def values(self) -> dict[str, float]:
        """Wait for the sums, and return the means by name."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return dict(zip(self.names, (self.sums / self.counts).tolist(), strict=True))


class Means:
    """Sums quantities by name, tensors on their device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}

    def add(self, quantities: Mapping[str, Tensor | float], count: int = 1) -> None:
        """Add a value of each quantity, or the sum of several.

        Args:
            quantities: scalars by name.
            count: number of values in each.
        """
        for name, value in quantities.items():
            value = value.detach() if isinstance(value, Tensor) else value
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + count

    def items(self) -> list[tuple[str, tuple[Tensor | float, int]]]:
        """List each quantity's sum and number of values."""
        return [(name, (value, self._counts[name])) for name, value in self._sums.items()]

    def read(self, waits: bool = True) -> Reading:
        """Return the sums, and reset.

        Args:
            waits: wait until a GPU has computed them; False returns a reading that is completed later.
        """
        names, counts = list(self._sums), torch.tensor([*self._counts.values()])
        sums = [torch.as_tensor(value, dtype=torch.float32) for value in self._sums.values()]
        self._sums, self._counts = {}, {}
        far = [i for i, value in enumerate(sums) if value.device.type != "cpu"]
        arrived = None
        if far:
            device = sums[far[0]].device
            together = torch.stack([value.to(device, non_blocking=True) for value in sums])
            if waits or device.type != "cuda":
                return Reading(names, together.cpu(), counts, None)
            whole = torch.empty(len(sums), pin_memory=True).copy_(together, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
            return Reading(names, whole, counts, arrived)
        return Reading(names, torch.stack(sums), counts, arrived)

    def __bool__(self) -> bool:
        return bool(self._sums)
