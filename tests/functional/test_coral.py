import numpy as np
import pytest
import torch

from tl_lab.errors import UserError
from tl_lab.functional import coral, covariance


def test_coral_of_two_triples_is_7():
    source = torch.tensor([[1.0, 2], [3, 5], [4, 1]])
    target = torch.tensor([[0.0, 1], [2, 2], [5, 6]])
    assert coral(source, target).item() == pytest.approx(7.0, abs=1e-5)


def test_covariance_is_numpys():
    x = np.random.default_rng(0).normal(size=(7, 4))
    np.testing.assert_allclose(covariance(torch.from_numpy(x)).numpy(), np.cov(x.T), rtol=1e-12)


def test_gradient():
    x, y = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(coral, (x, y))


def test_one_sample_has_no_covariance():
    with pytest.raises(UserError, match="1 of the source and 2 of the target"):
        coral(torch.ones(1, 2), torch.ones(2, 2))
