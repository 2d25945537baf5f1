"""Which outputs of a head belong to which task of a stream."""

from dataclasses import dataclass

__all__ = ["SCENARIOS", "Outputs"]

SCENARIOS = ("task", "domain", "class")


@dataclass(frozen=True)
class Outputs:
    """Which outputs a head has, and which of them are in use for which task.

    Outputs come in blocks: one for each task, or a single one that all tasks share (domain-incremental).

    Args:
        scenario: ``task``: the task is known, its own block answers; ``domain``: all tasks share one block;
            ``class``: the blocks of all tasks seen so far answer together.
        sizes: number of classes of each task.

    References:
        van de Ven, Tuytelaars and Tolias, Three Types of Incremental Learning, Nature Machine Intelligence 2022.
    """

    scenario: str
    sizes: tuple[int, ...]

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return len(self.sizes)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Number of outputs of each block."""
        return self.sizes[:1] if self.scenario == "domain" else self.sizes

    def active(self, task: int, learned: int) -> tuple[int, ...]:
        """Name the blocks in use for samples of a task.

        Args:
            task: the samples' task, counted from 0.
            learned: the last task that was, or is being, learned.
        """
        if self.scenario == "domain":
            return (0,)
        return (task,) if self.scenario == "task" else tuple(range(max(task, learned) + 1))

    def offset(self, task: int) -> int:
        """Number of the first output of a task's block among all outputs."""
        return 0 if self.scenario == "domain" else sum(self.sizes[:task])

    def first_active(self, task: int) -> int:
        """Number of the first output in use for samples of a task; labels are counted from it."""
        return self.offset(task) if self.scenario == "task" else 0
