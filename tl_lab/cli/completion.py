"""Completion of ``tl-lab`` in a shell: its commands, groups and choices, and what Hydra completes of a run."""

import os
from collections.abc import Sequence

from tl_lab.config import choices

__all__ = ["asked", "complete"]

_OPTIONS = frozenset({"-sc", "--shell-completion"})


def asked(given: Sequence[str]) -> bool:
    """Whether arguments are a shell's question, or ask for what tells a shell to put it."""
    return bool(given) and given[0].partition("=")[0] in _OPTIONS


def complete(given: Sequence[str], commands: Sequence[str]) -> None:
    """Answer a shell's question, or print what tells a shell to put it: ``eval "$(tl-lab -sc install=bash)"``.

    Args:
        given: ``-sc install=bash``, ``-sc query=bash`` ...
        commands: names of the program's commands.
    """
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    place = len(words) - (0 if line.endswith(" ") else 1)  # of the word that is being typed
    if not any("query" in text for text in given) or (place > 1 and words[1] == "train"):
        from tl_lab.cli.train import main as train

        # to Hydra the program is what starts a run
        os.environ["COMP_LINE"] = line.replace(" train", "", 1)
        train(list(given))
    elif place <= 1:
        print(" ".join(commands))
    elif words[1] == "list":
        known = choices()
        names = known if place == 2 else known.get(words[2], {}) if place == 3 else ()
        print(" ".join(names))
