"""Averages of the weights against averages by hand, and other callbacks that a configuration names."""

from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import torch
from composing import run_in
from pytorch_lightning.callbacks import Callback

import tl_lab
from tl_lab.cli.train import main
from tl_lab.data.sets.digits import Digits
from tl_lab.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = ["data=digits", "data.batches_per_epoch=4", "data.batch_size=16", "data.evaluate=last", "backbone=mlp"]
SMALL += ["backbone.hidden=[8]", "logger=none", "figures=false", "scheduler=constant", "trainer.max_epochs=2"]
SMALL += ["trainer.enable_progress_bar=false", "optimizer.lr=0.05"]
SEEN = "+callbacks.seen._target_=test_averaging.Seen"


class Seen(Callback):
    """Keep the weights before training and after each batch."""

    weights: ClassVar[list[dict[str, torch.Tensor]]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.weights[:] = [_floats(pl_module)]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.weights.append(_floats(pl_module))


def _floats(module: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items() if value.is_floating_point()}


def _saved(folder: Path, key: str = "state_dict") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)[key]


def _is_tested(folder: Path, results: dict[str, Any]) -> bool:
    """Whether the model that is loaded from a run's folder has the accuracy that the run has measured."""
    data = Digits()
    data.load()
    test = data.sets["test"]
    answers = tl_lab.load(folder).predict(test.x)
    names = [data.class_names[c] for c in test.y]
    right = [answer == name for answer, name in zip(answers.labels, names, strict=True)]
    return sum(right) / len(right) == pytest.approx(results["metrics"]["test/acc"], abs=1e-6)


def test_a_moving_average_equals_one_by_hand_and_is_tested(tmp_path: Path) -> None:
    given = [*SMALL, "callbacks=ema", "callbacks.average.decay=0.75", SEEN]
    results = run_in(tmp_path / "run", *given)
    first, *later = Seen.weights
    assert len(later) == 8
    average = first
    for weights in later:
        average = {name: 0.75 * average[name] + 0.25 * weights[name] for name in average}
    saved = _saved(tmp_path / "run")
    for name, value in average.items():
        torch.testing.assert_close(saved[name], value, msg=name)
        assert torch.equal(_saved(tmp_path / "run", "weights_without_averaging")[name], later[-1][name])
    assert all(not torch.equal(saved[name], later[-1][name]) for name in average if name.endswith("weight"))
    assert _is_tested(tmp_path / "run", results)


def test_stochastic_weight_averaging_is_the_mean_over_ends_of_epochs(tmp_path: Path) -> None:
    given = [*SMALL, "trainer.max_epochs=4", "callbacks=swa", "callbacks.average.first_epoch=1", SEEN]
    results = run_in(tmp_path / "run", *given)
    ends = Seen.weights[4::4]
    assert len(ends) == 4
    saved = _saved(tmp_path / "run")
    for name, value in saved.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([end[name] for end in ends[1:]]).mean(0), msg=name)
    assert _is_tested(tmp_path / "run", results)


def test_validation_scores_the_average(tmp_path: Path) -> None:
    run_in(tmp_path / "still", *SMALL, "callbacks=ema", "callbacks.average.decay=1e-9")
    run_in(tmp_path / "plain", *SMALL)
    run_in(tmp_path / "first", *SMALL, "callbacks=ema", "callbacks.average.decay=0.999999")
    still, plain, first = (
        pd.read_csv(tmp_path / name / "metrics.csv")["val/loss"].dropna().tolist()
        for name in ("still", "plain", "first")
    )
    assert still == pytest.approx(plain, rel=1e-5)  # the average follows the weights
    assert first[0] == pytest.approx(first[1], rel=1e-3)  # it stays where it began
    assert plain[1] < plain[0] < first[0]


def test_a_longer_run_continues_with_the_weights_and_their_average(tmp_path: Path) -> None:
    given = [*SMALL, "callbacks=ema", "callbacks.average.decay=0.9"]
    main([*given, f"hydra.run.dir={tmp_path / 'whole'}"])
    main([*given, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'short'}"])
    main([f"resume={tmp_path / 'short'}", "trainer.max_epochs=2"])
    for key in ("state_dict", "weights_without_averaging"):
        whole, resumed = _saved(tmp_path / "whole", key), _saved(tmp_path / "short", key)
        assert all(torch.equal(value, resumed[name]) for name, value in whole.items()), key


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            [
                "+callbacks.swa._target_=pytorch_lightning.callbacks.StochasticWeightAveraging",
                "+callbacks.swa.swa_lrs=0.01",
            ],
            r"callbacks\.swa: Lightning's StochasticWeightAveraging .* use callbacks=swa",
        ),
        (["callbacks=ema", "callbacks.average.decay=1"], r"callbacks\.average\.decay must be in \[0, 1\), not 1"),
        (["callbacks=ema", "data=split_digits", "strategy=naive"], r"callbacks\.average: .* stream"),
    ],
)
def test_averages_over_streams_and_unknown_rules_are_refused(given: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        run_in(tmp_path / "run", *SMALL, *given)


def test_the_monitor_of_rates_logs_the_rates_of_training(tmp_path: Path) -> None:
    monitor = "+callbacks.rates._target_=pytorch_lightning.callbacks.LearningRateMonitor"
    run_in(tmp_path / "run", *SMALL, "scheduler=linear", monitor, "trainer.log_every_n_steps=1")
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv").dropna(subset=["train/lr", "lr-Adam/head"])
    assert len(rows) == 7
    assert rows["lr-Adam/head"].tolist() == pytest.approx(rows["train/lr"].tolist())
    assert rows["train/lr"].nunique() == 7
