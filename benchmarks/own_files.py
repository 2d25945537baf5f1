"""Small files for benchmarks that try choices which need files of one's own: data, and random encoders."""

import io
import json
import tarfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["encoders", "files_of_ones_own", "write_encoders"]

HERE_AND_THERE = ["data.source=here", "data.target=there"]
_WORDS = ("good", "bad", "odd", "plain", "bright", "dull", "warm", "cold")


def files_of_ones_own(place: Path, write: bool = True) -> dict[str, list[str]]:
    """Make small images, recordings, texts and tables; give the overrides of the choices that need them.

    Args:
        place: folder that takes them.
        write: False gives the overrides alone.
    """
    if write:
        _write_data(place)
    rows_csv = f"data.path={place / 'rows.csv'}"
    return {
        "image_folder": [f"data.root={place / 'images'}"],
        "image_folder_pair": [f"data.source={place / 'images'}", f"data.target={place / 'other_images'}"],
        "image_table": [f"data.path={place / 'films.csv'}"],
        "chest_xray": [f"data.path={place / 'xrays.csv'}", "data.findings=[Edema]"],
        "audio_folder": [f"data.path={place / 'recordings'}"],
        "audio_folder_pair": [f"data.source={place / 'recordings'}", f"data.target={place / 'other_recordings'}"],
        "speech_table": [f"data.path={place / 'speech.csv'}"],
        "text_folder": [f"data.path={place / 'texts'}"],
        "text_folder_pair": [f"data.source={place / 'texts'}", f"data.target={place / 'other_texts'}"],
        "text_table": [rows_csv],
        "text_table_pair": [rows_csv, *HERE_AND_THERE],
        "table": [rows_csv, "data.label_column=label"],
        "table_pair": [rows_csv, "data.label_column=label", "data.domain_column=domain", *HERE_AND_THERE],
        "tasks_of_table": [rows_csv, "data.tasks={label:classes,number:numbers}"],
        "support_query": [f"data.path={place / 'lists.csv'}", "data.test.way=2", "data.test.shot=2"],
        "receipts": [f"data.root={place}"],
        "webdataset": [f"data.root={place / 'shards'}", "data.size=32"],
        "squad": [f"data.path={place / 'questions.json'}", f"data.test_path={place / 'questions.json'}"],
    }  # fmt: skip


def _write_data(place: Path) -> None:
    """Write small images, recordings, texts, tables, passages, receipts and a shard."""
    draw = np.random.default_rng(0)
    images, recordings, texts = place / "images", place / "recordings", place / "texts"
    for label, level in (("dark", 40), ("light", 200)):
        for folder in (images, recordings, texts):
            (folder / label).mkdir(parents=True)
            (folder.with_name(f"other_{folder.name}") / label).mkdir(parents=True)
        for number in range(20):
            grey = draw.integers(level - 30, level + 30, (32, 32), dtype=np.uint8)
            Image.fromarray(grey).save(images / label / f"{number}.png")
            Image.fromarray(255 - grey).save(place / "other_images" / label / f"{number}.png")
            for folder, loudness in ((recordings, 20), (place / "other_recordings", 10)):
                with wave.open(str(folder / label / f"{number}.wav"), "wb") as file:
                    file.setparams((1, 2, 16000, 0, "NONE", ""))
                    file.writeframes((draw.standard_normal(8000) * level * loudness).astype("<i2").tobytes())
            for folder in (texts, place / "other_texts"):
                (folder / label / f"{number}.txt").write_text(" ".join(draw.choice(_WORDS, 6)))
    rows = [(" ".join(draw.choice(_WORDS, 6)), number % 2, number % 2, number) for number in range(60)]
    table = "text,label,domain,number\n" + "".join(
        f"{text},{('no', 'yes')[one]},{('here', 'there')[place // 30]},{number}\n"
        for place, (text, one, _, number) in enumerate(rows)
    )
    (place / "rows.csv").write_text(table)
    names = [(f"images/{label}/{number}.png", label) for label in ("dark", "light") for number in range(20)]
    (place / "films.csv").write_text("path,label\n" + "".join(f"{name},{label}\n" for name, label in names))
    films = [
        f"{name},{'Edema' if label == 'dark' else 'No Finding'},{number}" for number, (name, label) in enumerate(names)
    ]
    (place / "xrays.csv").write_text("Image Index,Finding Labels,Patient ID\n" + "\n".join(films) + "\n")
    lists = [
        f"images/{label}/{number}.png,{label},{'support' if number < 2 else 'query'},0"
        for label in ("dark", "light")
        for number in range(6)
    ]
    (place / "lists.csv").write_text("path,label,role,episode\n" + "\n".join(lists) + "\n")
    spoken = [f"recordings/{'dark' if number % 2 else 'light'}/{number}.wav,{number}" for number in range(20)]
    (place / "speech.csv").write_text("path,transcript\n" + "\n".join(spoken) + "\n")
    (place / "questions.json").write_text(json.dumps(_questions()))
    _write_receipts(place / "sroie")
    _write_shard(place / "shards")


def _questions() -> dict[str, Any]:
    paragraphs = []
    for number in range(40):
        text = f"The house number {number} stands in a garden."
        answers = [{"text": "garden", "answer_start": text.index("garden")}]
        paragraphs.append({"context": text, "qas": [{"id": str(number), "question": "Where?", "answers": answers}]})
    return {"data": [{"title": "houses", "paragraphs": paragraphs}]}


def _write_receipts(folder: Path) -> None:
    """Write 30 receipts of four words each, in the archive of SROIE."""
    folder.mkdir()
    with tarfile.open(folder / "box_key.tar.xz", "w:xz") as archive:
        for number in range(30):
            fields = {"company": "ACME", "date": "01/02/2018", "address": "Main Street", "total": f"{number}.50"}
            lines = [
                f"10,{20 * line},200,{20 * line},200,{20 * line + 15},10,{20 * line + 15},{text}"
                for line, text in enumerate(fields.values())
            ]
            _add(archive, f"box/{number:03}.csv", "\n".join(lines).encode())
            _add(archive, f"key/{number:03}.json", json.dumps(fields).encode())


def _write_shard(folder: Path) -> None:
    """Write 40 images of two classes into a shard."""
    folder.mkdir()
    draw = np.random.default_rng(1)
    with tarfile.open(folder / "all-0.tar", "w") as archive:
        for number in range(40):
            file = io.BytesIO()
            Image.fromarray(draw.integers(0, 256, (32, 32, 3), np.uint8)).save(file, "png")
            _add(archive, f"{number:03}.png", file.getvalue())
            _add(archive, f"{number:03}.cls", str(number % 2).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


# ---------------------------------------------------------------------- encoders


def encoders(place: Path) -> dict[str, list[str]]:
    """Give the overrides of backbones whose weights or sizes are files, by choice (see :func:`write_encoders`)."""
    words = f"backbone.weights={place / 'words.txt'}"
    return {
        "hf_text": [f"backbone.name={place / 'bert'}", "backbone.max_length=32"],
        "hf_causal": [f"backbone.name={place / 'gpt2'}", "backbone.max_length=32"],
        "hf_words": [f"backbone.name={place / 'bert'}", "backbone.max_length=384"],
        "layout_text": [f"backbone.name={place / 'bert'}", "backbone.max_length=32"],
        "clip": [f"backbone.name={place / 'clip'}"],
        "wav2vec2": [f"backbone.name={place / 'wav2vec2'}"],
        "whisper": [f"backbone.name={place / 'whisper'}"],
        "lstm": [words],
        "text_cnn": [words],
        "word_vectors": [words],
    }


def write_encoders(place: Path) -> None:
    """Write word vectors and, with the library transformers, tiny random encoders in the format of the hub."""
    draw = np.random.default_rng(2)
    vectors = [" ".join([word, *(f"{value:.3f}" for value in draw.standard_normal(8))]) for word in _WORDS]
    (place / "words.txt").write_text("\n".join(vectors) + "\n")
    try:
        import tokenizers
        import torch
        import transformers
    except ImportError:
        return
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(33, 127)]
    vocabulary = {word: i for i, word in enumerate([*special, *_WORDS, *letters, *(f"##{one}" for one in letters)])}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    tokeniser = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="[SEP]", **names)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    count = len(vocabulary)
    bert = transformers.BertConfig(**sizes, vocab_size=count, max_position_embeddings=512, pad_token_id=0)
    causal = transformers.GPT2Config(
        vocab_size=count, n_embd=16, n_layer=2, n_head=2, n_positions=256, bos_token_id=2, eos_token_id=3
    )
    texts = {**sizes, "vocab_size": count, "max_position_embeddings": 16, "eos_token_id": 3, "pad_token_id": 0}
    towers = transformers.CLIPConfig(
        text_config=texts, vision_config={**sizes, "image_size": 32, "patch_size": 8}, projection_dim=8
    )
    convolutions = {"conv_dim": [8, 8], "conv_kernel": [10, 3], "conv_stride": [5, 2], "num_conv_pos_embeddings": 4}
    waves = transformers.Wav2Vec2Config(**sizes, **convolutions, num_conv_pos_embedding_groups=2)
    speech = transformers.WhisperConfig(
        vocab_size=count, d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, pad_token_id=0, bos_token_id=2,
        eos_token_id=3, decoder_start_token_id=2,
    )  # fmt: skip
    models = {
        "bert": transformers.BertModel(bert),
        "gpt2": transformers.GPT2LMHeadModel(causal),
        "clip": transformers.CLIPModel(towers),
        "wav2vec2": transformers.Wav2Vec2Model(waves),
        "whisper": transformers.WhisperModel(speech),
    }
    for name, model in models.items():
        model.save_pretrained(place / name)
        if name in ("bert", "gpt2", "clip"):
            tokeniser.save_pretrained(place / name)
    means = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (place / "clip" / "preprocessor_config.json").write_text(json.dumps(means))
