"""Computation of validators' scores during validation, from features of both domains."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.randomness import generator
from tl_lab.watching.validators.base import Evidence, Validator

if TYPE_CHECKING:
    from tl_lab.strategies.base import Strategy
    from tl_lab.training.measuring import Measuring as Measured

__all__ = ["Measuring", "gather"]


class Measuring:
    """Computes the scores of measuring validators, as one of a strategy's scorers.

    The network's state is restored afterwards, so the result of training does not change by a single bit.

    Args:
        validators: all validators that measure.
    """

    def __init__(self, validators: Sequence[Validator]) -> None:
        self.validators = list(validators)

    def __call__(self, strategy: "Measured", data: DataModule) -> Mapping[str, float]:
        """Return the scores under the names of their metrics."""
        evidence = gather(cast("Strategy", strategy), data, max(validator.samples for validator in self.validators))
        return {validator.metric: validator.score(evidence) for validator in self.validators}


@torch.no_grad()
def gather(strategy: "Strategy", data: DataModule, samples: int) -> Evidence:
    """Run the network over both domains, in evaluation mode, with each domain's statistics and encoder.

    Every process computes all of it, so that none waits for another.

    Args:
        strategy: on its device, in evaluation mode.
        data: a domain pair.
        samples: number to draw from each training part, the same in each epoch; all of a smaller set.

    Returns:
        The evidence, on the CPU.
    """
    reader, y = strategy.reader(data), data.sets["source/val"].y
    assert y is not None, "the source has labels"
    reader.prepare("source")
    source_train = reader.read("source/train", index=_draw(data, "source/train", samples))
    source_val = reader.read("source/val")
    logits, y = reader.classify(source_val).double(), y.to(strategy.device)
    reader.prepare("target")  # last, as in every validation, because checkpoints contain the latest preparation
    target_train = reader.read("target/train", index=_draw(data, "target/train", samples))
    return Evidence(
        source_train.float().cpu(),
        source_val.float().cpu(),
        target_train.float().cpu(),
        losses=data.problem.losses(logits, y).cpu(),
        wrong=data.problem.wrong(logits, y),
    )


def _draw(data: DataModule, name: str, samples: int) -> Tensor:
    return torch.randperm(len(data.sets[name]), generator=generator(data.seed, "validators", name))[:samples]
