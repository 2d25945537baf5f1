"""What a short pretext run gains over random weights, by a linear probe and by fine-tuning, at two label budgets.

    TL_LAB_DATA=<data sets> uv run python benchmarks/pretraining_gain.py [views] [skip_gram] ...

Every pretext by name, all without one. Images: 10,000 of MNIST without labels, by LeNet. Texts: the sentences of SST-2,
by word vectors, a bidirectional LSTM, and an encoder and a decoder of two small blocks. Recordings: FSDD, by
convolutions. Each seed has a pretext run of its own, and the same labels for both starts. Writes
docs/results/pretraining_gain.json.
"""

import json
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import torch
import transformers
from portable import portable

from tl_lab.backbones.packaged import packaged
from tl_lab.results.folder.files import write_json
from tl_lab.results.tables.collecting import collect

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "pretraining_gain.json"
SEEDS = (0, 1, 2)
LABELS = (100, 1000)
WAYS = {"feature_extraction": "linear probe", "fine_tuning": "fine-tuning"}
SHARED = ["domain_adaptation=none", "strategy.bottleneck=null", "logger=none", "figures=false", "forgetting=false"]
_IMAGES = ["data=mnist", "backbone=lenet", "scheduler=constant"]
_UNLABELLED = ["data.labels=10000", "data.batch_size=128", "data.batches_per_epoch=300", "trainer.max_epochs=1"]
_AFTER_IMAGES = ["data.batch_size=32", "data.test_count=2000", "data.batches_per_epoch=50", "trainer.max_epochs=4"]
_TEXTS = ["data=sst2", "backbone.pretrained=false", "scheduler=constant"]
_AFTER_TEXTS = ["data.batch_size=32", "data.batches_per_epoch=25", "trainer.max_epochs=4"]
_SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
_ONE_PASS = ("data.batch_size=64", "data.batches_per_epoch=600", "optimizer.lr=3e-3", "trainer.max_epochs=1")


def _words(
    pretext: str, *both: str, pretraining: tuple[str, ...] = _ONE_PASS, rate: float = 3e-3
) -> dict[str, list[str]]:
    return {
        "both": [*_TEXTS, *both],
        "pretext": [f"strategy.pretext={pretext}", *pretraining],
        "after": [*_AFTER_TEXTS, f"optimizer.lr={rate}"],
    }


CASES: dict[str, dict[str, list[str]]] = {
    "views": {
        "both": _IMAGES,
        "pretext": ["strategy.pretext=views", "augmentation=characters", *_UNLABELLED],
        "after": _AFTER_IMAGES,
    },
    "rotation": {"both": _IMAGES, "pretext": ["strategy.pretext=rotation", *_UNLABELLED], "after": _AFTER_IMAGES},
    "masked_patches": {
        "both": _IMAGES,
        "pretext": ["strategy.pretext=masked_patches", "strategy.mask_share=0.5", *_UNLABELLED],
        "after": _AFTER_IMAGES,
    },
    "masked_spectrogram": {
        "both": ["data=spoken_digits", "backbone=audio_cnn", "scheduler=constant"],
        "pretext": ["strategy.pretext=masked_spectrogram", "data.batch_size=64", "trainer.max_epochs=5"],
        "after": ["data.batch_size=32", "data.batches_per_epoch=25", "trainer.max_epochs=4"],
    },
    "skip_gram": _words(
        "skip_gram",
        "backbone=word_vectors",
        pretraining=("data.batch_size=256", "optimizer.lr=3e-3", "trainer.max_epochs=2"),
        rate=1e-2,
    ),
    "both_directions": _words("both_directions", "backbone=lstm", "backbone.hidden=64"),
    "masked_tokens": _words("masked_tokens", "backbone=hf_text", "backbone.name=<bert>"),
    "next_tokens": _words("next_tokens", "backbone=hf_causal", "backbone.name=<llama>"),
}


def small_model(kind: str, folder: Path) -> Path:
    """Save a random encoder or decoder of two blocks with the tokeniser of the packaged one."""
    tokeniser = transformers.AutoTokenizer.from_pretrained(packaged("minilm").locate()["model/config.json"].parent)
    sizes = _SMALL | {"vocab_size": len(tokeniser), "pad_token_id": tokeniser.pad_token_id}
    config = transformers.AutoConfig.for_model(kind, **sizes)
    made = transformers.AutoModel if kind == "bert" else transformers.AutoModelForCausalLM
    made.from_config(config).save_pretrained(folder / kind)
    tokeniser.save_pretrained(folder / kind)
    return folder / kind


def sweep(folder: Path, *overrides: str) -> None:
    """Run a sweep over the seeds, into folders numbered from 0."""
    words = [*SHARED, *overrides, f"hydra.sweep.dir={folder}", f"seed={','.join(map(str, SEEDS))}"]
    subprocess.run([sys.executable, "train.py", "-m", *words], cwd=ROOT, check=True)


def gains(name: str, folder: Path) -> dict[str, object]:
    """Pretrain, train on few labels from both starts, and give test accuracies by seed."""
    case = {
        part: [re.sub(r"<(\w+)>", lambda found: str(small_model(found[1], folder)), text) for text in texts]
        for part, texts in CASES[name].items()
    }
    sweep(folder / "pretext", "strategy=pretraining", *case["both"], *case["pretext"])
    sweep(
        folder / "after", *case["both"], *case["after"],
        f"strategy={','.join(WAYS)}", "strategy.layers.backbone_lr=1.0", "data.evaluate=last",
        f"data.labels={','.join(map(str, LABELS))}", "trainer.limit_val_batches=0",
        "init_from=null," + str(folder / "pretext") + "/${seed}",
    )  # fmt: skip
    runs, pretexts = collect(folder / "after"), collect(folder / "pretext")
    assert set(runs["status"]) == set(pretexts["status"]) == {"completed"}
    rows = []
    for strategy, way in WAYS.items():
        for labels in LABELS:
            of = runs[(runs["override.strategy"] == strategy) & (runs["override.data.labels"] == str(labels))]
            starts = of["override.init_from"] == "null"
            random, learned = (of[kept].sort_values("seed")["test/acc"].tolist() for kept in (starts, ~starts))
            rows.append({"way": way, "labels": labels, "random": random, "pretrained": learned})
    return {
        "rows": rows,
        "seeds": list(SEEDS),
        "overrides": " ".join(CASES[name]["both"] + CASES[name]["pretext"]),
        "pretext_s": float(pretexts["duration_s"].mean()),
        "together_s": float(pretexts["duration_s"].sum() + runs["duration_s"].sum()),
        "date": date.today().isoformat(),
        "torch": torch.__version__.split("+")[0],
    }


def main() -> None:
    """Measure the named cases, all without a name, and keep the others' results."""
    stored = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    for name in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as folder:
            stored[name] = gains(name, Path(folder))
        for row in stored[name]["rows"]:
            print(name, row)
        write_json(RESULT, portable(stored))


if __name__ == "__main__":
    main()
