"""Checkpoints without what can be found again: the weights that an adapter leaves as they were published."""

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
"""Where the backbones' parameters stand in a strategy."""


@dataclass(frozen=True)
class Base:
    """What an adapter was put on.

    Args:
        source: where its weights come from, in words.
        sha256: of its parameters and buffers, 64 hexadecimal digits.
    """

    source: str
    sha256: str

    def state(self) -> dict[str, str]:
        """Give both, for a checkpoint."""
        return asdict(self)


def hash_of(backbone: nn.Module) -> str:
    """Hash all parameters and buffers of a backbone, without its adapter, under their names."""
    digest = hashlib.sha256()
    update_digest(digest, backbone.state_dict())
    return digest.hexdigest()


def without_base(state: Mapping[str, Tensor], module: nn.Module, learned: set[int]) -> dict[str, Tensor]:
    """Leave those parameters of the backbones out of a state that never learn; buffers stay.

    Args:
        state: of the module, by name.
        module: a strategy.
        learned: ids of the parameters that learn at some time.
    """
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    named = module.named_parameters(remove_duplicate=False)
    kept = buffers | {name for name, parameter in named if id(parameter) in learned}
    return {name: tensor for name, tensor in state.items() if name in kept or not name.startswith(BACKBONES)}


def filled_up(
    content: Mapping[str, Any], module: nn.Module, sha256: str | None, where: str = "the checkpoint"
) -> dict[str, Tensor]:
    """Give a checkpoint's state with the base's parameters, which stand in the module already.

    Args:
        content: of the checkpoint.
        module: a strategy, or what holds a ``network``, built like the checkpoint's.
        sha256: of the base that the module was built on; None where it is known to be none.
        where: names the checkpoint in messages.

    Raises:
        UserError: the base is another one.
    """
    state: dict[str, Tensor] = dict(content["state_dict"])
    base = content["model"].get("base")
    if base is None:
        return state
    if base["sha256"] != sha256:
        found = "random or learned weights" if sha256 is None else f"SHA-256 {sha256[:12]}"
        raise UserError(
            f"{where} holds an adapter's parameters without the base that they were learned on ({base['source']}, "
            f"SHA-256 {base['sha256'][:12]}), and the weights found now are others ({found}): install or restore "
            "that source"
        )
    live = chain(
        module.named_parameters(remove_duplicate=False),
        module.named_buffers(remove_duplicate=False),
    )
    kept = module.state_dict().keys()
    lacking = {name: one.detach() for name, one in live if name.startswith(BACKBONES) and name not in state}
    return state | {name: tensor for name, tensor in lacking.items() if name in kept}
