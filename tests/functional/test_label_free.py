import math

import numpy as np
import pytest
import torch

from tl_lab.functional import information_maximisation, mean_entropy, soft_neighbourhood_density

LOGITS = torch.tensor([[2, 0, -1], [0.5, 1.5, 0], [-1, 0, 3], [0, 0, 0]], dtype=torch.float64)


def _reference_entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(p)).sum(-1)


def test_published_values():
    p = LOGITS.softmax(1)
    assert mean_entropy(p).item() == pytest.approx(0.7007878, abs=1e-7)
    assert soft_neighbourhood_density(p).item() == pytest.approx(0.0733116, abs=1e-7)


def test_information_maximisation_against_numpy():
    p = LOGITS.softmax(1)
    expected = _reference_entropy(p.numpy().mean(0)) - _reference_entropy(p.numpy()).mean()
    assert information_maximisation(p).item() == pytest.approx(expected, abs=1e-12)


def test_bounds_and_certain_predictions():
    certain = torch.eye(4)[torch.arange(8) % 4]
    assert mean_entropy(certain).item() == 0
    assert information_maximisation(certain).item() == pytest.approx(math.log(4))
    collapsed = torch.eye(4)[torch.zeros(8, dtype=torch.long)]
    assert information_maximisation(collapsed).item() == pytest.approx(0)
    uniform = torch.full((6, 4), 0.25)
    assert mean_entropy(uniform).item() == pytest.approx(math.log(4))
    assert soft_neighbourhood_density(uniform).item() == pytest.approx(math.log(5), rel=1e-5)


@pytest.mark.parametrize("largest", [1.0, 30.0, 200.0, 1e4])
def test_sure_predictions_have_finite_gradients(largest):
    # softmax underflows to 0 from differences of about 104 on; entropy's derivative there is infinite, times 0
    logits = torch.tensor([[largest, 0.0, -largest], [0.0, largest, 0.0]], requires_grad=True)
    (mean_entropy(logits.softmax(1)) + information_maximisation(logits.softmax(1))).backward()
    assert torch.isfinite(logits.grad).all()
    single = logits.detach().double().requires_grad_()
    mean_entropy(single.softmax(1)).backward()
    # dH/dz_k = -p_k (log p_k + H), with log p from the logits, which does not underflow
    log_p = single.detach().log_softmax(1)
    entropy = -(log_p.exp() * log_p).sum(1, keepdim=True)
    torch.testing.assert_close(single.grad, -log_p.exp() * (log_p + entropy) / 2, atol=1e-12, rtol=1e-9)
