"""Data that represent a backbone's pretraining task: its features of them, and the task itself."""

from torch import Tensor

from tl_lab.assess.asking import read
from tl_lab.assess.material import Material, Subject
from tl_lab.assess.tuning import Task, task_of
from tl_lab.data.base import DataModule
from tl_lab.data.request import Request
from tl_lab.model.network import Network
from tl_lab.training.feature_reader import FeatureReader

__all__ = ["features_of", "task_on"]

_SCORED = ("source/test", "test", "source/val", "val")  # the first of these that the data have


def features_of(material: Material, subject: Subject, data: str) -> tuple[Tensor, Tensor | None]:
    """Read a backbone's features of the training set of other data, as many samples as of the assessment's own.

    Args:
        material: of the assessment.
        subject: whose features are read.
        data: a choice of the group ``data``, with its options as they are.

    Returns:
        Features ``(N, D)``, and classes ``(N,)``; None where the data have none.

    Raises:
        UserError: the data cannot be read, or do not fit the backbone.
    """
    other = _loaded(data)
    other = _prepared(material, subject, other, other.primary)
    network = Network(subject.backbone, 1, seed=material.plan.seed)
    y = other.sets[other.primary].y if other.problem.numbers_outputs else None
    return FeatureReader(network, other).read(other.primary, "backbone", cached=False).cpu().float(), y


def task_on(material: Material, subject: Subject, data: str) -> Task:
    """Give all classes of other data, as many samples of each set as of the assessment's own.

    Args:
        material: of the assessment.
        subject: whose inputs they become.
        data: a choice of the group ``data``, with its options as they are.

    Raises:
        UserError: the data cannot be read, or do not fit the backbone.
        ValueError: the data have no classes.
    """
    other = _loaded(data)
    if not other.problem.numbers_outputs:
        raise ValueError(f"assess.pretraining={data} has no classes, by which its accuracy could be measured")
    test = next(name for name in _SCORED if name in other.sets)
    other = _prepared(material, subject, other, other.primary, test)
    return task_of(other, other.primary, test, range(len(other.class_names)))


def _loaded(data: str) -> DataModule:
    other: DataModule = read([f"data={data}", "assess=similarity"]).plans[0].data.build()
    other.load(Request())
    return other


def _prepared(material: Material, subject: Subject, other: DataModule, *names: str) -> DataModule:
    sets = {name: material.draw(f"pretraining/{name}", other.sets[name]) for name in names}
    return other.serving(sets, subject.backbone.spec)
