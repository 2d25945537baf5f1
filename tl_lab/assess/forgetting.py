"""What tuning forgets: of the task that a network has learned before, and of its pretraining task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tl_lab.assess.material import Material, Subject
from tl_lab.assess.pictures import bars
from tl_lab.assess.pretraining import task_on
from tl_lab.assess.results import Measure, NotApplicable, PartResult, mean_with_interval
from tl_lab.assess.tuning import Task, accuracy, fresh, halves, task_of, tune, whole
from tl_lab.data.base import DataModule
from tl_lab.data.request import Request
from tl_lab.results.report.blocks import Cell, Table
from tl_lab.texts import counted

__all__ = ["assess", "source_and_target"]

TITLE = "Forgetting"
_PAIR_NOTE = (
    "The labels of the target's training set were used for this measurement only. Both domains have the same classes, "
    "so the head of the target is also scored on the source: this is the network after tuning."
)


@dataclass(frozen=True)
class _Tasks:
    """What is learned, and in which order.

    Args:
        first: task whose forgetting is measured; None where the pretraining task alone is.
        second: task that the network is tuned on.
        first_name, second_name: for readers.
        pretraining: represents the pretraining task; None if there is none.
    """

    first: Task | None
    second: Task
    first_name: str
    second_name: str
    pretraining: Task | None


def assess(material: Material) -> PartResult | NotApplicable:
    """Score a task before and after tuning on another one: by the old head, and by a new one.

    The tasks are a pair's source and its labelled target, or the two halves of the classes. With
    ``assess.pretraining``, heads are also fitted to the features of these data before and after.

    Args:
        material: of the assessment.
    """
    if not material.classifies:
        return NotApplicable(TITLE, "Forgetting is measured by classes, and these data have none.")
    subject, options = material.subjects[0], material.options
    count = len(material.class_names)
    if not material.paired and count < 4 and options.pretraining is None:
        return NotApplicable(
            TITLE,
            f"One set of {count} classes makes one task, so that there is no earlier task to forget; give data of two "
            "domains, or the pretraining task by `assess.pretraining=<data>`.",
        )
    tasks = _tasks(material, subject)
    scores = _scores(material, subject, tasks)
    shown = {name: mean_with_interval(values) for name, values in scores.items()}
    measures = shown | _lost(scores)
    rows: list[list[str | Cell]] = [[name, one.text(percent=True)] for name, one in measures.items()]
    figures = {
        "Accuracy before and after tuning, with 95 % intervals over seeds": bars(shown, "accuracy", percent=True)
    }
    table = Table(["quantity", "value (95 %)"], rows, 1, f"Over {counted(options.seeds, 'seed')}")
    sentence = _sentence(subject.name, tasks, options.pretraining, measures)
    notes = _notes(material, subject, tasks)
    return PartResult(TITLE, sentence, "moderate" if options.seeds > 2 else "low", measures, [table], figures, notes)


def source_and_target(material: Material, subject: Subject) -> tuple[Task, Task]:
    """Give the tasks of a pair's source and target, by training labels that nothing else in an assessment sees.

    Args:
        material: of the assessment of a pair.
        subject: whose inputs they become.

    Raises:
        UserError: the target's training set has no labels.
        ValueError: the target has no labelled test set.
    """
    source = material.test or material.validation
    if material.deployment is None:
        raise ValueError("forgetting of the source is measured by tuning on the target, which has no labelled test set")
    data: DataModule = material.plan.data.build()
    data.load(Request(reveals_target=True))
    names = (material.train, source, "target/train", material.deployment)
    data = data.serving({name: material.draw(name, data.sets[name]) for name in names}, subject.backbone.spec)
    classes = range(len(material.class_names))
    return task_of(data, *names[:2], classes), task_of(data, *names[2:], classes)


def _tasks(material: Material, subject: Subject) -> _Tasks:
    given = material.options.pretraining
    pretraining = None if given is None else task_on(material, subject, given)
    if material.paired:
        return _Tasks(*source_and_target(material, subject), "the source", "the labelled target", pretraining)
    if len(material.class_names) < 4:
        return _Tasks(None, whole(material, subject), "", "these data", pretraining)
    names = "the first half of the classes", "the second half"
    return _Tasks(*halves(material, subject), *names, pretraining)


def _scores(material: Material, subject: Subject, tasks: _Tasks) -> dict[str, list[float]]:
    """Measure accuracies before and after tuning, one a seed."""
    groups, epochs = len(subject.backbone.layer_groups()), material.options.epochs
    found: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for seed in range(material.options.seeds):
        start = subject.backbone if subject.learned else fresh(material, subject, seed)
        learned = None if tasks.first is None else tune(start, tasks.first, epochs=epochs, seed=seed)
        tuned = tune(start if learned is None else learned.backbone, tasks.second, epochs=epochs, seed=seed)
        if tasks.first is not None and learned is not None:
            add("before", learned.accuracy)
            add("after, old head", accuracy(tuned.backbone, learned.head, tasks.first))
            again = tune(tuned.backbone, tasks.first, frozen=groups, epochs=epochs, seed=seed)
            add("after, new head", again.accuracy)
            if material.paired:
                add("after, head of the target", accuracy(tuned.backbone, tuned.head, tasks.first))
        if tasks.pretraining is not None:
            for when, backbone in (("before", start), ("after", tuned.backbone)):
                head = tune(backbone, tasks.pretraining, frozen=groups, epochs=epochs, seed=seed)
                add(f"pretraining task, {when}", head.accuracy)
        add("second task", tuned.accuracy)
    return found


def _lost(scores: Mapping[str, Sequence[float]]) -> dict[str, Measure]:
    """Subtract what there is after tuning from what there was before, seed by seed."""
    pairs = {name.removeprefix("after, "): ("before", name) for name in scores if name.startswith("after, ")}
    if "pretraining task, after" in scores:
        pairs["pretraining task"] = ("pretraining task, before", "pretraining task, after")
    return {
        f"forgotten, {what}": mean_with_interval(np.subtract(scores[before], scores[after]).tolist())
        for what, (before, after) in pairs.items()
    }


def _sentence(name: str, tasks: _Tasks, pretraining: str | None, measures: Mapping[str, Measure]) -> str:
    points = {key: one.times(100).text(0) for key, one in measures.items() if key.startswith("forgotten")}
    sentences = []
    if tasks.first is not None:
        sentences.append(
            f"Tuning {name} on {tasks.second_name} costs {points['forgotten, old head']} points on {tasks.first_name} "
            f"with its old head, and {points['forgotten, new head']} with a refitted head, which is the loss in the "
            "features themselves."
        )
        if (own := points.get("forgotten, head of the target")) is not None:
            sentences.append(f"The network after tuning, with the head of the target, has lost {own} points.")
    if tasks.pretraining is not None:
        before, after = (measures[f"pretraining task, {when}"] for when in ("before", "after"))
        sentences.append(
            f"A head on the features of {name} scores {before.text(percent=True)} on {pretraining}, the pretraining "
            f"task, before tuning on {tasks.second_name} and {after.text(percent=True)} after it."
        )
    return " ".join(sentences)


def _notes(material: Material, subject: Subject, tasks: _Tasks) -> list[str]:
    notes = [_PAIR_NOTE] if material.paired else []
    if tasks.pretraining is not None and not subject.learned:
        notes.append(f"> {subject.name} has random weights, so that it has no pretraining task to forget.")
    return notes
