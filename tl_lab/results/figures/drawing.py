"""Common style of figures: the palette, fonts, and labels that do not overlap."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager, get_font, weight_dict
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, Formatter, FuncFormatter
from matplotlib.transforms import ScaledTranslation, Transform

from tl_lab.results.folder.files import replacing

__all__ = [
    "DPI", "GREY", "GRID", "INK", "MARKED", "PALETTE", "SOURCE", "STYLE", "TARGET",
    "above", "boxes_apart", "class_colours", "darker", "fit_names", "fonts_for",
    "keep_within", "moved_apart", "name_lines", "numpy_of",
    "percent_ticks", "save_figures", "shortened",
]  # fmt: skip

# Petroff, "Accessible Color Sequences for Data Visualization", 2021, https://arxiv.org/abs/2107.02270, with black
# instead of the second grey; the closest colours are 24 apart in CIELAB (17 to 19 for colour-blind readers)
PALETTE = (
    "#3f90da", "#e76300", "#832db6", "#bd1f01", "#717581", "#a96b59", "#ffa90e", "#92dadd", "#b9ac70", "#1f1f1f",
)  # fmt: skip
SOURCE, TARGET = "#0072b2", "#d55e00"  # Wong, "Points of view: Color blindness", Nature Methods 2011
INK, GREY, GRID = "#222222", "#6b6b6b", "#e4e4e4"
_FONT, _NO_SIGNS = "DejaVu Sans", "Last Resort High-Efficiency"  # the latter only has boxes
_DRAWN = frozenset("\n")  # characters that need no glyph
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": [_FONT],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": "#b0b0b0",
    "axes.labelcolor": GREY,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "text.parse_math": False,  # dollar signs in names are not mathematics
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": "#b0b0b0",
    "ytick.color": "#b0b0b0",
    "xtick.labelcolor": GREY,
    "ytick.labelcolor": GREY,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "figure.facecolor": "white",
}
DPI = 150
MARKED = 25
"""Largest number of points of a line that are marked one by one."""


def name_lines(ax: Axes, lines: Sequence[Line2D], labels: Sequence[str], height: float) -> None:
    """Label each line at its right end, and move labels apart that would overlap."""
    ax.set_ylim(ax.get_ylim())  # fixes the limits, which matplotlib computes lazily
    to_axes = ax.transScale + ax.transLimits
    ends = [tuple(np.asarray(line.get_xydata())[-1]) for line in lines]
    wanted = np.array([to_axes.transform(end)[1] for end in ends])
    placed = moved_apart(wanted, gap=0.19 / height)
    for label, line, (_, y), where in zip(labels, lines, ends, placed, strict=True):
        colour = line.get_color()
        ax.annotate(
            label, xy=(1.0, y), xycoords=("axes fraction", "data"), xytext=(1.03, where),
            textcoords="axes fraction", va="center", color=darker(colour), fontsize=8.5,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkA": 1, "shrinkB": 2, "relpos": (0, 0.5)},
        )  # fmt: skip


def moved_apart(wanted: np.ndarray, gap: float) -> np.ndarray:
    """Move positions as little as possible such that neighbours are at least ``gap`` apart, within about [0, 1]."""
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    # least squares with fixed order: isotonic regression of the positions minus the gaps
    blocks: list[list[float]] = []
    for value in wanted[order] - steps:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (low, low_n), (high, high_n) = blocks[-2:]
            blocks[-2:] = [[(low * low_n + high * high_n) / (low_n + high_n), low_n + high_n]]
    level = np.concatenate([np.full(int(n), mean) for mean, n in blocks])
    placed = np.empty(len(wanted))
    placed[order] = np.clip(level, 0.0, max(1.0 - steps[-1], 0.0)) + steps
    return placed


def darker(colour: Any, by: float = 0.22) -> tuple[float, ...]:
    """Darken a colour, so that small text in this colour is legible on white."""
    return tuple((1 - by) * channel for channel in to_rgb(colour))


def boxes_apart(centres: np.ndarray, widths: np.ndarray, height: float) -> np.ndarray:
    """Move overlapping boxes apart vertically until none overlap, in at most 100 rounds."""
    centres = centres.copy()
    for _ in range(100):
        moved = False
        for i in range(len(centres)):
            for j in range(i):
                dx, dy = centres[i] - centres[j]
                overlap = height - abs(dy)
                if abs(dx) < (widths[i] + widths[j]) / 2 and overlap > 1e-9:
                    push = overlap / 2 if dy >= 0 else -overlap / 2
                    centres[i, 1] += push
                    centres[j, 1] -= push
                    moved = True
        if not moved:
            break
    return centres


def class_colours(size: int) -> np.ndarray:
    """Return C colours, (C, 3): up to 10 from the palette, up to 20 with lighter copies, and more from a rainbow."""
    base = np.array([to_rgb(colour) for colour in PALETTE])
    if size <= len(base):
        return base[:size]
    if size <= 2 * len(base):
        return np.concatenate([base, 0.45 * base + 0.55])[:size]
    return matplotlib.colormaps["turbo"](np.linspace(0.03, 0.97, size))[:, :3]


def above(ax: Axes, points: float) -> Transform:
    """Return the axes' coordinate system (shares of width and height), moved up by this number of points."""
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    return ax.transAxes + ScaledTranslation(0, points / 72, figure.dpi_scale_trans)


def numpy_of(values: Any) -> np.ndarray:
    """Convert an array, a list or a tensor on any device to numpy, without importing torch."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if values.is_floating_point():
            values = values.double()  # numpy has no bfloat16
    return np.asarray(values)


def percent_ticks() -> FuncFormatter:
    """Write the ticks of shares in [0, 1] in per cent, with the decimals that a narrow range needs: 68%, 68.5%."""
    return FuncFormatter(lambda share, _: f"{100 * share:.6g}%")


def shortened(text: str, most: int) -> str:
    """Truncate a text to this number of characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def keep_within(ax: Axes, bounds: tuple[float, float], axis: str = "y") -> None:
    """Limit an axis to the possible values and a margin, because intervals of few values may exceed them.

    Args:
        ax: axes with all of their content.
        bounds: lowest and highest possible value in the axis' unit; infinite if unbounded.
        axis: ``x`` or ``y``.
    """
    low, high = getattr(ax, f"get_{axis}lim")()
    lowest, highest = bounds
    margin = 0.02 * (highest - lowest if np.isfinite(highest - lowest) else high - low)
    getattr(ax, f"set_{axis}lim")(max(low, lowest - margin), min(high, highest + margin))


def fit_names(figure: Figure, keep: bool = False) -> None:
    """Set fonts that have the characters of all texts in a figure, for example for Chinese names.

    Args:
        figure: figure with all of its content.
        keep: whether to keep characters without an installed font, for a viewer with its own fonts; otherwise they are
            replaced by their code points, such as ``U+8033``.
    """
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            written = axis.get_major_formatter()
            if isinstance(written, FixedFormatter | FuncFormatter):  # these write their labels at each drawing
                families = fonts_for("".join(written.format_ticks(axis.get_majorticklocs().tolist())))
                if len(families) > 1:
                    axis.set_tick_params(labelfontfamily=families)
                if not keep:
                    axis.set_major_formatter(FuncFormatter(functools.partial(_numbered_tick, written)))
    for text in figure.findobj(Text):
        families = fonts_for(text.get_text())
        if len(families) > 1:
            text.set_fontfamily(families)
        if not keep:
            text.set_text(_numbered(text.get_text()))


def _numbered_tick(written: Formatter, x: float, place: int | None = None) -> str:
    return _numbered(written(x, place))


def _numbered(text: str) -> str:
    """Replace characters without an installed font by their code points."""
    missing = set(text) - _DRAWN.union(*(_signs_of(family) for family in fonts_for(text)))
    return "".join(f" U+{ord(sign):04X}" if sign in missing else sign for sign in text).strip() if missing else text


def fonts_for(text: str) -> list[str]:
    """List the fonts for a text: the default font, and installed fonts for the characters that it lacks.

    Args:
        text: the text.

    Returns:
        Font families, in the order in which they are tried.
    """
    families, missing = [_FONT], set(text) - _signs_of(_FONT) - _DRAWN
    if missing:
        for family in sorted({entry.name for entry in fontManager.ttflist} - {_FONT, _NO_SIGNS}):
            if found := missing & _signs_of(family):
                families.append(family)
                missing -= found
            if not missing:
                break
    return families


@functools.cache
def _signs_of(family: str) -> frozenset[str]:
    """Return the characters of the upright font of a family whose weight is nearest to regular."""
    fonts = [font for font in fontManager.ttflist if font.name == family and font.style == "normal"]
    if not fonts:
        return frozenset()
    try:
        nearest = min(fonts, key=lambda font: abs(int(weight_dict.get(str(font.weight), font.weight)) - 400))
        return frozenset(map(chr, get_font(nearest.fname).get_charmap()))
    except Exception:  # a damaged system font
        return frozenset()


def save_figures(figures: Mapping[str, Figure], folder: str | Path) -> list[Path]:
    """Write figures as PNG files, each atomically.

    Args:
        figures: figures by name; a ``/`` in a name becomes ``_`` in the file name.
        folder: destination, which is created if it does not exist.

    Returns:
        The paths, in the order of the figures.

    Raises:
        UserError: a file cannot be written.
    """
    paths = []
    for name, figure in figures.items():
        path = Path(folder) / f"{name.replace('/', '_')}.png"
        fit_names(figure)
        with replacing(path) as beside, matplotlib.rc_context(STYLE):
            figure.savefig(beside, dpi=DPI)
        paths.append(path)
    return paths
