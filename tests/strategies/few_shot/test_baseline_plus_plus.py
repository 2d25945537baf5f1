"""Baseline++: cosine classifiers in training and on each support."""

import pytest
import torch
from episodes_at_hand import WAY, episode, make
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.functional import random_heads
from tl_lab.randomness import generator
from tl_lab.strategies.few_shot.baseline_plus_plus import BaselinePlusPlus, CosineHead

FIT = {"epochs": 5, "batch_size": 3, "rate": 0.1, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0}


def test_the_head_of_the_training_classes_is_a_cosine():
    strategy = make(BaselinePlusPlus, scale=5.0)
    features = torch.randn(4, 8, dtype=torch.float64)
    found = strategy.network.head(features)
    for k in range(WAY):
        expected = 5 * F.cosine_similarity(features, strategy.network.head.weight[k][None], dim=1)
        torch.testing.assert_close(found[:, k], expected)
    torch.testing.assert_close(strategy.network.head(3 * features), found)
    assert str(strategy.network.head) == "CosineHead(8 -> 3, scale=5)"


def test_a_test_descends_a_cosine_head_on_each_support():
    strategy, batch = make(BaselinePlusPlus, scale=5.0, fit=FIT, seed=2).eval(), episode(2)
    found = strategy.test_logits(batch)
    for e in range(2):
        draw = generator(2, "support head")
        head = CosineHead(8, WAY, 5.0).double()
        head.load_state_dict({"weight": random_heads(1, WAY, 8, draw)[0][0]})
        features, queries = (strategy.network.features(part.x[e]).detach() for part in batch[:2])
        for _ in range(5):
            for rows in torch.randperm(len(features), generator=draw).split(3):
                (slope,) = torch.autograd.grad(
                    F.cross_entropy(head(features[rows]), batch.support.y[e, rows]), head.weight
                )
                head.weight.data -= 0.1 * slope
        torch.testing.assert_close(found[e], head(queries).detach(), rtol=1e-9, atol=1e-9)


def test_the_heads_weights_follow_the_seed():
    a, b, other = (make(BaselinePlusPlus, seed=seed).network.head.weight for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)


def test_a_scale_of_zero_is_refused():
    with pytest.raises(UserError, match=r"strategy.scale must be above 0"):
        make(BaselinePlusPlus, scale=0.0)
