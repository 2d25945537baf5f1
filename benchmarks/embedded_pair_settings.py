"""Try settings of DANN on printed_to_handwritten, and score them without any label of the target.

    uv run python benchmarks/embedded_pair_settings.py docs/results/embedded_pair_settings.csv out.csv --rows 0 1 2

Each row of the first file is a setting; each is trained with the tuning seeds. The score is the agreement of the
seeds: the mean pairwise Cohen's kappa of their predictions on the unlabelled target samples that two seeds share.
The column named oracle is measured on held-out target labels; it is written last and chooses nothing.
"""

import argparse
import csv
import itertools
import statistics
from pathlib import Path

import pytorch_lightning as pl
import torch
from sklearn.metrics import cohen_kappa_score

from tl_lab.config import compose
from tl_lab.run.build import build
from tl_lab.run.plan import Plan

STEPS_PER_EPOCH = 200
AUGMENTED = ["augmentation.rotation=10", "augmentation.translation=0.1", "augmentation.scale=[0.7,1.2]"]


def overrides(row: dict[str, str]) -> list[str]:
    """Turn a row of the table into a run's overrides."""
    given = [
        f"backbone.batch_norm={str(row['batch_norm'] != 'none').lower()}",
        f"strategy.bottleneck={row['bottleneck'] or 'null'}",
        f"strategy.head.hidden=[{row['head_hidden'].replace(' ', ',')}]",
        f"optimizer={row['optimizer']}",
        f"optimizer.lr={row['lr']}",
        f"data.batch_size={row['batch']}",
        f"data.batches_per_epoch={STEPS_PER_EPOCH}",
        f"trainer.max_epochs={int(row['steps']) // STEPS_PER_EPOCH}",
        *(AUGMENTED if row["augmentation"] == "yes" else []),
    ]
    if row["method"] == "source only":
        return [*given, "domain_adaptation=none"]
    return [
        *given,
        f"domain_adaptation.lambda_max={row['lambda_max']}",
        f"domain_adaptation.hidden=[{row['discriminator'].replace(' ', ',')}]",
        f"domain_adaptation.batch_norm={row['batch_norm'] if row['batch_norm'] != 'none' else 'joint'}",
    ]


def train(row: dict[str, str], seed: int) -> tuple[dict[bytes, int], dict[str, float], float]:
    """Train one setting with one seed; predictions by image, validation scores, the oracle's accuracy."""
    parts = build(Plan.of(compose([*overrides(row), f"seed={seed}"])))
    unlabelled = parts.data.sets["target/train"].x
    assert isinstance(unlabelled, torch.Tensor)
    images = [image.numpy().tobytes() for image in unlabelled]
    epochs = int(row["steps"]) // STEPS_PER_EPOCH
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        check_val_every_n_epoch=epochs,
        deterministic=True,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(parts.strategy, datamodule=parts.data)
    parts.strategy.eval()
    parts.strategy.network.use("target")
    with torch.no_grad():
        predicted = torch.cat([parts.strategy(batch.x).argmax(1) for batch in parts.data.loader("target/train")])
    trainer.test(parts.strategy, datamodule=parts.data, verbose=False)
    agreed = dict(zip(images, predicted.tolist(), strict=True))
    return agreed, parts.strategy.last_validation, parts.strategy.last_test["test/target/acc"]


def score(row: dict[str, str], seeds: list[int]) -> dict[str, str]:
    """Train one setting with every seed, and give its line of the table."""
    runs = [train(row, seed) for seed in seeds]
    kappas = []
    for (first, *_), (second, *_) in itertools.combinations(runs, 2):
        shared = first.keys() & second.keys()
        kappas.append(cohen_kappa_score([first[image] for image in shared], [second[image] for image in shared]))

    def mean(name: str) -> str:
        return f"{statistics.fmean(validation[name] for _, validation, _ in runs):.3f}"

    return {
        **{name: row[name] for name in itertools.takewhile(lambda name: name != "source_val_acc", row)},
        "seeds": str(len(seeds)),
        "source_val_acc": mean("val/source/acc"),
        "kappa": f"{statistics.fmean(kappas):.3f}" if kappas else "",
        "info_max": mean("val/target/info_max"),
        "snd": mean("val/target/snd"),
        "oracle_target_test_acc": f"{statistics.fmean(oracle for *_, oracle in runs):.3f}",
    }


def main() -> None:
    """Score the chosen rows, and write each as soon as it is there."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("settings", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--rows", type=int, nargs="*", help="numbers of the rows, from 0; all if left out")
    options.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    given = options.parse_args()
    torch.set_num_threads(1)
    with given.settings.open(newline="") as file:
        rows = list(csv.DictReader(file))
    writer = None
    with given.out.open("w", newline="") as file:
        for number in given.rows or range(len(rows)):
            line = score(rows[number], given.seeds)
            writer = writer or csv.DictWriter(file, line.keys(), lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(line)
            file.flush()
            printed = {name: value for name, value in line.items() if not name.startswith("oracle")}
            print(" ".join(f"{name}={value}" for name, value in printed.items() if value), flush=True)


if __name__ == "__main__":
    main()
