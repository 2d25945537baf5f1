"""Elastic weight consolidation."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict

from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.errors import UserError, nearest
from tl_lab.functional import FISHER_ESTIMATORS, fisher_sums
from tl_lab.options import Count, NonNegative
from tl_lab.problems import ALL
from tl_lab.randomness import generator
from tl_lab.strategies.continual.quadratic import QuadraticStrategy

__all__ = ["EWC"]

_FISHER = {"estimator": "exact", "samples": 1000, "batch_size": 128}


class FisherOptions(TypedDict, total=False):
    """Options of the estimate of the Fisher information."""

    estimator: Literal["exact", "sample", "empirical", "batched"]
    samples: Count | None
    batch_size: Count


class EWC(QuadraticStrategy):
    """Penalise changes of weights in proportion to their Fisher information on each earlier task.

    L(theta) = L_task(theta) + lambda/2 sum_k sum_i F_k,i (theta_i - theta*_k,i)^2

    over the earlier tasks k, where F_k is the diagonal of the Fisher information at theta*_k, the weights at which the
    next task starts. The sum over tasks is stored as one quadratic, so that time and memory do not grow with the number
    of tasks; its value equals the sum, including the constant.

    Args:
        ewc_lambda: lambda, >= 0.
        fisher: ``estimator`` (see :func:`~tl_lab.functional.fisher_sums`), ``samples`` of each task (None: all),
            ``batch_size``, which affects the result for ``batched`` only.
        options: keyword arguments of :class:`~tl_lab.strategies.continual.base.ContinualStrategy`.

    Raises:
        UserError: a negative lambda, an unknown estimator, no samples.

    References:
        Kirkpatrick et al., Overcoming Catastrophic Forgetting in Neural Networks, PNAS 114 (2017), equation 3.
    """

    problems = ALL
    term = "ewc"

    def __init__(
        self,
        *,
        ewc_lambda: NonNegative = 1000.0,
        fisher: Annotated[Mapping[str, Any], FisherOptions] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(strength=ewc_lambda, **options)
        self.fisher = {**_FISHER, **(fisher or {})}
        _check_fisher(self.fisher)
        self.traces: list[str] = []

    def fisher_of(self, task: int) -> dict[str, Tensor]:
        """Estimate the Fisher information of a task at the current weights, log its trace, and return it by name."""
        estimator, samples, size = (self.fisher[name] for name in _FISHER)
        draw = generator(self.seed, "fisher", task, self.trainer.global_rank)
        found, terms = self.over_samples(
            task,
            samples,
            size,
            lambda model, batches, names: fisher_sums(
                model, batches, estimator, names, draw, likelihood=self.problem.likelihood
            ),
        )
        trace = sum(float(values.sum()) for values in found.values())
        self.write({"train/fisher_trace": trace, "train/fisher_terms": terms})
        self.traces.append(f"{trace:.3g}")
        return found

    def end_task(self, task: int) -> None:
        """Add the task's quadratic penalty."""
        self.warn_if_negligible(task)
        self.penalty.add(self.fisher_of(task), self.learned_weights(task))

    def facts(self) -> dict[str, str]:
        """Report the estimator and the traces."""
        samples = "all" if self.fisher["samples"] is None else f"{self.fisher['samples']}"
        text = f"{self.fisher['estimator']}, {samples} samples of each task"
        if self.traces:
            text += f", traces {', '.join(self.traces)}"
        return {"Fisher information": text, **super().facts()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the traces."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["stream"]["traces"] = list(self.traces)

    def restore(self, checkpoint: dict[str, Any], data: DataModule) -> None:
        """Restore the traces."""
        super().restore(checkpoint, data)
        self.traces = list(checkpoint["stream"]["traces"])


def _check_fisher(fisher: Mapping[str, Any]) -> None:
    for name in fisher:
        if name not in _FISHER:
            raise UserError(f"strategy.fisher has no key {name!r}; {nearest(name, _FISHER)}")
    if fisher["estimator"] not in FISHER_ESTIMATORS:
        given = str(fisher["estimator"])
        raise UserError(f"strategy.fisher.estimator={given} is unknown; {nearest(given, FISHER_ESTIMATORS)}")
    if fisher["samples"] is not None and fisher["samples"] < 1:
        raise UserError(f"strategy.fisher.samples must be null (all) or at least 1, not {fisher['samples']}")
    if fisher["batch_size"] < 1:
        raise UserError(f"strategy.fisher.batch_size must be at least 1, not {fisher['batch_size']}")
