"""``trainer.max_updates``: the length of a run as a number of updates instead of epochs."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from tests.composing import run_in
from tests.laboratory import Blobs, fit, make, state
from tl_lab.config import compose, config_hash
from tl_lab.errors import UserError
from tl_lab.run.length import batches_within, epochs_of
from tl_lab.run.pairing import check_length, check_protocol
from tl_lab.run.plan import Plan
from tl_lab.training.schedules import Linear

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.mark.parametrize(
    ("updates", "limit", "accumulate", "epochs"),
    [(6, None, 1, 2), (7, None, 1, 3), (1, None, 1, 1), (4, None, 2, 2), (5, None, 2, 3), (5, 2, 1, 3), (5, 0.5, 1, 5)],
)
def test_epochs_are_as_many_as_the_updates_take(updates, limit, accumulate, epochs) -> None:
    data = Blobs(batch_size=20)
    data.load()  # three batches
    options = {"limit_train_batches": limit}
    plan = SimpleNamespace(
        max_updates=updates,
        trainer=SimpleNamespace(option=options.get),
        update={"accumulate_batches": accumulate},
    )
    assert epochs_of(plan, data) == epochs  # type: ignore[arg-type]


def test_a_share_of_the_batches_is_rounded_down_and_a_number_is_a_limit() -> None:
    assert [batches_within(7, limit) for limit in (None, 3, 9, 0.5, 1.0)] == [7, 3, 7, 3, 7]


class _Rates:
    """Notes the progress before each update."""

    def __init__(self, model) -> None:
        self.seen: list[float] = []
        schedule = model.schedule
        model.schedule = lambda progress: (self.seen.append(progress), schedule(progress))[1]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_ends_after_the_updates_and_schedules_end_there(accumulate: int) -> None:
    data, model = make(scheduler=Linear(), accumulate_batches=accumulate)
    model.max_updates, rates = 4, _Rates(model)
    trainer = fit(data, model, epochs=4 // (3 // accumulate) + 1)
    assert model.updates_done == 4
    if accumulate == 1:
        assert rates.seen == [0, 0.25, 0.5, 0.75]
        assert trainer.current_epoch == 2
    else:  # an epoch of three batches has two updates, the second of one batch
        assert rates.seen == [0, 0, 0.25, 0.5, 0.5, 0.75]


def test_the_partial_epoch_has_the_batches_that_a_whole_one_starts_with(tmp_path: Path) -> None:
    """Constant rate: four updates of six are the beginning of six; an interrupted run ends the same."""
    keep = ModelCheckpoint(dirpath=tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    data, model = make(dropout=0.3)
    model.max_updates = 4
    fit(data, model, 2, callbacks=[keep])
    states: list[dict[str, torch.Tensor]] = []

    data, longer = make(dropout=0.3)
    longer.on_update = lambda: states.append(state(longer.network))  # type: ignore[method-assign]
    fit(data, longer, 2)
    weights = {name for name in state(model.network) if "running" not in name and "num_batches" not in name}
    assert len(states) == 6
    assert all(torch.equal(states[3][name], state(model.network)[name]) for name in weights)

    data, resumed = make(dropout=0.3)
    resumed.max_updates = 4
    fit(data, resumed, 2, ckpt_path=tmp_path / "epoch=0.ckpt")
    assert resumed.updates_done == 4
    assert all(torch.equal(state(resumed.network)[name], state(model.network)[name]) for name in state(model.network))


def test_a_number_of_updates_takes_the_place_of_epochs() -> None:
    counted, plain = compose(["data=digits", "trainer.max_updates=7"]), compose(["data=digits"])
    assert (counted.trainer.max_epochs, counted.trainer.max_updates) == (None, 7)
    assert (plain.trainer.max_epochs, plain.trainer.max_updates) == (15, None)
    assert config_hash(counted) != config_hash(plain)
    del plain.trainer.max_updates  # runs from before the option came
    assert config_hash(compose(["data=digits"])) == config_hash(plain)
    assert compose(["data=digits", "trainer.max_updates=null"]).trainer.max_epochs == 15


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["trainer.max_updates=7", "trainer.max_epochs=3"],
            r"max_epochs=3 and trainer\.max_updates=7 both set the leng",
        ),
        (["trainer.max_epochs=null"], r"max_epochs must be at least 1, not None, unless trainer\.max_updates is given"),
        (["+trainer.max_steps=5"], r"max_steps is not supported.* trainer\.max_updates"),
        (["data=split_digits", "trainer.max_updates=7"], r"max_updates=7 does not suit a stream"),
    ],
)
def test_two_lengths_none_or_one_that_does_not_suit_are_refused(overrides: list[str], message: str) -> None:
    strategy = ["strategy=ewc"] if "data=split_digits" in overrides else ["data=digits"]
    with pytest.raises(UserError, match=message):
        check_protocol(Plan.of(compose([*strategy, *overrides])))


def test_what_needs_more_epochs_than_the_updates_take_is_refused() -> None:
    plan = Plan.of(compose(["data=digits", "trainer.max_updates=7", "trainer.check_val_every_n_epoch=2"]))
    check_length(plan, None)
    check_length(plan, 2)
    with pytest.raises(UserError, match="evaluate=best tests the checkpoint that is best on validation"):
        check_length(plan, 1)


def test_a_run_of_updates_is_tested_after_as_many(tmp_path: Path) -> None:
    small = ["data=digits", "data.batches_per_epoch=3", "evaluate=last", "logger=none", "figures=false"]
    results = run_in(tmp_path / "run", *small, "trainer.max_updates=4", "scheduler=linear")
    assert results["status"] == "completed"
    assert results["tested_checkpoint"] == "last (after 4 updates)"
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert sorted(rows["epoch"].dropna().unique()) == [0, 1]
    assert sorted(rows.dropna(subset="val/acc")["step"]) == [3, 4]
    rates = rows.dropna(subset="train/lr")
    assert list(rates["train/lr"] / compose(small).optimizer.lr) == pytest.approx([0.5, 0.25])
