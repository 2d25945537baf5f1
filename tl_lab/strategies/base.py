"""The training loop's step, owned in one place: objective, schedules, freezing, logging, random state."""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
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
from tl_lab.data.batches import DomainBatch, Labelled, Unlabelled
from tl_lab.domain_adaptation.base import DomainAdaptation, DomainOutput
from tl_lab.errors import UserError, nearest
from tl_lab.evaluation import LABEL_FREE, LABELLED, Meter
from tl_lab.networks import Network, weights_stream
from tl_lab.randomness import derive_seed, separate_stream
from tl_lab.schedules import Schedule
from tl_lab.strategies.layers import LayerPolicy

__all__ = ["Strategy", "validation_metrics"]


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
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    """Traits that the data must have."""

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
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        _check_options(bottleneck, dict(head or {}), label_smoothing, gradient_clip_norm)
        if accumulate_batches > 1 and len(adaptation.phases) > 1:
            raise UserError("update.accumulate_batches must be 1 for an adaptation that updates in phases")
        self.network = Network(backbone, num_classes, bottleneck, seed=seed, **dict(head or {}))
        if adaptation.batch_norm == "domain_specific":
            self.network.separate_statistics()
        self.adaptation = adaptation
        with weights_stream(seed, "adaptation"):
            adaptation.build(self.network.num_features, num_classes)
        self.make_optimizer, self.schedule, self.layers = optimizer, scheduler, layers
        self.label_smoothing, self.seed = label_smoothing, seed
        self.gradient_clip_norm, self.accumulate_batches = gradient_clip_norm, accumulate_batches
        self.num_classes = num_classes
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", _class_weights(class_weights, class_counts), persistent=False)
        self.groups = dict(backbone.layer_groups())  # by name, shallow to deep
        layers.chosen(list(self.groups))  # a wrong name is said now, not in the first epoch
        self.updates_done = 0
        self.feeds_features = False  # batches hold the backbone's cached features instead of images
        self.meters = nn.ModuleDict()
        self.last_validation: dict[str, float] = {}
        self.last_test: dict[str, float] = {}
        self._frozen: set[str] = set()
        self._sums: dict[str, Tensor | float] = {}
        self._summed = 0

    # ------------------------------------------------------------------ hooks for strategies

    def prepare(self, data: DataModule) -> None:
        """Act once before the first epoch, on the device, with the data at hand (also after a resume)."""

    def penalties(self) -> dict[str, Tensor]:
        """Give the terms that tie the parameters to something (L2-SP, EWC), already weighted."""
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
        return self.network.bottleneck(x) if self.feeds_features else self.network.features(x)

    def parts(self) -> dict[str, nn.Module]:
        """Name the network's parts: backbone, bottleneck, head, adaptation."""
        network = self.network
        return {
            "backbone": network.backbone,
            "bottleneck": network.bottleneck,
            "head": network.head,
            "adaptation": self.adaptation,
        }

    def learned_parameters(self) -> list[nn.Parameter]:
        """List the parameters that learn at some time in the run."""
        chosen = self.layers.chosen(list(self.groups))
        modules = [module for name in chosen for module in self.groups[name]]
        modules += [part for name, part in self.parts().items() if name != "backbone"]
        return [parameter for module in modules for parameter in module.parameters()]

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
            {"name": name, "share": 1.0, "params": list(part.parameters())}
            for name, part in self.parts().items()
            if name != "backbone"
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

    def training_step(self, batch: Labelled | DomainBatch, batch_idx: int) -> None:
        """Make one update for each phase of the adaptation."""
        optimizer = self.optimizers()
        progress = self.progress
        factor = self.schedule(progress)
        for group in optimizer.param_groups:  # type: ignore[union-attr]
            group["lr"] = group["base_lr"] * factor
        source, target = (batch.source, batch.target) if isinstance(batch, DomainBatch) else (batch, None)
        batches = int(self.trainer.num_training_batches)
        last = batch_idx + 1 == batches
        updates = (batch_idx + 1) % self.accumulate_batches == 0 or last
        # the last group of an epoch may hold fewer batches
        group = min(self.accumulate_batches, batches - batch_idx // self.accumulate_batches * self.accumulate_batches)
        for phase in self.adaptation.phases:
            loss = self._objective(source, target, progress, phase)
            self.manual_backward(loss / group)
            if updates:
                self._update(optimizer, phase)
        self.updates_done += updates
        self._summed += 1
        if last or (batch_idx + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._flush(lr=optimizer.param_groups[-1]["lr"])  # type: ignore[union-attr]

    def _objective(self, source: Labelled, target: Unlabelled | None, progress: float, phase: str) -> Tensor:
        """Sum the weighted terms, and keep each for the log."""
        features, target_features = self._features_of_both(source, target)
        logits = self.network.head(features)
        weights = self.adaptation.sample_weights(source.index)
        terms = {"task_loss": self.task_loss(logits, source.y, weights)}
        logs: dict[str, Tensor | float] = {"acc": (logits.detach().argmax(1) == source.y).float().mean()}
        if target is not None and target_features is not None:
            wants = self.adaptation.needs_target_logits
            target_logits = self.network.head(target_features) if wants else None
            of_source = DomainOutput(features, logits, source.y, source.index)
            of_target = DomainOutput(target_features, target_logits, None, target.index)
            with self._adaptations_stream():
                adaptation = self.adaptation.adapt(of_source, of_target, progress, phase)
            terms.update(adaptation.terms)
            logs.update(adaptation.logs)
        terms.update(self.penalties())
        loss = torch.stack(list(terms.values())).sum() if len(terms) > 1 else terms["task_loss"]
        for name, value in {"loss": loss, **terms, **logs}.items():
            value = value.detach() if isinstance(value, Tensor) else value
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        return loss

    def _adaptations_stream(self) -> AbstractContextManager[None]:
        """Keep the adaptation's dropout from shifting the network's."""
        if not any(isinstance(module, nn.Dropout) for module in self.adaptation.modules()):
            return nullcontext()
        seed = derive_seed(self.seed, "adaptation", self.global_rank, self.updates_done)
        return separate_stream(seed, self.device)

    def _features_of_both(self, source: Labelled, target: Unlabelled | None) -> tuple[Tensor, Tensor | None]:
        x = self.adaptation.source_input(source.x)
        if target is None:
            return self.features(x), None
        if self.adaptation.batch_norm == "joint":
            both = self.features(torch.cat([x, target.x]))
            return both[: len(x)], both[len(x) :]
        self.network.use("source")
        of_source = self.features(x)
        self.network.use("target")
        return of_source, self.features(target.x)

    def task_loss(self, logits: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Cross-entropy of logits ``(B, C)`` and classes ``(B,)``; weights ``(B,)`` scale the samples' losses."""
        options: dict[str, Any] = {"weight": self.class_weights, "label_smoothing": self.label_smoothing}
        if weights is None:
            return F.cross_entropy(logits, y, **options)
        return (weights * F.cross_entropy(logits, y, reduction="none", **options)).mean()

    def _update(self, optimizer: Any, phase: str) -> None:
        learns = self.adaptation.learns(phase)
        for name, part in self.parts().items():
            if name not in learns:
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

    def validation_step(self, batch: Labelled | Unlabelled, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Take a batch into the set's meter; during training, of cached features where those are served."""
        self._measure(self.data.val_names[dataloader_idx], batch, batch_idx)

    def test_step(self, batch: Labelled | Unlabelled, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Take a batch into the set's meter."""
        self._measure(self.data.test_names[dataloader_idx], batch, batch_idx)

    def _measure(self, name: str, batch: Labelled | Unlabelled, batch_idx: int) -> None:
        if batch_idx == 0:
            domain = name.split("/")[0] if "/" in name else None
            self.network.use(domain)
            self.adaptation.before_evaluation(self.network, domain)
        y = batch.y if isinstance(batch, Labelled) else None
        self.meters[name].update(self.network.head(self.features(batch.x)), y)  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        """Log the scores of every validation set."""
        self.last_validation = self._scores({name: _val_prefix(name) for name in self.data.val_names})
        losses = {name: value for name, value in self.last_validation.items() if name.endswith("/loss")}
        if wrong := [name for name, value in losses.items() if not math.isfinite(value)]:
            raise self._diverged(" and ".join(wrong))
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
        means = means / (self._summed * len(self.adaptation.phases))
        if self.trainer.world_size > 1:
            means = self.trainer.strategy.reduce(means.to(self.device), reduce_op="mean").cpu()
        values = dict(zip(names, means.tolist(), strict=True))
        if wrong := [name for name in names if not math.isfinite(values[name])]:
            raise self._diverged(" and ".join(wrong))
        self._sums, self._summed = {}, 0
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
        """Let the strategy prepare itself."""
        self.prepare(self.data)

    def on_train_epoch_start(self) -> None:
        """Freeze and unfreeze for this epoch, and open its dropout stream."""
        self.freeze_for(self.current_epoch)
        # a function of seed, process and epoch: nothing has to be kept for a resumed run
        torch.manual_seed(derive_seed(self.seed, "dropout", self.global_rank, self.current_epoch))

    def on_train_epoch_end(self) -> None:
        """Refuse weights that are not finite, before a checkpoint is written over a good one."""
        for name, parameter in self.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise self._diverged(f"the parameter {name}")

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
        backbone, loader = self.network.backbone, data.loader(name)
        mode, size = backbone.training, (len(data.sets[name]), backbone.num_features)
        self.network.use(name.split("/")[0] if "/" in name else None)
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


def validation_metrics(data: DataModule) -> list[str]:
    """Name the metrics that validation logs for some data."""
    names = {name: LABEL_FREE if data.sets[name].y is None else LABELLED for name in data.val_names}
    return [f"{_val_prefix(name)}/{metric}" for name, metrics in names.items() for metric in metrics]


def _val_prefix(name: str) -> str:
    # a set without labels is the training part of a target: its scores stand beside the validation's
    return f"val/{name.split('/')[0]}" if "/" in name else name


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
