"""Meta-learning: gradient descent on one task (the inner loop), and the gradient through it over several tasks."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, grad_and_value, vmap

__all__ = [
    "TASKS",
    "MetaGradient",
    "Weights",
    "adapt",
    "meta_gradient",
    "over_tasks",
    "reptile_gradient",
    "with_gradient",
]

TASKS = ("loop", "vmap")
"""How the tasks of a meta-batch are computed: one after the other, or all at once as one batched computation."""

Weights = Mapping[str, Tensor]


def adapt(
    loss: Callable[[Weights, int], Tensor],
    start: Weights,
    steps: int,
    rate: float,
    first_order: bool = False,
    tasks: str = "loop",
) -> dict[str, Tensor]:
    """Descend the gradient of a task's loss: theta_{k+1} = theta_k - alpha dL_k(theta_k)/dtheta_k.

    Args:
        loss: weights and number of the step, from 0 -> a scalar.
        start: the weights theta_0, by name.
        steps: number of steps, >= 0.
        rate: alpha.
        first_order: treat the gradients as constants, so that later derivatives with respect to theta_0 are those of
            theta_0 - constant.
        tasks: how the caller computes its tasks (``TASKS``): vmap needs ``torch.func.grad``; a loop uses autograd,
            which stores one graph less and is 3 % faster.

    Returns:
        The adapted weights, functions of ``start``.

    References:
        Finn, Abbeel and Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML 2017,
        section 2.2; its first-order variant in section 5.2.

    Examples:
        >>> adapted = adapt(lambda w, step: w["a"].square().sum(), {"a": torch.tensor([1.0])}, steps=2, rate=0.25)
        >>> adapted["a"].tolist()
        [0.25]
    """
    differentiate = _by_transform if tasks == "vmap" else _by_autograd
    weights = dict(start)
    for step in range(steps):
        gradient = differentiate(loss, weights, step, first_order)
        weights = {name: weight - rate * gradient[name] for name, weight in weights.items()}
    return weights


def _by_transform(loss: Callable[[Weights, int], Tensor], weights: Weights, step: int, constant: bool) -> Weights:
    if not constant:
        return grad(loss)(weights, step)
    with torch.no_grad():  # of what lies outside; grad differentiates with respect to its own argument
        return grad(loss)(weights, step)


def _by_autograd(loss: Callable[[Weights, int], Tensor], weights: Weights, step: int, constant: bool) -> Weights:
    if constant or not all(weight.requires_grad for weight in weights.values()):
        weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    with torch.enable_grad():
        value = loss(weights, step)
        inputs = list(weights.values())
        found = torch.autograd.grad(value, inputs, create_graph=not constant, materialize_grads=True)
    return dict(zip(weights, found, strict=True))


def over_tasks(function: Callable[..., dict[str, Tensor]], tensors: tuple[Any, ...], tasks: str = "loop") -> Any:
    """Compute a function for each task of a meta-batch, and stack the results.

    Args:
        function: a task's tensors -> tensors by name; it changes nothing else.
        tensors: for each argument ``(E, ...)``, or tensors of that shape by name.
        tasks: one of ``TASKS``.

    Returns:
        By name, ``(E, ...)``.

    Examples:
        >>> over_tasks(lambda x: {"sum": x.sum()}, (torch.tensor([[1.0, 2.0], [3.0, 4.0]]),))["sum"].tolist()
        [3.0, 7.0]
    """
    if tasks == "vmap":
        return vmap(function, randomness="different")(*tensors)
    count = len(next(iter(tensors[0].values())) if isinstance(tensors[0], Mapping) else tensors[0])
    found = [function(*(_task(tensor, e) for tensor in tensors)) for e in range(count)]
    return {name: torch.stack([one[name] for one in found]) for name in found[0]}


class MetaGradient(NamedTuple):
    """Gradient of a meta-batch with respect to the initial weights of its tasks.

    Attributes:
        gradient: mean over tasks, by name.
        losses: of each task, ``(E,)``, detached.
        outputs: further tensors of each task, by name, ``(E, ...)``, detached.

    Examples:
        >>> loss, start = lambda w, x: ((w["a"] * x).sum(), {}), {"a": torch.tensor(1.0)}
        >>> found = meta_gradient(loss, start, (torch.tensor([1.0, 3.0]),))
        >>> found.losses.tolist(), found.outputs
        ([1.0, 3.0], {})
    """

    gradient: dict[str, Tensor]
    losses: Tensor
    outputs: dict[str, Tensor]


def meta_gradient(
    loss: Callable[..., tuple[Tensor, dict[str, Tensor]]],
    start: Weights,
    tensors: tuple[Any, ...],
    tasks: str = "loop",
) -> MetaGradient:
    """Differentiate the mean over tasks of a loss with respect to the weights that all tasks start from.

    Each task is differentiated separately, so that a loop holds the graph of one task at a time. With vmap, the
    gradient is computed inside, because outside PyTorch 2.15 silently computes wrong second derivatives of batch norm.

    Args:
        loss: weights and a task's tensors -> its loss after adaptation, and further tensors by name.
        start: the weights, by name.
        tensors: as for :func:`over_tasks`.
        tasks: one of ``TASKS``.

    Examples:
        >>> loss, start = lambda w, x: ((w["a"] * x).sum(), {}), {"a": torch.tensor(1.0)}
        >>> found = meta_gradient(loss, start, (torch.tensor([1.0, 3.0]),))
        >>> found.gradient["a"].item()
        2.0
    """
    if tasks == "vmap":
        fixed = {name: weight.detach() for name, weight in start.items()}

        def task(*one: Any) -> tuple[dict[str, Tensor], tuple[Tensor, dict[str, Tensor]]]:
            return grad_and_value(loss, has_aux=True)(fixed, *one)

        gradients, (losses, outputs) = vmap(task, randomness="different")(*tensors)
        return MetaGradient({name: each.mean(0) for name, each in gradients.items()}, losses, outputs)

    leaves = {name: weight.detach().requires_grad_() for name, weight in start.items()}
    sums: list[Tensor] = []

    def one_task(*one: Any) -> dict[str, Tensor]:
        with torch.enable_grad():
            value, outputs = loss(leaves, *one)
        gradient = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        sums[:] = [total + part for total, part in zip(sums, gradient, strict=True)] if sums else gradient
        return {"": value.detach(), **{name: output.detach() for name, output in outputs.items()}}

    outputs = over_tasks(one_task, tensors)
    losses = outputs.pop("")
    means = {name: total / len(losses) for name, total in zip(leaves, sums, strict=True)}
    return MetaGradient(means, losses, outputs)


def reptile_gradient(start: Weights, adapted: Weights) -> dict[str, Tensor]:
    """Compute Reptile's gradient: theta - mean over tasks of the adapted weights.

    Plain gradient descent at the rate epsilon then gives theta + epsilon mean_i(theta_i - theta).

    Args:
        start: theta, by name.
        adapted: theta_i of each task, by name, ``(E, ...)``.

    References:
        Nichol, Achiam and Schulman, On First-Order Meta-Learning Algorithms, 2018, algorithm 2.

    Examples:
        >>> reptile_gradient({"a": torch.tensor(1.0)}, {"a": torch.tensor([0.0, 0.5])})["a"].item()
        0.75
    """
    return {name: weight.detach() - adapted[name].detach().mean(0) for name, weight in start.items()}


def with_gradient(value: Tensor, weights: Weights, gradient: Weights) -> Tensor:
    """Create a scalar whose backward pass assigns known gradients to the weights.

    Args:
        value: of the scalar.
        weights: leaves that require gradients, by name.
        gradient: of the scalar with respect to them, by name.

    Examples:
        >>> weight = torch.tensor(1.0, requires_grad=True)
        >>> with_gradient(torch.tensor(5.0), {"a": weight}, {"a": torch.tensor(3.0)}).backward()
        >>> weight.grad.item()
        3.0
    """
    return _Known.apply(value.detach(), [gradient[name] for name in weights], *weights.values())


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: Tensor, gradients: list[Tensor], *weights: Tensor) -> Tensor:
        context.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(context: Any, outer: Tensor) -> Any:
        return None, None, *(outer * gradient for gradient in context.gradients)


def _task(tensor: Any, e: int) -> Any:
    return {name: each[e] for name, each in tensor.items()} if isinstance(tensor, Mapping) else tensor[e]
