"""What a part of an assessment returns: numbers with their uncertainty, a sentence, figures; or why it does not apply.

Nothing here imports torch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tl_lab.results.report.blocks import Table
from tl_lab.results.tables.statistics import paired_t

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Confidence",
    "Measure",
    "NotApplicable",
    "PartResult",
    "difference_of_shares",
    "mean_with_interval",
    "ratio_with_interval",
    "wilson",
]

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
        text = f"{scale * self.value:.{digits}f}{sign}"
        if self.low is None or self.high is None:
            return text
        return f"{text} ({scale * self.low:.{digits}f} to {scale * self.high:.{digits}f})"

    def short(self, digits: int = 3) -> str:
        """Write the number with half the width of its interval."""
        half = "" if self.low is None or self.high is None else f" ± {(self.high - self.low) / 2:.{digits}f}"
        return f"{self.value:.{digits}f}{half}"

    def points(self) -> str:
        """Write a difference of shares in points, with its interval."""
        text = f"{100 * self.value:+.1f} points"
        if self.low is None or self.high is None:
            return text
        return f"{text} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"

    def times(self, factor: float) -> "Measure":
        """Convert to another unit: the number and its interval times a factor > 0."""
        low, high = (None if end is None else factor * end for end in (self.low, self.high))
        return Measure(factor * self.value, low, high, self.p)

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
    """The reason why a part does not apply.

    Args:
        title: of its section.
        why: one sentence.
        failed: whether the part applies, and stumbled over bad input.
    """

    title: str
    why: str
    failed: bool = False

    applies = False


def mean_with_interval(values: Sequence[float]) -> Measure:
    """Give the mean of values, one a seed or one a context, with Student's 95 % interval and p of a mean of 0.

    Fewer than three values have neither.
    """
    found = paired_t(values)
    if math.isnan(found.half):
        return Measure(found.mean)
    return Measure(found.mean, found.mean - found.half, found.mean + found.half, found.p)


def ratio_with_interval(above: Sequence[float], below: Sequence[float]) -> Measure:
    """Give the geometric mean of paired ratios, one a seed, with Student's 95 % interval on the logarithms.

    Args:
        above, below: what is divided by what, > 0.

    Returns:
        The ratio alone for fewer than three; of the sums where a value is not above 0.
    """
    if min(*above, *below) <= 0:
        return Measure(sum(above) / sum(below) if sum(below) > 0 else math.inf)
    found = mean_with_interval([math.log(x / y) for x, y in zip(above, below, strict=True)])
    return Measure(*(None if end is None else math.exp(end) for end in (found.value, found.low, found.high)))  # type: ignore[arg-type]


def difference_of_shares(one: Measure, other: Measure) -> Measure:
    """Subtract shares of independent samples, with Newcombe's interval from Wilson's of each.

    References:
        Newcombe, Interval Estimation for the Difference Between Independent Proportions, Statistics in Medicine 17
        (1998), method 10.
    """
    assert one.low is not None
    assert one.high is not None
    assert other.low is not None
    assert other.high is not None
    difference = one.value - other.value
    below = math.hypot(one.value - one.low, other.high - other.value)
    above = math.hypot(one.high - one.value, other.value - other.low)
    return Measure(difference, difference - below, difference + above)


def wilson(correct: float, count: int, z: float = 1.959964) -> Measure:
    """Give a share with Wilson's interval.

    Args:
        correct: of the samples.
        count: of samples.
        z: quantile of the normal distribution; the default covers 95 %.
    """
    if not count:
        return Measure(float("nan"))
    from tl_lab.functional.share_interval import wilson_interval  # the package imports torch

    return Measure(correct / count, *wilson_interval(correct / count, count, z))
