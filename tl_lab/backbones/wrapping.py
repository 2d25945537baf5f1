"""Functions shared by the two wrappers of model libraries: finding a valid size, and describing the input."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches

import torch
from torch import nn

from tl_lab.data.inputs.image import ImageSpec
from tl_lab.errors import UserError, nearest

__all__ = ["check_source", "features_of", "first_that_works", "grey_or_colour", "unknown_model"]

Size = tuple[int, int]


def check_source(name: str, pretrained: bool, weights: str | None) -> None:
    """Refuse two sources of weights at once, and names that are not text.

    Raises:
        UserError: with the option to remove.
    """
    if not isinstance(name, str) or not name:
        raise UserError(f"backbone.name must be a model's name, got {name!r}.")
    if pretrained and weights is not None:
        raise UserError(
            "backbone.pretrained=true and backbone.weights are both sources of weights; remove one of them."
        )


def unknown_model(name: str, library: str, listing: str, names: Sequence[str]) -> UserError:
    """Create the error for a model that a library does not have, with the nearest names."""
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    advice = nearest(name, close) if close else f"{listing} lists all {len(names)} names."
    return UserError(f"backbone.name={name} is not a model of {library}; {advice}")


def first_that_works(
    name: str, sizes: Sequence[Size], channels: int, build: Callable[[Size], nn.Module]
) -> tuple[nn.Module, Size, int]:
    """Build a network for the first size that it supports.

    Args:
        name: the model, for messages.
        sizes: heights and widths in the order of preference.
        channels: input channels C.
        build: builds the network for a size.

    Returns:
        The network, the size, and its number of features.

    Raises:
        UserError: no size is supported, or ``build`` raised one.
    """
    failures = []
    for size in sizes:
        try:
            net = build(size)
            return net, size, features_of(net, channels, size)
        except UserError:
            raise
        except Exception as error:  # architectures refuse sizes by different errors
            reason = str(error).strip().partition("\n")[0][:160].rstrip(". ") or type(error).__name__
            failures.append(f"at {size[0]}x{size[1]}: {reason}")
    raise UserError(f"backbone.name={name} cannot be built ({'; '.join(failures)}); give another backbone.resize_to.")


def features_of(net: nn.Module, channels: int, size: Size) -> int:
    """Determine the number of features of a network from the output for an empty image.

    Args:
        net: the network; its mode does not change.
        channels: C.
        size: ``(H, W)``.

    Returns:
        D, if the network maps ``(B, C, H, W)`` to ``(B, D)``.

    Raises:
        ValueError: the output is not one vector per sample.
    """
    mode = net.training
    net.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            out = net(torch.zeros(2, channels, *size))
    finally:
        net.train(mode)
    if not isinstance(out, torch.Tensor) or out.ndim != 2:
        raise ValueError("its output is not one feature vector per image")
    return out.shape[1]


def grey_or_colour(
    size: Size, channels: int, mean: Sequence[float] | None, std: Sequence[float] | None, crop_pct: float = 1.0
) -> ImageSpec:
    """Describe an input whose statistics were published for RGB.

    Args:
        size: ``(H, W)``.
        channels: C; unless it is 3, each channel has the average over RGB.
        mean: for R, G and B, or None.
        std: for R, G and B, or None.
        crop_pct: share of the shorter side that the central crop keeps.

    Returns:
        The form of the input.
    """
    if mean is not None and std is not None and channels != len(mean):
        mean = [sum(mean) / len(mean)] * channels
        std = [sum(std) / len(std)] * channels
    return ImageSpec(
        size=size,
        channels=channels,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        crop_pct=crop_pct,
    )
