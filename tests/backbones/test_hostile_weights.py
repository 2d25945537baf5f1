"""Folders of weights from elsewhere are data: neither their pickles nor their Python files are run."""

import contextlib
import importlib
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders_at_hand import tiny

from tl_lab.errors import UserError

pytest.importorskip("transformers", reason="tl_lab[text] is not installed")

MARK = "ran"
OWN_CODE = f"from pathlib import Path\nPath({MARK!r}).touch()\nclass Evil: pass\n"


class _Touch:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {MARK}",))


def _pickled(folder: Path) -> None:
    """Replace the weights by a pickle in the format that torch.save had before archives."""
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Touch(), protocol=2))


def _archived(folder: Path) -> None:
    """Replace the weights by an archive of torch.save that holds a payload."""
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    torch.save({"embeddings.word_embeddings.weight": _Touch()}, folder / "pytorch_model.bin")


def _with_code(folder: Path) -> None:
    """Let the configuration, the model and the tokeniser name classes of a file in the folder."""
    (folder / "evil.py").write_text(OWN_CODE)
    for name, classes in {
        "config.json": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"},
        "tokenizer_config.json": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
    }.items():
        path = folder / name
        content = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**content, "model_type": "evil", "auto_map": classes}))


def _with_known_type(folder: Path) -> None:
    """The same, under the name of an architecture that the library has, too."""
    content = json.loads((folder / "config.json").read_text())["model_type"]
    _with_code(folder)
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": content}))


CHANGES: dict[str, Callable[[Path], None]] = {
    "pickle": _pickled,
    "archive": _archived,
    "own code": _with_code,
    "own code for a known architecture": _with_known_type,
}


READERS: dict[str, tuple[str, str]] = {
    "encoder": ("bert", "hf_text.HFText"),
    "decoder": ("gpt2", "hf_causal.HFCausal"),
    "words": ("bert", "hf_words.HFWords"),
    "layout": ("bert", "layout_text.LayoutText"),
    "audio": ("bert", "wav2vec2.Wav2Vec2"),
    "recordings": ("bert", "whisper.Whisper"),
    "towers": ("bert", "clip.Clip"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: tiny(tmp_path_factory.mktemp(kind), kind) for kind in ("bert", "gpt2")}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("reader", READERS)
def test_a_folder_of_weights_runs_nothing(
    reader: str, change: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, target = READERS[reader]
    module, _, name = target.partition(".")
    read = getattr(importlib.import_module(f"tl_lab.backbones.{module}"), name)
    folder = tmp_path / "weights"
    shutil.copytree(folders[kind], folder)
    CHANGES[change](folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys.stdin, "read", lambda *_: "y\n")  # nobody's yes makes it run either
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with contextlib.suppress(UserError):  # refused, or read without what would run
        read(name=str(folder))
    assert not (tmp_path / MARK).exists()


def test_the_payloads_would_leave_their_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above could not fail."""
    monkeypatch.chdir(tmp_path)
    for change in (_pickled, _archived):
        (tmp_path / MARK).unlink(missing_ok=True)
        change(tmp_path)
        with contextlib.suppress(RuntimeError, pickle.UnpicklingError):  # after the payload ran
            torch.load(tmp_path / "pytorch_model.bin", weights_only=False)
        assert (tmp_path / MARK).exists()
