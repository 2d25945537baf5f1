"""A separate adapter for each of several tasks."""

from collections.abc import Sequence
from pathlib import Path

from tl_lab.adapters.base import Adapter
from tl_lab.backbones.base import Backbone
from tl_lab.backbones.of_tasks import BackboneOfTasks
from tl_lab.errors import UserError

__all__ = ["OfEachTask"]


class OfEachTask(Adapter):
    """Separate copies of an adapter for several tasks, in one backbone whose other parameters are shared.

    Args:
        adapter: the adapter in the backbone.
        tasks: their names, in the order of the outputs.
        owners: number of the task of each output of the head.
    """

    def __init__(self, adapter: Adapter, tasks: Sequence[str], owners: Sequence[int]) -> None:
        self.adapter, self.tasks, self.owners = adapter, list(tasks), list(owners)

    def inject(self, backbone: Backbone) -> Backbone:
        """Create a copy of the adapter's parameters for each task."""
        return BackboneOfTasks(backbone, self.adapter.owns, self.owners)

    def owns(self, parameter: str) -> bool:
        """Own the parameters of every task's adapter: ``tasks.<number>.<name in the backbone>``."""
        return self.adapter.owns(parameter.split(".", 2)[-1])

    def merge(self, backbone: Backbone) -> Backbone:
        """Raise an error, because each task changes the shared weights differently.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"the run has an adapter for each of its tasks ({', '.join(self.tasks)}), which cannot be merged into one "
            "backbone's weights: use a run with strategy.adapters=shared"
        )

    def write(self, backbone: Backbone, folder: Path, base: str) -> None:
        """Write the adapter of each task to a folder with the task's name."""
        assert isinstance(backbone, BackboneOfTasks)
        for name, one in zip(self.tasks, backbone.tasks, strict=True):
            self.adapter.write(one, folder / name, base)  # type: ignore[arg-type]

    def describe(self) -> str:
        """Describe the trained parameters, and the number of tasks."""
        return f"{self.adapter.describe()}, one for each of {len(self.tasks)} tasks"
