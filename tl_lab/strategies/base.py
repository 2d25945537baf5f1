"""The contract of a strategy, which decides how a backbone's weights are used."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypedDict

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tl_lab.adapters import Adapter, NoAdapter
from tl_lab.backbones.base import Backbone
from tl_lab.data.base import DataModule
from tl_lab.data.inputs.operations import Inputs
from tl_lab.data.task_outputs import Outputs
from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.errors import UserError, nearest
from tl_lab.model.base_weights import Base, filled_up, without_base
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.model.network import Network, weights_stream
from tl_lab.options import Count, Probability, Widths
from tl_lab.problems import ALL, Problem
from tl_lab.randomness import derive_seed, open_streams
from tl_lab.training.fused import portable_groups
from tl_lab.training.means import Means
from tl_lab.training.measuring import Measuring
from tl_lab.training.schedules import Schedule
from tl_lab.training.sharding import FullySharded, is_sharded, local, shard, whole_parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Strategy"]


class HeadOptions(TypedDict, total=False):
    """Layers between the features and the outputs."""

    hidden: Widths
    dropout: Probability


class Strategy(Measuring):
    """Base class of strategies.

    Subclasses implement the hooks of :class:`~tl_lab.training.hooks.Hooks`; the step itself
    (:mod:`tl_lab.training.step`) is the same for all. The objective is the task loss plus every term of the adaptation
    and the strategy, each of which is logged under its own name.

    Args:
        backbone: the feature extractor.
        adaptation: method that aligns the target with the source; NoAdaptation for none.
        problem: kind of prediction: loss, metrics, predictions.
        num_outputs: number of outputs of the head; None for the number that the problem requires.
        optimizer: maps parameter groups to an optimizer; its ``lr`` is the learning rate of the head.
        scheduler: factor of all learning rates as a function of progress.
        layers: which layer groups are trained, when, and at which learning rates.
        adapter: which parameters of the backbone ``layers`` may train; None for all.
        bottleneck: width of a trainable layer between backbone and head; None for none.
        head: ``hidden`` widths and ``dropout`` of the classifier.
        label_smoothing: share of the target that is spread over all outputs, in [0, 1).
        class_weights: None, or ``balanced`` for larger weights of rare classes or labels (see the problem's criterion).
        labels: training labels from which ``balanced`` weights are computed.
        seed: the run's seed.
        gradient_clip_norm: largest norm of the gradient over all parameters; None for no clipping.
        accumulate_batches: batches whose gradients are averaged for one update, >= 1.
        weight_decay_on: parameters under the optimizer's weight decay: ``all``, or ``matrices``, which excludes biases
            and the scales and shifts of normalisation layers.
        graph: replay updates as CUDA graphs where possible (see :mod:`tl_lab.training.replay`): ``true`` and ``auto``,
            or ``false``.
        outputs: assignment of outputs to the tasks of a stream; None without tasks.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    """Traits that the data must have."""
    handles: ClassVar[frozenset[str]] = frozenset({"labels", "domains", "target"})
    """Traits that the data may have; data with other traits require a strategy that supports them."""
    trains: ClassVar[bool] = True
    """Whether the strategy trains anything before the test."""
    answers_by_head: ClassVar[bool] = True
    """Whether the network's head classifies in validation and test, without being fitted to each episode."""
    problems: ClassVar[frozenset[str]] = ALL
    """Names of the supported problems."""
    wants_weights: ClassVar[bool] = False
    """Whether the strategy gains little from a backbone with random weights."""
    inference_mode: ClassVar[bool] = True
    """Whether validation and test run without gradients."""
    transfers: ClassVar[bool] = True
    """Whether the backbone may start from pretrained weights; otherwise they are ignored, with a message."""
    takes_adapter: ClassVar[bool] = True
    """Whether an adapter may restrict which parameters of the backbone are trained."""
    shardable: ClassVar[bool] = True
    """Whether every process may store a part of each parameter; false if the strategy computes with whole parameters
    outside of the network's forward pass."""
    base: Base | None
    """Base weights of the adapter if they can be loaded again; checkpoints then leave them out."""

    def without_weights(self) -> None:
        """React to a backbone that starts, entirely or in part, from random weights."""

    @classmethod
    def prepares_training(cls, node: Mapping[str, Any]) -> bool:
        """Whether the strategy reads the training inputs before training, derived from a node of the configuration."""
        return True

    def __init__(
        self,
        *,
        backbone: Backbone,
        adaptation: DomainAdaptation,
        problem: Problem,
        num_outputs: int | None = None,
        optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer],
        scheduler: Schedule,
        layers: LayerPolicy,
        bottleneck: Count | None = None,
        head: Annotated[Mapping[str, Any], HeadOptions] | None = None,
        label_smoothing: Probability = 0.0,
        class_weights: Literal["balanced"] | None = None,
        labels: Tensor | None = None,
        seed: int = 0,
        gradient_clip_norm: float | None = None,
        accumulate_batches: int = 1,
        weight_decay_on: str = "all",
        graph: bool | str = False,
        outputs: Outputs | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.recording = None
        _check_options(bottleneck, dict(head or {}), gradient_clip_norm)
        if weight_decay_on not in ("all", "matrices"):
            raise UserError(f"update.weight_decay_on must be 'all' or 'matrices', not {weight_decay_on!r}")
        if accumulate_batches > 1 and any(len(adaptation.phases(progress)) > 1 for progress in (0.0, 0.5, 1.0)):
            raise UserError("update.accumulate_batches must be 1 for an adaptation that updates in phases")
        self.problem, self.seed = problem, seed
        self.num_outputs = problem.num_outputs if num_outputs is None else num_outputs
        self.criterion = problem.criterion(labels, class_weights=class_weights, label_smoothing=label_smoothing)
        blocks = None if outputs is None else outputs.blocks
        self.network = Network(backbone, self.num_outputs, bottleneck, seed=seed, blocks=blocks, **dict(head or {}))
        if adaptation.target_encoder:
            self.network.separate_encoders()
        if adaptation.batch_norm == "domain_specific":
            self.network.separate_statistics()
        self.adaptation = adaptation
        with weights_stream(seed, "adaptation"):
            adaptation.build(self.network)
        self._captured = None
        self.capture(adaptation.layers)
        self.make_optimizer, self.schedule = optimizer, scheduler
        self.gradient_clip_norm, self.accumulate_batches = gradient_clip_norm, accumulate_batches
        self.decays_all = weight_decay_on == "all"
        self.graph, self.base = graph, None
        self.find_groups(layers, adapter or NoAdapter())
        self.updates_done, self.feeds_features = 0, False
        self.meters = nn.ModuleDict()
        self.last_validation, self.last_test, self.whole_validation = {}, {}, {}
        self.watchers, self.scorers = [], []
        self.means, self._prepared = Means(), set()
        self.replayer = self._unwritten = self.last_loss = None

    def figures(self, data: DataModule) -> "dict[str, Figure]":
        """Draw the predictions on each test set and, for a pair of domains, an embedding of their features."""
        from tl_lab.training.figures import figures_of_pair, figures_of_sets

        return {**figures_of_sets(self, data), **(figures_of_pair(self, data) if data.paired else {})}

    def forward(self, x: Inputs) -> Tensor:
        """Compute outputs ``(B, C)`` from inputs ``(B, ...)``, whether or not training uses cached features."""
        return self.network(x)

    # ------------------------------------------------------------------ Lightning's events

    def setup(self, stage: str) -> None:
        """Create the meters of the sets that this stage evaluates."""
        names = self.data.test_names if stage == "test" else self.data.val_names
        for name in names:
            self.meters[name] = self.problem.meter(self.num_outputs)

    def configure_model(self) -> None:
        """Shard the parameters if the trainer requires it.

        Raises:
            UserError: processes would train some parameters apart from each other.
        """
        if not isinstance(self.trainer.strategy, FullySharded):
            return
        shard(self, self.trainer.strategy.device_mesh["data_parallel"])
        if self.trainer.world_size > 1 and (apart := whole_parameters(self)):
            raise UserError(
                f"trainer=fsdp does not shard {apart[0]}, so that each process would train its own: use trainer=ddp"
            )

    def on_fit_start(self) -> None:
        """Prepare the strategy and, before the first update, the adaptation."""
        self.prepare(self.data)
        if self.updates_done == 0:
            self.adaptation.before_training(self.reader(self.data))

    def on_train_epoch_start(self) -> None:
        """Freeze and unfreeze layers for this epoch, and set the seed of its dropout masks."""
        super().on_train_epoch_start()
        self.freeze_for(self.current_epoch)
        self._prepared.clear()
        # a function of seed, process and epoch, so that a resumed run needs no saved state
        open_streams(derive_seed(self.seed, "dropout", self.global_rank, self.current_epoch), self.device)

    def on_train_epoch_end(self) -> None:
        """Raise an error for non-finite weights before they overwrite a good checkpoint."""
        for name, parameter in self.named_parameters():
            if not bool(local(parameter.detach()).isfinite().all()):
                raise self.diverged(f"the parameter {name}")
        if self.data.has_target and "target" not in self._prepared:
            # without a validation in this epoch, the checkpoint must still contain the target's statistics
            self.eval()
            with torch.no_grad():
                self._prepare_evaluation("target")
            self.train()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save what Lightning does not: the number of updates, the last validation, and what predictions require."""
        checkpoint["updates_done"] = self.updates_done
        checkpoint["last_validation"] = dict(self.last_validation)
        for state in checkpoint.get("optimizer_states", []):
            portable_groups(state)
        checkpoint["model"] = {
            "class_names": list(self.data.class_names),
            "shape": list(self.data.shape),
            "spec": self.network.backbone.spec.state(),
            "problem": self.problem.state(),
            **({"reading": reading} if (reading := self.data.reading) else {}),
        }
        if self.base is not None and not is_sharded(self.trainer.strategy):
            checkpoint["model"]["base"] = self.base.state()
            learned = {id(parameter) for parameter in self.learned_parameters()}
            checkpoint["state_dict"] = without_base(checkpoint["state_dict"], self, learned)

    def whole_state(self, checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return a checkpoint's state dict, completed with the adapter's base weights.

        Raises:
            UserError: the base weights on this machine are not those of the checkpoint.
        """
        return filled_up(checkpoint, self, None if self.base is None else self.base.sha256)

    def restore(self, checkpoint: dict[str, Any], data: DataModule) -> None:
        """Restore what :meth:`on_save_checkpoint` saves in addition to the weights, with or without a trainer.

        Args:
            checkpoint: of this run.
            data: its data.
        """
        self.updates_done = checkpoint["updates_done"]
        self.last_validation = dict(checkpoint["last_validation"])
        if state := checkpoint["model"].get("problem"):  # absent from runs of the first version
            self.problem.load_state(state)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state from which training continues."""
        checkpoint["state_dict"] = self.whole_state(checkpoint)
        self.restore(checkpoint, self.data)
        # the run's folder may have been moved, in which case Lightning would discard the best score
        for callback in self.trainer.checkpoint_callbacks:
            state = checkpoint["callbacks"].get(callback.state_key, {})
            state["dirpath"] = getattr(callback, "dirpath", None)
            if hasattr(callback, "current_score"):  # Lightning saves it but does not restore it
                callback.current_score = state.get("current_score")


def _check_options(bottleneck: int | None, head: dict[str, Any], gradient_clip_norm: float | None) -> None:
    if bottleneck is not None and bottleneck < 1:
        raise UserError(f"strategy.bottleneck must be null or at least 1, not {bottleneck}")
    for name in head:
        if name not in ("hidden", "dropout"):
            raise UserError(f"strategy.head has no key {name!r}; {nearest(name, ('hidden', 'dropout'))}")
    if any(width < 1 for width in head.get("hidden", ())):
        raise UserError(f"strategy.head.hidden must be widths of at least 1, not {list(head['hidden'])}")
    if not 0 <= head.get("dropout", 0.0) < 1:
        raise UserError(f"strategy.head.dropout must be in [0, 1), not {head['dropout']}")
    if gradient_clip_norm is not None and gradient_clip_norm <= 0:
        raise UserError(f"update.gradient_clip_norm must be null or above 0, not {gradient_clip_norm}")
