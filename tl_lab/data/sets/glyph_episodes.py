"""Episodes of printed characters, which require no download."""

from collections.abc import Sequence
from typing import Annotated, Any

from annotated_types import Ge, Len
from torch import Tensor

from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.episodic import EpisodicData
from tl_lab.data.sets.glyphs import GlyphSet, glyph_set, split_classes
from tl_lab.data.splits import of_classes
from tl_lab.errors import UserError
from tl_lab.options import Count, Positive, Share

__all__ = ["GlyphEpisodes"]


class GlyphEpisodes(EpisodicData):
    """About 1,300 printed characters with 12 to 16 drawings each, divided among the three parts by the seed.

    Characters that look like another character, or are variants of one, are excluded (see
    :func:`~tl_lab.data.sets.glyphs.glyph_set`), so that the same shape is not in two parts.

    Args:
        min_faces: smallest number of different drawings of a character, 1 to 16; an episode uses K + Q of them.
        size: height and width in pixels, at least 8.
        alike: largest relative squared difference at which two drawings count as equal, in [0, 1].
        class_shares: shares of the characters for training, validation and test, each above 0.
        options: keyword arguments of :class:`~tl_lab.data.scenarios.episodic.EpisodicData`.
    """

    def __init__(
        self,
        *,
        min_faces: Count = 12,
        size: Annotated[int, Ge(8)] = 28,
        alike: Share = 0.02,
        class_shares: Annotated[Sequence[Positive], Len(3, 3)] = (0.6, 0.15, 0.25),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if len(class_shares) != 3:
            raise UserError(f"data.class_shares must be three numbers (training, validation, test), not {class_shares}")
        self.min_faces, self.size, self.alike = min_faces, size, alike
        self.class_shares = class_shares[0], class_shares[1], class_shares[2]

    def read(self) -> dict[str, Samples]:
        """Draw the glyphs, or read them from the cache, and split the characters."""
        glyphs = glyph_set(self.min_faces, self.size, self.alike)
        stages = ", ".join(f"{count:,} {stage}" for stage, count in glyphs.counts.items())
        self.notes.append(
            f"glyphs: {len(glyphs.labels):,} drawings in {len(glyphs.face_names)} fonts; characters: {stages}"
        )
        return {self.part_name(part): self._part(glyphs, part, classes) for part, classes in self.share(glyphs).items()}

    def part_name(self, part: str) -> str:
        """Return the name of the set for ``train``, ``val`` or ``test``."""
        return part

    def share(self, glyphs: GlyphSet) -> dict[str, Tensor]:
        """Split the characters; return the positions of those in each part, int64."""
        parts = split_classes(len(glyphs.characters), self.class_shares, self.seed)
        return dict(zip(("train", "val", "test"), parts, strict=True))

    def _part(self, glyphs: GlyphSet, part: str, classes: Tensor) -> Samples:
        self.classes[self.part_name(part)] = [glyphs.characters[c] for c in classes.tolist()]
        return of_classes(Samples(glyphs.images, glyphs.labels), classes)
