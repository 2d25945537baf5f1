"""Directions of described classes and calibration, by hand."""

import torch

from tl_lab.functional.class_texts import class_directions, contextual_calibration, neutral_bias


def test_descriptions_are_averaged_on_the_sphere():
    one = torch.tensor([[3.0, 0.0], [0.0, 0.5]])  # lengths do not count
    directions = class_directions([one, torch.tensor([[0.0, -7.0]])])
    torch.testing.assert_close(directions, torch.tensor([[0.5, 0.5], [0.0, -1.0]]) * torch.tensor([[2**0.5], [1.0]]))


def test_a_neutral_text_gets_the_same_for_all_classes():
    directions = class_directions([torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])])
    neutral = torch.tensor([[5.0, 0.0]])
    bias = neutral_bias(directions, neutral)
    torch.testing.assert_close(bias, torch.tensor([-1.0, -0.6]))
    torch.testing.assert_close(torch.nn.functional.normalize(neutral) @ directions.T + bias, torch.zeros(1, 2))


def test_contextual_calibration_divides_by_the_neutral_probabilities():
    p, neutral = torch.tensor([[0.6, 0.4], [0.9, 0.1]]), torch.tensor([[0.7, 0.3], [0.9, 0.1]])
    found = contextual_calibration(p.log(), neutral.log()).exp()
    raw = p / torch.tensor([0.8, 0.2])
    torch.testing.assert_close(found, raw / raw.sum(1, keepdim=True))
    assert found.argmax(1).tolist() == [1, 0]  # the first answer changes
    even = contextual_calibration(neutral[:1].log(), neutral[:1].log()).exp()
    torch.testing.assert_close(even, torch.full((1, 2), 0.5))
