"""Vectors of words and frames are averaged without padding."""

import torch

from tl_lab.training.feature_reader import one_vector_each

STATES = torch.tensor([[[1.0], [3.0], [9.0], [5.0]]])


def test_words_tokens_and_frames_that_are_padding_do_not_count() -> None:
    tokens = torch.ones(1, 6, dtype=torch.long)
    assert one_vector_each(STATES, {"ids": tokens, "mask": tokens, "words": torch.tensor([2])}).tolist() == [[2.0]]
    mask = torch.tensor([[1, 0, 1, 0]])
    assert one_vector_each(STATES, {"ids": mask, "mask": mask}).tolist() == [[5.0]]
    assert one_vector_each(STATES, {"mel": torch.zeros(1, 2, 8), "length": torch.tensor([4])}).tolist() == [[2.0]]
    assert one_vector_each(STATES, torch.zeros(1, 4)).tolist() == [[4.5]]
    assert one_vector_each(torch.zeros(2, 3), torch.zeros(2, 4)).shape == (2, 3)
