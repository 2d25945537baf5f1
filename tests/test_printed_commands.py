"""Commands that the program prints start it the way it was started, and can be pasted."""

import shlex
import sys
from pathlib import Path

import pytest

from tl_lab import commands


@pytest.mark.parametrize(
    ("started", "uv", "run", "look_up"),
    [
        ("train.py", False, "python train.py", "python -m tl_lab"),
        ("train.py", True, "uv run python train.py", "uv run python -m tl_lab"),
        ("/usr/bin/tl-lab", False, "tl-lab train", "tl-lab"),
        ("/usr/bin/tl-lab", True, "uv run tl-lab train", "uv run tl-lab"),
        ("/x/tl_lab/__main__.py", False, "python -m tl_lab train", "python -m tl_lab"),
        ("/x/ipykernel_launcher.py", False, "python -m tl_lab train", "python -m tl_lab"),
        ("/else where/train.py", False, "python '/else where/train.py'", "python -m tl_lab"),
    ],
)
def test_a_command_fits_how_the_program_was_started(
    monkeypatch: pytest.MonkeyPatch, started: str, uv: bool, run: str, look_up: str
) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.delenv("UV", raising=False)
    if uv:
        monkeypatch.setenv("UV", "/bin/uv")
    assert commands.train("-m", "seed=0,1") == f"{run} -m seed=0,1"
    assert commands.command("list") == f"{look_up} list"


def test_a_script_below_the_current_folder_is_named_from_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "lab" / "train.py")])
    assert commands.train("seed=1") == "python lab/train.py seed=1"


def test_words_come_back_from_a_shell_as_they_were() -> None:
    words = ["resume=my run, 1", "data.root=$HOME/<x>", "a='b'", "strategy.head={hidden: [1]}"]
    assert shlex.split(commands.train(*words))[-4:] == words
