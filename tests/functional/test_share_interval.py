"""Intervals of shares, and what the mathematics imports."""

import ast
from pathlib import Path

import pytest

import tl_lab.functional
from tl_lab.functional.share_interval import wilson_interval

FOLDER = Path(tl_lab.functional.__file__).parent


def test_wilsons_interval_solves_its_equation():
    # the ends are those shares p that lie z deviations of p from what was observed
    for end in wilson_interval(0.8, 10):
        assert abs(0.8 - end) == pytest.approx(1.959964 * (end * (1 - end) / 10) ** 0.5)


def test_the_mathematics_imports_nothing_of_the_rest_but_errors_and_random_numbers():
    files = sorted(FOLDER.glob("*.py"))
    assert len(files) > 50
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            found |= {name for name in names if name.partition(".")[0] == "tl_lab"}
    allowed = ("tl_lab.functional", "tl_lab.errors", "tl_lab.randomness")
    assert {name for name in found if not name.startswith(allowed)} == set()
