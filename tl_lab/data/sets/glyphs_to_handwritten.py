"""Data for few-shot learning under domain shift, from printed to handwritten characters."""

from typing import Any, Literal

import torch
from torch import Tensor

from tl_lab.data.samples import Samples
from tl_lab.data.sets.glyph_episodes import GlyphEpisodes
from tl_lab.data.sets.glyphs import GlyphSet, split_classes
from tl_lab.data.sets.omniglot import omniglot_characters, split_characters, turned
from tl_lab.data.sets.printed_digits import handwritten_digits
from tl_lab.data.splits import random_split
from tl_lab.errors import UserError
from tl_lab.options import Count

__all__ = ["GlyphsToHandwritten"]

_DIGITS = "0123456789"


class GlyphsToHandwritten(GlyphEpisodes):
    """Episodes of printed characters (source), scored on episodes of handwritten characters (target).

    Training may use target images without labels. With ``target=digits``, the target is scikit-learn's 1,797
    handwritten digits, of which a random part, independent of labels, is held out for scoring. The printed digits are
    test characters of the source, so that no target class occurs in training. With ``target=omniglot``, the 1,200
    characters of the training and validation parts of the usual split are unlabelled, and the 423 others are scored,
    without rotations. Characters that are also among the printed ones (such as Old Church Slavonic) are not removed.

    Args:
        target: ``digits`` or ``omniglot``.
        target_test_count: number of handwritten digits held out for scoring, in [1, 1796].
        root: folder of the data sets, for Omniglot; None for the environment variable ``TL_LAB_DATA``.
        options: keyword arguments of :class:`~tl_lab.data.sets.glyph_episodes.GlyphEpisodes`.
    """

    traits = frozenset({"labels", "episodes", "target"})
    place_options = ("root",)

    def __init__(
        self,
        *,
        target: Literal["digits", "omniglot"] = "digits",
        target_test_count: Count = 600,
        root: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if target not in ("digits", "omniglot"):
            raise UserError(f"data.target must be 'digits' or 'omniglot', not {target!r}")
        self.target, self.target_test_count, self.root = target, target_test_count, root

    def part_name(self, part: str) -> str:
        """Return the name of the source's set for ``train``, ``val`` or ``test``."""
        return f"source/{part}"

    def share(self, glyphs: GlyphSet) -> dict[str, Tensor]:
        """Split the characters; digits are always in the test part."""
        digit = torch.tensor([character in _DIGITS for character in glyphs.characters])
        others = (~digit).nonzero()[:, 0]
        train, val, test = (others[part] for part in split_classes(len(others), self.class_shares, self.seed))
        return {"train": train, "val": val, "test": torch.cat([digit.nonzero()[:, 0], test])}

    def read(self) -> dict[str, Samples]:
        """Read both domains."""
        return {**super().read(), **(self._digits() if self.target == "digits" else self._omniglot())}

    def _digits(self) -> dict[str, Samples]:
        target = Samples(*handwritten_digits())
        self.classes["target/test"] = list(_DIGITS)
        unlabelled, test = random_split(len(target), self.target_test_count, self.seed, "target/test")
        return {"target/train": target.subset(unlabelled), "target/test": target.subset(test)}

    def _omniglot(self) -> dict[str, Samples]:
        characters = omniglot_characters(self.root)
        self.contents = [characters.fingerprint()]
        parts = split_characters(characters, "vinyals")
        unlabelled, _ = turned(characters, torch.cat([parts["train"], parts["val"]]).sort().values, 1)
        test, self.classes["target/test"] = turned(characters, parts["test"], 1)
        return {"target/train": unlabelled, "target/test": test}
