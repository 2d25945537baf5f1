"""The training loop's step, owned in one place: objective, schedules, freezing, logging, random state."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from tl_lab.backbones.base import Backbone
from tl_lab.data.base import DataModule
from tl_lab.data.batches import DomainBatch, Labelled, Unlabelled
from tl_lab.domain_adaptation.base import DomainAdaptation, DomainOutput
from tl_lab.errors import UserError
from tl_lab.evaluation import Meter
from tl_lab.networks import Network, weights_stream
from tl_lab.randomness import derive_seed
from tl_lab.schedules import Schedule
from tl_lab.strategies.layers import LayerPolicy

__all__ = ["Strategy"]


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
        self._random_state: dict[str, Tensor] | None = None

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
        return self.make_optimizer(groups)

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
        last = batch_idx + 1 == self.trainer.num_training_batches
        updates = (batch_idx + 1) % self.accumulate_batches == 0 or last
        for phase in self.adaptation.phases:
            loss = self._objective(source, target, progress, phase)
            self.manual_backward(loss / self.accumulate_batches)
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
            adaptation = self.adaptation.adapt(
                DomainOutput(features, logits, source.y, source.index),
                DomainOutput(
                    target_features, self.network.head(target_features) if wants else None, None, target.index
                ),
                progress,
                phase,
            )
            terms.update(adaptation.terms)
            logs.update(adaptation.logs)
        terms.update(self.penalties())
        loss = torch.stack(list(terms.values())).sum() if len(terms) > 1 else terms["task_loss"]
        for name, value in {"loss": loss, **terms, **logs}.items():
            value = value.detach() if isinstance(value, Tensor) else value
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        return loss

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
        self.on_gradients()
        if self.gradient_clip_norm is not None:
            self.clip_gradients(optimizer, self.gradient_clip_norm, "norm")
        optimizer.step()
        optimizer.zero_grad()
        self.on_update()

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
        # sets without labels are the training part of a target: their scores stand beside the validation's
        prefixes = {name: f"val/{name.split('/')[0]}" if "/" in name else name for name in self.data.val_names}
        self.last_validation = self._scores(prefixes)
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
        for logger in self.loggers:
            logger.log_metrics({"epoch": self.current_epoch, **metrics}, step=self.updates_done)

    def _flush(self, lr: float) -> None:
        """Log the means of all terms since the last time; stop if one of them is not finite."""
        names = list(self._sums)
        means = torch.stack([torch.as_tensor(self._sums[name], dtype=torch.float32).cpu() for name in names])
        means = means / (self._summed * len(self.adaptation.phases))
        if self.trainer.world_size > 1:
            means = self.trainer.strategy.reduce(means.to(self.device), reduce_op="mean").cpu()
        values = dict(zip(names, means.tolist(), strict=True))
        wrong = [name for name in names if not torch.isfinite(torch.tensor(values[name]))]
        if wrong:
            raise UserError(
                f"training diverged: {' and '.join(wrong)} became NaN or infinite within the {self._summed} updates "
                f"before update {self.updates_done} (epoch {self.current_epoch}): lower optimizer.lr or set "
                "update.gradient_clip_norm, and check the inputs' range; the checkpoints of earlier epochs are intact"
            )
        self._sums, self._summed = {}, 0
        self.log("train/loss", values["loss"], prog_bar=True, logger=False)
        self._write({**{f"train/{name}": value for name, value in values.items()}, "train/lr": lr})

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
        """Open the dropout stream and let the strategy prepare itself."""
        torch.manual_seed(derive_seed(self.seed, "dropout", self.global_rank))
        self.prepare(self.data)

    def on_train_start(self) -> None:
        """Go on with the random numbers where an interrupted run stopped."""
        if self._random_state is not None:
            torch.set_rng_state(self._random_state["cpu"])
            if self.device.type == "cuda" and "cuda" in self._random_state:
                torch.cuda.set_rng_state(self._random_state["cuda"], self.device)

    def on_train_epoch_start(self) -> None:
        """Freeze and unfreeze for this epoch."""
        self.freeze_for(self.current_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what Lightning does not: updates done, the random state, and what predictions need."""
        checkpoint["updates_done"] = self.updates_done
        checkpoint["model"] = {
            "class_names": list(self.data.class_names),
            "shape": list(self.data.shape),
            "preprocessing": asdict(self.network.backbone.preprocessing),
        }
        checkpoint["random_state"] = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            checkpoint["random_state"]["cuda"] = torch.cuda.get_rng_state(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again."""
        self.updates_done = checkpoint["updates_done"]
        self._random_state = checkpoint["random_state"]

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
        large = not isinstance(data.sets[name].x, Tensor) or data.sets[name].x.numel() > 10**8  # type: ignore
        for batch in track(loader, f"features of {name}", len(loader), transient=True, disable=not large):
            features[batch.index] = backbone(batch.x.to(self.device)).float()
        backbone.train(mode)
        if self.trainer.world_size > 1:
            features = self.trainer.strategy.reduce(features, reduce_op="sum")
        return features


def _parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]


def _class_weights(choice: str | None, counts: Tensor | None) -> Tensor | None:
    if choice is None:
        return None
    if choice != "balanced":
        raise UserError(f"strategy.class_weights is null or 'balanced', not {choice!r}")
    assert counts is not None, "balanced class weights need the class counts"
    return counts.sum() / (len(counts) * counts.clamp(min=1).float())
