"""Small random text encoders with tokenisers, saved in the format of the hub."""

from pathlib import Path

import pytest
import torch


def tiny(folder: Path, kind: str, mask: bool = False) -> Path:
    """Save a random encoder of two blocks with a tokeniser of three words, and where asked for a mask token."""
    transformers = pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
    import tokenizers

    words = {word: i for i, word in enumerate(["[P]", "[U]", "a", "b", "c", *(["[MASK]"] if mask else [])])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[U]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    count = len(words)
    sizes = {
        "vocab_size": count,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "pad_token_id": 0,
    }
    if kind == "gpt2":
        sizes = {"vocab_size": count, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 12, "bos_token_id": 1}
        sizes |= {"eos_token_id": 1}
    elif kind == "distilbert":
        sizes = {
            "vocab_size": count,
            "dim": 8,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 16,
            "max_position_embeddings": 12,
        }
    else:
        sizes |= {"intermediate_size": 16, "max_position_embeddings": 12}
    torch.manual_seed(0)
    transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **sizes)).save_pretrained(folder)
    special = {"pad_token": "[P]", "unk_token": "[U]", **({"mask_token": "[MASK]"} if mask else {})}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)
    return folder
