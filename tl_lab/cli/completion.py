"""Shell completion for ``tl-lab``: its commands, groups and choices, and Hydra's completion for runs."""

import os
from collections.abc import Sequence

from tl_lab.config import choices

__all__ = ["asked", "complete"]

_OPTIONS = frozenset({"-sc", "--shell-completion"})


def asked(given: Sequence[str]) -> bool:
    """Whether the arguments are a completion query of a shell, or request the completion script."""
    return bool(given) and given[0].partition("=")[0] in _OPTIONS


def complete(given: Sequence[str], commands: Sequence[str]) -> None:
    """Answer a completion query, or print the completion script: ``eval "$(tl-lab -sc install=bash)"``.

    Args:
        given: arguments, such as ``-sc install=bash`` or ``-sc query=bash``.
        commands: names of the program's commands.
    """
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    place = len(words) - (0 if line.endswith(" ") else 1)  # index of the word being typed
    if not any("query" in text for text in given) or (place > 1 and words[1] == "train"):
        from tl_lab.cli.train import main as train

        # Hydra expects the command line of the program that starts runs
        os.environ["COMP_LINE"] = line.replace(" train", "", 1)
        train(list(given))
    elif place <= 1:
        print(" ".join(commands))
    elif words[1] == "list":
        known = choices()
        names = known if place == 2 else known.get(words[2], {}) if place == 3 else ()
        print(" ".join(names))
