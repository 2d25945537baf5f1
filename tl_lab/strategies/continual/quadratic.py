"""Base class of EWC, online EWC, SI and MAS: a quadratic penalty on changes of the weights of earlier tasks."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from tl_lab.data.base import DataModule
from tl_lab.data.batches import Labelled
from tl_lab.data.inputs.operations import Inputs
from tl_lab.errors import UserError
from tl_lab.functional import merge_quadratics, quadratic_penalty
from tl_lab.randomness import generator
from tl_lab.strategies.continual.base import ContinualStrategy
from tl_lab.texts import counted

__all__ = ["QuadraticPenalty", "QuadraticStrategy"]

_NEGLIGIBLE = 1e-3  # of the task loss
_FEW = 20  # updates of a task, fewer of which hardly move the weights away from those of earlier tasks
_SMALL = 2**24  # numbers, up to which a GPU spends more time on starting kernels for each tensor than on computing
Batches = Iterator[tuple[Inputs, Tensor]]


class QuadraticPenalty(nn.Module):
    """1/2 sum_i F_i (theta_i - c_i)^2 + constant, for named parameters; precisions F and centres c are buffers.

    Args:
        parameters: by name; only their shapes count.
    """

    constant: Tensor

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, parameter in parameters.items():
            self.register_buffer(_key("precision", name), torch.zeros_like(parameter, requires_grad=False))
            self.register_buffer(_key("centre", name), parameter.detach().clone())
        self.register_buffer("constant", torch.zeros((), dtype=torch.float64))
        self._joined: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}

    def precision(self, name: str) -> Tensor:
        """Return F of a parameter, of its shape; >= 0 except in SI."""
        return self._buffers[_key("precision", name)]  # type: ignore[return-value]

    def centre(self, name: str) -> Tensor:
        """Return c of a parameter, of its shape."""
        return self._buffers[_key("centre", name)]  # type: ignore[return-value]

    @torch.no_grad()
    def add(self, precisions: Mapping[str, Tensor], centres: Mapping[str, Tensor]) -> None:
        """Add a quadratic. The sum is exactly one quadratic again, whatever the number of terms (see
        :func:`~tl_lab.functional.merge_quadratics`)."""
        for name, precision in precisions.items():
            merged = merge_quadratics(self.precision(name), self.centre(name), precision, centres[name])
            self.precision(name).copy_(merged[0])
            self.centre(name).copy_(merged[1])
            self.constant += merged[2]
        self._joined.clear()

    @torch.no_grad()
    def replace(self, precisions: Mapping[str, Tensor], centres: Mapping[str, Tensor]) -> None:
        """Replace the quadratic."""
        for name, precision in precisions.items():
            self.precision(name).copy_(precision)
            self.centre(name).copy_(centres[name])
        self._joined.clear()

    def forward(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Compute the value for the named parameters; a scalar."""
        centres = [self.centre(name) for name in parameters]
        precisions = [self.precision(name) for name in parameters]
        values = list(parameters.values())
        if self.joins(values):
            names = tuple(parameters)
            if names not in self._joined:
                self._joined[names] = _join(centres), _join(precisions)
            centre, precision = self._joined[names]
            values, centres, precisions = [_join(values)], [centre], [precision]
        return quadratic_penalty(values, centres, precisions) + self.constant.float()

    def joins(self, parameters: Sequence[Tensor]) -> bool:
        """Whether to compute with one tensor of all numbers, which takes more memory, but fewer kernels of a GPU."""
        return parameters[0].device.type == "cuda" and sum(one.numel() for one in parameters) <= _SMALL

    def _apply(self, *given: Any, **options: Any) -> Self:
        self._joined.clear()
        return super()._apply(*given, **options)

    def _load_from_state_dict(self, *given: Any, **options: Any) -> None:
        self._joined.clear()
        super()._load_from_state_dict(*given, **options)

    @torch.no_grad()
    def gradient(self, name: str, parameter: Tensor) -> Tensor:
        """Compute F (theta - c) of one parameter, of its shape."""
        return self.precision(name) * (parameter - self.centre(name))


class QuadraticStrategy(ContinualStrategy):
    """Penalise changes of the weights of earlier tasks by strength * 1/2 sum_i F_i (theta_i - c_i)^2.

    The penalty covers the trained parameters that later tasks would change. Outputs that later tasks do not use (the
    heads of other tasks in a task-incremental stream) and outputs that are not yet in use are not covered.

    A subclass sets :attr:`term` and implements :meth:`~ContinualStrategy.end_task`.

    Args:
        strength: factor of the penalty, >= 0.
        options: keyword arguments of :class:`~tl_lab.strategies.continual.base.ContinualStrategy`.
    """

    shardable = False
    term: ClassVar[str]
    """Name of the penalty in the log."""
    useful: ClassVar[str] = "values in the literature range from 1e2 to 1e10, depending on the scenario"
    """Advice for users whose strength is too small."""

    def __init__(self, *, strength: float, **options: Any) -> None:
        super().__init__(**options)
        self.strength = float(strength)
        if not strength >= 0:
            raise UserError(f"strategy.{self.strength_option} must be at least 0, not {self.strength_given}")
        protected = self.protected(self.outputs.num_tasks - 1)
        if not protected:
            raise UserError(
                "there is nothing to protect: strategy.layers keeps the whole backbone frozen, and each task has a "
                "head of its own; make layers trainable, or use strategy=naive"
            )
        self.penalty = QuadraticPenalty(protected)
        self._tied: dict[str, Tensor] = {}
        self._largest_share = torch.zeros(())
        self._loss = torch.ones(())
        self.penalty_shares: list[str] = []  # one entry per task, for the result

    @property
    def strength_option(self) -> str:
        """Name of the option that sets the strength."""
        return f"{self.term}_lambda"

    # ------------------------------------------------------------------ protected parameters

    def protected(self, learned: int) -> dict[str, nn.Parameter]:
        """Return the names of the network's parameters that are protected after a task, counted from 0."""
        used = self.outputs.active(learned, learned) if self.outputs.scenario != "task" else ()
        heads = {id(p): k for k, block in enumerate(self.head.blocks) for p in block.parameters()}
        return {
            name: parameter
            for name, parameter in self.learned_by_name(self.network).items()
            if heads.get(id(parameter), -1) in (-1, *used)
        }

    def learned_weights(self, learned: int) -> dict[str, Tensor]:
        """Copy the parameters that are protected after a task."""
        return {name: parameter.detach().clone() for name, parameter in self.protected(learned).items()}

    # ------------------------------------------------------------------ the penalty

    def start_task(self, task: int) -> None:
        """Reset the record of the penalty's size."""
        self._largest_share = torch.zeros((), device=self.device)

    def on_train_epoch_start(self) -> None:
        """Find the protected parameters, which are those of the previous tasks."""
        super().on_train_epoch_start()
        self._tied = dict(self.protected(self.task - 1)) if self.task > 0 else {}
        self._largest_share = self._largest_share.to(self.device)

    def penalties(self) -> dict[str, Tensor]:
        """Return the penalty, from the second task on."""
        if not self._tied or not self.strength:
            return {}
        value = self.strength * self.penalty(self._tied)
        share = value.detach() / self._loss.clamp(min=torch.finfo(value.dtype).tiny)
        torch.maximum(self._largest_share, share, out=self._largest_share)  # in place, for replay as a CUDA graph
        return {self.term: value}

    def task_loss(self, logits: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss, and keep its value for comparison with the penalty."""
        loss = super().task_loss(logits, y, weights)
        self._loss = loss.detach()
        return loss

    def warn_if_negligible(self, task: int) -> None:
        """Warn if the penalty never reached a thousandth of the task loss during a whole task.

        Before the first update of a task the weights are those of earlier tasks, and the penalty is at its smallest.
        After few updates its size says little about the strength.
        """
        if task == 0 or not self.strength:
            return
        share = float(self._largest_share)
        self.penalty_shares.append(f"{self.stream.task_name(task)} {share:.2g}")
        if share >= _NEGLIGIBLE:
            return
        option = f"strategy.{self.strength_option}={self.strength_given:g}"
        where, updates = self.stream.task_name(task), self.updates_done - self._began_at
        size = f"the penalty stayed below {max(share, 1e-12):.1g} of the task loss"
        if updates < _FEW:
            message = (
                f"{size} during the {counted(updates, 'update')} of {where}, which began at the weights that the "
                f"penalty protects: raise trainer.max_epochs, or lower data.batch_size, before changing {option}"
            )
        else:
            size += f" during all of {where}"
            message = f"{size}: {option} is orders of magnitude too small to have an effect; {self.useful}"
        warnings.warn(message, stacklevel=2)

    @property
    def strength_given(self) -> float:
        """The strength as given by the option."""
        return self.strength

    def facts(self) -> dict[str, str]:
        """Report the largest share of the penalty."""
        if not self.penalty_shares:
            return {}
        return {f"largest {self.term} penalty / task loss": ", ".join(self.penalty_shares)}

    # ------------------------------------------------------------------ computing over a task's data

    def over_samples(
        self,
        task: int,
        count: int | None,
        batch_size: int,
        compute: Callable[[nn.Module, Batches, list[str]], tuple[dict[str, Tensor], int]],
    ) -> tuple[dict[str, Tensor], int]:
        """Average over training samples of a task, divided among processes.

        Args:
            task: counted from 0.
            count: samples drawn by the seed; None for all.
            batch_size: samples per batch.
            compute: sums and their number, from the network, batches of inputs and labels, and names of parameters.

        Returns:
            Means by parameter, and the number of terms over all processes.
        """
        name = self.stream.train_name(task)
        size = len(self.stream.sets[name])
        index = torch.randperm(size, generator=generator(self.seed, "importance", task))[:count]
        self.network.use(self.stream.domain_of(name))
        self.view(task)

        def batches() -> Batches:
            for part in index.split(batch_size * self.trainer.world_size):
                for batch in self.stream.loader(name, index=part):
                    assert isinstance(batch, Labelled)
                    x = self.trainer.precision_plugin.convert_input(batch.x)
                    yield x, self.problem.renumber(batch.y, -self.outputs.first_active(task))

        sums, terms = compute(self.network, batches(), list(self.protected(task)))
        if self.trainer.world_size > 1:
            reduce = self.trainer.strategy.reduce
            sums = {name: reduce(tensor, reduce_op="sum") for name, tensor in sums.items()}
            terms = int(reduce(torch.tensor(terms, device=self.device), reduce_op="sum"))
        return {name: tensor / terms for name, tensor in sums.items()}, terms

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the reports of earlier tasks, and the penalty's size so far."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["stream"] |= {"told": list(self.penalty_shares), "largest_share": float(self._largest_share)}

    def restore(self, checkpoint: dict[str, Any], data: DataModule) -> None:
        """Restore both."""
        super().restore(checkpoint, data)
        self.penalty_shares = list(checkpoint["stream"]["told"])
        self._largest_share = torch.tensor(checkpoint["stream"]["largest_share"])


def _join(tensors: Sequence[Tensor]) -> Tensor:
    """Return all numbers of tensors in one, ``(P,)``."""
    return torch.cat([tensor.flatten() for tensor in tensors])


def _key(kind: str, name: str) -> str:
    return f"{kind}/{name.replace('.', '/')}"
