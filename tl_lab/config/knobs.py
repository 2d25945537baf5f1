"""The options of a choice with their values and comments, read from its file as text."""

import re
from pathlib import Path
from typing import NamedTuple

from tl_lab.config.catalogue import conf_dir

__all__ = ["Knob", "group_comments", "knobs"]

_LINE = re.compile(
    r"^(?P<indent> *)(?P<key>[\w.-]+):(?: +(?P<value>(?:[^#'\"]|'[^']*'|\"[^\"]*\"|(?<! )#)*?))?(?: +# *(?P<note>.*))?$"
)
_COMMENT = re.compile(r"^ +# *(?P<note>.*)$")
_DEFAULT = re.compile(
    r"^ +- (?:optional )?(?:override )?/?(?P<name>[\w@/.]+)(?:: *(?P<choice>[^#]*?))?(?: +# *(?P<note>.*))?$"
)

_OF_OTHER_GROUPS = ("_global_", "hydra.sweeper.params")  # packages of files whose keys begin with a group's name


class Knob(NamedTuple):
    """One option of a choice.

    Attributes:
        key: name on the command line, such as ``strategy.fisher.samples``.
        value: value as written in the file; empty for a node with further options.
        comment: the comment after it.
    """

    key: str
    value: str
    comment: str


def knobs(group: str, file: Path) -> list[Knob]:
    """List the options of a choice: its own, then those of shared files, whose comments its own options inherit.

    Args:
        group: group of the choice, which is the first part of the keys, with dots: ``hydra.launcher``.
        file: file of the choice.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    package = next(
        (line.removeprefix("# @package ") for line in lines if line.startswith("# @package ")), group.replace("/", ".")
    )
    found, shared = _read("" if package in _OF_OTHER_GROUPS else package, lines)
    for name in shared:
        other = file.with_name(f"{name}.yaml")
        if other.is_file():
            inherited = {knob.key: knob for knob in knobs(group, other)}
            found = [knob if knob.comment else _commented(knob, inherited.pop(knob.key, knob)) for knob in found]
            known = {knob.key for knob in found}
            found += [knob for key, knob in inherited.items() if key not in known]
    return found


def _commented(knob: Knob, inherited: Knob) -> Knob:
    """Take the comment of the same option in a shared file."""
    return knob._replace(comment=inherited.comment)


def group_comments() -> dict[str, str]:
    """Describe each group by its comment in the defaults list of ``conf/config.yaml``, in the same order.

    The list does not contain ``hydra/sweeper``, whose default is Hydra's own.
    """
    text = (conf_dir() / "config.yaml").read_text(encoding="utf-8")
    matches = (_DEFAULT.match(line) for line in text.splitlines())
    found = {match["name"]: match["note"] or "" for match in matches if match and match["choice"] is not None}
    return {**found, "hydra/sweeper": "which settings a sweep runs; all combinations by default"}


def _read(prefix: str, lines: list[str]) -> tuple[list[Knob], list[str]]:
    found: list[Knob] = []
    shared: list[str] = []
    parents: list[tuple[int, str]] = []
    in_defaults = False
    for line in lines:
        if (comment := _COMMENT.match(line)) and found and not in_defaults:
            found[-1] = found[-1]._replace(comment=f"{found[-1].comment} {comment['note']}".strip())
        elif in_defaults and (default := _DEFAULT.match(line)):
            shared += [default["name"]] if default["name"].startswith("_") and default["name"] != "_self_" else []
        elif match := _LINE.match(line):
            in_defaults = match["key"] == "defaults"
            depth = len(match["indent"])
            parents = [*(one for one in parents if one[0] < depth), (depth, match["key"])]
            if not in_defaults and match["key"] not in ("_target_", "_partial_", "_convert_"):
                key = ".".join(filter(None, [prefix, *(name for _, name in parents)]))
                found.append(Knob(key, (match["value"] or "").strip(), match["note"] or ""))
    return found, shared
