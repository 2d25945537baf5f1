"""What a backbone takes: one declaration for each modality, which the data are brought to."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from tl_lab.data.inputs.operations import Inputs
from tl_lab.errors import UserError, nearest

__all__ = ["InputSpec", "as_tuples", "spec_from"]

_KINDS: dict[str, type["InputSpec"]] = {}


class InputSpec(ABC):
    """The inputs that a backbone declares. The data prepare their samples by it, and a checkpoint keeps it.

    A subclass names its :attr:`modality` and is found by that name from then on. Preparation has two halves, between
    which training inputs are augmented: :meth:`fit`, then :meth:`normalise`.
    """

    modality: ClassVar[str]
    """``image``, ``vector``, ``table``, ``text``, ``audio`` or ``tokens_with_boxes``."""
    padding: Mapping[str, float] = {}
    """The value that fills up each named tensor where samples of different lengths are joined."""

    shortens: ClassVar[bool] = False
    """Whether batches of inputs in memory are shortened (see :meth:`shorten`)."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "modality" in cls.__dict__:
            _KINDS.setdefault(cls.modality, cls)

    def prepare(self, raw: Any) -> Inputs:
        """Turn a batch of raw samples into the network's inputs."""
        return self.normalise(self.fit(raw))

    @abstractmethod
    def fit(self, raw: Any) -> Inputs:
        """Bring a batch of raw samples to the declared form; already prepared inputs of the form stay as they are."""

    def normalise(self, x: Inputs) -> Inputs:
        """Scale fitted inputs as the network learned them."""
        return x

    def restore(self, x: Inputs) -> Inputs:
        """Undo :meth:`normalise`."""
        return x

    def shorten(self, x: Inputs) -> Inputs:
        """Leave out what is padding in every sample of a prepared batch."""
        return x

    def is_raw(self, x: Inputs) -> bool:
        """Whether inputs in memory must still be fitted, batch by batch."""
        return False

    def bytes_of(self, count: int) -> int:
        """Count the bytes that so many samples take once they are read from disk; 0 where that is unknown."""
        return 0

    def changes(self, shape: tuple[int, ...]) -> list[str]:
        """Describe what :meth:`fit` does to samples of a shape; empty if nothing."""
        return []

    def mismatch(self, shape: tuple[int, ...]) -> str:
        """Say why samples of a shape cannot be brought to the declared form; empty if they can."""
        return ""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Give what :meth:`from_state` needs, as plain values, with the ``modality``."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the spec that gave this state."""

    def __str__(self) -> str:
        return repr(self)


def spec_from(state: Mapping[str, Any]) -> InputSpec:
    """Build the spec of a checkpoint.

    Args:
        state: as :meth:`InputSpec.state` gave it.

    Raises:
        UserError: no spec of its modality is known.
    """
    modality = state["modality"]
    if modality not in _KINDS:
        raise UserError(f"there is no input of the modality {modality!r}; {nearest(str(modality), _KINDS)}")
    return _KINDS[modality].from_state(state)


def as_tuples(state: Mapping[str, Any]) -> dict[str, Any]:
    """Give a dataclass' fields from a state, in which tuples may have become lists."""
    values = {name: value for name, value in state.items() if name != "modality"}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
