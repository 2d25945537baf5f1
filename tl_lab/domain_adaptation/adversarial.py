"""The adversary of DANN, CDAN and related methods: a discriminator behind a gradient reversal."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.domain_adaptation.base import Update, check_weight
from tl_lab.domain_adaptation.reversal_ramp import ReversalRamp
from tl_lab.errors import UserError
from tl_lab.functional import reverse_gradient
from tl_lab.model.heads import mlp

__all__ = ["Adversary", "domain_accuracy", "domain_loss"]


def domain_loss(
    source: Tensor, target: Tensor, reduction: str = "sum", weights: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Binary cross-entropy of a domain classifier; the source is class 0, the target class 1.

    L_d = -1/n sum_i log(1 - s(u_i)) - 1/m sum_j log s(v_j), with the logistic function s.

    Args:
        source: logits u of the source, ``(n,)``.
        target: logits v of the target, ``(m,)``.
        reduction: ``sum`` of the two means as in the paper, or their ``mean``, half as large.
        weights: weights of the samples of each domain, ``(n,)`` and ``(m,)``, each of mean 1; None for equal weights.

    Returns:
        A scalar; 2 ln 2 (``sum``) or ln 2 (``mean``) for a classifier at chance level.

    References:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17 (2016), equations 8 and 9.
    """
    source_losses, target_losses = F.softplus(source), F.softplus(-target)
    if weights is not None:
        source_losses, target_losses = weights[0] * source_losses, weights[1] * target_losses
    total = source_losses.mean() + target_losses.mean()
    return total if reduction == "sum" else total / 2


class Adversary(nn.Module):
    """A discriminator that is trained to separate the domains and passes its reversed gradient to its inputs.

    With lambda on the features the discriminator descends weight * L_d and the features receive that gradient times
    -lambda_p. With lambda on the loss (the shallow variant) the discriminator descends weight * lambda_p * L_d and
    the features receive that times -1. lambda_p = lambda_max (2 / (1 + exp(-gamma p)) - 1) over progress p.

    Args:
        weight: weight of the domain loss, >= 0.
        lambda_max: largest lambda, >= 0 (paper: 1).
        gamma: growth rate of lambda_p, > 0 (paper: 10); None keeps lambda at its largest value from the start.
        hidden: widths of the discriminator's hidden layers; empty for logistic regression.
        dropout: dropout rate in the discriminator, in [0, 1).
        reduction: ``sum`` of the two per-domain means (paper) or their ``mean``.
        lambda_on: ``features`` (lambda in the reversal) or ``loss``.
        progress: ``trainer``: p covers the whole run; or the number of updates over which p goes from 0 to 1.

    Raises:
        UserError: an option is out of its range.

    References:
        Ganin et al., JMLR 17 (2016), section 4.2, and algorithm 1 for lambda on the loss.
    """

    def __init__(
        self,
        weight: float = 1.0,
        lambda_max: float = 1.0,
        gamma: float | None = 10.0,
        hidden: Sequence[int] = (100,),
        dropout: float = 0.0,
        reduction: str = "sum",
        lambda_on: str = "features",
        progress: str | int = "trainer",
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UserError(f"domain_adaptation.dropout must be in [0, 1), not {dropout}")
        if any(width < 1 for width in hidden):
            raise UserError(f"domain_adaptation.hidden must be widths of at least 1, not {list(hidden)}")
        if reduction not in ("sum", "mean"):
            raise UserError(f"domain_adaptation.reduction must be 'sum' or 'mean', not {reduction!r}")
        if lambda_on not in ("features", "loss"):
            raise UserError(f"domain_adaptation.lambda_on must be 'features' or 'loss', not {lambda_on!r}")
        if progress != "trainer" and (isinstance(progress, str) or progress < 1):
            raise UserError(f"domain_adaptation.progress must be 'trainer' or a number of updates, not {progress!r}")
        self.weight, self.lambda_max = check_weight("weight", weight), check_weight("lambda_max", lambda_max)
        self.ramp = None if gamma is None else ReversalRamp(gamma)
        self.hidden, self.dropout, self.reduction = tuple(hidden), dropout, reduction
        self.lambda_on, self.progress = lambda_on, progress

    def build(self, num_features: int) -> None:
        """Build the discriminator: ``(B, num_features)`` -> one logit, > 0 for the target."""
        self.discriminator: nn.Module = mlp(num_features, self.hidden, 1, self.dropout)

    def strength(self, update: Update) -> float:
        """Compute lambda_p, in [0, lambda_max]."""
        p = update.progress if self.progress == "trainer" else min(1.0, update.number / int(self.progress))
        return self.lambda_max * (1.0 if self.ramp is None else self.ramp(p))

    def forward(
        self, source: Tensor, target: Tensor, update: Update, weights: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Compute the domain loss.

        Args:
            source: discriminator's input from the source, ``(n, D)``.
            target: discriminator's input from the target, ``(m, D)``.
            update: progress of training.
            weights: weights of the samples of each domain, each of mean 1.

        Returns:
            The weighted loss, and the domain accuracy (mean over domains) and lambda to log.
        """
        strength = update.live(self.strength)
        on_features = self.lambda_on == "features"
        reversed_inputs = reverse_gradient(torch.cat([source, target]), strength if on_features else 1.0)
        logits = self.discriminator(reversed_inputs).squeeze(1)  # (n + m, D) -> (n + m,)
        source_logits, target_logits = logits.split([len(source), len(target)])
        loss = domain_loss(source_logits, target_logits, self.reduction, weights)
        if self.weight != 1:
            loss = self.weight * loss
        if not on_features:
            loss = strength * loss
        return loss, {"domain_acc": domain_accuracy(source_logits, target_logits), "lambda": strength}

    def facts(self) -> dict[str, str]:
        """Report the choices that change the method's numbers."""
        facts = {"domain loss": f"{self.reduction} of the per-domain means"}
        if self.lambda_on == "loss":
            facts["lambda"] = "on the loss, also for the discriminator"
        if self.progress != "trainer":
            facts["lambda's progress"] = f"over {self.progress} updates"
        return facts

    def extra_repr(self) -> str:
        """Show the options."""
        return f"weight={self.weight}, lambda_max={self.lambda_max}, {self.ramp}, reduction={self.reduction!r}"


def domain_accuracy(source_logits: Tensor, target_logits: Tensor) -> Tensor:
    """Average the discriminator's accuracies on the two domains.

    Args:
        source_logits: logits of source samples, > 0 for the target, ``(n,)``.
        target_logits: logits of target samples, ``(m,)``.

    Returns:
        A scalar; for domains of equal sizes, marks of the correct decisions, ``(2n,)`` bool.
    """
    source_right, target_right = source_logits < 0, target_logits > 0
    if len(source_right) == len(target_right):  # the share over both, which is computed when the log is written
        return torch.cat([source_right, target_right])
    return (source_right.float().mean() + target_right.float().mean()) / 2
