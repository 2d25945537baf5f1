"""Base class of adapters of the library peft that change layers: LoRA, DoRA, IA3."""

import importlib
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from tl_lab.adapters.base import Adapter
from tl_lab.adapters.targets import AUTO, adaptable, resolve
from tl_lab.backbones.base import Backbone
from tl_lab.backbones.grouping import groups_of, regroup
from tl_lab.errors import UserError
from tl_lab.texts import counted

__all__ = ["BesideLayers", "peft_library", "root_of", "write_in_format_of_peft"]


class BesideLayers(Adapter):
    """Adds parameters to chosen layers of a backbone, which can be merged into the layers' weights.

    Args:
        targets: ``auto``, ``all-linear``, or a regular expression (see :func:`~tl_lab.adapters.targets.resolve`).
    """

    attention: ClassVar[str] = "query, value"
    """The projections that ``auto`` chooses."""
    feedforward: ClassVar[bool] = False
    """Whether ``auto`` also chooses the last layer of each block's perceptron."""
    one_dimensional: ClassVar[bool] = True
    """Whether convolutions over sequences can be adapted."""

    def __init__(self, targets: str = AUTO) -> None:
        self.targets = targets
        self._owned: frozenset[str] = frozenset()
        self._layers: list[str] = []
        self._left_out = 0

    @abstractmethod
    def config(self, layers: Sequence[str]) -> Any:
        """Build the configuration of the library.

        Args:
            layers: names of the chosen layers in the network.
        """

    def objection(self, backbone: type[Backbone], node: Mapping[str, Any]) -> str:
        """Refuse backbones without layers."""
        return "" if backbone.has_layers else "it has no linear layer and no convolution"

    def inject(self, backbone: Backbone) -> Backbone:
        """Add parameters to the chosen layers, in place."""
        root, groups = root_of(backbone), groups_of(backbone)
        known = {id(parameter) for parameter in backbone.parameters()}
        names, self._left_out = adaptable(root, self.one_dimensional)
        self._layers = resolve(root, self.targets, names, self.attention, self.feedforward)
        library = peft_library(self)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of GPT-2's transposed layers, which the library handles
            library.inject_adapter_in_model(self.config(self._layers), root)
        self._owned = frozenset(name for name, one in backbone.named_parameters() if id(one) not in known)
        regroup(backbone, groups)
        return backbone

    def owns(self, parameter: str) -> bool:
        """Own the added parameters."""
        return parameter in self._owned

    def merge(self, backbone: Backbone) -> Backbone:
        """Merge the adapter into the layers' weights in place, and remove it."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        root = root_of(backbone)
        for path, module in list(root.named_modules()):
            if isinstance(module, BaseTunerLayer):
                module.merge()
                parent, _, name = path.rpartition(".")
                setattr(root.get_submodule(parent), name, module.get_base_layer())
        backbone.regrouped = None
        vars(root).pop("peft_config", None)
        return backbone

    def describe(self) -> str:
        """Describe the trained parameters, and the number of layers."""
        skipped = f", without {self._left_out} that cannot be adapted" if self._left_out else ""
        return f"{self.summary()} on {counted(len(self._layers), 'layer')}{skipped}"

    @abstractmethod
    def summary(self) -> str:
        """Name the method and its size."""

    def write(self, backbone: Backbone, folder: Path, base: str) -> None:
        """Write the adapter in the library's own format.

        Args:
            backbone: with the adapter.
            folder: created if it is missing.
            base: source of the base weights, in words or as a name on the hub.
        """
        root: Any = root_of(backbone)
        write_in_format_of_peft(root, root.peft_config["default"], folder, base)


def root_of(backbone: Backbone) -> nn.Module:
    """Return the network inside a backbone, whose layer names a library knows, or else the backbone itself."""
    net = getattr(backbone, "net", None)
    return net if isinstance(net, nn.Module) else backbone


def peft_library(adapter: Adapter) -> Any:
    """Import the library peft.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise UserError(f"{type(adapter).__name__} needs the library peft: install tl_lab[peft]") from error


def write_in_format_of_peft(model: nn.Module, config: Any, folder: Path, base: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, which ``PeftModel.from_pretrained`` reads.

    Args:
        model: with the adapter.
        config: of the library.
        folder: created if it is missing.
        base: source of the base weights.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(str(folder))
    config.inference_mode = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = get_peft_model_state_dict(model, adapter_name="default", save_embedding_layers=False)
    prefix = "" if config.is_prompt_learning else "base_model.model."
    content = {
        (name if name.startswith(prefix) else prefix + name): tensor.detach().cpu().contiguous()
        for name, tensor in state.items()
    }
    save_file(content, str(folder / "adapter_model.safetensors"))
