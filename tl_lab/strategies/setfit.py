"""SetFit: fine-tuning of an encoder on pairs of a few labelled samples, and a logistic regression on its features."""

from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from tl_lab.data.batches import Episode, Labelled, Unlabelled
from tl_lab.domain_adaptation.base import Phase, Update
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.options import Positive
from tl_lab.randomness import generator
from tl_lab.strategies.probed import Probed

__all__ = ["SetFit", "draw_partners", "pair_loss"]


class SetFit(Probed):
    """Fine-tune a backbone so that samples of a class have similar features, and fit a logistic regression on these.

    Each sample of a batch is paired with another one of its class and with one of another class, both drawn anew. An
    epoch is one of SetFit's "iterations"; a batch of B samples gives 2 B pairs. The regression is fitted to the
    training features before every validation and test, and becomes the network's head.

    Args:
        inverse_penalty: C of the logistic regression, > 0.
        options: keyword arguments of :class:`~tl_lab.strategies.base.Strategy`.

    Raises:
        UserError: there is a bottleneck, or the head has hidden layers.

    References:
        L. Tunstall et al., "Efficient Few-Shot Learning Without Prompts", 2022, section 3.
        https://arxiv.org/abs/2209.11055
    """

    problems = frozenset({"single_label"})
    wants_weights = True

    def __init__(self, *, layers: LayerPolicy, inverse_penalty: Positive = 1.0, **options: Any) -> None:
        super().__init__(layers=layers.or_rate(1.0), **options)
        self.inverse_penalty = float(inverse_penalty)

    def objective(
        self, source: Labelled | Episode, target: Unlabelled | None, update: Update, phase: Phase, watched: bool = False
    ) -> Tensor:
        """Compare each sample with one of its class and one of another (see :func:`pair_loss`)."""
        assert isinstance(source, Labelled)
        labels = self.data.training_labels
        draw = generator(self.seed, "pairs", self.updates_done, self.global_rank)
        partners = torch.cat(draw_partners(source.index.cpu(), labels.cpu(), draw)).to(self.device)
        anchors = self.features(source.x)
        others = self.features(self.data.inputs_at(self.data.primary, partners))
        loss = pair_loss(anchors.repeat(2, 1), others, source.y.repeat(2) == labels[partners])
        self.note({"loss": loss, "pair_loss": loss})
        return loss

    def fit_head(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Fit the logistic regression."""
        inputs, labels = features.double().cpu().numpy(), y.cpu().numpy()
        fitted = LogisticRegression(C=self.inverse_penalty, max_iter=1000).fit(inputs, labels)
        weights, offsets = torch.from_numpy(fitted.coef_), torch.from_numpy(fitted.intercept_)
        if len(weights) == 1:  # two classes have one score: split it, so that the softmax gives the same probabilities
            weights, offsets = torch.cat([-weights, weights]) / 2, torch.cat([-offsets, offsets]) / 2
        return weights, offsets

    def facts(self) -> dict[str, str]:
        """Report the head."""
        return {**super().facts(), "head": f"logistic regression on the tuned features, C = {self.inverse_penalty:g}"}


def draw_partners(index: Tensor, labels: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw for each sample another one of its class, if there is one, and one of another class.

    Args:
        index: positions of B samples, ``(B,)``.
        labels: classes of all N samples, ``(N,)``, at least two of them different.
        draw: random generator.

    Returns:
        Positions of a sample of the same class and of one of another class, each ``(B,)``.
    """
    same = labels[index, None] == labels[None]  # (B, N)
    itself = torch.zeros_like(same).scatter_(1, index[:, None], True)
    alone = same.sum(1, keepdim=True) == 1
    positives = torch.multinomial((same & (~itself | alone)).float(), 1, generator=draw)
    negatives = torch.multinomial((~same).float(), 1, generator=draw)
    return positives[:, 0], negatives[:, 0]


def pair_loss(left: Tensor, right: Tensor, alike: Tensor) -> Tensor:
    """Return the mean of ``(cos(l, r) - [alike])^2`` over pairs.

    Args:
        left: features, ``(B, D)``.
        right: likewise.
        alike: whether a pair is of one class, ``(B,)``.
    """
    return (F.cosine_similarity(left, right) - alike.to(left.dtype)).square().mean()
