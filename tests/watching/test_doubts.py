"""Warnings of runs whose loss diverged or whose scores are at chance level."""

import pytest

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
    assert too_short(15) == "the run made only 15 updates: raise trainer.max_epochs, or set trainer.max_updates"
    assert too_short(1).startswith("the run made only 1 update:")
    assert too_short(100) == ""
