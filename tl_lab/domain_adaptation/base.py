"""The contract of a domain-adaptation method: one hook for each stage of training and evaluation."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from tl_lab.data.inputs.operations import Inputs
from tl_lab.errors import UserError
from tl_lab.model.network import PARTS, Network
from tl_lab.problems import ALL

DOMAINS = frozenset({"source", "target"})

__all__ = [
    "DOMAINS",
    "Absent",
    "Adaptation",
    "DomainAdaptation",
    "DomainOutput",
    "Domains",
    "Phase",
    "Update",
    "check_batch_norm",
    "check_weight",
]


@dataclass(frozen=True)
class DomainOutput:
    """The network's output for one domain's part of a batch.

    Args:
        features: input of the head, ``(B, D)``.
        logits: output of the head, ``(B, C)``; None if the method does not need it.
        y: labels of the source, ``(B, ...)``; None for the target.
        index: positions of the samples in their set, ``(B,)``.
        x: the network's input from the batch, before the method changed it.
        layers: outputs of the modules named in :attr:`DomainAdaptation.layers`, ``(B, ...)``.
    """

    features: Tensor
    logits: Tensor | None = None
    y: Tensor | None = None
    index: Tensor | None = None
    x: Inputs | None = None
    layers: Mapping[str, Tensor] = field(default_factory=dict)


class Absent:
    """Placeholder for the output of a domain that a phase does not need; reading it raises an error.

    Args:
        domain: ``source`` or ``target``.
        phase: name of the phase.
    """

    def __init__(self, domain: str, phase: str) -> None:
        self._domain, self._phase = domain, phase

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"phase {self._phase!r} does not list the {self._domain} in needs, but reads its {name}")


@dataclass(frozen=True)
class Adaptation:
    """Contribution of a method to a step.

    Args:
        terms: weighted terms of the objective by name; their sum is added to the task loss.
        logs: further quantities to plot (domain accuracy, lambda). Pass a copy of a tensor that the method changes in
            place later.
    """

    terms: Mapping[str, Tensor] = field(default_factory=dict)
    logs: Mapping[str, Tensor | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Update:
    """The progress of training.

    Args:
        progress: completed share of the run's updates, in [0, 1].
        number: number of updates before this one.
        phase: name of the phase (see :class:`Phase`).
    """

    progress: float
    number: int = 0
    phase: str = "joint"

    def live(self, number: "Callable[[Update], float]") -> float | Tensor:
        """Evaluate a number that changes between updates, such as a weight that grows with progress.

        An update that is replayed as a CUDA graph uses a tensor ``()`` instead, which is filled before each replay.
        A method that reads :attr:`progress` or :attr:`number` directly works, but is never replayed.

        Args:
            number: function that computes it from an update.
        """
        return number(self)

    def in_phase(self, name: str) -> "Update":
        """Return the same progress in another phase."""
        return replace(self, phase=name)


@dataclass(frozen=True)
class Phase:
    """One of the updates for a batch; most methods have a single one that updates all parts together.

    Args:
        name: passed to :meth:`DomainAdaptation.adapt`.
        learns: the parts that are updated; all others get no gradient and do not change.
        task: whether the task loss, with the strategy's penalties, is part of its objective; it needs the source.
        needs: the domains that pass through the network: a domain left out costs no time and changes no batch-norm
            statistics, and :meth:`DomainAdaptation.adapt` cannot read it. If both domains pass as one batch
            (``batch_norm`` is ``joint``), both are always computed.
    """

    name: str = "joint"
    learns: frozenset[str] = PARTS
    task: bool = True
    needs: frozenset[str] = DOMAINS

    def __post_init__(self) -> None:
        assert self.needs, "a phase needs a domain"
        assert "source" in self.needs or not self.task, "the task loss needs the source"


class Domains(Protocol):
    """Access to whole sets, without labels, for methods that are fitted before training or before an evaluation."""

    def inputs(self, name: str) -> Inputs:
        """Return the inputs of a set, ``(N, ...)``, without augmentation."""

    def features(self, name: str) -> Tensor:
        """Return the backbone's features of a set, ``(N, D)``, in evaluation mode."""

    def batches(self, name: str) -> Iterable[Inputs]:
        """Yield the network's inputs in the set's order, batch by batch, on the device."""


class DomainAdaptation(nn.Module):
    """Base class of domain-adaptation methods. All hooks do nothing by default; a method overrides those it needs."""

    problems: frozenset[str] = ALL
    """Names of the supported problems; methods that compare classes support single-label problems only."""
    needs_target: ClassVar[bool] = True
    """Whether the data must have a target domain."""
    trains_on_target: ClassVar[bool] = True
    """Whether training batches contain samples of the target, for which :meth:`adapt` is then called."""
    changes_inputs: ClassVar[bool] = False
    """Whether inputs are changed in every batch, so that features cannot be computed once."""
    couples_samples: ClassVar[bool] = False
    """Whether the loss compares a batch's samples with each other, so that it depends on the number of processes."""
    shardable: ClassVar[bool] = True
    """Whether every process may store a part of each parameter."""
    target_encoder: ClassVar[bool] = False
    """Whether the target has a separate backbone and bottleneck."""
    oracle: ClassVar[bool] = False
    """Whether it uses the target's labels; its results are marked as an upper bound."""

    needs_target_logits: bool = False
    """Whether the loss uses the head's output for the target, whose classes must then be the source's."""
    batch_norm: str = "joint"
    """Batch-norm statistics: ``joint`` (both domains pass as one batch), ``separate`` (each passes separately,
    running statistics are shared) or ``domain_specific`` (running statistics are kept for each domain)."""
    layers: tuple[str, ...] = ()
    """Names of the network's modules whose outputs the method uses (``backbone.conv2``, ``bottleneck``)."""

    def extra_repr(self) -> str:
        """Show the constructor's arguments that are stored in attributes of the same name."""
        names = [name for name in inspect.signature(type(self)).parameters if hasattr(self, name)]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names if _is_short(getattr(self, name)))

    def build(self, network: Network) -> None:
        """Build the parts whose size depends on the network, with weights from the global random stream.

        Args:
            network: gives the width of the features, ``num_features``, and the number of outputs, ``num_outputs``.
        """

    def before_training(self, domains: Domains) -> None:
        """Fit parameters to whole sets, once before the first update.

        A resumed run does not call it: the result must be in buffers or in the module's extra state.
        """

    def phases(self, progress: float) -> tuple[Phase, ...]:
        """Return the updates for each batch, in order, at a share of training in [0, 1]."""
        return (Phase(),)

    def source_input(self, x: Tensor) -> Tensor:
        """Change the source's input: images ``(B, C, H, W)`` in [0, 1], or vectors ``(B, D)``."""
        return x

    def target_input(self, x: Tensor) -> Tensor:
        """Change the target's input, in the same format."""
        return x

    def sample_weights(self, index: Tensor) -> Tensor | None:
        """Return weights of the source's samples in the task loss: ``(B,)`` >= 0, or None for equal weights."""
        return None

    def before_update(self, network: Network, update: Update) -> None:
        """Run before a batch's first phase."""

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute the method's terms.

        Args:
            source: the network's output for the source; :class:`Absent` if the phase does not need it.
            target: the network's output for the target, or :class:`Absent`.
            update: progress of training, and the phase.
        """
        return Adaptation()

    def after_update(self, network: Network, update: Update) -> None:
        """Run after a batch's last phase (for example to update a teacher)."""

    def before_evaluation(self, network: Network, domain: str | None, domains: Domains) -> None:
        """Prepare the network for a domain's evaluation, for example its batch-norm statistics.

        Args:
            network: in evaluation mode, with the domain's parts in use.
            domain: ``source`` or ``target``; None without domains.
            domains: the sets, without labels.
        """

    def facts(self) -> dict[str, str]:
        """Return the facts that must be reported with any number obtained with this method."""
        return {}


def check_weight(name: str, value: float) -> float:
    """Return a weight, after checking that it is not negative.

    Args:
        name: name of the method's option.
        value: the configured value.

    Raises:
        UserError: the value is negative or NaN.
    """
    if not value >= 0:
        raise UserError(f"domain_adaptation.{name} must be at least 0, not {value}")
    return float(value)


def check_batch_norm(value: str) -> str:
    """Return a choice of batch-norm statistics, after checking that it exists.

    Raises:
        UserError: it is not one of ``joint``, ``separate`` and ``domain_specific``.
    """
    if value not in ("joint", "separate", "domain_specific"):
        raise UserError(f"domain_adaptation.batch_norm must be 'joint', 'separate' or 'domain_specific', not {value!r}")
    return value


def _is_short(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
