"""Several labelled source domains, optionally with an unlabelled target and a domain used only for testing."""

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
    """Labelled domains whose samples are mixed in batches; each sample has the number of its domain.

    The sets ``train`` and ``val`` contain all sources; ``<domain>/val`` and ``<domain>/test`` are those of one source.
    A held-out domain only has ``<domain>/test``. A target has ``target/train`` (without labels) and ``target/test``.
    :attr:`domain_names` are the sources in the order of their numbers in :attr:`Samples.domain`.

    The score on the validation samples of all sources selects the checkpoint; the held-out domain and the target are
    never used for selection. A subclass implements :meth:`read_domains`.

    Args:
        held_out: name of a domain that is tested but not used in training; None for no such domain.
        target: name of a domain whose training part is used without labels; None for no such domain.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.

    Raises:
        UserError: ``held_out`` and ``target`` are the same; from :meth:`load`: an unknown domain, or fewer than two
            sources.
    """

    traits = frozenset({"labels", "domains"})

    def __init__(self, *, held_out: str | None = None, target: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        if held_out is not None and held_out == target:
            raise UserError(f"data.held_out and data.target are both {target}: a held-out domain is only tested")
        self.held_out, self.target = held_out, target

    @classmethod
    def traits_for(cls, node: Mapping[str, Any]) -> frozenset[str]:
        """Return the traits, with a target if one is given."""
        return cls.traits | ({"target"} if node.get("target") else set())

    @abstractmethod
    def read_domains(self) -> dict[str, dict[str, Samples]]:
        """Read the sets ``train``, ``val`` and ``test`` of every domain, and set ``class_names``.

        Returns:
            The sets of each domain, by the domain's name.

        Raises:
            UserError: files are missing, or there are too few samples for the split.
        """

    def read(self) -> dict[str, Samples]:
        """Read all domains, and combine the sources."""
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
        """Names of the validation sets: of all sources together, then of each source."""
        return ["val", *(str(SetName(None, name, "val")) for name in self.domain_names)]

    @property
    def test_names(self) -> list[str]:
        """Names of the test sets: of each source, then of the held-out domain and of the target."""
        others = [self.held_out] if self.held_out is not None else []
        others += ["target"] if self.has_target else []
        return [str(SetName(None, name, "test")) for name in [*self.domain_names, *others]]

    def domain_of(self, name: str) -> str | None:
        """Return the domain of a set in domain adaptation: ``target`` for the target's sets, ``source`` for others."""
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
    """Reject domain names that would be ambiguous in the names of sets and metrics."""
    for name in domains:
        if name in _RESERVED or "/" in name or "." in name or SetName.parse(f"{name}/test").task is not None:
            raise UserError(
                f"a domain cannot be named {name!r}: names must not contain '/' or '.', and {', '.join(_RESERVED)}, "
                "task1, task2 ... are reserved"
            )
