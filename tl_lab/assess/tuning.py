"""Small trainings with equal budgets, for the parts of an assessment that train.

Why not the strategies: one part makes some sixty trainings of seconds each, on halves of the classes, from networks
whose lower layers come from other trainings. Each run has a separate folder, configuration and trainer, which cost
more than the training. The updates are those of ``strategy=from_scratch`` with Adam; a test trains both ways and
compares the weights.
"""

import copy
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.assess.material import Material, Subject
from tl_lab.backbones.base import Backbone
from tl_lab.data.base import DataModule
from tl_lab.data.inputs.operations import Inputs, numel, take
from tl_lab.model.network import weights_stream
from tl_lab.randomness import generator, separate_stream
from tl_lab.run.build import build_backbone

__all__ = [
    "WAYS",
    "Task",
    "Trained",
    "Tuned",
    "accuracy",
    "copied",
    "fresh",
    "halves",
    "task_of",
    "too_few_classes",
    "trained",
    "tune",
    "whole",
]

WAYS = ("from scratch", "frozen", "upper layers", "fine-tuned")
"""What :func:`trained` compares; "upper layers" freezes the lower half of the layer groups, rounded down."""
_BATCH = 32
_RATE = 1e-3
_FEWEST = 100  # updates
_NEARLY = 0.9  # of the labels that there are: all of them are taken
_AT_ONCE = 5 * 10**7  # numbers in the inputs of a task that are fetched once


@dataclass(frozen=True)
class Task:
    """Labelled samples to train on and to score on.

    Args:
        data: prepared for a backbone.
        train, test: names of the sets.
        train_index, test_index: positions in them, ``(N,)``, ``(M,)``.
        y_train, y_test: classes from 0 on.
        classes: C.
    """

    data: DataModule
    train: str
    test: str
    train_index: Tensor
    test_index: Tensor
    y_train: Tensor
    y_test: Tensor
    classes: int

    def few(self, labels: int, seed: int) -> "Task":
        """Keep some training labels, drawn; each class keeps one at least."""
        order = torch.randperm(len(self.y_train), generator=generator(seed, "few labels", labels))
        drawn = self.y_train[order].tolist()
        first = [drawn.index(c) for c in dict.fromkeys(drawn)]
        kept = order[torch.tensor(list(dict.fromkeys([*first, *range(len(order))]))[: max(labels, len(first))])]
        return replace(self, train_index=self.train_index[kept], y_train=self.y_train[kept])


@dataclass(frozen=True)
class Tuned:
    """A network after training.

    Args:
        backbone, head: its parts.
        accuracy: on the task's test samples.
        seconds: of processor time that the training took.
    """

    backbone: Backbone
    head: nn.Linear
    accuracy: float
    seconds: float = 0.0


@dataclass(frozen=True)
class Trained:
    """Trainings from scratch and from what was learned.

    Args:
        by_labels: for a number of labels, for each way of :data:`WAYS`, what came of each seed.
        most: labels that there are.
    """

    by_labels: dict[int, dict[str, list[Tuned]]]
    most: int


def trained(material: Material, budgets: Sequence[int] | None) -> Trained:
    """Train in each way with equal labels and updates, over the seeds.

    A backbone with pretrained weights is trained on all classes; one without is first trained on half of
    the classes, and carried over to the others.

    Args:
        material: of the assessment.
        budgets: numbers of labels; None for all.

    Raises:
        ValueError: there is no labelled test set, or there are too few classes.
    """
    subject, options = material.subjects[0], material.options
    groups = len(subject.backbone.layer_groups())
    first, task = (None, whole(material, subject)) if subject.learned else halves(material, subject)
    most = len(task.y_train)
    labels = sorted({n if n < _NEARLY * most else most for n in budgets or [most]})
    found: dict[int, dict[str, list[Tuned]]] = {n: {way: [] for way in WAYS} for n in labels}
    for seed in range(options.seeds):
        learn = functools.partial(tune, epochs=options.epochs, seed=seed)
        start = subject.backbone if first is None else learn(fresh(material, subject, seed), first).backbone
        random = fresh(material, subject, seed + 1000)
        for n in labels:
            few = task.few(n, seed)
            found[n]["from scratch"].append(learn(random, few))
            for way, frozen in (("frozen", groups), ("upper layers", groups // 2), ("fine-tuned", 0)):
                found[n][way].append(learn(start, few, frozen=frozen))
    return Trained(found, most)


def whole(material: Material, subject: Subject) -> Task:
    """Give all classes of the training domain: trained on the training set, scored on the test set.

    Raises:
        ValueError: there is no labelled test set.
    """
    return _task(material, subject, range(len(material.class_names)))


def too_few_classes(material: Material, subject: Subject) -> str | None:
    """Say why a backbone without learned weights has nothing to transfer: too few classes to learn half of them."""
    count = len(material.class_names)
    if count >= 4:
        return None
    return (
        f"{subject.name} has no learned weights: it would be trained on half of the classes and tuned on the others, "
        f"which requires four classes, and the data have {count} (give weights, or init_from=<a run>)"
    )


def halves(material: Material, subject: Subject) -> tuple[Task, Task]:
    """Give two tasks: the first half of the classes, and the others.

    Raises:
        ValueError: there are fewer than four classes, or no labelled test set.
    """
    if (reason := too_few_classes(material, subject)) is not None:
        raise ValueError(reason)
    count = len(material.class_names)
    return _task(material, subject, range(count // 2)), _task(material, subject, range(count // 2, count))


def _task(material: Material, subject: Subject, classes: Sequence[int]) -> Task:
    test = material.test or material.validation
    data = material.prepared(subject, list(dict.fromkeys([material.train, test])))
    material.labels(test)  # says what is missing
    return task_of(data, material.train, test, classes)


def task_of(data: DataModule, train: str, test: str, classes: Sequence[int]) -> Task:
    """Give the task of some classes of prepared data, numbered from 0 on.

    Args:
        data: prepared for a backbone.
        train, test: names of labelled sets.
        classes: in ascending order.

    Raises:
        ValueError: one of the sets has no sample of these classes.
    """
    chosen = torch.tensor(list(classes))
    indices, labels = [], []
    for name in (train, test):
        y = data.sets[name].y
        assert y is not None
        indices.append(torch.isin(y, chosen).nonzero()[:, 0])
        labels.append(torch.searchsorted(chosen, y[indices[-1]]))
    if not len(indices[0]) or not len(indices[1]):
        raise ValueError("a task has no samples to train on, or none to score on")
    return Task(data, train, test, indices[0], indices[1], labels[0], labels[1], len(classes))


def fresh(material: Material, subject: Subject, seed: int) -> Backbone:
    """Build the backbone with random weights."""
    learned = (("pretrained", False), ("weights", None))
    options = {name: value for name, value in learned if name in subject.plan.backbone.node}
    recipe = subject.plan.backbone.with_options(**options)
    return build_backbone(recipe, seed, material.data.shape, material.data.for_backbone)


def copied(source: Backbone, target: Backbone, groups: int) -> Backbone:
    """Copy the first layer groups of one backbone into another, which is changed and given back."""
    pairs = list(zip(source.layer_groups(), target.layer_groups(), strict=True))[:groups]
    for (_, theirs), (_, ours) in pairs:
        for one, other in zip(theirs, ours, strict=True):
            other.load_state_dict(one.state_dict())
    return target


def tune(
    backbone: Backbone, task: Task, *, frozen: int = 0, epochs: int = 20, seed: int = 0, rate: float = _RATE
) -> Tuned:
    """Train a copy of a backbone with a new linear head, by Adam on the cross-entropy.

    A backbone that is frozen altogether is read once, for its features do not change.

    Args:
        backbone: that training starts from; it is left as it is.
        task: the task to train on.
        frozen: layer groups from the bottom that are not trained.
        epochs: passes over the training samples, of batches of 32; at least 100 updates are made.
        seed: of the head and the order.
        rate: learning rate.
    """
    began, net = time.process_time(), copy.deepcopy(backbone)
    with weights_stream(seed, "head"):
        head = nn.Linear(net.num_features, task.classes)
    net.train()
    for _, modules in net.layer_groups()[:frozen]:
        for module in modules:
            module.eval().requires_grad_(False)
    learned = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam([*learned, *head.parameters()], lr=rate)
    draw, count = generator(seed, "order"), len(task.y_train)
    rounds = max(epochs, -(-_FEWEST * min(_BATCH, count) // count))
    give = _reader(task)
    body: nn.Module = net
    if not learned:
        with torch.no_grad():
            features = torch.cat([net(give(part)) for part in torch.arange(count).split(_BATCH)])
        give, body = (lambda part: features[part]), nn.Identity()
    with separate_stream(seed):  # of dropout
        for _ in range(rounds):
            for part in torch.randperm(count, generator=draw).split(_BATCH):
                if len(part) < 2:
                    continue  # batch-norm has no variance of one
                loss = F.cross_entropy(head(body(give(part))), task.y_train[part])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    seconds = time.process_time() - began
    return Tuned(net.eval(), head, accuracy(net, head, task), seconds)


def _reader(task: Task) -> Callable[[Tensor], Inputs]:
    """Give what fetches the inputs at positions within a task: from memory where all of them are small."""
    first = task.data.inputs_at(task.train, task.train_index[:1])
    if numel(first) * len(task.train_index) > _AT_ONCE:
        return lambda part: task.data.inputs_at(task.train, task.train_index[part])
    kept = task.data.inputs_at(task.train, task.train_index)
    return lambda part: take(kept, part)


@torch.no_grad()
def accuracy(backbone: Backbone, head: nn.Module, task: Task) -> float:
    """Score a network on a task's test samples."""
    backbone.eval()
    right = 0
    for part in torch.arange(len(task.y_test)).split(128):
        x = task.data.inputs_at(task.test, task.test_index[part])
        right += int((head(backbone(x)).argmax(1) == task.y_test[part]).sum())
    return right / len(task.y_test)
