"""Losses of problems against explicit formulas."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.problems import MultiLabel, Regression, SingleLabel

DRAW = torch.Generator().manual_seed(0)


def test_multi_label_loss_is_the_mean_binary_cross_entropy():
    z, y = torch.randn(5, 3, generator=DRAW).double(), (torch.rand(5, 3, generator=DRAW) < 0.5).double()
    p = 1 / (1 + np.exp(-z.numpy()))
    by_hand = -(y.numpy() * np.log(p) + (1 - y.numpy()) * np.log(1 - p))
    criterion = MultiLabel(["a", "b", "c"]).criterion(None)
    assert criterion(z, y).item() == pytest.approx(by_hand.mean(), rel=1e-12)
    np.testing.assert_allclose(criterion(z, y, reduction="none").numpy(), by_hand.mean(1), rtol=1e-12)


def test_multi_label_smoothing_moves_targets_towards_a_half():
    z, y = torch.randn(4, 2, generator=DRAW).double(), torch.tensor([[1, 0], [0, 0], [1, 1], [0, 1]])
    criterion = MultiLabel(["a", "b"]).criterion(None, label_smoothing=0.2)
    target = 0.1 + 0.8 * y.double()
    assert criterion(z, y).item() == pytest.approx(F.binary_cross_entropy_with_logits(z, target).item(), rel=1e-12)


def test_balanced_weights_equalise_positive_and_negative_labels():
    y = torch.tensor([[1, 0], [0, 0], [0, 1], [0, 1], [0, 1]])  # 1 of 5, 3 of 5
    criterion = MultiLabel(["a", "b"]).criterion(y, class_weights="balanced")
    torch.testing.assert_close(criterion.positive_weight, torch.tensor([4.0, 2 / 3]))
    zero = torch.zeros(5, 2)  # every decision costs log 2, weighted where the label is there
    weights = torch.where(y == 1, criterion.positive_weight, torch.ones(2))
    assert criterion(zero, y).item() == pytest.approx((np.log(2) * weights).mean().item())
    # of each label both sides weigh the same
    torch.testing.assert_close((weights * y).sum(0), (weights * (1 - y)).sum(0))


def test_regression_is_trained_on_standardised_targets():
    y = torch.tensor([[1.0, 10.0], [3.0, 10.0], [5.0, 10.0]])
    problem = Regression(["a", "b"])
    problem.learn(y)
    assert problem.mean.tolist() == [3, 10]
    assert problem.deviation.tolist() == pytest.approx([np.std([1, 3, 5]), 1.0])  # constant targets are only centred
    z = torch.zeros(3, 2)
    scaled = (y.numpy() - [3, 10]) / [np.std([1, 3, 5]), 1]
    assert problem.criterion(y)(z, y).item() == pytest.approx((scaled**2).mean(), rel=1e-6)
    torch.testing.assert_close(problem.unscale(problem.scale(y)), y.double())


def test_balanced_cross_entropy_upweights_rare_classes():
    y = torch.tensor([0, 0, 0, 1])
    criterion = SingleLabel(["a", "b"]).criterion(y, class_weights="balanced")
    torch.testing.assert_close(criterion.weight, torch.tensor([4 / 6, 4 / 2]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": "balanced"}, "strategy.class_weights=balanced does not apply to regression data"),
        ({"label_smoothing": 0.1}, "strategy.label_smoothing=0.1 does not apply to regression data"),
    ],
)
def test_options_of_classifiers_are_refused_for_numbers(options, message):
    with pytest.raises(UserError, match=message):
        Regression(["value"]).criterion(torch.zeros(3, 1), **options)


@pytest.mark.parametrize("kind", [SingleLabel, MultiLabel])
@pytest.mark.parametrize("wrong", [{"label_smoothing": 1.0}, {"class_weights": "inverse"}])
def test_options_out_of_range_are_refused(kind, wrong):
    with pytest.raises(UserError, match="strategy"):
        kind(["a", "b"]).criterion(torch.zeros(2, dtype=torch.long), **wrong)
