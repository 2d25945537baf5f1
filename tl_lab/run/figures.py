"""The figures of one run, from its metrics, its confusion and its features."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from tl_lab.data.inputs.operations import move, take
from tl_lab.data.names import SetName
from tl_lab.results.figures.episodes import episode_answers, episode_embedding
from tl_lab.results.figures.plots import (
    confusion_matrix,
    decision_boundary,
    domain_embedding,
    learning_curves,
    save_figures,
    selection_curve,
)
from tl_lab.results.figures.streams import accuracy_matrix_figure, task_accuracy_curves
from tl_lab.results.folder.selection import ORACLE, read_rows
from tl_lab.results.names import is_detail

if TYPE_CHECKING:
    from tl_lab.data.base import DataModule
    from tl_lab.data.scenarios.episodic import EpisodicData
    from tl_lab.data.scenarios.stream import TaskStream
    from tl_lab.strategies.base import Strategy
    from tl_lab.strategies.continual.base import ContinualStrategy
    from tl_lab.strategies.few_shot.base import FewShotStrategy

__all__ = ["draw_figures"]

_GRID_POINTS = 200  # along each side of the plane
_POINTS = 500  # of each domain in the embedding: enough to see its shape, few enough for t-SNE


def draw_figures(
    folder: Path, strategy: "Strategy", data: "DataModule", chosen: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Figure]:
    """Draw and save learning curves, a confusion matrix for each test set and, of a pair, the embedding, the epochs
    that validators would have chosen and, where the data are points of the plane, the decision boundary.

    Of a stream of tasks: learning curves, the accuracy on each task after each task, as a matrix and over time, and,
    unless each task has outputs of its own, one confusion matrix over all tasks. Of episodes: learning curves, and the
    first test episode of each test set, as images and as it is embedded.

    Args:
        folder: the run's folder; figures go to ``figures/``.
        strategy: tested, on its device.
        data: its data.
        chosen: rows of :func:`tl_lab.results.folder.selection.selection`.

    Returns:
        The figures by name.
    """
    metrics = pd.read_csv(folder / "metrics.csv")
    if "tasks" in data.traits:
        metrics = metrics[[name for name in metrics if not is_detail(name)]]
        figures = _of_stream(cast("ContinualStrategy", strategy), cast("TaskStream", data))
    elif "episodes" in data.traits:
        figures = _of_episodes(cast("FewShotStrategy", strategy), cast("EpisodicData", data))
    else:
        titles = {name: name.replace("/", " ") for name in data.test_names}
        figures = {
            f"confusion_{SetName.parse(name).file}": confusion_matrix(
                _confusion(strategy, name), data.class_names, title
            )
            for name, title in titles.items()
        }
    figures = {"learning_curves": learning_curves(metrics), **figures}
    validated = [row for row in read_rows(folder / "metrics.csv") if ORACLE in row]
    if chosen and len(validated) > 1:
        epochs = [int(row["epoch"]) + 1 for row in validated]
        figures["selection"] = selection_curve(epochs, [row[ORACLE] for row in validated], chosen)
    if "target" in data.traits and "episodes" not in data.traits:
        target = "target/test" if "target/test" in data.sets else "target/train"
        source_features, source_labels = _features(strategy, data, "source/test")
        target_features, target_labels = _features(strategy, data, target)
        assert source_labels is not None
        figures["domain_embedding"] = domain_embedding(
            source_features.numpy(),
            source_labels.numpy(),
            target_features.numpy(),
            None if target_labels is None else target_labels.numpy(),
            data.class_names,
        )
        if data.shape == (2, 1, 1):
            figures["decision_boundary"] = _boundary(strategy, data, target)
    save_figures(figures, folder / "figures")
    return figures


def _of_stream(strategy: "ContinualStrategy", data: "TaskStream") -> dict[str, Figure]:
    names = [f"task {task + 1}" for task in range(data.num_tasks)]
    scenario = f"{data.scenario}-incremental"
    matrix = strategy.accuracy_matrix.cpu()
    figures = {"accuracy_matrix": accuracy_matrix_figure(matrix, names, f"Accuracy, {scenario}")}
    if not strategy.jointly:
        figures["task_accuracies"] = task_accuracy_curves(matrix, names, f"Accuracy over the stream, {scenario}")
    if data.scenario == "class":
        title = "Accuracy among each task's own classes"
        figures["within_task_accuracy_matrix"] = accuracy_matrix_figure(strategy.within_task_matrix.cpu(), names, title)
    if data.scenario != "task":
        confusion = sum(_confusion(strategy, data.scored_name(task)) for task in range(data.num_tasks))
        title = f"all tasks, {scenario}"
        figures["confusion_all_tasks"] = confusion_matrix(confusion, data.class_names, title)
    return figures


@torch.no_grad()
def _of_episodes(strategy: "FewShotStrategy", data: "EpisodicData") -> dict[str, Figure]:
    strategy.eval()
    figures = {}
    for name in data.test_names:
        strategy.network.use(data.domain_of(name))
        batch, size = next(iter(data.episodes(name, 1))), data.size_of(name)
        predicted = strategy.test_logits(batch).argmax(2).view(size.way, size.queries)
        embedded = batch.split(strategy.features(batch.x))
        assert data.spec is not None
        images = [cast(Tensor, data.spec.restore(take(part.x, 0))) for part in batch[:2]]
        y = data.sets[name].y
        assert y is not None
        chosen = y[batch.support.index[0]].view(size.way, size.shot)[:, 0]
        classes = [data.classes[name][c] for c in chosen.tolist()]
        shots, asked = (part.unflatten(0, (size.way, -1)) for part in images)
        points, asked_points = (part[0].unflatten(0, (size.way, -1)) for part in embedded)
        where = SetName.parse(name).file
        said = f"{size.way}-way {size.shot}-shot, {name.replace('/', ' ')}"
        figures[f"episode_{where}"] = episode_answers(shots, asked, predicted, classes, f"One episode, {said}")
        figures[f"embedding_{where}"] = episode_embedding(
            points, asked_points, predicted, classes, f"One episode, {said}"
        )
    return figures


def _confusion(strategy: "Strategy", name: str) -> Tensor:
    return strategy.meters[name].last_confusion  # type: ignore[return-value]


@torch.no_grad()
def _boundary(strategy: "Strategy", data: "DataModule", target: str) -> Figure:
    strategy.eval()
    strategy.network.use("target")
    points = {name: data.sets[name].x.cpu()[:_POINTS] for name in ("source/test", target)}  # type: ignore[union-attr]
    labels = {name: None if (y := data.sets[name].y) is None else y.cpu()[:_POINTS] for name in points}
    low, high = (getattr(torch.cat(list(points.values())), way)(0).values for way in ("min", "max"))
    margin = 0.15 * (high - low)
    across, down = (
        torch.linspace(float(low[i] - margin[i]), float(high[i] + margin[i]), _GRID_POINTS) for i in range(2)
    )
    plane = torch.cartesian_prod(down, across).flip(1).to(strategy.device)  # (H W, 2), x first
    p = strategy.network(plane).softmax(1).view(_GRID_POINTS, _GRID_POINTS, -1).cpu()
    return decision_boundary(
        points["source/test"],
        labels["source/test"],
        points[target],
        labels[target],
        (across, down),
        p,
        data.class_names,
    )


@torch.no_grad()
def _features(strategy: "Strategy", data: "DataModule", name: str) -> tuple[Tensor, Tensor | None]:
    strategy.eval()
    strategy.network.use(data.domain_of(name))
    features = []
    seen: list[Tensor] = []
    for batch in data.loader(name):
        features.append(strategy.network.features(move(batch.x, strategy.device)).float().cpu())
        seen.append(batch.index.cpu())
        if sum(len(part) for part in features) >= _POINTS:
            break
    y = data.sets[name].y
    return torch.cat(features)[:_POINTS], None if y is None else y.cpu()[torch.cat(seen)[:_POINTS]]
