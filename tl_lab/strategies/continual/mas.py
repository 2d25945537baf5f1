"""Memory aware synapses."""

from typing import Any

from tl_lab.errors import UserError
from tl_lab.functional import sensitivity_sums
from tl_lab.options import Count, NonNegative
from tl_lab.problems import ALL
from tl_lab.strategies.continual.quadratic import QuadraticStrategy

__all__ = ["MAS"]


class MAS(QuadraticStrategy):
    """Penalise changes of weights in proportion to the sensitivity of the squared norm of the outputs.

    L(theta) = L_task(theta) + lambda sum_i Omega_i (theta_i - theta*_i)^2
    Omega_i = sum over tasks of 1/N sum_n |d ||f(x_n)||^2 / d theta_i|

    over samples n of a task, without their labels; f are the logits.

    Args:
        mas_lambda: lambda, >= 0.
        samples: samples of each task for Omega; None for all.
        batch_size: samples per batch; it does not change the result.
        options: keyword arguments of :class:`~tl_lab.strategies.continual.base.ContinualStrategy`.

    References:
        Aljundi et al., Memory Aware Synapses: Learning What (not) to Forget, ECCV 2018, equations 2 and 4.
    """

    problems = ALL
    term = "mas"
    useful = "values in the literature range from 0.1 to 1e4, depending on the scenario"

    def __init__(
        self, *, mas_lambda: NonNegative = 1.0, samples: Count | None = 1000, batch_size: Count = 128, **options: Any
    ) -> None:
        super().__init__(strength=2 * mas_lambda, **options)  # the penalty has no factor 1/2
        if samples is not None and samples < 1:
            raise UserError(f"strategy.samples must be null (all) or at least 1, not {samples}")
        if batch_size < 1:
            raise UserError(f"strategy.batch_size must be at least 1, not {batch_size}")
        self.samples, self.size_at_once = samples, batch_size

    @property
    def strength_given(self) -> float:
        """The strength as given by the option."""
        return self.strength / 2

    def end_task(self, task: int) -> None:
        """Add the task's importance, and move the centre."""
        self.warn_if_negligible(task)
        found, _ = self.over_samples(
            task,
            self.samples,
            self.size_at_once,
            lambda model, batches, names: sensitivity_sums(model, batches, names=names),
        )
        self.penalty.replace(
            {name: self.penalty.precision(name) + values for name, values in found.items()}, self.learned_weights(task)
        )
        self.write({"train/mas_importance": sum(float(values.sum()) for values in found.values())})
