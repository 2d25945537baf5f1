"""Input specifications: the input format that a backbone declares, with one class per modality."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from tl_lab.data.inputs.operations import Inputs
from tl_lab.errors import UserError, nearest

__all__ = ["InputSpec", "as_tuples", "spec_from"]

_KINDS: dict[str, type["InputSpec"]] = {}


class InputSpec(ABC):
    """The input format that a backbone declares. Data modules convert samples to it, and checkpoints store it.

    A subclass sets its :attr:`modality`, under which it is registered. The conversion has two stages, :meth:`fit` and
    :meth:`normalise`, between which training inputs are augmented.
    """

    modality: ClassVar[str]
    """``image``, ``vector``, ``table``, ``text``, ``audio`` or ``tokens_with_boxes``."""
    padding: Mapping[str, float] = {}
    """Padding value of each named tensor when samples of different lengths are concatenated."""

    shortens: ClassVar[bool] = False
    """Whether batches of inputs in memory are shortened (see :meth:`shorten`)."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "modality" in cls.__dict__:
            _KINDS.setdefault(cls.modality, cls)

    def prepare(self, raw: Any) -> Inputs:
        """Convert a batch of raw samples to the network's inputs."""
        return self.normalise(self.fit(raw))

    @abstractmethod
    def fit(self, raw: Any) -> Inputs:
        """Convert a batch of raw samples to the declared format; converted inputs are returned unchanged."""

    def normalise(self, x: Inputs) -> Inputs:
        """Scale fitted inputs as the network requires."""
        return x

    def restore(self, x: Inputs) -> Inputs:
        """Invert :meth:`normalise`."""
        return x

    def shorten(self, x: Inputs) -> Inputs:
        """Remove the padding that all samples of a converted batch have in common."""
        return x

    def is_raw(self, x: Inputs) -> bool:
        """Whether inputs in memory are stored unconverted, and converted batch by batch."""
        return False

    def bytes_of(self, count: int) -> int:
        """Return the number of bytes of ``count`` samples after reading them from disk; 0 if unknown."""
        return 0

    def changes(self, shape: tuple[int, ...]) -> list[str]:
        """Describe what :meth:`fit` changes in samples of a shape; empty if nothing."""
        return []

    def mismatch(self, shape: tuple[int, ...]) -> str:
        """Explain why samples of a shape cannot be converted to the declared format; empty if they can."""
        return ""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return the state for :meth:`from_state`, as plain values, with the ``modality``."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the spec from this state."""

    def __str__(self) -> str:
        return repr(self)


def spec_from(state: Mapping[str, Any]) -> InputSpec:
    """Build the spec of a checkpoint.

    Args:
        state: state as returned by :meth:`InputSpec.state`.

    Raises:
        UserError: its modality is unknown.
    """
    modality = state["modality"]
    if modality not in _KINDS:
        raise UserError(f"unknown modality of inputs {modality!r}; {nearest(str(modality), _KINDS)}")
    return _KINDS[modality].from_state(state)


def as_tuples(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass from a state, in which tuples may have become lists."""
    values = {name: value for name, value in state.items() if name != "modality"}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
