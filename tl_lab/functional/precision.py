"""Full precision for sums and products that lose accuracy in half precision."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["in_full_precision", "widened"]

P = ParamSpec("P")
R = TypeVar("R")


def widened(x: Tensor) -> Tensor:
    """Turn half precision (float16, bfloat16) into single precision; leave all other types unchanged.

    Examples:
        >>> widened(torch.ones(1, dtype=torch.float16)).dtype, widened(torch.ones(1, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def in_full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function compute in single precision if its tensors are in half, and outside autocast.

    Autocast would also compute the matrix products of single-precision tensors in half precision. In single and double
    precision outside autocast, results are unchanged to the last bit.

    Args:
        function: its first argument is a tensor.

    Returns:
        The function, whose half-precision tensor arguments are widened.

    Examples:
        >>> x = torch.full((1000,), 100.0, dtype=torch.float16)
        >>> x.sum().item(), in_full_precision(torch.sum)(x).item()
        (inf, 100000.0)
    """

    @wraps(function)
    def wide(*args: P.args, **kwargs: P.kwargs) -> R:
        given: list[Any] = [widened(arg) if isinstance(arg, Tensor) else arg for arg in args]
        named: dict[str, Any] = {key: widened(arg) if isinstance(arg, Tensor) else arg for key, arg in kwargs.items()}
        first = next(arg for arg in (*given, *named.values()) if isinstance(arg, Tensor))
        if not torch.is_autocast_enabled(first.device.type):
            return function(*given, **named)
        with torch.autocast(first.device.type, enabled=False):
            return function(*given, **named)

    return wide
