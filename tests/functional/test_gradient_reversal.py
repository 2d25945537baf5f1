import pytest
import torch

from tl_lab.functional import reverse_gradient


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_backward_is_minus_the_weight_times_the_gradient(weight, dtype):
    x = torch.randn(5, 3, dtype=dtype, requires_grad=True)
    upstream = torch.randn(5, 3, dtype=dtype)
    out = reverse_gradient(x, weight)
    assert out.dtype == dtype
    torch.testing.assert_close(out, x, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(out, x, upstream)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, -weight * upstream, rtol=0, atol=0)


@pytest.mark.parametrize("w", [0.0, 0.1, 1.0, 10.0])
def test_double_backward(w):
    # y = R(x)^3 has dy/dx = -w 3 x^2; the second pass goes through the reversal again: w^2 6 x
    x = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(reverse_gradient(x, w).pow(3).sum(), x, create_graph=True)
    assert first.item() == pytest.approx(-w * 3 * 4)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.item() == pytest.approx(w**2 * 6 * 2)


def test_a_weight_that_is_a_whole_number_or_a_share_is_not_rounded():
    for weight in (1, 0.25, 3):
        x = torch.ones(2, requires_grad=True)
        reverse_gradient(x, weight).sum().backward()
        assert x.grad.tolist() == [-weight, -weight]


def test_works_under_vmap():
    x = torch.randn(4, 3)
    gradient = torch.func.vmap(torch.func.grad(lambda row: (reverse_gradient(row, 2.0) ** 2).sum()))(x)
    torch.testing.assert_close(gradient, -2.0 * 2 * x)
