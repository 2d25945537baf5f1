"""Domain-adversarial neural network."""

from typing import Literal

from torch import nn

from tl_lab.domain_adaptation.adversarial import Adversary, domain_loss
from tl_lab.domain_adaptation.base import Adaptation, DomainAdaptation, DomainOutput, Update, check_batch_norm
from tl_lab.model.network import Network
from tl_lab.options import BatchNorm, Count, NonNegative, Positive, Probability, Widths
from tl_lab.problems import ALL, SEVERAL

__all__ = ["DANN", "domain_loss"]


class DANN(DomainAdaptation):
    """Train features from which a discriminator cannot predict the domain.

    The discriminator minimises weight * L_d; the features receive the same gradient times -lambda_p, with
    lambda_p = lambda_max (2 / (1 + exp(-gamma p)) - 1) over training progress p.

    Args:
        weight: weight of the domain loss in the objective, >= 0.
        lambda_max: largest factor of the reversed gradient, >= 0 (paper: 1).
        gamma: growth rate of lambda_p, > 0 (paper: 10); None keeps lambda at its largest value from the start.
        hidden: widths of the discriminator's hidden layers.
        dropout: dropout rate in the discriminator, in [0, 1).
        reduction: ``sum`` of the two per-domain means (paper) or their ``mean``.
        batch_norm: statistics over both domains together (``joint``), over each domain's half (``separate``), or
            separate with running statistics for each domain, used in its evaluation (``domain_specific``).
        lambda_on: ``features`` applies lambda in the reversal only; ``loss`` multiplies the discriminator's loss by
            lambda instead, as for the paper's shallow network (algorithm 1).
        progress: ``trainer``: p covers the whole run; or the number of updates over which p goes from 0 to 1.

    Raises:
        UserError: for a negative weight or an unknown choice.

    References:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17 (2016),
        https://jmlr.org/papers/v17/15-239.html
    """

    problems = ALL | SEVERAL

    def __init__(
        self,
        weight: NonNegative = 1.0,
        lambda_max: NonNegative = 1.0,
        gamma: Positive | None = 10.0,
        hidden: Widths = (100,),
        dropout: Probability = 0.0,
        reduction: Literal["sum", "mean"] = "sum",
        batch_norm: BatchNorm = "joint",
        lambda_on: Literal["features", "loss"] = "features",
        progress: Literal["trainer"] | Count = "trainer",
    ) -> None:
        super().__init__()
        self.adversary = Adversary(weight, lambda_max, gamma, hidden, dropout, reduction, lambda_on, progress)
        self.batch_norm = check_batch_norm(batch_norm)

    @property
    def discriminator(self) -> nn.Module:
        """The domain classifier, features ``(B, D)`` -> one logit, > 0 for the target."""
        return self.adversary.discriminator

    def build(self, network: Network) -> None:
        """Build the discriminator."""
        self.adversary.build(network.num_features)

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute the domain loss behind the reversal, with the domain accuracy and lambda to log."""
        loss, logs = self.adversary(source.features, target.features, update)
        return Adaptation({"domain_loss": loss}, logs)

    def facts(self) -> dict[str, str]:
        """Report the choices that change DANN's numbers."""
        return {**self.adversary.facts(), "batch-norm statistics": self.batch_norm.replace("_", " ")}

    def extra_repr(self) -> str:
        """Show the method's options."""
        return self.adversary.extra_repr()
