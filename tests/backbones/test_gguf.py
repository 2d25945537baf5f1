"""Language models in GGUF files: a file written here, number by number, and SmolLM2 from its package."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tl_lab.backbones.gguf import converted
from tl_lab.backbones.hf_causal import HFCausal
from tl_lab.backbones.packaged import PACKAGED
from tl_lab.errors import UserError

transformers = pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
gguf = pytest.importorskip("gguf", reason="the library gguf is not installed")
pytest.importorskip("accelerate", reason="the library accelerate is not installed")

WORDS = ["<s>", "</s>", "a", "b", "c", "ab", "abc"]
MERGES = ["a b", "ab c"]
HEADS, WIDTH, INNER = 2, 8, 12
NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def original():
    """Draw a Llama of one block, whose output shares the embeddings."""
    torch.manual_seed(0)
    sizes = {"vocab_size": len(WORDS), "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": HEADS, "num_key_value_heads": HEADS, "max_position_embeddings": 16}
    config = transformers.LlamaConfig(
        **sizes, rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1
    )
    return transformers.LlamaForCausalLM(config).eval()


def interleaved(weight: np.ndarray) -> np.ndarray:
    """Order the rows of a head as GGUF does: those that a rotation mixes are neighbours."""
    return weight.reshape(HEADS, 2, WIDTH // HEADS // 2, WIDTH).swapaxes(1, 2).reshape(WIDTH, WIDTH)


def write(path: Path) -> torch.nn.Module:
    """Write the Llama in single precision with its tokeniser, and return it."""
    net = original()
    state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    file = gguf.GGUFWriter(path, "llama")
    file.add_block_count(1)
    file.add_context_length(16)
    file.add_embedding_length(WIDTH)
    file.add_feed_forward_length(INNER)
    file.add_head_count(HEADS)
    file.add_head_count_kv(HEADS)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(WIDTH // HEADS)
    file.add_rope_freq_base(10_000.0)
    file.add_vocab_size(len(WORDS))
    file.add_tokenizer_model("gpt2")
    file.add_token_list(WORDS)
    file.add_token_types([gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (len(WORDS) - 2))
    file.add_token_merges(MERGES)
    file.add_bos_token_id(0)
    file.add_eos_token_id(1)
    file.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    file.add_tensor("output_norm.weight", state["model.norm.weight"])
    for theirs, name in NAMES.items():
        weight = state[f"model.layers.0.{theirs}.weight"]
        file.add_tensor(f"blk.0.{name}.weight", interleaved(weight) if name in ("attn_q", "attn_k") else weight)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return net


def test_a_converted_file_gives_the_networks_numbers_and_its_tokens(tmp_path: Path, cache: Path) -> None:
    net = write(tmp_path / "tiny.gguf")
    folder = converted(tmp_path / "tiny.gguf", "0123456789abcdef-and-more")
    assert folder == cache / "gguf-0123456789abcdef"
    read = HFCausal(name=str(folder)).eval()
    mine, theirs = read.net.state_dict(), net.state_dict()
    assert mine.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name], tensor, rtol=0, atol=0, msg=name)
    assert read.tokeniser.pieces("abcab") == [6, 5]
    ids = torch.tensor([[2, 3, 6, 5]])
    with torch.no_grad():
        states, _ = read.read(ids, torch.ones_like(ids))
        torch.testing.assert_close(read.next_token(states), net(ids).logits.log_softmax(-1))


def test_a_file_is_converted_once_and_a_damaged_one_is_refused(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write(path)
    folder = converted(path, "a" * 64)
    path.write_bytes(b"damaged")
    assert converted(path, "a" * 64) == folder  # without reading the file
    with pytest.raises(UserError, match=r"tiny\.gguf cannot be read as a language model \(") as caught:
        converted(path, "b" * 64)
    assert "\n" not in str(caught.value)
    assert [one.name for one in cache.iterdir()] == [folder.name]  # nothing half-written is left


def test_smollm2_has_its_published_number_of_parameters() -> None:
    entry = PACKAGED["smollm2"]
    if entry.state() == "missing":
        pytest.skip(f"{entry.package} is absent: {entry.how_to_get()}")
    backbone = HFCausal()
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 134_515_008
    assert (len(backbone.layer_groups()), backbone.num_features, backbone.tokeniser.size) == (31, 576, 49_152)
