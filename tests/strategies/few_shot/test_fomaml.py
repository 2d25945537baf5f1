"""First-order MAML: the gradient at the adapted weights, as plain training would compute it."""

import pytest
import torch
from episodes_at_hand import adapt_by_hand, episode, gradients, make
from torch.nn import functional as F

from tl_lab.strategies.few_shot.fomaml import FOMAML


@pytest.mark.parametrize("tasks", ["loop", "vmap"])
def test_hands_out_the_mean_gradient_at_the_adapted_weights(tasks):
    fomaml, batch = make(FOMAML, inner_steps=3, test_inner_steps=3, inner_rate=0.3, tasks=tasks), episode(2)
    found = gradients(fomaml, batch)
    each = []
    for e in range(2):
        adapted = adapt_by_hand(fomaml.network, batch.support.x[e], batch.support.y[e], 3, 0.3)
        loss = F.cross_entropy(adapted(batch.query.x[e]), batch.query.y[e])
        each.append(torch.autograd.grad(loss, list(adapted.parameters())))
    expected = [(a + b) / 2 for a, b in zip(*each, strict=True)]
    torch.testing.assert_close(list(found.values()), expected, rtol=1e-9, atol=1e-12)
    assert fomaml.facts()["meta-gradient"] == "first order"
