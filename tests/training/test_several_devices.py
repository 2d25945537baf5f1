"""Other ways of training: DDP, sharding over two processes, synchronised batch norm, bf16, compilation."""

import copy
import functools
import gc
import json
import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from composing import run_in
from laboratory import BlobPair, differing, fit, make, state
from program_starts import two_processes
from timm.layers import BatchNormAct2d
from torch import nn

from tl_lab.config import compose
from tl_lab.domain_adaptation.mcd import MCD
from tl_lab.errors import UserError
from tl_lab.run import build as building
from tl_lab.run import parallel
from tl_lab.run.build import build
from tl_lab.run.parallel import choose_port, free_port, synchronise_batch_norm
from tl_lab.run.plan import Plan

pytestmark = pytest.mark.filterwarnings("ignore")


def test_ddp_on_one_device_equals_one_process_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    states = []
    for strategy in ("auto", "ddp_find_unused_parameters_true"):
        data, model = make(
            data=BlobPair(batch_size=20),
            adaptation=MCD(generator_steps=1),
            optimizer=functools.partial(torch.optim.Adam, lr=1e-3),
        )
        try:
            fit(data, model, epochs=1, strategy=strategy)
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()
            gc.collect()  # a process that is forked later could not destroy the group
        states.append(state(model))
    assert differing(*states) == set()


def test_processes_meet_at_a_port_that_no_connection_and_no_program_has(monkeypatch: pytest.MonkeyPatch) -> None:
    connections = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(20_000 <= free_port() < connections for _ in range(20))
    with socket.socket() as taken:
        taken.bind(("", free_port()))
        of_taken = taken.getsockname()[1]
        monkeypatch.setattr(parallel, "_PORTS", range(of_taken, of_taken + 100))
        assert all(free_port() != of_taken for _ in range(20))


@pytest.mark.parametrize("given", [None, "23456"])
@pytest.mark.parametrize("devices", [1, 2])
def test_the_port_is_chosen_for_several_processes_unless_it_is_given(
    devices: int, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASTER_PORT", raising=False)
    if given:
        monkeypatch.setenv("MASTER_PORT", given)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    choose_port(trainer)
    chosen = os.environ.get("MASTER_PORT")
    assert chosen == given if given or devices == 1 else 20_000 <= int(str(chosen)) < 32_768


def test_two_processes_divide_the_parameters_and_train_as_one(tmp_path: Path) -> None:
    """The mean of two halves' gradients is that of the batch; the halves are summed in another order."""
    given = ["data=digits", "backbone=mlp", "domain_adaptation=none", "logger=none", "figures=false"]
    given += ["trainer.max_epochs=1", "trainer.limit_train_batches=3", "data.batch_size=32"]
    shared = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.deterministic=true"]
    two_processes(*given, *shared, folder=tmp_path / "two", trainer="fsdp")
    one, two = run_in(tmp_path / "one", *given), json.loads((tmp_path / "two" / "results.json").read_text())
    assert two["device"] == "2 x cpu"
    assert two["metrics"] == pytest.approx(one["metrics"], rel=1e-4)
    weights = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("one", "two")
    ]
    assert set(weights[0]) == set(weights[1])
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name], atol=1e-5), name


@pytest.mark.parametrize(
    ("norms", "world_size", "given", "message"),
    [
        (True, 1, True, "nothing to synchronise, because there is one process"),
        (False, 2, True, "nothing to synchronise, because the network has no batch-norm"),
        (True, 2, True, "needs GPUs: set trainer.sync_batchnorm=false"),
        (True, 2, False, "needs GPUs: set trainer.sync_batchnorm=false"),
        (False, 2, False, None),
        (True, 1, False, None),
    ],
)
def test_norms_are_synchronised_if_there_are_norms_and_gpus(norms, world_size, given, message) -> None:
    plan = SimpleNamespace(
        trainer=SimpleNamespace(option={"sync_batchnorm": True}.get),
        overrides=["trainer.sync_batchnorm=true"] if given else [],
    )
    module = nn.Sequential(nn.Linear(2, 2), *([nn.BatchNorm1d(2)] if norms else []))
    trainer = SimpleNamespace(world_size=world_size, strategy=SimpleNamespace(root_device=torch.device("cpu")))
    arguments = plan, SimpleNamespace(strategy=module), trainer
    if message is None:
        synchronise_batch_norm(*arguments)  # type: ignore[arg-type]
        assert not any(isinstance(one, nn.SyncBatchNorm) for one in module)
        return
    with pytest.raises(UserError, match=message):
        synchronise_batch_norm(*arguments)  # type: ignore[arg-type]


def _on_two_gpus(module: nn.Module) -> None:
    """Synchronise as with two processes on GPUs; without a group of processes, each synchronised norm runs alone."""
    plan = SimpleNamespace(trainer=SimpleNamespace(option={"sync_batchnorm": True}.get), overrides=[])
    trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(root_device=torch.device("cuda")))
    synchronise_batch_norm(plan, SimpleNamespace(strategy=module), trainer)  # type: ignore[arg-type]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, functools.partial(BatchNormAct2d, act_layer=nn.ReLU6)])
def test_synchronised_norms_compute_the_same_with_the_same_parameters(kind, training: bool) -> None:
    """Norms of timm also apply the activation that follows, which must not be lost."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 3, 3), kind(3), nn.Conv2d(3, 2, 3))
    x = 20 * torch.randn(4, 1, 7, 7)
    module(x)  # statistics of its own
    other = copy.deepcopy(module)
    parameters = list(module.parameters())
    names = list(module.state_dict())
    _on_two_gpus(module)
    assert isinstance(module[1], nn.SyncBatchNorm)
    assert all(one is own for one, own in zip(module.parameters(), parameters, strict=True))
    assert list(module.state_dict()) == names
    assert torch.equal(module.train(training)(x), other.train(training)(x))
    assert differing(module.state_dict(), other.state_dict()) == set()
    _on_two_gpus(module)  # those of a second training are left as they are
    assert torch.equal(module.eval()(x), other.eval()(x))


class _Doubled(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_norms_that_compute_more_are_not_replaced_silently() -> None:
    module = nn.Sequential(nn.BatchNorm2d(1), _Doubled(1))
    with pytest.raises(UserError, match=r"cannot synchronise _Doubled.*set trainer\.sync_batchnorm=false"):
        _on_two_gpus(module)
    assert type(module[0]) is nn.BatchNorm2d


def test_bf16_computes_with_8_bits_of_mantissa_and_keeps_weights_in_32() -> None:
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        data, model = make(optimizer=functools.partial(torch.optim.SGD, lr=1e-12))
        fit(data, model, epochs=1, precision=precision)
        losses[precision] = model.last_loss
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert losses["bf16-mixed"] != losses["32-true"]
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=2**-7)


def test_compiling_changes_no_name_in_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    original = nn.Module.compile

    def by_the_eager_backend(self: nn.Module) -> None:
        compiled.append(self)
        original(self, backend="eager")  # the usual one takes minutes, and what it does to names is the same

    monkeypatch.setattr(nn.Module, "compile", by_the_eager_backend)
    overrides = ["data=digits", "backbone=mlp", "backbone.hidden=[8]", "domain_adaptation=none"]
    plain, fast = (build(Plan.of(compose([*overrides, f"update.compile={on}"]))) for on in ("false", "true"))
    assert compiled == building.backbones(fast.strategy)
    assert list(plain.strategy.state_dict()) == list(fast.strategy.state_dict())
    x = plain.data.inputs_at("train", torch.arange(4))
    assert torch.allclose(plain.strategy(x), fast.strategy(x))
    assert not any("_orig_mod" in name for name in fast.strategy.state_dict())
