"""Horizontal and vertical stripes, drawn anew by each seed."""

import torch

from tl_lab.data.base import DataModule
from tl_lab.data.samples import Samples


class Stripes(DataModule):
    """Images 1x8x8 with stripes along one axis, in noise; the axis is the class."""

    def read(self) -> dict[str, Samples]:
        """Draw the three sets."""
        self.class_names = ["horizontal", "vertical"]
        return {
            name: self._draw(n, self.seed + i)
            for i, (name, n) in enumerate([("train", 200), ("val", 50), ("test", 50)])
        }

    def _draw(self, count: int, seed: int) -> Samples:
        draw = torch.Generator().manual_seed(seed)
        y = torch.arange(count) % 2
        lines = (torch.rand(count, 8, 1, generator=draw) > 0.5).float().expand(-1, -1, 8)
        x = torch.where(y[:, None, None] == 0, lines, lines.transpose(1, 2))
        return Samples((0.7 * x + 0.3 * torch.rand(count, 8, 8, generator=draw)).unsqueeze(1), y)
