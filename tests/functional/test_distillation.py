import numpy as np
import pytest
import torch

from tl_lab.functional import distillation_loss

TEMPERATURES = [0.5, 1.0, 2.0, 20.0]


def test_two_classes_by_hand():
    # softened teacher (3/4, 1/4), softened student (1/2, 1/2)
    teacher, student = torch.tensor([[2 * np.log(3), 0.0]]), torch.zeros(1, 2, dtype=torch.float64)
    assert distillation_loss(student, teacher, 2.0).item() == pytest.approx(np.log(2), rel=1e-12)
    assert distillation_loss(student, teacher, 2.0, scaled=True).item() == pytest.approx(4 * np.log(2), rel=1e-12)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_is_numpys(temperature):
    logits, teacher = _logits(0), _logits(1)
    student, target = (_softened(x, temperature) for x in (logits, teacher))
    expected = np.mean([-sum(t * np.log(s)) for s, t in zip(student, target, strict=True)])
    loss = distillation_loss(torch.from_numpy(logits), torch.from_numpy(teacher), temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("scaled", [False, True])
def test_gradient_is_the_difference_of_probabilities(temperature, scaled):
    logits, teacher = _logits(0), _logits(1)
    x = torch.from_numpy(logits).requires_grad_()
    distillation_loss(x, torch.from_numpy(teacher), temperature, scaled).backward()
    factor = temperature**2 / temperature if scaled else 1 / temperature
    expected = factor * (_softened(logits, temperature) - _softened(teacher, temperature)) / len(logits)
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("scaled", [False, True])
def test_gradcheck(scaled):
    logits, teacher = torch.from_numpy(_logits(0)).requires_grad_(), torch.from_numpy(_logits(1))
    assert torch.autograd.gradcheck(lambda x: distillation_loss(x, teacher, 2.0, scaled), logits)


def test_scaled_gradient_tends_to_half_a_squared_distance_of_centred_logits():
    # Hinton et al., equation 4: (z - v) / N at a high temperature
    logits, teacher = _logits(0), _logits(1)
    x = torch.from_numpy(logits).requires_grad_()
    distillation_loss(x, torch.from_numpy(teacher), 1e5, scaled=True).backward()
    centred = (z - z.mean(1, keepdims=True) for z in (logits, teacher))
    np.testing.assert_allclose(x.grad.numpy(), np.subtract(*centred) / 5 / 6, rtol=1e-3, atol=1e-5)


def test_own_logits_are_the_minimum_and_give_the_entropy():
    logits = torch.from_numpy(_logits(0)).requires_grad_()
    loss = distillation_loss(logits, logits.detach().clone(), 2.0)
    probabilities = _softened(logits.detach().numpy(), 2.0)
    assert loss.item() == pytest.approx(-np.mean(np.sum(probabilities * np.log(probabilities), 1)), rel=1e-12)
    loss.backward()
    np.testing.assert_allclose(logits.grad.numpy(), 0, atol=1e-15)


def test_classes_that_the_teacher_lacks_get_probability_zero():
    logits, teacher = torch.from_numpy(_logits(0)), torch.from_numpy(_logits(1, 3))
    expected = distillation_loss(logits, torch.cat([teacher, torch.full((6, 2), -torch.inf)], 1), 2.0)
    assert distillation_loss(logits, teacher, 2.0).item() == pytest.approx(expected.item(), rel=1e-12)
    # it is not the loss over the common classes alone: probability on the new ones costs
    assert distillation_loss(logits, teacher, 2.0) > distillation_loss(logits[:, :3], teacher, 2.0) + 0.1


def test_no_gradient_reaches_the_teacher():
    logits, teacher = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
    distillation_loss(logits, teacher, 2.0).backward()
    assert logits.grad is not None
    assert teacher.grad is None


def test_large_logits_stay_finite():
    logits, teacher = torch.tensor([[1000.0, 0, -1000]]), torch.tensor([[-1000.0, 0, 1000]])
    assert distillation_loss(logits, teacher, 1.0).item() == pytest.approx(2000)


def _logits(seed, k=5):
    return 3 * np.random.default_rng(seed).normal(size=(6, k))


def _softened(logits, temperature):
    exponentials = np.exp(logits / temperature)
    return exponentials / exponentials.sum(1, keepdims=True)
