import math

import numpy as np
import pytest
import torch

from tl_lab.functional import attention_logits


def test_two_classes_at_right_angles():
    support = torch.tensor([[[2.0, 0], [0, 3]]])
    p = attention_logits(torch.tensor([[[5.0, 0]]]), support, torch.tensor([[1, 0]]), way=2).softmax(2)
    assert p[0, 0].tolist() == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])


def test_probabilities_are_those_of_the_paper_computed_one_by_one():
    generator = np.random.default_rng(0)
    support, queries = generator.normal(size=(2, 6, 4)), generator.normal(size=(2, 5, 4))
    labels = np.array([[0, 1, 2, 2, 1, 0], [2, 2, 0, 0, 1, 1]])
    found = attention_logits(*map(torch.from_numpy, (queries, support, labels)), way=3, scale=4.0).softmax(2)
    for e in range(2):
        for j, query in enumerate(queries[e]):
            cosines = support[e] @ query / np.linalg.norm(support[e], axis=1) / np.linalg.norm(query)
            attention = np.exp(4 * cosines) / np.exp(4 * cosines).sum()
            expected = [attention[labels[e] == k].sum() for k in range(3)]
            np.testing.assert_allclose(found[e, j].numpy(), expected, rtol=1e-12)


def test_gradient():
    queries, support = (torch.randn(2, n, 3, dtype=torch.float64, requires_grad=True) for n in (2, 4))
    labels = torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]])
    assert torch.autograd.gradcheck(lambda q, s: attention_logits(q, s, labels, 2, 3.0), (queries, support))
