"""Self-training: confident predictions on the target serve as its labels."""

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.data.inputs.augmentation import Augmentation
from tl_lab.domain_adaptation.base import (
    Adaptation,
    DomainAdaptation,
    DomainOutput,
    Domains,
    Update,
    check_batch_norm,
    check_weight,
)
from tl_lab.errors import UserError
from tl_lab.model.network import Network
from tl_lab.options import BatchNorm, NonNegative, Probability, Share

__all__ = ["SelfTraining", "pseudo_label_loss"]


def pseudo_label_loss(logits: Tensor, teacher: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy with the teacher's confident predictions: 1/B sum_i [max p_i >= t] CE(z_i, argmax p_i).

    Args:
        logits: logits of the student, ``(B, C)``.
        teacher: the teacher's probabilities, ``(B, C)``.
        threshold: t, in [0, 1].

    Returns:
        The loss, a mean over all B samples, and the share of samples that were used.

    References:
        Sohn et al., FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence, NeurIPS 2020,
        equation 4. Lee, Pseudo-Label, ICML Workshops 2013.
    """
    confidence, labels = teacher.max(1)
    used = (confidence >= threshold).to(logits)
    return (used * F.cross_entropy(logits, labels, reduction="none")).mean(), used.mean()


class SelfTraining(DomainAdaptation):
    """Train on a teacher's confident predictions for target images, with augmented versions of these images.

    The teacher is a moving average of the network's weights, in evaluation mode, and gets the unaugmented images;
    its batch-norm statistics are those of the network. The network gets images with ``strong`` augmentation.

    Args:
        weight: weight of the term, >= 0.
        threshold: smallest probability of a prediction that is used, in [0, 1] (FixMatch: 0.95).
        teacher_momentum: weight of the teacher's previous weights in the moving average, in [0, 1); with 0, the teacher
            equals the network.
        warmup: share of the run during which the weight rises linearly from 0, in [0, 1].
        strong: augmentation of the network's images; None for no augmentation, which vectors require.
        batch_norm: see :class:`~tl_lab.domain_adaptation.base.DomainAdaptation`.

    Raises:
        UserError: an option is out of its range.

    References:
        Sohn et al., NeurIPS 2020. Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017,
        section 2. French, Mackiewicz and Fisher, Self-ensembling for visual domain adaptation, ICLR 2018.
    """

    problems = frozenset({"single_label"})

    needs_target_logits = True
    changes_inputs = True
    shardable = False

    def __init__(
        self,
        weight: NonNegative = 1.0,
        threshold: Share = 0.95,
        teacher_momentum: Probability = 0.99,
        warmup: Share = 0.2,
        strong: Augmentation | None = None,
        batch_norm: BatchNorm = "domain_specific",
    ) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise UserError(f"domain_adaptation.threshold must be in [0, 1], not {threshold}")
        if not 0 <= teacher_momentum < 1:
            raise UserError(f"domain_adaptation.teacher_momentum must be in [0, 1), not {teacher_momentum}")
        if not 0 <= warmup <= 1:
            raise UserError(f"domain_adaptation.warmup must be a share of the run in [0, 1], not {warmup}")
        self.weight, self.threshold = check_weight("weight", weight), threshold
        self.teacher_momentum, self.warmup, self.strong = teacher_momentum, warmup, strong
        self.batch_norm = check_batch_norm(batch_norm)

    def build(self, network: Network) -> None:
        """Copy the network; the copy is stored in checkpoints but not trained."""
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.teacher.eval()

    def train(self, mode: bool = True) -> "SelfTraining":
        """Set the mode of all modules except the teacher, which stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def before_training(self, domains: Domains) -> None:
        """Make the first update copy the network's initial weights, which a linear probe may have changed."""
        self._fresh = True

    def before_update(self, network: Network, update: Update) -> None:
        """Copy the network's initial weights to the teacher."""
        if getattr(self, "_fresh", False):
            self._follow(network, 0.0)
            self._fresh = False

    def target_input(self, x: Tensor) -> Tensor:
        """Augment the target's images for the network."""
        if self.strong is None:
            return x
        if not isinstance(x, Tensor) or x.dim() != 4:
            raise UserError("domain_adaptation.strong augments images, but these data are not images: set it to null")
        draw = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        return self.strong(x, draw)

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute the loss on the teacher's confident labels."""
        assert target.logits is not None
        assert target.x is not None
        self.teacher.use("target")
        with torch.no_grad():
            p = self.teacher(target.x).softmax(1)
        loss, used = pseudo_label_loss(target.logits, p, self.threshold)
        ramp = 1.0 if self.warmup == 0 else update.live(lambda now: min(1.0, now.progress / self.warmup))
        return Adaptation({"pseudo_label_loss": self.weight * ramp * loss}, {"used_share": used, "ramp": ramp})

    def after_update(self, network: Network, update: Update) -> None:
        """Update the teacher."""
        self._follow(network, self.teacher_momentum)

    @torch.no_grad()
    def _follow(self, network: Network, momentum: float) -> None:
        current = dict(network.named_parameters())
        for name, parameter in self.teacher.named_parameters():
            parameter.lerp_(current[name], 1 - momentum)
        buffers: dict[str, Any] = dict(network.named_buffers(remove_duplicate=False))
        for name, buffer in self.teacher.named_buffers(remove_duplicate=False):
            if not (name.endswith(("running_mean", "running_var")) and _has_own(buffers, name)):
                buffer.copy_(buffers[name])

    def facts(self) -> dict[str, str]:
        """Report the choices that change the numbers."""
        return {
            "self-training": f"threshold {self.threshold:g}, teacher momentum {self.teacher_momentum:g}",
            "batch-norm statistics": self.batch_norm.replace("_", " "),
        }

    def extra_repr(self) -> str:
        """Show the method's options."""
        return f"weight={self.weight}, threshold={self.threshold}, teacher_momentum={self.teacher_momentum}"


def _has_own(buffers: dict[str, Any], name: str) -> bool:
    """Whether each domain has its own copy of a statistic, of which the statistic itself is then only a view."""
    prefix, _, statistic = name.rpartition(".")
    return f"{prefix}.source_{statistic}" in buffers
