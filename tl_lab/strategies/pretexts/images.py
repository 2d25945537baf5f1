"""Pretext tasks of images."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.functional.contrastive import nt_xent
from tl_lab.model.network import Network
from tl_lab.strategies.pretexts.base import Options, Pretext, Seen

__all__ = ["MaskedPatches", "Rotation", "Views", "hidden_patches"]


class Rotation(Pretext):
    """Predict by how many quarter turns an image was rotated.

    References:
        S. Gidaris, P. Singh, N. Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR
        2018. https://arxiv.org/abs/1803.07728
    """

    name = "rotation"

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        height, width = cast(Any, network.backbone.spec).size
        if height != width:
            raise UserError(f"strategy.pretext=rotation needs square images, and these are {height}x{width}")
        self.head = nn.Linear(network.num_features, 4)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Classify all four rotations of each image in one batch, as in the paper."""
        x = cast(Tensor, seen.x)
        turns = torch.arange(4, device=x.device).repeat_interleave(len(x))
        scores = self.head(self.network.features(torch.cat([x.rot90(k, (2, 3)) for k in range(4)])))
        return {"loss": F.cross_entropy(scores, turns), "turns_told": (scores.argmax(1) == turns).float().mean()}


class Views(Pretext):
    """Identify the second view of a sample among those of a batch: SimCLR (see :func:`~tl_lab.functional.nt_xent`)."""

    name = "views"

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        width = network.num_features
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, options.projection))

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Compare two views, both drawn by the run's augmentation."""
        left, right = (self.projection(self.network.features(x)) for x in (seen.x, seen.again()))
        loss, found = nt_xent(left, right, self.options.temperature)
        return {"loss": loss, "views_found": found}


class MaskedPatches(Pretext):
    """Reconstruct masked patches of an image from the features of the others, by one linear layer.

    Masked patches are 0, the mean of normalised images; the loss is the squared error at masked pixels.

    References:
        D. Pathak et al., "Context Encoders: Feature Learning by Inpainting", CVPR 2016, equation 1.
        https://arxiv.org/abs/1604.07379
    """

    name = "masked_patches"

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        spec = cast(Any, network.backbone.spec)
        if any(side % options.patch for side in spec.size):
            height, width = spec.size
            raise UserError(
                f"strategy.patch={options.patch} does not divide images of {height}x{width} into whole patches"
            )
        self.decoder = nn.Linear(network.num_features, spec.channels * spec.size[0] * spec.size[1])

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Compute the mean squared error over masked pixels."""
        x = cast(Tensor, seen.x)
        hidden = hidden_patches(x.shape, self.options.patch, self.options.mask_share, seen.draw).to(x.device)
        restored = self.decoder(self.network.features(x.masked_fill(hidden, 0.0))).view_as(x)
        return {"loss": (restored - x)[hidden.expand_as(x)].square().mean()}


def hidden_patches(shape: Sequence[int], patch: int, share: float, draw: torch.Generator) -> Tensor:
    """Choose equal numbers of patches of each image: boolean ``(B, 1, H, W)``.

    Args:
        shape: of the images, ``(B, C, H, W)``.
        patch: side of a patch in pixels, which divides both sides.
        share: of the patches that are masked, in (0, 1]; at least one patch, and not all of several.
        draw: random generator.
    """
    rows, columns = shape[2] // patch, shape[3] // patch
    count = min(max(1, round(share * rows * columns)), max(1, rows * columns - 1))
    order = torch.rand(shape[0], rows * columns, generator=draw).argsort(1).argsort(1)
    chosen = (order < count).view(shape[0], 1, rows, columns)
    return chosen.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
