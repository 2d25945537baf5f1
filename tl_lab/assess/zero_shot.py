"""Answers without any training on the data: of the run given by ``init_from``, or of ``strategy=zero_shot``."""

from pathlib import Path

import torch
from torch import Tensor

from tl_lab.assess.answering import answerer_of
from tl_lab.assess.material import Material
from tl_lab.assess.results import Measure, wilson
from tl_lab.errors import UserError
from tl_lab.model.heads import GroupedHead
from tl_lab.run.build import build_strategy
from tl_lab.strategies.zero_shot import ZeroShot

__all__ = ["zero_shot"]

_BATCH = 32


def zero_shot(material: Material) -> Measure | str:
    """Score what a network answers without training, on the test set of the training domain.

    Args:
        material: of an assessment of data with classes.

    Returns:
        Its accuracy with Wilson's interval, or the reason why zero-shot is not applicable, a clause.
    """
    name, subject = material.test, material.subjects[0]
    if name is None:
        return "there is no labelled test set"
    if material.plan.init_from is not None:
        answerer = answerer_of(material)
        if answerer.run is None:
            return f"the run {Path(material.plan.init_from).name} has other classes than these data"
        return _share(answerer.logits(name).argmax(1), material.labels(name))
    if not subject.learned:
        return f"{subject.name} has random weights"
    try:
        strategy = _strategy(material)
    except UserError as error:
        return str(error)
    return strategy.reason or _scored(material, strategy, name)


def _strategy(material: Material) -> ZeroShot:
    """Build ``strategy=zero_shot`` with the first backbone, for the drawn samples."""
    from tl_lab.assess.asking import composed

    others = ("strategy", "domain_adaptation", "adapter", "experiment=")
    given = [text for text in material.plan.overrides if not text.lstrip("+~").startswith(others)]
    plan = composed([*given, "strategy=zero_shot", "domain_adaptation=none"])[1]
    strategy = build_strategy(plan, material.prepared(material.subjects[0], [material.train, str(material.test)]))
    assert isinstance(strategy, ZeroShot)
    strategy.eval()
    strategy.describe_classes()
    return strategy


@torch.no_grad()
def _scored(material: Material, strategy: ZeroShot, name: str) -> Measure:
    """Score the samples whose class the network can name."""
    y = material.labels(name)
    index = torch.arange(len(y))
    if isinstance(strategy.network.head, GroupedHead):
        known = torch.tensor([k for k, group in enumerate(strategy.mapped) if group])
        index = torch.isin(y, known).nonzero()[:, 0]
    data = material.prepared(material.subjects[0], [name])
    answers = [strategy(data.inputs_at(name, part)).argmax(1) for part in index.split(_BATCH) if len(part)]
    return _share(torch.cat([*answers, index[:0]]), y[index])


def _share(answers: Tensor, y: Tensor) -> Measure:
    return wilson(int((answers == y).sum()), len(y))
