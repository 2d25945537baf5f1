"""The contract of an adapter: where new knowledge goes in a given backbone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tl_lab.backbones.base import Backbone
from tl_lab.errors import UserError

__all__ = ["Adapter"]


class Adapter:
    """Decides which parameters of a backbone learn, and may add some. Bottleneck and head always learn.

    The run calls :meth:`inject` once the backbone has its weights and before anything is built on it.
    """

    keeps_statistics: ClassVar[bool] = True
    """Whether batch-norm of the backbone stays in evaluation mode: its running statistics are the base's then, and a
    base that is loaded again gives the same outputs."""
    changes_backbone: ClassVar[bool] = True
    """Whether the adapter decides anything; only ``adapter=none`` does not."""

    needs_source: ClassVar[bool] = False
    """Whether the base's weights must be such that can be found again, as checkpoints cannot hold them."""

    def objection(self, backbone: type[Backbone], node: Mapping[str, Any]) -> str:
        """Say why the adapter cannot act on a backbone, before anything is built; empty where it can.

        Args:
            backbone: its class.
            node: its configuration.
        """
        return ""

    def inject(self, backbone: Backbone) -> Backbone:
        """Put the adapter's parameters into a backbone, or find them there.

        Args:
            backbone: with its weights; may be changed in place.

        Returns:
            The backbone that the network is built on; its layer groups hold every parameter once.

        Raises:
            UserError: the backbone has nothing that the adapter can act on.
        """
        return backbone

    def owns(self, parameter: str) -> bool:
        """Tell whether a parameter may learn.

        Args:
            parameter: its name in the backbone that :meth:`inject` has returned.
        """
        raise NotImplementedError

    def merge(self, backbone: Backbone) -> Backbone:
        """Give the injected backbone as a plain one with the same outputs, what was learned folded into it."""
        return backbone

    def write(self, backbone: Backbone, folder: Path, base: str) -> None:
        """Write what was learned in the format of the library peft.

        Args:
            backbone: with the adapter.
            folder: made where it is missing.
            base: where the base's weights come from.

        Raises:
            UserError: the library does not have this adapter.
        """
        raise UserError(f"{type(self).__name__} is no adapter of the library peft: export another format")

    def describe(self) -> str:
        """Say in a few words what learns."""
        raise NotImplementedError

    def facts(self) -> dict[str, str]:
        """State what must be printed beside any number obtained with this adapter."""
        statistics = "; batch-norm keeps its statistics" if self.keeps_statistics else ""
        return {"adapter": f"{self.describe()}{statistics}"}

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({options})"
