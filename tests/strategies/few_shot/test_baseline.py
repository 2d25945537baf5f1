"""Baseline: heads on frozen features, against a linear layer trained by hand on each support."""

import copy

import pytest
import torch
from episodes_at_hand import WAY, episode, make
from torch import nn
from torch.nn import functional as F

from tl_lab.data.batches import Labelled
from tl_lab.domain_adaptation.base import Phase
from tl_lab.errors import UserError
from tl_lab.functional import random_heads
from tl_lab.randomness import generator
from tl_lab.strategies.few_shot.baseline import Baseline

FIT = {"epochs": 5, "batch_size": 4, "rate": 0.1, "momentum": 0.9, "dampening": 0.9, "weight_decay": 0.01}


def test_a_test_trains_a_linear_layer_on_each_support():
    baseline, batch = make(Baseline, fit=FIT, seed=3).eval(), episode(3)
    before = copy.deepcopy(baseline.state_dict())
    found = baseline.test_logits(batch)
    torch.testing.assert_close(baseline.state_dict(), before, rtol=0, atol=0)
    for e in range(3):
        draw = generator(3, "support head")
        weight, bias = random_heads(1, WAY, 8, draw)
        layer = nn.Linear(8, WAY).double()
        layer.load_state_dict({"weight": weight[0], "bias": bias[0]})
        optimizer = torch.optim.SGD(layer.parameters(), 0.1, 0.9, 0.9, 0.01)
        features, queries = (baseline.network.features(part.x[e]).detach() for part in batch[:2])
        for _ in range(5):
            for rows in torch.randperm(len(features), generator=draw).split(4):
                optimizer.zero_grad()
                F.cross_entropy(layer(features[rows]), batch.support.y[e, rows]).backward()
                optimizer.step()
        torch.testing.assert_close(found[e], layer(queries).detach(), rtol=1e-9, atol=1e-9)


def test_an_episode_does_not_see_the_others():
    baseline, batch = make(Baseline, fit=FIT).eval(), episode(3)
    alone = episode(3)._replace(
        **{name: Labelled(*(t[1:2] for t in getattr(batch, name)[:3])) for name in ("support", "query")}
    )
    torch.testing.assert_close(baseline.test_logits(batch)[1:2], baseline.test_logits(alone), rtol=1e-10, atol=1e-10)


def test_training_is_ordinary():
    baseline = make(Baseline)
    batch = Labelled(torch.rand(6, 1, 6, 6).double(), torch.arange(6) % WAY, torch.arange(6))
    _, _, logits, y = baseline.outputs_for(batch, None, Phase())
    assert logits.shape == (6, WAY)
    assert torch.equal(y, batch.y)
    baseline.task_loss(logits, y).backward()
    assert all(p.grad is not None for p in baseline.network.parameters())
    assert Baseline.trains_on == "classes"


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        ({"epoch": 1}, "no key 'epoch'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"rate": -1}, "rate must be at"),
        ({"rate": "abc"}, "rate must be a number, not 'abc'"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
    ],
)
def test_refusals(fit, message):
    with pytest.raises(UserError, match=message):
        make(Baseline, fit=fit)
