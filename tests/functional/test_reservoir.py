import numpy as np
import pytest
import torch

from tl_lab.functional import reservoir_slots
from tl_lab.randomness import generator


def test_first_samples_fill_the_buffer_in_order():
    assert reservoir_slots(0, 5, 5, generator(0)).tolist() == [0, 1, 2, 3, 4]
    assert reservoir_slots(2, 3, 9, generator(0)).tolist() == [2, 3, 4]


def test_filling_draws_nothing():
    draw = generator(0)
    reservoir_slots(0, 5, 5, draw)
    assert torch.equal(draw.get_state(), generator(0).get_state())


def test_is_algorithm_r_sample_by_sample():
    size, length = 7, 300
    buffer, draw = [None] * size, generator(3)
    for t in range(length):
        slot = t if t < size else int(torch.randint(2**63 - 1, (), generator=draw)) % (t + 1)
        if slot < size:
            buffer[slot] = t
    assert _buffer([length], size, generator(3)).tolist() == buffer


@pytest.mark.parametrize("batches", [[1] * 300, [64] * 4 + [44], [3, 290, 0, 7], [150, 150]])
def test_batches_of_any_size_give_the_same_buffer(batches):
    assert torch.equal(_buffer(batches, 20, generator(1)), _buffer([300], 20, generator(1)))


def test_slots_of_one_call_are_distinct_and_in_range():
    draw = generator(0)
    for seen in (0, 3, 10, 50):
        slots = reservoir_slots(seen, 200, 10, draw)
        taken = slots[slots >= 0]
        assert slots.shape == (200,)
        assert slots.dtype == torch.int64
        assert len(taken.unique()) == len(taken) > 0
        assert slots.min() >= -1
        assert slots.max() < 10


def test_every_sample_stays_with_probability_m_of_n():
    m, n, streams = 10, 60, 4000
    counts = np.zeros(n)
    for stream in range(streams):
        counts[_buffer([16] * 3 + [12], m, generator(stream)).numpy()] += 1
    assert counts.sum() == m * streams
    # binomial: 4 sigma at each of the 60 positions of the stream
    p = m / n
    np.testing.assert_allclose(counts / streams, p, rtol=0, atol=4 * np.sqrt(p * (1 - p) / streams))


def test_every_pair_stays_together_as_in_sampling_without_replacement():
    m, n, streams = 3, 8, 8000
    together = np.zeros((n, n))
    for stream in range(streams):
        kept = _buffer([n], m, generator(stream)).numpy()
        together[np.ix_(kept, kept)] += 1
    p = m * (m - 1) / (n * (n - 1))
    observed = together[np.triu_indices(n, 1)] / streams
    np.testing.assert_allclose(observed, p, rtol=0, atol=4 * np.sqrt(p * (1 - p) / streams))


def test_later_sample_takes_each_slot_equally_often():
    m, streams = 5, 8000
    slots = torch.stack([reservoir_slots(19, 1, m, generator(stream)) for stream in range(streams)]).flatten()
    p = 1 / 20  # slot by slot, of the 20th sample
    share = np.bincount(slots[slots >= 0].numpy(), minlength=m) / streams
    np.testing.assert_allclose(share, p, rtol=0, atol=4 * np.sqrt(p * (1 - p) / streams))


def test_empty_buffer_and_empty_batch():
    assert reservoir_slots(0, 3, 0, generator(0)).tolist() == [-1, -1, -1]
    assert reservoir_slots(10, 0, 4, generator(0)).tolist() == []


def _buffer(batches, size, draw):
    """Positions in the stream of what a buffer holds after batches of these sizes."""
    buffer, seen = torch.full((size,), -1), 0
    for count in batches:
        slots = reservoir_slots(seen, count, size, draw)
        taken = slots >= 0
        buffer[slots[taken]] = torch.arange(seen, seen + count)[taken]
        seen += count
    return buffer
