"""What a short pretext run gains over random weights, by a linear probe and by fine-tuning, at two label budgets.

    TL_LAB_DATA=<data sets> uv run python benchmarks/pretraining_gain.py [mnist] [sst2]

MNIST: SimCLR on 10,000 images without labels, by LeNet. SST-2: skip-gram on all sentences of the training set, by word
vectors. Each seed has a pretext run of its own, and the same labels for both starts. Writes
docs/results/pretraining_gain.json.
"""

import json
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import torch
from portable import portable

from tl_lab.results.folder.files import write_json
from tl_lab.results.tables.collecting import collect

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "pretraining_gain.json"
SEEDS = (0, 1, 2)
LABELS = (100, 1000)
WAYS = {"feature_extraction": "linear probe", "fine_tuning": "fine-tuning"}
SHARED = ["domain_adaptation=none", "strategy.bottleneck=null", "logger=none", "figures=false", "forgetting=false"]
CASES: dict[str, dict[str, list[str]]] = {
    "mnist": {
        "both": ["data=mnist", "backbone=lenet", "scheduler=constant"],
        "pretext": [
            "strategy.pretext=views", "augmentation=characters", "data.labels=10000", "data.batch_size=128",
            "data.batches_per_epoch=300", "trainer.max_epochs=1",
        ],
        "after": ["data.batch_size=32", "data.test_count=2000", "data.batches_per_epoch=50", "trainer.max_epochs=4"],
    },
    "sst2": {
        "both": ["data=sst2", "backbone=word_vectors", "backbone.pretrained=false", "scheduler=constant"],
        "pretext": ["strategy.pretext=skip_gram", "data.batch_size=256", "optimizer.lr=3e-3", "trainer.max_epochs=2"],
        "after": ["data.batch_size=32", "data.batches_per_epoch=25", "optimizer.lr=1e-2", "trainer.max_epochs=4"],
    },
}  # fmt: skip


def sweep(folder: Path, *overrides: str) -> None:
    """Run a sweep over the seeds, into folders numbered from 0."""
    words = [*SHARED, *overrides, f"hydra.sweep.dir={folder}", f"seed={','.join(map(str, SEEDS))}"]
    subprocess.run([sys.executable, "train.py", "-m", *words], cwd=ROOT, check=True)


def gains(name: str, folder: Path) -> dict[str, object]:
    """Pretrain, train on few labels from both starts, and give test accuracies by seed."""
    case = CASES[name]
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
        "overrides": " ".join(case["both"] + case["pretext"]),
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
