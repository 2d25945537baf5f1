"""The configuration files, and messages about wrong ones."""

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from omegaconf import OmegaConf

from tl_lab import config
from tl_lab.config import validate
from tl_lab.config.fitting import misfits
from tl_lab.config.identity import to_plain
from tl_lab.errors import UserError

GROUPS = {"augmentation", "backbone", "callbacks", "data", "domain_adaptation", "logger", "optimizer", "scheduler"}
GROUPS |= {"strategy", "trainer"}
CHOICES = [(group, name, file) for group, files in config.choices().items() for name, file in files.items()]


class Thing:
    """Stands for a class that a file names."""

    def __init__(
        self,
        width: int,
        rate: float = 0.1,
        kind: Literal["a", "b"] = "a",
        sizes: tuple[int, int] | None = None,
        names: list[str] | str = "all",
        on: bool = True,
        inner: object = None,
    ) -> None:
        raise AssertionError("a check builds nothing")


def _thing(**values: Any) -> dict[str, Any]:
    return {"part": {"_target_": f"{__name__}.Thing", "width": 3, **values}}


def test_every_group_has_choices() -> None:
    assert set(config.choices()) >= GROUPS
    assert len(CHOICES) >= 25


@pytest.mark.parametrize(("group", "name", "file"), CHOICES, ids=[f"{group}={name}" for group, name, _ in CHOICES])
def test_every_choice_is_described(group: str, name: str, file: Path) -> None:
    assert 10 < len(config.describe(file)) <= 150, f"{file} does not begin with a short comment"


def _rows() -> list[list[str]]:
    """Each choice once, with choices of other groups beside it: fewer to compose than there are choices.

    An experiment is alone, since it sets options of the choices that it makes.
    """
    groups = {group: [f"{group}={name}" for name in files] for group, files in config.choices().items()}
    alone = [[experiment] for experiment in groups.pop("experiment")]
    return [*alone, *([one for one in row if one] for row in itertools.zip_longest(*groups.values()))]


@pytest.mark.parametrize("row", _rows(), ids=",".join)
def test_every_choice_composes_and_fits_its_class(row: list[str]) -> None:
    cfg = config.compose(row)
    mistakes = [text for text in config.check(cfg) if "must be given" not in text]
    assert mistakes == []
    _refuses_unknown_keys(to_plain(cfg))


_OPEN = (
    ".reproduces.published", ".reproduces.variants",  # their keys are names: of methods and tasks, and of swept keys
    ".logger.tensorboard",  # hands everything on to PyTorch's writer, which refuses what it does not know
)  # fmt: skip
_TRIED: set[tuple[str, str]] = set()  # nodes by path and class: rows share most of them


def _refuses_unknown_keys(plain: dict[str, Any]) -> None:
    """Put a key that nothing reads into every mapping, at every depth: one more mistake, which names it."""
    known = config.check(plain)
    for path, node in _mappings(plain, ""):
        if path.startswith(_OPEN):
            continue
        if (tried := (path, str(node.get("_target_")))) in _TRIED:
            continue
        _TRIED.add(tried)
        node["unread"] = 1
        more = [text for text in config.check(plain) if text not in known]
        del node["unread"]
        assert len(more) == 1, (path, more)
        assert "unread" in more[0], (path, more)


def _mappings(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
        for key, item in value.items():
            if path or key != "hydra":
                yield from _mappings(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _mappings(item, f"{path}[]")


def test_every_choice_is_in_one_row() -> None:
    assert sorted(itertools.chain(*_rows())) == sorted(f"{group}={name}" for group, name, _ in CHOICES)


def test_root_keys_have_comments() -> None:
    lines = (config.conf_dir() / "config.yaml").read_text().splitlines()
    values = lines[lines.index("") : lines.index("hydra:")]  # after the defaults
    assert len(values) > 8
    assert [line for line in values if line and "#" not in line and not line.startswith("name:")] == []


def test_unknown_group() -> None:
    with pytest.raises(UserError, match="did you mean 'backbone'"):
        config.choices("bakbone")


def test_composed_config_is_resolved() -> None:
    composed = config.compose(["domain_adaptation=none"])
    assert composed.name == "none-from_scratch-printed_to_handwritten"
    assert composed.evaluate in ("last", "best")
    assert "hydra" not in composed


def test_a_right_node_passes() -> None:
    good = _thing(rate=1, kind="b", sizes=[2, 3], names=["x"], inner={"_target_": f"{__name__}.Thing", "width": 1})
    assert config.check(good) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widht": 3}, "part.widht: Thing has no option 'widht'; did you mean 'width'?"),
        ({"width": "???"}, "part.width must be given"),
        ({"width": 2.5}, "part.width: 2.5 is not a whole number"),
        ({"width": True}, "part.width: true is not a whole number"),
        ({"rate": "abc"}, 'part.rate: "abc" is not a number'),
        ({"rate": None}, "part.rate: null is not a number"),
        ({"kind": "c"}, 'part.kind: "c" is not "a" or "b"'),
        ({"sizes": [1, 2, 3]}, "part.sizes: [1, 2, 3] is not a list of 2 whole numbers or null"),
        ({"names": [1]}, "part.names: [1] is not a list of texts or text"),
        ({"sizes": 3}, "part.sizes: 3 is not a list of 2 whole numbers or null; write part.sizes=[3,3]"),
        ({"width": [3]}, "part.width: [3] is not a whole number; write part.width=3"),
        ({"on": "yes"}, 'part.on: "yes" is not true or false'),
        ({"inner": {"_target_": f"{__name__}.Thing"}}, "part.inner lacks 'width', which Thing requires"),
    ],
)
def test_a_wrong_value_is_one_sentence(values: dict[str, Any], message: str) -> None:
    assert config.check(_thing(**values)) == [message]


def test_classes_that_do_not_exist() -> None:
    assert "did you mean 'Thing'?" in config.check({"part": {"_target_": f"{__name__}.Thin"}})[0]
    assert config.check({"part": {"_target_": "no_such_module.Thing"}}) == [
        "part._target_: 'no_such_module.Thing' does not exist: there is no module 'no_such_module'"
    ]
    assert "neither" in config.check({"part": {"_target_": f"{__name__}.GROUPS"}})[0]


def test_a_missing_dependency_is_not_reported_as_a_misspelt_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lacking.py").write_text("import nowhere_to_be_found\n")
    (tmp_path / "broken.py").write_text("value = 1 / 0\n")
    (tmp_path / "whole.py").write_text("class Mine: ...\n")
    messages = [config.check({"part": {"_target_": name}})[0] for name in ("lacking.Mine", "broken.Mine", "whole.Mien")]
    assert messages == [
        "part._target_: 'lacking.Mine' cannot be imported: lacking needs nowhere_to_be_found, which is not installed",
        "part._target_: 'broken.Mine' cannot be imported (ZeroDivisionError: division by zero)",
        "part._target_: 'whole.Mien' does not exist; did you mean 'Mine'?",
    ]


def test_missing_required_arguments_are_reported() -> None:
    bare = {"part": {"_target_": f"{__name__}.Thing"}}
    assert config.check(bare) == ["part lacks 'width', which Thing requires"]
    assert config.check(bare, {"part": ["width"]}) == []
    assert config.check({"part": {**bare["part"], "_partial_": True}}) == []


def test_plain_values_are_checked_too() -> None:
    wrong = {"seed": "x", "threads": 0, "update": {"accumulate": 2}, "evaluate": "first"}
    messages = config.check(wrong)
    assert len(messages) == 4
    assert any("did you mean 'accumulate_batches'?" in text for text in messages)
    assert "threads: 0 is not a whole number from 1 to 1024" in messages


def test_all_mistakes_are_reported_at_once_and_none_twice() -> None:
    wrong = {**_thing(widht=1, rate="x"), "again": "${part}"}
    with pytest.raises(UserError, match=r"has 2 mistakes: \(1\) .*widht.*; \(2\) .*rate"):
        config.raise_if_wrong(wrong)
    with pytest.raises(UserError, match=r"^part\.rate"):
        config.raise_if_wrong(_thing(rate="x"))


def test_a_broken_reference_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="nowhere"):
        config.to_plain(OmegaConf.create({"a": "${nowhere}"}))


@pytest.mark.parametrize(("strategy", "rate"), [("fine_tuning.FineTuning", 0.1), ("from_scratch.FromScratch", 1.0)])
def test_later_options_do_not_change_the_hash(strategy: str, rate: float) -> None:
    target = f"tl_lab.strategies.{strategy}"
    before = {"strategy": {"_target_": target, "layers": {"backbone_lr": rate, "decay": 1.0}}, "update": {"clip": None}}
    now = {
        "strategy": {"_target_": target, "layers": {"backbone_lr": None, "decay": 1.0}},
        "validation": {"samples": 2000},
    }
    now["update"] = {"clip": None, "weight_decay_on": "all"}
    assert config.config_hash(now) == config.config_hash(before)
    now["update"]["weight_decay_on"] = "matrices"
    assert config.config_hash(now) != config.config_hash(before)
    decayed = {**before, "strategy": {"_target_": target, "layers": {"backbone_lr": None, "decay": 2.6}}}
    given = {**before, "strategy": {"_target_": target, "layers": {"backbone_lr": rate, "decay": 2.6}}}
    assert config.config_hash(decayed) != config.config_hash(given)  # the top group learns at another rate


def test_a_pairs_default_label_budget_is_not_hashed_at_any_depth() -> None:
    pair = {"protocol": "inductive", "seed": 0}
    for data in (lambda node: node, lambda node: {"datasets": [node, node]}, lambda node: {"of": node}):
        before, now, cut = ({"data": data({**pair, **own})} for own in ({}, {"labels": None}, {"labels": 50}))
        assert config.config_hash(now) == config.config_hash(before)
        assert config.config_hash(cut) != config.config_hash(before)


def test_the_hash_depends_on_options_that_change_numbers() -> None:
    base = {
        "seed": 0,
        "threads": 2,
        "name": "a",
        "tags": [],
        "data": {"root": "/x", "size": 1},
        "logger": {"mode": "a"},
    }
    same = {"logger": {}, "tags": ["t"], "name": "b", "resume": "r", "seed": 0, "threads": 2}
    same["data"] = {"size": 1, "root": "/y"}
    assert config.config_hash(base) == config.config_hash(same)
    assert len(config.config_hash(base)) == 64
    for change in ({"seed": 1}, {"threads": 1}, {"data": {"size": 2}}):
        assert config.config_hash({**base, **change}) != config.config_hash(base)


def test_arguments_that_the_run_provides_exist() -> None:
    """The list of provided arguments must not outlive the constructors."""
    others = ["data=adult backbone=ft_transformer", "data=trec backbone=word_vectors"]  # of tables, and of texts
    composed = [config.compose(), *(config.compose(words.split()) for words in others)]
    for group, names in config.PROVIDED.items():
        taken: set[str] = set()
        for chosen in composed:
            module, _, name = chosen[group]._target_.rpartition(".")
            target = functools.reduce(getattr, [name], __import__(module, fromlist=[name]))
            taken |= set(inspect.signature(target).parameters)
        assert names <= taken, group


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("~optimizer._target_", "optimizer does not name a class: optimizer._target_ is missing"),
        ("optimizer._target_=null", "optimizer._target_: 'None' does not exist"),
        ("~optimizer._partial_", "optimizer lacks 'params'"),
        ("+data._partial_=true", "data._partial_ is not supported here: leave it out"),
        ("+backbone._args_=[1]", "backbone._args_ is not supported here: leave it out"),
        ("+strategy._recursive_=false", "strategy._recursive_ is not supported here: leave it out"),
        ("+validator.entropy._partial_=true", "validator.entropy._partial_ is not supported here: leave it out"),
        ("+strategy.layers._partial_=true", "is not LayerPolicy"),
        ("~strategy.layers._target_", "is not LayerPolicy"),
    ],
)
def test_hydras_directives_are_refused_in_one_sentence(override: str, expected: str) -> None:
    (mistake,) = config.check(config.compose([override]))
    assert expected in mistake
    assert "\n" not in mistake


def test_a_callable_may_be_a_class_that_is_not_built() -> None:
    node = {"_target_": f"{__name__}.Thing", "_partial_": True}
    assert list(misfits(node, Callable[[int], Any])) == list(misfits(node, Any)) == []
    assert len(list(misfits(node, Thing))) == len(list(misfits(node, Thing | None))) == 1


def test_options_are_checked_after_torch_compile(monkeypatch):
    """torch.compile replaces the constructor of nn.Module by a function of its own that takes anything."""
    original = torch.nn.Module.__init__

    def patched(self, *args, **kwargs):
        original(self, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "__init__", patched)
    validate._taken_by.cache_clear()
    try:
        assert config.check(config.compose(["domain_adaptation=source_only", "+domain_adaptation.unread=1"])) != []
    finally:
        validate._taken_by.cache_clear()


def test_a_mistake_is_reported_once_at_its_source():
    cfg = OmegaConf.merge(config.compose(["data=digits"]), {"seed": "x", "data": {"seed": "${seed}"}})
    (mistake,) = config.check(cfg)
    assert mistake.startswith('seed: "x" is not a whole number')
    (mistake,) = config.check(OmegaConf.merge(cfg, {"seed": 1, "data": {"seed": "x"}}))
    assert mistake.startswith('data.seed: "x" is not a whole number')


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("+foo=1", "there is no key 'foo'; valid: adapter"),
        ("+compile=true", "there is no key 'compile'; did you mean update.compile?"),
        ("+lr=0.1", "there is no key 'lr'; did you mean optimizer.lr?"),
        ("+trainer.callbacks=[{_target_:pytorch_lightning.callbacks.Timer}]", "callbacks.<name>._target_=<class>"),
    ],
)
def test_unknown_keys_are_refused_with_a_suggestion(given, says):
    (mistake,) = config.check(config.compose(["data=digits", given]))
    assert says in mistake
