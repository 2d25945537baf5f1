"""Tokenisers belong to their models: a folder without one, or with another model's, is refused in one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from encoders_at_hand import tiny

from tl_lab.backbones.clip import Clip
from tl_lab.backbones.hf_causal import HFCausal
from tl_lab.backbones.hf_text import HFText
from tl_lab.backbones.hf_words import HFWords
from tl_lab.backbones.layout_text import LayoutText
from tl_lab.backbones.whisper import Whisper
from tl_lab.errors import UserError

transformers = pytest.importorskip("transformers", reason="tl_lab[text] is not installed")

_SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def without_words(folder: Path, kind: str, **sizes: int) -> Path:
    """Save a random model without any file of its tokeniser."""
    config = transformers.AutoConfig.for_model(kind, **sizes)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors"}
    return folder


@pytest.mark.parametrize("vocabulary", [6, 1000])
@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "t5", "deberta-v2", "xlm-roberta", "llama"])
def test_a_folder_without_a_tokeniser_is_refused_whatever_the_model(kind: str, vocabulary: int, tmp_path: Path) -> None:
    sizes = {**_SMALL, "vocab_size": vocabulary, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if kind == "gpt2":
        sizes |= {"n_embd": 8, "n_layer": 1, "n_head": 2}
    if kind == "t5":
        sizes |= {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    with pytest.raises(UserError) as caught:
        HFText(name=str(without_words(tmp_path, kind, **sizes)))
    message = str(caught.value)
    assert f"the folder {tmp_path} has no file of a tokeniser: none of tokenizer.json" in message
    assert "\n" not in message
    assert "does not belong" not in message
    assert message.endswith("copy the tokeniser's files of the model there, or write them with its save_pretrained")


@pytest.mark.parametrize("backbone", [HFText, HFCausal, HFWords, LayoutText])
def test_every_reader_of_texts_refuses_it(backbone: type, tmp_path: Path) -> None:
    kind = "gpt2" if backbone is HFCausal else "bert"
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2} if kind == "gpt2" else _SMALL
    with pytest.raises(UserError, match=r"backbone\.name=.*has no file of a tokeniser"):
        backbone(name=str(without_words(tmp_path, kind, vocab_size=1000, **sizes)))


def test_the_decoder_of_whisper_and_the_text_tower_of_clip_refuse_it(tmp_path: Path) -> None:
    sizes = {"d_model": 8, "num_mel_bins": 8, "vocab_size": 100, "max_source_positions": 8, "max_target_positions": 8}
    sizes |= {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    sizes |= {"encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "pad_token_id": 9, "bos_token_id": 9, "eos_token_id": 9}
    heard = Whisper(name=str(without_words(tmp_path / "whisper", "whisper", **sizes)), seconds=0.1)
    with pytest.raises(UserError, match=r"backbone\.name=.*whisper has no file of a tokeniser"):
        heard.recogniser()

    small = {**_SMALL, "num_hidden_layers": 1}
    texts = small | {"vocab_size": 100, "max_position_embeddings": 8, "eos_token_id": 2, "pad_token_id": 0}
    config = {"text_config": texts, "vision_config": small | {"image_size": 16, "patch_size": 8}, "projection_dim": 6}
    seen = Clip(name=str(without_words(tmp_path / "clip", "clip", **config)))
    with pytest.raises(UserError, match=r"backbone\.name=.*clip has no file of a tokeniser"):
        seen.text_tower()


@pytest.mark.parametrize(
    ("rows", "tokens"), [(5, 5), (5, 4), (10, 5), (11, 5), (1000, 5), (4, 5), (2, 5)], ids=lambda number: str(number)
)
def test_the_numbers_of_tokens_and_of_vectors_must_match(rows: int, tokens: int, tmp_path: Path) -> None:
    """At least half of the vectors have a token, as after rounding up to a multiple, and each word has a vector.

    Two of the five tokens are special ones, for which published models sometimes lack a vector.
    """
    folder = tiny(tmp_path, "bert")
    model = transformers.AutoModel.from_pretrained(folder)
    model.resize_token_embeddings(rows)
    model.save_pretrained(folder)
    if tokens == 4:
        content = json.loads((folder / "tokenizer.json").read_text())
        del content["model"]["vocab"]["c"]
        (folder / "tokenizer.json").write_text(json.dumps(content))
    if rows in (5, 10, 4):
        assert HFText(name=str(folder)).spec.vocabulary == tokens
        return
    with pytest.raises(UserError, match=rf"does not belong to the model: it has 5 tokens, and the model {rows:,};"):
        HFText(name=str(folder))


def test_a_tokeniser_of_special_tokens_only_has_no_words(tmp_path: Path) -> None:
    folder = tiny(tmp_path, "bert")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] = {"[P]": 0, "[U]": 1}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="it has 2 tokens, and the model 5;"):
        HFText(name=str(folder))


_READ = """
import sys
from tl_lab.backbones.hf_text import HFText
from tl_lab.errors import UserError
for name in sys.argv[1:]:
    try:
        backbone = HFText(name=name)
        print(name, backbone.source, backbone(backbone.spec.fit(["a b c", "b"])).shape, backbone.spec.vocabulary)
    except UserError as error:
        print(error)
"""


def test_a_name_in_the_hubs_cache_is_read_offline(tmp_path: Path) -> None:
    """In a process of its own: the library reads these variables when it is imported."""
    commit = "0" * 40
    for name in ("someone--tiny", "someone--wordless"):
        place = tmp_path / "hub" / f"models--{name}"
        snapshot = place / "snapshots" / commit
        if name.endswith("tiny"):
            tiny(snapshot, "bert")
        else:
            without_words(snapshot, "bert", vocab_size=1000, **_SMALL)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(commit)
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment = {name: value for name, value in environment.items() if name not in ("HF_HUB_CACHE", "HF_TOKEN")}
    command = [sys.executable, "-c", _READ, "someone/tiny", "someone/wordless", "someone/absent"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    read, refused, absent = done.stdout.splitlines()
    assert read == "someone/tiny someone/tiny (library transformers) torch.Size([2, 8]) 5"
    assert refused == (
        "backbone.name=someone/wordless: the tokeniser does not belong to the model: it has 5 tokens, and the model "
        "1,000; give a folder with the model and its tokeniser"
    )
    assert absent.startswith("backbone.name=someone/absent cannot be read (")
