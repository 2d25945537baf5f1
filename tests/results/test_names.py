import math

import pytest

from tl_lab.results.names import (
    companion,
    format_change,
    format_difference,
    format_metric,
    heading,
    is_detail,
    is_share,
    kind_of,
    leading_metric,
    less_is_better,
    named_by_unit,
    readable,
    split_name,
)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("test/target/acc", ("test", "target", "acc")),
        ("val/acc", ("val", "", "acc")),
        ("test/task3/acc", ("test", "task3", "acc")),
        ("lr", ("", "", "lr")),
        ("lr-Adam/pg1", ("", "", "lr-Adam/pg1")),
    ],
)
def test_a_name_is_taken_apart(name, parts):
    assert split_name(name) == parts


def test_shares_are_distinguished_from_other_metrics():
    assert all(map(is_share, ["acc", "balanced_acc", "f1_macro", "domain_acc", "acc_ci95"]))
    assert not any(map(is_share, ["loss", "lambda", "bwt_r2", "lr"]))


def test_names_become_words():
    assert [readable(name) for name in ("acc", "f1_macro", "domain_acc", "task_loss")] == [
        "accuracy",
        "macro F1",
        "domain accuracy",
        "task loss",
    ]


def test_values_are_written_in_their_unit():
    assert format_metric("test/acc", 0.93249) == "93.2"
    assert format_metric("test/acc", 0.93249, 0.011) == "93.2 ± 1.1"
    assert format_metric("test/acc", 0.93249, math.nan) == "93.2"
    assert format_metric("val/loss", 0.412749) == "0.4127"
    assert format_metric("test/acc", -0.0001) == "0.0"  # no minus before nothing
    assert format_difference("test/acc", -0.0001, 0.02) == format_difference("test/acc", 0.0001, 0.02) == "0.0 ± 2.0"
    assert format_difference("test/acc", 0.012, 0.02) == "+1.2 ± 2.0"
    assert format_difference("test/acc", -0.012) == "-1.2"
    assert format_difference("val/loss", 0.01) == "+0.01"
    assert format_difference("val/loss", 1e-7) == "+1e-07"
    assert format_metric("val/loss", None) == format_metric("val/loss", math.inf) == "-"


def test_details_are_what_is_reported_of_one_task_beside_its_accuracy():
    details = ["test/task1/f1_macro", "val/task12/loss", "test/task1/target/balanced_acc", "val/task1/within_task_acc"]
    assert all(map(is_detail, details))
    others = [
        "test/task1/acc",
        "test/task1/target/acc",
        "test/f1_macro",
        "train/task_loss",
        "test/target/f1_macro",
        "lr",
    ]
    assert not any(map(is_detail, others))


@pytest.mark.parametrize(
    ("names", "leading"),
    [
        (["test/loss", "test/target/mse", "test/target/r2"], "r2"),
        (["val/f1_macro", "val/map", "val/auroc"], "auroc"),
        (["r2", "acc"], "acc"),
        (["test/mse", "test/mae"], "mae"),
        (["train/loss", "lr", "test/loss", "test/wer"], "wer"),
        (["train/loss", "lr", "test/loss", "test/acc_ci95"], None),
        ([], None),
    ],
)
def test_the_main_metric_is_that_of_the_problem(names, leading):
    assert leading_metric(names) == leading


def test_each_metric_has_its_unit_direction_and_bounds():
    assert format_metric("test/target/auroc", 0.8769) == "87.7"
    assert format_metric("test/r2", -1.23456, 0.5) == "-1.235 ± 0.500"
    assert format_metric("test/mse", 1234.567, 12.3) == "1235 ± 12.3"
    assert [less_is_better(name) for name in ("test/mse", "mae", "r2", "auroc", "test/forgetting")] == [
        True, True, False, False, True,
    ]  # fmt: skip
    assert kind_of("within_task_r2").bounds == (-math.inf, 1.0)
    assert kind_of("test/spearman").bounds == (-1.0, 1.0)
    assert kind_of("val/mmd").bounds == (-math.inf, math.inf)
    assert heading("test/within_task_auroc") == "test within task AUROC %"
    assert (companion("val/source/f1_macro"), companion("val/map")) == ("val/source/acc", None)


def test_two_values_stand_beside_their_mean_and_an_interval_before_them():
    assert format_metric("test/acc", 0.84, None, (0.86, 0.82)) == "84.0 (82.0, 86.0)"
    assert format_metric("test/r2", 0.5, math.nan, (0.4, 0.6)) == "0.500 (0.400, 0.600)"
    assert format_metric("test/acc", 0.84, 0.01, (0.82, 0.86)) == "84.0 ± 1.0"
    assert format_metric("test/acc", 0.84, math.nan, (math.nan, math.nan)) == "84.0"
    assert format_difference("test/acc", 0.01, math.nan, (-0.01, 0.03)) == "+1.0 (-1.0, +3.0)"
    assert (format_change("r2", 0.25), format_change("acc", 0.0)) == ("+0.250", "+0.0")


def test_what_a_stream_transfers_has_the_unit_of_its_scores():
    shares = {"test/acc": 0.5, "test/task1/acc": 0.5, "test/bwt": -0.123, "test/forgetting": 0.25}
    assert named_by_unit(shares) == shares
    assert [format_metric(name, value) for name, value in shares.items()] == ["50.0", "50.0", "-12.3", "25.0"]
    others = named_by_unit({"test/r2": 0.5, "test/mae": 1.0, "test/bwt": -0.123, "test/forgetting": 0.25})
    assert list(others) == ["test/r2", "test/mae", "test/bwt_r2", "test/forgetting_r2"]
    assert format_metric("test/bwt_r2", -0.123) == "-0.123"
    assert (less_is_better("test/forgetting_r2"), less_is_better("test/bwt_r2")) == (True, False)
