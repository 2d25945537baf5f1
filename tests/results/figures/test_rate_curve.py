"""The figure of a learning-rate range test: both curves, and a line at the chosen rate."""

import csv
from pathlib import Path

import pytest

from tl_lab.results.figures.rates import rate_curve
from tl_lab.results.folder.rate_range import RATE_RANGE
from tl_lab.run.figures import _rate_figure
from tl_lab.training.rate_range import choose_rate, rates_of, smoothed

RATES = rates_of(60, 1e-5, 10.0)
# falls from 2 to 0.1 about 1e-2, and diverges above 1
LOSSES = [0.1 + 1.9 / (1 + (rate / 3e-3) ** 2) + max(0.0, rate - 1.0) ** 2 * 5 for rate in RATES]


def _check(figure, chosen: float) -> None:
    (ax,) = figure.axes
    raw, smooth, mark = ax.get_lines()
    assert list(raw.get_xdata()) == pytest.approx(RATES)
    assert list(raw.get_ydata()) == pytest.approx(LOSSES)
    assert list(smooth.get_ydata()) == pytest.approx(smoothed(LOSSES))
    assert list(mark.get_xdata()) == pytest.approx([chosen, chosen])
    (text,) = ax.texts
    assert text.get_text() == f"chosen: {chosen:g}"
    assert text.xy[0] == pytest.approx(chosen)
    assert (ax.get_xscale(), ax.get_ylabel()) == ("log", "loss")
    assert ax.get_ylim()[1] < 6 < max(LOSSES), "divergence does not flatten the rest"


def test_the_curve_is_drawn_with_the_chosen_rate_marked() -> None:
    _check(rate_curve(RATES, LOSSES, smoothed(LOSSES), 2e-3), 2e-3)


def test_the_figure_of_a_run_marks_the_rate_that_its_curve_gives(tmp_path: Path) -> None:
    with (tmp_path / RATE_RANGE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("rate", "loss", "smoothed"))
        writer.writerows(zip(RATES, LOSSES, smoothed(LOSSES), strict=True))
    chosen = choose_rate(RATES, LOSSES)
    assert chosen is not None
    assert 1e-4 < chosen < 1e-1
    figure = _rate_figure(tmp_path)
    _check(figure, chosen)
    figure.savefig(tmp_path / "lr_find.png")
    assert (tmp_path / "lr_find.png").stat().st_size > 5000
