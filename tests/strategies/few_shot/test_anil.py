"""ANIL: only the head is adapted; all parameters are trained on the queries."""

import pytest
import torch
from episodes_at_hand import episode, gradients, make
from torch.nn import functional as F

from tl_lab.strategies.few_shot.anil import ANIL

INNER = {"inner_steps": 2, "test_inner_steps": 4, "inner_rate": 0.3}


def by_hand(network, batch, e, steps, differentiable=True):
    """The queries' logits after descent of a linear head on fixed features."""
    head = network.head[0]
    features = network.features(batch.support.x[e])
    weight, bias = head.weight, head.bias
    for _ in range(steps):
        loss = F.cross_entropy(F.linear(features, weight, bias), batch.support.y[e])
        slopes = torch.autograd.grad(loss, (weight, bias), create_graph=differentiable)
        weight, bias = weight - 0.3 * slopes[0], bias - 0.3 * slopes[1]
    return F.linear(network.features(batch.query.x[e]), weight, bias)


@pytest.mark.parametrize("tasks", ["loop", "vmap"])
def test_gradient_is_that_of_a_head_adapted_by_hand(tasks):
    anil, batch = make(ANIL, tasks=tasks, **INNER), episode(2)
    found = gradients(anil, batch)
    losses = [F.cross_entropy(by_hand(anil.network, batch, e, 2), batch.query.y[e]) for e in range(2)]
    expected = torch.autograd.grad(sum(losses) / 2, list(anil.network.parameters()))
    torch.testing.assert_close(list(found.values()), list(expected), rtol=1e-9, atol=1e-12)
    assert found["backbone.one.0.weight"].norm() > 0


def test_a_test_adapts_only_the_head():
    anil, batch = make(ANIL, **INNER).eval(), episode(2)
    found = anil.test_logits(batch)
    anil.network.train()
    for e in range(2):
        torch.testing.assert_close(found[e], by_hand(anil.network, batch, e, 4), rtol=1e-9, atol=1e-9)
