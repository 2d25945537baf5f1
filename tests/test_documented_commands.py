"""The program accepts every command in the README and the documentation."""

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tl_lab import config
from tl_lab.cli.main import _parser

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
START = re.compile(r"(?:uv run |pip install uv && uv run )?python (train\.py|-m tl_lab)(.*)")
OUTSIDE = {"my_lab/conf": str(ROOT / "examples" / "outside_package" / "outside_package" / "conf")}
BEFORE_HYDRA = {"-m", "--multirun", "-c", "-sc"}


class Documented(NamedTuple):
    """A command as a page prints it."""

    page: str
    program: str
    words: tuple[str, ...]


def _documented() -> Iterator[Documented]:
    """Find the commands in blocks of code; a backslash at the end of a line continues the line."""
    for page in PAGES:
        for line in page.read_text().replace("\\\n", " ").splitlines():
            if line.startswith("    ") and (found := START.fullmatch(line.strip())):
                words = shlex.split(re.sub("<[^>]*>", "placeholder", found[2]), comments=True)
                yield Documented(page.name, found[1], tuple(words))


COMMANDS = sorted(set(_documented()))
RUNS = [one for one in COMMANDS if one.program == "train.py" and one.words != ("--help",)]
OTHERS = [one for one in COMMANDS if one.program != "train.py"]


def _first(text: str) -> str:
    """Take the first of the values that a sweep tries."""
    override = OverridesParser.create().parse_override(text)
    if not override.is_sweep_override():
        return text
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"


def test_commands_are_found() -> None:
    assert len(RUNS) > 60
    assert len(OTHERS) > 15


@pytest.mark.parametrize("documented", RUNS, ids=lambda one: f"{one.page} {' '.join(one.words)}")
def test_a_documented_run_fits_its_classes(documented: Documented) -> None:
    words = list(documented.words)
    folder = None
    if "--config-dir" in words:
        at = words.index("--config-dir")
        folder, words = words[at + 1], words[:at] + words[at + 2 :]
        if "domain_adaptation=ddc" in words:
            pytest.skip("the example method is trained by tests/test_readme.py")
    with suppress(ValueError):
        words = words[: words.index("--cfg")]
    given = [word for word in words if word not in BEFORE_HYDRA]
    assert not [word for word in given if word.startswith("-")]
    overrides = [_first(word) for word in given if not word.startswith(("hydra.", "hydra/"))]
    if any(word.startswith("resume=") for word in overrides):
        first, *others = [word.partition("=")[0] for word in overrides]
        assert first == "resume"
        assert set(others) <= {"changed_data", "data.root", "data.path", "trainer.max_epochs"}
        return
    composed = config.compose(overrides, OUTSIDE.get(folder or "", folder))
    assert [text for text in config.check(composed) if "must be given" not in text] == []


@pytest.mark.parametrize("documented", OTHERS, ids=lambda one: f"{one.page} {' '.join(one.words)}")
def test_another_documented_command_has_these_arguments(documented: Documented) -> None:
    parser, _ = _parser()
    words = [word for word in documented.words if word != "..."]
    assert parser.parse_args(words).command is not None
