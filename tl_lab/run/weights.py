"""Origin of a backbone's weights: random, published, a file, or an earlier run."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tl_lab.adapters import Adapter, NoAdapter
from tl_lab.backbones.base import Backbone
from tl_lab.backbones.weights import find_weights
from tl_lab.config.identity import to_plain
from tl_lab.config.instantiate import build_node, foreign
from tl_lab.config.stored import read_stored
from tl_lab.data.cache import file_hash
from tl_lab.errors import UserError
from tl_lab.model.base_weights import Base, filled_up, hash_of
from tl_lab.model.network import weights_stream
from tl_lab.run.checkpoints import checkpoint_of, read_checkpoint
from tl_lab.run.plan import Plan, Recipe

__all__ = [
    "base_of",
    "check_weights",
    "describe_weights",
    "inject",
    "start_from",
    "starts_trained",
    "used_weights",
    "weights_hash",
]

_LEARNED: dict[str, Any] = {"pretrained": False, "weights": None}  # options that load weights, with their off values


def used_weights(plan: Plan) -> tuple[Recipe, Path | None]:
    """Return the backbone and the earlier run as the strategy uses them: none if it starts from random weights."""
    if not _left_aside(plan):
        return plan.backbone, plan.init_from
    own = {name: value for name, value in _LEARNED.items() if name in plan.backbone.node}
    return plan.backbone.with_options(**own), None


def check_weights(plan: Plan) -> None:
    """Refuse weights that do not exist or would be ignored; in a sweep, which compares, ignoring them is only reported.

    Args:
        plan: of the run; a resumed run was checked when it started.

    Raises:
        UserError: a file or folder does not exist, or the strategy of a single run ignores the weights.
    """
    if plan.init_from is not None and not (plan.init_from / "config.yaml").is_file():
        raise UserError(
            f"init_from: {str(plan.init_from)!r} is not the folder of a run, which contains config.yaml; name a run's "
            "folder, such as outputs/runs/<name>/<time>"
        )
    if weights := plan.backbone.option("weights"):
        find_weights(weights)
    choice = plan.strategy.choice
    if given := _left_aside(plan):
        message = f"strategy={choice} starts from random weights and ignores {' and '.join(given)}"
        if not (plan.sweep.part or plan.resumes):
            raise UserError(
                f"{message}: use strategy=fine_tuning or feature_extraction to start from them, or leave them out"
            )
        warnings.warn(message, stacklevel=2)
    elif plan.strategy.kind.wants_weights and not (plan.init_from or _learned(plan)):
        warnings.warn(
            f"strategy={choice} has no pretrained weights to start from, so that it transfers nothing: give "
            "backbone.pretrained=true or backbone.weights=<file>, where the backbone has them, or init_from=<run>",
            stacklevel=2,
        )


def starts_trained(plan: Plan, backbone: Backbone) -> bool:
    """Whether all layers of the backbone start from trained weights.

    A class outside this package that has no option for weights may load them in its constructor, and is assumed to.

    Args:
        plan: of the run.
        backbone: as built.
    """
    recipe, init_from = used_weights(plan)
    if init_from is not None:
        return True
    own = recipe.kind.__module__.partition(".")[0] == "tl_lab"
    unknown = not own and not any(name in recipe.node for name in _LEARNED)
    trained = bool(backbone.source or backbone.weights_in(recipe.node)) or unknown
    return trained and not backbone.pretrained_in_part


def _learned(plan: Plan) -> dict[str, Any]:
    """Return the options by which the backbone loads pretrained weights, by name."""
    return {f"backbone.{name}": value for name, value in plan.backbone.kind.weights_in(plan.backbone.node).items()}


def _left_aside(plan: Plan) -> list[str]:
    """List the pretrained weights that are given to a strategy that ignores them."""
    if plan.strategy.kind.transfers:
        return []
    given = {"init_from": plan.init_from, **_learned(plan)}
    return [f"{name}={str(value).lower() if value is True else value}" for name, value in given.items() if value]


def inject(adapter: Adapter, seed: int, backbone: Backbone) -> Backbone:
    """Inject an adapter; its random weights have a random stream of their own.

    Args:
        adapter: of the run.
        seed: of the run.
        backbone: with its weights; may be changed in place.

    Returns:
        The backbone to build the network on.
    """
    with weights_stream(seed, "adapter"):
        return adapter.inject(backbone)


def base_of(plan: Plan, backbone: Backbone) -> Base | None:
    """Identify the base weights of an adapter if they can be loaded again: published weights, or a file.

    Args:
        plan: of the run.
        backbone: with these weights, without an adapter.

    Returns:
        Source and hash; None without an adapter, and for random and trained weights.
    """
    recipe, init_from = used_weights(plan)
    if init_from is not None or not backbone.weights_in(recipe.node) or not plan.adapter.kind.changes_backbone:
        if plan.adapter.kind.needs_source:
            raise UserError(
                f"adapter={plan.adapter.choice} stores no base weights, so that these must be loadable again: give "
                "backbone.pretrained=true or backbone.weights=<file>, without init_from"
            )
        return None
    return Base(backbone.source or describe_weights(plan), hash_of(backbone))


def start_from(run_folder: Path, backbone: Backbone, build: Callable[[dict[str, Any]], Backbone]) -> Backbone:
    """Load the weights that an earlier run has trained into the backbone, with its adapter merged.

    Args:
        run_folder: of the earlier run.
        backbone: with the architecture of the earlier run's.
        build: builds a backbone from a configuration node, if the earlier run's checkpoint leaves out the base weights
            of its adapter.

    Raises:
        UserError: the folder contains no run, or its backbone is another one.
    """
    path = checkpoint_of(run_folder)
    content = read_checkpoint(path)
    if content.get("model", {}).get("base"):
        with foreign(run_folder / "config.yaml"):
            backbone = build(to_plain(read_stored(run_folder).backbone))
        learned = _with_base(content, backbone, run_folder, path)
    else:
        learned = content["state_dict"]
    own = "network.target_encoder.backbone."  # the new run starts from the encoder of the adapted domain
    prefix = own if any(name.startswith(own) for name in learned) else "network.backbone."
    weights = {name.removeprefix(prefix): tensor for name, tensor in learned.items() if name.startswith(prefix)}
    for name in [name for name in weights if "target_running_" in name]:
        # statistics of each domain: the new run starts from those of the adapted domain
        weights[name.replace("target_running_", "running_")] = weights.pop(name)
        del weights[name.replace("target_running_", "source_running_")]
    adapter, adapted = _adapted_as_in(run_folder, backbone)
    try:
        adapted.load_state_dict(weights)
    except RuntimeError as error:
        theirs = read_stored(run_folder).backbone
        raise UserError(
            f"init_from: the backbone of {run_folder} differs from that of this run: it was {theirs._target_} with "
            f"{ {name: value for name, value in theirs.items() if name != '_target_'} }; give the same backbone group, "
            "options and number of input channels"
        ) from error
    return adapter.merge(adapted)


def _with_base(content: dict[str, Any], backbone: Backbone, run_folder: Path, path: Path) -> dict[str, Tensor]:
    """Complete a state dict from a backbone, which is not the object that the state is loaded into."""
    sha256 = hash_of(backbone)
    _, adapted = _adapted_as_in(run_folder, copy.deepcopy(backbone))
    parts: dict[str, nn.Module] = {"backbone": adapted}
    if any(name.startswith("network.target_encoder.") for name in content["state_dict"]):
        parts["target_encoder"] = nn.ModuleDict({"backbone": copy.deepcopy(adapted)})
    return filled_up(content, nn.ModuleDict({"network": nn.ModuleDict(parts)}), sha256, str(path))


def _adapted_as_in(run_folder: Path, backbone: Backbone) -> tuple[Adapter, Backbone]:
    """Inject the adapter of an earlier run."""
    path = run_folder / "config.yaml"
    if not path.is_file():  # the weights can be read nevertheless
        return NoAdapter(), backbone
    theirs = read_stored(run_folder)
    if theirs.strategy.get("adapters") == "per_task":
        raise UserError(
            f"init_from: {run_folder} learned an adapter for each of its tasks, which make no single backbone to start "
            "from: name a run with strategy.adapters=shared"
        )
    with foreign(path):
        adapter: Adapter = build_node(theirs.adapter)
    return adapter, inject(adapter, int(theirs.get("seed", 0)), backbone)


def describe_weights(plan: Plan) -> str:
    """Describe the origin of the backbone's weights."""
    if given := _left_aside(plan):
        return f"random (strategy={plan.strategy.choice} ignores {', '.join(given)})"
    if plan.init_from:
        return f"trained by {plan.init_from}, {checkpoint_of(plan.init_from).stem} checkpoint"
    given = plan.backbone.kind.weights_in(plan.backbone.node)
    if "weights" in given:
        return f"read from {given['weights']}"
    if given:
        return "pretrained, as published"
    advice = " (nothing to transfer: see backbone.pretrained, backbone.weights, init_from)"
    return f"random{advice if plan.strategy.kind.wants_weights else ''}"


def weights_hash(plan: Plan) -> str | None:
    """Identify the weights file by its content: the configuration contains only its path."""
    backbone, init_from = used_weights(plan)
    given = backbone.option("weights")
    path = checkpoint_of(init_from) if init_from else find_weights(given) if given else None
    return None if path is None else file_hash(path)
