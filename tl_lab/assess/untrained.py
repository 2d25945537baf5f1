"""The untrained encoder of drift detectors: a network's architecture with random weights."""

import copy
from typing import TypeVar

import torch
from torch import nn

from tl_lab.randomness import separate_stream

__all__ = ["untrained"]

Module = TypeVar("Module", bound=nn.Module)
_SPREAD = 0.02  # of tokens, positions and other matrices outside the layers of PyTorch


def untrained(network: Module, seed: int = 0) -> Module:
    """Copy a network and draw its weights anew, so that features depend on its architecture alone.

    Weights of convolutions and linear layers are drawn by He et al., their biases are zero; layers with a method
    ``reset_parameters`` (norms with their statistics, embeddings) use it.

    Args:
        network: left as it is.
        seed: of the weights; the random state of the program is left as it is.

    References:
        Rabanser, Guennemann and Lipton, Failing Loudly: An Empirical Study of Methods for Detecting Dataset Shift,
        NeurIPS 2019, section 3.1 (untrained autoencoder).

    Examples:
        >>> layer = nn.Linear(2, 3)
        >>> torch.equal(untrained(layer).weight, untrained(layer).weight), untrained(layer).bias.tolist()
        (True, [0.0, 0.0, 0.0])
    """
    blank = copy.deepcopy(network)
    with separate_stream(seed), torch.no_grad():
        for part in blank.modules():
            _draw(part)
    return blank


def _draw(part: nn.Module) -> None:
    """Draw the parameters that a module has itself, in place."""
    reset = getattr(part, "reset_parameters", None)
    if callable(reset):
        reset()
    if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(part.weight, nonlinearity="relu")  # PyTorch's own shrink signals layer by layer
        if part.bias is not None:
            part.bias.zero_()
    elif not callable(reset):
        for parameter in part.parameters(recurse=False):
            if parameter.dim() > 1:
                parameter.normal_(0, _SPREAD)
