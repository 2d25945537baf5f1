"""Domain-adversarial neural network."""

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
from tl_lab.errors import UserError
from tl_lab.functional import reverse_gradient
from tl_lab.networks import Network, mlp
from tl_lab.schedules import ReversalRamp

__all__ = ["DANN", "domain_loss"]


def domain_loss(source: Tensor, target: Tensor, reduction: str = "sum") -> Tensor:
    """Binary cross-entropy of a domain classifier; the source is class 0, the target class 1.

    L_d = -1/n sum_i log(1 - s(u_i)) - 1/m sum_j log s(v_j), with the logistic function s.

    Args:
        source: logits u of the source, ``(n,)``.
        target: logits v of the target, ``(m,)``.
        reduction: ``sum`` of the two means as in the paper, or their ``mean``, half as large.

    Returns:
        A scalar; 2 ln 2 (``sum``) or ln 2 (``mean``) for a classifier that cannot tell.

    References:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17 (2016), equations 8 and 9.
    """
    total = F.softplus(source).mean() + F.softplus(-target).mean()
    return total if reduction == "sum" else total / 2


class DANN(DomainAdaptation):
    """Learn features on which a discriminator cannot tell the domains apart.

    The discriminator descends weight * L_d; the features receive the same gradient times -lambda_p, with
    lambda_p = lambda_max (2 / (1 + exp(-gamma p)) - 1) over training progress p.

    Args:
        weight: of the domain loss in the objective, >= 0.
        lambda_max: largest factor of the reversed gradient, >= 0 (paper: 1).
        gamma: how fast lambda_p rises, > 0 (paper: 10).
        hidden: widths of the discriminator's hidden layers.
        dropout: in the discriminator, in [0, 1).
        reduction: ``sum`` of the two per-domain means (paper) or their ``mean``.
        batch_norm: statistics over both domains together (``joint``), over each domain's half (``separate``), or
            that with running statistics of each domain's own, which its evaluation uses (``domain_specific``).

    Raises:
        UserError: for a negative weight or an unknown choice.

    References:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17 (2016),
        https://jmlr.org/papers/v17/15-239.html
    """

    def __init__(
        self,
        weight: float = 1.0,
        lambda_max: float = 1.0,
        gamma: float = 10.0,
        hidden: tuple[int, ...] = (100,),
        dropout: float = 0.0,
        reduction: str = "sum",
        batch_norm: str = "joint",
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UserError(f"domain_adaptation.dropout is in [0, 1), not {dropout}")
        if any(width < 1 for width in hidden):
            raise UserError(f"domain_adaptation.hidden are widths of at least 1, not {list(hidden)}")
        if reduction not in ("sum", "mean"):
            raise UserError(f"domain_adaptation.reduction is 'sum' or 'mean', not {reduction!r}")
        self.weight, self.lambda_max = check_weight("weight", weight), check_weight("lambda_max", lambda_max)
        self.ramp = ReversalRamp(gamma)
        self.hidden, self.dropout, self.reduction = tuple(hidden), dropout, reduction
        self.batch_norm = check_batch_norm(batch_norm)

    def build(self, network: Network) -> None:
        """Make the discriminator: features ``(B, D)`` -> one logit, > 0 for the target."""
        self.discriminator: nn.Module = mlp(network.num_features, self.hidden, 1, self.dropout)

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute the domain loss behind the reversal, with the domain accuracy and lambda to log."""
        reversal = self.lambda_max * self.ramp(update.progress)
        features = reverse_gradient(torch.cat([source.features, target.features]), reversal)
        logits = self.discriminator(features).squeeze(1)  # (Bs + Bt, D) -> (Bs + Bt,)
        of_source, of_target = logits.split([len(source.features), len(target.features)])
        right = ((of_source < 0).float().mean() + (of_target > 0).float().mean()) / 2
        loss = self.weight * domain_loss(of_source, of_target, self.reduction)
        return Adaptation({"domain_loss": loss}, {"domain_acc": right.detach(), "lambda": reversal})

    def facts(self) -> dict[str, str]:
        """State the choices that change DANN's numbers."""
        return {
            "domain loss": f"{self.reduction} of the per-domain means",
            "batch-norm statistics": self.batch_norm.replace("_", " "),
        }

    def extra_repr(self) -> str:
        """Show the method's knobs."""
        return f"weight={self.weight}, lambda_max={self.lambda_max}, {self.ramp}, reduction={self.reduction!r}"
