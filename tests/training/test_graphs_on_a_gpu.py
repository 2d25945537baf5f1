"""CUDA graphs: replays equal the same code run eagerly to the last bit, and the usual optimizers to 1e-6."""

import functools
import importlib
import json
import os
from pathlib import Path

import pytest
import torch

from tl_lab.cli.train import main
from tl_lab.config import choices
from tl_lab.run.checkpoints import read_checkpoint
from tl_lab.training import step
from tl_lab.training.replay import Replayer
from tl_lab.training.seen_replayed import GROUPS, STORED

# on a machine without a GPU, TL_LAB_REHEARSE=1 runs the same cases on the CPU, without graphs
REHEARSED = bool(os.environ.get("TL_LAB_REHEARSE")) and not torch.cuda.is_available()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available() and not REHEARSED, reason="there is no GPU"),
    pytest.mark.filterwarnings("ignore"),
]

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PAIR = ["data.source_count=200", "data.source_test_count=50", "data.target_test_count=1600", "data.batch_size=8"]
SHORT = [f"trainer={'cpu' if REHEARSED else 'gpu'}", "trainer.max_epochs=2", "trainer.limit_val_batches=1"]
SHORT += ["trainer.limit_test_batches=1", "trainer.enable_progress_bar=false", "logger=none", "figures=false"]
SHORT += ["health=false"]  # it observes the last update of an epoch, which is then not replayed
OPTIONS = {
    "backbone.dropout=0.5": PAIR,
    "backbone.batch_norm=true": PAIR,
    "update.gradient_clip_norm=0.1": PAIR,
    "trainer.precision=bf16-mixed": PAIR,
    "strategy.layers.unfreeze_every=1": PAIR,
}
UNTRAINED = {"strategy=nearest_centroid", "strategy=prompting", "strategy=zero_shot"}
QUANTISED = {"adapter=qlora"}  # needs bitsandbytes, and has a test of its own
CASES = [f"{group}={name}" for group in GROUPS for name in choices(group)[group]]
CASES = [*(name for name in CASES if name not in UNTRAINED | QUANTISED), *OPTIONS]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Give the overrides of each case, those of the benchmark of GPUs; it writes small data and random encoders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        runs = importlib.import_module("gpu_runs")
        return {**runs.cases("gpu", runs.files(tmp_path_factory.mktemp("own"))), **OPTIONS}


def trained(folder: Path, case: str, given: list[str], *options: str) -> dict[str, torch.Tensor]:
    """Run a case, and give the weights that it ends with."""
    if REHEARSED:
        options = tuple(one for one in options if not one.startswith("update.graph"))
    words = {one.partition("=")[0]: one for one in (*SHORT, *given, case, *options)}
    main([*words.values(), f"hydra.run.dir={folder}"])
    assert json.loads((folder / "results.json").read_text())["status"] == "completed"
    state: dict[str, torch.Tensor] = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    """Give the names of tensors that are not equal to the last bit."""
    assert one.keys() == other.keys()
    return {name for name, tensor in one.items() if not torch.equal(tensor.nan_to_num(), other[name].nan_to_num())}


@pytest.mark.parametrize("case", CASES)
def test_replays_equal_the_same_code_run_eagerly(case, every, tmp_path, monkeypatch):
    options = ["trainer.limit_train_batches=6", "update.graph=true"]
    made: list[Replayer] = []

    class Observed(Replayer):
        def __init__(self, *given, **named):
            made.append(self)
            super().__init__(*given, **named)

    monkeypatch.setattr(step, "Replayer", Observed)
    replayed = trained(tmp_path / "replayed", case, every[case], *options)
    if case in json.loads(STORED.read_text()) and not REHEARSED:  # which update.graph=auto replays
        assert made
        assert made[0].reasons == []
    monkeypatch.setattr(step, "Replayer", functools.partial(Replayer, records=False))
    assert differing(trained(tmp_path / "eager", case, every[case], *options), replayed) == set()


@pytest.mark.parametrize("case", CASES)
def test_an_update_equals_that_of_the_usual_optimizer(case, every, tmp_path):
    options = ["trainer.limit_train_batches=1", "trainer.max_epochs=1"]
    if not case.startswith("optimizer"):
        options.append("optimizer=sgd")  # Adam turns rounding into whole steps where a gradient should be 0
    usual = trained(tmp_path / "usual", case, every[case], *options, "update.graph=false")
    own = trained(tmp_path / "own", case, every[case], *options, "update.graph=true")
    for name, weights in usual.items():
        torch.testing.assert_close(own[name], weights, rtol=1e-6, atol=1e-6, equal_nan=True)


class _Broken(Exception):
    pass


@pytest.mark.parametrize("case", ["domain_adaptation=dann", "strategy=ewc", "strategy=prototypical"])
def test_a_broken_run_with_graphs_resumes_to_the_same_bits(case, every, tmp_path, monkeypatch):
    options = ["trainer.limit_train_batches=6", "update.graph=true", "trainer.max_epochs=4"]
    whole = trained(tmp_path / "whole", case, every[case], *options)
    starts = step.Step.on_train_epoch_start

    def breaks(self):
        if self.trainer.current_epoch == 2:
            raise _Broken
        starts(self)

    monkeypatch.setattr(step.Step, "on_train_epoch_start", breaks)
    with pytest.raises(SystemExit):  # Hydra ends a process whose run has failed
        trained(tmp_path / "part", case, every[case], *options)
    monkeypatch.setattr(step.Step, "on_train_epoch_start", starts)
    main([f"resume={tmp_path / 'part'}"])
    state = read_checkpoint(tmp_path / "part" / "checkpoints" / "last.ckpt")["state_dict"]
    assert differing({name: state[name] for name in whole}, whole) == set()


def test_a_checkpoint_contains_the_ordinary_state_of_the_optimizer(every, tmp_path):
    """A run with graphs can therefore be resumed without them."""
    case = "optimizer=adam"
    trained(tmp_path / "run", case, every[case], "trainer.limit_train_batches=6", "update.graph=true")
    (state,) = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["optimizer_states"]
    assert all(isinstance(group["lr"], float) and group["capturable"] is False for group in state["param_groups"])


@pytest.mark.parametrize(
    ("case", "figure"),
    [("strategy=from_scratch", "confusion_*"), ("strategy=maml", "episode_*"), ("strategy=ewc", "*accurac*")],
)
def test_figures_are_drawn_after_the_test(case, figure, every, tmp_path):
    trained(tmp_path / "run", case, every[case], "trainer.limit_train_batches=2", "figures=true")
    assert list((tmp_path / "run" / "figures").glob(figure))
