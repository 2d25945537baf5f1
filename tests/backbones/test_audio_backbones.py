"""Backbones of recordings: what a batch is padded to changes nothing; Whisper is the library's; files are read."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from tl_lab.backbones.audio_cnn import AudioCNN
from tl_lab.backbones.ctranslate2 import read_variables, whisper_state
from tl_lab.backbones.packaged import packaged
from tl_lab.errors import UserError

transformers = pytest.importorskip("transformers", reason="tl_lab[speech] is not installed")
HERE = packaged("whisper").state() == "here"
SIZES = {"d_model": 16, "num_mel_bins": 8, "vocab_size": 20, "max_source_positions": 10, "max_target_positions": 8}
SIZES |= {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")}
SIZES |= {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES |= {"decoder_start_token_id": 1}


def tiny_whisper(folder: Path) -> Path:
    torch.manual_seed(0)
    transformers.WhisperModel(transformers.WhisperConfig(**SIZES)).save_pretrained(folder)
    return folder


def tiny_waves(folder: Path, norm: str = "layer") -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    sizes |= {"conv_dim": [8, 8], "conv_kernel": [10, 3], "conv_stride": [5, 2], "num_conv_pos_embeddings": 4}
    sizes |= {"num_conv_pos_embedding_groups": 2, "feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer"}
    transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**sizes)).save_pretrained(folder)
    return folder


def alone_and_together(net: torch.nn.Module, name: str, *shape: int) -> None:
    """Compare each recording's features alone with those in a batch of longer ones, padded with 0."""
    torch.manual_seed(1)
    parts = [torch.randn(*shape, length) for length in (13, 20, 7)] if shape else [torch.randn(n) for n in (300, 700)]
    longest = max(part.shape[-1] for part in parts)
    padded = torch.stack([torch.nn.functional.pad(part, (0, longest - part.shape[-1])) for part in parts])
    length = torch.tensor([part.shape[-1] for part in parts])
    with torch.no_grad():
        together = net.eval()({name: padded, "length": length})
        alone = [net({name: part[None], "length": length[i : i + 1]})[0] for i, part in enumerate(parts)]
    torch.testing.assert_close(together, torch.stack(alone), atol=2e-5, rtol=1e-5)


def test_padding_changes_nothing_in_convolutions() -> None:
    torch.manual_seed(0)
    net = AudioCNN(widths=(4, 6), bands=8)
    net({"mel": torch.randn(4, 8, 16), "length": torch.tensor([16, 9, 12, 3])})  # norms learn something
    assert net.num_features == 12
    net.check_layer_groups()
    alone_and_together(net, "mel", 8)
    with pytest.raises(UserError, match=r"backbone\.bands=2 is less than 2 to the number of backbone.widths, 2"):
        AudioCNN(widths=(4, 6), bands=2)


def test_padding_changes_nothing_in_whisper_and_thirty_seconds_give_the_librarys_states(tmp_path: Path) -> None:
    from tl_lab.backbones.whisper import Whisper

    net = Whisper(name=str(tiny_whisper(tmp_path)), seconds=0.2)
    net.check_layer_groups()
    assert [name for name, _ in net.layer_groups()] == ["convolutions", "block1", "block2"]
    alone_and_together(net, "mel", 8)
    mel = torch.randn(2, 8, 20)  # of the length that the library demands
    theirs = transformers.WhisperModel.from_pretrained(tmp_path).encoder.eval()
    with torch.no_grad():
        states, mask = net.eval().states({"mel": mel, "length": torch.tensor([20, 20])})
        torch.testing.assert_close(states, theirs(mel).last_hidden_state, atol=1e-5, rtol=1e-5)
    assert mask.sum(1).tolist() == [10, 10]
    assert not any(name == "positions" for name, _ in net.named_parameters())
    with pytest.raises(UserError, match=r"at most 0\.2"):
        Whisper(name=str(tmp_path), seconds=1.0)


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_wav2vec2_of_a_folder(norm: str, tmp_path: Path) -> None:
    from tl_lab.backbones.wav2vec2 import Wav2Vec2

    net = Wav2Vec2(name=str(tiny_waves(tmp_path, norm)))
    net.check_layer_groups()
    assert [name for name, _ in net.layer_groups()] == ["convolutions", "block1", "block2"]
    if norm == "layer":  # the other kind was trained without a mask
        alone_and_together(net, "wave")
    wave = torch.randn(1, 400)
    theirs = transformers.Wav2Vec2Model.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        found = net.eval()({"wave": wave, "length": torch.tensor([400])})
        torch.testing.assert_close(found, theirs(wave).last_hidden_state.mean(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "message"), [(None, "name a model on the hub"), ("nowhere", "cannot be read")])
def test_an_unavailable_wav2vec2_is_refused(name: str | None, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tl_lab.backbones.wav2vec2 import Wav2Vec2

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=message):
        Wav2Vec2(name=name)


def _written(path: Path, variables: dict[str, np.ndarray], version: int = 6) -> Path:
    """Write CTranslate2's format by its description."""

    def name(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    content = struct.pack("<I", version) + name("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for title, values in variables.items():
        kind = {"float32": 0, "float16": 4, "int8": 1}[str(values.dtype)]
        shape = b"".join(struct.pack("<I", size) for size in values.shape)
        content += name(title) + struct.pack("<B", values.ndim) + shape
        content += struct.pack("<BI", kind, values.nbytes) + values.tobytes()
    path.write_bytes(content)
    return path


def test_variables_of_a_file(tmp_path: Path) -> None:
    given = {"a/b": np.arange(6, dtype=np.float16).reshape(2, 3), "c": np.ones(2, np.int8), "d": np.float32([1.5])}
    found = read_variables(_written(tmp_path / "model.bin", given))
    assert list(found) == ["a/b", "d"]
    assert all(np.array_equal(found[name], given[name]) for name in found)
    with pytest.raises(UserError, match="has version 5 of CTranslate2's format, and only 6 can be read"):
        read_variables(_written(tmp_path / "old.bin", given, 5))
    (tmp_path / "cut.bin").write_bytes((tmp_path / "model.bin").read_bytes()[:40])
    with pytest.raises(UserError, match=r"cut\.bin is damaged"):
        read_variables(tmp_path / "cut.bin")


def _packed(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Write a model's state under CTranslate2's names, with stacked projections."""
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    packed = {"decoder/embeddings/weight": state["decoder.embed_tokens.weight"]}

    def norm(theirs: str, ours: str) -> None:
        packed[f"{theirs}/gamma"], packed[f"{theirs}/beta"] = state[f"{ours}.weight"], state[f"{ours}.bias"]

    def stack(theirs: str, ours: str, letters: str) -> None:
        zeros = np.zeros_like(state[f"{ours}.q_proj.bias"])
        packed[f"{theirs}/weight"] = np.concatenate([state[f"{ours}.{one}_proj.weight"] for one in letters])
        packed[f"{theirs}/bias"] = np.concatenate([state.get(f"{ours}.{one}_proj.bias", zeros) for one in letters])

    for part in ("encoder", "decoder"):
        packed[f"{part}/position_encodings/encodings"] = state[f"{part}.embed_positions.weight"]
        norm(f"{part}/layer_norm", f"{part}.layer_norm")
        for k in range(2):
            theirs, ours = f"{part}/layer_{k}", f"{part}.layers.{k}"
            kinds = [("self_attention", "self_attn", ["qkv"])]
            kinds += [("attention", "encoder_attn", ["q", "kv"])] if part == "decoder" else []
            for their_kind, our_kind, stacks in kinds:
                for number, letters in enumerate(stacks):
                    stack(f"{theirs}/{their_kind}/linear_{number}", f"{ours}.{our_kind}", letters)
                for kind in ("weight", "bias"):
                    packed[f"{theirs}/{their_kind}/linear_{len(stacks)}/{kind}"] = state[
                        f"{ours}.{our_kind}.out_proj.{kind}"
                    ]
                norm(f"{theirs}/{their_kind}/layer_norm", f"{ours}.{our_kind}_layer_norm")
            for number, name in enumerate(("fc1", "fc2")):
                for kind in ("weight", "bias"):
                    packed[f"{theirs}/ffn/linear_{number}/{kind}"] = state[f"{ours}.{name}.{kind}"]
            norm(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
    for name in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            packed[f"encoder/{name}/{kind}"] = state[f"encoder.{name}.{kind}"]
    return packed


def test_a_packed_state_is_the_models_again() -> None:
    torch.manual_seed(3)
    model = transformers.WhisperModel(transformers.WhisperConfig(**SIZES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    found = whisper_state(_packed(model))
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


@pytest.mark.skipif(not HERE, reason="the package with the weights of Whisper is not here")
def test_the_packaged_encoder_has_the_published_sizes() -> None:
    from tl_lab.backbones.whisper import Whisper

    net = Whisper().eval()
    assert sum(p.numel() for p in net.parameters()) + net.positions.numel() == 8208384
    assert (net.num_features, len(net.blocks), net.spec.bands) == (384, 4, 80)
