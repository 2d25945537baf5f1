import functools

import numpy as np
import pytest
import torch

from tl_lab.functional import merge_quadratics, quadratic_penalty

N = 1_000_000


def test_ewc_of_two_parameters_is_19():
    theta, centre, fisher = torch.tensor([1.0, 2]), torch.zeros(2), torch.tensor([3.0, 4])
    assert (2 * quadratic_penalty([theta], [centre], [fisher])).item() == 19.0


def test_gradient_is_precision_times_distance():
    theta = torch.tensor([1.0, 2], requires_grad=True)
    (2 * quadratic_penalty([theta], [torch.tensor([0.5, 3])], [torch.tensor([3.0, 4])])).backward()
    assert theta.grad.tolist() == [3.0, -8.0]


def test_value_and_gradient_are_those_of_the_plain_expression():
    parameters, centres, precisions = _random((40, 30), (40,), (1, 1), ())
    value = quadratic_penalty(parameters, centres, precisions)
    triples = zip(parameters, centres, precisions, strict=True)
    plain = 0.5 * sum((f * (p - c).square()).sum() for p, c, f in triples)
    assert value.item() == pytest.approx(plain.item(), rel=1e-14)
    for ours, theirs in zip(
        torch.autograd.grad(value, parameters), torch.autograd.grad(plain, parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=0)


def test_gradcheck():
    parameters, centres, precisions = _random((3, 2), (4,))
    assert torch.autograd.gradcheck(lambda *p: quadratic_penalty(p, centres, precisions), parameters)
    # of the penalty itself the third derivative is 0: its square has all of them
    assert torch.autograd.gradgradcheck(lambda *p: quadratic_penalty(p, centres, precisions).square(), parameters)


def test_second_derivative_is_the_precision():
    parameters, centres, precisions = _random((3,))
    value = quadratic_penalty(parameters, centres, precisions)
    (gradient,) = torch.autograd.grad(value, parameters, create_graph=True)
    (curvature,) = torch.autograd.grad(gradient.sum(), parameters)
    torch.testing.assert_close(curvature, precisions[0])


def test_sums_a_million_single_precision_terms():
    rng = np.random.default_rng(0)
    theta, centre, precision = (rng.normal(size=N).astype(np.float32) for _ in range(3))
    precision = np.abs(precision)
    exact = 0.5 * np.sum(precision.astype(float) * (theta.astype(float) - centre.astype(float)) ** 2)
    value = quadratic_penalty(*([torch.from_numpy(x)] for x in (theta, centre, precision)))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact, rel=2e-7)


def test_frozen_parameter_counts_and_gets_no_gradient():
    parameters, centres, precisions = _random((3,), (2,))
    value = quadratic_penalty(parameters, centres, precisions)
    parameters[0].requires_grad_(False)
    half_frozen = quadratic_penalty(parameters, centres, precisions)
    half_frozen.backward()
    assert half_frozen.item() == value.item()
    assert parameters[0].grad is None
    torch.testing.assert_close(parameters[1].grad, precisions[1] * (parameters[1] - centres[1]).detach())


def test_leaves_its_inputs_and_the_graph_as_they_are():
    parameters, centres, precisions = _random((5, 4))
    before = [x.detach().clone() for x in (*parameters, *centres, *precisions)]
    value = quadratic_penalty(parameters, centres, precisions)
    first = torch.autograd.grad(3 * value, parameters, retain_graph=True)[0]
    second = torch.autograd.grad(value, parameters)[0]
    torch.testing.assert_close(first, 3 * second)
    for x, y in zip((*parameters, *centres, *precisions), before, strict=True):
        assert torch.equal(x, y)


def test_merged_pair_by_hand():
    # x^2 / 2 + 3 (x - 4)^2 / 2 = 4 (x - 3)^2 / 2 + 6
    precision, centre, constant = merge_quadratics(*(torch.tensor([x]) for x in (1.0, 0.0, 3.0, 4.0)))
    assert (precision.item(), centre.item(), constant.item()) == (4.0, 3.0, 6.0)
    assert constant.dtype == torch.float64
    assert constant.shape == ()


@pytest.mark.parametrize("zeros", [0.0, 0.3, 0.9])
def test_ten_quadratics_collapse_into_one(zeros):
    quadratics = _quadratics(10, zeros)
    precision, centre, constant = _merge_all(quadratics)
    assert precision.dtype == centre.dtype == torch.float32
    draw = torch.Generator().manual_seed(1)
    points = [torch.randn(N, generator=draw) * scale + shift for scale, shift in ((1, 0), (0.1, 1), (10, -5))]
    for x in (*points, centre):
        plain = sum(0.5 * (f.double() * (x.double() - c.double()).square()).sum().item() for f, c in quadratics)
        collapsed = quadratic_penalty([x], [centre], [precision]).item() + constant.item()
        assert collapsed == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("zeros", [0.0, 0.9])
def test_order_of_merging_does_not_matter(zeros):
    quadratics = _quadratics(10, zeros)
    precision, centre, constant = _merge_all(quadratics)
    weighed = precision > 0  # elsewhere the centre is the last one's
    left, right = _merge_all(quadratics[::2]), _merge_all(quadratics[1::2])
    p, c, k = merge_quadratics(*left[:2], *right[:2])
    for other in (_merge_all(quadratics[::-1]), (p, c, k + left[2] + right[2])):
        torch.testing.assert_close(other[0], precision, rtol=1e-6, atol=0)
        torch.testing.assert_close(other[1][weighed], centre[weighed], rtol=0, atol=2e-6)
        assert other[2].item() == pytest.approx(constant.item(), rel=1e-6)


def test_without_precision_the_centre_is_the_second():
    zero = torch.zeros(3)
    precision, centre, constant = merge_quadratics(zero, torch.ones(3), zero, torch.arange(3.0))
    assert precision.tolist() == [0, 0, 0]
    assert centre.tolist() == [0, 1, 2]
    assert constant.item() == 0


def test_equal_centres_stay_bit_for_bit():
    draw = torch.Generator().manual_seed(0)
    centre = torch.randn(1000, generator=draw)
    a, b = torch.rand(2, 1000, generator=draw)
    _, merged, constant = merge_quadratics(a, centre, b, centre)
    assert torch.equal(merged, centre)
    assert constant.item() == 0


def test_precisions_too_small_to_multiply():
    a, b = torch.tensor([1e-30]), torch.tensor([3e-30])
    precision, centre, constant = merge_quadratics(a, torch.tensor([0.0]), b, torch.tensor([4.0]))
    assert precision.item() == pytest.approx(4e-30, rel=1e-6)
    assert centre.item() == pytest.approx(3.0, rel=1e-6)
    assert constant.item() == pytest.approx(6e-30, rel=1e-6)


def _random(*shapes):
    draw = torch.Generator().manual_seed(0)
    new = functools.partial(torch.randn, generator=draw, dtype=torch.float64)
    parameters = [new(shape).requires_grad_() for shape in shapes]
    return parameters, [new(shape) for shape in shapes], [new(shape).square() for shape in shapes]


def _quadratics(count, zeros):
    """Precisions over six orders of magnitude, a part of them exactly 0, and centres that drift."""
    draw = torch.Generator().manual_seed(0)
    centre, quadratics = torch.randn(N, generator=draw), []
    for _ in range(count):
        precision = 10 ** (-6 * torch.rand(N, generator=draw))
        precision[torch.rand(N, generator=draw) < zeros] = 0
        centre = centre + 0.3 * torch.randn(N, generator=draw)
        quadratics.append((precision, centre))
    return quadratics


def _merge_all(quadratics):
    (precision, centre), *others = quadratics
    total = torch.zeros((), dtype=torch.float64)
    for p, c in others:
        precision, centre, constant = merge_quadratics(precision, centre, p, c)
        total += constant
    return precision, centre, total
