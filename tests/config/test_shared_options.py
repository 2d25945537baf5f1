"""Options that a data set takes from the run: which ones a configuration must state."""

from tl_lab.config.shared_options import lacking
from tl_lab.data.base import DataModule


class Few(DataModule):
    """Data that take neither an augmentation nor the tested checkpoint."""

    def __init__(self, seed: int = 0, batch_size: int = 8) -> None:
        super().__init__(seed=seed, batch_size=batch_size)


NAME = f"{__name__}.Few"


def test_only_options_that_the_class_takes_must_be_stated() -> None:
    assert lacking({"data": {"_target_": NAME, "seed": 1, "batch_size": 4}}) == []
    (text,) = lacking({"data": {"_target_": NAME, "batch_size": 4}})
    assert text.startswith("data lacks seed, which the run sets: ")
    (text,) = lacking({"data": {"_target_": "tl_lab.data.sets.digits.Digits", "seed": 1}})
    assert text.startswith("data lacks batch_size, augmentation, evaluate, which the run sets: ")


def test_inner_data_need_a_seed_unless_they_are_listed() -> None:
    whole = {"_target_": NAME, "seed": 1, "batch_size": 4}
    assert lacking({"data": {**whole, "datasets": [{"_target_": NAME}]}}) == []
    (text,) = lacking({"data": {**whole, "of": {"_target_": NAME}}})
    assert text.startswith("data.of lacks seed, which")


def test_resumed_and_repeated_runs_keep_their_options() -> None:
    assert lacking({"data": {"_target_": NAME}, "resume": "run"}) == []
