"""Black and white levels, common to a set, for images of more than 8 bits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from tl_lab.errors import UserError

__all__ = ["WINDOWED", "Depth", "Levels"]

_GIVEN = "given"
WINDOWED = "windowed"
"""Kind of value in files that specify their own black and white levels."""
_BITS = {"16-bit": (8, 10, 12, 14, 16), "32-bit": (8, 10, 12, 14, 15, 16, 24, 31, 32), "float": (8, 10, 12, 14, 16)}
_OVER = 1.01  # resampled floats slightly exceed their range


class Depth(NamedTuple):
    """Kind and range of the values of an image of more than 8 bits.

    Attributes:
        kind: ``16-bit``, ``32-bit`` or ``float``; or ``windowed``, if ``low`` and ``high`` are the values that the
            file declares as black and white.
        low: smallest value.
        high: largest value, or the largest one that the file permits.
    """

    kind: str
    low: float
    high: float


@dataclass(frozen=True)
class Levels:
    """The values displayed as black and white.

    All images of a set share the levels of each kind of value, so that a darker image stays darker. Black is 0. White
    is the largest value of the smallest usual number of bits that covers all images (8, 10, 12, 14, 16 ...), or 1 for
    floats in 0..1.

    Args:
        ranges: black and white by kind. Those under ``given`` were chosen by the user: they hold for all kinds, and
            values outside of them are clipped.
    """

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def given(cls, levels: Sequence[float]) -> Self:
        """Build the levels chosen by the user.

        Args:
            levels: values of black and white.

        Raises:
            UserError: they are not two different numbers.
        """
        if len(levels) != 2 or any(not isinstance(level, int | float) for level in levels) or levels[0] == levels[1]:
            raise UserError(f"data.levels must be the values of black and white, for example [0, 4095], not {levels}")
        return cls({_GIVEN: (float(levels[0]), float(levels[1]))})

    @classmethod
    def of(cls, depths: Iterable[Depth]) -> Self:
        """Determine the levels of a set.

        Args:
            depths: kind and range of the values of each of its images.

        Raises:
            ValueError: there are values below 0, or the levels cannot be determined.
        """
        lows: dict[str, float] = {}
        highs: dict[str, float] = {}
        for kind, low, high in (depth for depth in depths if depth.kind != WINDOWED):
            lows[kind], highs[kind] = min(low, lows.get(kind, low)), max(high, highs.get(kind, high))
        return cls({kind: (0.0, _white(Depth(kind, lows[kind], highs[kind]))) for kind in highs})

    def extended(self, depths: Iterable[Depth]) -> "Levels":
        """Return levels that also cover the kinds of value that have none yet.

        Args:
            depths: kind and range of the values of each image of a set.

        Raises:
            ValueError: see :meth:`of`.
        """
        if self.chosen:
            return self
        found = Levels.of(depth for depth in depths if depth.kind not in self.ranges)
        return Levels({**found.ranges, **self.ranges})

    def range_of(self, depth: Depth) -> tuple[float, float]:
        """Return the values of black and white for an image.

        Raises:
            ValueError: the image has values outside of the levels, or its levels cannot be determined.
        """
        if self.chosen:
            return self.ranges[_GIVEN]
        if depth.kind == WINDOWED:
            return depth.low, depth.high
        if depth.kind not in self.ranges:
            return 0.0, _white(depth)
        black, white = self.ranges[depth.kind]
        if depth.low < black or depth.high > white * _OVER:
            raise ValueError(
                f"{depth.kind} values from {depth.low:g} to {depth.high:g}, while others are in {black:g}..{white:g}"
            )
        return black, white

    @property
    def chosen(self) -> bool:
        """Whether the user chose the levels."""
        return _GIVEN in self.ranges

    def state(self) -> dict[str, list[float]]:
        """Return the levels as plain values, for a checkpoint."""
        return {kind: list(limits) for kind, limits in self.ranges.items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Sequence[float]]) -> Self:
        """Build the levels from this state."""
        return cls({kind: (float(black), float(white)) for kind, (black, white) in state.items()})

    def __str__(self) -> str:
        return ", ".join(f"{kind} values {black:g}..{white:g}" for kind, (black, white) in self.ranges.items())


def _white(depth: Depth) -> float:
    """Return the value of white if black is 0."""
    kind, low, high = depth
    message = f"{kind} values from {low:g} to {high:g}, whose black and white levels are unknown: set data.levels"
    if low < 0:
        raise ValueError(message)
    if kind == "float" and high <= _OVER:
        return 1.0
    for bits in _BITS[kind]:
        white = 2.0**bits - 1
        if high <= white * (_OVER if kind == "float" else 1):
            if kind == "float" and high < 64:  # neither 0..1 nor 0..255
                break
            return white
    raise ValueError(message)
