"""Measures what validators ask for in a validation, on features of both domains."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.operations import move
from tl_lab.randomness import generator
from tl_lab.watching.validators.base import Evidence, Validator

if TYPE_CHECKING:
    from tl_lab.strategies.base import Strategy
    from tl_lab.training.measuring import Measuring as Measured

__all__ = ["Measuring", "gather"]


class Measuring:
    """Computes the scores of validators that measure, as one of a strategy's scorers.

    The networks are left as a validation leaves them: a run with it trains to the same bits.

    Args:
        validators: all that measure.
    """

    def __init__(self, validators: Sequence[Validator]) -> None:
        self.validators = list(validators)

    def __call__(self, strategy: "Measured", data: DataModule) -> Mapping[str, float]:
        """Give the scores under the names of their metrics."""
        evidence = gather(cast("Strategy", strategy), data, max(validator.samples for validator in self.validators))
        return {validator.metric: validator.score(evidence) for validator in self.validators}


@torch.no_grad()
def gather(strategy: "Strategy", data: DataModule, samples: int) -> Evidence:
    """Run the network over both domains, in evaluation mode, with each domain's statistics and encoder.

    Every process computes all of it, so that none waits for another.

    Args:
        strategy: on its device, in evaluation mode.
        data: a domain pair.
        samples: to draw from each training part, the same in each epoch; all of a smaller set.

    Returns:
        The evidence, on the CPU.
    """
    strategy.return_to("source")
    source_train, _ = _features(strategy, data, "source/train", _draw(data, "source/train", samples))
    source_val, y = _features(strategy, data, "source/val")
    logits = _logits(strategy, source_val)
    strategy.return_to("target")  # last, as in every validation: a checkpoint holds what was prepared last
    target_train, _ = _features(strategy, data, "target/train", _draw(data, "target/train", samples))
    assert y is not None, "the source has labels"
    return Evidence(
        source_train.float().cpu(),
        source_val.float().cpu(),
        target_train.float().cpu(),
        losses=F.cross_entropy(logits, y, reduction="none").cpu(),
        wrong=logits.argmax(1).ne(y).double().cpu(),
    )


def _draw(data: DataModule, name: str, samples: int) -> Tensor:
    return torch.randperm(len(data.sets[name]), generator=generator(data.seed, "validators", name))[:samples]


def _features(
    strategy: "Strategy", data: DataModule, name: str, index: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Compute the head's input for a set or a part of it, in its order, and look up its labels, if it has any."""
    precision, cached = strategy.trainer.precision_plugin, data.has_features(name)
    compute = strategy.network.encoder()[1] if cached else strategy.network.features
    found, labels = [], []
    for batch in data.loader(name, shared=False, index=index):
        with precision.forward_context():
            found.append(compute(precision.convert_input(move(batch.x, strategy.device))).flatten(1))
        labels.append(getattr(batch, "y", None))
    known = [y.to(strategy.device) for y in labels if y is not None]
    return torch.cat(found), torch.cat(known) if known else None


def _logits(strategy: "Strategy", features: Tensor) -> Tensor:
    with strategy.trainer.precision_plugin.forward_context():
        return strategy.network.head(features).double()
