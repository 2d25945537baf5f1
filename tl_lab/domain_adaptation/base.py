"""The contract of a domain-adaptation method: one hook for each place where it may act."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

__all__ = ["Adaptation", "DomainAdaptation", "DomainOutput"]


@dataclass(frozen=True)
class DomainOutput:
    """What the network makes of one domain's part of a batch.

    Args:
        features: input of the head, ``(B, D)``.
        logits: output of the head, ``(B, C)``; None where the method does not ask for it.
        y: classes, ``(B,)``, of the source; None for the target.
        index: positions of the samples in their set, ``(B,)``.
    """

    features: Tensor
    logits: Tensor | None
    y: Tensor | None
    index: Tensor


@dataclass(frozen=True)
class Adaptation:
    """What a method contributes to a step.

    Args:
        terms: weighted terms of the objective by name; their sum is added to the task loss.
        logs: quantities worth a curve that are not terms (domain accuracy, lambda).
    """

    terms: Mapping[str, Tensor] = field(default_factory=dict)
    logs: Mapping[str, Tensor | float] = field(default_factory=dict)


class DomainAdaptation(nn.Module):
    """Ties two domains together. Every hook does nothing by default; a method fills those it needs."""

    needs_target: ClassVar[bool] = True
    """Whether training needs batches of the target."""
    needs_target_logits: ClassVar[bool] = False
    """Whether the loss looks at the head's output for the target."""
    phases: ClassVar[tuple[str, ...]] = ("joint",)
    """Updates made for each batch, in order; the usual methods make one of everything together."""

    batch_norm: str = "joint"
    """Whose statistics batch-norm uses: ``joint`` (both domains pass as one batch), ``separate`` (each passes on its
    own, running statistics are shared) or ``domain_specific`` (running statistics are kept for each domain)."""

    def build(self, num_features: int, num_classes: int) -> None:
        """Make the parts whose size depends on the network, from the global random stream.

        Args:
            num_features: width D of the features that are aligned.
            num_classes: number of classes C.
        """

    def source_input(self, x: Tensor) -> Tensor:
        """Change the source's input (domain randomisation); ``(B, ...)`` -> ``(B, ...)``."""
        return x

    def sample_weights(self, index: Tensor) -> Tensor | None:
        """Weigh the source's samples in the task loss: ``(B,)`` >= 0, or None for equal weights."""
        return None

    def adapt(self, source: DomainOutput, target: DomainOutput, progress: float, phase: str = "joint") -> Adaptation:
        """Compute the method's terms.

        Args:
            source: the network's output for the source.
            target: the network's output for the target.
            progress: share of training that is done, in [0, 1].
            phase: which of :attr:`phases` this is.
        """
        return Adaptation()

    def learns(self, phase: str) -> frozenset[str]:
        """Name the parts that a phase updates, out of backbone, bottleneck, head and adaptation."""
        return frozenset({"backbone", "bottleneck", "head", "adaptation"})

    def before_evaluation(self, network: nn.Module, domain: str | None) -> None:
        """Prepare the network for a domain's evaluation, for example its batch-norm statistics."""

    def facts(self) -> dict[str, str]:
        """State what must be printed beside any number obtained with this method."""
        return {}
