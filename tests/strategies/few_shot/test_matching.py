"""Matching networks: attention over embeddings, computed here one query after the other."""

import math

import pytest
import torch
from episodes_at_hand import WAY, episode, make, objective
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.strategies.few_shot.matching import Matching


def probabilities(network, batch, e, scale):
    """The paper's sum over the support, of features that pass the encoder with the queries."""
    support_x = batch.support.x[e]
    features = network.features(torch.cat([support_x, batch.query.x[e]]))
    support, queries = features[: len(support_x)], features[len(support_x) :]
    rows = []
    for query in queries:
        attention = (scale * F.cosine_similarity(support, query[None], dim=1)).softmax(0)
        rows.append(torch.stack([attention[batch.support.y[e] == k].sum() for k in range(WAY)]))
    return torch.stack(rows)


def test_classes_get_the_attention_of_their_support():
    matching, batch = make(Matching, scale=3.0).eval(), episode(2)
    found = matching.test_logits(batch).softmax(2)
    for e in range(2):
        torch.testing.assert_close(found[e], probabilities(matching.network, batch, e, 3.0))


def test_loss_is_the_negative_logarithm_of_the_true_classs_attention():
    matching, batch = make(Matching, scale=3.0), episode(1)
    found = objective(matching, batch)
    p = probabilities(matching.network, batch, 0, 3.0).detach()
    expected = -sum(math.log(p[i, k]) for i, k in enumerate(batch.query.y[0].tolist())) / len(p)
    assert found.item() == pytest.approx(expected)
    found.backward()
    assert all(p.grad is not None for p in matching.network.parameters())


def test_a_scale_of_zero_is_refused():
    with pytest.raises(UserError, match=r"strategy.scale must be above 0, not 0"):
        make(Matching, scale=0.0)
