"""Fused optimizers: on a GPU, one kernel updates all parameters, unless the configuration decides otherwise.

They compute the same updates as the ordinary optimizers, with different rounding. On the CPU, nothing changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

__all__ = ["fuse", "fuses", "merged_groups", "portable_groups"]

_FUSED = (SGD, Adam, AdamW)
_CONFIGURED = "as_configured"  # key under which a group stores the changed options as configured


def fuses(optimizer: Optimizer, device: torch.device, precision: str) -> bool:
    """Whether an optimizer should use its fused form.

    Args:
        optimizer: PyTorch's optimizer, with its configured options.
        device: device of the training.
        precision: the trainer's precision; with ``16-mixed``, a fused optimizer would have to unscale gradients itself.

    Returns:
        True for SGD, Adam and AdamW on a GPU, unless an option (``fused``, ``foreach``, ``differentiable``) is
        configured, or parameters are sharded or not real.
    """
    if device.type != "cuda" or precision == "16-mixed" or type(optimizer) not in _FUSED:
        return False
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    plain = all(type(parameter.data) is Tensor and parameter.is_floating_point() for parameter in parameters)
    undecided = all(
        group.get("fused") is None and group.get("foreach") is None and not group.get("differentiable")
        for group in optimizer.param_groups
    )
    return plain and undecided


def fuse(optimizer: Optimizer, capturable: bool = False) -> None:
    """Convert an optimizer to its fused form, and keep its state.

    Args:
        optimizer: PyTorch's optimizer.
        capturable: also keep the learning rate and the number of steps on the device, as recorded updates require.
    """
    changed = ("fused", "capturable") if capturable else ("fused",)
    for group in optimizer.param_groups:
        group[_CONFIGURED] = {option: group[option] for option in changed if option in group}
        group.update(dict.fromkeys(group[_CONFIGURED], True))
    for parameter, state in optimizer.state.items():
        if isinstance(state.get("step"), Tensor):
            state["step"] = state["step"].to(parameter.device, torch.float32)


@contextmanager
def merged_groups(optimizer: Optimizer) -> Iterator[None]:
    """Return a context in which a fused optimizer has one group for all parameters with equal options.

    A fused optimizer starts a kernel per group, and that of a small group takes about as long as that of a large one.
    The update of a parameter does not depend on the others of its group.

    Args:
        optimizer: PyTorch's optimizer. Rates that are tensors are equal if the groups' ``base_lr`` are.
    """
    own = optimizer.param_groups
    mergeable = len(own) > 1 and type(optimizer) in _FUSED and all(group.get("fused") for group in own)
    if not mergeable or _starts_momentum(optimizer):
        yield
        return
    merged: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for group in own:
        options = {name: value for name, value in group.items() if name not in ("params", "lr", "name")}
        options.setdefault("base_lr", group["lr"])
        for others, known in merged:
            if known == options:
                others["params"] = [*others["params"], *group["params"]]
                break
        else:
            merged.append((dict(group), options))
    optimizer.param_groups = [group for group, _ in merged]
    try:
        yield
    finally:
        optimizer.param_groups = own


def _starts_momentum(optimizer: Optimizer) -> bool:
    """Whether only some of the parameters with a gradient have momentum, with which fused SGD cannot update a group."""
    if not isinstance(optimizer, SGD) or not any(group["momentum"] for group in optimizer.param_groups):
        return False
    learning = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return len({optimizer.state.get(p, {}).get("momentum_buffer") is None for p in learning}) > 1


def portable_groups(state: dict[str, Any]) -> None:
    """Restore an optimizer's options in a checkpoint to their configured values.

    Args:
        state: state of the optimizer; the groups are replaced. If parameters are sharded over
            processes, the first one has all of it, and the others nothing.
    """
    if "param_groups" not in state:
        return
    state["param_groups"] = [
        {
            name: value.item() if isinstance(value, Tensor) else group[_CONFIGURED].get(name, value)
            for name, value in group.items()
            if name != _CONFIGURED
        }
        if _CONFIGURED in group
        else group
        for group in state["param_groups"]
    ]
