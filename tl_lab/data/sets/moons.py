"""Two moons and rotated moons: a pair of two-dimensional domains that can be plotted."""

from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from sklearn.datasets import make_moons

from tl_lab.data.names import SetName
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.errors import UserError
from tl_lab.options import Angle, NonNegative
from tl_lab.randomness import derive_seed

__all__ = ["Moons"]


class Moons(DomainPair):
    """Points of two interleaved half circles (source), and other points rotated around their centre (target).

    Args:
        rotation: rotation of the target, in degrees.
        count: number of training points of each domain; validation and each test set have half as many.
        noise: standard deviation of the Gaussian noise on each coordinate, >= 0.
        options: keyword arguments of :class:`~tl_lab.data.base.DomainPair`.

    References:
        Ganin et al., JMLR 17 (2016), section 5.1.1, with a rotation of 35 degrees.
    """

    modality = "vector"

    def __init__(
        self, *, rotation: Angle = 35.0, count: Annotated[int, Ge(20)] = 300, noise: NonNegative = 0.1, **options: Any
    ) -> None:
        super().__init__(**options)
        if count < 20:
            raise UserError(f"data.count must be at least 20, not {count}")
        if not noise >= 0:
            raise UserError(f"data.noise must be at least 0, not {noise}")
        if self.augmentation is not None and self.augmentation.active:
            raise UserError("augmentation changes images, but moons are points: set augmentation=none")
        self.rotation, self.count, self.noise = rotation, count, noise

    def read(self) -> dict[str, Samples]:
        """Draw both domains."""
        self.class_names = ["upper", "lower"]
        half = self.count // 2
        sizes = {
            "source/train": self.count,
            "source/val": half,
            "source/test": half,
            "target/train": self.count,
            "target/test": half,
        }
        return {name: self._draw(name, count) for name, count in sizes.items()}

    def _draw(self, name: str, count: int) -> Samples:
        x, y = make_moons(count, noise=self.noise, random_state=derive_seed(self.seed, "moons", name) % 2**32)
        x -= (0.5, 0.25)  # the centre of both half circles
        if SetName.parse(name).domain == "target":
            angle = np.deg2rad(self.rotation)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            x = x @ turn.T
        return Samples(torch.from_numpy(x).float(), torch.from_numpy(y.astype(np.int64)))
