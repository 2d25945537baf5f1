import math

import pytest

from tl_lab.results.names import format_difference, format_metric, is_detail, is_share, readable, split_name


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


def test_shares_are_told_from_other_metrics():
    assert all(map(is_share, ["acc", "balanced_acc", "f1_macro", "domain_acc", "acc_ci95"]))
    assert not any(map(is_share, ["loss", "lambda", "bwt", "lr"]))


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


def test_details_are_what_is_said_of_one_task_beside_its_accuracy():
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
