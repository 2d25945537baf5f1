"""Several labelled sources for joint training, optionally with an unlabelled domain and one for tests only."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch

from tl_lab.data.base import DataModule
from tl_lab.data.loaders import Batches, PairLoader
from tl_lab.data.names import SetName
from tl_lab.data.samples import Samples
from tl_lab.errors import UserError, nearest

__all__ = ["SeveralSources"]

_RESERVED = ("source", "target")


class SeveralSources(DataModule):
    """Labelled domains whose samples share batches, each with its domain's number.

    Sets: ``train`` and ``val`` join all sources; ``<domain>/val`` and ``<domain>/test`` are those of one source; a
    held-out domain has ``<domain>/test`` alone, and a target ``target/train`` (without labels) and ``target/test``.
    :attr:`domain_names` are the sources in the order of their numbers in :attr:`Samples.domain`.

    The mean over all sources' validation samples selects the checkpoint; scores of the held-out domain and the target
    do not. A leave-one-domain-out data set is a subclass that implements :meth:`read_domains`.

    Args:
        held_out: name of a domain that is tested but not used in training; None for none.
        target: name of a domain whose training part is used without labels; None for none.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.

    Raises:
        UserError: from :meth:`load`: an unknown domain, or fewer than two sources.
    """

    traits = frozenset({"labels", "domains"})

    def __init__(self, *, held_out: str | None = None, target: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        if held_out is not None and held_out == target:
            raise UserError(f"data.held_out and data.target are both {target}: a held-out domain is used in tests only")
        self.held_out, self.target = held_out, target

    @classmethod
    def traits_for(cls, node: Mapping[str, Any]) -> frozenset[str]:
        """Add the target if one is named."""
        return cls.traits | ({"target"} if node.get("target") else set())

    @abstractmethod
    def read_domains(self) -> dict[str, dict[str, Samples]]:
        """Read ``train``, ``val`` and ``test`` of every domain, by its name; set ``class_names``.

        Raises:
            UserError: files are missing or there are too few samples for the split.
        """

    def read(self) -> dict[str, Samples]:
        """Read all domains, and join the sources."""
        domains = self.read_domains()
        for option, name in (("held_out", self.held_out), ("target", self.target)):
            if name is not None and name not in domains:
                raise UserError(f"data.{option}={name} is not one of the domains; {nearest(name, domains)}")
        self.domain_names = [name for name in domains if name not in (self.held_out, self.target)]
        if len(self.domain_names) < 2:
            raise UserError(f"there must be at least two sources, not {len(self.domain_names)}")
        _check_names(domains)
        sources = {name: _numbered(domains[name], k) for k, name in enumerate(self.domain_names)}
        sets = {part: Samples.concatenate([sources[name][part] for name in sources]) for part in ("train", "val")}
        for name, parts in sources.items():
            sets |= {str(SetName(None, name, part)): parts[part] for part in ("val", "test")}
        if self.held_out is not None:
            sets[str(SetName(None, self.held_out, "test"))] = domains[self.held_out]["test"]
        if self.target is not None:
            sets["target/train"] = domains[self.target]["train"].without_labels()
            sets["target/test"] = domains[self.target]["test"]
        return sets

    # ------------------------------------------------------------------ names

    @property
    def has_target(self) -> bool:
        """Whether a domain is used without labels."""
        return self.target is not None

    @property
    def val_names(self) -> list[str]:
        """All sources together, then each."""
        return ["val", *(str(SetName(None, name, "val")) for name in self.domain_names)]

    @property
    def test_names(self) -> list[str]:
        """Each source's test set, then that of the held-out domain and of the target."""
        others = [self.held_out] if self.held_out is not None else []
        others += ["target"] if self.has_target else []
        return [str(SetName(None, name, "test")) for name in [*self.domain_names, *others]]

    def domain_of(self, name: str) -> str | None:
        """Return the side of an adaptation to which a set belongs: all sets but the target's are the source."""
        if not self.has_target:
            return None
        return "target" if SetName.parse(name).domain == "target" else "source"

    def set_for(self, name: str) -> str:
        """Return the set that corresponds to a pair's name: ``source/train`` joins all sources."""
        return name if name in self.sets else SetName.parse(name).part

    def facts(self) -> dict[str, str]:
        """Report the domains in addition to the facts of all data."""
        facts = {**super().facts(), "sources": ", ".join(self.domain_names)}
        facts |= {} if self.held_out is None else {"held out": self.held_out}
        return facts if self.target is None else {**facts, "target": self.target}

    # ------------------------------------------------------------------ loaders

    def train_dataloader(self) -> Batches:
        """Return the loader of all sources together, with the target if the run adapts."""
        sources = self.train_loader(self.primary)
        if not self.request.adapts:
            return sources
        size = sources.order.size
        return PairLoader(sources, self.train_loader("target/train", num_batches=len(sources), batch_size=size))


def _numbered(parts: Mapping[str, Samples], number: int) -> dict[str, Samples]:
    return {
        part: Samples(samples.x, samples.y, torch.full((len(samples),), number), samples.columns)
        for part, samples in parts.items()
    }


def _check_names(domains: Mapping[str, Any]) -> None:
    """Refuse names that would be ambiguous in names of sets and metrics."""
    for name in domains:
        if name in _RESERVED or "/" in name or "." in name or SetName.parse(f"{name}/test").task is not None:
            raise UserError(
                f"a domain cannot be named {name!r}: names must not contain '/' or '.', and {', '.join(_RESERVED)}, "
                "task1, task2 ... are reserved"
            )
