import numpy as np
import pytest
import torch

from tl_lab.domain_adaptation.afn import stepwise_norm
from tl_lab.errors import UserError
from tl_lab.functional import (
    batch_nuclear_norm,
    covariance,
    gaussian_kernel,
    minimum_class_confusion,
    mmd_linear,
    mmd_unbiased,
    soft_neighbourhood_density,
    squared_distances,
)
from tl_lab.functional.distances import expanded_distances
from tl_lab.functional.label_free import entropy


def column(values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_unbiased_mmd_of_two_shifted_triples():
    x, y = column([1, 2, 3]), column([2, 3, 4])
    assert mmd_unbiased(gaussian_kernel(torch.cat([x, y])), 3).item() == pytest.approx(-0.27690, abs=5e-6)


def test_linear_mmd_of_two_shifted_quadruples():
    x = column([1, 2, 3, 4])
    assert mmd_linear(gaussian_kernel(torch.cat([x, x + 1])), 4).item() == pytest.approx(-0.28256, abs=5e-6)


def by_loops(x, y, factors, mean=False):
    """Gretton's equation 3 with every pair written out."""
    z = np.concatenate([x, y])
    pairs = [((z[i] - z[j]) ** 2).sum() for i in range(len(z)) for j in range(i)]
    m = np.mean(pairs) if mean else np.median(pairs)

    def k(a, b):
        return sum(np.exp(-((a - b) ** 2).sum() / (u * m)) for u in factors)

    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    return m, xx + yy - 2 * np.mean([k(a, b) for a in x for b in y])


@pytest.mark.parametrize("bandwidth", ["median", "mean"])
@pytest.mark.parametrize("factors", [(1.0,), (0.5, 1.0, 2.0)])
def test_mmd_whose_median_is_not_1_against_loops(factors, bandwidth):
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(5, 3)), 3 + 2 * draw.normal(size=(4, 3))
    m, expected = by_loops(x, y, factors, bandwidth == "mean")
    assert m > 2
    kernel = gaussian_kernel(torch.from_numpy(np.concatenate([x, y])), factors, bandwidth)
    assert mmd_unbiased(kernel, 5).item() == pytest.approx(expected, rel=1e-12)


def test_both_estimates_are_unbiased():
    # the mean over many draws from one distribution is 0 within its standard error
    draw = torch.Generator().manual_seed(0)
    for estimate in (mmd_unbiased, mmd_linear):
        values = torch.stack(
            [estimate(torch.exp(-squared_distances(torch.randn(16, 2, generator=draw))), 8) for _ in range(400)]
        )
        assert abs(values.mean()) < 3 * values.std() / 20


def test_distances_and_gradients():
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    expected = (x[:, None] - x[None]).square().sum(2)
    torch.testing.assert_close(squared_distances(x), expected)
    assert torch.autograd.gradcheck(lambda z: mmd_unbiased(torch.exp(-squared_distances(z)), 3), (x,))


def test_equal_samples_give_kernels_of_1():
    assert gaussian_kernel(torch.ones(4, 2)).eq(1).all()


def test_a_batch_too_small_is_refused():
    with pytest.raises(UserError, match="1 of the source and 3 of the target"):
        mmd_unbiased(torch.ones(4, 4), 1)
    with pytest.raises(UserError, match="estimator=unbiased"):
        mmd_linear(torch.ones(5, 5), 2)


def test_a_shift_of_the_origin_changes_no_distance():
    # by the expansion around 0 the products of 1,000 deviations leave an MMD of .014 where -.0002 is right
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(400, 16, generator=draw, dtype=torch.float64)
    near = float(mmd_unbiased(gaussian_kernel(x), 200))
    far = (x + 1000).float()
    assert float(mmd_unbiased(gaussian_kernel(far), 200)) == pytest.approx(near, abs=1e-5)
    expected = (far.double()[:, None] - far.double()[None]).square().sum(2)
    torch.testing.assert_close(squared_distances(far).double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    draw = torch.Generator().manual_seed(0)
    x = (torch.randn(64, 32, generator=draw) + 20).to(dtype)
    exact = x.double()
    with torch.autocast("cpu", dtype=torch.bfloat16):  # turns the product of single-precision tensors into half
        for value, right in [
            (squared_distances(x), (exact[:, None] - exact[None]).square().sum(2)),
            (gaussian_kernel(x), gaussian_kernel(exact)),
            (covariance(x), torch.cov(exact.T)),
            (expanded_distances(x[None], x[None, :5]), (exact[None, :, None] - exact[None, None, :5]).square().sum(3)),
        ]:
            assert value.dtype == torch.float32
            torch.testing.assert_close(value.double(), right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("measure", [entropy, soft_neighbourhood_density, minimum_class_confusion, batch_nuclear_norm])
def test_scores_of_half_precision_predictions_are_those_of_double(measure):
    draw = torch.Generator().manual_seed(0)
    p = (3 * torch.randn(40, 10, generator=draw)).softmax(1).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(measure(p).double(), measure(p.double()), rtol=1e-4, atol=1e-5)


def test_a_small_step_of_the_norm_is_not_lost_to_rounding():
    features = torch.full((4, 1), 512.0, dtype=torch.bfloat16, requires_grad=True)  # the next number above is 516
    loss = stepwise_norm(features, 1.0)
    assert loss.item() == 1.0
    loss.backward()
    assert features.grad.tolist() == [[-0.5]] * 4


def test_single_precision_is_left_to_the_last_bit():
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    centred = x - x.mean(0)
    assert torch.equal(covariance(x), centred.T @ centred / 7)
