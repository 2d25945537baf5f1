"""The figures of a stream of tasks."""

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from tl_lab.results.figures.confusion import confusion_matrix
from tl_lab.results.figures.streams import accuracy_matrix_figure, task_accuracy_curves
from tl_lab.results.names import readable
from tl_lab.training.figures import confusion_of

if TYPE_CHECKING:
    from tl_lab.data.scenarios.stream import TaskStream
    from tl_lab.strategies.continual.base import ContinualStrategy

__all__ = ["figures_of_stream"]


def figures_of_stream(strategy: "ContinualStrategy", data: "TaskStream") -> dict[str, Figure]:
    """Draw the scores on each task after each task and, unless every task has its own outputs, a confusion matrix.

    Args:
        strategy: after its test.
        data: its stream.

    Returns:
        Figures by name.
    """
    names = [f"task {task + 1}" for task in range(data.num_tasks)]
    scenario = f"{data.scenario}-incremental"
    matrix, metric = strategy.accuracy_matrix.cpu(), data.problem.monitor
    word = readable(metric)
    word = word[:1].upper() + word[1:]
    figures = {"accuracy_matrix": accuracy_matrix_figure(matrix, names, f"{word}, {scenario}", metric)}
    if not strategy.jointly:
        figures["task_accuracies"] = task_accuracy_curves(matrix, names, f"{word} over the stream, {scenario}", metric)
    if data.scenario == "class":
        title, within = f"{word} among each task's own classes", strategy.within_task_matrix.cpu()
        figures["within_task_accuracy_matrix"] = accuracy_matrix_figure(within, names, title, metric)
    if data.scenario != "task" and data.problem.numbers_outputs:
        confusion = sum(confusion_of(strategy, data.scored_name(task)) for task in range(data.num_tasks))
        title = f"all tasks, {scenario}"
        figures["confusion_all_tasks"] = confusion_matrix(confusion, data.class_names, title)
    return figures
