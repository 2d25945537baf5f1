"""Convolutions over a spectrogram."""

import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup, check_count, check_probability
from tl_lab.data.inputs.audio import AudioSpec
from tl_lab.errors import UserError
from tl_lab.options import Count, Positive, Probability

__all__ = ["AudioCNN"]

_HALVING = 2  # blocks that halve time if each frame has features


class AudioCNN(Backbone):
    """Blocks of 3x3 convolution, batch norm, ReLU and 2x2 max pooling over a mel spectrogram, averaged over time.

    All feature maps are 0 after a recording's end, so that the padding of a batch has no effect. Features are the means
    over time of the last feature maps in each remaining band: ``num_features = widths[-1] * (bands >> blocks)``. If
    each frame has features, only the first two blocks halve time, which results in one frame per 40 ms.

    Args:
        widths: feature maps of each block; every block halves bands and time.
        bands: mel bands of the spectrogram, at least ``2 ** len(widths)``.
        rate: samples per second to which recordings are resampled.
        dropout: of the features, in [0, 1).
        seconds: largest length of a recording; longer ones are cut at the end.
        frames: return the feature maps of each frame, 0 after a recording's end; None for their mean. The data
            determine it.

    Raises:
        UserError: an argument is out of its range.
    """

    modalities = frozenset({"audio"})

    def __init__(
        self,
        widths: tuple[Count, ...] = (16, 32, 64, 64),
        bands: Count = 64,
        rate: Count = 8000,
        dropout: Probability = 0.0,
        seconds: Positive = 10.0,
        frames: bool | None = None,
    ) -> None:
        super().__init__()
        self.frames = bool(frames)
        maps = [check_count("backbone.widths", width) for width in widths]
        self.halvings = len(maps)
        if not maps or bands < 2**self.halvings:
            raise UserError(f"backbone.bands={bands} is less than 2 to the number of backbone.widths, {len(maps)}")
        self.blocks = nn.ModuleList(
            _Block(before, after, halves=not frames or number < _HALVING)
            for number, (before, after) in enumerate(zip([1, *maps], maps, strict=False))
        )
        self.dropout = nn.Dropout(check_probability("backbone.dropout", dropout))
        self.num_features = maps[-1] * (bands >> self.halvings)
        # frames of 25 ms, a step of 10 ms
        self.spec = AudioSpec(rate, "mel", bands, max(2, rate // 40), max(1, rate // 100), float(seconds))

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Map ``mel`` (B, M, L) and ``length`` (B,) to ``(B, num_features)``, or to that of each frame."""
        maps, length = x["mel"][:, None], x["length"]
        step = 2 ** sum(block.halves for block in self.blocks)  # type: ignore[misc]  # blocks, which say it
        whole = -(-maps.shape[-1] // step) * step
        maps = nn.functional.pad(maps, (0, whole - maps.shape[-1]))
        for block in self.blocks:
            maps = block(maps, length)
            length = (length + 1) // 2 if block.halves else length
        if self.frames:
            return self.dropout(maps.flatten(1, 2).transpose(1, 2))  # (B, C, M', L') -> (B, L', C * M')
        features = maps.sum(-1) / length[:, None, None]  # (B, C, M', L') -> (B, C, M')
        return self.dropout(features.flatten(1))

    def layer_groups(self) -> list[LayerGroup]:
        """One group for each block: ``block1``, ``block2``, ..."""
        return [(f"block{number}", [block]) for number, block in enumerate(self.blocks, start=1)]


class _Block(nn.Module):
    def __init__(self, before: int, after: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves  # only time; every block halves bands
        self.convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm, self.pool = nn.BatchNorm2d(after), nn.MaxPool2d((2, 2 if halves else 1))

    def forward(self, maps: Tensor, length: Tensor) -> Tensor:
        inside = torch.arange(maps.shape[-1], device=maps.device) < length[:, None]
        # rectified maps are at least 0, so that zeros after the end never change a maximum
        return self.pool(self.norm(self.convolution(maps)).relu() * inside[:, None, None])
