"""Weights of Whisper in the file format of CTranslate2, read as data."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tl_lab.errors import UserError

__all__ = ["read_variables", "whisper_state"]

_VERSION = 6
_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 4: np.dtype("<f2")}


def read_variables(path: Path) -> dict[str, np.ndarray]:
    """Read the named arrays of a model file.

    The file contains the version, name and revision of the model, and then for each variable its name, rank,
    dimensions, type, number of bytes and content; a name is stored as its length and its bytes with a zero at the end.

    Args:
        path: of ``model.bin``.

    Returns:
        Arrays by name, without those that are not floats.

    Raises:
        UserError: the file is damaged, or has another version.
    """
    content, place = path.read_bytes(), 0

    def number(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{kind}", content, place)
        place += struct.calcsize(kind)
        return int(value)

    def name() -> str:
        nonlocal place
        length = number("H")
        place += length
        return content[place - length : place].rstrip(b"\0").decode()

    try:
        if (version := number("I")) != _VERSION:
            raise UserError(f"{path} has version {version} of CTranslate2's format, and only {_VERSION} can be read")
        name(), number("I")
        found = {}
        for _ in range(number("I")):
            title, shape = name(), [number("I") for _ in range(number("B"))]
            kind, length = number("B"), number("I")
            if kind in _TYPES:
                values = np.frombuffer(content, _TYPES[kind], length // _TYPES[kind].itemsize, place)
                found[title] = values.reshape(shape)
            place += length
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged ({error})") from error
    return found


def whisper_state(variables: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Rename and split arrays to the state of the library transformers' ``WhisperModel``, float32.

    The file stacks queries, keys and values of a self-attention, and keys and values of the decoder's attention to the
    encoder; keys have no bias.

    Args:
        variables: as returned by :func:`read_variables`.
    """
    state: dict[str, np.ndarray] = {"decoder.embed_tokens.weight": variables["decoder/embeddings/weight"]}
    for part in ("encoder", "decoder"):
        state[f"{part}.embed_positions.weight"] = variables[f"{part}/position_encodings/encodings"]
        _norm(state, f"{part}.layer_norm", variables, f"{part}/layer_norm")
        layer = 0
        while f"{part}/layer_{layer}/ffn/linear_0/weight" in variables:
            ours, theirs = f"{part}.layers.{layer}", f"{part}/layer_{layer}"
            _attention(state, f"{ours}.self_attn", variables, f"{theirs}/self_attention", "qkv")
            _norm(state, f"{ours}.self_attn_layer_norm", variables, f"{theirs}/self_attention/layer_norm")
            if part == "decoder":
                _attention(state, f"{ours}.encoder_attn", variables, f"{theirs}/attention", "q", "kv")
                _norm(state, f"{ours}.encoder_attn_layer_norm", variables, f"{theirs}/attention/layer_norm")
            for number, name in enumerate(("fc1", "fc2")):
                for kind in ("weight", "bias"):
                    state[f"{ours}.{name}.{kind}"] = variables[f"{theirs}/ffn/linear_{number}/{kind}"]
            _norm(state, f"{ours}.final_layer_norm", variables, f"{theirs}/ffn/layer_norm")
            layer += 1
    for name in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            state[f"encoder.{name}.{kind}"] = variables[f"encoder/{name}/{kind}"]
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in state.items()}


def _norm(state: dict[str, np.ndarray], ours: str, variables: dict[str, np.ndarray], theirs: str) -> None:
    state[f"{ours}.weight"], state[f"{ours}.bias"] = variables[f"{theirs}/gamma"], variables[f"{theirs}/beta"]


def _attention(
    state: dict[str, np.ndarray], ours: str, variables: dict[str, np.ndarray], theirs: str, *stacked: str
) -> None:
    """Split the stacked projections, and rename that of the output."""
    for number, letters in enumerate((*stacked, "o")):
        for kind in ("weight", "bias"):
            parts = np.split(variables[f"{theirs}/linear_{number}/{kind}"], len(letters))
            for letter, part in zip(letters, parts, strict=True):
                if (letter, kind) != ("k", "bias"):
                    state[f"{ours}.{'out' if letter == 'o' else letter}_proj.{kind}"] = part
