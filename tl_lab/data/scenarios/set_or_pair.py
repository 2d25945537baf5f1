"""A labelled set, or a pair of domains if a target is given."""

from collections.abc import Mapping
from typing import Any

from tl_lab.data.base import DataModule
from tl_lab.data.loaders import Batches
from tl_lab.data.request import Request
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair

__all__ = ["SetOrPair"]


class SetOrPair(DomainPair):
    """Sets ``train``, ``val`` and ``test``; with ``target``, the sets of a :class:`DomainPair`.

    The method :meth:`read` of a subclass checks :attr:`paired` to determine which sets are needed.

    Args:
        target: name of the domain whose labels are withheld; None for a set without domains.
        options: keyword arguments of :class:`DomainPair`.
    """

    traits = frozenset({"labels"})
    paired = False
    monitored = "val"
    primary = "train"

    def __init__(self, *, target: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.target = target
        if target is not None:
            self.traits = DomainPair.traits  # type: ignore[misc]  # of this object
            self.paired = True  # type: ignore[misc]
            self.monitored, self.primary = DomainPair.monitored, DomainPair.primary

    @classmethod
    def traits_for(cls, node: Mapping[str, Any]) -> frozenset[str]:
        """Return the traits of a pair if a target is given, and otherwise those of a set."""
        return DomainPair.traits if node.get("target") else cls.traits

    def load(self, request: Request | None = None) -> None:
        """Read the sets; for a pair, withhold the target's labels."""
        super().load(request) if self.paired else DataModule.load(self, request)

    def _read(self) -> dict[str, Samples]:
        return super()._read() if self.paired else self.read()

    @property
    def val_names(self) -> list[str]:
        """Name of the validation set, or names of those of a pair."""
        return super().val_names if self.paired else ["val"]

    @property
    def test_names(self) -> list[str]:
        """Name of the test set, or names of those of a pair."""
        return super().test_names if self.paired else ["test"]

    def facts(self) -> dict[str, str]:
        """Report the protocol of a pair in addition to the facts of all data."""
        return super().facts() if self.paired else DataModule.facts(self)

    def train_dataloader(self) -> Batches:
        """Return the loader of the labelled set, together with the target if the run adapts."""
        return super().train_dataloader() if self.paired else DataModule.train_dataloader(self)
