"""No adapter: the backbone is trained according to the layer policy."""

from tl_lab.adapters.base import Adapter

__all__ = ["NoAdapter"]


class NoAdapter(Adapter):
    """No adapter: the layer policy applies to every parameter of the backbone."""

    keeps_statistics = False
    changes_backbone = False

    def owns(self, parameter: str) -> bool:
        """Leave every parameter to the layer policy."""
        return True

    def describe(self) -> str:
        """Describe that there is no adapter."""
        return "none"

    def facts(self) -> dict[str, str]:
        """Return no facts."""
        return {}
