"""What learns, as data: a rule for each parameter, written by an author and asked by everything else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

__all__ = ["Author", "Mask", "Rule", "narrowed"]


@dataclass(frozen=True)
class Rule:
    """How one parameter learns.

    Args:
        group: name of the optimizer group that it belongs to.
        learns: whether it learns at any time in the run.
        share: its rate as a share of the head's, > 0.
        starts: epoch from which it learns, counted from 0; frozen until then.
    """

    group: str
    learns: bool = True
    share: float = 1.0
    starts: int = 0

    def learns_in(self, epoch: int) -> bool:
        """Tell whether the parameter learns in an epoch, counted from 0."""
        return self.learns and epoch >= self.starts


class Author(Protocol):
    """Writes the rules of a backbone; the layer policy is the usual one."""

    def rules(self, groups: Mapping[str, Sequence[str]]) -> Mapping[str, Rule]:
        """Give a rule for each parameter.

        Args:
            groups: names of the parameters of each layer group, groups from shallow to deep.

        Returns:
            The rules by the parameters' names; those of one optimizer group have the same share.

        Raises:
            UserError: the author's options do not suit these groups.
        """


class Mask(Mapping[str, Rule]):
    """The rules of all parameters by their names, in the order of the optimizer.

    Rules are a pure function of the epoch, so that a resumed run needs no state.

    Args:
        rules: by the parameter's name.
    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = dict(rules)

    def __getitem__(self, name: str) -> Rule:
        return self._rules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def learned(self) -> list[str]:
        """Name the parameters that learn at some time in the run."""
        return [name for name, rule in self._rules.items() if rule.learns]

    def learning(self, epoch: int) -> set[str]:
        """Name the parameters that learn in an epoch, counted from 0."""
        return {name for name, rule in self._rules.items() if rule.learns_in(epoch)}

    def groups(self) -> dict[str, list[str]]:
        """Name the parameters of each optimizer group that learn at some time, groups in their first one's order."""
        groups: dict[str, list[str]] = {}
        for name in self.learned():
            groups.setdefault(self._rules[name].group, []).append(name)
        return groups

    def __repr__(self) -> str:
        return f"Mask({len(self.learned())} of {len(self)} parameters learn)"


def narrowed(rules: Mapping[str, Rule], owns: Callable[[str], bool]) -> dict[str, Rule]:
    """Let only those parameters learn that an adapter owns; rates and epochs stay as they are.

    Args:
        rules: as an author has written them.
        owns: asked by the parameter's name.
    """
    return {name: rule if owns(name) else replace(rule, learns=False) for name, rule in rules.items()}
