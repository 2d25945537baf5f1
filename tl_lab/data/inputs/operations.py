"""Operations on the inputs of a network, which are one tensor or several named tensors."""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "Inputs",
    "apply",
    "constant",
    "count",
    "flat_first",
    "join",
    "move",
    "numel",
    "places_inside",
    "same_layout",
    "sample_shape",
    "split",
    "take",
    "tensors",
    "update_digest",
]

Inputs = Tensor | Mapping[str, Tensor]
"""Inputs of a batch, ``(B, ...)``: images or vectors, or named tensors such as token ids with their mask."""


def apply(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Apply a function to every tensor.

    Args:
        inputs: one tensor, or several by name.
        change: function from a tensor to its replacement.
    """
    if isinstance(inputs, Tensor):
        return change(inputs)
    return {name: change(tensor) for name, tensor in inputs.items()}


def constant(values: Sequence[float], like: Tensor) -> Tensor:
    """Return fixed numbers as a tensor, ``(N,)``, of the dtype and on the device of another.

    It is kept, because copying it to a GPU for each batch would wait for the GPU; it must not be changed in place.
    """
    return _constant(tuple(values), like.dtype, like.device)


@functools.cache  # never freed: recorded updates read it
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it may be used in training later
        return torch.tensor(values, dtype=dtype, device=device)


def tensors(inputs: Inputs) -> list[Tensor]:
    """Return the tensor, or all named tensors, as a list."""
    return [inputs] if isinstance(inputs, Tensor) else list(inputs.values())


def numel(inputs: Inputs) -> int:
    """Return the number of values in all tensors."""
    return sum(tensor.numel() for tensor in tensors(inputs))


def sample_shape(inputs: Inputs) -> tuple[int, ...]:
    """Return the shape of a sample, ``(C, H, W)`` or ``(D,)``; ``()`` for named tensors, which have no single shape."""
    return tuple(inputs.shape[1:]) if isinstance(inputs, Tensor) else ()


def count(inputs: Inputs) -> int:
    """Return the number of samples, B.

    Raises:
        ValueError: named tensors have different numbers of samples.
    """
    if isinstance(inputs, Tensor):
        return len(inputs)
    sizes = {name: len(tensor) for name, tensor in inputs.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"named inputs must have the same number of samples, not {sizes}")
    return next(iter(sizes.values()))


def take(inputs: Inputs, index: Tensor | slice | int) -> Inputs:
    """Select samples.

    Args:
        inputs: ``(B, ...)``.
        index: positions, ``(M,)``; a mask, ``(B,)``; a slice; or one position.
    """
    return apply(inputs, lambda tensor: tensor[index])


def move(inputs: Inputs, device: torch.device) -> Inputs:
    """Move every tensor to a device."""
    return apply(inputs, lambda tensor: tensor.to(device))


def flat_first(inputs: Inputs) -> Inputs:
    """Merge the first two dimensions: ``(E, M, ...)`` -> ``(E*M, ...)``, the samples of all episodes."""
    return apply(inputs, lambda tensor: tensor.flatten(0, 1))


def join(parts: Sequence[Inputs], padding: Mapping[str, float] | None = None, dim: int = 0) -> Inputs:
    """Concatenate batches along their sample dimension.

    Named tensors of different lengths (token sequences) are padded at the end to the longest.

    Args:
        parts: at least one batch; all are tensors, or all are named tensors with the same names.
        padding: padding value of each named tensor; 0 by default.
        dim: the sample dimension: 0 for batches, 1 for episodes.

    Raises:
        ValueError: tensors and named tensors are mixed, or names differ.
    """
    first = parts[0]
    if isinstance(first, Tensor):
        if not all(isinstance(part, Tensor) for part in parts):
            raise ValueError("a tensor cannot be joined with named tensors")
        return torch.cat([part for part in parts if isinstance(part, Tensor)], dim)
    names = set(first)
    if any(isinstance(part, Tensor) or set(part) != names for part in parts):
        raise ValueError(f"all parts must have the same tensors as the first, {sorted(names)}")
    joined = {}
    for name in first:
        tensors = [part[name] for part in parts if not isinstance(part, Tensor)]
        joined[name] = torch.cat(_padded(tensors, (padding or {}).get(name, 0), dim), dim)
    return joined


def _padded(tensors: list[Tensor], value: float, dim: int) -> list[Tensor]:
    """Pad all dimensions after the sample dimension to the largest size among the tensors."""
    behind = tensors[0].dim() - dim - 1
    longest = [max(tensor.shape[dim + 1 + k] for tensor in tensors) for k in range(behind)]
    padded = []
    for tensor in tensors:
        lacking = [longest[k] - tensor.shape[dim + 1 + k] for k in range(behind)]
        # F.pad counts from the last dimension
        sizes = [size for missing in reversed(lacking) for size in (0, missing)]
        padded.append(F.pad(tensor, sizes, value=value) if any(lacking) else tensor)
    return padded


def split(inputs: Inputs, sizes: Sequence[int]) -> list[Inputs]:
    """Split a batch into consecutive parts.

    Args:
        inputs: ``(sum(sizes), ...)``.
        sizes: number of samples in each part.
    """
    if isinstance(inputs, Tensor):
        return list(inputs.split(list(sizes)))
    parts = {name: tensor.split(list(sizes)) for name, tensor in inputs.items()}
    return [{name: tensors[i] for name, tensors in parts.items()} for i in range(len(sizes))]


def same_layout(first: Inputs, second: Inputs) -> bool:
    """Whether two batches are both tensors with the same sample shape, or both named tensors with the same names."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.shape[1:] == second.shape[1:]
    return not isinstance(first, Tensor) and not isinstance(second, Tensor) and set(first) == set(second)


def update_digest(digest: "hashlib._Hash", inputs: Inputs) -> None:
    """Update a hash with the type, shape and bytes of inputs; named tensors are sorted by name."""
    if not isinstance(inputs, Tensor):
        for name in sorted(inputs):
            digest.update(name.encode())
            update_digest(digest, inputs[name])
        return
    digest.update(f"{inputs.dtype}{tuple(inputs.shape)}".encode())
    digest.update(inputs.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)


def places_inside(x: Inputs, places: int) -> Tensor | None:
    """Mark the positions that belong to a text or a recording, ``(B, L)``; None if there is no padding.

    Args:
        x: inputs of a network.
        places: number of positions L (tokens or frames) in the network's states.
    """
    if isinstance(x, Tensor):
        return None
    if "mask" in x and x["mask"].shape[1] <= places:
        return x["mask"]
    if "length" in x:  # in frames or samples; a position may cover several of them
        longest = max(int(one.shape[-1]) for name, one in x.items() if name != "length")
        kept = -(-x["length"] * places // longest)
        return (torch.arange(places, device=kept.device) < kept[:, None]).to(torch.float32)
    return None
