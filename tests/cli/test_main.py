"""The command line as a whole."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from tl_lab.assess.detectors import BY_DEFAULT, DETECTORS
from tl_lab.cli import assess, papers
from tl_lab.cli.main import _parser, main
from tl_lab.config.catalogue import given_folders


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["lst"], "there is no command 'lst'; did you mean 'list' or 'test'?"),
        (["--versio"], "there is no option '--versio'; did you mean '--version'?"),
        (
            ["predict", "run", "new", "--suport", "x"],
            "predict: there is no option '--suport'; did you mean '--support' ",
        ),
        (["predict", "run"], "predict: the following arguments are required: input (python -m tl_lab predict --help)"),
        (["export", "run", "--format", "pef"], "export: argument --format: invalid choice: 'pef' (choose from "),
        (
            ["papers", "run", "x", "--intil", "decided"],
            "papers run: there is no option '--intil'; did you mean '--until'?",
        ),
        (["papers", "--long"], "papers: there is no option '--long'; did you mean '--config-dir' or '--help'?"),
        (["papers", "run", "x", "-cd", "nowhere"], "--config-dir: there is no folder "),
        (["weights", "a", "b"], "weights: unexpected argument 'a' (python -m tl_lab weights --help)"),
    ],
)
def test_a_mistake_is_one_sentence(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV", raising=False)  # with which commands would begin with uv run
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(f"tl_lab: {message}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["papers", "--config-dir", "{a}", "run", "one", "seed=0", "--config-dir", "{b}"],
        ["papers", "-cd", "{a}", "-cd", "{b}", "run", "one", "seed=0"],
        ["papers", "run", "-cd", "{a}", "one", "-cd={b}", "seed=0"],
        ["papers", "run", "one", "--config-dir", "{a}", "seed=0", "--config-dir={b}"],
    ],
    ids=" ".join,
)
def test_folders_of_choices_are_given_before_or_after_an_action(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(papers, "_run", lambda options: seen.append((options.overrides, given_folders())))
    places = {name: tmp_path / name for name in "ab"}
    for place in places.values():
        place.mkdir()
    main([word.format(**places) for word in words])
    assert seen == [(["seed=0"], (places["a"], places["b"]))]


def test_options_stand_between_positional_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(assess, "_assess", lambda options: seen.append((options.overrides, options.output)))
    main(["assess", "data=digits", "--output", "x", "backbone=mlp"])
    assert seen == [(["data=digits", "backbone=mlp"], Path("x"))]


def test_each_option_with_a_default_value_states_it():
    (commands,) = (one for one in _parser()[0]._actions if isinstance(one, argparse._SubParsersAction))
    options = [
        (name, action)
        for name, parser in commands.choices.items()
        for action in parser._actions
        if action.option_strings and action.default not in (None, [], False, True, argparse.SUPPRESS)
    ]
    assert len(options) >= 4
    lacking = [(name, one.dest) for name, one in options if f"default: {one.default}" not in one.help]
    assert lacking == []


def test_the_names_of_detectors_are_whole_words_of_the_help(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["drift", "--help"])
    words = capsys.readouterr().out.replace(";", " ").replace(",", " ").split()
    assert set(DETECTORS) <= set(words)
    assert tuple(DETECTORS)[: len(BY_DEFAULT)] == BY_DEFAULT  # all but the last two


def test_the_help_of_papers_says_what_papers_alone_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["papers", "--help"])
    assert "Without run or store, list all experiments" in capsys.readouterr().out
