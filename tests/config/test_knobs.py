"""Options of a choice on its card."""

import pytest
from omegaconf import OmegaConf

from tl_lab.config import choices, compose
from tl_lab.config.knobs import group_comments, knobs


@pytest.mark.parametrize("choice", ["strategy/ewc", "data/digits", "domain_adaptation/dann", "callbacks/default"])
def test_the_card_of_a_choice_has_every_option_with_its_value(choice: str) -> None:
    group, _, name = choice.partition("/")
    found = {knob.key: knob for knob in knobs(group, choices(group)[group][name])}
    given = {"strategy/ewc": ["strategy=ewc"], "data/digits": ["data=digits"]}.get(choice, [])
    composed = compose([*given, *([] if group in ("strategy", "data") else [f"{group}={name}"])])

    def leaves(node: object, key: str) -> dict[str, object]:
        if not OmegaConf.is_dict(node) or not node:
            return {key: node}
        return {
            k: v for part, item in node.items() if part != "_target_" for k, v in leaves(item, f"{key}.{part}").items()
        }

    values = leaves(composed[group], group)
    lacking = [key for key in values if key not in found and not any(key.startswith(f"{one}.") for one in found)]
    assert not lacking
    for key, value in values.items():
        if key in found and "$" not in found[key].value and "{" not in found[key].value:
            assert OmegaConf.create(f"x: {found[key].value}").x == value
    assert sum(bool(knob.comment) for knob in found.values()) >= len(found) / 2


def test_continued_comments_belong_to_their_option() -> None:
    found = {knob.key: knob.comment for knob in knobs("strategy", choices("strategy")["strategy"]["ewc"])}
    assert found["strategy.ewc_lambda"].startswith("strength of the penalty")
    assert found["strategy.ewc_lambda"].endswith("With batched, it is larger by a factor of up to the batch size")


def test_every_group_is_reported() -> None:
    comments = group_comments()
    assert {group for group in choices() if "/" not in group} <= set(comments)
    assert comments["backbone"].startswith("the feature extractor")


@pytest.mark.parametrize(
    ("group", "name", "keys"),
    [
        ("hydra/launcher", "forked", ["hydra.launcher.jobs", "hydra.launcher.timeout", "hydra.launcher.resume"]),
        ("search", "domain_adaptation/afn", ["domain_adaptation.weight", "optimizer.lr"]),
    ],
)
def test_options_are_named_as_on_the_command_line(group: str, name: str, keys: list[str]) -> None:
    assert [knob.key for knob in knobs(group, choices(group)[group][name])] == keys


def test_no_option_has_a_slash() -> None:
    keys = [knob.key for group, files in choices().items() for file in files.values() for knob in knobs(group, file)]
    assert len(keys) > 1000
    assert [key for key in keys if "/" in key] == []


def test_every_option_is_described() -> None:
    bare = {
        f"{group}={name}: {knob.key}"
        for group, files in choices().items()
        if group not in ("experiment", "assess")  # these set options that other files describe, as variants do
        for name, file in files.items()
        for knob in knobs(group, file)
        if "/" not in name and knob.value and not knob.comment
    }
    assert bare == set()


def test_an_option_without_a_comment_has_that_of_the_shared_file() -> None:
    (found,) = (knob for knob in knobs("data", choices("data")["data"]["adult"]) if knob.key == "data.label_column")
    assert found.value == "income"
    assert found.comment.startswith("column with the class or the number")
