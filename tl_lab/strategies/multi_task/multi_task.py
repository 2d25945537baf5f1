"""Training on several tasks at once, with one backbone and one head per task."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from tl_lab.adapters import Adapter
from tl_lab.adapters.of_each_task import OfEachTask
from tl_lab.backbones.base import Backbone
from tl_lab.backbones.of_tasks import BackboneOfTasks
from tl_lab.data.base import DataModule
from tl_lab.data.batches import Labelled, Unlabelled
from tl_lab.data.inputs.operations import take
from tl_lab.domain_adaptation.base import DomainOutput, Phase
from tl_lab.errors import UserError, nearest
from tl_lab.evaluation import TASK_MEAN
from tl_lab.functional import gradient_cosines, gram_matrix
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.options import Natural, NonNegative, Positive, Probability
from tl_lab.problems import SEVERAL, Problem, Several
from tl_lab.problems.several import SeveralCriterion
from tl_lab.strategies.base import Strategy
from tl_lab.strategies.fine_tuning import BACKBONE_RATE
from tl_lab.strategies.multi_task.weighting import WEIGHTINGS, Options

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MultiTask"]


class MultiTask(Strategy):
    """Train on several tasks at once with a shared backbone, according to the layer policy.

    The last layer of the head has separate outputs for each task; hidden layers are shared. The loss of a task is the
    mean over the samples of a batch that have its labels, and exactly 0 if none has. ``weighting`` determines how the
    losses are combined; ``pcgrad``, ``cagrad`` and ``gradnorm`` compute the gradient of each task with respect to the
    shared parameters, in one backward pass per task. Cosines between these gradients are measured at regular intervals.

    Args:
        layers: which layer groups are trained; by default, the top group has 0.1 of the head's learning rate.
        adapters: ``shared`` by all tasks, or ``per_task``: one for each task, which is trained by this task only. A
            bottleneck and hidden layers of the head are always shared.
        weighting: ``uniform``: equal weights of tasks; ``samples``: equal weights of labels; ``uncertainty``, ``dwa``,
            ``gradnorm``, ``pcgrad`` or ``cagrad``.
        dwa_temperature: temperature of ``dwa``, above 0; large values make the weights equal.
        gradnorm_alpha: of ``gradnorm``, at least 0: how strongly the tasks' training rates are tied together.
        cagrad_c: of ``cagrad``, in [0, 1): largest relative distance of the update from the mean gradient; 0 is
            ``uniform``.
        weights_lr: learning rate of the weights of ``uncertainty`` and ``gradnorm``; None for the head's and for .025,
            respectively.
        cosines_every: updates between two measurements of the gradients' cosines; 0 for none.
        options: keyword arguments of :class:`~tl_lab.strategies.base.Strategy`.

    Raises:
        UserError: the weighting does not exist or needs gradients that cannot be computed; or ``adapters=per_task``
            without an adapter.

    References:
        See the functions of :mod:`tl_lab.functional` that the weightings are made of.
    """

    needs = frozenset({"labels", "several tasks"})
    handles = frozenset({"labels", "several tasks", "target"})
    problems = SEVERAL

    cosine_sums: Tensor
    cosine_counts: Tensor

    def __init__(
        self,
        *,
        layers: LayerPolicy,
        backbone: Backbone,
        problem: Problem,
        adapter: Adapter | None = None,
        adapters: Literal["shared", "per_task"] = "shared",
        weighting: Literal["uniform", "samples", "uncertainty", "dwa", "gradnorm", "pcgrad", "cagrad"] = "uniform",
        dwa_temperature: Positive = 2.0,
        gradnorm_alpha: NonNegative = 1.5,
        cagrad_c: Probability = 0.4,
        weights_lr: Positive | None = None,
        cosines_every: Natural = 20,
        **options: Any,
    ) -> None:
        problem = cast(Several, problem)
        if adapters == "per_task":
            if adapter is None or not adapter.changes_backbone:
                raise UserError("strategy.adapters=per_task needs an adapter: set adapter=lora, or leave it at shared")
            adapter = OfEachTask(adapter, list(problem.tasks), problem.owners)
            backbone = adapter.inject(backbone)
        policy = layers.or_rate(BACKBONE_RATE)
        super().__init__(layers=policy, backbone=backbone, problem=problem, adapter=adapter, **options)
        if weighting not in WEIGHTINGS:
            raise UserError(f"strategy.weighting={weighting} does not exist; {nearest(str(weighting), WEIGHTINGS)}")
        self.names = list(problem.tasks)
        numbers, seed = problem.numbers, self.seed
        self.weighting_name = weighting
        self.weighting = WEIGHTINGS[weighting](Options(numbers, seed, dwa_temperature, gradnorm_alpha, cagrad_c))
        self.weights_lr, self.cosines_every = weights_lr, cosines_every
        if self.weighting.needs_gradients and self.accumulate_batches > 1:
            raise UserError(
                f"strategy.weighting={weighting} uses the gradients of each batch: set update.accumulate_batches=1"
            )
        count = len(self.names)
        self.register_buffer("cosine_sums", torch.zeros(count, count, dtype=torch.float64))
        self.register_buffer("cosine_counts", torch.zeros(count, count, dtype=torch.float64))
        self._losses: tuple[Tensor, Tensor] | None = None  # means and counts of the current batch
        self._epoch = torch.zeros(2, count, dtype=torch.float64)  # sums of losses, and the numbers of their terms

    # ------------------------------------------------------------------ trained parameters

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Add the parameters of the weighting, with their own learning rate and without decay."""
        groups = super().parameter_groups()
        if learned := list(self.weighting.parameters()):
            head = self.make_optimizer.keywords["lr"]  # type: ignore[attr-defined]
            rate = self.weights_lr or self.weighting.default_lr or head
            groups.append({"name": "weighting", "share": rate / head, "params": learned, "weight_decay": 0.0})
        return groups

    def shared_parameters(self) -> list[nn.Parameter]:
        """List the parameters that all tasks share and that are trained in this epoch."""
        found = {id(p): p for module in self._shared() for p in module.parameters() if p.requires_grad}
        return list(found.values())

    def _shared(self) -> list[nn.Module]:
        """List the modules that all tasks train; with an adapter per task, these exclude the backbone."""
        head, backbone = self.network.head, self.network.backbone
        hidden = list(head.children())[:-1] if isinstance(head, nn.Sequential) else []
        own = isinstance(backbone, BackboneOfTasks)
        return [*([] if own else [backbone]), self.network.bottleneck, *hidden]

    def on_fit_start(self) -> None:
        """Refuse settings with which the tasks' gradients cannot be computed."""
        if self.weighting.needs_gradients:
            chosen = f"strategy.weighting={self.weighting_name}"
            if self.trainer.world_size > 1:
                raise UserError(f"{chosen} computes the tasks' gradients in one process: use one device")
            if str(self.trainer.precision).startswith("16"):
                raise UserError(
                    f"{chosen} does not suit trainer.precision={self.trainer.precision}: use bf16-mixed or 32-true"
                )
            if not self._may_be_shared():
                raise UserError(
                    f"{chosen} acts on parameters that the tasks share, but none is trained: make layers trainable, or "
                    "set strategy.bottleneck"
                )
        super().on_fit_start()

    def _may_be_shared(self) -> list[nn.Parameter]:
        return [p for module in self._shared() for p in self.learned_by_name(module).values()]

    # ------------------------------------------------------------------ one update

    def _domain_outputs(
        self,
        source: Any,
        target: Unlabelled,
        features: Tensor | None,
        target_features: Tensor | None,
        logits: Tensor | None,
        y: Tensor | None,
        phase: Phase,
    ) -> tuple[DomainOutput, DomainOutput]:
        """Pass to an adaptation only the source samples of the task with a target, if the batch contains any."""
        adapted = getattr(self.data, "adapted", None)
        if adapted is not None and isinstance(self.network.backbone, BackboneOfTasks):
            own = self.names.index(adapted)  # the features of that task's adapter
            features = None if features is None else features[:, own]
            target_features = None if target_features is None else target_features[:, own]
        if adapted is not None and features is not None and logits is not None and y is not None and not self._captured:
            here = cast(Several, self.problem).known(y)[:, self.names.index(adapted)]
            if bool(here.any()):
                source = Labelled(take(source.x, here), source.y[here], source.index[here])
                features, logits, y = features[here], logits[here], y[here]
        return super()._domain_outputs(source, target, features, target_features, logits, y, phase)

    def task_loss(self, outputs: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss of each task, and combine them by the weighting."""
        losses, counts = cast(SeveralCriterion, self.criterion).by_task(outputs, y, weights)
        self._losses = losses, counts
        self._note_losses(losses.detach(), counts)
        return self.weighting.objective(losses, counts)

    def _note_losses(self, losses: Tensor, counts: Tensor) -> None:
        if self.recording is not None:
            self.recording.object_to("the numbers of labels of each task in a batch are read on the CPU")
        here = (counts > 0).tolist()
        weights = self.weighting.current_weights().clone()  # a weighting changes them in place
        self.note({f"{name}_loss": losses[k] for k, name in enumerate(self.names) if here[k]})
        self.note({f"{name}_weight": weights[k] for k, name in enumerate(self.names)})
        self._epoch += torch.stack([losses.double().cpu(), torch.tensor(here, dtype=torch.float64)])

    def train_on(self, batch: Any, batch_idx: int, again: bool = False) -> None:
        """Reset the losses of the previous batch."""
        self._losses = None
        with self._wanted(batch):
            super().train_on(batch, batch_idx, again)

    def _measure(self, name: str, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:  # which may read other batches
            self._prepare_evaluation(self.data.domain_of(name))
        with self._wanted(batch):
            super()._measure(name, batch, batch_idx)

    @contextmanager
    def _wanted(self, batch: Any) -> Iterator[None]:
        """Use the adapter of a task only for samples that have labels of that task."""
        backbone = self.network.backbone
        if not isinstance(backbone, BackboneOfTasks) or not isinstance(batch, Labelled):
            yield
            return
        backbone.known = cast(Several, self.problem).known(batch.y)
        try:
            yield
        finally:
            backbone.known = None

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients of the tasks if they are needed, and those of the objective."""
        due = bool(self.cosines_every) and self._updates_done % max(1, self.cosines_every) == 0
        shared = self.shared_parameters()
        if self._losses is None or not shared or not (self.weighting.needs_gradients or (due and len(self.names) > 1)):
            super().manual_backward(loss, *args, **kwargs)
            return
        losses, counts = self._losses
        gradients = [torch.autograd.grad(one, shared, retain_graph=True, allow_unused=True) for one in losses]
        gram, present = gram_matrix(gradients), (counts > 0).cpu()
        if due:
            self._note_cosines(gram, present)
        super().manual_backward(loss, *args, **kwargs)
        factors = self.weighting.coefficients(gram, losses.detach().cpu(), present, self._updates_done)
        if factors is not None:
            self._reweigh(shared, gradients, (factors - self.weighting.weights.cpu().double()).tolist())

    @staticmethod
    def _reweigh(
        shared: list[nn.Parameter], gradients: Sequence[Sequence[Tensor | None]], changes: list[float]
    ) -> None:
        """Correct the gradients of the shared parameters for coefficients that differ from the objective's weights."""
        for of_task, change in zip(gradients, changes, strict=True):
            for parameter, gradient in zip(shared, of_task, strict=True):
                if change and gradient is not None and parameter.grad is not None:
                    parameter.grad.add_(gradient, alpha=change)

    def _note_cosines(self, gram: Tensor, present: Tensor) -> None:
        cosines = gradient_cosines(gram)
        known = cosines.isfinite() & present[:, None] & present
        self.cosine_sums += torch.where(known, cosines, 0).to(self.cosine_sums)
        self.cosine_counts += known.to(self.cosine_counts)
        pairs = [(i, j) for i in range(len(gram)) for j in range(i) if bool(known[i, j])]
        self.note({f"cosine_{self.names[j]}_{self.names[i]}": float(cosines[i, j]) for i, j in pairs})

    def on_update(self) -> None:
        """Update the weighting."""
        self.weighting.after_update()

    def on_train_epoch_end(self) -> None:
        """Pass the mean losses of the epoch to the weighting."""
        super().on_train_epoch_end()
        sums = self._epoch.to(self.device)
        if self.trainer.world_size > 1:
            sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
        self.weighting.end_epoch(torch.where(sums[1] > 0, sums[0] / sums[1], torch.nan))
        self._epoch.zero_()

    # ------------------------------------------------------------------ reporting

    def _scores(self, prefixes: Mapping[str, str]) -> dict[str, float]:
        """Score every task, and add the mean score under the name that the data define."""
        scores = super()._scores(prefixes)
        if (name := getattr(self.data, "mean_name", TASK_MEAN)) != TASK_MEAN:
            for prefix in prefixes.values():
                scores[f"{prefix}/{name}"] = scores.pop(f"{prefix}/{TASK_MEAN}")
        return scores

    @property
    def cosines(self) -> Tensor:
        """Mean cosines between the tasks' gradients, ``(T, T)``; NaN if none was measured."""
        return (self.cosine_sums / self.cosine_counts).cpu()

    def facts(self) -> dict[str, str]:
        """Report the weighting, with the final weights if they change."""
        text: str = self.weighting_name
        if self.updates_done and self.weighting_name in ("uncertainty", "dwa", "gradnorm"):
            weights = zip(self.names, self.weighting.current_weights().tolist(), strict=True)
            text += f" ({', '.join(f'{name} {value:.3g}' for name, value in weights)} at the end)"
        return {**super().facts(), "weighting": text}

    def artifacts(self, folder: Path, data: DataModule) -> dict[str, Any]:
        """Write the mean cosines."""
        if not bool(self.cosine_counts.any()):
            return {}
        matrix = [[None if value != value else round(value, 6) for value in row] for row in self.cosines.tolist()]
        return {"gradient_cosines": {"tasks": self.names, "mean": matrix}}

    def figures(self, data: DataModule) -> "dict[str, Figure]":
        """Add the matrix of cosines."""
        from tl_lab.results.figures.cosines import cosine_matrix

        figures = super().figures(data)
        if len(self.names) > 1 and bool(self.cosine_counts.any()):
            figures["gradient_cosines"] = cosine_matrix(self.cosines.numpy(), self.names)
        return figures
