"""Models of growing size that are asked the same: what stands at which size, by hand."""

import pandas as pd
import pytest

from tl_lab.results.figures.scale import scale_figure
from tl_lab.results.tables.scale import OfSize, find_scale


@pytest.fixture
def runs():
    rows, scales = [], {}
    for blocks, parameters, acc in ((1, 10, 0.5), (8, 80, 0.8)):
        for shots in (0, 4):
            for seed in (0, 1):
                folder = f"{blocks}_{shots}_{seed}"
                scale = {"parameters": parameters, "acc": acc + 0.1 * seed, "low": acc - 0.1, "high": acc + 0.2}
                scales[folder] = {**scale, "chance": 0.5}
                rows.append(
                    {"folder": folder, "seed": seed, "status": "completed", "written": "1"}
                    | {"setting": f"{blocks} {shots}", "override.backbone.blocks": str(blocks)}
                    | {"override.strategy.shots": str(shots)}
                )
    found = pd.DataFrame(rows)
    found.attrs["scales"] = scales
    return found


def test_models_stand_by_their_size_for_each_way_of_asking(runs):
    found = find_scale(runs)
    assert [(each.way, each.model, each.parameters) for each in found] == [
        (f"strategy.shots={shots}", f"backbone.blocks={blocks}", parameters)
        for shots in (0, 4)
        for blocks, parameters in ((1, 10), (8, 80))
    ]
    small, large = found[:2]
    assert (small.n, small.acc) == (2, pytest.approx(0.55))
    assert (small.low, small.high) == (pytest.approx(0.4), pytest.approx(0.7))
    assert (small.verdict, large.verdict) == ("absent at this scale", "above chance")
    assert OfSize("", "", 1, 1, 0.3, 0.2, 0.4, 0.5).verdict == "below chance"
    ax = scale_figure(found).axes[0]
    assert ax.get_xscale() == "log"
    hollow = [line.get_mfc() for line in ax.lines if line.get_marker() == "o"]
    assert [str(colour) == "white" for colour in hollow] == [True, False, True, False]


def test_one_size_alone_shows_nothing(runs):
    assert find_scale(runs[runs["override.backbone.blocks"] == "1"]) == []
