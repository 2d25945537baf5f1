import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from tl_lab.functional import adapt, meta_gradient, reptile_gradient, with_gradient

ALPHA = 0.3
A = torch.tensor([[1.0, -2.0], [0.5, 4.0], [3.0, 3.0]], dtype=torch.float64)  # three tasks' inner targets
B = torch.tensor([[0.0, 1.0], [2.0, -1.0], [1.0, 5.0]], dtype=torch.float64)  # and outer ones
THETA = torch.tensor([0.7, -0.2], dtype=torch.float64)


def quadratic(steps, first_order, tasks):
    """L = |theta - a|^2 / 2 inside, |theta' - b|^2 / 2 outside."""

    def loss(weights, a, b):
        def inside(w, _):
            return (w["theta"] - a).square().sum() / 2

        adapted = adapt(inside, weights, steps, ALPHA, first_order, tasks)
        return (adapted["theta"] - b).square().sum() / 2, {"adapted": adapted["theta"]}

    return loss


@pytest.mark.parametrize("tasks", ["loop", "vmap"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("first_order", [False, True])
def test_meta_gradient_of_quadratic_losses(tasks, steps, first_order):
    found = meta_gradient(quadratic(steps, first_order, tasks), {"theta": THETA}, (A, B), tasks)
    shrunk = (1 - ALPHA) ** steps
    adapted = A + shrunk * (THETA - A)
    through = 1.0 if first_order else shrunk  # d theta' / d theta
    exact = {"rtol": 1e-14, "atol": 1e-14}
    torch.testing.assert_close(found.outputs["adapted"], adapted, **exact)
    torch.testing.assert_close(found.gradient["theta"], (through * (adapted - B)).mean(0), **exact)
    torch.testing.assert_close(found.losses, (adapted - B).square().sum(1) / 2, **exact)


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, track_running_stats=False), nn.Tanh(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(12, 2)).double()


def episodes(count=2):
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(count, 2, 6, 1, 6, 6, generator=generator, dtype=torch.float64)
    y = torch.arange(2).repeat(count, 3)
    return x[:, 0], y, x[:, 1], y


def task_loss(model, tasks="loop", first_order=False):
    def loss(weights, x, y, query_x, query_y):
        def inside(w, _):
            return F.cross_entropy(functional_call(model, w, (x,)), y)

        logits = functional_call(model, adapt(inside, weights, 2, 0.4, first_order, tasks), (query_x,))
        return F.cross_entropy(logits, query_y), {"logits": logits}

    return loss


@pytest.mark.parametrize("tasks", ["loop", "vmap"])
def test_meta_gradient_is_the_central_difference(tasks):
    model = network()
    start, loss = dict(model.named_parameters()), task_loss(model)
    found = meta_gradient(task_loss(model, tasks), start, episodes(), tasks)
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        along = {n: torch.randn(p.shape, generator=generator, dtype=torch.float64) for n, p in start.items()}
        h, ends = 1e-5, []
        for sign in (1, -1):
            moved = {n: p.detach() + sign * h * along[n] for n, p in start.items()}
            ends.append(torch.stack([loss(moved, *one)[0] for one in zip(*episodes(), strict=True)]).mean().item())
        expected = (ends[0] - ends[1]) / (2 * h)
        actual = sum((found.gradient[n] * along[n]).sum() for n in start).item()
        assert actual == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("first_order", [False, True])
def test_loop_and_vmap_give_the_same(first_order):
    model = network()
    loop, vmap = (
        meta_gradient(task_loss(model, tasks, first_order), dict(model.named_parameters()), episodes(4), tasks)
        for tasks in ("loop", "vmap")
    )
    torch.testing.assert_close(loop.gradient, vmap.gradient, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(loop.outputs, vmap.outputs, rtol=1e-11, atol=1e-13)


def test_first_order_is_the_gradient_at_the_adapted_weights():
    model = network()
    start, (x, y, query_x, query_y) = dict(model.named_parameters()), episodes(1)
    found = meta_gradient(task_loss(model, first_order=True), start, episodes(1))
    for _ in range(2):  # adapt the model itself, as plain training would
        gradients = torch.autograd.grad(F.cross_entropy(model(x[0]), y[0]), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.4 * gradient
    expected = torch.autograd.grad(F.cross_entropy(model(query_x[0]), query_y[0]), list(model.parameters()))
    torch.testing.assert_close(list(found.gradient.values()), list(expected), rtol=1e-12, atol=1e-14)


def test_the_model_does_not_change():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    meta_gradient(task_loss(model), dict(model.named_parameters()), episodes())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_reptile_moves_towards_the_mean_of_the_adapted_weights():
    theta = nn.Parameter(THETA.clone())
    loss = with_gradient(torch.tensor(0.0), {"theta": theta}, reptile_gradient({"theta": theta}, {"theta": A}))
    optimizer = torch.optim.SGD([theta], lr=0.25)
    loss.backward()
    optimizer.step()
    torch.testing.assert_close(theta.detach(), THETA + 0.25 * (A.mean(0) - THETA))


def test_a_known_gradient_reaches_its_weight_through_later_operations():
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    (3 * with_gradient(torch.tensor(7.0), {"w": weight}, {"w": torch.tensor([5.0, -1.0])})).backward()
    assert weight.grad.tolist() == [15.0, -3.0]
