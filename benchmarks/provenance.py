"""Are the commits recorded in the stored results part of the history, so that their code can be checked out?

    uv run python benchmarks/provenance.py             # lists the others; exit code 1 if there are any
    uv run python benchmarks/provenance.py --write     # records a commit of the history with the same code instead

Results are often measured in a clone whose commits are rebased later, or merged with results of other clones. A commit
has the same code as another if all files of the package, its configurations, benchmarks and dependencies are equal.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["commits_named", "replacements"]

ROOT = Path(__file__).resolve().parent.parent
CODE = ("tl_lab", "conf", "hydra_plugins", "benchmarks", "train.py", "pyproject.toml", "constraints.txt")


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True).stdout


def commits_named(root: Path) -> dict[str, list[Path]]:
    """Return the commits that stored results name, with the files that name them."""
    found: dict[str, list[Path]] = {}
    for file in sorted((root / "docs" / "results").rglob("*")):
        if file.suffix in (".csv", ".json"):
            for commit in set(re.findall(r"\b[0-9a-f]{40}\b", file.read_text(encoding="utf-8"))):
                found.setdefault(commit, []).append(file)
    return found


def _code_of(root: Path, commit: str) -> str:
    """Return the hashes of a commit's code; empty if the commit is unknown."""
    return _git(root, "ls-tree", commit, "--", *CODE)


def replacements(root: Path) -> Iterator[tuple[str, str | None]]:
    """Find named commits that are not part of the history of ``HEAD``.

    Args:
        root: of the repository.

    Yields:
        The commit, and the newest commit of the history with the same code; None if there is none, or if the
        commit's objects are not in this clone.
    """
    history = _git(root, "rev-list", "HEAD").split()
    outside = sorted(set(commits_named(root)) - set(history))
    by_code: dict[str, str] = {}
    if outside:
        for commit in reversed(history):
            by_code[_code_of(root, commit)] = commit
    for commit in outside:
        code = _code_of(root, commit)
        yield commit, by_code.get(code) if code else None


def main() -> int:
    """List the commits, or replace them; give the exit code."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--write", action="store_true", help="replace the commits in the files")
    given = options.parse_args()
    left, named = 0, commits_named(ROOT)
    for commit, other in replacements(ROOT):
        files = ", ".join(str(file.relative_to(ROOT)) for file in named[commit])
        print(f"{commit[:10]} -> {other[:10] if other else 'no commit with this code'}: {files}")
        if other is None or not given.write:
            left += 1
            continue
        for file in named[commit]:
            file.write_text(file.read_text(encoding="utf-8").replace(commit, other), encoding="utf-8")
    print(f"{len(named)} commits, {left} of them outside of the history")
    return int(left > 0)


if __name__ == "__main__":
    sys.exit(main())
