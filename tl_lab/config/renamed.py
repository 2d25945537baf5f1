"""Modules that have moved since earlier versions, so that old runs can be read and hashes do not change."""

from collections.abc import Callable
from typing import Any

__all__ = ["RENAMED", "current_names", "first_names"]

RENAMED: dict[str, str] = {
    "tl_lab.data.amazon_reviews": "tl_lab.data.sets.amazon_reviews",
    "tl_lab.data.augmentation": "tl_lab.data.inputs.augmentation",
    "tl_lab.data.cifar10": "tl_lab.data.sets.cifar10",
    "tl_lab.data.data_stream": "tl_lab.data.scenarios.data_stream",
    "tl_lab.data.digit_pairs": "tl_lab.data.sets.digit_pairs",
    "tl_lab.data.digits": "tl_lab.data.sets.digits",
    "tl_lab.data.episodes_of": "tl_lab.data.scenarios.episodes_of",
    "tl_lab.data.glyph_episodes": "tl_lab.data.sets.glyph_episodes",
    "tl_lab.data.glyphs": "tl_lab.data.sets.glyphs",
    "tl_lab.data.glyphs_to_handwritten": "tl_lab.data.sets.glyphs_to_handwritten",
    "tl_lab.data.image_folder": "tl_lab.data.sets.image_folder",
    "tl_lab.data.mnist": "tl_lab.data.sets.mnist",
    "tl_lab.data.moons": "tl_lab.data.sets.moons",
    "tl_lab.data.office_caltech10": "tl_lab.data.sets.office_caltech10",
    "tl_lab.data.omniglot": "tl_lab.data.sets.omniglot",
    "tl_lab.data.permuted_stream": "tl_lab.data.scenarios.permuted_stream",
    "tl_lab.data.printed_to_handwritten": "tl_lab.data.sets.printed_to_handwritten",
    "tl_lab.data.rotated_stream": "tl_lab.data.scenarios.rotated_stream",
    "tl_lab.data.split_stream": "tl_lab.data.scenarios.split_stream",
    "tl_lab.data.usps": "tl_lab.data.sets.usps",
    "tl_lab.evaluation.validators.dev": "tl_lab.watching.validators.dev",
    "tl_lab.evaluation.validators.entropy": "tl_lab.watching.validators.entropy",
    "tl_lab.evaluation.validators.importance_weighted": "tl_lab.watching.validators.importance_weighted",
    "tl_lab.evaluation.validators.information_maximisation": "tl_lab.watching.validators.information_maximisation",
    "tl_lab.evaluation.validators.reverse": "tl_lab.watching.validators.reverse",
    "tl_lab.evaluation.validators.snd": "tl_lab.watching.validators.snd",
    "tl_lab.evaluation.validators.source_accuracy": "tl_lab.watching.validators.source_accuracy",
    "tl_lab.schedules": "tl_lab.training.schedules",
    "tl_lab.strategies.layers": "tl_lab.model.layer_policy",
}
"""Old module -> new module; class names are unchanged."""

_FIRST = {new: old for old, new in RENAMED.items()}


def current_names(value: Any) -> Any:
    """Return a plain configuration whose ``_target_`` entries name the current modules.

    Args:
        value: nested dicts, lists and plain values; it is not modified.
    """
    return _with_targets(value, lambda target: _moved(target, RENAMED))


def first_names(value: Any) -> Any:
    """Return a plain configuration whose ``_target_`` entries name the modules of the first release.

    Hashes are computed on these names, so that moving a module does not change them.

    Args:
        value: nested dicts, lists and plain values; it is not modified.
    """
    return _with_targets(value, lambda target: _moved(target, _FIRST))


def _moved(target: str, table: dict[str, str]) -> str:
    module, _, name = target.rpartition(".")
    return f"{table[module]}.{name}" if module in table else target


def _with_targets(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {
            key: rename(item) if key == "_target_" and isinstance(item, str) else _with_targets(item, rename)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_with_targets(item, rename) for item in value]
    return value
