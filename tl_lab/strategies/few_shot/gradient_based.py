"""Base class of the strategies that adapt weights to each episode's support by gradient descent."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from tl_lab.data.batches import Episode, Labelled, Unlabelled
from tl_lab.domain_adaptation.base import Phase
from tl_lab.errors import UserError
from tl_lab.functional import adapt, over_tasks, with_gradient
from tl_lab.functional.inner_loop import TASKS, Weights
from tl_lab.options import Count, Natural, Positive
from tl_lab.strategies.few_shot.base import FewShotStrategy

__all__ = ["GradientBased"]

_PARTS = ("backbone", "bottleneck", "head")
_COUNTER = "num_batches_tracked"
_GATHERED = ("running_mean", "running_var", _COUNTER)


class GradientBased(FewShotStrategy):
    """Train initial weights from which a few gradient steps on a support give a good classifier of its queries.

    Subclasses implement :meth:`learn`, which computes the gradient of the initial weights from a step's episodes.

    In training, batch normalisation uses the statistics of the current batch in both loops. The running statistics are
    updated by those of the queries under the adapted weights: each episode starts from the shared ones, and the mean
    over episodes is stored.

    Args:
        inner_steps: steps on a support in training, >= 1.
        test_inner_steps: steps in validation and test, >= 0.
        inner_rate: learning rate of these steps, > 0.
        tasks: compute the episodes of a step in a ``loop`` or under ``vmap``; ``auto``: a loop on the CPU, where it is
            faster (``benchmarks/few_shot.py``), else vmap.
        batch_norm: as for every few-shot strategy; the literature reports ``transductive``.
        options: keyword arguments of :class:`~tl_lab.strategies.few_shot.base.FewShotStrategy`.
    """

    fixed_way = True
    has_head = True
    learns_at_test = True
    shardable = False
    adapted_parts: ClassVar[tuple[str, ...]] = _PARTS
    """Parts of the network whose weights are adapted; a row at its end."""

    def __init__(
        self,
        *,
        inner_steps: Count,
        test_inner_steps: Natural,
        inner_rate: Positive,
        tasks: Literal["auto", "loop", "vmap"] = "auto",
        batch_norm: Literal["running", "transductive"] = "transductive",
        **options: Any,
    ) -> None:
        super().__init__(batch_norm=batch_norm, **options)
        self._learned: dict[str, nn.Parameter] | None = None
        if inner_steps < 1 or test_inner_steps < 0:
            raise UserError(
                f"strategy.inner_steps must be at least 1 and strategy.test_inner_steps at least 0, not {inner_steps} "
                f"and {test_inner_steps}"
            )
        if not inner_rate > 0:
            raise UserError(f"strategy.inner_rate must be above 0, not {inner_rate}")
        if tasks not in ("auto", *TASKS):
            raise UserError(f"strategy.tasks must be 'auto', 'loop' or 'vmap', not {tasks!r}")
        self.inner_steps, self.test_inner_steps = inner_steps, test_inner_steps
        self.inner_rate, self._tasks = inner_rate, tasks
        self._gradient: dict[str, Tensor] = {}
        self._norms = [
            (name, module)
            for name, module in self.network.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
        ]

    @property
    def tasks(self) -> str:
        """How the episodes of a step are computed on this device: ``loop`` or ``vmap``."""
        if self._tasks != "auto":
            return self._tasks
        return "loop" if self.device.type == "cpu" else "vmap"

    def on_fit_start(self) -> None:
        """Convert the memory format of the weights before training."""
        self._arrange()
        super().on_fit_start()

    def _arrange(self) -> None:
        """Convert weights to the memory format that vmap supports; a loop keeps the chosen format."""
        if self.tasks == "vmap":
            self.network.to(memory_format=torch.contiguous_format)

    # ------------------------------------------------------------------ implemented by subclasses

    def learn(self, episode: Episode, weights: Weights, statistics: dict[str, Tensor]) -> Any:
        """Compute the gradient that the optimizer receives for a step's episodes.

        Args:
            episode: E episodes.
            weights: the trained weights, by their names in the network.
            statistics: of batch normalisation, one copy per episode, ``(E, ...)``; passed to :meth:`classify_adapted`.

        Returns:
            The gradient by name; logits of the queries, ``(E, N*Q, N)``, and new statistics, ``(E, ...)``, by name.
        """
        raise NotImplementedError

    # ------------------------------------------------------------------ one episode

    def adapted(
        self, weights: Weights, x: Tensor, y: Tensor, steps: int, first_order: bool, rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Adapt weights to one support.

        Args:
            weights: the trained weights, by their names in the network.
            x: the support's inputs, ``(N*K, ...)``.
            y: their classes, ``(N*K,)``.
            steps: number of steps.
            first_order: treat the gradients as constants.
            rows: samples of each step, ``(steps, B)``; None for all.

        Returns:
            The weights of the adapted parts.
        """
        ungathered: Any = dict.fromkeys(self._gathered())
        below = self._run(_PARTS[: -len(self.adapted_parts)], {**weights, **ungathered}, x)

        def loss(own: Weights, step: int) -> Tensor:
            inputs, labels = (below, y) if rows is None else (below[rows[step]], y[rows[step]])
            return F.cross_entropy(self._run(self.adapted_parts, {**own, **ungathered}, inputs), labels)

        start = {name: weight for name, weight in weights.items() if name.partition(".")[0] in self.adapted_parts}
        return adapt(loss, start, steps, self.inner_rate, first_order, self.tasks)

    def classify_adapted(self, weights: Weights, adapted: Weights, x: Tensor, statistics: Weights) -> dict[str, Tensor]:
        """Return the ``logits`` of one episode's queries ``(N*Q, ...)``, and the statistics after them, by name."""
        gathered = {name: tensor.clone() for name, tensor in statistics.items()}  # batch-norm changes them in place
        others: Any = {name: None for name in self._gathered() if name not in gathered}
        logits = self._run(_PARTS, {**weights, **adapted, **gathered, **others}, x)
        return {"logits": logits, **gathered}

    def _run(self, parts: tuple[str, ...], tensors: Weights, x: Tensor) -> Tensor:
        for part in parts:
            own = {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
            x = functional_call(self.network.get_submodule(part), own, (x,))
        return x

    # ------------------------------------------------------------------ training and test

    def outputs_for(
        self, source: Labelled | Episode, target: Unlabelled | None, phase: Phase
    ) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
        """Compute the adapted logits of all queries ``(E*N*Q, N)``, and keep the gradient of the initial weights."""
        assert isinstance(source, Episode)
        self.network.use("source")
        buffers = dict(self.network.named_buffers(remove_duplicate=False))
        names = [name for name in self._gathered() if not name.endswith(_COUNTER)]
        statistics = {name: buffers[name].expand(len(source.support.y), *buffers[name].shape) for name in names}
        captured, self._captured = self._captured, None  # an adaptation sees the initial weights only
        self._gradient, outputs = self.learn(source, self._learning(), statistics)
        self._captured = captured
        for name in names:
            buffers[name].copy_(outputs[name].mean(0))
        features, of_target = (None, None) if target is None else self.features_of_both(source, target, phase)
        return features, of_target, outputs["logits"].flatten(0, 1), source.query.y.flatten()

    def task_loss(self, logits: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the cross-entropy of the queries; its backward pass returns the gradient that is already computed."""
        if weights is not None:
            raise UserError(f"{type(self).__name__} does not support weights of samples: use another domain_adaptation")
        return with_gradient(super().task_loss(logits, y), self._learning(), self._gradient)

    def episode_logits(self, support: Labelled, query: Labelled, way: int) -> Tensor:
        """Adapt to each support as in a test, and classify the queries: ``(E, N*Q, N)``."""
        self._arrange()
        weights = {name: weight.detach() for name, weight in self._learning().items()}

        def episode(x: Tensor, y: Tensor, query_x: Tensor) -> dict[str, Tensor]:
            adapted = self.adapted(weights, x, y, self.test_inner_steps, first_order=True)
            return self.classify_adapted(weights, adapted, query_x, {})

        return over_tasks(episode, (support.x, support.y, query.x), self.tasks)["logits"]

    def _learning(self) -> dict[str, nn.Parameter]:
        """Return the weights of the network that are trained in this epoch, by name."""
        if self._learned is None:  # used in every step; the set of trained parameters does not change
            self._learned = self.learned_by_name(self.network)
        return {name: p for name, p in self._learned.items() if p.requires_grad}

    def _gathered(self) -> list[str]:
        """Return the names of the batch-norm buffers that a forward pass in training would change."""
        norms = ((name, norm) for name, norm in self._norms if norm.training and norm.track_running_stats)
        return [f"{name}.{buffer}" for name, _ in norms for buffer in _GATHERED]

    def facts(self) -> dict[str, str]:
        """Report the inner loop."""
        steps = f"{self.inner_steps} in training, {self.test_inner_steps} at test"
        return {**super().facts(), "inner steps": f"{steps}, rate {self.inner_rate:g}"}
