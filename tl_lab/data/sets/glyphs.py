"""Images of printed characters in matplotlib's text fonts: many classes with about a dozen drawings each."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import PIL
import torch
from annotated_types import Ge
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont, features
from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.cache import cached_arrays, file_hash
from tl_lab.data.samples import Samples
from tl_lab.data.sets.fonts import text_faces
from tl_lab.data.splits import check_shares, split_in_three
from tl_lab.errors import UserError
from tl_lab.options import Count, Fraction, Share
from tl_lab.randomness import derive_seed

__all__ = [
    "GlyphSet",
    "Glyphs",
    "candidates",
    "distinct_drawings",
    "draw_glyphs",
    "glyph_set",
    "look_alikes",
    "same_form",
    "split_classes",
    "split_faces",
]

_VERSION = 1  # increase this when the drawing or the choice of characters changes, to invalidate old caches
_OVERSAMPLING = 4
_EM, _BASELINE = 20 / 28, 21 / 28  # relative to the image's height
_FORM_TAGS = ("<font>", "<wide>", "<narrow>", "<compat>", "<isolated>")


@dataclass(frozen=True)
class GlyphSet:
    """The drawings that pass all filters.

    Args:
        images: white on black, uint8 ``(N, 1, size, size)``, sorted by class, then by font.
        labels: class of each image, int64 ``(N,)``.
        faces: font of each image, int64 ``(N,)``.
        characters: character of each class, sorted by code point.
        face_names: name of each font.
        counts: number of characters that passed each filter, in the order of the filters.
        twins: pairs of a character that was dropped, and the similar character that was kept.
    """

    images: Tensor
    labels: Tensor
    faces: Tensor
    characters: list[str]
    face_names: list[str]
    counts: dict[str, int]
    twins: list[tuple[str, str]]


def glyph_set(
    min_faces: int = 12,
    size: int = 28,
    alike: float = 0.02,
    faces: Sequence[Path] | None = None,
    cache: Path | None = None,
) -> GlyphSet:
    """Draw the characters that have enough different drawings and no twin; the result is cached.

    Two drawings ``a, b`` count as equal if ``|a - b|^2 <= alike * (|a|^2 + |b|^2) / 2``. Characters with equal drawings
    in any font, and characters that Unicode defines as variants of each other, are twins; only the one with the lowest
    code point is kept. Many symbols (such as arrows) have equal drawings in several fonts, which count once.

    Args:
        min_faces: smallest number of different drawings of a character, at least 1.
        size: height and width of the images in pixels, at least 8.
        alike: largest relative squared difference at which two drawings count as equal, in [0, 1].
        faces: TrueType files; None for :func:`~tl_lab.data.sets.fonts.text_faces`.
        cache: folder of the cache; None for the default.

    Returns:
        The glyphs.

    Raises:
        UserError: an argument is out of range, or no character is left.
    """
    files = list(text_faces() if faces is None else faces)
    if not 1 <= min_faces <= len(files) or size < 8 or not 0 <= alike <= 1:
        raise UserError(
            f"glyphs require data.min_faces in 1..{len(files)}, data.size of at least 8 and data.alike in [0, 1], "
            f"not {min_faces}, {size} and {alike}"
        )
    key = {
        "version": _VERSION,
        "faces": {face.name: file_hash(face) for face in files},
        "drawn by": [PIL.__version__, features.version_module("freetype2"), unicodedata.unidata_version],
        "knobs": [min_faces, size, alike],
    }
    arrays = cached_arrays("glyphs", key, lambda: _make(files, min_faces, size, alike), cache)
    if len(arrays["labels"]) == 0:
        raise UserError(f"no character has {min_faces} different drawings and no twin: lower data.min_faces")
    return GlyphSet(
        images=torch.from_numpy(arrays["images"]),
        labels=torch.from_numpy(arrays["labels"]),
        faces=torch.from_numpy(arrays["faces"]),
        characters=[chr(code) for code in arrays["codes"]],
        face_names=[face.stem for face in files],
        counts=dict(zip(_STAGES, arrays["counts"].tolist(), strict=True)),
        twins=[(chr(dropped), chr(kept)) for dropped, kept in arrays["twins"]],
    )


_STAGES = ("in enough fonts", "with enough different drawings", "without a twin")


def _make(faces: Sequence[Path], min_faces: int, size: int, alike: float) -> dict[str, np.ndarray]:
    codes = np.array(candidates(faces, min_faces), dtype=np.int64)
    images = draw_glyphs(codes.tolist(), faces, size)
    counts = [len(codes)]

    different = np.stack([distinct_drawings(drawings, alike) for drawings in images])
    enough = different.sum(1) >= min_faces
    codes, images, different = codes[enough], images[enough], different[enough]
    counts.append(len(codes))

    twin = look_alikes(images, alike)
    kept_forms: dict[str, int] = {}
    for i, code in enumerate(codes.tolist()):
        if twin[i] < 0:
            first = kept_forms.setdefault(same_form(chr(code)), i)
            twin[i] = first if first != i else -1
    kept = twin < 0
    counts.append(int(kept.sum()))

    labels, face_index = np.nonzero(different[kept])
    return {
        "images": images[kept][labels, face_index][:, None],
        "labels": labels.astype(np.int64),
        "faces": face_index.astype(np.int64),
        "codes": codes[kept],
        "counts": np.array(counts),
        "twins": np.stack([codes[~kept], codes[twin[~kept]]], axis=1),
    }


def candidates(faces: Sequence[Path], min_faces: int) -> list[int]:
    """List the visible characters that enough fonts contain.

    These are letters, numbers, punctuation and symbols, but not combining marks, spaces, or control and unassigned
    characters.

    Args:
        faces: TrueType files.
        min_faces: smallest number of fonts that contain a character.

    Returns:
        Code points in ascending order.
    """
    counts = Counter(code for face in faces for code in _character_map(face))
    return sorted(
        code for code, count in counts.items() if count >= min_faces and unicodedata.category(chr(code))[0] in "LNPS"
    )


def draw_glyphs(codes: Sequence[int], faces: Sequence[Path], size: int) -> np.ndarray:
    """Draw characters in white on black, at the same font size and on the same baseline, centred horizontally.

    Drawings are not normalised in size or height, which distinguish ``c`` from ``C`` and a comma from an apostrophe.
    Only drawings that would extend beyond the image are made smaller.

    Args:
        codes: C code points.
        faces: F TrueType files.
        size: height and width of the images in pixels.

    Returns:
        Coverage of each pixel, uint8 ``(C, F, size, size)``; all zero if a font does not contain the character, or has
        only the box for missing characters.
    """
    images = np.zeros((len(codes), len(faces), size, size), np.uint8)
    for j, face in enumerate(faces):
        present, draw = _character_map(face), _pen(face, size)
        box = draw("\U0010ffff")  # a code point that no font contains
        for i, code in enumerate(codes):
            if code in present:
                image = draw(chr(code))
                if not np.array_equal(image, box):
                    images[i, j] = image
    return images


def _pen(face: Path, size: int) -> Callable[[str], np.ndarray]:
    canvas = size * _OVERSAMPLING  # drawn at a larger size and averaged, to avoid hinting to the coarse grid
    em, baseline, room = round(canvas * _EM), round(canvas * _BASELINE), canvas - 2 * _OVERSAMPLING

    def font_of(em: int) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(str(face), em, layout_engine=ImageFont.Layout.BASIC)

    usual = font_of(em)

    def draw(character: str) -> np.ndarray:
        font = usual
        left, top, right, bottom = font.getbbox(character, anchor="ls")
        too_large = max((right - left) / room, -top / baseline, bottom / (canvas - baseline))
        if too_large > 1:
            font = font_of(int(em / too_large))
            left, top, right, bottom = font.getbbox(character, anchor="ls")
        image = Image.new("L", (canvas, canvas))
        start = (canvas - (right - left)) / 2 - left
        ImageDraw.Draw(image).text((start, baseline), character, fill=255, font=font, anchor="ls")
        return np.asarray(image.reduce(_OVERSAMPLING))

    return draw


def _character_map(face: Path) -> frozenset[int]:
    with TTFont(face, lazy=True) as font:
        return frozenset(font.getBestCmap() or ())


def distinct_drawings(drawings: np.ndarray, alike: float) -> np.ndarray:
    """Mark the drawings of one character that differ from all earlier ones.

    Args:
        drawings: the character in each font, uint8 ``(F, size, size)``; all zero if a font does not contain it.
        alike: see :func:`glyph_set`.

    Returns:
        Boolean ``(F,)``; False if there is no drawing.
    """
    same = _alike(drawings, alike)
    marked = np.zeros(len(drawings), dtype=bool)
    for j in range(len(drawings)):
        marked[j] = drawings[j].any() and not same[j, marked].any()
    return marked


def look_alikes(images: np.ndarray, alike: float) -> np.ndarray:
    """Find characters that look like an earlier one in any font, such as Greek Alpha and Cyrillic A like Latin A.

    Args:
        images: characters in order of preference, uint8 ``(C, F, size, size)``; all zero if a font does not contain
            the character.
        alike: see :func:`glyph_set`.

    Returns:
        For each character, the row of the earliest kept character that it looks like, int64 ``(C,)``; -1 for
        characters that are kept.
    """
    same = np.zeros((len(images), len(images)), dtype=bool)
    for j in range(images.shape[1]):
        same |= _alike(images[:, j], alike)
    twin = np.full(len(images), -1)
    for i in range(len(images)):
        earlier = np.flatnonzero(same[i, :i] & (twin[:i] < 0))
        if len(earlier):
            twin[i] = earlier[0]
    return twin


def _alike(images: np.ndarray, alike: float) -> np.ndarray:
    """Compare all pairs of images, ``(N, size, size) -> (N, N)``; a blank image equals no other image."""
    x = images.reshape(len(images), -1).astype(np.float64)  # sums of integers below 2**53, hence exact
    energy = (x * x).sum(1)
    total = energy[:, None] + energy[None]
    difference = total - 2 * (x @ x.T)
    ink = energy > 0
    return (2 * difference <= alike * total) & ink[:, None] & ink[None]


def same_form(character: str) -> str:
    """Return the base character of a variant: a font variant, full width or presentation form.

    Superscripts, subscripts, fractions and circled characters are not variants, because they look different.

    Args:
        character: one character.

    Returns:
        Its compatibility form (NFKC) if that is a single character and it is a variant; otherwise the character itself.
    """
    parts = unicodedata.decomposition(character).split()
    if not parts or (parts[0].startswith("<") and parts[0] not in _FORM_TAGS):
        return character
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 else character


def split_classes(count: int, shares: tuple[float, float, float], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split classes at random into disjoint parts for training, validation and test, as few-shot learning requires.

    Args:
        count: number of classes.
        shares: shares of the three parts, each above 0; they are divided by their sum.
        seed: seed that determines the split.

    Returns:
        Sorted classes of each part, int64.

    Raises:
        UserError: a share is not above 0, or a part would be empty.
    """
    if min(shares) <= 0:
        raise UserError(f"the shares of training, validation and test classes must be above 0, not {shares}")
    ends = np.round(np.cumsum(shares) / sum(shares) * count).astype(int)
    if ends[0] == 0 or ends[1] == ends[0] or ends[2] == ends[1]:
        raise UserError(f"{count} classes are too few for parts with the shares {shares}")
    order = torch.from_numpy(np.random.default_rng(derive_seed(seed, "classes")).permutation(count))
    train, val, test = order.tensor_split(torch.from_numpy(ends[:2]))
    return train.sort().values, val.sort().values, test.sort().values


class Glyphs(DataModule):
    """Printed characters as a supervised set: about 1,300 classes with 12 to 16 drawings each.

    With ``split=face``, whole fonts are held out, the same for all classes, so that the test uses fonts that do not
    occur in training (but possibly other styles of the same family). With ``split=image``, drawings of each character
    are held out at random.

    Args:
        min_faces: smallest number of different drawings of a character, 1 to 16.
        size: height and width in pixels, at least 8.
        alike: see :func:`glyph_set`, in [0, 1].
        split: ``face`` or ``image``.
        val_share: share of the fonts, or of each class's images, for validation, in (0, 1).
        test_share: share of the fonts, or of each class's images, for test, in (0, 1).
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.
    """

    def __init__(
        self,
        *,
        min_faces: Count = 12,
        size: Annotated[int, Ge(8)] = 28,
        alike: Share = 0.02,
        split: Literal["face", "image"] = "face",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_shares(val_share, test_share)
        if split not in ("face", "image"):
            raise UserError(f"data.split must be 'face' or 'image', not {split!r}")
        self.min_faces, self.size, self.alike = min_faces, size, alike
        self.split, self.val_share, self.test_share = split, val_share, test_share

    def read(self) -> dict[str, Samples]:
        """Draw the glyphs, or read them from the cache, and split them."""
        glyphs = glyph_set(self.min_faces, self.size, self.alike)
        self.class_names = glyphs.characters
        stages = ", ".join(f"{count:,} {stage}" for stage, count in glyphs.counts.items())
        self.notes.append(
            f"glyphs: {len(glyphs.labels):,} drawings in {len(glyphs.face_names)} fonts; characters: {stages}"
        )
        samples = Samples(glyphs.images, glyphs.labels)
        if self.split == "image":
            return split_in_three(samples, self.val_share, self.test_share, self.seed, self.class_names)
        parts = split_faces(glyphs.faces, glyphs.labels, self.val_share, self.test_share, self.seed)
        return {name: samples.subset(index) for name, index in parts.items()}


def split_faces(faces: Tensor, labels: Tensor, val_share: float, test_share: float, seed: int) -> dict[str, Tensor]:
    """Hold out whole fonts.

    Args:
        faces: font of each image, int64 ``(N,)``.
        labels: label of each image, int64 ``(N,)``.
        val_share: share of the fonts for validation, rounded to at least one font.
        test_share: share of the fonts for test, rounded to at least one font.
        seed: seed that determines which fonts are held out.

    Returns:
        Sorted indices of ``train``, ``val`` and ``test``.

    Raises:
        UserError: no font is left for training, or a class has no image in the remaining fonts.
    """
    count = int(faces.max()) + 1
    val, test = (max(1, round(share * count)) for share in (val_share, test_share))
    order = torch.from_numpy(np.random.default_rng(derive_seed(seed, "faces")).permutation(count))
    shared_out = {"train": order[val + test :], "val": order[:val], "test": order[val : val + test]}
    parts = {name: torch.isin(faces, chosen).nonzero().flatten() for name, chosen in shared_out.items()}
    unseen = len(labels.unique()) - len(labels[parts["train"]].unique())
    if unseen:
        raise UserError(
            f"with {val} and {test} of {count} fonts held out, {unseen} characters have no training image: lower "
            "data.val_share and data.test_share, or raise data.min_faces"
        )
    return parts
