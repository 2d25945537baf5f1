"""Warnings of runs whose loss diverged, whose scores are at chance level, or that made few updates."""

from pathlib import Path

import pytest
from composing import run_in

from tl_lab.problems import MultiLabel, Regression, SingleLabel
from tl_lab.watching.doubts import at_chance, exploded, too_short


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([2.3, 1.0, 0.5], ""),
        ([2.3, 2e15, 0.5], "reached 2e+15 at update 20"),
        ([5e3, 4e7, 1.0], ""),  # a regression may begin high
        ([5e3, 6e7, 1.0], "reached 6e+07"),
        ([], ""),
    ],
)
def test_a_diverged_loss_produces_a_warning(losses: list[float], message: str) -> None:
    rows = [{"step": 10.0 * (i + 1), "train/loss": loss} for i, loss in enumerate(losses)]
    found = exploded([{"step": 0.0, "val/acc": 0.1}, *rows])
    assert (found == "") == (message == "")
    assert message in found


@pytest.mark.parametrize(("value", "chance"), [(0.10, True), (0.111, True), (0.125, False), (0.9, False)])
def test_accuracies_within_two_deviations_of_chance_level(value: float, chance: bool) -> None:
    # ten classes, 2,500 samples: sqrt(.1 * .9 / 2500) = .006
    found = at_chance(
        {"test/target/balanced_acc": value, "test/target/acc": 0.1},
        {"test/target": 2500},
        SingleLabel(list("0123456789")),
    )
    assert bool(found) == chance
    if chance:
        verdicts = {
            0.10: "is at chance level for 10 classes",
            0.111: "cannot be distinguished from chance (10.0%) with 2,500 test samples",
        }
        assert found == [f"the balanced accuracy on the test set of target, {value:.1%}, {verdicts[value]}"]


def test_other_problems_and_unrequested_sets() -> None:
    metrics = {"test/r2": -0.1, "test/auroc": 0.49, "test/task1/balanced_acc": 0.0, "val/r2": -3.0}
    found = {
        kind: at_chance(metrics, {"test": 100}, kind(["a", "b", "c"])) for kind in (Regression, MultiLabel, SingleLabel)
    }
    assert [[text.split(" on ")[0] for text in one] for one in found.values()] == [["R²"], ["the AUROC"], []]


def test_a_short_run_at_chance_level_is_advised_to_train_longer() -> None:
    longer = "raise trainer.max_epochs or trainer.max_updates"
    assert too_short(25, at_chance=True) == f"the run made only 25 updates: {longer}"
    assert too_short(100, at_chance=True) == ""


def test_a_run_of_few_updates_is_advised_to_train_longer_whatever_its_score() -> None:
    assert too_short(15) == "the run made only 15 updates: raise trainer.max_epochs or trainer.max_updates"
    assert too_short(1).startswith("the run made only 1 update:")
    assert too_short(20) == ""
    assert too_short(59, tasks=3).startswith("the run made only 19 updates for each task:")
    assert too_short(60, tasks=3) == ""


@pytest.mark.parametrize(
    ("overrides", "begin"),
    [
        (["data=digits", "data.batches_per_epoch=19"], "the run made only 19 updates:"),
        (["data=digits", "data.batches_per_epoch=20"], None),
        (["data=digits", "data.batches_per_epoch=2", "debug=true"], None),
        (["strategy=multi_task", "data.datasets=[digits,digits_value]", "data.batches_per_epoch=3"],
         "the run made only 3 updates:"),
        (["strategy=ewc", "data.num_tasks=2", "data.batches_per_epoch=3"],
         "the run made only 3 updates for each task:"),
        (["strategy=joint", "data.num_tasks=2", "data.batches_per_epoch=12"], None),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_runs_report_few_updates(overrides: list[str], begin: str | None, tmp_path: Path) -> None:
    quiet = ["domain_adaptation=none", "backbone=mlp", "backbone.hidden=[32]", "logger=none", "figures=false"]
    given = [*quiet, "optimizer.lr=0.01", "trainer.max_epochs=1", "trainer.enable_progress_bar=false", "health=false"]
    results = run_in(tmp_path / "run", *given, *overrides)
    said = [text for text in [*results["doubts"], results.get("few_updates", "")] if text.startswith("the run made")]
    assert [text[: len(begin or "")] for text in said] == ([begin] if begin else [])
