"""Check that the sizes and channels that a configuration states have an effect."""

import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from tl_lab.backbones.base import Backbone
from tl_lab.config.instantiate import class_of
from tl_lab.data.base import DataModule
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.vector import VectorSpec
from tl_lab.data.samples import in_memory
from tl_lab.errors import UserError
from tl_lab.run.plan import Plan

__all__ = ["check_given_sizes"]


def check_given_sizes(plan: Plan, backbone: Backbone, data: DataModule) -> None:
    """Refuse sizes of the backbone, and report sizes of the data, that the backbone does not use.

    Args:
        plan: of the run; a resumed run was checked when it started.
        backbone: built for the data.
        data: loaded; files that are already decoded had the sizes that are given.

    Raises:
        UserError: ``backbone.input_size`` or ``backbone.in_channels`` is given, but the backbone's input differs.
    """
    if plan.resumes:
        return
    used = _used_by(backbone)
    for option, value in used.items():
        given = plan.backbone.option(option)
        if given is not None and _plain(given) != value:
            takes = f"backbone={plan.backbone.choice} takes inputs of {backbone.spec}"
            what = takes if value is not None else f"a {backbone.spec.modality} has none"
            raise UserError(
                f"backbone.{option}={_plain(given)} has no effect, because {what}: "
                f"{_remedy(plan, option, given, 'leave it out')}"
            )
    if not isinstance(backbone.spec, ImageSpec) or all(in_memory(samples.x) for samples in data.sets.values()):
        return
    for path, node in _decoded(plan.data.node, "data"):
        for option, mine in (("size", "input_size"), ("channels", "in_channels")):
            value, value_used = node.get(option), used[mine]
            wanted = [value, value] if option == "size" else value
            if value is not None and wanted != value_used and _is_given(plan, f"{path}.{option}", node, option):
                remedy = _remedy(plan, mine, wanted, f"leave {path}.{option} out")
                warnings.warn(
                    f"{path}.{option}={value} has no effect, because backbone={plan.backbone.choice} takes inputs of "
                    f"{backbone.spec}: {remedy}",
                    stacklevel=2,
                )


def _used_by(backbone: Backbone) -> dict[str, Any]:
    """Return the size and channels of a backbone's input; None where its input has neither."""
    spec = backbone.spec
    if isinstance(spec, ImageSpec):
        return {"input_size": [*spec.size], "in_channels": spec.channels}
    if isinstance(spec, VectorSpec):
        return {"input_size": [1, 1], "in_channels": spec.length}
    return {"input_size": None, "in_channels": None}


def _remedy(plan: Plan, option: str, value: Any, otherwise: str) -> str:
    """Name the option of the backbone that sets its input, if it has one."""
    if option == "input_size" and "resize_to" in plan.backbone.node:
        return f"set backbone.resize_to={str(_plain(value)).replace(' ', '')}, or {otherwise}"
    if option == "input_size":
        return f"choose a backbone for any size, such as conv4 or mlp, or {otherwise}"
    return otherwise


def _decoded(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Find the data whose files are decoded for the backbone, also within other data, with their paths."""
    if isinstance(node, Mapping):
        if "_target_" in node and getattr(class_of(node), "decodes_for_backbone", False):
            yield path, node
        for name, inner in node.items():
            yield from _decoded(inner, f"{path}.{name}")
    elif isinstance(node, list | tuple):
        for number, inner in enumerate(node):
            yield from _decoded(inner, f"{path}.{number}")


def _is_given(plan: Plan, path: str, node: Mapping[str, Any], option: str) -> bool:
    """Whether an option is on the command line, or differs from its default."""
    named = any(text.lstrip("+").startswith(f"{path}=") for text in plan.overrides)
    return named or node[option] != _default(class_of(node), option)


def _default(kind: type, option: str) -> Any:
    """Return the default of an option, which a base class may declare."""
    signatures = [inspect.signature(vars(one)["__init__"]) for one in kind.__mro__ if "__init__" in vars(one)]
    return next((one.parameters[option].default for one in signatures if option in one.parameters), None)


def _plain(value: Any) -> Any:
    return [*value] if isinstance(value, list | tuple) else value
