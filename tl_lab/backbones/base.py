"""The base class of backbones, and checks of their arguments."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from tl_lab.data.inputs.spec import InputSpec
from tl_lab.errors import UserError

__all__ = ["Backbone", "Classifier", "LayerGroup", "TextTower", "check_count", "check_probability", "check_size"]


class Classifier(NamedTuple):
    """The linear classifier of the task on which a backbone was trained.

    Attributes:
        weight: ``(K, num_features)``.
        bias: ``(K,)``.
        names: of each of the K classes, one or several per class.
    """

    weight: Tensor
    bias: Tensor
    names: Sequence[Sequence[str]]


class TextTower(NamedTuple):
    """The encoder that maps texts into the feature space of a backbone.

    Attributes:
        embed: returns the embeddings of texts, ``(N, num_features)``.
        scale: factor of the cosines in training.
    """

    embed: Callable[[Sequence[str]], Tensor]
    scale: float


LayerGroup = tuple[str, list[nn.Module]]


class Backbone(nn.Module):
    """A feature extractor without a head.

    A subclass sets both attributes in its constructor, which takes plain keyword arguments. The run fills in
    ``in_channels`` and ``input_size`` from the data.

    Attributes:
        num_features: D, the number of features of each sample.
        spec: the form of its inputs; the run converts the data to it.
    """

    num_features: int
    spec: InputSpec
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    """Modalities of the inputs for which it can be built."""
    has_layers: ClassVar[bool] = True
    """Whether it has linear layers or convolutions, in parallel to which an adapter can be added."""
    pretrained_in_part: ClassVar[bool] = False
    """Whether some of its layers have random weights even with published ones, such as layers above word vectors."""
    takes_prompts: ClassVar[bool] = False
    """Whether vectors can be put before its tokens; if so, its ``net`` is a model of the library transformers."""
    frames: bool = False
    """Whether recordings have features at each frame, ``(B, L, num_features)``, 0 after their end."""
    owners: Sequence[int] | None = None
    """The number of the task of each output of the head, if each task has separate features, ``(B, T, num_features)``;
    None if each sample has one row of features."""
    source: str = ""
    """Source of the weights, if the class knows more than the configuration states."""
    regrouped: tuple[list[str], dict[str, int]] | None = None
    """After an adapter is injected: titles of the layer groups, and the number of the group of each tensor by name."""

    @classmethod
    def weights_in(cls, node: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that load trained weights, with their values.

        Args:
            node: configuration node of the backbone.
        """
        return {name: node[name] for name in ("pretrained", "weights") if node.get(name)}

    @classmethod
    def family_for(cls, node: Mapping[str, Any]) -> str | None:
        """Derive the model's family, as transformers names it, from a node of the configuration; None if unknown."""
        return None

    def forward(self, x: Any) -> Tensor:
        """Extract features.

        Args:
            x: inputs in the form of :attr:`spec`, ``(B, C, H, W)`` for images.

        Returns:
            Features, ``(B, num_features)``.
        """
        raise NotImplementedError

    def layer_groups(self) -> list[LayerGroup]:
        """List the parts that are frozen and unfrozen together and share a learning rate, shallow to deep.

        Every parameter and buffer is in exactly one group. A parameter that belongs to no layer (such as a class token)
        is put into a small holder module; holders are created at each call, but their tensors are those of the
        backbone. Call this again after the backbone is moved to another device, which replaces buffers.

        Returns:
            Pairs of a group's name and its modules.
        """
        raise NotImplementedError

    def classifier(self) -> Classifier | None:
        """Read the classifier of the task on which the weights were trained; None if it is unknown."""
        return None

    def text_tower(self) -> TextTower | None:
        """Read the text encoder that was trained with the backbone; None if there is none."""
        return None

    def recogniser(self) -> nn.Module | None:
        """Build the decoder that was trained with a speech encoder; None if there is none."""
        return None

    def check_layer_groups(self) -> None:
        """Verify that every parameter and buffer is in exactly one group.

        Raises:
            RuntimeError: a tensor is in no group or in several; the message names the first few.
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
                f"{type(self).__name__}.layer_groups() must contain every parameter and buffer once, but "
                + "; ".join(wrong[:5])
                + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
            )

    def extra_repr(self) -> str:
        return f"{self.spec} -> {self.num_features} features"


def check_size(name: str, size: Sequence[int]) -> tuple[int, int]:
    """Read ``[height, width]`` from the configuration.

    Raises:
        UserError: it is not two positive whole numbers.
    """
    if isinstance(size, str | int) or len(size) != 2 or any(type(n) is not int or n < 1 for n in size):
        raise UserError(f"{name} must be two positive whole numbers [height, width] in pixels, got {size!r}.")
    return size[0], size[1]


def check_count(name: str, value: int) -> int:
    """Read a positive whole number from the configuration.

    Raises:
        UserError: it is something else.
    """
    if type(value) is not int or value < 1:
        raise UserError(f"{name} must be a positive whole number, got {value!r}.")
    return value


def check_probability(name: str, value: float) -> float:
    """Read a probability in [0, 1) from the configuration.

    Raises:
        UserError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise UserError(f"{name} must be at least 0 and below 1, got {value!r}.")
    return float(value)
