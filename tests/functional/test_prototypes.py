import numpy as np
import pytest
import torch

from tl_lab.functional import cosine_similarities, prototypes
from tl_lab.functional.prototypes import squared_distances

# two episodes of two classes and two shots, not sorted by class
SUPPORT = torch.tensor([[[0.0, 0], [4, 2], [2, 0], [4, 4]], [[1.0, 1], [3, 1], [-1, 0], [-1, 4]]])
LABELS = torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]])
CENTRES = torch.tensor([[[1.0, 0], [4, 3]], [[-1.0, 2], [2, 1]]])
QUERY = torch.tensor([[[1.0, 4], [4, 0]], [[0.0, 0], [2, 1]]])


def test_prototypes_are_the_classes_means():
    torch.testing.assert_close(prototypes(SUPPORT, LABELS, way=2), CENTRES, rtol=0, atol=0)


def test_distances_and_cosines_of_fixed_embeddings():
    expected = torch.tensor([[[16.0, 10], [9, 9]], [[5.0, 5], [10, 0]]])
    torch.testing.assert_close(squared_distances(QUERY, CENTRES), expected)
    found = cosine_similarities(QUERY, CENTRES)
    assert found[0, 0, 0].item() == pytest.approx(1 / 17**0.5)
    assert found[0, 1, 1].item() == pytest.approx(4 / 5)
    assert found[1].tolist() == [[0.0, 0.0], [0.0, pytest.approx(1.0)]]


@pytest.mark.parametrize("measure", [squared_distances, cosine_similarities])
def test_episodes_at_once_equal_one_by_one(measure):
    generator = torch.Generator().manual_seed(0)
    support = torch.randn(3, 10, 6, generator=generator, dtype=torch.float64)
    query = torch.randn(3, 8, 6, generator=generator, dtype=torch.float64)
    labels = torch.stack([torch.arange(5).repeat(2)[torch.randperm(10, generator=generator)] for _ in range(3)])
    together = measure(query, prototypes(support, labels, 5))
    for e in range(3):
        alone = measure(query[e : e + 1], prototypes(support[e : e + 1], labels[e : e + 1], 5))
        torch.testing.assert_close(together[e : e + 1], alone, rtol=1e-12, atol=1e-12)


def test_distances_far_from_the_origin_are_numpys_in_double_precision():
    points = 1000 + np.random.default_rng(0).normal(size=(1, 7, 64)).astype(np.float32)
    centres = 1000 + np.random.default_rng(1).normal(size=(1, 5, 64)).astype(np.float32)
    expected = ((points.astype(np.float64)[:, :, None] - centres.astype(np.float64)[:, None]) ** 2).sum(-1)
    found = squared_distances(torch.from_numpy(points), torch.from_numpy(centres))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_distances_to_itself_are_never_negative():
    points = torch.randn(2, 40, 64)
    assert (squared_distances(points, points) >= 0).all()


@pytest.mark.parametrize("measure", [squared_distances, cosine_similarities])
def test_gradients(measure):
    points, centres = (torch.randn(2, n, 3, dtype=torch.float64, requires_grad=True) for n in (4, 2))
    assert torch.autograd.gradcheck(measure, (points, centres))
    assert torch.autograd.gradcheck(lambda x: prototypes(x, LABELS, 2), (torch.rand_like(points).requires_grad_(),))
