"""Pretext tasks, on which a network is trained without labels."""

from collections.abc import Mapping
from types import MappingProxyType

from tl_lab.strategies.pretexts.base import Options, Pretext, Seen
from tl_lab.strategies.pretexts.images import MaskedPatches, Rotation, Views
from tl_lab.strategies.pretexts.recordings import MaskedSpectrogram
from tl_lab.strategies.pretexts.texts import MaskedTokens, NextTokens
from tl_lab.strategies.pretexts.words import BothDirections, SkipGram

__all__ = ["PRETEXTS", "Options", "Pretext", "Seen"]

_TASKS: tuple[type[Pretext], ...] = (
    Rotation, Views, MaskedPatches, MaskedTokens, NextTokens, BothDirections, SkipGram, MaskedSpectrogram,
)  # fmt: skip
PRETEXTS: Mapping[str, type[Pretext]] = MappingProxyType({task.name: task for task in _TASKS})
"""The tasks by name."""
