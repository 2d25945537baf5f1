"""MAML: the optimizer's gradients against finite differences and a loop by hand; batch norm; state after a test."""

import copy
from unittest import mock

import pytest
import torch
from episodes_at_hand import QUERIES, WAY, Normed, adapt_by_hand, episode, gradients, make, objective
from torch import nn
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.strategies.few_shot.maml import MAML

INNER = {"inner_steps": 2, "test_inner_steps": 3, "inner_rate": 0.3}


@pytest.mark.parametrize("tasks", ["loop", "vmap"])
def test_by_default_the_device_decides_how_episodes_are_computed(tasks):
    maml = make(MAML, **INNER)
    assert maml.tasks == "loop"  # on the CPU
    assert make(MAML, tasks=tasks, **INNER).tasks == tasks
    with mock.patch.object(MAML, "device", torch.device("cuda")):
        assert maml.tasks == "vmap"
        assert make(MAML, tasks=tasks, **INNER).tasks == tasks


def test_a_network_in_channels_last_classifies_under_vmap():
    """As a loaded run does on a GPU, where batch norm under vmap refuses that memory format."""
    expected = make(MAML, tasks="loop", **INNER).eval().episode_logits(episode(1).support, episode(1).query, WAY)
    maml = make(MAML, tasks="vmap", **INNER).eval()
    maml.network.to(memory_format=torch.channels_last)
    weight = maml.network.backbone.two[0].weight
    assert not weight.is_contiguous()
    found = maml.episode_logits(episode(1).support, episode(1).query, WAY)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert weight.is_contiguous()


@pytest.mark.parametrize("tasks", ["loop", "vmap"])
def test_gradient_is_the_central_difference_of_the_adapted_queries_loss(tasks):
    maml, batch = make(MAML, tasks=tasks, **INNER), episode()
    found = gradients(maml, batch)
    start = {name: p.detach().clone() for name, p in maml.network.named_parameters()}
    draw = torch.Generator().manual_seed(1)
    for _ in range(2):
        along = {name: torch.randn(p.shape, generator=draw, dtype=p.dtype) for name, p in start.items()}
        h, ends = 1e-5, []
        for sign in (1, -1):
            moved = {name: p + sign * h * along[name] for name, p in start.items()}
            maml.network.load_state_dict(moved, strict=False)
            losses = []
            for e in range(2):
                adapted = adapt_by_hand(maml.network, batch.support.x[e], batch.support.y[e], 2, 0.3)
                losses.append(F.cross_entropy(adapted(batch.query.x[e]), batch.query.y[e]).item())
            ends.append(sum(losses) / 2)
        expected = (ends[0] - ends[1]) / (2 * h)
        assert sum((found[name] * along[name]).sum().item() for name in found) == pytest.approx(expected, rel=1e-6)


def test_loop_and_vmap_hand_out_the_same_and_gather_the_same_statistics():
    loop, vmap = (make(MAML, tasks=tasks, **INNER) for tasks in ("loop", "vmap"))
    torch.testing.assert_close(gradients(loop, episode(3)), gradients(vmap, episode(3)), rtol=1e-10, atol=1e-12)
    buffers = [dict(maml.network.named_buffers()) for maml in (loop, vmap)]
    torch.testing.assert_close(*buffers, rtol=1e-10, atol=1e-12)
    for inner in (loop, vmap):
        inner.eval()
    torch.testing.assert_close(loop.test_logits(episode(3, 1)), vmap.test_logits(episode(3, 1)), rtol=1e-9, atol=1e-9)


def test_statistics_are_the_mean_over_episodes_of_the_adapted_queries():
    maml, batch = make(MAML, **INNER), episode(2)
    expected = []
    for e in range(2):
        network = adapt_by_hand(maml.network, batch.support.x[e], batch.support.y[e], 2, 0.3)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
        network(batch.query.x[e])
        expected.append(dict(network.named_buffers()))
    objective(maml, batch)
    for name, found in maml.network.named_buffers():
        if "running" in name:
            torch.testing.assert_close(found, (expected[0][name] + expected[1][name]) / 2)


def test_episodes_do_not_change_the_targets_statistics():
    maml = make(MAML, **INNER)
    maml.network.separate_statistics()
    maml.network.use("target")  # as an adaptation leaves it
    objective(maml, episode())
    norm = maml.network.backbone.one[1]
    assert torch.equal(norm.target_running_mean, torch.zeros_like(norm.target_running_mean))
    assert norm.source_running_mean.norm() > 0


@pytest.mark.parametrize("batch_norm", ["transductive", "running"])
def test_a_test_adapts_to_each_support_and_changes_no_state(batch_norm):
    maml, batch = make(MAML, batch_norm=batch_norm, **INNER), episode(3)
    objective(maml, episode(2, 5))  # running statistics of their own
    maml.eval()
    before = copy.deepcopy(maml.state_dict())
    with torch.no_grad():
        found = maml.test_logits(batch)
    torch.testing.assert_close(maml.state_dict(), before, rtol=0, atol=0)
    assert found.shape == (3, WAY * QUERIES, WAY)
    assert not found.requires_grad
    network = copy.deepcopy(maml.network).train(batch_norm == "transductive")
    for e in range(3):
        expected = adapt_by_hand(network, batch.support.x[e], batch.support.y[e], 3, 0.3)(batch.query.x[e])
        torch.testing.assert_close(found[e], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch_norm", ["transductive", "running"])
def test_queries_affect_each_other_only_if_reported(batch_norm):
    maml, batch = make(MAML, batch_norm=batch_norm, **INNER).eval(), episode(1)
    changed = batch.query.x.clone()
    changed[:, 1:] += 1
    first = [maml.test_logits(b)[0, 0] for b in (batch, batch._replace(query=batch.query._replace(x=changed)))]
    assert torch.equal(*first) is (batch_norm == "running")
    assert ("queries included" in maml.facts()["batch-norm statistics at test"]) is (batch_norm == "transductive")


def test_frozen_layers_are_neither_adapted_nor_learned():
    maml, batch = make(MAML, trainable=1, **INNER), episode(1)
    assert set(gradients(maml, batch)) == {
        name for name, _ in maml.network.named_parameters() if not name.startswith("backbone.one")
    }
    before = maml.network.backbone.one[1].running_mean.clone()
    objective(maml, batch)
    assert torch.equal(maml.network.backbone.one[1].running_mean, before)


def test_first_order_differs_from_second():
    first, second = (make(MAML, first_order=first, **INNER) for first in (True, False))
    assert first.facts()["meta-gradient"] == "first order"
    a, b = (gradients(maml, episode())["backbone.one.0.weight"] for maml in (first, second))
    assert (a - b).norm() > 0.01 * b.norm()


def test_loss_is_that_of_the_adapted_queries():
    maml, batch = make(MAML, **INNER), episode(1)
    adapted = adapt_by_hand(maml.network, batch.support.x[0], batch.support.y[0], 2, 0.3)
    expected = F.cross_entropy(adapted(batch.query.x[0]), batch.query.y[0])
    assert objective(maml, batch).item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"inner_steps": 0}, "inner_steps must be at least 1"),
        ({"test_inner_steps": -1}, "test_inner_steps at least 0"),
        ({"inner_rate": 0.0}, "inner_rate must be above 0"),
        ({"tasks": "map"}, "'loop' or 'vmap', not 'map'"),
        ({"batch_norm": "batch"}, "strategy.batch_norm"),
    ],
)
def test_refusals(option, message):
    with pytest.raises(UserError, match=message):
        make(MAML, **{**INNER, **option})


def test_the_networks_names_are_the_parts():
    # adapted weights are found by their part's name
    names = {name.partition(".")[0] for name, _ in make(MAML, **INNER).network.named_parameters()}
    assert names == {"backbone", "head"}
    assert isinstance(make(MAML, **INNER).network.backbone, Normed)
