"""Selection of the layers of a network that an adapter changes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from tl_lab.errors import UserError
from tl_lab.texts import listed

__all__ = ["ALL", "AUTO", "FEEDFORWARD", "adaptable", "exactly", "resolve"]

AUTO, ALL = "auto", "all-linear"
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# names in libraries for projections to queries, keys and values, and for the second layer of a block's perceptron
_FUSED = [("qkv",), ("Wqkv",), ("c_attn",), ("query_key_value",), ("in_proj",)]
_QUERIES_VALUES = [("query", "value"), ("q_proj", "v_proj"), ("q_lin", "v_lin"), ("query_proj", "value_proj")]
_KEYS_VALUES = [("key", "value"), ("k_proj", "v_proj"), ("k_lin", "v_lin"), ("key_proj", "value_proj")]
FEEDFORWARD = ("output.dense", "ffn_output", "ffn.lin2", "mlp.c_proj", "mlp.Wo", "mlp.fc2", "down_proj", "wo")
_ATTENTION: Mapping[str, list[tuple[str, ...]]] = {
    "query, value": [*_QUERIES_VALUES, ("q", "v"), *_FUSED],
    "key, value": [*_KEYS_VALUES, ("k", "v"), *_FUSED],
}


def adaptable(root: nn.Module, one_dimensional: bool = True) -> tuple[list[str], int]:
    """List the layers that an adapter can change: linear layers and convolutions.

    Excluded are grouped convolutions, whose updates cannot be merged; layers that override ``forward``, which would be
    bypassed; and the inner layers of ``nn.MultiheadAttention``, which are never called.

    Args:
        root: the network.
        one_dimensional: include ``nn.Conv1d``.

    Returns:
        Their names, in the network's order, and the number of excluded layers.
    """
    inside = [path for path, module in root.named_modules() if isinstance(module, nn.MultiheadAttention)]
    names, left_out = [], 0
    for path, module in root.named_modules():
        if not (isinstance(module, (nn.Linear, *_CONVOLUTIONS)) or _is_transposed(module)):
            continue
        bypassed = any(path.startswith(f"{attention}.") for attention in inside)
        if path and not bypassed and _is_plain(module) and (one_dimensional or not isinstance(module, nn.Conv1d)):
            names.append(path)
        else:
            left_out += 1
    return names, left_out


def resolve(
    root: nn.Module, targets: str, names: Sequence[str], attention: str, feedforward: bool = False
) -> list[str]:
    """Choose layers of a network.

    Args:
        root: the network.
        targets: ``auto``: the projections of attention named next, or every layer of a network without attention;
            ``all-linear``: every linear layer; or a regular expression for a layer's name or the last parts of it.
        names: of the available layers, see :func:`adaptable`.
        attention: ``query, value`` or ``key, value``.
        feedforward: with ``auto``, also the last layer of each block's perceptron.

    Raises:
        UserError: nothing matches, or the expression is invalid.
    """
    if targets == AUTO:
        chosen = _projections(names, _ATTENTION[attention])
        if chosen and feedforward:
            chosen += [name for name in names if name not in chosen and _ends(name, FEEDFORWARD)]
        chosen = chosen or list(names)
    elif targets == ALL:
        kinds: Mapping[str, Any] = dict(root.named_modules())
        chosen = [name for name in names if not isinstance(kinds[name], _CONVOLUTIONS)]
    else:
        chosen = _matching(targets, names)
    if not chosen:
        endings = listed(dict.fromkeys(_last(name) for name in names)) if names else "none"
        raise UserError(
            f"adapter.targets={targets} matches no layer of {type(root).__name__} that can be adapted; names of such "
            f"layers end in: {endings}"
        )
    return [name for name in names if name in set(chosen)]


def exactly(names: Sequence[str]) -> str:
    """Construct a regular expression that matches exactly these names."""
    return f"({'|'.join(map(re.escape, names))})" if names else "(?!)"


def _matching(pattern: str, names: Sequence[str]) -> list[str]:
    try:
        expression = re.compile(rf"(?:.*\.)?(?:{pattern})")
    except re.error as error:
        raise UserError(
            f"adapter.targets={pattern} is neither auto nor all-linear nor a regular expression ({error})"
        ) from error
    return [name for name in names if expression.fullmatch(name)]


def _projections(names: Sequence[str], families: Sequence[tuple[str, ...]]) -> list[str]:
    """Find the first naming scheme of projections whose names all occur."""
    for family in families:
        if all(any(_ends(name, (one,)) for name in names) for one in family):
            return [name for name in names if _ends(name, family)]
    return []


def _ends(name: str, endings: Sequence[str]) -> bool:
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)


def _last(name: str) -> str:
    """Shorten a name to its last parts, starting from the last one that is not a number."""
    parts = name.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]


def _is_transposed(module: nn.Module) -> bool:
    """Whether a module is the linear layer of GPT-2, which stores its weights transposed."""
    return type(module).__name__ == "Conv1D" and type(module).__module__ == "transformers.pytorch_utils"


def _is_plain(module: nn.Module) -> bool:
    if _is_transposed(module):
        return True
    if isinstance(module, nn.Linear):
        return type(module).forward is nn.Linear.forward or type(module).__module__.startswith("bitsandbytes.")
    kind: Any = module
    plain = type(module) in _CONVOLUTIONS and kind.groups == 1 and kind.padding_mode == "zeros"
    return bool(plain and set(kind.dilation) == {1})
