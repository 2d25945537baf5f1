"""Reptile: the result of an update, against descent on each support by hand."""

import copy
import warnings
from types import SimpleNamespace

import pytest
import torch
from episodes_at_hand import WAY, adapt_by_hand, episode, gradients, make, objective, ready
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.strategies.few_shot.reptile import Reptile

INNER = {"inner_steps": 4, "test_inner_steps": 3, "inner_rate": 0.2}


@pytest.mark.parametrize("tasks", ["loop", "vmap"])
def test_an_update_moves_by_epsilon_towards_the_mean_of_the_adapted_weights(tasks):
    reptile, batch = make(Reptile, tasks=tasks, **INNER), episode(3)
    start = copy.deepcopy(reptile.network)
    objective(reptile, batch).backward()
    torch.optim.SGD(reptile.network.parameters(), lr=0.25).step()
    adapted = [
        dict(adapt_by_hand(start, batch.support.x[e], batch.support.y[e], 4, 0.2).named_parameters()) for e in range(3)
    ]
    for name, theta in start.named_parameters():
        mean = torch.stack([each[name] for each in adapted]).mean(0)
        found = reptile.network.get_parameter(name)
        torch.testing.assert_close(found, theta + 0.25 * (mean - theta), rtol=1e-9, atol=1e-12)


def test_inner_steps_see_the_drawn_samples_in_turn():
    reptile, batch = make(Reptile, inner_batch=5, **INNER), episode(1, shot=4)
    rows = reptile._draw(batch.support.y)[0]
    network = copy.deepcopy(reptile.network)
    for step in range(4):
        x, y = batch.support.x[0, rows[step]], batch.support.y[0, rows[step]]
        slopes = torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(network.parameters(), slopes, strict=True):
                parameter -= 0.2 * slope
    found = gradients(reptile, batch)
    for name, theta in reptile.network.named_parameters():
        torch.testing.assert_close(theta - found[name], network.get_parameter(name), rtol=1e-9, atol=1e-12)


def test_samples_come_again_when_all_were_seen_and_others_at_the_next_update():
    reptile, y = make(Reptile, inner_batch=6, **INNER), episode(2, shot=4).support.y
    rows = reptile._draw(y)
    assert rows.shape == (2, 4, 6)
    for one in rows.flatten(1):  # 24 draws of 12 samples: each twice, the first half holds each once
        assert one[:12].sort().values.tolist() == list(range(12))
        assert one.bincount().tolist() == [2] * 12
    assert torch.equal(rows, reptile._draw(y))
    assert not torch.equal(rows[0], rows[1])
    reptile.updates_done = 1
    assert not torch.equal(rows, reptile._draw(y))


def test_an_inner_batch_that_is_the_whole_support_is_reported():
    data = ready()  # 3-way 2-shot
    for size, count in ((5, 0), (6, 1), (None, 0)):
        reptile = make(Reptile, inner_batch=size, **INNER)
        reptile._trainer = SimpleNamespace(datamodule=data)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            reptile.setup("fit")
        assert len([one for one in caught if "the support of 6" in str(one.message)]) == count


def test_an_option_without_effect_is_refused():
    with pytest.raises(UserError, match="label_smoothing must be 0 for Reptile"):
        make(Reptile, label_smoothing=0.1, **INNER)


def test_queries_play_no_part():
    reptile, batch = make(Reptile, **INNER), episode(2)
    other = batch._replace(query=batch.query._replace(x=batch.query.x.flip(1)))
    torch.testing.assert_close(gradients(reptile, batch), gradients(reptile, other), rtol=0, atol=0)


def test_loss_is_that_of_the_adapted_queries():
    reptile, batch = make(Reptile, **INNER), episode(1)
    adapted = adapt_by_hand(reptile.network, batch.support.x[0], batch.support.y[0], 4, 0.2)
    expected = F.cross_entropy(adapted(batch.query.x[0]), batch.query.y[0])
    assert objective(reptile, batch).item() == pytest.approx(expected.item(), rel=1e-10)


def test_a_test_descends_on_whole_supports():
    reptile, batch = make(Reptile, inner_batch=2, **INNER).eval(), episode(1)
    found = reptile.test_logits(batch)
    network = copy.deepcopy(reptile.network).train()
    expected = adapt_by_hand(network, batch.support.x[0], batch.support.y[0], 3, 0.2)(batch.query.x[0])
    torch.testing.assert_close(found[0], expected, rtol=1e-9, atol=1e-9)
    assert found.shape[2] == WAY


def test_an_empty_batch_is_refused():
    with pytest.raises(UserError, match="inner_batch must be null or at least 1, not 0"):
        make(Reptile, inner_batch=0, **INNER)
