"""Conditional adversarial domain adaptation."""

from typing import Literal

import torch
from torch import Tensor

from tl_lab.domain_adaptation.adversarial import Adversary
from tl_lab.domain_adaptation.base import Adaptation, DomainAdaptation, DomainOutput, Update, check_batch_norm
from tl_lab.errors import UserError
from tl_lab.functional import certainty_weights, multilinear_map, randomised_multilinear_map, reverse_gradient
from tl_lab.model.network import Network
from tl_lab.options import BatchNorm, Count, NonNegative, Positive, Probability, Widths

__all__ = ["CDAN"]


class CDAN(DomainAdaptation):
    """Train features that a discriminator cannot assign to a domain, even jointly with the predictions.

    The discriminator's input is T(f, g): the outer product of features and class probabilities, or a random projection
    of it if the product is too wide. The entropy-conditioned form (CDAN+E) weights samples by 1 + exp(-H(g)); each
    domain's weights are scaled to mean 1.

    Args:
        entropy: weight samples by the certainty of their predictions.
        randomised: ``auto``: project if D * C is above ``map_size``; ``true`` or ``false`` force the choice.
        map_size: width of the random projection, and the product's width above which it is used (paper: 1024 and 4096).
        detach: stop the gradient at the probabilities in the map (as in the authors' code).
        weight: see :class:`~tl_lab.domain_adaptation.adversarial.Adversary`, also for the following options.
        lambda_max: see the adversary.
        gamma: see the adversary.
        hidden: see the adversary.
        dropout: see the adversary.
        reduction: see the adversary.
        batch_norm: see :class:`~tl_lab.domain_adaptation.base.DomainAdaptation`.
        progress: see the adversary.

    Raises:
        UserError: for a negative weight or an unknown choice.

    References:
        Long et al., Conditional Adversarial Domain Adaptation, NeurIPS 2018, equations 1 to 8.
    """

    problems = frozenset({"single_label"})

    needs_target_logits = True

    def __init__(
        self,
        entropy: bool = True,
        randomised: bool | Literal["auto"] = "auto",
        map_size: Count = 1024,
        detach: bool = True,
        weight: NonNegative = 1.0,
        lambda_max: NonNegative = 1.0,
        gamma: Positive | None = 10.0,
        hidden: Widths = (1024, 1024),
        dropout: Probability = 0.5,
        reduction: Literal["sum", "mean"] = "sum",
        batch_norm: BatchNorm = "separate",
        progress: Literal["trainer"] | Count = "trainer",
    ) -> None:
        super().__init__()
        if randomised not in (True, False, "auto"):
            raise UserError(f"domain_adaptation.randomised must be 'auto', true or false, not {randomised!r}")
        if map_size < 1:
            raise UserError(f"domain_adaptation.map_size must be at least 1, not {map_size}")
        self.entropy, self.randomised, self.map_size, self.detach = entropy, randomised, map_size, detach
        self.adversary = Adversary(weight, lambda_max, gamma, hidden, dropout, reduction, progress=progress)
        self.batch_norm = check_batch_norm(batch_norm)
        self.map_f: Tensor | None
        self.map_g: Tensor | None

    def build(self, network: Network) -> None:
        """Build the discriminator and, if needed, the random maps: buffers, which are stored in checkpoints."""
        width = network.num_features * network.num_outputs
        projects = width > self.map_size if self.randomised == "auto" else bool(self.randomised)
        maps = [(self.map_size, network.num_features), (self.map_size, network.num_outputs)]
        for name, size in zip(("map_f", "map_g"), maps, strict=True):
            self.register_buffer(name, torch.randn(size) if projects else None)
        self.adversary.build(self.map_size if projects else width)

    def joint(self, output: DomainOutput) -> Tensor:
        """Compute T(f, g), ``(B, D C)`` or ``(B, map_size)``."""
        assert output.logits is not None
        g = output.logits.softmax(1)
        g = g.detach() if self.detach else g
        if self.map_f is None or self.map_g is None:
            return multilinear_map(output.features, g)
        return randomised_multilinear_map(output.features, g, self.map_f, self.map_g)

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute the domain loss on the joint variable."""
        weights = self._weights(source, update), self._weights(target, update)
        loss, logs = self.adversary(self.joint(source), self.joint(target), update, weights if self.entropy else None)
        return Adaptation({"domain_loss": loss}, logs)

    def _weights(self, output: DomainOutput, update: Update) -> Tensor:
        assert output.logits is not None
        weights = certainty_weights(output.logits.softmax(1))
        # gradients that reach the predictions through the weights are also reversed
        weights = reverse_gradient(weights, update.live(self.adversary.strength))
        return weights / weights.mean().detach()

    def facts(self) -> dict[str, str]:
        """Report the choices that change the numbers."""
        kind = "multilinear" if self.map_f is None else f"random, {self.map_size} wide"
        return {
            **self.adversary.facts(),
            "CDAN": f"{'entropy-conditioned, ' if self.entropy else ''}{kind} map",
            "batch-norm statistics": self.batch_norm.replace("_", " "),
        }

    def extra_repr(self) -> str:
        """Show the method's options."""
        return f"entropy={self.entropy}, randomised={self.randomised}, {self.adversary.extra_repr()}"
