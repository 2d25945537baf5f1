import numpy as np
import pytest
import torch

from tl_lab.functional import add_path_contributions, path_contributions, path_importance


def test_contributions_by_hand():
    gradients = [torch.tensor([1.0, -2.0]), torch.tensor(0.5), None]
    changes = [torch.tensor([-0.5, -0.25]), torch.tensor(4.0), torch.ones(2)]
    contributions = path_contributions(gradients, changes)
    assert [c.tolist() for c in contributions] == [[0.5, -0.5], -2.0, [0.0, 0.0]]


def test_importance_by_hand():
    (importance,) = path_importance([torch.tensor([0.5, -0.5, 0.0])], [torch.tensor([0.5, 2.0, 0.0])], 0.25)
    assert importance.tolist() == pytest.approx([1.0, -0.5 / 4.25, 0.0], rel=1e-6)


def test_importance_adds_to_that_of_earlier_tasks():
    sums, displacement = [torch.tensor([0.5, -2.0, -2.0])], [torch.tensor([0.5, 0.0, 0.0])]
    earlier = [torch.tensor([1.0, 3.0, 1.0])]
    (total,) = path_importance(sums, displacement, 1.0, earlier)
    assert total.tolist() == pytest.approx([1.4, 1.0, -1.0])
    # the sum is clamped, not the task's own part, which would give 3 in the middle
    (clamped,) = path_importance(sums, displacement, 1.0, earlier, clamp=True)
    assert clamped.tolist() == pytest.approx([1.4, 1.0, 0.0])
    assert earlier[0].tolist() == [1.0, 3.0, 1.0]


@pytest.mark.parametrize("eta", [0.5, 0.1, 0.01, 1e-5])
def test_gradient_descent_on_a_parabola_overestimates_its_loss_drop(eta):
    # a step lowers the loss by eta g^2 (1 - eta h / 2) and contributes eta g^2
    h = torch.tensor([1.0, 3.0, 0.2], dtype=torch.float64)
    theta = torch.tensor([2.0, -1.0, 5.0], dtype=torch.float64)
    loss_before, sums = 0.5 * h * theta**2, [torch.zeros_like(theta)]
    for _ in range(20):
        gradient = h * theta
        change = -eta * gradient
        add_path_contributions(sums, [gradient], [change])
        theta = theta + change
    drop = loss_before - 0.5 * h * theta**2
    np.testing.assert_allclose(sums[0] / drop, 1 / (1 - eta * h / 2), rtol=1e-9)


def test_small_steps_recover_the_loss_drop():
    def loss(theta):
        return (theta[0] ** 2 * theta[1]).sin() + theta[1] ** 4

    start, end = (torch.tensor(x, dtype=torch.float64) for x in ([0.3, 0.8], [1.1, -0.4]))
    sums, steps = [torch.zeros(2, dtype=torch.float64)], 2000
    for step in range(steps):
        theta = start.lerp(end, (step + 0.5) / steps).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(theta), theta)
        add_path_contributions(sums, [gradient], [(end - start) / steps])
    assert sums[0].sum().item() == pytest.approx((loss(start) - loss(end)).item(), rel=1e-6)


def test_adding_in_place_is_adding_up():
    draw = torch.Generator().manual_seed(0)
    shapes = [(3, 2), (4,), ()]
    sums = [torch.zeros(shape) for shape in shapes]
    kept, expected = sums[0], [torch.zeros(shape) for shape in shapes]
    for step in range(5):
        gradients = [torch.randn(shape, generator=draw) for shape in shapes]
        changes = [torch.randn(shape, generator=draw) for shape in shapes]
        gradients[1] = None if step == 2 else gradients[1]
        add_path_contributions(sums, gradients, changes)
        expected = [e + c for e, c in zip(expected, path_contributions(gradients, changes), strict=True)]
    assert sums[0] is kept
    for ours, theirs in zip(sums, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
