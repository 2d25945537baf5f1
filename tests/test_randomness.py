"""Random streams: the numbers of a seed, and nothing else disturbed."""

import torch

from tl_lab.randomness import derive_seed, open_streams, separate_stream


def test_a_seed_gives_the_numbers_of_manual_seed():
    torch.manual_seed(7)
    expected = torch.randn(5)
    open_streams(7)
    torch.testing.assert_close(torch.randn(5), expected, rtol=0, atol=0)


def test_the_global_stream_goes_on_after_a_separate_one():
    open_streams(1)
    first, second = torch.randn(3), torch.randn(3)
    open_streams(1)
    torch.testing.assert_close(torch.randn(3), first, rtol=0, atol=0)
    with separate_stream(2):
        inside = torch.randn(3)
    torch.testing.assert_close(torch.randn(3), second, rtol=0, atol=0)
    open_streams(2)
    torch.testing.assert_close(inside, torch.randn(3), rtol=0, atol=0)


def test_seeding_keeps_nothing_for_devices_that_are_not_used():
    before = len(torch.cuda._queued_calls)  # torch.manual_seed adds one with its traceback at each call
    for seed in range(3):
        open_streams(derive_seed(0, "dropout", seed))
    assert len(torch.cuda._queued_calls) == before
