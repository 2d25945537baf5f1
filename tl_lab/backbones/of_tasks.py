"""One backbone for several tasks that share its parameters, with one adapter per task."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup
from tl_lab.backbones.grouping import groups_of
from tl_lab.data.inputs.operations import count, take

__all__ = ["BackboneOfTasks"]


class BackboneOfTasks(Backbone):
    """A backbone with separate adapters for T tasks; all other parameters are shared.

    Features are ``(B, T, num_features)``. All adapters start from the same values.

    Args:
        backbone: with the adapter, which becomes that of the first task.
        owns: whether the adapter owns a parameter, by the parameter's name in the backbone.
        owners: number of the task of each output of the head, ``(C,)``, whose features that output uses.
    """

    def __init__(self, backbone: Backbone, owns: Callable[[str], bool], owners: Sequence[int]) -> None:
        super().__init__()
        self.num_features, self.source = backbone.num_features, backbone.source
        self.owners = tuple(owners)
        shared: list[Any] = [parameter for name, parameter in backbone.named_parameters() if not owns(name)]
        shared += [*backbone.buffers(), backbone.spec]
        others = [copy.deepcopy(backbone, {id(one): one for one in shared}) for _ in range(max(owners))]
        self.tasks = nn.ModuleList([backbone, *others])
        self.known: Tensor | None = None
        """Whether features of a sample are computed for a task, ``(B, T)``; all others are 0."""

    @property
    def spec(self) -> Any:
        """The inputs of the backbone."""
        return self.tasks[0].spec

    @spec.setter
    def spec(self, spec: Any) -> None:
        for one in self.tasks:
            one.spec = spec

    def forward(self, x: Any) -> Tensor:
        """Extract the features of each task, ``(B, ...) -> (B, T, num_features)``."""
        if self.known is None:
            return torch.stack([one(x) for one in self.tasks], 1)
        total, found = count(x), []
        for one, wanted in zip(self.tasks, self.known.T, strict=True):
            rows = wanted.nonzero()[:, 0]
            found.append((rows, one(take(x, rows)) if len(rows) else None))
        like = next(features for _, features in found if features is not None)
        columns = [
            like.new_zeros(total, self.num_features)
            if features is None
            else features.new_zeros(total, self.num_features).index_copy(0, rows, features)
            for rows, features in found
        ]
        return torch.stack(columns, 1)

    def layer_groups(self) -> list[LayerGroup]:
        """Join the tasks' layer groups of the same name."""
        joined: dict[str, list[nn.Module]] = {}
        for one in self.tasks:
            for name, modules in groups_of(one):  # type: ignore[arg-type]
                joined.setdefault(name, []).extend(modules)
        return list(joined.items())
