"""Configurations: available choices, composition, checks, hashes, and trust in saved files."""

from tl_lab.config.catalogue import choices, conf_dir, describe
from tl_lab.config.compose import compose
from tl_lab.config.identity import comparison_key, config_hash, difference_from_recorded, to_plain
from tl_lab.config.validate import PROVIDED, check, raise_if_wrong

__all__ = [
    "PROVIDED",
    "check",
    "choices",
    "comparison_key",
    "compose",
    "conf_dir",
    "config_hash",
    "describe",
    "difference_from_recorded",
    "raise_if_wrong",
    "to_plain",
]
