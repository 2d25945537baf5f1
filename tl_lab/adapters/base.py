"""The contract of an adapter, which selects or adds the trainable parameters of a backbone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tl_lab.backbones.base import Backbone
from tl_lab.errors import UserError

__all__ = ["Adapter"]


class Adapter:
    """Determines which parameters of a backbone are trained, and may add some; bottleneck and head always are.

    The run calls :meth:`inject` after the backbone has its weights and before the network is built.
    """

    keeps_statistics: ClassVar[bool] = True
    """Whether batch norm of the backbone stays in evaluation mode, so that its running statistics are those of the base
    weights, and a base that is loaded again has the same outputs."""
    changes_backbone: ClassVar[bool] = True
    """Whether the adapter changes which parameters are trained; false only for ``adapter=none``."""

    shardable: ClassVar[bool] = True
    """Whether every process may store a part of each parameter."""

    needs_source: ClassVar[bool] = False
    """Whether the base weights must be loadable again, because checkpoints cannot contain them."""

    def objection(self, backbone: type[Backbone], node: Mapping[str, Any]) -> str:
        """Return the reason why the adapter does not support a backbone, before anything is built; empty if it does.

        Args:
            backbone: its class.
            node: its configuration.
        """
        return ""

    def inject(self, backbone: Backbone) -> Backbone:
        """Add the adapter's parameters to a backbone, or find them in it.

        Args:
            backbone: with its weights; may be changed in place.

        Returns:
            The backbone of the network, whose layer groups contain every parameter once.

        Raises:
            UserError: the backbone has no suitable parameters or layers.
        """
        return backbone

    def owns(self, parameter: str) -> bool:
        """Return whether a parameter may be trained.

        Args:
            parameter: its name in the backbone returned by :meth:`inject`.
        """
        raise NotImplementedError

    def merge(self, backbone: Backbone) -> Backbone:
        """Merge the adapter into the weights: return a plain backbone with the same outputs."""
        return backbone

    def write(self, backbone: Backbone, folder: Path, base: str) -> None:
        """Write the adapter in the format of the library peft.

        Args:
            backbone: with the adapter.
            folder: created if it is missing.
            base: source of the base weights.

        Raises:
            UserError: the library does not have this adapter.
        """
        raise UserError(f"{type(self).__name__} is not an adapter of the library peft: export another format")

    def describe(self) -> str:
        """Describe the trained parameters briefly."""
        raise NotImplementedError

    def facts(self) -> dict[str, str]:
        """Return facts that must be reported with any number obtained with this adapter."""
        statistics = "; batch-norm keeps its statistics" if self.keeps_statistics else ""
        return {"adapter": f"{self.describe()}{statistics}"}

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({options})"
