"""Adversarial discriminative domain adaptation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.domain_adaptation.adversarial import domain_accuracy, domain_loss
from tl_lab.domain_adaptation.base import Adaptation, DomainAdaptation, DomainOutput, Domains, Phase, Update
from tl_lab.errors import UserError
from tl_lab.model.heads import mlp
from tl_lab.model.network import Network
from tl_lab.options import Fraction, Probability, Widths
from tl_lab.problems import ALL

__all__ = ["ADDA"]


class ADDA(DomainAdaptation):
    """Train on the source first, then train a separate target encoder to imitate the source's features.

    During the first share of the run, the source encoder and the head are trained on the source alone. Then both are
    frozen, including batch normalisation and dropout, and the target encoder starts as a copy of the source encoder.
    For each batch, a discriminator is trained to separate source from target features, and the target encoder is
    trained with inverted domain labels.

    Args:
        pretrain: share of the run that trains on the source alone, in (0, 1).
        hidden: widths of the discriminator's hidden layers (paper: 500, 500).
        dropout: dropout rate in the discriminator, in [0, 1).

    Raises:
        UserError: an option is out of its range.

    References:
        Tzeng et al., Adversarial Discriminative Domain Adaptation, CVPR 2017, equation 9.
    """

    problems = ALL
    target_encoder = True
    batch_norm = "separate"
    started: Tensor

    def __init__(self, pretrain: Fraction = 0.5, hidden: Widths = (500, 500), dropout: Probability = 0.0) -> None:
        super().__init__()
        if not 0 < pretrain < 1:
            raise UserError(f"domain_adaptation.pretrain must be a share of the run in (0, 1), not {pretrain}")
        if not 0 <= dropout < 1:
            raise UserError(f"domain_adaptation.dropout must be in [0, 1), not {dropout}")
        if any(width < 1 for width in hidden):
            raise UserError(f"domain_adaptation.hidden must be widths of at least 1, not {list(hidden)}")
        self.pretrain, self.hidden, self.dropout = pretrain, tuple(hidden), dropout
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def build(self, network: Network) -> None:
        """Build the discriminator: features ``(B, D)`` -> one logit, > 0 for the target."""
        self.discriminator: nn.Module = mlp(network.num_features, self.hidden, 1, self.dropout)

    def phases(self, progress: float) -> tuple[Phase, ...]:
        """Return the phases: at first the source alone, later the discriminator and then the target encoder."""
        if progress < self.pretrain:
            return (Phase("source", frozenset({"backbone", "bottleneck", "head"}), needs=frozenset({"source"})),)
        discriminator = Phase("discriminator", frozenset({"adaptation"}), task=False)
        encoder = Phase("encoder", frozenset({"target_encoder"}), task=False, needs=frozenset({"target"}))
        return discriminator, encoder

    def before_update(self, network: Network, update: Update) -> None:
        """Initialise the target encoder from the source encoder, and freeze the latter."""
        if update.progress < self.pretrain:
            return
        if not self.started:
            self._copy(network)
            self.started.fill_(True)
        network.backbone.eval()
        network.bottleneck.eval()

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute the discriminator's loss, or that of the target encoder with inverted labels."""
        if update.phase == "source":
            return Adaptation()
        target_logits = self.discriminator(target.features).squeeze(1)
        if update.phase == "encoder":
            return Adaptation({"encoder_loss": F.softplus(target_logits).mean()})  # labelled as source, class 0
        source_logits = self.discriminator(source.features).squeeze(1)
        accuracy = domain_accuracy(source_logits, target_logits)
        return Adaptation({"domain_loss": domain_loss(source_logits, target_logits)}, {"domain_acc": accuracy})

    def before_evaluation(self, network: Network, domain: str | None, domains: Domains) -> None:
        """Copy the source encoder to the target encoder as long as the latter has not been trained."""
        if domain == "target" and not self.started:
            self._copy(network)

    @staticmethod
    def _copy(network: Network) -> None:
        assert network.target_encoder is not None
        for part in ("backbone", "bottleneck"):
            network.target_encoder[part].load_state_dict(getattr(network, part).state_dict())

    def facts(self) -> dict[str, str]:
        """Report the choices that change the numbers."""
        return {"ADDA": f"the first {self.pretrain:.0%} of the updates use the source alone"}

    def extra_repr(self) -> str:
        """Show the method's options."""
        return f"pretrain={self.pretrain}, hidden={list(self.hidden)}"
