"""Reverse validation: a score of whole runs."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from tl_lab.data.samples import in_memory
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.splits import random_split
from tl_lab.errors import UserError
from tl_lab.options import Fraction
from tl_lab.watching.validators.base import Train, Validator

if TYPE_CHECKING:
    from tl_lab.strategies.base import Strategy

__all__ = ["ReverseValidation", "exchanged", "exchanged_weights", "pseudo_labels"]


class ReverseValidation(Validator):
    """Reverse training: a second network is trained on the target with predicted labels, and scored on the source.

    After training, the target's training part with the labels predicted by the run replaces the source, and the
    source's training part without labels replaces the target; the same configuration is trained on them. The score is
    the accuracy of the second network on the source's validation part, which serves as its target. It is high only if
    the classes transfer in both directions. The score compares runs (hyper-parameters), cannot select an epoch, and
    doubles the training time.

    Args:
        start: ``learned``, from the run's own network (for which Ganin et al. report better accuracies), or ``fresh``,
            from the initial weights of the run.
        held_out: share of the pseudo-labelled part that selects the second network's checkpoint, in (0, 1).

    Raises:
        UserError: an option is out of its range.

    References:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17 (2016), section 5.1.1; Zhong, Fan, Yang,
        Verscheure and Ren, Cross Validation Framework to Choose amongst Models and Datasets for Transfer Learning,
        ECML PKDD 2010.
    """

    problems = frozenset({"single_label"})
    metric = "val/reverse_acc"
    ranks_runs = True

    def __init__(self, start: Literal["learned", "fresh"] = "learned", held_out: Fraction = 0.1) -> None:
        if start not in ("learned", "fresh"):
            raise UserError(f"validator.reverse.start must be 'learned' or 'fresh', not {start!r}")
        if not 0 < held_out < 1:
            raise UserError(f"validator.reverse.held_out must be in (0, 1), not {held_out}")
        self.start, self.held_out = start, held_out

    def score_run(self, strategy: "Strategy", data: DomainPair, train: Train) -> float:
        """Train in reverse, and return the accuracy on the source's validation part."""
        back = exchanged(data, pseudo_labels(strategy, data), self.held_out)
        learned = exchanged_weights(strategy.network.state_dict()) if self.start == "learned" else None
        return train(back, learned)


@torch.no_grad()
def pseudo_labels(strategy: "Strategy", data: DomainPair) -> Tensor:
    """Predict the class of each sample of the target's training part, ``(N,)``, as in an evaluation."""
    strategy.eval()
    reader = strategy.reader(data)
    reader.prepare("target")
    return data.problem.predict(reader.read("target/train", "outputs", cached=False)).values.to(data.device)


def exchanged(data: DomainPair, labels: Tensor, held_out: float) -> DomainPair:
    """Return a pair whose source is the target with given labels, and whose target is the source.

    Args:
        data: loaded, with prepared inputs; it is not changed.
        labels: labels of its target's training part, ``(N,)``.
        held_out: share of that part that becomes ``source/val``; at least one sample.

    Returns:
        The pair; its ``target/test`` is the validation part of the source of ``data``, with labels.

    Raises:
        UserError: the target has fewer than two samples.
    """
    count = len(labels)
    if count < 2:
        raise UserError(f"validator=reverse splits the target's training part, which has only {count} sample")
    whole = replace(data.sets["target/train"], y=labels)
    train, val = random_split(count, min(count - 1, max(1, round(held_out * count))), data.seed, "reverse/val")
    held = whole.subset(val)
    if data._augments("target/train") and in_memory(held.x) and data.spec is not None and not data.spec.is_raw(held.x):
        # augmented training parts are normalised batch by batch
        held = replace(held, x=data.spec.normalise(held.x))
    sets = {
        "source/train": whole.subset(train),
        "source/val": held,
        "target/train": data.sets["source/train"].without_labels(),
        "target/test": data.sets["source/val"],
    }
    return data.serving(sets, request=replace(data.request, tracks_oracle=False))


def exchanged_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Exchange the domain-specific parts of a network: encoders and batch-norm statistics.

    Args:
        weights: state of a :class:`~tl_lab.model.network.Network`.

    Returns:
        The same tensors, for a network whose source is this one's target.
    """
    own_encoder = any(name.startswith("target_encoder.") for name in weights)
    names = {"source_running_": "target_running_", "target_running_": "source_running_"}

    def other(name: str) -> str:
        if own_encoder and name.startswith("target_encoder."):
            name = name.removeprefix("target_encoder.")
        elif own_encoder and name.startswith(("backbone.", "bottleneck.")):
            name = f"target_encoder.{name}"
        return re.sub("source_running_|target_running_", lambda found: names[found[0]], name)

    return {other(name): tensor for name, tensor in weights.items()}
