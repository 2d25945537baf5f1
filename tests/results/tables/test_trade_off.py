"""The last task of a stream against the earlier ones: numbers, lines, and the figure's artists."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from scipy import stats

from tl_lab.results.figures.streams import trade_off_figure
from tl_lab.results.folder.files import write_json
from tl_lab.results.report.writing import write_report
from tl_lab.results.tables.collecting import collect
from tl_lab.results.tables.trade_off import lines_of_settings, task_accuracies, trade_off


def test_task_accuracies_are_in_the_order_of_the_tasks():
    metrics = {f"test/task{k}/acc": k / 100 for k in (10, 2, 1, 3, 4, 5, 6, 7, 8, 9)}
    metrics |= {"test/task1/loss": 7.0, "test/acc": 0.5, "val/task1/acc": 0.9, "test/task11/acc": math.nan}
    assert task_accuracies(metrics) == [k / 100 for k in range(1, 11)]
    assert task_accuracies({"test/acc": 0.5}) == []
    assert task_accuracies({"test/task1/acc": 0.5, "test/task3/acc": 0.5}) == [], "one is missing"
    pairs = {"test/task1/source/acc": 0.9, "test/task1/target/acc": 0.6, "test/task2/target/acc": 0.7}
    assert task_accuracies(pairs) == [0.6, 0.7]


def test_settings_that_differ_in_one_number_are_a_line():
    settings = {
        "a": {"strategy": "ewc", "strategy.ewc_lambda": "100", "seed": "0"},
        "b": {"strategy": "ewc", "strategy.ewc_lambda": "1e1", "seed": "0"},
        "c": {"strategy": "ewc", "strategy.ewc_lambda": "1000", "seed": "0"},
        "d": {"strategy": "naive", "seed": "0"},
    }
    name = "strategy=ewc over strategy.ewc_lambda"
    assert lines_of_settings(settings) == {"b": (name, "1e1"), "a": (name, "100"), "c": (name, "1000")}
    assert list(lines_of_settings(settings)) == ["b", "a", "c"], "in the order of the number, not of the text"


def test_of_two_numbers_the_one_with_more_values_is_drawn_over():
    settings = {f"{lr} {c}": {"lr": lr, "c": c} for lr in ("0.1", "0.2") for c in ("3", "1", "2")}
    lines = lines_of_settings(settings)
    assert [(lines[f"0.1 {c}"], lines[f"0.2 {c}"]) for c in "123"] == [
        (("lr=0.1 over c", c), ("lr=0.2 over c", c)) for c in "123"
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"a": {"strategy": "ewc"}, "b": {"strategy": "si"}},
        {"a": {"strategy": "ewc", "lr": "1"}, "b": {"strategy": "si", "lr": "2"}},  # differ in more than the number
        {"a": {"lr": "nan"}, "b": {"lr": "inf"}},
        {"a": {"lr": "1"}, "b": {}},
        {},
    ],
)
def test_others_are_on_no_line(settings):
    assert lines_of_settings(settings) == {}


VALUES = {
    ("ewc", "1"): [(0.9, 0.5, 0.3), (0.92, 0.6, 0.3), (0.88, 0.5, 0.5)],  # last task, then the two before it
    ("ewc", "10"): [(0.8, 0.7, 0.7), (0.7, 0.8, 0.7), (0.75, 0.9, 0.7)],
    ("naive", None): [(0.95, 0.1, 0.2)],
}


@pytest.fixture
def sweep(tmp_path):
    for number, ((strategy, strength, seed), (last, first, second)) in enumerate(
        (((*setting, seed), accuracies) for setting, runs in VALUES.items() for seed, accuracies in enumerate(runs))
    ):
        folder = tmp_path / str(number)
        (folder / ".hydra").mkdir(parents=True)
        given = [f"strategy={strategy}", *([f"strategy.ewc_lambda={strength}"] if strength else []), f"seed={seed}"]
        (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {text}\n" for text in given))
        accuracies = {"test/task1/acc": first, "test/task2/acc": second, "test/task3/acc": last}
        metrics = {"test/acc": (last + first + second) / 3, **accuracies, "test/task1/f1_macro": 0.123}
        results = {"schema": 1, "status": "completed", "metrics": metrics, "duration_s": 1.0, "seed": seed}
        write_json(folder / "results.json", results)
    return tmp_path


def test_means_and_intervals_are_those_of_scipy(sweep):
    table = trade_off(collect(sweep))
    assert table["setting"].tolist() == [
        "strategy=ewc strategy.ewc_lambda=1", "strategy=ewc strategy.ewc_lambda=10", "strategy=naive",
    ]  # fmt: skip
    assert table["n"].tolist() == [3, 3, 1]
    for row, runs in zip(table.to_dict("records"), VALUES.values(), strict=True):
        last, earlier = np.array([run[0] for run in runs]), np.array([(run[1] + run[2]) / 2 for run in runs])
        for name, values in (("last", last), ("earlier", earlier)):
            assert row[f"{name} mean"] == pytest.approx(values.mean(), rel=1e-12)
            if len(values) > 1:
                low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
                assert row[f"{name} ci95"] == pytest.approx((high - low) / 2, rel=1e-9)
            else:
                assert math.isnan(row[f"{name} ci95"])
    assert table["line"].tolist() == ["strategy=ewc over strategy.ewc_lambda"] * 2 + [""]
    assert table["value"].tolist() == ["1", "10", ""]


def test_runs_without_tasks_have_no_trade_off():
    runs = pd.DataFrame({"setting": ["a", "b"], "test/acc": [0.1, 0.2], "override.lr": ["1", "2"]})
    assert trade_off(runs).empty
    one_task = runs.assign(**{"test/task1/acc": [0.1, 0.2]})
    assert trade_off(one_task).empty


def points():
    return pd.DataFrame(
        {
            "setting": ["ewc 100", "naive", "ewc 20"],
            "last mean": [0.6, 0.9, 0.8],
            "last ci95": [0.05, math.nan, 0.02],
            "earlier mean": [0.7, 0.2, 0.5],
            "earlier ci95": [0.1, math.nan, 0.03],
            "line": ["ewc over lambda", "", "ewc over lambda"],
            "value": ["100", "", "20"],
        }
    )


def test_the_figure_shows_each_setting_with_its_intervals():
    figure = trade_off_figure(points())
    (ax,) = figure.axes
    assert ax.get_xlabel() == "accuracy on the last task, %"
    assert ax.get_ylabel() == "mean accuracy on the earlier tasks, %"
    joined, alone = ax.lines
    np.testing.assert_allclose(joined.get_xydata(), [[80, 50], [60, 70]], err_msg="in the order of the number")
    np.testing.assert_allclose(alone.get_xydata(), [[90, 20]])
    across, up, *_ = (found.get_segments() for found in ax.collections if isinstance(found, LineCollection))
    np.testing.assert_allclose(across, [[[78, 50], [82, 50]], [[55, 70], [65, 70]]])
    np.testing.assert_allclose(up, [[[80, 47], [80, 53]], [[60, 60], [60, 80]]])
    assert [text.get_text() for text in ax.texts] == ["20", "100", "naive"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["ewc over lambda", "95% interval over seeds"]
    assert joined.get_color() is not alone.get_color()


def test_intervals_beyond_what_there_is_do_not_stretch_the_axes():
    wide = points().assign(**{"last ci95": [3.0, math.nan, 0.02]})
    low, high = trade_off_figure(wide).axes[0].get_xlim()
    assert low >= -2
    assert high <= 102


def test_labels_of_equal_points_do_not_overlap():
    same = pd.concat([points(), points()]).assign(**{"last mean": 0.5, "earlier mean": 0.5, "line": ""})
    figure = trade_off_figure(same.assign(setting=list("abcdef"), value=""))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 6
    assert not [(i, j) for i in range(6) for j in range(i) if boxes[i].overlaps(boxes[j])]


def test_the_report_contains_the_figure_and_a_note(sweep):
    text = write_report(sweep).read_text(encoding="utf-8")
    assert "(figures/settings.png)" in text
    assert "(figures/trade_off.png)" in text
    assert (sweep / "figures" / "trade_off.png").stat().st_size > 5000
    assert "test task1 accuracy %" in text
    assert "macro F1" not in text, "of a single task the table has the accuracy alone"


def test_a_single_setting_trades_nothing(sweep):
    text = write_report(sweep / "0").read_text(encoding="utf-8")
    assert "(figures/settings.png)" in text
    assert "trade_off" not in text
