"""Sharded training, over gloo on the CPU: the same bits as a plain run, or a refusal in one sentence."""

import functools
import gc
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from composing import run_in
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class
from laboratory import BlobPair, differing, make, state
from program_starts import Start, two_processes

from tl_lab.config import choices, compose
from tl_lab.config.nodes import read_node
from tl_lab.domain_adaptation.mcd import MCD
from tl_lab.errors import UserError
from tl_lab.run.mishaps import explained
from tl_lab.run.pairing import check_protocol
from tl_lab.run.parallel import free_port
from tl_lab.run.plan import Plan
from tl_lab.strategies import base
from tl_lab.training.sharding import FullySharded, is_sharded, load_weights, local, unshard, whole_parameters

pytestmark = pytest.mark.filterwarnings("ignore")

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ALONE = ["trainer.accelerator=cpu", "trainer.devices=1"]
GROUPS = ("strategy", "domain_adaptation", "adapter")
NODES = {f"{group}={name}": read_node(file) for group in GROUPS for name, file in choices(group)[group].items()}
SHORT = ["data=digits", "backbone=mlp", "backbone.hidden=[16]", "domain_adaptation=none", "data.batch_size=32"]
SHORT += [
    "logger=none",
    "figures=false",
    "trainer.limit_train_batches=3",
    "strategy.bottleneck=null",
    "forgetting=false",
]
SHARDABLE = [
    name
    for name, node in NODES.items()
    if "_target_" in node and get_class(node["_target_"]).shardable and name != "adapter=qlora"  # which needs a GPU
]


def trained(strategy):
    data, model = make(
        data=BlobPair(batch_size=20),
        adaptation=MCD(generator_steps=1),
        optimizer=functools.partial(torch.optim.Adam, lr=1e-3),
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        strategy=strategy,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=data)
    return trainer, data, model


@pytest.fixture
def _group():
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    gc.collect()  # a process that is forked later could not destroy the group


@pytest.mark.usefixtures("_group")
def test_one_process_trains_to_the_same_bits(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as a run sets it: Lightning would take more threads for the second one
    plain, _, model = trained("auto")
    expected = state(model)
    sharded, data, spread = trained(FullySharded(process_group_backend="gloo"))
    assert (is_sharded(plain.strategy), is_sharded(sharded.strategy)) == (False, True)
    whole = {name: tensor.clone() for name, tensor in sharded.strategy.lightning_module_state_dict().items()}
    assert differing(expected, whole) == set()
    assert whole_parameters(spread) == []
    with pytest.raises(RuntimeError) as mixed:  # as a method does that was written for whole parameters
        next(spread.parameters()).lerp(torch.zeros_like(next(iter(whole.values()))), 0.5)
    assert str(explained(mixed.value)).endswith("which trainer=fsdp shards: use trainer=ddp")
    load_weights(spread, {name: torch.zeros_like(tensor) for name, tensor in whole.items()})
    assert all(hasattr(parameter, "to_local") for parameter in spread.network.parameters())
    assert not any(local(parameter).any() for parameter in spread.parameters())
    load_weights(spread, whole)
    assert differing(expected, sharded.strategy.lightning_module_state_dict()) == set()
    sharded.test(spread, datamodule=data, verbose=False)
    unshard(spread)
    assert not any(hasattr(parameter, "to_local") for parameter in spread.network.parameters())


def sharded(folder: Path, *given: str) -> dict[str, Any]:
    """Run with one process that shards, which is forked, since a group of processes cannot outlive a fork."""
    start = Start(
        *dict.fromkeys(given),
        "trainer=fsdp",
        *ALONE,
        f"hydra.run.dir={folder}",
        output=folder.with_name(f"{folder.name}.txt"),
        environment={"MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"},
    )
    assert start.wait() == 0, start.printed
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize(
    "given",
    [["strategy=fine_tuning", "strategy.linear_probe.enabled=true"], ["strategy=pretraining"]],
    ids=["linear probe", "pretraining"],
)
def test_a_fitted_head_is_that_of_a_plain_run(given: list[str], tmp_path: Path) -> None:
    given = [*SHORT, *given, "trainer.max_epochs=2", "channels_last=false"]
    assert sharded(tmp_path / "sharded", *given)["metrics"] == run_in(tmp_path / "plain", *given)["metrics"]


def test_two_processes_fit_the_same_head(tmp_path: Path) -> None:
    given = [*SHORT, "strategy=fine_tuning", "strategy.linear_probe.enabled=true", "trainer.max_epochs=1"]
    two_processes(*given, "trainer.accelerator=cpu", "trainer.devices=2", folder=tmp_path / "two", trainer="fsdp")
    one, two = run_in(tmp_path / "one", *given), json.loads((tmp_path / "two" / "results.json").read_text())
    assert two["metrics"] == pytest.approx(one["metrics"], rel=1e-3)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Give the overrides of a tiny run of each choice, with the small data and random encoders that it needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import gpu_runs

        own = gpu_runs.files(tmp_path_factory.mktemp("own"))
        tiny = [*gpu_runs.TINY, *gpu_runs.QUIET]
        found = {name: [*tiny, *options] for name, options in gpu_runs.cases("cpu", own).items()}
        sys.modules.pop("gpu_runs")
        return found


@pytest.mark.slow
@pytest.mark.parametrize("choice", SHARDABLE)
def test_what_may_be_sharded_completes_a_tiny_run(choice: str, cases: dict[str, list[str]], tmp_path: Path) -> None:
    given = [text for text in cases[choice] if not text.startswith(f"{choice.partition('=')[0]}=")]
    assert sharded(tmp_path / "run", *given, choice)["status"] == "completed"


def test_most_choices_may_be_sharded():
    assert len(SHARDABLE) > 40
    whole = {name.partition("/")[0] for name in set(NODES) - set(SHARDABLE)}
    assert {"strategy=maml", "strategy=ewc", "strategy=a_gem", "domain_adaptation=self_training"} <= whole
    assert not {"strategy=fine_tuning", "domain_adaptation=dann", "adapter=lora"} & whole


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["strategy=ewc"], "strategy=EWC"),
        (["strategy=a_gem"], "strategy=AGem"),
        (["strategy=maml"], "strategy=MAML"),
        (["domain_adaptation=self_training"], "domain_adaptation=SelfTraining"),
        (["callbacks=ema"], r"callbacks\.average"),
        (["callbacks=swa"], r"callbacks\.average"),
        (["strategy=naive", "strategy.task_ends_with=best"], r"strategy\.task_ends_with=best"),
        (["strategy=fine_tuning", "strategy.l2_sp={alpha: 0.1}"], r"strategy\.l2_sp"),
        (["strategy=multi_task", "data=tasks", "strategy.weighting=pcgrad"], r"strategy\.weighting=pcgrad"),
    ],
)
def test_what_needs_whole_parameters_is_refused(overrides, what, monkeypatch) -> None:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # of an earlier run, whose choices would be named
    message = rf"^{what} computes with whole parameters, which trainer=fsdp shards: use trainer=ddp$"
    with pytest.raises(UserError, match=message):
        check_protocol(Plan.of(compose([*overrides, "trainer=fsdp"])))
    check_protocol(Plan.of(compose([*overrides, "trainer=ddp"])))


@pytest.mark.parametrize("processes", [1, 2])
def test_parameters_that_processes_would_train_apart_are_refused(processes, monkeypatch):
    """As those of a strategy's own module, which is not among the parts of the network."""
    monkeypatch.setattr(base, "shard", lambda parts, mesh: None)
    _, model = make()
    sharding = FullySharded.__new__(FullySharded)
    sharding._device_mesh = {"data_parallel": None}
    model._trainer = SimpleNamespace(strategy=sharding, world_size=processes)
    if processes == 1:
        model.configure_model()
        return
    with pytest.raises(UserError, match=r"does not shard network\..*, so that each process would train its own"):
        model.configure_model()
