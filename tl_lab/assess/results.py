"""What a part of an assessment returns: numbers with their uncertainty, a sentence, figures; or why it does not apply.

Nothing here imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tl_lab.results.report.blocks import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Confidence", "Measure", "NotApplicable", "PartResult", "wilson"]

Confidence = Literal["high", "moderate", "low"]


@dataclass(frozen=True)
class Measure:
    """A number with its uncertainty.

    Args:
        value: what was found.
        low, high: ends of its 95 % interval; None where there is none.
        p: of its test; None where nothing was tested.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None

    def text(self, digits: int = 3, percent: bool = False) -> str:
        """Write the number with its interval."""
        scale, sign = (100, " %") if percent else (1, "")
        digits = max(0, digits - 2) if percent else digits
        said = f"{scale * self.value:.{digits}f}{sign}"
        if self.low is None or self.high is None:
            return said
        return f"{said} ({scale * self.low:.{digits}f} to {scale * self.high:.{digits}f})"

    def short(self, digits: int = 3) -> str:
        """Write the number with half the width of its interval."""
        half = "" if self.low is None or self.high is None else f" ± {(self.high - self.low) / 2:.{digits}f}"
        return f"{self.value:.{digits}f}{half}"

    def plain(self) -> dict[str, float | None]:
        """Give plain values for JSON."""
        return {name: value for name, value in vars(self).items() if name == "value" or value is not None}


@dataclass
class PartResult:
    """What a part has found.

    Args:
        title: of its section.
        sentence: the answer in one sentence, with its numbers.
        confidence: in this answer.
        measures: by name, ``amazon/lenet/a_distance``.
        tables: in their order.
        figures: by caption, in their order.
        notes: what must be known to read the numbers.
        facts: what else goes into the JSON file.
    """

    title: str
    sentence: str
    confidence: Confidence = "moderate"
    measures: dict[str, Measure] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, "Figure"] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    facts: Mapping[str, Any] = field(default_factory=dict)

    applies = True


@dataclass
class NotApplicable:
    """Why a part says nothing.

    Args:
        title: of its section.
        why: one sentence.
        failed: whether the part applies, and stumbled over bad input.
    """

    title: str
    why: str
    failed: bool = False

    applies = False


def wilson(correct: float, count: int) -> Measure:
    """Give a share with Wilson's 95 % interval."""
    if not count:
        return Measure(float("nan"))
    z, p = 1.959964, correct / count
    centre, half = p + z * z / (2 * count), z * (p * (1 - p) / count + z * z / (4 * count**2)) ** 0.5
    scale = 1 + z * z / count
    return Measure(p, max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))
