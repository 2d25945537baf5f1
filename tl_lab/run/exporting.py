"""Export of a run's trained network to formats of other programs."""

import importlib
import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from tl_lab.adapters import Adapter
from tl_lab.adapters.beside_layers import root_of
from tl_lab.config.stored import read_stored
from tl_lab.errors import UserError, nearest
from tl_lab.run.checkpoints import checkpoint_of, read_checkpoint
from tl_lab.run.inference import TrainedModel, load_classifier

__all__ = ["FORMATS", "export"]

_FILES = {".onnx": "onnx", ".safetensors": "safetensors", ".pt": "", ".pth": "", ".bin": "", ".ckpt": ""}
"""Endings of files of networks, with the format that writes such a file."""
_CONTENT = {"onnx": "model.onnx", "safetensors": "model.safetensors"}
_ABOUT = "about.json"  # in every export
_REFERENCE = "drift_reference.npz"  # of tl_lab.assess.monitor


def export(
    run: str | Path,
    kind: str | None = None,
    output: str | Path | None = None,
    checkpoint: str | None = None,
    allow: Sequence[str] = (),
    predicts: bool = True,
) -> Path:
    """Export the network of a run.

    Args:
        run: the run's folder.
        kind: a key of :data:`FORMATS`; None for ``safetensors``.
        output: folder to write to; None for ``<run>/export/<kind>``. It is written completely or not at all. It
            replaces an earlier export, but no other folder.
        checkpoint: ``best`` or ``last``; None for the one that the run tested.
        allow: names of backbones, in addition to the project's own, that the run's configuration may use.
        predicts: whether the test samples may be predicted again for the intervals of the card, see
            :func:`tl_lab.assess.card.write_card`.

    Returns:
        The folder.

    Raises:
        UserError: the folder contains no run, its network cannot be written in that format, or the output is a file
            or a folder with other files.
    """
    _check_output(output, kind)
    kind = kind or "safetensors"
    if kind not in FORMATS:
        raise UserError(f"--format={kind} is unknown; {nearest(kind, FORMATS)}")
    folder = Path(output) if output else Path(run) / "export" / kind
    model = load_classifier(run, checkpoint, allow=allow)
    content = read_checkpoint(checkpoint_of(Path(run), checkpoint))
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        FORMATS[kind](model, content, beside)
        _write_card(Path(run), beside, predicts, allow)
        (beside / _ABOUT).write_text(json.dumps(_about(Path(run), kind, content), indent=1) + "\n", "utf-8")
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
    return folder


def _check_output(output: str | Path | None, kind: str | None) -> None:
    """Refuse the name of a file as output, because every format is a folder with several files.

    Raises:
        UserError: the output is a file, or ends like one; the message gives the format and the folder to write.
    """
    if output is None:
        return
    path = Path(output)
    suffix = path.suffix.lower()
    if suffix in _FILES:
        given = kind or _FILES[suffix]
        remedy = f"write --format {given} --output {path.with_suffix('')}" if given else "name a folder"
        content = f" with {_CONTENT[given]} in it" if given in _CONTENT else ""
        raise UserError(f"--output {path} names a file, but an export is a folder{content}: {remedy}")
    if path.is_file():
        raise UserError(f"--output {path} is a file, but an export is a folder: name another one")
    if path.name in ("", ".."):
        raise UserError(f"--output {path} is the current folder or one above it: name a new folder")
    if path.is_dir() and any(path.iterdir()) and not _is_export(path):
        raise UserError(
            f"--output {path} is a folder with other files, which an export would replace: name a new folder, such as "
            f"{path / 'export'}"
        )


def _is_export(folder: Path) -> bool:
    """Whether an earlier export wrote a folder."""
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        return about["format"] in FORMATS and {"classes", "backbone", "adapter"} <= about.keys()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def _write_card(run: Path, folder: Path, predicts: bool, allow: Sequence[str]) -> None:
    """Add the model card, also as README.md, which hubs display, and the drift reference that it mentions.

    Runs without results have no card.
    """
    from tl_lab.results.folder.files import RESULTS, read_results

    if not (run / RESULTS).is_file() or read_results(run).get("status") != "completed":
        return
    write: Callable[..., list[Path]] = importlib.import_module("tl_lab.assess.card").write_card
    text, _ = write(run, folder, predicts=predicts, allow=allow)
    shutil.copy(text, folder / "README.md")
    if (reference := run / _REFERENCE).is_file():
        shutil.copy(reference, folder / _REFERENCE)


def _about(run: Path, kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the files as plain values."""
    facts, stored = content["model"], read_stored(run)
    return {
        "format": kind,
        "classes": list(facts["class_names"]),
        "problem": facts.get("problem", {}).get("name"),
        "input": {name: value for name, value in facts.get("spec", {}).items() if name != "tokeniser"},
        "backbone": stored.backbone._target_,
        "adapter": stored.adapter._target_,
        "base": facts.get("base"),
    }


def _safetensors(model: TrainedModel, content: Mapping[str, Any], folder: Path) -> None:
    """Write all weights, with the adapter merged, and the preprocessing of inputs."""
    from safetensors.torch import save_file

    merged = _merged(model)
    save_file(_apart(merged.network.state_dict()), str(folder / "model.safetensors"))
    _write_tokeniser(content, folder)


def _peft(model: TrainedModel, content: Mapping[str, Any], folder: Path) -> None:
    """Write the adapter alone, in the format of the library peft, and the head as a separate file."""
    from safetensors.torch import save_file

    adapter, base = _adapter(model), content["model"].get("base")
    if not adapter.changes_backbone:
        raise UserError(
            "--format=peft writes an adapter, and the run has no adapter (adapter=none): use --format=safetensors"
        )
    if base is None and type(adapter).write is not Adapter.write:  # else the format does not have the adapter at all
        raise UserError(
            "--format=peft writes an adapter without its base weights, and those of this run cannot be "
            "loaded again (they were random, or trained by an earlier run): use --format=safetensors"
        )
    adapter.write(model.network.backbone, folder, base["source"].partition(" (")[0] if base else "")
    head = {n: t for n, t in model.network.state_dict().items() if n.startswith(("bottleneck.", "head."))}
    save_file(_apart(head), str(folder / "head.safetensors"))


def _hf(model: TrainedModel, content: Mapping[str, Any], folder: Path) -> None:
    """Write the encoder in the format of transformers, with its tokeniser, and the head as a separate file."""
    from safetensors.torch import save_file

    merged = _merged(model)
    net: Any = root_of(merged.network.backbone)
    if not hasattr(net, "save_pretrained"):
        raise UserError(
            f"--format=hf supports models of the library transformers, and this run's backbone is "
            f"{type(merged.network.backbone).__name__}: use --format=safetensors"
        )
    net.save_pretrained(str(folder))
    head = {n: t for n, t in merged.network.state_dict().items() if n.startswith(("bottleneck.", "head."))}
    save_file(_apart(head), str(folder / "head.safetensors"))
    _write_tokeniser(content, folder)


def _onnx(model: TrainedModel, content: Mapping[str, Any], folder: Path) -> None:
    """Write the network as a graph from prepared inputs to outputs, for batches of any size."""
    merged = _merged(model)
    shape = content["model"].get("spec", {})
    if merged.spec.modality not in ("image", "vector", "table", "text"):
        raise UserError(
            f"--format=onnx supports networks of images, vectors, tables and texts, and this one takes "
            f"{merged.spec.modality} inputs: use --format=safetensors"
        )
    if merged.spec.modality == "text":
        pairs = len(model.reading.get("text_column", ["text"])) > 1 and getattr(
            merged.network.backbone, "takes_types", False
        )
        names = ["ids", "mask", *(["types"] if pairs else [])]
        x: Any = {name: torch.ones(2, min(8, int(shape["max_length"])), dtype=torch.int64) for name in names}
        free: Any = {name: {0: "samples", 1: "tokens"} for name in names}
    elif merged.spec.modality == "table":
        numbers, categories = len(shape["numbers"]), len(shape["categories"])
        x = {"numbers": torch.zeros(2, numbers), "known": torch.ones(2, numbers)} if numbers else {}
        x |= {"categories": torch.zeros(2, categories, dtype=torch.int64)} if categories else {}
        free = {name: {0: "samples"} for name in x}
    elif merged.spec.modality == "image":
        x, free = torch.zeros(2, int(shape["channels"]), *shape["size"]), {0: "samples"}
    else:
        x, free = torch.zeros(2, int(shape["length"])), {0: "samples"}
    try:
        import onnxscript  # noqa: F401  # required by PyTorch's exporter

        given = (x, {}) if isinstance(x, dict) else (x,)  # a mapping at the end would be taken for keyword arguments
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*shares the same shape constraints.*")
            program = torch.onnx.export(
                merged.network, given, dynamo=True, dynamic_shapes=(free,), verbose=False,
                input_names=[*x] if isinstance(x, dict) else ["x"], output_names=["outputs"],
            )  # fmt: skip
    except ImportError as error:
        raise UserError(
            f"--format=onnx needs the libraries onnx and onnxscript ({error}): install tl_lab[onnx]"
        ) from error
    except Exception as error:  # operations without an ONNX counterpart
        reason = str(error.__cause__ or error).strip().splitlines()[0][:160]
        raise UserError(f"this network cannot be written as ONNX ({reason})") from error
    assert program is not None
    program.save(str(folder / "model.onnx"))
    _write_tokeniser(content, folder)


FORMATS: Mapping[str, Callable[[TrainedModel, Mapping[str, Any], Path], None]] = MappingProxyType(
    {"safetensors": _safetensors, "peft": _peft, "hf": _hf, "onnx": _onnx}
)
"""Functions that export a network to a folder, by name of the format."""


def _adapter(model: TrainedModel) -> Adapter:
    assert model.adapter is not None
    return model.adapter


def _merged(model: TrainedModel) -> TrainedModel:
    """Merge the adapter into the weights, in place, and order these as other programs do."""
    network = model.network
    network.backbone = _adapter(model).merge(network.backbone)
    network.to(memory_format=torch.contiguous_format)
    return model


def _apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory, which the format does not support."""
    return {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}


def _write_tokeniser(content: Mapping[str, Any], folder: Path) -> None:
    state = content["model"].get("spec", {}).get("tokeniser")
    if state and "definition" in state:
        (folder / "tokenizer.json").write_text(state["definition"], encoding="utf-8")
    elif state:
        (folder / "words.txt").write_text(state["words"] + "\n", encoding="utf-8")
