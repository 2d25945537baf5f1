"""What every backbone offers, and how its arguments are checked."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from tl_lab.data.inputs.spec import InputSpec
from tl_lab.errors import UserError

__all__ = ["Backbone", "Classifier", "LayerGroup", "TextTower", "check_count", "check_probability", "check_size"]


class Classifier(NamedTuple):
    """The linear classifier of the task that a backbone was trained for.

    Attributes:
        weight: ``(K, num_features)``.
        bias: ``(K,)``.
        names: of each of the K classes, one or several.
    """

    weight: Tensor
    bias: Tensor
    names: Sequence[Sequence[str]]


class TextTower(NamedTuple):
    """What brings texts into the space of a backbone's features.

    Attributes:
        embed: gives the embeddings of texts, ``(N, num_features)``.
        scale: that cosines were multiplied by in training.
    """

    embed: Callable[[Sequence[str]], Tensor]
    scale: float


LayerGroup = tuple[str, list[nn.Module]]


class Backbone(nn.Module):
    """A feature extractor without a head.

    A subclass sets both attributes in its constructor, which takes plain keyword arguments, among them
    ``in_channels`` and ``input_size``: what the data have, filled in by the run.

    Attributes:
        num_features: D, the number of features given for each sample.
        spec: the inputs that it takes; the run brings the data to them.
    """

    num_features: int
    spec: InputSpec
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    """Of the inputs that it can be built for."""
    has_layers: ClassVar[bool] = True
    """Whether it has linear layers or convolutions, beside which an adapter can stand."""
    takes_prompts: ClassVar[bool] = False
    """Whether vectors can be put before its tokens; its ``net`` is a model of transformers then."""
    frames: bool = False
    """Whether recordings have features at each frame, ``(B, L, num_features)``, 0 behind their end."""
    owners: Sequence[int] | None = None
    """Where each task has features of its own, ``(B, T, num_features)``: the number of the task that each output of the
    head belongs to; None where samples have one row of features."""
    source: str = ""
    """Source of the weights, if the class knows more than the configuration states."""
    regrouped: tuple[list[str], dict[str, int]] | None = None
    """Once an adapter is injected: titles of the layer groups, and the number of the group of each tensor by name."""

    @classmethod
    def family_for(cls, node: Mapping[str, Any]) -> str | None:
        """Tell from a node of the configuration the model's family, as transformers calls it; None where unknown."""
        return None

    def forward(self, x: Any) -> Tensor:
        """Extract features.

        Args:
            x: inputs as :attr:`spec` declares them, ``(B, C, H, W)`` for images.

        Returns:
            Features, ``(B, num_features)``.
        """
        raise NotImplementedError

    def layer_groups(self) -> list[LayerGroup]:
        """Name the parts that are frozen, unfrozen and given learning rates together, shallow to deep.

        Every parameter and buffer is in exactly one group. A parameter that sits on no layer of its own (a class
        token) comes in a small holder module; holders are made at each call, the tensors in them are the
        backbone's own. Ask again after the backbone was moved to another device: buffers are replaced by that.

        Returns:
            Pairs of a group's name and its modules.
        """
        raise NotImplementedError

    def classifier(self) -> Classifier | None:
        """Read the classifier of the task that the weights come from; None where it is not known."""
        return None

    def text_tower(self) -> TextTower | None:
        """Read what was trained to bring texts into the space of the features; None where there is no such tower."""
        return None

    def recogniser(self) -> nn.Module | None:
        """Build the decoder that was trained with an encoder of speech; None where there is none."""
        return None

    def check_layer_groups(self) -> None:
        """Verify that every parameter and buffer is in exactly one group.

        Raises:
            RuntimeError: a tensor is in none or in several; the first few are named.
        """
        owners: dict[int, list[str]] = defaultdict(list)
        for group, modules in self.layer_groups():
            for module in modules:
                for tensor in chain(module.parameters(), module.buffers()):
                    owners[id(tensor)].append(group)
        wrong = [
            f"{name} in {' and '.join(owners[id(tensor)]) or 'none'}"
            for name, tensor in chain(self.named_parameters(), self.named_buffers())
            if len(owners[id(tensor)]) != 1
        ]
        if wrong:
            raise RuntimeError(
                f"{type(self).__name__}.layer_groups() must hold every parameter and buffer once, but "
                + "; ".join(wrong[:5])
                + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
            )

    def extra_repr(self) -> str:
        return f"{self.spec} -> {self.num_features} features"


def check_size(name: str, size: Sequence[int]) -> tuple[int, int]:
    """Read ``[height, width]`` from the configuration.

    Raises:
        UserError: it is anything but two positive whole numbers.
    """
    if isinstance(size, str | int) or len(size) != 2 or any(type(n) is not int or n < 1 for n in size):
        raise UserError(f"{name} must be two positive whole numbers [height, width] in pixels, got {size!r}.")
    return size[0], size[1]


def check_count(name: str, value: int) -> int:
    """Read a positive whole number from the configuration.

    Raises:
        UserError: it is anything else.
    """
    if type(value) is not int or value < 1:
        raise UserError(f"{name} must be a positive whole number, got {value!r}.")
    return value


def check_probability(name: str, value: float) -> float:
    """Read a probability in [0, 1) from the configuration.

    Raises:
        UserError: it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise UserError(f"{name} must be at least 0 and below 1, got {value!r}.")
    return float(value)
