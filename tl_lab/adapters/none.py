"""No adapter: the backbone is trained according to the layer policy."""

from tl_lab.adapters.base import Adapter

__all__ = ["NoAdapter"]


class NoAdapter(Adapter):
    """Change nothing: every parameter of the backbone is open to the layer policy."""

    keeps_statistics = False
    changes_backbone = False

    def owns(self, parameter: str) -> bool:
        """Leave every parameter to the layer policy."""
        return True

    def describe(self) -> str:
        """Say that there is none."""
        return "none"

    def facts(self) -> dict[str, str]:
        """State nothing."""
        return {}
