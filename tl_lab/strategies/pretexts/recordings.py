"""Pretext tasks of recordings."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.model.network import Network
from tl_lab.strategies.pretexts.base import Options, Pretext, Seen

__all__ = ["MaskedSpectrogram"]


class MaskedSpectrogram(Pretext):
    """Reconstruct a masked segment of each recording's spectrogram from the rest, by one linear layer.

    All bands of a segment of ``patch`` frames within the recording are set to 0.
    """

    name = "masked_spectrogram"
    modality = "audio"

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        self.bands = int(cast(Any, network.backbone.spec).bands)
        self.decoder = nn.Linear(network.num_features, self.bands * options.patch)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Compute the mean squared error over masked frames."""
        x = cast(Mapping[str, Tensor], seen.x)
        mel, frames = x["mel"], self.options.patch
        latest = (x["length"].cpu() - frames).clamp(min=0)  # (B,)
        begins = (torch.rand(len(mel), generator=seen.draw) * (latest + 1)).long().to(mel.device)
        places = begins[:, None] + torch.arange(frames, device=mel.device)  # (B, F)
        places = places.clamp(max=mel.shape[2] - 1)[:, None].expand(-1, mel.shape[1], -1)
        features = self.network.features({**x, "mel": mel.scatter(2, places, 0.0)})
        return {"loss": F.mse_loss(self.decoder(features).view(len(mel), self.bands, frames), mel.gather(2, places))}
