"""A-GEM: remove from each update the component that would increase the loss on earlier tasks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tl_lab.functional import project_gradient
from tl_lab.problems import ALL
from tl_lab.strategies.continual.memory import MemoryStrategy

__all__ = ["AGem"]


class AGem(MemoryStrategy):
    """Averaged gradient episodic memory: project each gradient that conflicts with a gradient on the memory.

    g~ = g - (g . g_ref / g_ref . g_ref) g_ref    where g . g_ref < 0, and g otherwise,

    with g the gradient of the whole objective and g_ref that of the cross-entropy of samples of earlier tasks. The
    result is clipped and passed to the optimizer. The share of projected updates is logged as ``projected``.

    Args:
        options: keyword arguments of :class:`~tl_lab.strategies.continual.memory.MemoryStrategy`.

    References:
        Chaudhry, Ranzato, Rohrbach and Elhoseiny, Efficient Lifelong Learning with A-GEM, ICLR 2019, equation 11.
    """

    problems = ALL
    policies = ("class_balanced", "reservoir")
    shardable = False

    def on_gradients(self) -> None:
        """Project the gradient."""
        super().on_gradients()
        slots, parameters = self.recall("reference", before=self.task), self._updated_now()
        if not len(slots) or not parameters:
            return
        loss = self.recalled_loss(slots, "reference")
        reference = self._averaged(torch.autograd.grad(loss, parameters, allow_unused=True), parameters)
        gradient, projected = project_gradient([parameter.grad for parameter in parameters], reference)
        if projected:
            for parameter, g in zip(parameters, gradient, strict=True):
                parameter.grad = g
        self.note({"projected": float(projected)})

    def _updated_now(self) -> list[nn.Parameter]:
        """List the trained parameters that have a gradient; an adaptation may update one part at a time."""
        parts = [[p for p in part.parameters() if p.requires_grad] for part in self.parts().values()]
        return [p for part in parts if any(p.grad is not None for p in part) for p in part]

    def _averaged(self, gradient: Sequence[Tensor | None], like: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """Average a gradient over processes; return None if no process has one."""
        if self.trainer.world_size == 1:
            return gradient
        reduce = self.trainer.strategy.reduce
        holders = reduce(torch.tensor([float(g is not None) for g in gradient], device=self.device), reduce_op="sum")
        flat = torch.cat(
            [(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(gradient, like, strict=True)]
        )
        parts = reduce(flat, reduce_op="mean").split([p.numel() for p in like])
        return [part.view_as(p) if held else None for held, part, p in zip(holders.tolist(), parts, like, strict=True)]
