"""Means of the quantities that updates log; values stay on the device and are rarely summed and read."""

import operator
from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from tl_lab.errors import UserError

__all__ = ["Means", "Reading"]

_MOST = 1000  # values of a quantity that are kept before they are summed on their device


class Reading(NamedTuple):
    """Values during their copy to the CPU.

    Attributes:
        names: names of the quantities.
        together: values of all quantities, one quantity after the other, on the CPU, ``(N,)``; complete after
            ``arrived``.
        lengths: number of values of each quantity.
        counts: numbers by which the sums are divided; larger than ``lengths`` if values are sums themselves.
        arrived: event of a copy in progress; None if it is complete.
    """

    names: list[str]
    together: Tensor
    lengths: list[int]
    counts: list[int]
    arrived: torch.cuda.Event | None

    def means(self) -> dict[str, float]:
        """Wait for the values, and return the means by name. Sums and means are computed in float32."""
        if self.arrived is not None:
            self.arrived.synchronize()
        # added one by one, which gives the same bits as immediate additions on the device
        sums = [reduce(operator.add, own).float() for own in self.together.split(self.lengths)]
        return dict(zip(self.names, (torch.stack(sums) / torch.tensor(self.counts)).tolist(), strict=True))


class Means:
    """Collects the values of quantities by name. Tensors stay on their device, and adding one starts no GPU kernel."""

    def __init__(self) -> None:
        self._values: dict[str, list[tuple[Tensor, int] | float]] = {}  # tensors with the version that was added
        self._counts: dict[str, int] = {}

    def add(self, quantities: Mapping[str, Tensor | float], count: int = 1) -> None:
        """Add a value of each quantity, or the sum of several.

        Args:
            quantities: scalars by name. A tensor must not be changed in place afterwards.
            count: number of values that each sum contains.

        Raises:
            UserError: a tensor among the collected values of a long sum has been changed in place.
        """
        for name, value in quantities.items():
            values = self._values.setdefault(name, [])
            values.append((value.detach(), value._version) if isinstance(value, Tensor) else value)
            self._counts[name] = self._counts.get(name, 0) + count
            if len(values) == _MOST:
                total = _sum(self._checked(name))
                self._values[name] = [(total, total._version) if isinstance(total, Tensor) else total]

    def items(self) -> list[tuple[str, tuple[Tensor | float, int]]]:
        """List each quantity's sum and number of values."""
        return [(name, (_sum(self._checked(name)), self._counts[name])) for name in self._values]

    def read(self, waits: bool = True) -> Reading:
        """Return the collected values, and reset.

        Args:
            waits: wait until a GPU has computed the values; False returns a reading that is completed later.

        Raises:
            UserError: a tensor has been changed in place since it was added.
        """
        names, counts = list(self._values), list(self._counts.values())
        lengths, every = [], []
        for values in map(self._checked, names):
            tensors = [value for value in values if isinstance(value, Tensor)]
            kept = tensors if len(tensors) == len(values) else [torch.as_tensor(_sum(values), dtype=torch.float32)]
            lengths.append(len(kept))
            every += kept
        self._values, self._counts = {}, {}
        device = next((value.device for value in every if value.device.type != "cpu"), torch.device("cpu"))
        if device.type != "cpu":
            every = [value.to(device, non_blocking=True) for value in every]
        together = torch.stack([value if value.dtype == torch.float64 else value.float() for value in every])
        if waits or device.type != "cuda":
            return Reading(names, together.cpu(), lengths, counts, None)
        whole = torch.empty(len(together), dtype=together.dtype, pin_memory=True).copy_(together, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return Reading(names, whole, lengths, counts, arrived)

    def _checked(self, name: str) -> list[Tensor | float]:
        """Return a quantity's values, after checking that no tensor was changed since it was added."""
        checked: list[Tensor | float] = []
        for value in self._values[name]:
            if isinstance(value, tuple):
                tensor, version = value
                if tensor._version != version:
                    raise UserError(
                        f"the logged quantity {name!r} was changed in place after the update: log a copy, by .clone()"
                    )
                checked.append(tensor)
            else:
                checked.append(value)
        return checked

    def __bool__(self) -> bool:
        return bool(self._values)


def _sum(values: list[Tensor | float]) -> Tensor | float:
    return reduce(operator.add, values)
