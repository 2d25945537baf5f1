"""What is predicted is known by the problem alone: the frame around it names no loss, decision or score."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tl_lab
from tl_lab.problems import PROBLEMS

PACKAGE = Path(tl_lab.__file__).parent
FRAME = ("run", "training", "model", "watching", "cli", "sweeps", "data/scenarios", "data/base.py")
FRAME += (
    "strategies/base.py",
    "strategies/probed.py",
    "strategies/continual",
    "strategies/fine_tuning.py",
    "domain_adaptation/base.py",
)
CALLS = {"argmax", "bincount", "cross_entropy", "binary_cross_entropy_with_logits", "CrossEntropyLoss", "mse_loss"}
ALLOWED = {
    "data/scenarios/episodes.py": {"bincount"},  # episodes draw classes; no other problem has them
    "strategies/continual/der_plus_plus.py": {"mse_loss"},  # of stored outputs, whatever they mean: the paper's term
    "training/figures.py": {"auroc"},  # an order of labels, in figures of several labels
    "training/screening.py": {"auroc"},  # a column; screening is of findings alone
    "watching/validators/dev.py": {"cross_entropy"},  # an option's value, as the paper calls it
}


def named(file: Path) -> Iterator[str]:
    """Yield the words of losses, decisions and scores in a file's code; strings that describe are no code."""
    scores = {kind.monitor for kind in PROBLEMS.values()}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        word = getattr(node, "attr", None) or getattr(node, "id", None)
        if word in CALLS:
            yield word
        if isinstance(word := getattr(node, "value", None), str) and word.rpartition("/")[2] in CALLS | scores:
            yield word


def files() -> list[Path]:
    return [
        file
        for part in FRAME
        for file in ([PACKAGE / part] if part.endswith(".py") else (PACKAGE / part).rglob("*.py"))
    ]


def test_the_words_are_found_where_they_are() -> None:
    assert {"acc", "argmax"} <= set(named(PACKAGE / "problems" / "single_label.py"))


@pytest.mark.parametrize("file", [file.relative_to(PACKAGE).as_posix() for file in files() if file.is_file()])
def test_the_frame_names_no_loss_decision_or_score(file: str) -> None:
    assert set(named(PACKAGE / file)) <= ALLOWED.get(file, set())
