"""A vector for each text: means over the mask, first and last tokens."""

import torch

from tl_lab.functional.pooling import pooled

STATES = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [50.0, 60.0]], [[7.0, 8.0], [90.0, 9.0], [90.0, 9.0]]])
MASK = torch.tensor([[1, 1, 0], [1, 0, 0]])


def test_each_pooling_on_numbers_by_hand():
    assert pooled(STATES, MASK, "mean").tolist() == [[2.0, 3.0], [7.0, 8.0]]
    assert pooled(STATES, MASK, "cls").tolist() == [[1.0, 2.0], [7.0, 8.0]]
    assert pooled(STATES, MASK, "last").tolist() == [[3.0, 4.0], [7.0, 8.0]]


def test_a_text_without_a_token_that_counts_has_the_mean_0():
    assert pooled(STATES, torch.zeros(2, 3, dtype=torch.int64)).tolist() == [[0.0, 0.0], [0.0, 0.0]]
