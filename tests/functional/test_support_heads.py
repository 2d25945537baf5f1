import functools

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from tl_lab.functional import cosine_scores, fit_heads, linear_scores, random_heads

SGD = {"rate": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.01}


def supports(episodes=3, way=3, shot=4, width=5):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(episodes, way * shot, width, generator=generator, dtype=torch.float64)
    return features, torch.arange(way).repeat_interleave(shot).repeat(episodes, 1)


def start(way=3, width=5):
    weight, bias = random_heads(3, way, width, torch.Generator().manual_seed(1))
    return weight.double(), bias.double()


def test_all_episodes_at_once_are_linear_layers_trained_one_by_one():
    features, labels = supports()
    fitted = fit_heads(
        linear_scores, start(), features, labels, epochs=7, batch_size=5, **SGD, generator=torch.Generator()
    )
    for e in range(3):
        layer, orders = nn.Linear(5, 3).double(), torch.Generator()
        layer.load_state_dict({"weight": start()[0][e], "bias": start()[1][e]})
        optimizer = torch.optim.SGD(layer.parameters(), 0.1, 0.9, 0.5, 0.01)
        for _ in range(7):
            for rows in torch.randperm(12, generator=orders).split(5):
                optimizer.zero_grad()
                F.cross_entropy(layer(features[e, rows]), labels[e, rows]).backward()
                optimizer.step()
        torch.testing.assert_close(fitted[0][e], layer.weight.data, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(fitted[1][e], layer.bias.data, rtol=1e-12, atol=1e-14)


def test_long_descent_reaches_scikit_learns_logistic_regression():
    features, labels = supports()
    (weight,) = fit_heads(
        lambda x, w: x @ w.mT, start()[:1], features, labels, epochs=3000, batch_size=12, rate=0.5, weight_decay=0.05
    )
    for e in range(3):
        model = LogisticRegression(C=1 / (12 * 0.05), fit_intercept=False, tol=1e-10)
        expected = model.fit(features[e].numpy(), labels[e].numpy()).coef_
        np.testing.assert_allclose(weight[e].numpy(), expected, atol=1e-6)


def test_cosine_scores_ignore_lengths():
    features, _ = supports()
    weight = start()[0]
    torch.testing.assert_close(cosine_scores(7 * features, 0.1 * weight, 4.0), cosine_scores(features, weight, 4.0))
    assert cosine_scores(weight, weight, 4.0).diagonal(dim1=1, dim2=2).flatten().tolist() == pytest.approx([4.0] * 9)


def test_cosine_heads_turn_towards_their_class():
    features = torch.eye(3, dtype=torch.float64)[None]
    scores = functools.partial(cosine_scores, scale=10.0)
    (weight,) = fit_heads(scores, (start(width=3)[0][:1],), features, torch.arange(3)[None], epochs=200)
    assert (scores(features, weight).argmax(2) == torch.arange(3)).all()


def test_features_and_start_are_left_as_they_were():
    features, labels = supports()
    features.requires_grad_()
    began = start()
    with torch.no_grad():  # as during a test
        fitted = fit_heads(linear_scores, began, features, labels, epochs=1)
    assert features.grad is None
    assert not any(tensor.requires_grad for tensor in fitted)
    torch.testing.assert_close(began, start(), rtol=0, atol=0)


def test_random_heads_are_uniform_up_to_the_bound():
    weight, bias = random_heads(50, 5, 16, torch.Generator().manual_seed(0))
    for drawn in (weight, bias):
        assert drawn.abs().max() <= 0.25
        assert drawn.var().item() == pytest.approx(0.25**2 / 3, rel=0.15)
