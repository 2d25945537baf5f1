"""The figures of one run: its curves, the epochs chosen by validators, and the figures of its strategy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from rich.text import Text

from tl_lab.results.figures.curves import learning_curves, selection_curve
from tl_lab.results.figures.drawing import save_figures
from tl_lab.results.figures.rates import rate_curve
from tl_lab.results.figures.texts import texts_figure, write_points
from tl_lab.results.folder.rate_range import RATE_RANGE
from tl_lab.results.folder.selection import oracle_metric, read_rows
from tl_lab.results.names import is_detail
from tl_lab.results.screen.console import say
from tl_lab.texts import listed
from tl_lab.training.figures import points_of_texts
from tl_lab.training.rate_range import choose_rate

if TYPE_CHECKING:
    from tl_lab.data.base import DataModule
    from tl_lab.strategies.base import Strategy

__all__ = ["draw_figures"]


def draw_figures(
    folder: Path, strategy: "Strategy", data: "DataModule", chosen: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Path]:
    """Draw and save learning curves, the epochs that validators would have chosen, and the figures of the strategy.

    Args:
        folder: the run's folder; figures go to ``figures/``.
        strategy: after its test. It is moved to the data's device, since Lightning leaves it on the CPU.
        data: its data.
        chosen: rows of :func:`tl_lab.results.folder.selection.selection`.

    Returns:
        The files by the figures' names.
    """
    import pandas as pd  # a third of a second

    if strategy.device != data.device:
        strategy.to(data.device)
    features = ", the features of both domains (t-SNE)" if data.paired else ""
    what = f"learning curves, predictions on {listed(data.test_names)}{features}"
    say(Text(f"Drawing figures ({what}) in", style="dim"))
    say(Text(f"  {folder / 'figures'}", style="dim"), unbroken=True)
    metrics = pd.read_csv(folder / "metrics.csv")
    if data.changes_by_epoch:
        metrics = metrics[[name for name in metrics if not is_detail(name)]]
    figures = {"learning_curves": learning_curves(metrics), **strategy.figures(data)}
    if (folder / RATE_RANGE).exists():
        figures["lr_find"] = _rate_figure(folder)
    rows = read_rows(folder / "metrics.csv")
    oracle = oracle_metric(rows)
    validated = [row for row in rows if oracle in row]
    if chosen and len(validated) > 1:
        epochs = [int(row["epoch"]) + 1 for row in validated]
        figures["selection"] = selection_curve(epochs, [row[oracle] for row in validated], chosen)
    if (texts := points_of_texts(strategy, data)) is not None:
        figures["texts"] = texts_figure({data.test_names[-1]: texts})
        write_points(texts, folder / "figures")
    return dict(zip(figures, save_figures(figures, folder / "figures"), strict=True))


def _rate_figure(folder: Path) -> Figure:
    """Draw the range test that chose the run's learning rate."""
    import pandas as pd

    curve = pd.read_csv(folder / RATE_RANGE)
    rates, losses, smoothed = (curve[name].tolist() for name in ("rate", "loss", "smoothed"))
    return rate_curve(rates, losses, smoothed, choose_rate(rates, losses) or rates[0])
