"""CUDA graphs: replays equal the same code run eagerly to the last bit, and the usual optimizers to 1e-6."""

import functools
import json
from pathlib import Path

import pytest
import torch
from test_combinations import CONTINUAL, EPISODES, FEW_SHOT, NONE, ORDINARY, PAIR, QUIET, STREAM

from tl_lab.cli.train import main
from tl_lab.config import choices
from tl_lab.run.checkpoints import read_checkpoint
from tl_lab.training import step
from tl_lab.training.replay import Replayer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("ignore"),
]

SHORT = ["trainer=gpu", "trainer.max_epochs=2", "trainer.limit_val_batches=1", "health=false", *QUIET]
CASES = {
    **{f"strategy={name}": ["strategy.bottleneck=8", *PAIR] for name in ORDINARY},
    **{f"strategy={name}": [*STREAM, NONE] for name in CONTINUAL},
    **{f"strategy={name}": [*EPISODES, NONE] for name in FEW_SHOT if name != "nearest_centroid"},
    **{f"domain_adaptation={name}": PAIR for name in choices("domain_adaptation")["domain_adaptation"]},
    **{f"optimizer={name}": PAIR for name in choices("optimizer")["optimizer"]},
    "backbone.dropout=0.5": PAIR,
    "backbone.batch_norm=true": PAIR,
    "update.gradient_clip_norm=0.1": PAIR,
    "trainer.precision=bf16-mixed": PAIR,
    "strategy.layers.unfreeze_every=1": PAIR,
}


def trained(folder: Path, case: str, *options: str) -> dict[str, torch.Tensor]:
    """Run a case, and give the weights that it ends with."""
    given = {one.partition("=")[0]: one for one in (*SHORT, *CASES[case], case, *options)}
    main([*given.values(), f"hydra.run.dir={folder}"])
    assert json.loads((folder / "results.json").read_text())["status"] == "completed"
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]


@pytest.mark.parametrize("case", CASES)
def test_replays_equal_the_same_code_run_eagerly(case, tmp_path, monkeypatch):
    options = ["trainer.limit_train_batches=6", "update.graph=true"]
    replayed = trained(tmp_path / "replayed", case, *options)
    monkeypatch.setattr(step, "Replayer", functools.partial(Replayer, records=False))
    eager = trained(tmp_path / "eager", case, *options)
    tensors = {name: tensor.nan_to_num() for name, tensor in eager.items() if isinstance(tensor, torch.Tensor)}
    assert {name for name, tensor in tensors.items() if not torch.equal(tensor, replayed[name].nan_to_num())} == set()


@pytest.mark.parametrize("case", CASES)
def test_an_update_equals_that_of_the_usual_optimizer(case, tmp_path):
    options = ["trainer.limit_train_batches=1", "trainer.max_epochs=1"]
    if not case.startswith("optimizer"):
        options.append("optimizer=sgd")  # Adam turns rounding into whole steps where a gradient should be 0
    usual = trained(tmp_path / "usual", case, *options, "update.graph=false")
    own = trained(tmp_path / "own", case, *options, "update.graph=true")
    for name, weights in usual.items():
        if isinstance(weights, torch.Tensor):
            torch.testing.assert_close(own[name], weights, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_a_run_with_graphs_resumes_without(tmp_path):
    """What a checkpoint holds of the optimizer fits both ways."""
    trained(tmp_path / "run", "optimizer=adam", "trainer.limit_train_batches=6", "update.graph=true")
    (state,) = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["optimizer_states"]
    assert all(isinstance(group["lr"], float) and group["capturable"] is False for group in state["param_groups"])


@pytest.mark.parametrize(
    ("case", "figure"),
    [("strategy=from_scratch", "confusion_*"), ("strategy=maml", "episode_*"), ("strategy=ewc", "*accurac*")],
)
def test_figures_are_drawn_after_the_test(case, figure, tmp_path):
    trained(tmp_path / "run", case, "trainer.limit_train_batches=2", "figures=true")
    assert list((tmp_path / "run" / "figures").glob(figure))
