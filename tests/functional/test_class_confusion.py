import math

import pytest
import torch

from tl_lab.functional import (
    batch_nuclear_norm,
    certainty_weights,
    mean_entropy,
    minimum_class_confusion,
    soft_neighbourhood_density,
)

LOGITS = torch.tensor([[2.0, 0, -1], [0.5, 1.5, 0], [-1, 0, 3], [0, 0, 0]], dtype=torch.float64)


def test_published_values():
    p = LOGITS.softmax(1)
    assert minimum_class_confusion(LOGITS, 2.5).item() == pytest.approx(0.598531, abs=5e-7)
    assert batch_nuclear_norm(p).item() == pytest.approx(-0.6433683, abs=5e-8)
    assert mean_entropy(p).item() == pytest.approx(0.7007878, abs=5e-8)
    assert soft_neighbourhood_density(p).item() == pytest.approx(0.0733116, abs=5e-8)


def test_certain_and_uniform_predictions():
    sure = 1000 * torch.eye(3)
    assert minimum_class_confusion(sure).item() == pytest.approx(0, abs=1e-6)
    assert minimum_class_confusion(torch.zeros(5, 4)).item() == pytest.approx(3 / 4)
    weights = certainty_weights(torch.cat([torch.eye(2), torch.full((1, 2), 0.5)]))
    assert weights.tolist() == pytest.approx([2, 2, 1 + math.exp(-math.log(2))])


def test_no_gradient_passes_the_weights():
    logits = LOGITS.clone().requires_grad_()
    (ours,) = torch.autograd.grad(minimum_class_confusion(logits), logits)
    weights = certainty_weights((LOGITS / 2.5).softmax(1))
    weights = 4 * weights / weights.sum()
    p = (logits / 2.5).softmax(1)
    confusion = torch.einsum("b,bi,bj->ij", weights, p, p)
    confusion = confusion / confusion.sum(1, keepdim=True)
    (expected,) = torch.autograd.grad((confusion.sum() - confusion.trace()) / 3, logits)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("largest", [200.0, 1e4])
def test_sure_predictions_have_finite_values_and_gradients(largest):
    logits = torch.tensor([[largest, 0.0, -largest], [largest, 0.0, 0.0]], requires_grad=True)
    value = minimum_class_confusion(logits) + certainty_weights(logits.softmax(1)).sum()
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()
