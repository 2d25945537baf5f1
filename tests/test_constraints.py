"""The pinned versions are names and numbers, cover what the project uses, and keep within its bounds."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent


def _pinned() -> dict[str, list[Version]]:
    """Versions by package: several where they depend on the version of Python."""
    found: dict[str, list[Version]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (bound,) = requirement.specifier
            assert bound.operator == "=="
            assert requirement.url is None
            found.setdefault(canonicalize_name(requirement.name), []).append(Version(bound.version))
    return found


def _direct() -> Iterator[Requirement]:
    """Everything that pyproject.toml names."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = declared["project"]
    groups = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *declared["dependency-groups"].values(),
    ]
    for text in (text for group in groups for text in group):
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            yield requirement


def test_no_line_holds_an_address() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "://" in line or " @ " in line or line.startswith("-")] == []


def test_every_direct_dependency_is_pinned_within_its_bounds() -> None:
    pinned, direct = _pinned(), list(_direct())
    assert len(direct) > 30
    assert [one.name for one in direct if canonicalize_name(one.name) not in pinned] == []
    outside = [
        f"{one} {version}"
        for one in direct
        for version in pinned[canonicalize_name(one.name)]
        if not one.specifier.contains(version, prereleases=True)
    ]
    assert outside == []
