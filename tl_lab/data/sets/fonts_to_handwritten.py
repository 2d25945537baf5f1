"""Digits printed in three families of fonts, and handwritten digits, as four domains."""

from typing import Any

from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.several_sources import SeveralSources
from tl_lab.data.sets.fonts import text_faces
from tl_lab.data.sets.printed_digits import handwritten_digits, render_printed_digits
from tl_lab.data.splits import hold_out
from tl_lab.errors import UserError
from tl_lab.options import Count, Fraction
from tl_lab.randomness import derive_seed

__all__ = ["FontsToHandwritten"]

_FAMILIES = {"mono": ("DejaVuSansMono",), "sans": ("DejaVuSans",), "serif": ("DejaVuSerif", "STIXGeneral")}


class FontsToHandwritten(SeveralSources):
    """Digits printed in sans-serif, monospaced and serif fonts, and scikit-learn's 1,797 handwritten digits.

    The domains are ``sans``, ``mono``, ``serif`` and ``handwritten``. Those that are neither the target nor held out
    are sources, whose samples are mixed in batches.

    Args:
        count: total number of printed digits in all fonts.
        val_share: share of each class of each domain for validation.
        test_share: share of each class of each domain for test.
        options: keyword arguments of :class:`~tl_lab.data.scenarios.several_sources.SeveralSources`.
    """

    def __init__(
        self, *, count: Count = 8000, val_share: Fraction = 0.1, test_share: Fraction = 0.2, **options: Any
    ) -> None:
        super().__init__(**options)
        if val_share + test_share >= 1:
            raise UserError(
                f"data.val_share and data.test_share must be below 1 together, not {val_share} and {test_share}"
            )
        self.count, self.shares = count, {"val": val_share, "test": test_share}

    def read_domains(self) -> dict[str, dict[str, Samples]]:
        """Print the digits, group them by family, and split each domain."""
        self.class_names = [str(digit) for digit in range(10)]
        x, y, face = render_printed_digits(self.count, self.seed)
        family = [_family(one.stem) for one in text_faces()]
        domains = {}
        for name in ("sans", "mono", "serif"):
            chosen = sum(face == k for k, own in enumerate(family) if own == name).nonzero()[:, 0]  # type: ignore[union-attr]
            domains[name] = Samples(x[chosen], y[chosen])
        domains["handwritten"] = Samples(*handwritten_digits())
        return {name: self._parts(name, samples) for name, samples in domains.items()}

    def _parts(self, name: str, samples: Samples) -> dict[str, Samples]:
        assert samples.y is not None
        train, held_out = hold_out(samples.y, self.shares, derive_seed(self.seed, name), self.class_names)
        return {"train": samples.subset(train), **{part: samples.subset(held_out[part]) for part in self.shares}}


def _family(face: str) -> str:
    return next(name for name, starts in _FAMILIES.items() if face.startswith(starts))
