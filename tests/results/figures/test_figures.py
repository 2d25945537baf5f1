import sys

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from texts_of_figures import cut_off, overlapping

from tl_lab.results.figures.confusion import confusion_matrix
from tl_lab.results.figures.curves import learning_curves, selection_curve
from tl_lab.results.figures.drawing import boxes_apart, moved_apart, save_figures
from tl_lab.results.figures.embedding import PairFeatures, decision_boundary, domain_embedding, embeddings_beside
from tl_lab.results.figures.sweeps import curves_figure, parameters_figure, settings_intervals
from tl_lab.results.tables.curves import Curve


def _texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.fixture
def metrics():
    steps = np.arange(200)
    frame = pd.DataFrame({"epoch": steps // 50, "step": steps})
    rng = np.random.default_rng(0)
    frame["train/loss"] = np.exp(-steps / 30) + 0.2 + 0.2 * rng.random(200)
    frame["train/task_loss"] = frame["train/loss"] * 0.5
    frame["train/domain_acc"] = 0.5 + 0.1 * rng.random(200)
    frame["train/lambda"] = 2 / (1 + np.exp(-10 * steps / 200)) - 1
    frame["train/lr"] = 0.01 / (1 + 10 * steps / 200) ** 0.75
    frame["val/source/acc"] = np.where(steps % 50 == 49, 0.9, np.nan)
    frame["val/source/loss"] = np.where(steps % 50 == 49, 0.3, np.nan)
    frame["test/target/acc"] = np.where(steps == 199, 0.6, np.nan)
    frame["val/empty"] = np.nan
    return frame


def test_curves_have_a_panel_for_each_kind_and_a_name_for_each_line(metrics):
    figure = learning_curves(metrics)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["Loss", "Accuracy", "Schedules", "Learning rate"]
    assert _texts(figure.axes[0]) == ["train total loss", "train task loss", "val source"]
    assert _texts(figure.axes[1]) == ["train domain accuracy", "val source"]
    assert _texts(figure.axes[2]) == ["lambda"]
    assert _texts(figure.axes[3]) == []
    assert figure.axes[-1].get_xlabel() == "update"
    assert [len(ax.lines) for ax in figure.axes] == [5, 3, 1, 1], "noisy lines: raw and smoothed"


def test_the_only_term_of_the_loss_is_drawn_once(metrics):
    metrics["train/task_loss"] = metrics["train/loss"]
    loss = learning_curves(metrics).axes[0]
    assert _texts(loss) == ["train", "val source"]
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), metrics["train/loss"])


def test_a_term_that_equals_the_loss_at_some_updates_only_is_drawn(metrics):
    metrics["train/task_loss"] = np.where(metrics["step"] < 100, metrics["train/loss"], 0.1)
    assert _texts(learning_curves(metrics).axes[0]) == ["train total loss", "train task loss", "val source"]
    metrics["train/task_loss"] = np.where(metrics["step"] < 100, metrics["train/loss"], np.nan)
    assert "train task loss" in _texts(learning_curves(metrics).axes[0])


def test_curves_keep_scores_apart_and_draw_f1_only_where_it_differs():
    frame = pd.DataFrame({"step": [1, 2], "val/acc": [0.5, 0.6], "val/f1_macro": [0.49, 0.61], "val/entropy": [1, 2.0]})
    figure = learning_curves(frame.assign(**{"val/balanced_acc": [0.5, 0.3]}))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Accuracy", "Label-free scores"]
    assert _texts(figure.axes[0]) == ["val accuracy", "val balanced accuracy"]
    assert _texts(figure.axes[1]) == ["val entropy"]


def test_gradients_at_the_features_have_a_panel_and_the_names_of_their_terms(metrics):
    metrics["train/grad_norm_task_loss"] = np.where(metrics["step"] % 50 == 49, 0.5, np.nan)
    metrics["train/grad_norm_domain_loss"] = np.where(metrics["step"] % 50 == 49, 0.001 * metrics["step"], np.nan)
    figure = learning_curves(metrics)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["Loss", "Accuracy", "Gradient at the features", "Schedules", "Learning rate"]
    assert _texts(figure.axes[0]) == ["train total loss", "train task loss", "val source"]
    assert _texts(figure.axes[2]) == ["task loss", "domain loss"]
    np.testing.assert_allclose(figure.axes[2].lines[1].get_ydata(), [0.049, 0.099, 0.149, 0.199])


def test_curves_leave_out_panels_without_data(metrics):
    figure = learning_curves(metrics[["step", "train/loss", "val/empty"]])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Loss"]


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"epoch": [0], "step": [1]})])
def test_curves_without_data_show_a_message(frame):
    assert _texts(learning_curves(frame).axes[0]) == ["no training metrics were logged"]


def test_curves_of_a_single_value_and_of_zeros(tmp_path):
    frame = pd.DataFrame({"step": [0], "train/loss": [0.0], "val/acc": [1.0], "val/loss": [np.inf]})
    save_figures({"one": learning_curves(frame)}, tmp_path)
    assert (tmp_path / "one.png").stat().st_size > 5000


def test_positions_are_moved_apart_in_their_order():
    wanted = np.array([0.5, 0.52, 0.0, 1.3])
    placed = moved_apart(wanted, 0.1)
    np.testing.assert_allclose(placed[[0, 1]], [0.46, 0.56])
    assert np.argsort(placed).tolist() == np.argsort(wanted).tolist()
    assert np.diff(np.sort(placed)).min() >= 0.1 - 1e-12


def test_boxes_are_pushed_apart_only_where_they_overlap():
    centres = np.array([[0.5, 0.5], [0.5, 0.5], [0.9, 0.5]])
    moved = boxes_apart(centres, np.full(3, 0.1), 0.04)
    assert abs(moved[0, 1] - moved[1, 1]) == pytest.approx(0.04)
    assert moved[2].tolist() == [0.9, 0.5]


def test_confusion_of_few_classes_shows_counts_and_recall():
    figure = confusion_matrix([[8, 2, 0], [1, 9, 0], [0, 0, 0]], ["a", "b", "c"], "target")
    ax = figure.axes[0]
    texts = _texts(ax)
    assert [text for text in texts if text.isdigit()] == ["8", "2", "1", "9"], "zeros stay empty"
    assert [text for text in texts if "%" in text and "acc" not in text] == ["80.0%", "90.0%"]
    assert "accuracy 85.0%, 20 samples" in texts
    assert ax.get_title(loc="left").strip() == "target"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    share = ax.images[0].get_array()
    np.testing.assert_allclose(share[:2], [[0.8, 0.2, 0], [0.1, 0.9, 0]])
    assert np.ma.getmaskarray(share)[2].all(), "a class without samples has no shares"


def test_confusion_of_many_classes_is_not_annotated():
    size = 100
    figure = confusion_matrix(torch.eye(size, dtype=torch.int64) * 7, [f"class {i}" for i in range(size)])
    assert _texts(figure.axes[0]) == ["accuracy 100.0%, 700 samples"]
    assert len(figure.axes[0].get_yticklabels()) == size


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), np.zeros((3, 3)), np.zeros(2)])
def test_confusion_of_the_wrong_shape_is_refused(matrix):
    with pytest.raises(ValueError, match="2 class names require a square matrix"):
        confusion_matrix(matrix, ["a", "b"])


def test_confusion_of_nothing():
    assert "no samples" in _texts(confusion_matrix(np.zeros((2, 2)), ["a", "b"]).axes[0])


def _points(ax):
    return sum(len(collection.get_offsets()) for collection in ax.collections)


def _domains(n=40, m=30, dimensions=5, seed=0):
    rng = np.random.default_rng(seed)
    y, z = np.arange(n) % 3, np.arange(m) % 3
    x = rng.normal(size=(n, dimensions)) + 5 * np.eye(3, dimensions)[y]
    return x, y, rng.normal(size=(m, dimensions)) + 5 * np.eye(3, dimensions)[z] + 1, z


def test_embedding_has_four_panels_with_every_point():
    x, y, u, z = _domains()
    figure = domain_embedding(x, y, torch.tensor(u, requires_grad=True), torch.tensor(z), ["a", "b", "c"])
    assert len(figure.axes) == 4
    assert [_points(ax) for ax in figure.axes] == [70] * 4
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["by class", "by domain", "", ""]
    assert figure.axes[0].get_ylabel().startswith("PCA (")
    assert figure.axes[2].get_ylabel() == "t-SNE"
    assert sorted(_texts(figure.axes[0])) == ["a", "b", "c"]
    classes, domains = ([text.get_text() for text in legend.get_texts()] for legend in figure.legends)
    assert classes == ["a", "b", "c"]
    assert domains == ["source (40 points)", "target (30 points)"]


def test_embedding_without_target_labels_has_a_legend_entry():
    x, y, u, _ = _domains()
    legend = domain_embedding(x, y, u, None, ["a", "b", "c"]).legends[0]
    assert legend.get_texts()[-1].get_text() == "target (no labels)"


def test_embedding_is_a_function_of_its_seed():
    x, y, u, z = _domains()
    first, same, other = (domain_embedding(x, y, u, z, ["a", "b", "c"], seed=seed, max_points=50) for seed in (0, 0, 1))
    offsets = [np.concatenate([c.get_offsets() for c in figure.axes[2].collections]) for figure in (first, same, other)]
    np.testing.assert_array_equal(offsets[0], offsets[1])
    assert not np.array_equal(offsets[0], offsets[2])


@pytest.mark.parametrize(
    ("n", "m", "expected"), [(900, 900, (500, 500)), (900, 100, (900, 100)), (90, 2000, (90, 910))]
)
def test_embedding_draws_no_more_than_asked(n, m, expected, monkeypatch):
    monkeypatch.setattr("tl_lab.results.figures.embedding._tsne", lambda points, seed: points[:, :2])
    x, y, u, z = _domains(n, m)
    figure = domain_embedding(x, y, u, z, ["a", "b", "c"], max_points=1000)
    assert _points(figure.axes[1]) == sum(expected) <= 1000
    assert f"source ({expected[0]} points)" in figure.legends[1].get_texts()[0].get_text()


def test_runs_beside_each_other_have_a_column_each_with_every_point():
    x, y, u, z = _domains()
    names = ["a", "b", "c"]
    apart, alone = PairFeatures(x, y, u, z, names), domain_embedding(x, y, u, z, names)
    figure = embeddings_beside({"before": apart, "after": apart._replace(target=u - 1)})
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["before", "after", "", ""]
    assert [_points(ax) for ax in figure.axes] == [70] * 4
    of_class, of_domain = (np.concatenate([c.get_offsets() for c in ax.collections]) for ax in figure.axes[::2])
    np.testing.assert_array_equal(of_class, of_domain)
    both = [np.concatenate([c.get_offsets() for c in ax.collections]) for ax in (alone.axes[2], figure.axes[0])]
    np.testing.assert_array_equal(*both)  # as the run's own figure has them
    with pytest.raises(ValueError, match="different classes"):
        embeddings_beside({"one": apart, "other": apart._replace(class_names=["a", "b", "d"])})


def test_embedding_of_degenerate_features():
    for x, u in ((np.zeros((3, 4)), np.zeros((2, 4))), (np.ones((9, 1)), np.arange(9.0)[:, None])):
        domain_embedding(x, np.zeros(len(x)), u, None, ["a"])


def test_embedding_of_many_classes_has_a_colour_bar():
    x, y, u, z = _domains(60, 60)
    figure = domain_embedding(x, y * 20, u, z * 20, [f"class {i}" for i in range(60)])
    assert len(figure.axes) == 5
    assert len(figure.legends) == 1


def test_embedding_drops_samples_that_are_not_finite_and_refuses_none():
    x, y, u, z = _domains()
    x[0, 0] = np.nan
    assert _points(domain_embedding(x, y, u, z, ["a", "b", "c"]).axes[0]) == 69
    with pytest.raises(ValueError, match="target: no sample"):
        domain_embedding(x, y, u * np.nan, z, ["a", "b", "c"])
    with pytest.raises(ValueError, match="dimensions"):
        domain_embedding(x, y, u[:, :2], z, ["a", "b", "c"])


def test_settings_are_dots_and_intervals():
    summary = pd.DataFrame(
        {"setting": ["none", "dann"], "n": [5, 1], "test/acc mean": [0.5, 0.6], "test/acc ci95": [0.05, np.nan]}
    )
    seeds = pd.DataFrame({"setting": ["none"] * 5 + ["dann"], "test/acc": [0.45, 0.5, 0.5, 0.5, 0.55, 0.6]})
    figure = settings_intervals(summary, ["test/acc"], seeds)
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["none", "dann"]
    assert ax.get_title(loc="left") == "accuracy"
    assert ax.get_xlabel() == "test set, %"
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose(segments[0], [[45, 0], [55, 0]])
    assert len(ax.lines[0].get_xdata()) == 6
    np.testing.assert_allclose(ax.lines[1].get_xdata(), [50, 60])


def test_points_of_short_lines_are_marked(metrics):
    few = learning_curves(metrics[::10]).axes[0].lines
    assert [line.get_marker() for line in few] == ["o"] * len(few)
    many = learning_curves(metrics).axes[0].lines
    assert [line.get_marker() for line in many] == ["None", ""] * 2 + ["o"], "validation has four points"


def test_a_score_measured_once_stands_at_its_update_with_a_bar():
    steps = np.arange(10, 101, 10)
    loss = Curve(steps, 1 / steps, np.full(10, 0.01), 3)
    once = Curve(np.array([100]), np.array([0.5]), np.array([0.1]), 3)
    left, right = curves_figure({"val/acc": {"none": once}, "train/loss": {"none": loss}}).axes
    assert left.get_xlim() == right.get_xlim()
    (bar,) = left.collections
    np.testing.assert_allclose(bar.get_segments()[0], [[100, 40], [100, 60]])
    assert (left.lines[0].get_marker(), right.lines[0].get_marker()) == ("o", "o")
    dense = Curve(np.arange(50), np.ones(50), np.zeros(50), 3)
    assert curves_figure({"train/loss": {"none": dense}}).axes[0].lines[0].get_marker() == ""


@pytest.mark.parametrize("length", [5, 40, 80, 200])
@pytest.mark.parametrize("panels", [1, 2])
def test_the_legend_of_curves_is_never_cut_off(panels, length):
    curve = Curve(np.arange(3), np.ones(3), np.ones(3), 3)
    settings = {"x" * (length - 1) + last: curve for last in "abc"}
    figure = curves_figure(dict.fromkeys(["val/acc", "train/loss"][:panels], settings))
    assert cut_off(figure) == []
    assert overlapping(figure) == []


def test_no_interval_is_named_where_none_is_drawn():
    summary = pd.DataFrame(
        {"setting": ["none", "dann"], "n": [1, 1], "test/acc mean": [0.5, 0.6], "test/acc ci95": [np.nan, np.nan]}
    )
    figure = settings_intervals(summary, ["test/acc"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mean"]


def test_errors_of_different_units_have_panels_of_their_own():
    frame = pd.DataFrame({"step": [1, 2], "val/mae": [1.0, 0.5], "val/mse": [9.0, 4.0], "val/r2": [0.1, 0.2]})
    figure = learning_curves(frame)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["R²", "MAE", "MSE"]
    assert [_texts(ax) for ax in figure.axes] == [["val"]] * 3, "the titles name the metrics"


def test_panels_of_several_tasks_say_what_they_show():
    frame = pd.DataFrame({"step": [1, 2], "train/rte_weight": [1.0, 0.9], "train/sts_b_weight": [1.0, 1.1]})
    frame = frame.assign(**{"train/cosine_rte_sts_b": [0.2, -0.1], "val/task_mean": [0.4, 0.5], "val/rte/acc": 0.5})
    frame = frame.assign(**{"val/sts_b/r2": [0.3, 0.4], "train/lambda": [0.0, 1.0], "train/fisher_trace": [5.0, 9.0]})
    labels = {ax.get_title(loc="left"): _texts(ax) for ax in learning_curves(frame).axes}
    assert labels == {
        "Accuracy": ["val rte"],
        "Scores": ["val mean over tasks (fraction)", "val sts_b R²"],
        "Cosines between the tasks' gradients": ["rte sts b"],
        "Loss weights": ["rte", "sts b"],
        "Schedules": ["lambda"],
        "Other training values": ["fisher trace"],
    }


def test_errors_of_a_task_in_training_share_the_panel_of_those_in_validation():
    frame = pd.DataFrame({"step": [1, 2], "train/stsb_mae": [2.0, 1.0], "val/stsb/mae": [2.5, 1.5]})
    (panel,) = learning_curves(frame).axes
    assert (panel.get_title(loc="left"), _texts(panel)) == ("MAE", ["train stsb MAE", "val stsb"])


def test_the_mean_of_a_stream_is_named():
    frame = pd.DataFrame({"step": [1, 2], "train/acc": 0.9, "val/acc": 0.5, "val/task1/acc": 0.4, "val/task2/acc": 0.6})
    assert _texts(learning_curves(frame).axes[0]) == ["train", "val mean over tasks", "val task1", "val task2"]


def test_the_interval_over_episodes_is_a_band_and_not_a_line():
    frame = pd.DataFrame({"step": [1, 2], "train/acc": [0.5, 0.7], "val/acc": [0.6, 0.8], "val/acc_ci95": [0.1, 0.05]})
    (panel,) = learning_curves(frame).axes
    assert _texts(panel) == ["train", "val ± 95 %"]
    (band,) = panel.collections
    ends = band.get_paths()[0].get_extents()
    np.testing.assert_allclose([ends.y0, ends.y1], [0.5, 0.85])
    assert len(panel.lines) == 2


def test_weights_that_never_change_are_not_drawn():
    frame = pd.DataFrame({"step": [1, 2], "train/rte_weight": 1.0, "train/mrpc_weight": 1.0, "train/loss": [2.0, 1.0]})
    assert [ax.get_title(loc="left") for ax in learning_curves(frame).axes] == ["Loss"]


def test_penalties_are_drawn_as_terms_of_the_loss():
    frame = pd.DataFrame({"step": [1, 2], "train/loss": [2.0, 3.0], "train/task_loss": 1.0, "train/ewc": [1.0, 2.0]})
    figure = learning_curves(frame)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Loss"]
    assert _texts(figure.axes[0]) == ["train total loss", "train task loss", "train ewc"]


@pytest.mark.parametrize(
    ("names", "title", "labels"),
    [
        (["val/auroc"], "AUROC", ["val"]),
        (["val/auroc", "val/subset_acc"], "Scores, per cent", ["val AUROC", "val exact match"]),
        (["val/a/acc", "val/b/auroc"], "Scores, per cent", ["val a accuracy", "val b AUROC"]),
        (["train/acc", "val/acc"], "Accuracy", ["train", "val"]),
    ],
)
def test_titles_of_panels_of_shares_name_a_single_metric(names, title, labels):
    frame = pd.DataFrame({"step": [1, 2], **{name: [0.5, 0.6 + 0.1 * i] for i, name in enumerate(names)}})
    (panel,) = learning_curves(frame).axes
    assert (panel.get_title(loc="left"), _texts(panel)) == (title, labels)


def test_chosen_epochs_are_marked_on_the_targets_curve():
    rows = [("source_accuracy", 2), ("snd", 2), ("last epoch", 4), ("oracle (target test labels)", 3)]
    accuracy = [0.4, 0.5, 0.7, 0.6]
    chosen = [
        {"chooser": name, "epoch": epoch, "target_acc": accuracy[epoch - 1], "oracle": name.startswith("oracle")}
        for name, epoch in rows
    ]
    figure = selection_curve([1, 2, 3, 4], accuracy, chosen)
    ax, texts = figure.axes[0], [text.get_text() for text in figure.legends[0].get_texts()]
    expected = ["epoch 2, source accuracy, snd", "epoch 3, oracle", "epoch 4, last epoch"]
    assert [text.replace(" chosen by", "").replace("\n", ", ").replace(",,", ",") for text in texts] == expected
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[1, 0.4], [2, 0.5], [3, 0.7], [4, 0.6]])
    upright = [line for line in ax.lines if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2]
    assert [line.get_xdata()[0] for line in upright] == [2, 3, 4]
    assert [line.get_linestyle() for line in upright] == ["-", "--", "-"]
    assert len({line.get_color() for line in [ax.lines[0], *upright]}) == 4
    assert all(line.get_zorder() > 0.5 for line in upright)  # at which the grid is drawn
    dots = [tuple(line.get_xydata()[0]) for line in ax.lines if len(line.get_xdata()) == 1]
    assert dots == [(2, 0.5), (3, 0.7), (4, 0.6)]


def test_a_set_has_the_same_colour_in_all_panels():
    names = ["train/loss", "train/task_loss", "val/source/loss", "oracle/target/loss"]
    names += ["train/acc", "val/source/acc", "oracle/target/acc", "oracle/target/f1", "val/target/snd"]
    frame = pd.DataFrame({"step": [1, 2], **{name: [0.2 + 0.1 * i] * 2 for i, name in enumerate(names)}})
    loss, accuracy, label_free = learning_curves(frame).axes
    for ax in (loss, accuracy):
        assert len({line.get_color() for line in ax.lines}) == len(ax.lines)
    assert loss.lines[2].get_color() == accuracy.lines[1].get_color()  # val source
    assert loss.lines[3].get_color() == accuracy.lines[2].get_color()  # oracle target
    assert label_free.lines[0].get_color() != loss.lines[2].get_color()


@pytest.mark.parametrize("values", [(0.68, 0.69), (0.1, 0.9), (0.9981, 0.9984)])
def test_ticks_in_per_cent_differ_in_a_narrow_range(values):
    frame = pd.DataFrame({"step": [1, 2], "val/acc": values})
    figures = learning_curves(frame), selection_curve([1, 2], values, [])
    for figure in figures:
        figure.draw_without_rendering()
        ax = figure.axes[0]
        ticks = [label.get_text() for label in ax.get_yticklabels()]
        assert len(set(ticks)) == len(ticks)
        assert [float(tick.removesuffix("%")) for tick in ticks] == pytest.approx(100 * ax.get_yticks())


@pytest.mark.parametrize(
    "names", [["a", "b"], ["entailment", "not_entailment", "c"], [f"class {i}" for i in range(12)]]
)
def test_no_text_of_a_confusion_matrix_is_cut_off_or_covered(names):
    figure = confusion_matrix(3 * np.eye(len(names)) + 1, names, "Confusion matrix, test set of the target")
    assert cut_off(figure) == []
    assert overlapping(figure) == []


def test_figures_are_saved_whole(tmp_path):
    paths = save_figures({"test/target": Figure(), "other": Figure()}, tmp_path / "figures")
    assert [path.name for path in paths] == ["test_target.png", "other.png"]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["other.png", "test_target.png"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")


def test_no_global_state_is_left(metrics):
    import matplotlib

    before = dict(matplotlib.rcParams)
    learning_curves(metrics)
    assert dict(matplotlib.rcParams) == before
    assert "tl_lab.results.figures.curves" in sys.modules


def test_the_decision_boundary_is_where_two_classes_are_equally_likely():
    across, down = np.linspace(-1, 2, 40), np.linspace(-2, 1, 30)
    x, _ = np.meshgrid(across, down)
    right = 1 / (1 + np.exp(-3 * (x - 0.5)))  # the boundary is x = .5
    points = np.array([[0.0, 0.0], [1.0, 0.5]])
    figure = decision_boundary(
        points, [0, 1], points + 0.1, None, (across, down), np.stack([1 - right, right], axis=2), ["left", "right"]
    )
    (ax,) = figure.axes
    contours = [found for found in ax.collections if isinstance(found, QuadContourSet)]
    lines = [path.vertices for found in contours for path in found.get_paths()]
    assert len(lines) == 2  # of each class, one above the other
    np.testing.assert_allclose(np.concatenate(lines)[:, 0], 0.5, atol=1e-3)
    tint = ax.images[0].get_array()
    assert tint.shape == (30, 40, 3)
    assert not np.allclose(tint[0, 0], tint[0, -1])
    assert [text.get_text() for text in figure.legends[0].texts][-2:] == ["target (no labels)", "boundary"]


def test_a_plane_of_one_class_has_no_boundary():
    grid = np.linspace(0, 1, 5), np.linspace(0, 1, 4)
    p = np.broadcast_to([0.9, 0.1], (4, 5, 2))
    figure = decision_boundary([[0.5, 0.5]], [0], [[0.2, 0.2]], [1], grid, p, ["a", "b"])
    assert [text.get_text() for text in figure.legends[0].texts] == ["a", "b", "source", "target", "boundary"]


def test_settings_stand_at_the_number_of_trainable_parameters():
    table = pd.DataFrame(
        {
            "setting": ["adapter=lora", "adapter=ia3", "full"],
            "parameters": [74_498, 16_898, 22_713_216],
            "test/acc mean": [0.8, 0.7, 0.85],
            "test/acc ci95": [0.02, 0.05, np.nan],
        }
    )
    ax = parameters_figure(table, "test/acc").axes[0]
    assert ax.get_xscale() == "log"
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines] == [
        (74_498, 80.0),
        (16_898, 70.0),
        (22_713_216, 85.0),
    ]
    intervals = [collection.get_segments()[0][:, 1] for collection in ax.collections]
    np.testing.assert_allclose(intervals, [[78, 82], [65, 75]])
    assert _texts(ax) == ["adapter=lora", "adapter=ia3", "full"]
