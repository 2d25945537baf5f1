"""Types and ranges of all options are declared, and an invalid value gives a one-sentence error."""

import functools
import json
import math
import random
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Interval, Len
from omegaconf import OmegaConf
from program_starts import Start

from tl_lab import options
from tl_lab.config import check, choices, compose
from tl_lab.config.declared import FILLED, OF_LIBRARIES, PLAIN, PROVIDED
from tl_lab.config.fitting import misfits
from tl_lab.config.nodes import read_node
from tl_lab.config.validate import taken_by

GROUPS = [group for group in choices() if "/" not in group and group not in ("experiment", "search")]
FREE_TEXT = {"name", "weights", "root", "pair", "source", "target", "align", "trainable", "strategy", "devices"}
FREE_TEXT |= {"language_model", "path", "text_column", "label_column", "encoding", "targets"}
FREE_TEXT |= {"group_column", "domain_column", "time_column", "pretraining", "runs", "decision"}
FREE_TEXT |= {"image_column", "finding_column", "patient_column", "split_column", "view_column", "separator"}
FREE_TEXT |= {"test_path", "teacher", "audio_column", "transcript_column", "speaker_column"}
FREE_TEXT |= {"train_shards", "val_shards", "test_shards", "label_ending", "held_out"}

# for each kind of option what it takes, and what it does not
NOT_NUMBERS = [None, True, "x", "", {"a": 1}, math.nan, math.inf]
KINDS: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "natural": (options.Natural, [0, 1, 10**6], [-1, 1.0, 10**30, [1], *NOT_NUMBERS]),
    "count": (options.Count, [1, 10**6], [0, -1, 1.5, [1], *NOT_NUMBERS]),
    "several": (options.Several, [2, 10], [1, 0, -2, [2], *NOT_NUMBERS]),
    "non-negative": (options.NonNegative, [0, 0.0, 3, 1e9], [-1e-9, -1, [0.1], *NOT_NUMBERS]),
    "positive": (options.Positive, [1e-12, 3], [0, 0.0, -1, [0.1], *NOT_NUMBERS]),
    "share": (options.Share, [0, 0.5, 1], [-0.1, 1.1, 2, [0.1], *NOT_NUMBERS]),
    "probability": (options.Probability, [0, 0.999], [-0.1, 1, 1.0, [0.1], *NOT_NUMBERS]),
    "fraction": (options.Fraction, [1e-6, 0.999], [0, 1, -0.1, 1.1, *NOT_NUMBERS]),
    "angle": (options.Angle, [-360, 0, 35.5], [361, -400.0, *NOT_NUMBERS]),
    "image size": (options.ImageSize, [[1, 1], [28, 32]], [[28], [28, 28, 28], [0, 28], [1.5, 2], 28, *NOT_NUMBERS]),
    "range": (options.Range, [[0, 1], [0.5, 2.0]], [[1], [-1, 1], ["a", "b"], 1, *NOT_NUMBERS]),
    "widths": (options.Widths, [[], [10], [10, 20]], [[0], [-1], [1.5], ["x"], 10, *NOT_NUMBERS]),
    "one of two": (Literal["a", "b"], ["a", "b"], ["c", "A", 1, *NOT_NUMBERS]),
    "count or null": (options.Count | None, [None, 1], [0, -1, "x", True, [1]]),
    "number or word": (Literal["auto"] | options.Count, ["auto", 3], ["x", 0, None, False]),
    "yes or no": (bool, [True, False], ["yes", 0, 1, None, [True]]),
    "text": (str, ["", "x"], [1, None, ["x"], {"a": 1}]),
    "numbers": (tuple[options.Fraction, ...], [[], [0.5, 0.7]], [[0], [1.5], [None], 0.5, *NOT_NUMBERS]),
    "two numbers": (tuple[options.Positive, options.Positive], [[1, 2]], [[1], [0, 1], [1, 2, 3], *NOT_NUMBERS]),
    "at least one": (Annotated[Sequence[options.Positive], Len(1)], [[1], [1, 2]], [[], [0], 1, *NOT_NUMBERS]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_option_accepts_only_its_values(kind: str) -> None:
    hint, right, wrong = KINDS[kind]
    for value in right:
        assert list(misfits(value, hint)) == [], value
    for value in wrong:
        ((path, text),) = misfits(value, hint)
        assert path == ""
        assert text.startswith(": ")
        assert " is not " in text


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (options.Count, "a whole number of at least 1"),
        (options.Positive, "a number above 0"),
        (options.Share, "a number from 0 to 1"),
        (options.Probability, "a number of at least 0 and below 1"),
        (options.Fraction, "a number above 0 and below 1"),
        (options.ImageSize, "a list of 2 whole numbers of at least 1"),
        (options.Widths, "a list of whole numbers of at least 1"),
        (options.Count | None, "a whole number of at least 1 or null"),
        (Annotated[Sequence[options.Positive], Len(1)], "a list of one or more numbers above 0"),
        (Literal["a", "b"], '"a" or "b"'),
    ],
)
def test_the_valid_values_of_an_option_are_reported(hint: Any, words: str) -> None:
    assert list(misfits({"no": "such"}, hint)) == [("", f': {{"no": "such"}} is not {words}')]


@pytest.mark.parametrize(
    ("value", "hint", "words"),
    [
        ("customer", Sequence[str], '"customer" is not a list of texts; write data.x=[customer]'),
        ("two words", Sequence[str], """"two words" is not a list of texts; write 'data.x=["two words"]'"""),
        (64, options.ImageSize, "64 is not a list of 2 whole numbers of at least 1; write data.x=[64,64]"),
        (0, options.ImageSize, "0 is not a list of 2 whole numbers of at least 1"),
        (8, options.Widths, "8 is not a list of whole numbers of at least 1; write data.x=[8]"),
        ([8], options.Count, "[8] is not a whole number of at least 1; write data.x=8"),
        ([8, 9], options.Count, "[8, 9] is not a whole number of at least 1"),
    ],
)
def test_the_form_of_a_list_is_shown(value: Any, hint: Any, words: str) -> None:
    assert list(misfits(value, hint, "data.x")) == [("", f": {words}")]
    ((_, without),) = misfits(value, hint)
    assert without == f": {words.partition('; write')[0]}"


def test_no_form_is_shown_for_an_option_in_a_list() -> None:
    told = ": [8] is not a whole number of at least 1"
    for where in ("data.datasets.0.size", "data.datasets.12"):
        assert list(misfits([8], options.Count, where)) == [("", told)]
    assert list(misfits([8], options.Count, "data.x2.size")) == [("", f"{told}; write data.x2.size=8")]


class Keys(typing.TypedDict, total=False):
    """Stands for a mapping of an option."""

    epochs: options.Count
    rate: options.Positive


def test_keys_of_a_mapping_are_checked_one_by_one() -> None:
    hint = Annotated[Mapping[str, Any], Keys] | None
    assert list(misfits({"epochs": 3}, hint)) == list(misfits(None, hint)) == []
    assert list(misfits({"epochs": 0, "rat": 1}, hint)) == [
        (".epochs", ": 0 is not a whole number of at least 1"),
        ("", " has no key 'rat'; did you mean 'rate'?"),
    ]
    assert next(iter(misfits({"_target_": "os.system"}, hint)))[1].startswith(" has no key '_target_'")


@pytest.mark.parametrize("hint", [int, float, str, bool, options.Count | None, Literal["a"], options.Widths])
def test_a_class_in_place_of_a_plain_value_is_refused(hint: Any) -> None:
    assert len(list(misfits({"_target_": "os.system"}, hint))) == 1


# ---------------------------------------------------------------------- every option of every choice


@functools.cache
def nodes() -> dict[str, tuple[str, dict[str, Any]]]:
    """Find each class that the files name once, with a path and a node that it stands in."""
    return {target: (path, node) for target, (path, node, _) in places().items()}


@functools.cache
def places() -> dict[str, tuple[str, dict[str, Any], str]]:
    """Find each class that the files name once: a path, the node that it stands in, and the override that brings it."""
    found: dict[str, tuple[str, dict[str, Any], str]] = {}
    for group in GROUPS:
        for choice, file in choices(group)[group].items():
            plain = OmegaConf.to_container(read_node(file), resolve=False)
            package = re.match(r"# @package ([\w.]+)", file.read_text())
            for path, node in _walk(plain, package[1] if package else group):
                if isinstance(node.get("_target_"), str):
                    found.setdefault(node["_target_"], (path, node, f"{group}={choice}"))
    return found


def _walk(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
        for key, item in value.items():
            yield from _walk(item, f"{path}.{key}")


def declared() -> Iterator[tuple[str, dict[str, Any], str, Any]]:
    """Yield path, node, name and annotation of each option that a user may set."""
    for target, (path, node) in nodes().items():
        left_out = FILLED.get(path, frozenset()) | PROVIDED.get(path, frozenset()) - {"in_channels", "input_size"}
        for name, hint in taken_by(target).hints.items():
            if name not in left_out:
                yield path, node, name, hint


def members(hint: Any) -> list[Any]:
    """List what a union is made of."""
    return list(typing.get_args(hint)) if typing.get_origin(hint) in (typing.Union, types.UnionType) else [hint]


def open_ended(hint: Any) -> bool:
    """Whether an annotation leaves the range of a number open."""
    if typing.get_origin(hint) is Annotated:
        return False
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Mapping:
        arguments = arguments[1:]  # a key, such as a class that is named by a number, has no range
    return hint in (int, float) or (typing.get_origin(hint) is not Literal and any(map(open_ended, arguments)))


def test_every_number_has_a_range_and_every_word_its_choices() -> None:
    # a strategy of trainers takes what Lightning's does
    ours = [one for one in declared() if one[1]["_target_"].startswith("tl_lab.") and not one[0].startswith("trainer")]
    assert len(ours) > 300
    assert [f"{path}.{name}" for path, _, name, hint in ours if open_ended(hint)] == []
    words = [f"{path}.{name}" for path, _, name, hint in ours if str in members(hint) and name not in FREE_TEXT]
    assert words == []


def test_declared_options_of_libraries_exist() -> None:
    for start, known in OF_LIBRARIES.items():
        taken = [taken_by(target).hints for target in nodes() if target.startswith(start)]
        assert taken
        if start == "pytorch_lightning.Trainer":
            assert known.keys() <= taken[0].keys()


WRONG: list[Any] = [True, False, "no such word", None, -1, 0, 1.5, -0.5, 7, [], [0], {"no": "such"}, math.nan, 10**30]


def wrong_for(hint: Any) -> list[Any]:
    """Choose values that an annotation does not admit, by rules of this file's own."""
    if hint is Any or any(_unknown(member) for member in members(hint)):
        return []
    return [value for value in WRONG if not any(_admits(member, value) for member in members(hint))]


def _unknown(member: Any) -> bool:
    """Whether a member is a class whose objects no plain value stands for, which tell nothing."""
    plain = member in (bool, int, float, str, type(None), None)
    return not plain and typing.get_origin(member) not in (Annotated, Literal)


def _admits(member: Any, value: Any) -> bool:
    base = typing.get_args(member)[0] if typing.get_origin(member) is Annotated else member
    if typing.get_origin(member) is Literal:
        return any(value == one and type(value) is type(one) for one in typing.get_args(member))
    if base is bool:
        return isinstance(value, bool)
    if base in (None, type(None)):
        return value is None
    if base is str:
        return isinstance(value, str)
    if base in (int, float):
        number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
        countable = isinstance(value, int) and abs(value) < 2**63
        return number and (base is float or countable) and _in(member, value)
    return isinstance(value, list | dict)  # of sequences and mappings the kinds above say enough


def _in(member: Any, value: float) -> bool:
    for limit in getattr(member, "__metadata__", ()):
        low = limit.ge if isinstance(limit, Ge | Interval) and limit.ge is not None else -math.inf
        high = limit.le if isinstance(limit, Interval) and limit.le is not None else math.inf
        above = getattr(limit, "gt", None)
        below = getattr(limit, "lt", None)
        inside = low <= value <= high and (above is None or value > above) and (below is None or value < below)
        if not inside:
            return False
    return True


def generated() -> Iterator[tuple[str, str, Any]]:
    """Yield mistakes: the class, one of its options, and a value that it does not admit."""
    for number, (_, node, name, hint) in enumerate(declared()):
        wrong = wrong_for(hint)
        for value in (wrong * 2)[number % max(len(wrong), 1) :][: min(len(wrong), 3)]:  # others at each option
            yield node["_target_"], name, value


def test_generated_mistakes_are_one_sentence_each() -> None:
    """Every declared option of every class, with values that it does not admit."""
    mistakes = list(generated())
    assert len(mistakes) >= 1000
    assert len({name for _, name, _ in mistakes}) >= 100
    for target, name, value in mistakes:
        (message,) = check({"part": {"_target_": target, name: value}}, {"part": taken_by(target).needed})
        assert message.startswith(f"part.{name}"), message
        assert " is not " in message
        assert "\n" not in message


def test_plain_options_with_a_wrong_value() -> None:
    count = 0
    for where, hint in PLAIN.items():
        for value in wrong_for(hint):
            *parents, name = where.split(".")
            content: Any = {name: value}
            for parent in reversed(parents):
                content = {parent: content}
            (message,) = check(content)
            assert message.startswith(f"{where}: "), message
            count += 1
    assert count >= 200


@pytest.mark.parametrize(
    "option",
    [
        "trainer.gradient_clip_val",
        "trainer.gradient_clip_algorithm",
        "trainer.limit_predict_batches",
        "optimizer.capturable",
        "optimizer.differentiable",
    ],
)
def test_options_that_the_run_sets_are_not_silently_accepted(option: str) -> None:
    found = check(compose(["data=digits", f"+{option}=1"]))
    assert any(message.startswith(f"{option} is filled in by the run") for message in found)


def commands(count: int, seed: int) -> list[tuple[list[str], str]]:
    """Draw mistakes as a user would write them: the arguments, and the option that the error has to name."""
    mistakes = [
        ([brings, f"++{path}.{name}={_as_argument(value)}"], f"{path}.{name}")
        for target, name, value in generated()
        for path, _, brings in [places()[target]]
    ]
    return random.Random(seed).sample(mistakes, count)


def _as_argument(value: Any) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return json.dumps(value).replace('"', "")


def ends_in_a_sentence(arguments: list[str], option: str, folder: Path) -> bool:
    """Whether the program refuses arguments with exit code 1 and one sentence that names the option."""
    start = Start(*arguments, f"hydra.run.dir={folder / 'run'}", output=folder / "said.txt", cwd=folder)
    code, lines = start.wait(), start.printed.strip().splitlines()
    return code == 1 and len(lines) == 1 and option in lines[0]


@pytest.mark.parametrize(("arguments", "option"), commands(count=8, seed=0), ids=lambda value: str(value)[:60])
def test_a_mistake_on_the_command_line_is_one_sentence(arguments: list[str], option: str, tmp_path: Path) -> None:
    assert ends_in_a_sentence(arguments, option, tmp_path)
