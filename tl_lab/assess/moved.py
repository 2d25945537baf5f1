"""The samples that moved most, for the page: pictures of images, words of texts, numbers of all others."""

from collections.abc import Sequence

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor

from tl_lab.assess.material import Material
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.texts import Texts
from tl_lab.data.samples import Samples, in_memory
from tl_lab.results.figures.drawing import STYLE, shortened
from tl_lab.results.report.blocks import Cell, Table

__all__ = ["moved_pictures", "moved_table"]

_SIDE = 64  # pixels of an image that is read for the page
_COLUMNS = 5
_LETTERS = 100


def moved_table(material: Material, name: str, moved: Sequence[tuple[int, float]]) -> Table:
    """List samples of a set with their distances, with their words if they are texts.

    Args:
        material: of the assessment.
        name: of the set.
        moved: positions among the drawn samples, and distances.
    """
    places, x = material.places(name), material.drawn[name].x
    texts = x.subset(torch.tensor([i for i, _ in moved])).items if isinstance(x, Texts) else []
    rows: list[list[str | Cell]] = []
    for k, (i, distance) in enumerate(moved):
        words = [_words(texts[k])] if texts else []
        rows.append([f"{name}[{int(places[i])}]", *words, Cell(f"{distance:.2f}", value=distance)])
    head = ["sample", *(["text"] if texts else []), "distance"]
    caption = f"Samples of {material.display_name(name)} that moved most, in deviations of the reference"
    return Table(head, rows, len(head) - 1, caption)


def moved_pictures(material: Material, name: str, moved: Sequence[tuple[int, float]]) -> Figure | None:
    """Draw samples of a set with their distances; None if they are no images."""
    if material.data.modality_for(material.plan.data.node) != "image" or not moved:
        return None
    return _thumbnails(_images(material.drawn[name].subset(torch.tensor([i for i, _ in moved]))), moved)


def _words(text: str | Sequence[str]) -> str:
    return shortened(text if isinstance(text, str) else " | ".join(text), _LETTERS)


def _images(samples: Samples) -> Tensor:
    """Read images of one size, ``(N, C, H, W)`` in [0, 1]."""
    x = samples.x
    if not in_memory(x):
        x = x.load_all(ImageSpec((_SIDE, _SIDE), 3, (0.0,) * 3, (1.0,) * 3), 0)
    assert isinstance(x, Tensor)
    return x / 255 if x.dtype == torch.uint8 else x.float().clamp(0, 1)


@matplotlib.rc_context(STYLE)
def _thumbnails(images: Tensor, moved: Sequence[tuple[int, float]]) -> Figure:
    rows = -(-len(images) // _COLUMNS)
    figure = Figure(figsize=(4.8, 1.2 * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    for ax, image, (_, distance) in zip(axes, images, moved, strict=False):
        shown = image.permute(1, 2, 0) if len(image) == 3 else image[0]
        ax.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(f"{distance:.1f}", fontsize=8, fontweight="normal")
    return figure
