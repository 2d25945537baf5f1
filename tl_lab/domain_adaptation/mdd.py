"""Margin disparity discrepancy."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.domain_adaptation.base import (
    Adaptation,
    DomainAdaptation,
    DomainOutput,
    Update,
    check_batch_norm,
    check_weight,
)
from tl_lab.domain_adaptation.reversal_ramp import ReversalRamp
from tl_lab.errors import UserError
from tl_lab.functional import reverse_gradient
from tl_lab.functional.precision import in_full_precision
from tl_lab.model.heads import mlp
from tl_lab.model.network import Network
from tl_lab.options import BatchNorm, NonNegative, Positive, Widths

__all__ = ["MDD", "disagreement", "margin_disparity"]


@in_full_precision
def disagreement(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log(1 - softmax(logits)[label]), which is low if the classifier gives the label a low probability.

    Computed as logsumexp(all) - logsumexp(all but the label), which stays finite for certain predictions.

    Args:
        logits: ``(B, C)``, C >= 2.
        labels: ``(B,)``.

    Returns:
        A scalar >= 0.
    """
    is_label = F.one_hot(labels, logits.shape[1]).bool()
    others = logits.masked_fill(is_label, -torch.inf)
    return (logits.logsumexp(1) - others.logsumexp(1)).mean()


def margin_disparity(
    source: Tensor, source_classes: Tensor, target: Tensor, target_classes: Tensor, margin: float
) -> Tensor:
    """Loss of the adversarial classifier f': margin * CE(f'(x_s), f(x_s)) + mean -log(1 - f'(x_t)[f(x_t)]).

    Args:
        source: logits of f' on the source, ``(n, C)``.
        source_classes: classes that f predicts for the source, ``(n,)``.
        target: logits of f' on the target, ``(m, C)``.
        target_classes: classes that f predicts for the target, ``(m,)``.
        margin: gamma, > 0.

    Returns:
        A scalar >= 0: the negative of the disparity that f' maximises.

    References:
        Zhang et al., Bridging Theory and Algorithm for Domain Adaptation, ICML 2019, equations 28 to 30.
    """
    return margin * F.cross_entropy(source, source_classes) + disagreement(target, target_classes)


class MDD(DomainAdaptation):
    """Train an adversarial classifier to agree with the head on the source and to disagree on the target, while the
    encoder receives its reversed gradient.

    Args:
        weight: weight of the term, >= 0 (paper: 1).
        margin: gamma, > 0 (paper: 2 to 4).
        lambda_max: largest factor of the reversed gradient, >= 0 (paper: 0.1).
        gamma: growth rate of that factor, lambda_max (2 / (1 + exp(-gamma p)) - 1) over progress p, > 0; the paper
            increases it over the first 1,000 updates, this class over the whole run.
        hidden: widths of the adversarial classifier's hidden layers; None copies the architecture of the head.
        batch_norm: see :class:`~tl_lab.domain_adaptation.base.DomainAdaptation`.

    Raises:
        UserError: for a negative weight or a margin that is not above 0.

    References:
        Zhang et al., ICML 2019.
    """

    problems = frozenset({"single_label"})

    needs_target_logits = True

    def __init__(
        self,
        weight: NonNegative = 1.0,
        margin: Positive = 4.0,
        lambda_max: NonNegative = 0.1,
        gamma: Positive = 10.0,
        hidden: Widths | None = None,
        batch_norm: BatchNorm = "separate",
    ) -> None:
        super().__init__()
        if not margin > 0:
            raise UserError(f"domain_adaptation.margin must be above 0, not {margin}")
        if hidden is not None and any(width < 1 for width in hidden):
            raise UserError(f"domain_adaptation.hidden must be widths of at least 1, not {list(hidden)}")
        self.weight, self.margin = check_weight("weight", weight), margin
        self.lambda_max, self.ramp, self.hidden = check_weight("lambda_max", lambda_max), ReversalRamp(gamma), hidden
        self.batch_norm = check_batch_norm(batch_norm)

    def build(self, network: Network) -> None:
        """Build the adversarial classifier."""
        self.adversarial_head: nn.Module = (
            network.make_head()
            if self.hidden is None
            else mlp(network.num_features, tuple(self.hidden), network.num_outputs)
        )

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute the disparity loss behind the gradient reversal."""
        assert source.logits is not None
        assert target.logits is not None
        strength = update.live(lambda now: self.lambda_max * self.ramp(now.progress))
        features = reverse_gradient(torch.cat([source.features, target.features]), strength)
        sizes = [len(source.features), len(target.features)]
        source_logits, target_logits = self.adversarial_head(features).split(sizes)
        source_classes, target_classes = source.logits.argmax(1), target.logits.argmax(1)
        disparity = margin_disparity(source_logits, source_classes, target_logits, target_classes, self.margin)
        agreement = (target_logits.argmax(1) == target_classes).float().mean()
        return Adaptation({"mdd_loss": self.weight * disparity}, {"target_agreement": agreement, "lambda": strength})

    def facts(self) -> dict[str, str]:
        """Report the choices that change the numbers."""
        return {"batch-norm statistics": self.batch_norm.replace("_", " ")}

    def extra_repr(self) -> str:
        """Show the method's options."""
        return f"weight={self.weight}, margin={self.margin}, lambda_max={self.lambda_max}, {self.ramp}"
