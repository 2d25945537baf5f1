"""Assignment of a head's outputs to the tasks of a stream."""

from dataclasses import dataclass

__all__ = ["SCENARIOS", "Outputs"]

SCENARIOS = ("task", "domain", "class")


@dataclass(frozen=True)
class Outputs:
    """Outputs of a head, and which of them are in use for each task.

    Outputs are grouped into blocks: one per task, or a single block that all tasks share (domain-incremental).

    Args:
        scenario: ``task``: the task is known, and its block predicts; ``domain``: all tasks share one block;
            ``class``: the blocks of all tasks seen so far predict jointly.
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
        """Return the blocks in use for samples of a task.

        Args:
            task: the samples' task, counted from 0.
            learned: the last task trained so far, including the current one.
        """
        if self.scenario == "domain":
            return (0,)
        return (task,) if self.scenario == "task" else tuple(range(max(task, learned) + 1))

    def offset(self, task: int) -> int:
        """Index of the first output of a task's block among all outputs."""
        return 0 if self.scenario == "domain" else sum(self.sizes[:task])

    def first_active(self, task: int) -> int:
        """Index of the first output in use for samples of a task; labels are counted from it."""
        return self.offset(task) if self.scenario == "task" else 0
