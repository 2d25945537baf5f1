"""Methods that combine the losses of several tasks: one class per method, found by its name."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from tl_lab.functional import cagrad, dynamic_weights, gradnorm_gradient, pcgrad, uncertainty_objective
from tl_lab.randomness import generator

__all__ = ["WEIGHTINGS", "Options", "Weighting"]


class Options(NamedTuple):
    """Options of all weightings.

    Attributes:
        numbers: whether each task predicts numbers, ``(T,)``, bool.
        seed: of the run.
        dwa_temperature: see :func:`~tl_lab.functional.dynamic_weights`.
        gradnorm_alpha: see :func:`~tl_lab.functional.gradnorm_gradient`.
        cagrad_c: see :func:`~tl_lab.functional.cagrad`.
    """

    numbers: Tensor
    seed: int
    dwa_temperature: float
    gradnorm_alpha: float
    cagrad_c: float


class Weighting(nn.Module):
    """Equal weights of tasks: the objective is the sum of their losses.

    Args:
        options: of all weightings.
    """

    needs_gradients: ClassVar[bool] = False
    """Whether each update computes separate gradients of the tasks with respect to the shared parameters."""
    default_lr: ClassVar[float | None] = None
    """Learning rate of the weighting's own parameters; None for the head's."""

    weights: Tensor

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.register_buffer("weights", torch.ones(len(options.numbers)))

    def objective(self, losses: Tensor, counts: Tensor) -> Tensor:
        """Return the objective.

        Args:
            losses: mean loss of each task in the batch, ``(T,)``, 0 for a task without labels in it.
            counts: samples of the batch with labels of each task, ``(T,)``.
        """
        return (self.weights * losses).sum()

    def coefficients(self, gram: Tensor, losses: Tensor, present: Tensor, update: int) -> Tensor | None:
        """Return the factor of each task's gradient with respect to the shared parameters, which replaces its weight.

        Args:
            gram: inner products of the gradients of the unweighted losses, ``(T, T)``, double precision.
            losses: as for :meth:`objective`, on the CPU.
            present: whether each task has labels in the batch, ``(T,)``.
            update: number of the update.

        Returns:
            Factors, ``(T,)``; None for the weights of the objective.
        """
        return None

    def after_update(self) -> None:
        """Run after the optimizer's step."""

    def end_epoch(self, losses: Tensor) -> None:
        """Receive the mean loss of each task over an epoch, ``(T,)``, NaN for a task without samples."""

    def current_weights(self) -> Tensor:
        """Return the weights for the log, ``(T,)``."""
        return self.weights


class Samples(Weighting):
    """Equal weights of labels: tasks are weighted by their shares in the batch, which ``data.sampling`` determines."""

    def objective(self, losses: Tensor, counts: Tensor) -> Tensor:
        """Return the mean over all labels of the batch."""
        return (losses * counts).sum() / counts.sum().clamp(min=1)


class Uncertainty(Weighting):
    """Weights from the learned noise of each task (:func:`~tl_lab.functional.uncertainty_objective`)."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.log_variances = nn.Parameter(torch.zeros(len(options.numbers)))

    def objective(self, losses: Tensor, counts: Tensor) -> Tensor:
        """Weight the tasks that have labels in the batch."""
        here = counts > 0
        return uncertainty_objective(losses[here], self.log_variances[here], self.options.numbers.to(here.device)[here])

    def current_weights(self) -> Tensor:
        """Return the factor of each loss."""
        half = torch.where(self.options.numbers, 0.5, 1.0).to(self.log_variances)
        return half * torch.exp(-self.log_variances.detach())


class Dwa(Weighting):
    """Weights from the decrease of the losses over the last two epochs (:func:`~tl_lab.functional.dynamic_weights`)."""

    history: Tensor

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.register_buffer("history", torch.full((2, len(options.numbers)), torch.nan))

    def end_epoch(self, losses: Tensor) -> None:
        """Receive an epoch's losses; weights differ from the third epoch on."""
        last = torch.where(losses.isnan(), self.history[1].to(losses), losses)
        self.history = torch.stack([self.history[1], last.to(self.history)])
        if bool(self.history.isfinite().all()):
            self.weights = dynamic_weights(self.history[1], self.history[0], self.options.dwa_temperature)


class GradNorm(Weighting):
    """Learned weights, with which gradients are of comparable size and tasks are learned at similar rates.

    See :func:`~tl_lab.functional.gradnorm_gradient`. The norms are over all trained shared parameters; the paper uses
    only the last shared layer.
    """

    needs_gradients = True
    default_lr = 0.025
    first: Tensor

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.register_buffer("first", torch.full((len(options.numbers),), torch.nan))
        self.learned = nn.Parameter(torch.ones(len(options.numbers)))

    def objective(self, losses: Tensor, counts: Tensor) -> Tensor:
        """Weight the losses by the current weights."""
        return (self.learned.detach() * losses).sum()

    def coefficients(self, gram: Tensor, losses: Tensor, present: Tensor, update: int) -> Tensor | None:
        """Set the gradients of the weights for the optimizer, for the tasks in the batch."""
        unknown = self.first.cpu().isnan() & present
        self.first = torch.where(unknown, losses.float(), self.first.cpu()).to(self.first.device)
        here = present.nonzero()[:, 0]
        gradient = torch.zeros(len(losses), dtype=torch.float64)
        if len(here) > 1:
            norms = gram.diagonal()[here].sqrt()
            known = self.first.cpu().double()[here], self.learned.detach().cpu().double()[here]
            gradient[here] = gradnorm_gradient(
                known[1], norms, losses.double()[here], known[0], self.options.gradnorm_alpha
            )
        self.learned.grad = gradient.to(self.learned)
        return None

    @torch.no_grad()
    def after_update(self) -> None:
        """Keep the weights positive and their sum equal to the number of tasks."""
        self.learned.clamp_(min=1e-3)
        self.learned.mul_(len(self.learned) / self.learned.sum())

    def current_weights(self) -> Tensor:
        """Return the learned weights."""
        return self.learned.detach()


class PCGrad(Weighting):
    """Shared parameters are updated without conflicting components (:func:`~tl_lab.functional.pcgrad`)."""

    needs_gradients = True

    def coefficients(self, gram: Tensor, losses: Tensor, present: Tensor, update: int) -> Tensor | None:
        """Draw the orders in which gradients are compared, anew in each update."""
        draw = generator(self.options.seed, "pcgrad", update)
        orders = [torch.randperm(len(gram), generator=draw).tolist() for _ in range(len(gram))]
        return pcgrad(gram, orders)


class CAGrad(Weighting):
    """Shared parameters are updated in the best direction for the worst task (:func:`~tl_lab.functional.cagrad`)."""

    needs_gradients = True

    def coefficients(self, gram: Tensor, losses: Tensor, present: Tensor, update: int) -> Tensor | None:
        """Compute the coefficients of the tasks in the batch."""
        here = present.nonzero()[:, 0]
        found = torch.ones(len(gram), dtype=gram.dtype)
        found[here] = cagrad(gram[here][:, here], self.options.cagrad_c)
        return found


WEIGHTINGS: dict[str, type[Weighting]] = {
    "uniform": Weighting,
    "samples": Samples,
    "uncertainty": Uncertainty,
    "dwa": Dwa,
    "gradnorm": GradNorm,
    "pcgrad": PCGrad,
    "cagrad": CAGrad,
}
"""The weightings by name."""
