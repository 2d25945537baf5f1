"""Checkpoints of adapters without the base weights, which are frozen and published elsewhere."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from torch import Tensor, nn

from tl_lab.data.inputs.operations import update_digest
from tl_lab.errors import UserError

__all__ = ["BACKBONES", "Base", "filled_up", "hash_of", "without_base"]

BACKBONES = ("network.backbone.", "network.target_encoder.backbone.")
"""Prefixes of the backbones' parameters in a strategy."""


@dataclass(frozen=True)
class Base:
    """Base weights of an adapter.

    Args:
        source: description of their origin.
        sha256: hash of the backbone's parameters and buffers, 64 hexadecimal digits.
    """

    source: str
    sha256: str

    def state(self) -> dict[str, str]:
        """Return source and hash, for a checkpoint."""
        return asdict(self)


def hash_of(backbone: nn.Module) -> str:
    """Hash all parameters and buffers of a backbone, without its adapter, under their names."""
    digest = hashlib.sha256()
    update_digest(digest, backbone.state_dict())
    return digest.hexdigest()


def without_base(state: Mapping[str, Tensor], module: nn.Module, learned: set[int]) -> dict[str, Tensor]:
    """Remove the frozen parameters of the backbones from a state dict; buffers are kept.

    Args:
        state: state dict of the module.
        module: a strategy.
        learned: ``id`` of each parameter that is trained at any time.
    """
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    named = module.named_parameters(remove_duplicate=False)
    kept = buffers | {name for name, parameter in named if id(parameter) in learned}
    return {name: tensor for name, tensor in state.items() if name in kept or not name.startswith(BACKBONES)}


def filled_up(
    content: Mapping[str, Any], module: nn.Module, sha256: str | None, where: str = "the checkpoint"
) -> dict[str, Tensor]:
    """Complete a checkpoint's state dict with the base weights, which the module already contains.

    Args:
        content: content of the checkpoint.
        module: a strategy, or a module with a ``network``, built like the checkpoint's.
        sha256: hash of the base weights of the module; None if there are none.
        where: description of the checkpoint, for messages.

    Raises:
        UserError: the base weights differ.
    """
    state: dict[str, Tensor] = dict(content["state_dict"])
    base = content["model"].get("base")
    if base is None:
        return state
    if base["sha256"] != sha256:
        found = "random or trained weights" if sha256 is None else f"SHA-256 {sha256[:12]}"
        raise UserError(
            f"{where} contains an adapter's parameters without the base weights ({base['source']}, "
            f"SHA-256 {base['sha256'][:12]}), and the weights found now differ ({found}): install or restore "
            "that source"
        )
    live = chain(
        module.named_parameters(remove_duplicate=False),
        module.named_buffers(remove_duplicate=False),
    )
    kept = module.state_dict().keys()
    missing = {name: one.detach() for name, one in live if name.startswith(BACKBONES) and name not in state}
    return state | {name: tensor for name, tensor in missing.items() if name in kept}
