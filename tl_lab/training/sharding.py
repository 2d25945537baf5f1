"""Sharding over several GPUs: each process stores a part of the parameters and of the optimizer's state."""

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn

if TYPE_CHECKING:
    from tl_lab.training.parameters import LearningParts

__all__ = ["FullySharded", "is_sharded", "load_weights", "local", "shard", "unshard", "whole_parameters"]


class FullySharded(ModelParallelStrategy):
    """Lightning's strategy for models that shard themselves; every process stores a share of all parameters.

    The training step cannot be wrapped, because it performs the updates itself. The parts of the network are therefore
    sharded one by one (see :func:`shard`), and the forward pass of each part gathers its weights.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False, **options)

    def setup_environment(self) -> None:
        """Treat all processes as one group."""
        self._data_parallel_size = self.num_processes * self.num_nodes
        super().setup_environment()


def is_sharded(strategy: Any) -> bool:
    """Whether a strategy of Lightning stores only a part of the parameters in each process."""
    return isinstance(strategy, FSDPStrategy | ModelParallelStrategy)


def shard(parts: "LearningParts", mesh: Any) -> None:
    """Shard the parameters of every part that runs as a separate module; a second call has no effect.

    Args:
        parts: the strategy whose parts are sharded.
        mesh: device mesh of the processes.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard  # the import takes seconds

    parts.network.to(memory_format=torch.contiguous_format)  # the only format that can be sharded
    for module in _units(parts):
        if not isinstance(module, FSDPModule):
            fully_shard(module, mesh=mesh)


def _units(parts: "LearningParts") -> Iterator[nn.Module]:
    """List the outermost modules with a forward pass: the network's parts, and the networks of the adaptation."""
    found = [parts.network.backbone, parts.network.bottleneck, parts.network.head]
    if parts.network.target_encoder is not None:
        found += parts.network.target_encoder.values()
    waiting = list(parts.adaptation.children())
    while waiting:
        module = waiting.pop()
        if isinstance(module, nn.Sequential | nn.Linear):
            found.append(module)
        else:
            waiting += module.children()
    return (module for module in found if next(module.parameters(), None) is not None)


def unshard(module: nn.Module) -> None:
    """Gather the whole weights in every process, so that one process can continue alone."""
    for part in _sharded(module):
        part.unshard()
        part.set_reshard_after_forward(False)


def load_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load whole weights into a module, whether or not it is sharded."""
    if sharded := _sharded(module):
        for part in sharded:  # weights gathered in a forward pass would be discarded in the next one
            part.reshard()
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        set_model_state_dict(module, dict(weights), options=StateDictOptions(full_state_dict=True))
    else:
        module.load_state_dict(weights)


def whole_parameters(module: nn.Module) -> list[str]:
    """Name the trained parameters that are not sharded, whose gradients are not averaged over processes."""
    return [name for name, one in module.named_parameters() if one.requires_grad and not _is_spread(one)]


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor."""
    return tensor.to_local() if _is_spread(tensor) else tensor  # type: ignore[attr-defined]


def _sharded(module: nn.Module) -> list[Any]:
    """List the modules with sharded parameters."""
    if "torch.distributed.fsdp" not in sys.modules:
        return []
    from torch.distributed.fsdp import FSDPModule

    return [part for part in module.modules() if isinstance(part, FSDPModule)]


def _is_spread(tensor: Tensor) -> bool:
    return hasattr(tensor, "to_local")
