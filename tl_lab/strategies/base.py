"""The training loop's step, owned in one place: objective, schedules, freezing, logging, random state."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from tl_lab.backbones.base import Backbone
from tl_lab.data.base import DataModule
from tl_lab.data.batches import DomainBatch, Episode, Labelled, Unlabelled
from tl_lab.data.scenarios.stream import Outputs
from tl_lab.domain_adaptation.base import DomainAdaptation, DomainOutput, Phase, Update
from tl_lab.errors import UserError, nearest
from tl_lab.evaluation import EPISODIC, LABEL_FREE, LABELLED, Meter
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.model.network import Network, weights_stream
from tl_lab.randomness import derive_seed, separate_stream
from tl_lab.training.schedules import Schedule

__all__ = ["Scorer", "Strategy", "Watcher", "WholeSets", "validation_metrics"]

Watcher = Callable[[Mapping[str, Tensor], list[Tensor]], Mapping[str, float]]
"""Looks at the terms of the objective and at the features of each domain, ``(B, D)``, before the backward pass of an
epoch's last batch; what it returns is logged beside the terms. It must leave both as they are."""

Scorer = Callable[["Strategy", DataModule], Mapping[str, float]]
"""Computes further scores at the end of a validation, by name; it must leave weights, modes and random state as they
are."""

_ENCODERS = frozenset({"backbone", "bottleneck", "target_encoder"})


class Strategy(pl.LightningModule):
    """How a backbone's knowledge is used. Subclasses fill the hooks :meth:`penalties`, :meth:`prepare`,
    :meth:`on_gradients` and :meth:`on_update`; the step itself is the same for all.

    One update, in order: rates for this progress, objective, backward, :meth:`on_gradients`, clipping, optimizer
    step, :meth:`on_update`. The objective is the task loss plus every term of the adaptation and the penalties;
    each is logged under its own name.

    Args:
        backbone: the feature extractor.
        adaptation: what ties the target to the source; a NoAdaptation where nothing does.
        num_classes: number of classes C.
        optimizer: called with parameter groups, gives the optimizer; its ``lr`` is the head's rate.
        scheduler: factor of all rates over progress.
        layers: which layer groups learn, at which rates, when.
        bottleneck: width of a trainable layer between backbone and head; None for none.
        head: ``hidden`` widths and ``dropout`` of the classifier.
        label_smoothing: of the cross-entropy, in [0, 1).
        class_weights: None, or ``balanced``: weight N / (C n_c) for a class with n_c of the N training samples.
        class_counts: training samples of each class, ``(C,)``; needed for ``balanced``.
        seed: the run's seed.
        gradient_clip_norm: largest norm of the gradient over all parameters; None for no clipping.
        accumulate_batches: batches whose gradients are averaged for one update, >= 1.
        outputs: which outputs belong to which task of a stream; None where there are no tasks.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    """Traits that the data must have."""
    handles: ClassVar[frozenset[str]] = frozenset({"labels", "target"})
    """Traits that the data may have: others ask for a strategy that knows what to do with them."""
    trains: ClassVar[bool] = True
    """Whether anything is learned before the test."""

    transfers: ClassVar[bool] = True
    """Whether the backbone may start from learned weights; otherwise such weights are left aside, and that is said."""

    def __init__(
        self,
        *,
        backbone: Backbone,
        adaptation: DomainAdaptation,
        num_classes: int,
        optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer],
        scheduler: Schedule,
        layers: LayerPolicy,
        bottleneck: int | None = None,
        head: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        class_weights: str | None = None,
        class_counts: Tensor | None = None,
        seed: int = 0,
        gradient_clip_norm: float | None = None,
        accumulate_batches: int = 1,
        outputs: Outputs | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        _check_options(bottleneck, dict(head or {}), label_smoothing, gradient_clip_norm)
        if accumulate_batches > 1 and any(len(adaptation.phases(progress)) > 1 for progress in (0.0, 0.5, 1.0)):
            raise UserError("update.accumulate_batches must be 1 for an adaptation that updates in phases")
        blocks = None if outputs is None else outputs.blocks
        self.network = Network(backbone, num_classes, bottleneck, seed=seed, blocks=blocks, **dict(head or {}))
        if adaptation.target_encoder:
            self.network.separate_encoders()
        if adaptation.batch_norm == "domain_specific":
            self.network.separate_statistics()
        self.adaptation = adaptation
        with weights_stream(seed, "adaptation"):
            adaptation.build(self.network)
        self._captured: dict[str, list[Tensor]] | None = None
        _capture(self, adaptation.layers)
        self.make_optimizer, self.schedule, self.layers = optimizer, scheduler, layers
        self.label_smoothing, self.seed = label_smoothing, seed
        self.gradient_clip_norm, self.accumulate_batches = gradient_clip_norm, accumulate_batches
        self.num_classes = num_classes
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", _class_weights(class_weights, class_counts), persistent=False)
        self.groups = {name: list(modules) for name, modules in backbone.layer_groups()}  # shallow to deep
        if self.network.target_encoder is not None:
            for name, modules in self.network.target_encoder["backbone"].layer_groups():  # type: ignore[operator]
                self.groups[name] += modules
        layers.chosen(list(self.groups))  # a wrong name is said now, not in the first epoch
        self.updates_done = 0
        self.feeds_features = False  # batches hold the backbone's cached features instead of images
        self.meters = nn.ModuleDict()
        self.last_validation: dict[str, float] = {}
        self.last_test: dict[str, float] = {}
        self._frozen: set[str] = set()
        self.watchers: list[Watcher] = []
        self.scorers: list[Scorer] = []
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}
        self._prepared: set[str] = set()  # domains whose evaluation was prepared in this validation or test

    # ------------------------------------------------------------------ hooks for strategies

    def prepare(self, data: DataModule) -> None:
        """Act once before the first epoch, on the device, with the data at hand (also after a resume)."""

    def penalties(self) -> dict[str, Tensor]:
        """Give the terms that tie the parameters to something (L2-SP, EWC), already weighted."""
        return {}

    def classify(self, features: Tensor, batch: Labelled) -> tuple[Tensor, Tensor]:
        """Give logits ``(B, C)`` of a labelled batch's features ``(B, D)``, and the classes ``(B,)`` among them."""
        return self.network.head(features), batch.y

    def further_terms(self, batch: Labelled, features: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Give terms of the objective that need the batch (replay, distillation), already weighted.

        Args:
            batch: the labelled samples.
            features: their features, ``(B, D)``.
            logits: what the head made of them, ``(B, C)``.
        """
        return {}

    def on_gradients(self) -> None:
        """Change the gradients after their reduction over processes and before clipping."""

    def on_update(self) -> None:
        """Look at the parameters after an optimizer step."""

    def facts(self) -> dict[str, str]:
        """State what must be printed beside any number obtained with this strategy."""
        return {}

    def describe_layers(self) -> str:
        """Say in words which layer groups learn, when and at which share of the rate."""
        names = list(self.groups)
        chosen, shares = self.layers.chosen(names), self.layers.shares(names)
        if not chosen:
            return f"backbone frozen ({', '.join(names)})"
        told = [f"{name} x{shares[name]:.3g}" if shares[name] != 1 else name for name in chosen]
        if frozen := [name for name in names if name not in chosen]:
            told.append(f"frozen: {', '.join(frozen)}")
        if self.layers.unfreeze_every is not None:
            told.append(f"one more group every {self.layers.unfreeze_every} epochs, from the top")
        return ", ".join(told)

    # ------------------------------------------------------------------ the network

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``(B, C)`` from inputs ``(B, ...)``, whether or not training uses cached features."""
        return self.network(x)

    def features(self, x: Tensor) -> Tensor:
        """Compute the head's input, ``(B, D)``, from what the batches hold."""
        return self.network.encoder()[1](x) if self.feeds_features else self.network.features(x)

    def parts(self) -> dict[str, nn.Module]:
        """Name the parts: backbone, bottleneck, head, adaptation, and the target's encoder where it has its own."""
        network = self.network
        own = {} if network.target_encoder is None else {"target_encoder": network.target_encoder}
        return {
            "backbone": network.backbone,
            "bottleneck": network.bottleneck,
            "head": network.head,
            "adaptation": self.adaptation,
            **own,
        }

    def _beside_backbone(self) -> dict[str, nn.Module]:
        """Name what learns at the head's rate: every part but the backbones, which the layer policy rules."""
        parts = {name: part for name, part in self.parts().items() if name != "backbone"}
        if self.network.target_encoder is not None:
            parts["target_encoder"] = self.network.target_encoder["bottleneck"]
        return parts

    def learned_parameters(self) -> list[nn.Parameter]:
        """List the parameters that learn at some time in the run."""
        chosen = self.layers.chosen(list(self.groups))
        modules = [module for name in chosen for module in self.groups[name]]
        modules += list(self._beside_backbone().values())
        fixed = {id(p) for part in self._beside_backbone().values() for p in part.parameters() if not p.requires_grad}
        return [parameter for module in modules for parameter in module.parameters() if id(parameter) not in fixed]

    def train(self, mode: bool = True) -> "Strategy":
        """Set the mode; frozen groups stay in evaluation mode, so that their batch-norm stands still."""
        super().train(mode)
        for name in self._frozen:
            for module in self.groups[name]:
                module.eval()
        return self

    def freeze_for(self, epoch: int) -> None:
        """Let exactly those layer groups learn that the policy names for this epoch."""
        learning = set(self.layers.learning(list(self.groups), epoch))
        self._frozen = set(self.groups) - learning
        for name, modules in self.groups.items():
            for module in modules:
                module.requires_grad_(name in learning)
        self.train(self.training)

    # ------------------------------------------------------------------ optimisation

    def parameter_groups(self) -> list[dict[str, Any]]:
        """List the optimizer's groups, deepest layers last: every one is there from the start, frozen or not."""
        shares = self.layers.shares(list(self.groups))
        groups = [
            {"name": f"backbone/{name}", "share": shares[name], "params": _parameters(self.groups[name])}
            for name in self.layers.chosen(list(self.groups))
        ]
        groups += [
            {"name": name, "share": 1.0, "params": [p for p in part.parameters() if p.requires_grad]}
            for name, part in self._beside_backbone().items()
        ]
        return [group for group in groups if group["params"]]

    def configure_optimizers(self) -> Optimizer:
        """Build the optimizer; each group's rate is its share of the head's."""
        lr = self.make_optimizer.keywords["lr"]  # type: ignore[attr-defined]
        groups = self.parameter_groups()
        for group in groups:
            group["base_lr"] = group["lr"] = lr * group.pop("share")
        try:
            return self.make_optimizer(groups)
        except ValueError as error:
            raise UserError(f"the optimizer refuses its options: {error}") from error

    @property
    def updates_per_epoch(self) -> int:
        """Optimizer updates in an epoch."""
        return -(-int(self.trainer.num_training_batches) // self.accumulate_batches)

    @property
    def progress(self) -> float:
        """Share of the run's updates that are done, in [0, 1]."""
        return self.updates_done / max(1, self.updates_per_epoch * (self.trainer.max_epochs or 1))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Make one update for each phase of the adaptation, from a Labelled, a DomainBatch or an Episode."""
        optimizer = self.optimizers()
        progress = self.progress
        factor = self.schedule(progress)
        for group in optimizer.param_groups:  # type: ignore[union-attr]
            group["lr"] = group["base_lr"] * factor
        source: Labelled | Episode = batch.source if isinstance(batch, DomainBatch) else batch
        target = None if isinstance(batch, Labelled) else batch.target
        batches = int(self.trainer.num_training_batches)
        last = batch_idx + 1 == batches
        updates = (batch_idx + 1) % self.accumulate_batches == 0 or last
        # the last group of an epoch may hold fewer batches
        group = min(self.accumulate_batches, batches - batch_idx // self.accumulate_batches * self.accumulate_batches)
        now = Update(progress, self.updates_done)
        self.adaptation.before_update(self.network, now)
        for phase in self.adaptation.phases(progress):
            loss = self._objective(source, target, replace(now, phase=phase.name), phase, watched=last)
            self.manual_backward(loss / group)
            if updates:
                self._update(optimizer, phase)
        if updates:
            self.adaptation.after_update(self.network, now)
        self.updates_done += updates
        if last or (batch_idx + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._flush(lr=optimizer.param_groups[-1]["lr"])  # type: ignore[union-attr]

    def _objective(
        self, source: Labelled | Episode, target: Unlabelled | None, update: Update, phase: Phase, watched: bool = False
    ) -> Tensor:
        """Sum the weighted terms, and keep each for the log."""
        terms: dict[str, Tensor] = {}
        logs: dict[str, Tensor | float] = {}
        self._captured = {name: [] for name in self.adaptation.layers}
        features, target_features, logits, y = self.outputs_for(source, target, phase)
        if phase.task:
            scored = source.query.index.flatten() if isinstance(source, Episode) else source.index
            weights = self.adaptation.sample_weights(scored)
            terms["task_loss"] = self.task_loss(logits, y, weights)
            if weights is not None:  # the share of equally weighted samples that would carry as much
                squares = len(weights) * weights.square().sum()
                logs["effective_share"] = weights.sum().square() / squares.clamp(min=torch.finfo(weights.dtype).tiny)
            logs["acc"] = (logits.detach().argmax(1) == y).float().mean()
        if target is not None and target_features is not None:
            assert features is not None
            wants = self.adaptation.needs_target_logits
            target_logits = self.network.head(target_features) if wants else None
            layers = {
                name: torch.cat(outputs).split([len(source.x), len(target.x)])
                for name, outputs in self._captured.items()
            }
            of_source = DomainOutput(
                features, logits, y, source.index, source.x, {name: both[0] for name, both in layers.items()}
            )
            of_target = DomainOutput(
                target_features,
                target_logits,
                None,
                target.index,
                target.x,
                {name: both[1] for name, both in layers.items()},
            )
            with self._adaptations_stream():
                adaptation = self.adaptation.adapt(of_source, of_target, update)
            terms.update(adaptation.terms)
            logs.update(adaptation.logs)
        self._captured = None
        if phase.task:
            if isinstance(source, Labelled):
                assert features is not None
                terms.update(self.further_terms(source, features, logits))
            terms.update(self.penalties())
        loss = torch.stack(list(terms.values())).sum() if len(terms) > 1 else next(iter(terms.values()))
        if watched:
            seen = [part for part in (features, target_features) if part is not None]
            for watch in self.watchers:
                logs.update(watch(terms, seen))
        for name, value in {"loss": loss, **terms, **logs}.items():
            value = value.detach() if isinstance(value, Tensor) else value
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1
        return loss

    def outputs_for(
        self, source: Labelled | Episode, target: Unlabelled | None, phase: Phase
    ) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
        """Compute what the objective is made of.

        Returns:
            Features of the source and of the target, ``(B, D)``, None where there are none; logits ``(M, C)``, and the
            classes ``(M,)`` among them.
        """
        assert isinstance(source, Labelled), "episodes ask for a strategy that knows them"
        features, target_features = self.features_of_both(source, target, phase)
        return features, target_features, *self.classify(features, source)

    def _adaptations_stream(self, use: str = "adaptation") -> AbstractContextManager[None]:
        """Keep the adaptation's random numbers (dropout, changes of the input) from shifting the network's."""
        draws = use != "adaptation" or any(isinstance(module, nn.Dropout) for module in self.adaptation.modules())
        if not draws:
            return nullcontext()
        return separate_stream(derive_seed(self.seed, use, self.global_rank, self.updates_done), self.device)

    def features_of_both(
        self, source: Labelled | Episode, target: Unlabelled | None, phase: Phase
    ) -> tuple[Tensor, Tensor | None]:
        """Compute the features of both domains, in one batch where the adaptation shares batch-norm statistics."""
        x, target_x = self._inputs(source, target)
        with torch.set_grad_enabled(bool(phase.learns & _ENCODERS)):
            if target_x is None:
                self.network.use("source")
                return self.features(x), None
            if len(x) == 0 or len(target_x) == 0:
                raise UserError(
                    f"a training batch holds {len(x)} samples of the source and {len(target_x)} of the target: an "
                    "adaptation needs some of both; check the data's sizes and data.batch_size"
                )
            if self.adaptation.batch_norm == "joint" and not self.adaptation.target_encoder:
                both = self.features(torch.cat([x, target_x]))
                return both[: len(x)], both[len(x) :]
            self.network.use("source")
            of_source = self.features(x)
            self.network.use("target")
            return of_source, self.features(target_x)

    def _inputs(self, source: Labelled | Episode, target: Unlabelled | None) -> tuple[Tensor, Tensor | None]:
        """Let the adaptation change the inputs, in [0, 1] if they are images."""
        target_x = None if target is None else target.x
        if not self.adaptation.changes_inputs:
            return source.x, target_x
        wanted = self.network.backbone.preprocessing
        with self._adaptations_stream("adaptation/inputs"):
            x = wanted.normalise(self.adaptation.source_input(wanted.restore(source.x)))
            if target_x is not None:
                target_x = wanted.normalise(self.adaptation.target_input(wanted.restore(target_x)))
        return x, target_x

    def task_loss(self, logits: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Cross-entropy of logits ``(B, C)`` and classes ``(B,)``; weights ``(B,)`` scale the samples' losses."""
        if weights is None:
            return self.cross_entropy(logits, y)
        return (weights * self.cross_entropy(logits, y, reduction="none")).mean()

    def cross_entropy(self, logits: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Cross-entropy with the run's class weights and label smoothing, whatever else the task loss does with it."""
        options: dict[str, Any] = {"weight": self.class_weights, "label_smoothing": self.label_smoothing}
        return F.cross_entropy(logits, y, reduction=reduction, **options)

    def _update(self, optimizer: Any, phase: Phase) -> None:
        for name, part in self.parts().items():
            if name not in phase.learns:
                part.zero_grad()
        optimizer.step()
        optimizer.zero_grad()
        self.on_update()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Hand the gradients to the strategy and clip them, after half precision's loss scale was taken out."""
        self.on_gradients()
        if self.gradient_clip_norm is not None:
            self.clip_gradients(optimizer, self.gradient_clip_norm, "norm")

    # ------------------------------------------------------------------ measuring

    def validation_step(self, batch: Labelled | Unlabelled | Episode, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Take a batch into the set's meter; during training, of cached features where those are served."""
        self._measure(self.data.val_names[dataloader_idx], batch, batch_idx)

    def test_step(self, batch: Labelled | Unlabelled | Episode, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Take a batch into the set's meter."""
        self._measure(self.data.test_names[dataloader_idx], batch, batch_idx)

    def _measure(self, name: str, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self._prepare_evaluation(self.data.domain_of(name))
        self._take_in(name, self.features(batch.x), batch)

    def _take_in(self, name: str, features: Tensor, batch: Labelled | Unlabelled) -> None:
        if isinstance(batch, Labelled):
            self.meters[name].update(*self.classify(features, batch))  # type: ignore[operator]
        else:
            self.meters[name].update(self.network.head(features), None)  # type: ignore[operator]

    def _prepare_evaluation(self, domain: str | None) -> None:
        self.network.use(domain)
        if str(domain) not in self._prepared:
            self._prepared.add(str(domain))
            self.adaptation.before_evaluation(self.network, domain, WholeSets(self, self.data))

    def return_to(self, domain: str) -> None:
        """Prepare the network for a domain that it was prepared for before, after another one."""
        self.network.use(domain)
        self.adaptation.before_evaluation(self.network, domain, WholeSets(self, self.data))

    def on_validation_epoch_start(self) -> None:
        """Forget what was prepared for other weights."""
        self._prepared.clear()

    def on_test_epoch_start(self) -> None:
        """Forget what was prepared for other weights."""
        self._prepared.clear()

    def on_validation_epoch_end(self) -> None:
        """Log the scores of every validation set."""
        self.last_validation = self._scores({name: _val_prefix(name) for name in self.data.val_names})
        losses = {name: value for name, value in self.last_validation.items() if name.endswith("/loss")}
        losses = {name: value for name, value in losses.items() if not name.startswith("oracle/")}  # stops nothing
        if wrong := [name for name, value in losses.items() if not math.isfinite(value)]:
            raise self._diverged(" and ".join(wrong))
        for scorer in self.scorers:
            self.last_validation |= scorer(self, self.data)
        self.record(self.last_validation)

    def on_test_epoch_end(self) -> None:
        """Log the scores of every test set."""
        self.last_test = self._scores({name: self.data.metric_prefix(name) for name in self.data.test_names})
        self.record(self.last_test)

    def _scores(self, prefixes: Mapping[str, str]) -> dict[str, float]:
        return {
            f"{prefix}/{score}": value
            for name, prefix in prefixes.items()
            for score, value in self.meters[name].compute().items()  # type: ignore[operator]
        }

    def record(self, metrics: Mapping[str, float]) -> None:
        """Write metrics under the current update, and offer them to callbacks (checkpoints, early stopping)."""
        self.log_dict(dict(metrics), logger=False, rank_zero_only=False)
        self._write(metrics)

    def _write(self, metrics: Mapping[str, float]) -> None:
        epoch = {"epoch": self.current_epoch} if self.trainer.state.fn == TrainerFn.FITTING else {}
        for logger in self.loggers:
            logger.log_metrics({**epoch, **metrics}, step=self.updates_done)

    def _flush(self, lr: float) -> None:
        """Log the means of all terms since the last time; stop if one of them is not finite."""
        names = list(self._sums)
        means = torch.stack([torch.as_tensor(self._sums[name], dtype=torch.float32).cpu() for name in names])
        means = means / torch.tensor([self._counts[name] for name in names])
        if self.trainer.world_size > 1:
            means = self.trainer.strategy.reduce(means.to(self.device), reduce_op="mean").cpu()
        values = dict(zip(names, means.tolist(), strict=True))
        if wrong := [name for name in names if not math.isfinite(values[name])]:
            raise self._diverged(" and ".join(wrong))
        self._sums, self._counts = {}, {}
        self.log("train/loss", values["loss"], prog_bar=True, logger=False)
        self._write({**{f"train/{name}": value for name, value in values.items()}, "train/lr": lr})

    def _diverged(self, what: str) -> UserError:
        return UserError(
            f"training diverged: {what} became NaN or infinite by update {self.updates_done} (epoch "
            f"{self.current_epoch}): lower optimizer.lr or set update.gradient_clip_norm, and check the inputs' range; "
            "checkpoints of earlier epochs are intact"
        )

    # ------------------------------------------------------------------ Lightning's events

    @property
    def data(self) -> DataModule:
        """The data module of the running trainer."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def setup(self, stage: str) -> None:
        """Make the meters of the sets that this stage measures."""
        names = self.data.test_names if stage == "test" else self.data.val_names
        for name in names:
            self.meters[name] = Meter(self.num_classes)

    def on_fit_start(self) -> None:
        """Let the strategy and, before the first update, the adaptation prepare themselves."""
        self.prepare(self.data)
        if self.updates_done == 0:
            self.adaptation.before_training(WholeSets(self, self.data))

    def on_train_epoch_start(self) -> None:
        """Freeze and unfreeze for this epoch, and open its dropout stream."""
        self.freeze_for(self.current_epoch)
        self._prepared.clear()
        # a function of seed, process and epoch: nothing has to be kept for a resumed run
        torch.manual_seed(derive_seed(self.seed, "dropout", self.global_rank, self.current_epoch))

    def on_train_epoch_end(self) -> None:
        """Refuse weights that are not finite, before a checkpoint is written over a good one."""
        for name, parameter in self.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise self._diverged(f"the parameter {name}")
        if self.data.has_target and "target" not in self._prepared:
            # an epoch without validation: the checkpoint holds the target's statistics all the same
            self.eval()
            with torch.no_grad():
                self._prepare_evaluation("target")
            self.train()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what Lightning does not: updates done, the last validation, and what predictions need."""
        checkpoint["updates_done"] = self.updates_done
        checkpoint["last_validation"] = dict(self.last_validation)
        checkpoint["model"] = {
            "class_names": list(self.data.class_names),
            "shape": list(self.data.shape),
            "preprocessing": asdict(self.network.backbone.preprocessing),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again."""
        self.updates_done = checkpoint["updates_done"]
        self.last_validation = dict(checkpoint["last_validation"])
        # a run's folder may have been moved; Lightning would forget its best score then
        for callback in self.trainer.checkpoint_callbacks:
            state = checkpoint["callbacks"].get(callback.state_key, {})
            state["dirpath"] = getattr(callback, "dirpath", None)

    # ------------------------------------------------------------------ computing over data

    @torch.no_grad()
    def backbone_features(self, data: DataModule, name: str) -> Tensor:
        """Run the backbone over a set once, in evaluation mode, without augmentation, shared by all processes.

        Args:
            data: the data module.
            name: of the set.

        Returns:
            Features in the set's order, ``(N, backbone.num_features)``, on the device.
        """
        self.network.use(data.domain_of(name))
        backbone, loader = self.network.encoder()[0], data.loader(name, cached=False)
        mode, size = backbone.training, (len(data.sets[name]), backbone.num_features)
        backbone.eval()
        features = torch.zeros(size, device=self.device)
        precision = self.trainer.precision_plugin
        large = not isinstance(data.sets[name].x, Tensor) or data.sets[name].x.numel() > 10**8  # type: ignore
        for batch in track(loader, f"features of {name}", len(loader), transient=True, disable=not large):
            with precision.forward_context():
                features[batch.index] = backbone(precision.convert_input(batch.x.to(self.device))).to(features)
        backbone.train(mode)
        if self.trainer.world_size > 1:
            features = self.trainer.strategy.reduce(features, reduce_op="sum")
        return features


class WholeSets:
    """Whole sets for an adaptation (see :class:`~tl_lab.domain_adaptation.base.Domains`): every process gets all.

    Args:
        strategy: whose backbone computes features.
        data: the data module.
    """

    def __init__(self, strategy: Strategy, data: DataModule) -> None:
        self._strategy, self._data = strategy, data

    def inputs(self, name: str) -> Tensor:
        """Give a set as the network gets it, ``(N, ...)``, without augmentation."""
        return torch.cat(list(self.batches(name)))

    def features(self, name: str) -> Tensor:
        """Give the backbone's features of a set, ``(N, D)``, in evaluation mode."""
        return self._strategy.backbone_features(self._data, self._data.set_for(name))

    def batches(self, name: str) -> Iterator[Tensor]:
        """Give the network's inputs in the set's order, batch by batch, on the device."""
        precision = self._strategy.trainer.precision_plugin
        for batch in self._data.loader(self._data.set_for(name), cached=False, shared=False):
            yield precision.convert_input(batch.x.to(self._strategy.device))


def _capture(strategy: Strategy, names: Iterable[str]) -> None:
    """Keep the outputs of the network's modules that the adaptation looks at, while an objective is computed."""
    modules = dict(strategy.network.named_modules())
    for name in names:
        if name not in modules:
            raise UserError(f"the network has no module {name!r} for the adaptation; {nearest(name, modules)}")

        def keep(module: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
            if strategy._captured is not None:
                strategy._captured[name].append(output)

        modules[name].register_forward_hook(keep)


def validation_metrics(data: DataModule) -> list[str]:
    """Name the metrics that validation logs for some data."""
    chosen_by = [name for name in data.val_names if not name.endswith("/test")]
    labelled = EPISODIC if "episodes" in data.traits else LABELLED
    names = {name: LABEL_FREE if data.sets[name].y is None else labelled for name in chosen_by}
    return [f"{_val_prefix(name)}/{metric}" for name, metrics in names.items() for metric in metrics]


def _val_prefix(name: str) -> str:
    # a set without labels is the training part of a target: its scores stand beside the validation's
    *where, split = name.split("/")
    if where and split == "test":
        return "/".join(["oracle", *where])  # for comparison with what labels would have chosen, never to choose
    return "/".join(["val", *where]) if where else name


def _parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]


def _check_options(
    bottleneck: int | None, head: dict[str, Any], label_smoothing: float, gradient_clip_norm: float | None
) -> None:
    if bottleneck is not None and bottleneck < 1:
        raise UserError(f"strategy.bottleneck is null or at least 1, not {bottleneck}")
    for name in head:
        if name not in ("hidden", "dropout"):
            raise UserError(f"strategy.head has no key {name!r}; {nearest(name, ('hidden', 'dropout'))}")
    if any(width < 1 for width in head.get("hidden", ())):
        raise UserError(f"strategy.head.hidden are widths of at least 1, not {list(head['hidden'])}")
    if not 0 <= head.get("dropout", 0.0) < 1:
        raise UserError(f"strategy.head.dropout is in [0, 1), not {head['dropout']}")
    if not 0 <= label_smoothing < 1:
        raise UserError(f"strategy.label_smoothing is in [0, 1), not {label_smoothing}")
    if gradient_clip_norm is not None and gradient_clip_norm <= 0:
        raise UserError(f"update.gradient_clip_norm is null or above 0, not {gradient_clip_norm}")


def _class_weights(choice: str | None, counts: Tensor | None) -> Tensor | None:
    if choice is None:
        return None
    if choice != "balanced":
        raise UserError(f"strategy.class_weights is null or 'balanced', not {choice!r}")
    assert counts is not None, "balanced class weights need the class counts"
    return counts.sum() / (len(counts) * counts.clamp(min=1).float())
