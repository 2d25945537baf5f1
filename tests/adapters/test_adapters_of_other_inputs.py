"""Adapters on backbones of recordings, pages and tables: targets resolve, what is adapted learns, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from encoders_at_hand import tiny
from torch import nn

from tl_lab.backbones.audio_cnn import AudioCNN
from tl_lab.backbones.ft_transformer import FTTransformer
from tl_lab.config import compose
from tl_lab.config.instantiate import build_node
from tl_lab.data.inputs.table import TableSpec

pytest.importorskip("peft", reason="tl_lab[peft] is not installed")
transformers = pytest.importorskip("transformers", reason="tl_lab[speech] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SOUND = {"mel": torch.randn(2, 8, 20, generator=torch.Generator().manual_seed(0)), "length": torch.tensor([20, 12])}
TABLE = TableSpec(("a", "b"), (0.0, 0.0), (1.0, 1.0), (), ("c",), (("x", "y"),))
ROWS = {"numbers": torch.tensor([[0.5, -1.0]]), "known": torch.ones(1, 2), "categories": torch.tensor([[1]])}
PAGE = {
    "ids": torch.tensor([[2, 3]]),
    "mask": torch.ones(1, 2, dtype=torch.int64),
    "boxes": torch.tensor([[[0, 0, 100, 50], [0, 900, 1000, 1000]]]),
    "first": torch.tensor([[0, 1]]),
    "words": torch.tensor([2]),
}
# the layers beside which LoRA stands by default: projections of queries and values, or all where they are one matrix
EXPECTED = {"audio_cnn": {"convolution"}, "whisper": {"q_proj", "v_proj"}, "layout_text": {"query", "value"}}
EXPECTED["ft_transformer"] = {"expand", "contract"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a tiny Whisper and a tiny BERT."""
    place = tmp_path_factory.mktemp("encoders")
    tiny(place / "bert", "bert")
    sizes: dict[str, Any] = {"d_model": 16, "num_mel_bins": 8, "vocab_size": 20, "max_source_positions": 10}
    for part in ("encoder", "decoder"):
        sizes |= {f"{part}_layers": 1, f"{part}_attention_heads": 2, f"{part}_ffn_dim": 16}
    sizes |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    torch.manual_seed(0)
    transformers.WhisperModel(transformers.WhisperConfig(**sizes)).save_pretrained(place / "whisper")
    return place


def built(kind: str, folder: Path) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    from tl_lab.backbones.layout_text import LayoutText
    from tl_lab.backbones.whisper import Whisper

    torch.manual_seed(0)
    if kind == "whisper":
        return Whisper(name=str(folder / "whisper"), seconds=0.2), SOUND
    if kind == "layout_text":
        return LayoutText(name=str(folder / "bert"), max_length=8), PAGE
    if kind == "ft_transformer":
        return FTTransformer(width=8, blocks=1, heads=2, columns=TABLE), ROWS
    return AudioCNN(widths=(4, 6), bands=8), SOUND


@pytest.mark.parametrize("kind", list(EXPECTED))
@pytest.mark.parametrize("name", ["lora", "dora", "ia3", "bitfit", "norm_only"])
def test_targets_resolve_and_learn(kind: str, name: str, folder: Path) -> None:
    net, x = built(kind, folder)
    adapter = build_node(compose([f"adapter={name}"]).adapter)
    net = adapter.inject(net).eval()
    owned = {path: p for path, p in net.named_parameters() if adapter.owns(path)}
    assert owned
    net(x).square().sum().backward()
    moved = {path for path, p in owned.items() if p.grad is not None and bool(p.grad.any())}
    # updates of rank r start at 0 by one factor, whose gradient alone is not 0; a bias of keys moves no attention
    assert len(moved) >= len(owned) // 2 - 1
    assert moved
    net.check_layer_groups() if name in ("bitfit", "norm_only") else None
    if name == "lora":
        beside = {path.split(".lora_A")[0].rpartition(".")[2] for path in owned if ".lora_A" in path}
        assert beside == EXPECTED[kind]
