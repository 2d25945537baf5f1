"""Names of sets are read, written and turned into names of metrics."""

import pytest

from tl_lab.data.names import SetName


@pytest.mark.parametrize(
    ("written", "fields"),
    [
        ("train", (None, None, "train")),
        ("source/train", (None, "source", "train")),
        ("task3/val", ("task3", None, "val")),
        ("task12/target/test", ("task12", "target", "test")),
        ("task/test", (None, "task", "test")),  # a domain of that name
        ("task0/test", (None, "task0", "test")),  # tasks are counted from 1
    ],
)
def test_a_name_is_read_and_written(written, fields):
    assert SetName.parse(written) == fields
    assert str(SetName.parse(written)) == written


def test_a_name_of_too_many_fields_is_refused():
    with pytest.raises(ValueError, match="not 'a/b/train'"):
        SetName.parse("a/b/train")


def test_a_set_is_named_within_a_task_that_is_counted_from_0():
    name = SetName.of_task(1, "source/train")
    assert str(name) == "task2/source/train"
    assert name.task_number == 1
    with pytest.raises(ValueError, match="'train' belongs to no task"):
        _ = SetName.parse("train").task_number


@pytest.mark.parametrize(
    ("written", "metrics", "validation"),
    [
        ("val", "val", "val"),
        ("test", "test", "test"),
        ("source/val", "val/source", "val/source"),
        ("target/train", "train/target", "val/target"),
        ("target/test", "test/target", "oracle/target"),
        ("task2/source/val", "val/task2/source", "val/task2/source"),
        ("task2/target/test", "test/task2/target", "oracle/task2/target"),
    ],
)
def test_metrics_begin_with_the_split_then_say_where(written, metrics, validation):
    assert SetName.parse(written).metrics == metrics
    assert SetName.parse(written).validation_metrics == validation


def test_a_name_stands_in_names_of_files():
    assert SetName.parse("target/test").file == "target_test"
