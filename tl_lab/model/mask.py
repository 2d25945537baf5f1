"""The mask of trainable parameters: a training rule for each parameter."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

__all__ = ["Author", "Mask", "Rule", "narrowed"]


@dataclass(frozen=True)
class Rule:
    """Training rule of one parameter.

    Args:
        group: name of its optimizer group.
        learns: whether it is trained at any time in the run.
        share: its learning rate relative to the head's, > 0.
        starts: epoch from which it is trained, counted from 0; it is frozen until then.
    """

    group: str
    learns: bool = True
    share: float = 1.0
    starts: int = 0

    def learns_in(self, epoch: int) -> bool:
        """Whether the parameter is trained in an epoch, counted from 0."""
        return self.learns and epoch >= self.starts


class Author(Protocol):
    """An object that determines the rules of a backbone's parameters, usually the layer policy."""

    def rules(self, groups: Mapping[str, Sequence[str]]) -> Mapping[str, Rule]:
        """Return a rule for each parameter.

        Args:
            groups: names of the parameters of each layer group, groups from shallow to deep.

        Returns:
            The rules by the parameters' names; parameters of one optimizer group have the same share.

        Raises:
            UserError: the options do not fit these groups.
        """


class Mask(Mapping[str, Rule]):
    """The rules of all parameters by their names, in the order of the optimizer.

    Whether a parameter is trained depends only on its rule and the epoch, so a resumed run needs no saved state.

    Args:
        rules: the rules by the parameters' names.
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
        """Return the names of the parameters that are trained at any time."""
        return [name for name, rule in self._rules.items() if rule.learns]

    def learning(self, epoch: int) -> set[str]:
        """Return the names of the parameters that are trained in an epoch, counted from 0."""
        return {name for name, rule in self._rules.items() if rule.learns_in(epoch)}

    def groups(self) -> dict[str, list[str]]:
        """Return the trained parameters of each optimizer group, groups in the order of their first parameter."""
        groups: dict[str, list[str]] = {}
        for name in self.learned():
            groups.setdefault(self._rules[name].group, []).append(name)
        return groups

    def __repr__(self) -> str:
        return f"Mask({len(self.learned())} of {len(self)} parameters trained)"


def narrowed(rules: Mapping[str, Rule], owns: Callable[[str], bool]) -> dict[str, Rule]:
    """Restrict training to the parameters of an adapter; rates and epochs do not change.

    Args:
        rules: rules of the backbone.
        owns: function that returns whether a parameter, given by name, belongs to the adapter.
    """
    return {name: rule if owns(name) else replace(rule, learns=False) for name, rule in rules.items()}
