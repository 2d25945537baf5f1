"""Features and classes of data that represent a backbone's pretraining task."""

from torch import Tensor

from tl_lab.assess.asking import read
from tl_lab.assess.material import Material, Subject
from tl_lab.data.base import DataModule
from tl_lab.data.request import Request
from tl_lab.model.network import Network
from tl_lab.problems import SingleLabel
from tl_lab.training.feature_reader import FeatureReader

__all__ = ["features_of"]


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
    other: DataModule = read([f"data={data}", "assess=similarity"]).plans[0].data.build()
    other.load(Request())
    name = other.primary
    other.sets = {name: material._draw(f"pretraining/{name}", other.sets[name])}
    other.use(subject.backbone.spec)
    network = Network(subject.backbone, 1, seed=material.plan.seed)
    y = other.sets[name].y if isinstance(other.problem, SingleLabel) else None
    return FeatureReader(network, other).read(name, "backbone", cached=False).cpu().float(), y
