"""The contract of a strategy: how a backbone's knowledge is used."""

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
from tl_lab.training.means import Means
from tl_lab.training.measuring import Measuring
from tl_lab.training.replay import portable_groups
from tl_lab.training.schedules import Schedule
from tl_lab.training.sharding import FullySharded, is_sharded, local, shard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Strategy"]


class HeadOptions(TypedDict, total=False):
    """Layers between the features and the outputs."""

    hidden: Widths
    dropout: Probability


class Strategy(Measuring):
    """How a backbone's knowledge is used. Subclasses fill the hooks of :class:`~tl_lab.training.hooks.Hooks`; the
    step itself (:mod:`tl_lab.training.step`) is the same for all.

    The objective is the task loss plus every term of the adaptation and the strategy; each is logged under its own
    name.

    Args:
        backbone: the feature extractor.
        adaptation: what ties the target to the source; a NoAdaptation where nothing does.
        problem: what is predicted: loss, scores, predictions.
        num_outputs: outputs of the head; None for as many as the problem has.
        optimizer: called with parameter groups, gives the optimizer; its ``lr`` is the head's rate.
        scheduler: factor of all rates over progress.
        layers: which layer groups learn, at which rates, when.
        adapter: which parameters of the backbone are open to ``layers``; None for all.
        bottleneck: width of a trainable layer between backbone and head; None for none.
        head: ``hidden`` widths and ``dropout`` of the classifier.
        label_smoothing: share of the target that is spread over all outputs, in [0, 1).
        class_weights: None, or ``balanced``: rare classes or labels weigh more (see the problem's criterion).
        labels: the training labels, which ``balanced`` weights are computed from.
        seed: the run's seed.
        gradient_clip_norm: largest norm of the gradient over all parameters; None for no clipping.
        accumulate_batches: batches whose gradients are averaged for one update, >= 1.
        weight_decay_on: what the optimizer's weight decay acts on: ``all`` parameters, or ``matrices`` alone, which
            leaves out biases and the scales and shifts of norms.
        graph: replay updates as graphs of a GPU, where they can be (see :mod:`tl_lab.training.replay`): ``true`` and
            ``auto``, or ``false``.
        outputs: which outputs belong to which task of a stream; None where there are no tasks.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    """Traits that the data must have."""
    handles: ClassVar[frozenset[str]] = frozenset({"labels", "domains", "target"})
    """Traits that the data may have: others ask for a strategy that knows what to do with them."""
    trains: ClassVar[bool] = True
    """Whether anything is learned before the test."""

    problems: ClassVar[frozenset[str]] = ALL
    """Names of the problems that it can learn."""
    wants_weights: ClassVar[bool] = False
    """Whether there is little to gain where the backbone starts from random weights."""
    inference_mode: ClassVar[bool] = True
    """Whether validation and test compute no gradients."""
    transfers: ClassVar[bool] = True
    """Whether the backbone may start from learned weights; otherwise such weights are left aside, and that is said."""
    takes_adapter: ClassVar[bool] = True
    """Whether an adapter may decide which parameters of the backbone learn."""
    base: Base | None
    """What the adapter was put on, where that can be found again: checkpoints leave it out."""

    @classmethod
    def prepares_training(cls, node: Mapping[str, Any]) -> bool:
        """Tell from a node of the configuration whether the inputs of the training set are looked at."""
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
            raise UserError(f"update.weight_decay_on is 'all' or 'matrices', not {weight_decay_on!r}")
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
        """Draw how each test set was answered and, of a pair of domains, where their features lie."""
        from tl_lab.training.figures import figures_of_pair, figures_of_sets

        return {**figures_of_sets(self, data), **(figures_of_pair(self, data) if data.paired else {})}

    def forward(self, x: Inputs) -> Tensor:
        """Compute outputs ``(B, C)`` from inputs ``(B, ...)``, whether or not training uses cached features."""
        return self.network(x)

    # ------------------------------------------------------------------ Lightning's events

    def setup(self, stage: str) -> None:
        """Make the meters of the sets that this stage measures."""
        names = self.data.test_names if stage == "test" else self.data.val_names
        for name in names:
            self.meters[name] = self.problem.meter(self.num_outputs)

    def configure_model(self) -> None:
        """Share the parameters out where the trainer asks for it."""
        if isinstance(self.trainer.strategy, FullySharded):
            shard(self, self.trainer.strategy.device_mesh["data_parallel"])

    def on_fit_start(self) -> None:
        """Let the strategy and, before the first update, the adaptation prepare themselves."""
        self.prepare(self.data)
        if self.updates_done == 0:
            self.adaptation.before_training(self.reader(self.data))

    def on_train_epoch_start(self) -> None:
        """Freeze and unfreeze for this epoch, and open its dropout stream."""
        super().on_train_epoch_start()
        self.freeze_for(self.current_epoch)
        self._prepared.clear()
        # a function of seed, process and epoch: nothing has to be kept for a resumed run
        open_streams(derive_seed(self.seed, "dropout", self.global_rank, self.current_epoch), self.device)

    def on_train_epoch_end(self) -> None:
        """Refuse weights that are not finite, before a checkpoint is written over a good one."""
        for name, parameter in self.named_parameters():
            if not bool(local(parameter.detach()).isfinite().all()):
                raise self.diverged(f"the parameter {name}")
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
        """Give a checkpoint's state, with what it leaves out of the adapter's base.

        Raises:
            UserError: the base that was found is another one.
        """
        return filled_up(checkpoint, self, None if self.base is None else self.base.sha256)

    def restore(self, checkpoint: dict[str, Any], data: DataModule) -> None:
        """Take up what :meth:`on_save_checkpoint` keeps beside the weights, with or without a trainer.

        Args:
            checkpoint: of this run.
            data: its data.
        """
        self.updates_done = checkpoint["updates_done"]
        self.last_validation = dict(checkpoint["last_validation"])
        if state := checkpoint["model"].get("problem"):  # runs of the first version did not write it
            self.problem.load_state(state)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up a checkpoint to go on training."""
        checkpoint["state_dict"] = self.whole_state(checkpoint)
        self.restore(checkpoint, self.data)
        # a run's folder may have been moved; Lightning would forget its best score then
        for callback in self.trainer.checkpoint_callbacks:
            state = checkpoint["callbacks"].get(callback.state_key, {})
            state["dirpath"] = getattr(callback, "dirpath", None)
            if hasattr(callback, "current_score"):  # which Lightning keeps, and does not take up
                callback.current_score = state.get("current_score")


def _check_options(bottleneck: int | None, head: dict[str, Any], gradient_clip_norm: float | None) -> None:
    if bottleneck is not None and bottleneck < 1:
        raise UserError(f"strategy.bottleneck is null or at least 1, not {bottleneck}")
    for name in head:
        if name not in ("hidden", "dropout"):
            raise UserError(f"strategy.head has no key {name!r}; {nearest(name, ('hidden', 'dropout'))}")
    if any(width < 1 for width in head.get("hidden", ())):
        raise UserError(f"strategy.head.hidden are widths of at least 1, not {list(head['hidden'])}")
    if not 0 <= head.get("dropout", 0.0) < 1:
        raise UserError(f"strategy.head.dropout is in [0, 1), not {head['dropout']}")
    if gradient_clip_norm is not None and gradient_clip_norm <= 0:
        raise UserError(f"update.gradient_clip_norm is null or above 0, not {gradient_clip_norm}")
