"""Fisher information of outputs, against its definition by enumeration and by finite differences."""

import itertools

import pytest
import torch

from tl_lab.functional import BERNOULLI, CATEGORICAL, GAUSSIAN, fisher_diagonal

Z = torch.tensor([[0.3, -1.2, 0.7], [2.0, 0.1, -0.4]]).double()


def information(likelihood):
    """sum_j v_j v_j^T of each sample, (B, C, C)."""
    return sum(v[:, :, None] * v[:, None, :] for v in likelihood.factors(Z))


def test_categorical_information_is_the_covariance_of_the_label():
    p = Z.softmax(1)
    torch.testing.assert_close(information(CATEGORICAL), torch.diag_embed(p) - p[:, :, None] * p[:, None, :])


def test_bernoulli_information_is_the_expectation_over_all_labellings():
    p, expected = Z.sigmoid(), torch.zeros(2, 3, 3).double()
    for labels in itertools.product([0.0, 1.0], repeat=3):
        y = torch.tensor(labels).double().expand_as(Z)
        weight = torch.where(y == 1, p, 1 - p).prod(1)
        score = BERNOULLI.score(Z, y)
        expected += weight[:, None, None] * score[:, :, None] * score[:, None, :]
    torch.testing.assert_close(information(BERNOULLI), expected)


def test_gaussian_information_is_the_identity():
    torch.testing.assert_close(information(GAUSSIAN), torch.eye(3).double().expand(2, 3, 3))


@pytest.mark.parametrize(
    ("likelihood", "y"),
    [
        (CATEGORICAL, torch.tensor([2, 0])),
        (BERNOULLI, torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]).double()),
        (GAUSSIAN, torch.tensor([[0.5, 0.1, -2.0], [1.0, 0.0, 3.0]]).double()),
    ],
)
def test_the_score_is_the_gradient_of_the_log_likelihood(likelihood, y):
    z = Z.clone().requires_grad_()
    (-likelihood.loss(z, y) * len(z)).backward()
    torch.testing.assert_close(likelihood.score(Z, y), z.grad)


@pytest.mark.parametrize("likelihood", [CATEGORICAL, BERNOULLI, GAUSSIAN])
def test_drawn_labels_have_a_score_of_mean_zero_and_of_this_covariance(likelihood):
    draw, many = torch.Generator().manual_seed(0), 40_000
    z = Z[:1].expand(many, 3)
    score = likelihood.score(z, likelihood.draw(z, draw))
    torch.testing.assert_close(score.mean(0), torch.zeros(3).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(score.T @ score / many, information(likelihood)[0], atol=0.03, rtol=0)


@pytest.mark.parametrize("likelihood", [BERNOULLI, GAUSSIAN])
def test_the_fisher_information_of_a_linear_model_has_a_closed_form(likelihood):
    torch.manual_seed(0)
    model, x = torch.nn.Linear(4, 3).double(), torch.randn(6, 4).double()
    y = torch.zeros(6, 3).double()
    found = fisher_diagonal(model, [(x, y)], "exact", likelihood=likelihood)
    z = model(x)
    weight = z.sigmoid() * (1 - z.sigmoid()) if likelihood is BERNOULLI else torch.ones_like(z)
    torch.testing.assert_close(found["bias"], weight.mean(0))
    torch.testing.assert_close(found["weight"], torch.einsum("nc,nd->cd", weight, x.square()) / 6)
