"""The benchmark of provenance: commits outside of the history, and those with the same code."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def commit(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "change")
    return git(root, "rev-parse", "HEAD")


def test_a_commit_outside_of_the_history_is_replaced_by_one_with_the_same_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import provenance

    git(tmp_path, "init", "-q", "-b", "main")
    first = commit(tmp_path, {"tl_lab/a.py": "1", "docs/page.md": "x"})
    git(tmp_path, "checkout", "-q", "-b", "measured")
    rebased = commit(tmp_path, {"docs/page.md": "y"})  # the same code, other pages
    other = commit(tmp_path, {"tl_lab/a.py": "2"})
    git(tmp_path, "checkout", "-q", "main")
    last = commit(tmp_path, {"docs/results/a.csv": "\n".join([first, rebased, other, "0" * 40])})
    assert set(provenance.commits_named(tmp_path)) == {first, rebased, other, "0" * 40}
    assert dict(provenance.replacements(tmp_path)) == {rebased: last, other: None, "0" * 40: None}
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["provenance.py", "--write"])
    assert provenance.main() == 1
    assert (tmp_path / "docs/results/a.csv").read_text().split() == [first, last, other, "0" * 40]
