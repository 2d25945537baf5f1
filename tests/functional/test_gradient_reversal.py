import pytest
import torch

from tl_lab.functional import reverse_gradient


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_backward_is_minus_the_weight_times_the_gradient(weight, dtype):
    x = torch.randn(5, 3, dtype=dtype, requires_grad=True)
    upstream = torch.randn(5, 3, dtype=dtype)
    out = reverse_gradient(x, weight)
    assert out.dtype == dtype
    torch.testing.assert_close(out, x, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(out, x, upstream)
    torch.testing.assert_close(gradient, -weight * upstream, rtol=0, atol=0)


def test_double_backward():
    # y = R(x)^3 has dy/dx = -w 3 x^2; the second pass goes through the reversal again: w^2 6 x
    x, w = torch.tensor([2.0], dtype=torch.float64, requires_grad=True), 0.5
    (first,) = torch.autograd.grad(reverse_gradient(x, w).pow(3).sum(), x, create_graph=True)
    assert first.item() == pytest.approx(-w * 3 * 4)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.item() == pytest.approx(w**2 * 6 * 2)


def test_works_under_vmap():
    x = torch.randn(4, 3)
    gradient = torch.func.vmap(torch.func.grad(lambda row: (reverse_gradient(row, 2.0) ** 2).sum()))(x)
    torch.testing.assert_close(gradient, -2.0 * 2 * x)
