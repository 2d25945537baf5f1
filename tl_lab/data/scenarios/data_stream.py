"""A stream of whole data sets: what does learning the next one do to the ones before?"""

from collections.abc import Sequence
from typing import Any

from tl_lab.data.inputs.operations import sample_shape
from tl_lab.data.request import Request
from tl_lab.data.samples import Samples, in_memory
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.scenarios.inner import build_inner
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.errors import UserError

__all__ = ["DataStream"]


class DataStream(TaskStream):
    """Learn several labelled sets, or several pairs of domains, one after the other.

    Sizes and channels are brought together by the backbone's declared input, which is built for the largest images
    and the most channels.

    Args:
        datasets: names of choices of data, built with their files' values, or nodes of the configuration; in the
            order in which they are learned.
        options: those of :class:`~tl_lab.data.scenarios.stream.TaskStream`. ``scenario=task`` gives each set a head
            of its own, ``domain`` lets them share one by the number of the class, ``class`` tells the classes of all
            sets apart.

    Raises:
        UserError: fewer than two sets, an unknown name, sets beside pairs, a stream within a stream.
    """

    inner = "datasets"

    def __init__(self, *, datasets: Sequence[Any], **options: Any) -> None:
        super().__init__(**options)
        if isinstance(datasets, str) or len(datasets) < 2:
            raise UserError(f"data.datasets lists at least two sets, as [mnist,fashion_mnist], not {datasets!r}")
        self.given = [one if isinstance(one, str) else type(one).__name__ for one in datasets]
        self.modules = [build_inner(one, self.seed) for one in datasets]
        pairs = [isinstance(module, DomainPair) for module in self.modules]
        if any(pairs) and not all(pairs):
            raise UserError(f"data.datasets are labelled sets or pairs of domains, not both: {', '.join(self.given)}")
        if any(isinstance(module, TaskStream) for module in self.modules):
            raise UserError(f"data.datasets are sets, and a stream is none: {', '.join(self.given)}")

    def read_tasks(self) -> list[dict[str, Samples]]:
        """Read the sets, each of which is a task."""
        self.template = self.modules[0]
        tasks = [module.limited(module._read()) for module in self.modules]
        self.task_classes = [list(module.class_names) for module in self.modules]
        return tasks

    def load(self, request: Request | None = None) -> None:
        """Read the sets; a backbone is built for the most channels, the largest height and width of them."""
        super().load(request)
        inputs = [self.sets[self.train_name(k)].x for k in range(self.num_tasks)]
        # what is on disk has the size that its options give it
        shapes = [
            sample_shape(x) if in_memory(x) else module.shape for x, module in zip(inputs, self.modules, strict=True)
        ]
        if not all(shapes):
            self._shape = ()  # texts and named tensors have no size
            return
        whole = [(*shape, 1, 1)[:3] for shape in shapes]  # vectors (N, D) are D channels of one pixel
        self._shape = max(s[0] for s in whole), max(s[1] for s in whole), max(s[2] for s in whole)

    def describe_order(self) -> str:
        """State the sets in their order."""
        return ", ".join(self.given)
