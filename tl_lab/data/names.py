"""Names of sets: the task, the domain and the part."""

import re
from typing import NamedTuple

__all__ = ["SetName"]

_TASK = re.compile(r"task[1-9]\d*")


class SetName(NamedTuple):
    """The name of a set, written ``task1/source/train``, ``source/train``, ``task1/train`` or ``train``.

    Sets are stored under the written form, which :meth:`parse` reads and ``str`` returns.

    Attributes:
        task: ``task1`` is the first task of a stream; None without tasks.
        domain: ``source``, ``target``, or the name of one of several sources; None without domains.
        part: ``train``, ``val`` or ``test``.
    """

    task: str | None
    domain: str | None
    part: str

    @classmethod
    def parse(cls, name: str) -> "SetName":
        """Read a written name.

        Raises:
            ValueError: the name has more than three fields.
        """
        *where, part = name.split("/")
        task = where.pop(0) if where and _TASK.fullmatch(where[0]) else None
        domain = where.pop(0) if where else None
        if where:
            raise ValueError(f"a set is named <task>/<domain>/<part>, not {name!r}")
        return cls(task, domain, part)

    @classmethod
    def of_task(cls, task: int, name: str) -> "SetName":
        """Return the name of a set within a task.

        Args:
            task: counted from 0.
            name: name of the set within the task, ``train`` or ``source/train``.
        """
        return cls.parse(name)._replace(task=f"task{task + 1}")

    def __str__(self) -> str:
        return "/".join(field for field in self if field is not None)

    @property
    def task_number(self) -> int:
        """Number of the set's task, counted from 0.

        Raises:
            ValueError: the set belongs to no task.
        """
        if self.task is None:
            raise ValueError(f"the set {str(self)!r} belongs to no task")
        return int(self.task.removeprefix("task")) - 1

    @property
    def metrics(self) -> str:
        """The prefix of the set's metrics: ``source/val`` -> ``val/source``."""
        return "/".join([self.part, *self._where])

    @property
    def validation_metrics(self) -> str:
        """The prefix of the set's metrics in validation.

        A domain's ``train`` is the unlabelled training part of a target; its scores are listed with those of the
        validation sets. A domain's ``test`` is scored for comparison only, never for selection, and its prefix is
        ``oracle``.
        """
        if not self._where:
            return self.part
        return "/".join(["oracle" if self.part == "test" else "val", *self._where])

    @property
    def file(self) -> str:
        """The name as part of a file name: ``source_test``."""
        return str(self).replace("/", "_")

    @property
    def _where(self) -> list[str]:
        return [field for field in self[:2] if field is not None]
