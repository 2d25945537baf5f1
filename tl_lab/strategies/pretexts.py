"""Pretext tasks: what a network can learn from inputs without labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.data.inputs.operations import Inputs
from tl_lab.errors import UserError
from tl_lab.functional.contrastive import nt_xent
from tl_lab.functional.token_masking import mask_tokens
from tl_lab.model.network import Network

__all__ = ["PRETEXTS", "MaskedTokens", "NextTokens", "Options", "Pretext", "Rotation", "Seen", "Views"]


@dataclass(frozen=True)
class Options:
    """What pretext tasks can be told; see :class:`~tl_lab.strategies.pretraining.Pretraining`."""

    temperature: float
    projection: int
    mask_share: float


@dataclass(frozen=True)
class Seen:
    """A batch without its labels.

    Args:
        x: inputs, augmented where the run augments.
        again: gives the same samples, augmented anew.
        draw: what is drawn from.
    """

    x: Inputs
    again: Callable[[], Inputs]
    draw: torch.Generator


class Pretext(nn.Module):
    """A task made of inputs alone; calling it gives the loss, and quantities to be logged beside it.

    Args:
        network: that learns; held outside, so that it is no part of the task's own parameters.
        options: of all tasks.
    """

    modality: ClassVar[str] = "image"

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__()
        self._network, self.options = (network,), options
        if network.backbone.spec.modality != self.modality:
            raise UserError(
                f"strategy.pretext={next(name for name, kind in PRETEXTS.items() if kind is type(self))} is made of "
                f"inputs of the kind {self.modality}, and the backbone takes {network.backbone.spec.modality}"
            )

    @property
    def network(self) -> Network:
        """The network that learns."""
        return self._network[0]

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Compute ``loss`` and whatever else should be logged, scalars by name."""
        raise NotImplementedError


class Rotation(Pretext):
    """Tell by how many quarter turns an image was rotated.

    References:
        S. Gidaris, P. Singh, N. Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR
        2018. https://arxiv.org/abs/1803.07728
    """

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        height, width = cast(Any, network.backbone.spec).size
        if height != width:
            raise UserError(f"strategy.pretext=rotation turns square images, and these are {height}x{width}")
        self.head = nn.Linear(network.num_features, 4)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """All four turns of each image are in the batch, as in the paper."""
        x = cast(Tensor, seen.x)
        turns = torch.arange(4, device=x.device).repeat_interleave(len(x))
        scores = self.head(self.network.features(torch.cat([x.rot90(k, (2, 3)) for k in range(4)])))
        return {"loss": F.cross_entropy(scores, turns), "turns_told": (scores.argmax(1) == turns).float().mean()}


class Views(Pretext):
    """Find the other view of a sample among those of a batch: SimCLR (see :func:`~tl_lab.functional.nt_xent`)."""

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        width = network.num_features
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, options.projection))

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Both views are drawn by the run's augmentation."""
        left, right = (self.projection(self.network.features(x)) for x in (seen.x, seen.again()))
        loss, found = nt_xent(left, right, self.options.temperature)
        return {"loss": loss, "views_found": found}


class MaskedTokens(Pretext):
    """Restore hidden tokens of a text (see :func:`~tl_lab.functional.token_masking.mask_tokens`).

    The output layer shares the weights of the embedding, after a layer of its own, as in BERT.
    """

    modality = "text"

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        self._words = _embedding(network)
        tokeniser = cast(Any, network.backbone.spec).tokeniser
        self.mask_id, self.special = tokeniser.mask_id, torch.tensor(sorted(tokeniser.special_ids))
        if self.mask_id is None:
            raise UserError("strategy.pretext=masked_tokens needs a tokeniser with a mask token; try next_tokens")
        words = self._words()
        self.transform = nn.Sequential(
            nn.Linear(network.num_features, words.shape[1]), nn.GELU(), nn.LayerNorm(words.shape[1])
        )
        self.bias = nn.Parameter(torch.zeros(len(words)))

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Only hidden tokens are scored."""
        x = cast(Mapping[str, Tensor], seen.x)
        ids = x["ids"].cpu()
        candidates = x["mask"].cpu().bool() & ~torch.isin(ids, self.special)
        hidden, chosen = mask_tokens(ids, candidates, self.options.mask_share, self.mask_id, len(self.bias), seen.draw)
        device = x["ids"].device
        states = cast(Any, self.network.backbone).states({**x, "ids": hidden.to(device)})  # (B, L, D)
        scores = F.linear(self.transform(states[chosen.to(device)]), self._words(), self.bias)
        truth = x["ids"][chosen.to(device)]
        return {"loss": F.cross_entropy(scores, truth), "tokens_told": (scores.argmax(1) == truth).float().mean()}


class NextTokens(Pretext):
    """Predict each token from those before it; the output layer is the embedding, as in most language models."""

    modality = "text"

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        self._words = _embedding(network)
        if not network.backbone.causal:
            raise UserError(
                "strategy.pretext=next_tokens needs a network that reads from left to right: backbone=hf_causal; "
                "for encoders there is masked_tokens"
            )

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """The mean over all tokens but the first of each text."""
        x = cast(Mapping[str, Tensor], seen.x)
        states = cast(Any, self.network.backbone).states(x)
        scored = x["mask"][:, 1:].bool()
        scores, truth = F.linear(states[:, :-1][scored], self._words()), x["ids"][:, 1:][scored]
        return {"loss": F.cross_entropy(scores, truth), "tokens_told": (scores.argmax(1) == truth).float().mean()}


def _embedding(network: Network) -> Callable[[], Tensor]:
    """Give the weights of the word embedding as they are now."""
    net = getattr(network.backbone, "net", None)
    if not hasattr(net, "get_input_embeddings"):
        raise UserError(
            f"language modelling needs a text encoder or language model, as backbone=hf_text or hf_causal, not "
            f"{type(network.backbone).__name__}"
        )
    return lambda: cast(Any, net).get_input_embeddings().weight


PRETEXTS: Mapping[str, type[Pretext]] = MappingProxyType(
    {"rotation": Rotation, "views": Views, "masked_tokens": MaskedTokens, "next_tokens": NextTokens}
)
"""The tasks by name."""
