"""Black and white levels of images of more than 8 bits, common to a whole set."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from tl_lab.errors import UserError

__all__ = ["WINDOWED", "Depth", "Levels"]

_GIVEN = "given"
WINDOWED = "windowed"
"""Kind of files that specify their black and white levels."""
_BITS = {"16-bit": (8, 10, 12, 14, 16), "32-bit": (8, 10, 12, 14, 15, 16, 24, 31, 32), "float": (8, 10, 12, 14, 16)}
_OVER = 1.01  # resampled floats slightly exceed their range


class Depth(NamedTuple):
    """Values of an image of more than 8 bits.

    Attributes:
        kind: ``16-bit``, ``32-bit`` or ``float``; or ``windowed``: ``low`` and ``high`` are the values that the file
            displays as black and white.
        low: the smallest value.
        high: the largest value, or the largest possible one according to the file.
    """

    kind: str
    low: float
    high: float


@dataclass(frozen=True)
class Levels:
    """The values displayed as black and white.

    A set of images has common levels for each kind of values, so that a darker image stays darker: for integers, the
    smallest usual number of bits that covers all of them (8, 10, 12, 14, 16 ...); for floats, 0..1 or likewise.

    Args:
        ranges: black and white by kind; under ``given`` those chosen by the user, which hold for all kinds, and beyond
            which values are clipped.
    """

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def given(cls, levels: Sequence[float]) -> Self:
        """Use the levels chosen by the user.

        Raises:
            UserError: they are not two different numbers.
        """
        if len(levels) != 2 or any(not isinstance(level, int | float) for level in levels) or levels[0] == levels[1]:
            raise UserError(f"data.levels must be the values of black and white, for example [0, 4095], not {levels}")
        return cls({_GIVEN: (float(levels[0]), float(levels[1]))})

    @classmethod
    def of(cls, depths: Iterable[Depth]) -> Self:
        """Find the levels of a set.

        Args:
            depths: of its images.

        Raises:
            ValueError: there are values below 0, or the range cannot be determined.
        """
        lows: dict[str, float] = {}
        highs: dict[str, float] = {}
        for kind, low, high in (depth for depth in depths if depth.kind != WINDOWED):
            lows[kind], highs[kind] = min(low, lows.get(kind, low)), max(high, highs.get(kind, high))
        return cls({kind: (0.0, _white(Depth(kind, lows[kind], highs[kind]))) for kind in highs})

    def extended(self, depths: Iterable[Depth]) -> "Levels":
        """Add levels for kinds of values that have none.

        Args:
            depths: of the images of a set.

        Raises:
            ValueError: as in :meth:`of`.
        """
        if self.chosen:
            return self
        found = Levels.of(depth for depth in depths if depth.kind not in self.ranges)
        return Levels({**found.ranges, **self.ranges})

    def range_of(self, depth: Depth) -> tuple[float, float]:
        """Return black and white for an image.

        Raises:
            ValueError: its values exceed those of the set, or the set has none of its kind.
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
        """Whether the user chose them."""
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
    """Find the value of white for black at 0."""
    kind, low, high = depth
    told = f"{kind} values from {low:g} to {high:g}, whose black and white levels are unknown: set data.levels"
    if low < 0:
        raise ValueError(told)
    if kind == "float" and high <= _OVER:
        return 1.0
    for bits in _BITS[kind]:
        white = 2.0**bits - 1
        if high <= white * (_OVER if kind == "float" else 1):
            if kind == "float" and high < 64:  # neither 0..1 nor 0..255
                break
            return white
    raise ValueError(told)
