"""``update.lr_find``: the learning rate of a range test, and equality with a run that is given this rate."""

import functools
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from tests.composing import run_in
from tests.laboratory import fit, make
from tl_lab.config import compose, config_hash
from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.run.plan import Plan
from tl_lab.run.rate_finding import check_rate_finding
from tl_lab.training.rate_range import RangeTest, choose_rate, rates_of, smoothed

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def test_rates_grow_by_the_same_factor() -> None:
    assert rates_of(4, 1e-3, 1.0) == pytest.approx([1e-3, 1e-2, 1e-1, 1.0])
    assert (rates_of()[0], rates_of()[-1], len(rates_of())) == (1e-6, pytest.approx(10.0), 100)


def test_smoothing_keeps_straight_lines_and_the_place_of_a_dip() -> None:
    line = [0.5 * n for n in range(40)]
    assert smoothed(line)[15:25] == pytest.approx(line[15:25])
    dip = smoothed([abs(n - 20.0) for n in range(41)])
    assert dip.index(min(dip)) == 20


@pytest.mark.parametrize("curvature", [0.02, 1.0, 50.0])
def test_of_a_parabola_the_rate_is_a_tenth_of_where_descent_diverges(curvature: float) -> None:
    """L = a w^2 / 2: each update multiplies w by 1 - rate a, so that the loss grows again beyond rate = 2 / a.

    Smoothing moves the lowest point by three updates at most.
    """
    w, losses, rates = 1.0, list[float](), rates_of(200, 1e-4, 1e4)
    while abs(w) < 1e3:
        losses.append(0.5 * curvature * w**2)
        w *= 1 - rates[len(losses) - 1] * curvature
    found, factor = choose_rate(rates, losses), rates[1] / rates[0]
    assert found is not None
    assert 0.2 / curvature * factor**-3 < found < 0.2 / curvature * factor**4


def test_nothing_is_chosen_where_the_loss_does_not_fall_or_hardly_started() -> None:
    assert choose_rate(rates_of(30), [float(n) for n in range(30)]) is None
    assert choose_rate(rates_of(9), [9.0 - n for n in range(9)]) is None


def test_the_rates_of_all_groups_are_scaled_alike_and_the_loss_is_noted_for_each() -> None:
    data, model = make(
        layers=LayerPolicy(decay=0.5), optimizer=functools.partial(torch.optim.SGD, lr=1.0), accumulate_batches=2
    )
    test, seen = RangeTest(model, rates_of(12, 1e-4, 1e-1)), []
    model.schedule, model.max_updates = test, 13

    def note() -> None:
        seen.append([group["lr"] / group["base_lr"] for group in model.optimizers().param_groups])

    model.on_update = note
    fit(data, model, 6)  # epochs of three batches: two updates
    assert [rates[0] for rates in seen] == pytest.approx(test.rates[:12])
    assert all(rates == pytest.approx([rates[0]] * len(rates)) for rates in seen)
    assert len(model.optimizers().param_groups) == 4
    assert len({group["base_lr"] for group in model.optimizers().param_groups}) > 1


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("found") / "run"
    run_in(folder, *_SMALL, "update.lr_find=true", "figures=true")
    return folder


_SMALL = [
    "data=digits", "data.batches_per_epoch=3", "data.batch_size=16", "trainer.max_epochs=2", "logger=none",
    "figures=false", "strategy.head.dropout=0.2", "strategy=fine_tuning", "backbone.batch_norm=true",
]  # fmt: skip


def test_a_run_that_finds_its_rate_equals_one_that_is_given_it(found: Path, tmp_path: Path) -> None:
    rate = json.loads((found / "results.json").read_text())["lr_find"]["rate"]
    assert OmegaConf.load(found / "config.yaml").optimizer.lr == rate
    run_in(tmp_path / "given", *_SMALL, f"optimizer.lr={rate}")
    one, other = (pd.read_csv(folder / "metrics.csv") for folder in (found, tmp_path / "given"))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    states = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (found, tmp_path / "given")
    ]
    assert all(torch.equal(value, states[1]["state_dict"][name]) for name, value in states[0]["state_dict"].items())
    assert str(states[0]["optimizer_states"]) == str(states[1]["optimizer_states"])


_TINY = ["trainer.max_epochs=2", "logger=none", "figures=false", "health=false", "threads=1"]
_OTHERS = {
    "pair": [
        "data.source_count=200", "data.source_test_count=50", "data.target_test_count=1600", "data.batch_size=8",
        "data.batches_per_epoch=30", "domain_adaptation=dann", "augmentation=characters", "strategy.head.dropout=0.2",
        "update.accumulate_batches=2", "callbacks=ema",
    ],
    "memory of a stream": [
        "data=permuted_digits", "data.num_tasks=2", "data.batch_size=32", "strategy=der_plus_plus", "backbone=mlp",
    ],
    "episodes": [
        "data=glyph_episodes", "data.train.way=3", "data.test_episodes=4", "data.val_episodes=4", "strategy=matching",
        "data.episodes_per_epoch=40",
    ],
    "kept features": ["data=digits", "strategy=feature_extraction", "backbone=mlp", "data.batch_size=32"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", _OTHERS)
def test_nothing_is_left_of_a_range_test(kind: str, tmp_path: Path) -> None:
    """Means of batch-norm, memories, kept features, and the order of batches and of random changes."""
    found = run_in(tmp_path / "found", *_TINY, *_OTHERS[kind], "update.lr_find=true")
    rate = found["lr_find"]["rate"]
    given = run_in(tmp_path / "given", *_TINY, *_OTHERS[kind], f"optimizer.lr={rate}")
    assert found["metrics"] == given["metrics"]
    states = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True) for name in ("found", "given")
    ]
    for state in states:  # paths are in the states of the callbacks that save
        state["callbacks"] = {name: one for name, one in state["callbacks"].items() if "Checkpoint" not in name}
    assert _equal(*states)


def _equal(one: Any, other: Any) -> bool:
    """Whether two checkpoints are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def test_the_curve_is_kept_and_the_rate_stated(found: Path) -> None:
    results = json.loads((found / "results.json").read_text())
    curve = pd.read_csv(found / "lr_find.csv")
    assert list(curve) == ["rate", "loss", "smoothed"]
    assert choose_rate(list(curve.rate), list(curve.loss)) == results["lr_find"]["rate"]
    assert results["lr_find"]["updates"] == len(curve)
    assert (found / "figures" / "lr_find.png").stat().st_size > 5000
    assert results["protocol"]["learning rate"].startswith(f"{results['lr_find']['rate']:g}, chosen by a range test")


def test_a_run_that_is_resumed_keeps_its_rate_and_its_identity(found: Path) -> None:
    stored = OmegaConf.load(found / "config.yaml")
    composed = compose([*_SMALL, "update.lr_find=true"])
    began = json.loads((found / "results.json").read_text())["config_hash"]
    assert config_hash(stored) == config_hash(composed) == began  # type: ignore[arg-type]
    assert config_hash(compose(_SMALL)) != began


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lr=0.1"], r"chooses the learning rate, and optimizer\.lr=0\.1 sets it"),
        (["trainer=ddp_cpu"], r"runs in one process"),
        (["strategy=zero_shot", "data=office_caltech10", "domain_adaptation=none"], r"trains nothing"),
    ],
)
def test_what_has_no_rate_to_find_is_refused(overrides: list[str], message: str) -> None:
    plan = Plan.of(compose([*overrides, "update.lr_find=true"]))
    object.__setattr__(plan, "overrides", overrides)
    with pytest.raises(UserError, match=message):
        check_rate_finding(plan)
