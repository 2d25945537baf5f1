"""The content of the figures of streams, read from their artists."""

import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh

from tl_lab.results.figures.drawing import save_figures
from tl_lab.results.figures.streams import accuracy_matrix_figure, mean_so_far, task_accuracy_curves

NAN = np.nan
DOMAIN = np.array([[0.10, 0.12, 0.11], [0.95, 0.2, 0.15], [0.7, 0.9, 0.25], [0.6, 0.75, 0.99]])
CLASS = np.array([[NAN] * 3, [1.0, NAN, NAN], [0.5, 0.8, NAN], [0.0, 0.25, 0.7]])
AT_ONCE = np.array([[0.1, 0.1, 0.1], [NAN] * 3, [NAN] * 3, [0.8, 0.9, 0.7]])
NAMES = ["task 1", "task 2", "task 3"]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def cells(ax):
    """What stands in the cells, by (column, row from above)."""
    inside = [text for text in ax.texts if hasattr(text, "get_position") and text.get_ha() == "center"]
    return {text.get_position(): text for text in inside}


def row_labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_the_mean_is_over_the_tasks_learned_so_far():
    np.testing.assert_allclose(mean_so_far(DOMAIN), [NAN, 0.95, 0.8, 0.78])
    np.testing.assert_allclose(mean_so_far(torch.tensor(CLASS)), [NAN, 1.0, 0.65, 0.95 / 3])
    np.testing.assert_allclose(mean_so_far(AT_ONCE), [NAN, NAN, NAN, 0.8])


def test_the_matrix_holds_every_accuracy_in_per_cent():
    (ax,) = accuracy_matrix_figure(DOMAIN, NAMES, "Accuracy, domain-incremental").axes
    assert ax.get_title(loc="left") == "Accuracy, domain-incremental"
    assert row_labels(ax) == ["before training", "after task 1", "after task 2", "after task 3"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["on\ntask 1", "on\ntask 2", "on\ntask 3"]
    found = [text.get_text() for text in cells(ax).values()]
    assert found == [f"{100 * value:.1f}" for value in DOMAIN.ravel()]
    bold = [text.get_text() for text in cells(ax).values() if text.get_fontweight() == "bold"]
    assert bold == ["95.0", "90.0", "99.0"], "what has just been learned"
    rows = [mesh for mesh in ax.collections if isinstance(mesh, QuadMesh)]
    np.testing.assert_allclose(np.concatenate([np.ma.filled(mesh.get_array(), NAN) for mesh in rows]), DOMAIN)
    assert {mesh.get_clim() for mesh in rows} == {(0, 1)}
    assert [text for text in texts(ax) if text in ("95.0", "80.0", "78.0")] == ["95.0", "95.0", "80.0", "78.0"]


def test_the_row_before_training_stands_apart():
    tops = [mesh.get_coordinates()[0, 0, 1] for mesh in accuracy_matrix_figure(DOMAIN, NAMES).axes[0].collections]
    gaps = np.diff(tops)
    assert gaps[0] > 1.1
    np.testing.assert_allclose(gaps[1:], 1)


def test_what_is_not_defined_is_blank_and_empty_rows_are_left_out():
    (ax,) = accuracy_matrix_figure(CLASS, NAMES).axes
    assert row_labels(ax) == ["after task 1", "after task 2", "after task 3"]
    assert [text.get_text() for text in cells(ax).values()] == ["100.0", "50.0", "80.0", "0.0", "25.0", "70.0"]
    arrays = [np.ma.masked_invalid(mesh.get_array()) for mesh in ax.collections]
    assert [int(array.mask.sum()) for array in arrays] == [2, 1, 0]
    assert ax.collections[0].get_cmap()(np.ma.masked_all(1)).tolist() == [[1, 1, 1, 1]]


def test_tasks_learned_at_once_are_labelled_as_such():
    (ax,) = accuracy_matrix_figure(AT_ONCE, NAMES).axes
    assert row_labels(ax) == ["before training", "after all tasks"]
    assert not [text for text in cells(ax).values() if text.get_fontweight() == "bold"]


@pytest.mark.parametrize(("count", "written"), [(2, "33.3"), (10, "33.3"), (20, "33")])
def test_many_tasks_leave_the_decimal_out(count, written):
    (ax,) = accuracy_matrix_figure(np.full((count + 1, count), 1 / 3), [f"task {k + 1}" for k in range(count)]).axes
    assert {text.get_text() for text in cells(ax).values()} == {written}
    assert len(cells(ax)) == count * (count + 1)
    assert ax.get_xticklabels()[0].get_rotation() == (90 if count > 10 else 0)


def test_each_task_is_a_line_light_until_it_is_learned():
    (ax,) = task_accuracy_curves(torch.tensor(DOMAIN), NAMES).axes
    assert ax.get_xlabel() == "tasks learned"
    *of_tasks, mean = ax.lines
    np.testing.assert_allclose(mean.get_xydata(), [[1, 0.95], [2, 0.8], [3, 0.78]])
    assert len(of_tasks) == 9
    for task in range(3):
        light, line, dot = of_tasks[3 * task : 3 * task + 3]
        np.testing.assert_allclose(light.get_xydata(), [[n, DOMAIN[n, task]] for n in range(task + 2)])
        np.testing.assert_allclose(line.get_xydata(), [[n, DOMAIN[n, task]] for n in range(task + 1, 4)])
        np.testing.assert_allclose(dot.get_xydata(), [[task + 1, DOMAIN[task + 1, task]]])
        assert light.get_alpha() < 0.5
        assert light.get_color() == line.get_color() == dot.get_color()
        assert mean.get_linewidth() > 1.5 * line.get_linewidth()
    assert texts(ax) == [*NAMES, "mean so far"]
    colours = [line.get_color() for line in (*of_tasks[::3], mean)]
    assert len(set(colours)) == 4


def test_curves_of_classes_never_seen_begin_with_their_task():
    *of_tasks, mean = task_accuracy_curves(CLASS, NAMES).axes[0].lines
    for task in range(3):
        y = of_tasks[3 * task].get_ydata()
        assert np.isnan(y[: task + 1]).all()
        assert np.isfinite(y[task + 1])
    np.testing.assert_allclose(mean.get_ydata(), [1.0, 0.65, 0.95 / 3])


@pytest.mark.parametrize("draw", [accuracy_matrix_figure, task_accuracy_curves])
@pytest.mark.parametrize("count", [2, 9, 10, 20])
def test_figures_of_any_number_of_tasks_are_saved(draw, count, tmp_path):
    rng = np.random.default_rng(0)
    names = [f"a rather long name of task {k + 1}" for k in range(count)]
    (path,) = save_figures({"one": draw(rng.random((count + 1, count)), names)}, tmp_path)
    assert path.stat().st_size > 5000


@pytest.mark.parametrize("draw", [accuracy_matrix_figure, task_accuracy_curves])
def test_nothing_measured_is_drawn_too(draw, tmp_path):
    save_figures({"one": draw(np.full((3, 2), NAN), ["a", "b"])}, tmp_path)
    with pytest.raises(ValueError, match=r"3 tasks require a matrix \(4, 3\), not \(3, 2\)"):
        draw(np.zeros((3, 2)), NAMES)


def test_values_of_another_metric_may_be_negative():
    matrix = np.array([[np.nan, np.nan], [0.75, -2.5], [0.5, 0.9]])
    figure = accuracy_matrix_figure(matrix, ["a", "b"], metric="r2")
    ax = figure.axes[0]
    assert ax.get_xlabel() == "R² on test sets"
    assert ax.get_title(loc="left") == "R²"
    cells = [text.get_text() for text in ax.texts if text.get_position()[0] in (0.5, 1.5)]
    assert cells == ["0.75", "-2.50", "0.50", "0.90"]
    assert {mesh.get_clim() for mesh in ax.collections} == {(-1.0, 1.0)}
    curves = task_accuracy_curves(matrix, ["a", "b"], metric="r2").axes[0]
    assert curves.get_ylabel() == "R²"
    assert curves.get_ylim()[0] < -2.5
