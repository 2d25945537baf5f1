"""Synaptic intelligence."""

from typing import Any

import torch
from torch import Tensor, nn

from tl_lab.errors import UserError
from tl_lab.functional import add_path_contributions, path_importance
from tl_lab.functional.layer_gradients import wide
from tl_lab.options import NonNegative, Positive
from tl_lab.problems import ALL
from tl_lab.strategies.continual.quadratic import QuadraticStrategy

__all__ = ["SI"]


class SI(QuadraticStrategy):
    """Penalise changes of weights in proportion to their contribution to the decrease of the tasks' losses.

    L(theta) = L_task(theta) + c sum_i Omega_i (theta_i - theta*_i)^2
    Omega_i = sum over tasks of omega_i / (Delta_i^2 + xi),    omega_i = - sum over updates of g_i dtheta_i

    with g the gradient of the objective without the penalty, dtheta the change made by the optimizer, and Delta the
    change over the task.

    Args:
        si_c: c, >= 0.
        damping: xi, > 0.
        clamp: set a negative Omega to 0, as the authors' code does; equation 5 does not.
        options: keyword arguments of :class:`~tl_lab.strategies.continual.base.ContinualStrategy`.

    References:
        Zenke, Poole and Ganguli, Continual Learning Through Synaptic Intelligence, ICML 2017, equations 3 to 5.
    """

    problems = ALL
    term = "si"
    useful = "values in the literature range from 0.1 to 5e4, depending on the scenario"

    def __init__(
        self, *, si_c: NonNegative = 0.1, damping: Positive = 0.1, clamp: bool = False, **options: Any
    ) -> None:
        super().__init__(strength=2 * si_c, **options)  # the penalty has no factor 1/2
        if not damping > 0:
            raise UserError(f"strategy.damping must be above 0, not {damping}")
        self.damping, self.clamp = float(damping), clamp
        parameters = self.protected(self.outputs.num_tasks - 1)
        # buffers, so that a stream interrupted within a task continues its path integral
        self.path = nn.Module()
        self.start = nn.Module()
        for name, parameter in parameters.items():
            path = torch.zeros_like(parameter, requires_grad=False, dtype=wide(parameter.dtype))
            self.path.register_buffer(name.replace(".", "/"), path)
            self.start.register_buffer(name.replace(".", "/"), parameter.detach().clone())
        self._moving: dict[str, nn.Parameter] = {}
        self._gradients: list[Tensor | None] = []
        self._before: list[Tensor] = []

    @property
    def strength_option(self) -> str:
        """Name of the option that sets the strength."""
        return "si_c"

    @property
    def strength_given(self) -> float:
        """The strength as given by the option."""
        return self.strength / 2

    def _kept(self, module: nn.Module, names: Any) -> list[Tensor]:
        return [module._buffers[name.replace(".", "/")] for name in names]  # type: ignore[misc]

    @torch.no_grad()
    def start_task(self, task: int) -> None:
        """Start a new path integral."""
        super().start_task(task)
        weights = self.protected(task)
        for path, start, weight in zip(
            self._kept(self.path, weights), self._kept(self.start, weights), weights.values(), strict=True
        ):
            path.zero_()
            start.copy_(weight)

    def on_train_epoch_start(self) -> None:
        """Find the parameters whose paths are integrated."""
        super().on_train_epoch_start()
        self._moving = self.protected(self.task)

    @torch.no_grad()
    def on_gradients(self) -> None:
        """Record the gradient of the objective without the penalty, and the weights before the step."""
        self._before = [weight.detach().clone() for weight in self._moving.values()]
        self._gradients = []
        for name, weight in self._moving.items():
            gradient = weight.grad
            if gradient is not None and name in self._tied and self.strength:
                gradient = gradient - self.strength * self.penalty.gradient(name, weight)
            self._gradients.append(None if gradient is None else gradient.clone())

    @torch.no_grad()
    def on_update(self) -> None:
        """Add the step to the path integral."""
        changes = torch._foreach_sub([weight.detach() for weight in self._moving.values()], self._before)
        add_path_contributions(self._kept(self.path, self._moving), self._gradients, changes)

    def end_task(self, task: int) -> None:
        """Add the task's importance, and move the centre."""
        self.warn_if_negligible(task)
        now = self.learned_weights(task)
        displacement = torch._foreach_sub(list(now.values()), self._kept(self.start, now))
        earlier = [self.penalty.precision(name) for name in now]
        importance = path_importance(self._kept(self.path, now), displacement, self.damping, earlier, self.clamp)
        self.penalty.replace(dict(zip(now, importance, strict=True)), now)
        self.write({"train/si_importance": sum(float(values.sum()) for values in importance)})
