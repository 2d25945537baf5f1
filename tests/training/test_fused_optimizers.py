"""Fused optimizers: when they are used, and that they compute what the ordinary ones compute."""

import contextlib
import copy
import functools

import pytest
import torch
from laboratory import Blobs, fit, make
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop

from tl_lab.training.fused import fuse, fuses, merged_groups, portable_groups

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
KINDS = {
    "sgd": functools.partial(SGD, lr=0.05),
    "momentum": functools.partial(SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": functools.partial(Adam, lr=0.01),
    "amsgrad": functools.partial(Adam, lr=0.01, amsgrad=True, weight_decay=1e-2),
    "adamw": functools.partial(AdamW, lr=0.01, weight_decay=1e-2),
}


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def _train(network: nn.Module, optimizer: torch.optim.Optimizer, updates: range) -> None:
    for number in updates:
        draw = torch.Generator().manual_seed(number)
        loss = network(torch.randn(8, 6, generator=draw)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _same(one: nn.Module, other: nn.Module) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_fused_updates_are_those_of_the_ordinary_optimizer(kind) -> None:
    """Also from the middle of a run, with a state that the ordinary one has made."""
    networks = [_network(), _network()]
    ordinary, fused = (KINDS[kind](network.parameters()) for network in networks)
    for network, optimizer in zip(networks, (ordinary, fused), strict=True):
        _train(network, optimizer, range(3))
    fuse(fused)
    assert all(group["fused"] is True for group in fused.param_groups)
    for network, optimizer in zip(networks, (ordinary, fused), strict=True):
        _train(network, optimizer, range(3, 9))
    _same(*networks)
    steps = [float(state["step"]) for state in fused.state.values() if "step" in state]
    assert steps == ([] if kind in ("sgd", "momentum") else [9.0] * 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_contains_the_configured_options_and_resumes_without_them(kind) -> None:
    network = _network()
    optimizer = KINDS[kind](network.parameters())
    configured = copy.deepcopy(optimizer.state_dict()["param_groups"])
    fuse(optimizer)
    _train(network, optimizer, range(4))
    state = copy.deepcopy(optimizer.state_dict())
    portable_groups(state)
    assert state["param_groups"] == configured
    resumed = copy.deepcopy(network)
    other = KINDS[kind](resumed.parameters())
    other.load_state_dict(state)
    assert other.param_groups[0]["fused"] is None
    _train(network, optimizer, range(4, 8))
    _train(resumed, other, range(4, 8))
    _same(network, resumed)


def test_recorded_updates_read_their_rate_from_the_device() -> None:
    optimizer = Adam(_network().parameters(), lr=0.01)
    fuse(optimizer, capturable=True)
    assert (optimizer.param_groups[0]["fused"], optimizer.param_groups[0]["capturable"]) == (True, True)
    optimizer.param_groups[0]["lr"] = torch.tensor(0.5)
    state = optimizer.state_dict()
    portable_groups(state)
    group = state["param_groups"][0]
    assert (group["fused"], group["capturable"], group["lr"]) == (None, False, 0.5)
    plain = SGD(_network().parameters(), lr=0.01)
    fuse(plain, capturable=True)
    assert "capturable" not in plain.param_groups[0]


def test_they_are_used_on_a_gpu_unless_the_configuration_decides() -> None:
    def decided(kind, device=CUDA, precision="32-true", network=None, **options) -> bool:
        return fuses(kind((network or _network()).parameters(), lr=0.01, **options), device, precision)

    assert all(decided(kind) for kind in (SGD, Adam, AdamW))
    assert all(decided(Adam, precision=precision) for precision in ("bf16-mixed", "64-true"))
    assert not any(decided(kind, CPU) for kind in (SGD, Adam, AdamW))
    assert not any(decided(kind) for kind in (RMSprop, Adagrad))
    assert not decided(Adam, precision="16-mixed")
    for options in ({"fused": True}, {"fused": False}, {"foreach": True}, {"foreach": False}, {"differentiable": True}):
        assert not decided(SGD, **options)
    assert not decided(Adam, network=nn.Linear(2, 2, dtype=torch.complex64))


def test_runs_on_the_cpu_keep_the_ordinary_optimizer() -> None:
    data, model = make(data=Blobs(batch_size=20), graph="auto")
    trainer = fit(data, model, epochs=1)
    (optimizer,) = trainer.optimizers
    assert all(group["fused"] is None and "as_configured" not in group for group in optimizer.param_groups)


def _groups(network: nn.Module, rates: list[float]) -> list[dict]:
    pairs = zip(network.parameters(), rates, strict=True)
    return [{"name": str(i), "params": [p], "lr": lr, "base_lr": lr} for i, (p, lr) in enumerate(pairs)]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_groups_are_updated_together_to_the_same_bits(kind) -> None:
    networks, rates = [_network(), _network()], [0.02, 0.05, 0.02, 0.02]
    apart, together = (KINDS[kind](_groups(network, rates)) for network in networks)
    for optimizer in (apart, together):
        fuse(optimizer)
    sizes = []
    for number in range(5):
        for network, optimizer in zip(networks, (apart, together), strict=True):
            draw = torch.Generator().manual_seed(number)
            network(torch.randn(8, 6, generator=draw)).square().mean().backward()
            own = optimizer.param_groups
            if optimizer is together:
                with merged_groups(optimizer):
                    sizes.append([(len(group["params"]), group["lr"]) for group in optimizer.param_groups])
                    optimizer.step()
            else:
                optimizer.step()
            optimizer.zero_grad()
            assert optimizer.param_groups is own
            assert [group["lr"] for group in own] == rates
    assert sizes == [[(3, 0.02), (1, 0.05)]] * 5
    assert all(torch.equal(a, b) for a, b in zip(*(network.parameters() for network in networks), strict=True))
    assert [group["name"] for group in together.state_dict()["param_groups"]] == ["0", "1", "2", "3"]


def test_groups_stay_apart_with_other_options_or_if_they_are_not_fused() -> None:
    optimizer = SGD(_groups(_network(), [0.1] * 4), lr=0.1)
    with merged_groups(optimizer):
        assert len(optimizer.param_groups) == 4
    fuse(optimizer)
    optimizer.param_groups[1]["weight_decay"] = 0.1
    with merged_groups(optimizer):
        assert [len(group["params"]) for group in optimizer.param_groups] == [3, 1]
    assert len(optimizer.param_groups) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_that_starts_later_has_no_momentum_yet(kind) -> None:
    """As the head of a new task, or a layer that is unfrozen."""
    networks = [_network(), _network()]
    apart, together = (KINDS[kind](_groups(network, [0.05] * 4)) for network in networks)
    for optimizer in (apart, together):
        fuse(optimizer)
    for number in range(5):
        for network, optimizer in zip(networks, (apart, together), strict=True):
            network[2].requires_grad_(number > 2)
            draw = torch.Generator().manual_seed(number)
            network(torch.randn(8, 6, generator=draw)).square().mean().backward()
            with merged_groups(optimizer) if optimizer is together else contextlib.nullcontext():
                optimizer.step()
            optimizer.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(*(network.parameters() for network in networks), strict=True))
