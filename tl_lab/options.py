"""Types of options with their ranges: written in a constructor's signature, they are checked before anything is built.

``tl_lab.config.validate`` reads them from there, and refuses values outside with one sentence each. A method of another
package states its own in the same way, or as ``Annotated[float, Interval(gt=0, lt=1)]`` of :mod:`annotated_types`.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, Len

__all__ = [
    "Angle",
    "BatchNorm",
    "Count",
    "Fraction",
    "ImageSize",
    "Limits",
    "Natural",
    "NonNegative",
    "Positive",
    "Probability",
    "Range",
    "Several",
    "Share",
    "Similarity",
    "Widths",
]

Natural = Annotated[int, Ge(0)]
"""0, 1, 2, ..."""
Count = Annotated[int, Ge(1)]
"""1, 2, 3, ..."""
Several = Annotated[int, Ge(2)]
"""2, 3, 4, ..."""
NonNegative = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
"""Both ends included."""
Similarity = Annotated[float, Interval(gt=0, le=1)]
"""1 is equality."""
Probability = Annotated[float, Interval(ge=0, lt=1)]
"""Of dropping something: 1 would leave nothing."""
Fraction = Annotated[float, Interval(gt=0, lt=1)]
"""A part that is neither nothing nor all."""
Angle = Annotated[float, Interval(ge=-360, le=360)]
"""Degrees."""
ImageSize = Annotated[Sequence[Count], Len(2, 2)]
"""Height and width in pixels."""
Limits = Annotated[Sequence[float], Len(2, 2)]
"""Lower and upper end, of any sign."""
Range = Annotated[Sequence[NonNegative], Len(2, 2)]
"""Smallest and largest value."""
Widths = Sequence[Count]
"""Of layers, in their order."""
BatchNorm = Literal["joint", "separate", "domain_specific"]
"""Whose statistics batch-norm takes in training on two domains."""
