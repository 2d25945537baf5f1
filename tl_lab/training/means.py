"""Means of the quantities that updates log; values stay on the device and are rarely summed and read."""

import operator
from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tl_lab.errors import UserError

__all__ = ["Means", "Reading", "as_scalar", "check_quantity"]

_MOST = 1000  # values of a quantity that are kept before they are summed on their device


class Reading(NamedTuple):
    """Values during their copy to the CPU.

    Attributes:
        sizes: for each quantity its values in order: None for a scalar, n for a vector of n marks.
        counts: for each quantity the number by which the sum is divided; larger than the number of its values if these
            are sums themselves.
        scalars: all scalars, one quantity after the other, on the CPU, ``(N,)``; complete after ``arrived``.
        marks: all marks, in the same order, on the CPU, ``(M,)`` bool; likewise.
        arrived: event of a copy in progress; None if it is complete.
    """

    sizes: dict[str, list[int | None]]
    counts: list[int]
    scalars: Tensor
    marks: Tensor
    arrived: torch.cuda.Event | None

    def means(self) -> dict[str, float]:
        """Wait for the values, and return the means by name. Sums and means are computed in float32."""
        if self.arrived is not None:
            self.arrived.synchronize()
        scalars, marks, start = iter(self.scalars.numpy()), self.marks.numpy(), 0
        means = {}
        with np.errstate(all="ignore"):  # values that are not finite are reported by the caller
            for (name, sizes), count in zip(self.sizes.items(), self.counts, strict=True):
                values = []
                for size in sizes:
                    if size is None:
                        values.append(next(scalars))
                    else:
                        values.append(np.float32(np.count_nonzero(marks[start : start + size])) / np.float32(size))
                        start += size
                # one after the other, the same as if each had been added on the device at once
                means[name] = float(np.float32(reduce(operator.add, values)) / np.float32(count))
        return means


class Means:
    """Collects the values of quantities by name. Tensors stay on their device, and adding one starts no GPU kernel."""

    def __init__(self) -> None:
        self._values: dict[str, list[tuple[Tensor, int] | float]] = {}  # tensors with the version that was added
        self._counts: dict[str, int] = {}

    def add(self, quantities: Mapping[str, Tensor | float], count: int = 1) -> None:
        """Add a value of each quantity, or the sum of several.

        Args:
            quantities: by name a scalar, or marks, ``(n,)`` bool, whose share of True is the value. A tensor must not
                be changed in place afterwards.
            count: number of values in each.

        Raises:
            UserError: a tensor is neither a scalar nor marks, or one among the first values of a long sum has been
                changed in place.
        """
        for name, value in quantities.items():
            values = self._values.setdefault(name, [])
            if isinstance(value, Tensor):
                check_quantity(name, value)
                values.append((value.detach() if value.requires_grad else value, value._version))
            else:
                values.append(value)
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
        sizes: dict[str, list[int | None]] = {}
        scalars: list[Tensor] = []
        marks: list[Tensor] = []
        for name in self._values:
            values = self._checked(name)
            tensors = [value for value in values if isinstance(value, Tensor)]
            kept = tensors if len(tensors) == len(values) else [torch.as_tensor(_sum(values), dtype=torch.float32)]
            sizes[name] = [len(value) if value.dim() else None for value in kept]
            for value in kept:
                (marks if value.dim() else scalars).append(value)
        counts = list(self._counts.values())
        self._values, self._counts = {}, {}
        device = next((value.device for value in (*scalars, *marks) if value.device.type != "cpu"), torch.device("cpu"))
        if device.type != "cpu":
            scalars, marks = ([v.to(device, non_blocking=True) for v in values] for values in (scalars, marks))
        scalars = [value if value.dtype in (torch.float32, torch.float64) else value.float() for value in scalars]
        of_scalars = torch.stack(scalars) if scalars else torch.empty(0)
        of_marks = torch.cat(marks) if marks else torch.empty(0, dtype=torch.bool)
        if waits or device.type != "cuda":
            return Reading(sizes, counts, of_scalars.cpu(), of_marks.cpu(), None)
        of_scalars, of_marks = (
            torch.empty_like(one, device="cpu", pin_memory=True).copy_(one, non_blocking=True)
            for one in (of_scalars, of_marks)
        )
        arrived = torch.cuda.Event()
        arrived.record()
        return Reading(sizes, counts, of_scalars, of_marks, arrived)

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


def check_quantity(name: str, value: Tensor) -> None:
    """Check that a logged tensor is a scalar or marks, ``(n,)`` bool.

    Raises:
        UserError: it is neither.
    """
    if value.dim() and (value.dtype != torch.bool or value.dim() > 1):
        raise UserError(f"the logged quantity {name!r} has the shape {tuple(value.shape)}: log its mean")


def as_scalar(value: Tensor) -> Tensor:
    """Compute the share of True of marks, ``(n,)`` bool, in float32; return a scalar unchanged."""
    if not value.dim():
        return value
    # a tensor as divisor: by a number, a GPU would multiply with the rounded reciprocal
    return value.sum().float() / torch.full((), float(len(value)), device=value.device)


def _sum(values: list[Tensor | float]) -> Tensor | float:
    return reduce(operator.add, [as_scalar(value) if isinstance(value, Tensor) else value for value in values])
