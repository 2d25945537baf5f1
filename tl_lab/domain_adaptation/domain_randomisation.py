"""Domain randomisation: source images vary so much that the target appears as one more variation."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Len
from torch import Tensor
from torch.nn import functional as F

from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.errors import UserError
from tl_lab.model.network import Network
from tl_lab.options import Count, Positive, Range, Share
from tl_lab.problems import ALL

__all__ = ["DomainRandomisation"]


class DomainRandomisation(DomainAdaptation):
    """Change colour, texture, background, sharpness and noise of each source image at random.

    Every change is applied with its own probability, independently of the others, and with parameters drawn for each
    image, in the order invert, colour, background, texture, blur, noise. No target sample is used, and none is
    required. Images are in [0, 1], with any number of channels, and stay in [0, 1].

    Args:
        invert: probability of inverting an image, 1 - x.
        colour: probability of a gain and an offset, drawn separately for each channel, x -> a x + b.
        gain: smallest and largest a, >= 0, log-uniform if both are above 0.
        offset: largest |b|, in [0, 1].
        background: probability of another background: pixels that resemble the image's border are blended with a random
            texture t, x -> m x + (1 - m) t, where m is the colour distance to the border's mean, scaled to a maximum
            of 1.
        texture: probability of a random texture t over the whole image, x -> (1 - s) x + s t.
        texture_strength: largest s, in [0, 1].
        cells: smallest and largest number of a texture's cells along a side; a colour is drawn for each cell, and with
            equal probability colours are interpolated linearly or not at all.
        blur: probability of a Gaussian blur.
        blur_sigma: smallest and largest standard deviation in pixels, > 0.
        noise: probability of Gaussian noise on each value.
        noise_deviation: smallest and largest standard deviation of the noise, >= 0.

    Raises:
        UserError: an option is out of its range; or the data are vectors (from :meth:`build`).

    References:
        Tobin, Fong, Ray, Schneider, Zaremba and Abbeel, Domain Randomization for Transferring Deep Neural Networks
        from Simulation to the Real World, IROS 2017, section III-A.
    """

    problems = ALL
    needs_target = False
    trains_on_target = False
    changes_inputs = True

    def __init__(
        self,
        invert: Share = 0.5,
        colour: Share = 0.8,
        gain: Range = (0.5, 1.5),
        offset: Share = 0.25,
        background: Share = 0.5,
        texture: Share = 0.5,
        texture_strength: Share = 0.3,
        cells: Annotated[Sequence[Count], Len(2, 2)] = (2, 8),
        blur: Share = 0.3,
        blur_sigma: Annotated[Sequence[Positive], Len(2, 2)] = (0.3, 1.5),
        noise: Share = 0.5,
        noise_deviation: Range = (0.0, 0.1),
    ) -> None:
        super().__init__()
        self.probabilities = {
            "invert": invert,
            "colour": colour,
            "background": background,
            "texture": texture,
            "blur": blur,
            "noise": noise,
        }
        for name, value in {**self.probabilities, "offset": offset, "texture_strength": texture_strength}.items():
            if not 0 <= value <= 1:
                raise UserError(f"domain_adaptation.{name} must be in [0, 1], not {value}")
        self.gain, self.cells = _range("gain", gain, 0), _range("cells", cells, 1)
        self.blur_sigma = _range("blur_sigma", blur_sigma, 1e-3)
        self.noise_deviation = _range("noise_deviation", noise_deviation, 0)
        self.offset, self.texture_strength = offset, texture_strength
        # if all probabilities are 0, inputs are not modified
        self.changes_inputs = any(self.probabilities.values())  # type: ignore[misc]

    def build(self, network: Network) -> None:
        """Check that the data are images; no module is built."""
        if (modality := network.backbone.spec.modality) != "image":
            raise UserError(f"domain_adaptation=domain_randomisation changes images, but these data are {modality}s")

    def source_input(self, x: Tensor) -> Tensor:
        """Change a batch ``(B, C, H, W)`` in [0, 1], each image independently.

        Random numbers come from the CPU's global stream, the same on every device.
        """
        changes = {
            "invert": _invert,
            "colour": self._colour,
            "background": self._background,
            "texture": self._texture,
            "blur": self._blur,
            "noise": self._noise,
        }
        for name, change in changes.items():
            if probability := self.probabilities[name]:
                chosen = (torch.rand(len(x), 1, 1, 1) < probability).to(x.device)
                x = torch.where(chosen, change(x).clamp(0, 1), x)
        return x

    def _colour(self, x: Tensor) -> Tensor:
        low, high = self.gain
        share = _draw(x, x.shape[1])
        a = torch.exp(math.log(low) + (math.log(high / low)) * share) if low else high * share
        return a * x + self.offset * (2 * _draw(x, x.shape[1]) - 1)

    def _background(self, x: Tensor) -> Tensor:
        border = torch.cat([x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]], dim=2)  # (B, C, 2 (H + W))
        distance = (x - border.mean(2)[..., None, None]).abs().amax(1, keepdim=True)
        m = distance / distance.amax((2, 3), keepdim=True).clamp(min=1e-6)
        return m * x + (1 - m) * self._textures(x)

    def _texture(self, x: Tensor) -> Tensor:
        s = self.texture_strength * _draw(x)
        return (1 - s) * x + s * self._textures(x)

    def _textures(self, x: Tensor) -> Tensor:
        """Draw a texture for each image, with cells of random colours: ``(B, C, H, W)`` in [0, 1]."""
        low, high = (int(number) for number in self.cells)
        count, channels, height, width = x.shape
        number = torch.randint(low, high + 1, (count, 1))
        smooth = torch.rand(count, 1) < 0.5
        colours = torch.rand(count, channels, high, high)
        rows, columns = (_positions(number, smooth, length) * 2 / max(1, high - 1) - 1 for length in (height, width))
        # (B, H, W, 2), x before y
        at = torch.stack([columns[:, None, :].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)], dim=3)
        return F.grid_sample(colours.to(x), at.to(x), padding_mode="border", align_corners=True)

    def _blur(self, x: Tensor) -> Tensor:
        low, high = self.blur_sigma
        sigma = (low + (high - low) * _draw(x)).view(-1, 1)
        radius = max(1, math.ceil(3 * high))
        at = torch.arange(-radius, radius + 1).to(x)
        kernels = torch.exp(-at.square() / (2 * sigma.square()))
        kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(x.shape[1], 0)  # (B C, 2 radius + 1)
        flat = F.pad(x, [radius] * 4, mode="replicate").flatten(0, 1).unsqueeze(0)  # each image is a group of channels
        flat = F.conv2d(flat, kernels[:, None, :, None], groups=len(kernels))
        return F.conv2d(flat, kernels[:, None, None, :], groups=len(kernels)).view_as(x)

    def _noise(self, x: Tensor) -> Tensor:
        low, high = self.noise_deviation
        return x + (low + (high - low) * _draw(x)) * torch.randn(x.shape).to(x)

    def facts(self) -> dict[str, str]:
        """Report the changes and their probabilities."""
        changes = ", ".join(f"{name} {value:g}" for name, value in self.probabilities.items() if value)
        return {"source images changed": changes or "none"}

    def extra_repr(self) -> str:
        """Show the method's options."""
        return ", ".join(f"{name}={value:g}" for name, value in self.probabilities.items())


def _range(name: str, values: Sequence[float], least: float) -> tuple[float, float]:
    if len(values) != 2 or not least <= values[0] <= values[1]:
        raise UserError(
            f"domain_adaptation.{name} must be two ascending numbers of at least {least:g}, not {list(values)}"
        )
    return float(values[0]), float(values[1])


def _positions(number: Tensor, smooth: Tensor, length: int) -> Tensor:
    """Place the pixels of a side on a grid of ``number`` cells, ``(B, 1)``.

    Returns:
        Positions in cells, ``(B, length)``: between the cells' centres if ``smooth``, otherwise indices of cells.
    """
    between = torch.linspace(0, 1, length) * (number - 1)
    within = ((torch.arange(length) + 0.5) / length * number).floor()
    return torch.where(smooth, between, within)  # (B, length)


def _draw(x: Tensor, channels: int = 1) -> Tensor:
    return torch.rand(len(x), channels, 1, 1).to(x)


def _invert(x: Tensor) -> Tensor:
    return 1 - x
