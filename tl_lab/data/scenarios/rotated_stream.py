"""A task stream that rotates the images of one set by increasing angles."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.operations import constant, sample_shape
from tl_lab.data.samples import Samples, in_memory
from tl_lab.data.scenarios.inner import name_of, read_inner
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.errors import UserError
from tl_lab.options import Angle, Several

__all__ = ["RotatedStream"]


class RotatedStream(TaskStream):
    """Rotate the images about their centre, by a different angle for each task.

    The angle is the same for a task's training and test images.

    Args:
        of: the set, or the pair of domains; both domains of a pair are rotated by the same angle.
        num_tasks: number of tasks T.
        max_angle: rotation of the last task, in degrees anticlockwise; task k of T (from 0) is rotated by k / T of it.
        options: keyword arguments of :class:`~tl_lab.data.scenarios.stream.TaskStream`.

    References:
        Lopez-Paz and Ranzato, Gradient Episodic Memory for Continual Learning, NeurIPS 2017, section 4.1.
    """

    def __init__(self, *, of: DataModule, num_tasks: Several = 5, max_angle: Angle = 180.0, **options: Any) -> None:
        super().__init__(**options)
        if num_tasks < 2:
            raise UserError(f"data.num_tasks must be at least 2, not {num_tasks}")
        if not 0 < abs(max_angle) <= 360:
            raise UserError(f"data.max_angle must be in [-360, 360] degrees and not be 0, but is {max_angle}")
        self.template, self.tasks_wanted, self.max_angle = of, num_tasks, max_angle

    @property
    def angles(self) -> list[float]:
        """Angle of each task in degrees."""
        return [self.max_angle * k / self.tasks_wanted for k in range(self.tasks_wanted)]

    def read_tasks(self) -> list[dict[str, Samples]]:
        """Read the set, which all tasks share."""
        assert self.template is not None
        sets = self.template.limited(read_inner(self.template, name_of(self.template), "data.of"))
        if any(in_memory(samples.x) and len(sample_shape(samples.x)) != 3 for samples in sets.values()):
            raise UserError(f"only images can be rotated: data.of={type(self.template).__name__} has no images")
        self.task_classes = [list(self.template.class_names) for _ in range(self.tasks_wanted)]
        return [dict(sets) for _ in range(self.tasks_wanted)]

    def change(self, task: int) -> Callable[[Tensor], Tensor] | None:
        """Return the rotation of images ``(B, C, H, W)`` for a task; None if its angle is 0."""
        angle = self.angles[task]
        return (lambda x: rotate(x, angle)) if angle else None

    def describe_order(self) -> str:
        """Return the angles as text."""
        return ", ".join(f"{angle:g}" for angle in self.angles) + " degrees"


def rotate(x: Tensor, degrees: float) -> Tensor:
    """Rotate images about their centre.

    Args:
        x: images, ``(B, C, H, W)``.
        degrees: angle in degrees, anticlockwise.

    Returns:
        The rotated images, ``(B, C, H, W)``, bilinearly interpolated; positions outside of the original take the value
        of the nearest edge pixel.
    """
    angle = torch.deg2rad(constant((degrees,), x)[0])
    cos, sin, zero = angle.cos(), angle.sin(), angle.new_zeros(())
    ratio = x.shape[-1] / x.shape[-2]
    # inverse rotation, from output to input positions, in coordinates from -1 to 1 along each side
    rows = [torch.stack([cos, -sin / ratio, zero]), torch.stack([sin * ratio, cos, zero])]
    grid = F.affine_grid(torch.stack(rows).expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
