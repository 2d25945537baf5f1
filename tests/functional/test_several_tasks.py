"""Weights, gradients and sampling of several tasks, against closed forms."""

import math

import pytest
import torch

from tl_lab.functional import (
    annealed_exponent,
    cagrad,
    dynamic_weights,
    gradient_cosines,
    gradnorm_gradient,
    gram_matrix,
    pcgrad,
    sampling_shares,
    uncertainty_objective,
)


@pytest.mark.parametrize(("numbers", "variance"), [(True, 0.7), (False, 1.4)])
def test_uncertainty_is_least_at_the_loss_of_numbers_and_at_twice_that_of_classes(numbers, variance):
    s = torch.tensor([math.log(variance)], dtype=torch.double, requires_grad=True)
    losses = torch.tensor([0.7], dtype=torch.double)
    value = uncertainty_objective(losses, s, torch.tensor([numbers]))
    (slope,) = torch.autograd.grad(value, s)
    assert slope.item() == pytest.approx(0, abs=1e-12)
    expected = 0.5 + 0.5 * math.log(variance)
    assert value.item() == pytest.approx(expected)
    for other in (variance / 1.1, variance * 1.1):
        assert uncertainty_objective(losses, torch.tensor([math.log(other)]), torch.tensor([numbers])) > value


def test_dynamic_weights_of_two_histories():
    weights = dynamic_weights(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 1.0]), temperature=2.0)
    first, second = math.exp(0.25), math.exp(0.5)
    assert weights.tolist() == pytest.approx([2 * first / (first + second), 2 * second / (first + second)])
    assert weights.sum().item() == pytest.approx(2)


def test_gradnorm_pushes_weighted_norms_towards_their_targets():
    weights, norms = torch.tensor([1.0, 1.0]), torch.tensor([4.0, 2.0])
    # the tasks learned alike: both weighted norms go to their mean, 3
    alike = gradnorm_gradient(weights, norms, torch.tensor([0.5, 1.0]), torch.tensor([1.0, 2.0]), alpha=1.5)
    assert alike.tolist() == [4.0, -2.0]
    # the first has learned less: shares of the first losses 1 and .2, rates 5/3 and 1/3; targets 5 and 1
    late = gradnorm_gradient(weights, norms, torch.tensor([1.0, 0.4]), torch.tensor([1.0, 2.0]), alpha=1.0)
    assert late.tolist() == [-4.0, 2.0]


def test_pcgrad_of_two_conflicting_gradients():
    g = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.double)
    coefficients = pcgrad(g @ g.T, [[0, 1], [1, 0]])
    # g1 - (g1.g2 / |g2|^2) g2 = (1/2, 1/2); g2 - (g2.g1 / |g1|^2) g1 = (0, 1)
    torch.testing.assert_close(coefficients @ g, torch.tensor([0.5, 1.5], dtype=torch.double))


def test_pcgrad_adds_gradients_that_agree_and_depends_on_the_order_among_three():
    g = torch.tensor([[1.0, 0.2], [0.5, 1.0]], dtype=torch.double)
    assert pcgrad(g @ g.T, [[1, 0], [0, 1]]).tolist() == [1, 1]
    g = torch.tensor([[1.0, 0.0, 0.3], [-1.0, 1.0, 0.1], [-0.5, -1.0, 0.2]], dtype=torch.double)

    def by_hand(order):
        total = torch.zeros(3, dtype=torch.double)
        for i in range(3):
            own = g[i].clone()
            for j in order:
                if j != i and own @ g[j] < 0:
                    own -= (own @ g[j]) / (g[j] @ g[j]) * g[j]
            total += own
        return total

    for order in ([0, 1, 2], [2, 1, 0]):
        torch.testing.assert_close(pcgrad(g @ g.T, [order] * 3) @ g, by_hand(order))
    assert not torch.allclose(by_hand([0, 1, 2]), by_hand([2, 1, 0]))


def test_cagrad_of_orthogonal_gradients_and_without_aversion():
    g = torch.eye(2, dtype=torch.double)
    # by symmetry w = (1/2, 1/2), g_w = g_0, d = (1 + c) g_0
    torch.testing.assert_close(cagrad(g @ g.T, 0.5), torch.full((2,), 1.5, dtype=torch.double))
    assert cagrad(torch.tensor([[2.0, -1.0], [-1.0, 9.0]], dtype=torch.double), 0.0).tolist() == [1, 1]


def test_cagrad_finds_the_best_direction_for_the_worst_task():
    g, c = torch.tensor([[2.0, 0.0], [-0.6, 0.8]], dtype=torch.double), 0.5
    mean = g.mean(0)
    found = cagrad(g @ g.T, c) @ g / 2
    angles = torch.linspace(0, 2 * math.pi, 100_001, dtype=torch.double)
    directions = mean + c * mean.norm() * torch.stack([angles.cos(), angles.sin()], 1)  # the edge of the ball
    best = (directions @ g.T).min(1).values.max()
    assert (found - mean).norm().item() == pytest.approx(c * mean.norm().item(), rel=1e-6)
    assert (g @ found).min().item() == pytest.approx(best.item(), rel=1e-6)


def test_inner_products_and_cosines_of_gradients_in_parts():
    gradients = [
        [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])],
        [torch.tensor([0.0, 1.0]), None],
        [torch.tensor([-6.0, 0.0]), torch.tensor([[-8.0]])],
    ]
    gram = gram_matrix(gradients)
    assert gram.tolist() == [[25, 0, -50], [0, 1, 0], [-50, 0, 100]]
    assert gradient_cosines(gram).tolist() == [[1, 0, -1], [0, 1, 0], [-1, 0, 1]]
    assert bool(gradient_cosines(gram_matrix([[None], [torch.ones(1)]]))[0].isnan().all())


def test_sampling_shares():
    sizes = torch.tensor([100, 900])
    assert sampling_shares(sizes, 1).tolist() == pytest.approx([0.1, 0.9])
    assert sampling_shares(sizes, 0).tolist() == pytest.approx([0.5, 0.5])
    assert sampling_shares(sizes, 0.5).tolist() == pytest.approx([0.25, 0.75])
    assert [annealed_exponent(e, 5) for e in range(5)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert annealed_exponent(0, 1) == 1
