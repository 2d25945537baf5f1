"""Claims about speech, documents and tables, each as a small sweep whose results are stored.

    uv run python benchmarks/input_runs.py <folder>                     # needs TL_LAB_DATA and the packaged weights
    uv run python benchmarks/input_runs.py <folder> --only scratch      # one sweep

- ``whisper``, ``untaught``, ``scratch``: how much labelled speech does a pretrained encoder need, and one that learns
  from random weights? Utterances are three spoken digits of one speaker with pauses between them: four speakers for
  training, one for validation, one for test. ``untaught`` is Whisper's encoder from random weights, with the updates of
  ``whisper``. ``decoder`` is Whisper's own, which learns nothing.
- ``layout`` and ``bias``: fields of receipts from words alone, from words with boxes, and with a bias by
  distance as well.
- ``questions``: answers as spans, learned in English, tested in English, German and Spanish.
- ``films``: pneumonia on small X-rays by the number of labels (``experiment=medical/pneumonia``); ``films_tuned``: the
  same by EfficientNet-Lite0 from random weights and from ImageNet's, with equal numbers of updates.
- ``shift``: electricity prices before a point in time to after it, by source only, importance weighting and the family;
  ``shift_inputs`` compares the domains for the weights by their columns.
- ``groups``: incomes of men to those of women, by the same methods.
- ``tables``: three tables by a perceptron, a transformer and gradient-boosted trees, 2,000 labels each.
- ``speakers``: spoken digits of five speakers to those of the sixth, by source only and DANN.

Runs the sweeps that the folder lacks, resumes those that are not complete, and writes the scores of complete ones to
docs/results/input_runs.json, of which docs/tables.py makes the tables ``recognition``, ``boxes``, ``languages``,
``films``, ``shift``, ``groups``, ``tabular`` and ``speakers``.
"""

import argparse
import json
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from scipy.io import wavfile

from tl_lab.data.sets.spoken_digits import SpokenDigits
from tl_lab.functional.transcripts import plain_text
from tl_lab.results.folder.files import write_json

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "docs" / "results" / "input_runs.json"
PARTS = {"train": ["jackson", "nicolas", "theo", "yweweler"], "val": ["lucas"], "test": ["george"]}
COUNTS, DIGITS, PAUSE = {"train": 400, "val": 30, "test": 100}, 3, 0.1  # utterances, digits in each, seconds
QUIET = ["logger=none", "figures=false", "trainer.enable_progress_bar=false"]
SPEECH = ["data=speech_table", "data.speaker_column=speaker", "data.split_column=part"]
AMOUNTS = ["seed=0,1,2", "data.labelled_seconds=10,60,600"]
RECEIPTS = ["data=receipts", "data.labels=200", "backbone=layout_text", "backbone.small=true",
            "backbone.pretrained=false", "strategy.layers.backbone_lr=1.0", "trainer.max_epochs=10"]  # fmt: skip
TABLES = ["backbone=mlp", "strategy=from_scratch", "trainer.max_epochs=2"]
FAMILY = "domain_adaptation=source_only,importance_weighting,dann,coral,mmd"
SPEAKERS = "george,jackson,lucas,nicolas,theo,yweweler"
SWEEPS = {
    "scratch": [*SPEECH, *AMOUNTS, "backbone=audio_cnn", "backbone.widths=[32,64,64,64]", "strategy=from_scratch",
                "optimizer=adamw", "optimizer.lr=0.003", "data.batch_size=8", "data.batches_per_epoch=100",
                "trainer.max_epochs=10"],
    "whisper": [*SPEECH, *AMOUNTS, "backbone=whisper", "strategy=fine_tuning", "strategy.layers.trainable=2",
                "strategy.layers.backbone_lr=0.3", "optimizer=adamw", "optimizer.lr=0.001", "data.batch_size=4",
                "data.batches_per_epoch=50", "trainer.max_epochs=6"],
    "untaught": [*SPEECH, "seed=0,1,2", "data.labelled_seconds=600", "backbone=whisper", "backbone.pretrained=false",
                 "strategy=from_scratch", "optimizer=adamw", "optimizer.lr=0.001", "data.batch_size=4",
                 "data.batches_per_epoch=50", "trainer.max_epochs=6"],
    "decoder": [*SPEECH, "backbone=whisper", "strategy=zero_shot", "data.eval_batch_size=10",
                "data.test_count=40", "seed=0"],
    "layout": [*RECEIPTS, "backbone.positions=true,false", "backbone.bias=false", "seed=0,1,2,3,4"],
    "bias": [*RECEIPTS, "backbone.positions=true", "backbone.bias=true", "seed=0,1,2,3,4"],
    "questions": ["data=xquad", "data.labels=300", "optimizer.lr=0.001", "trainer.max_epochs=2", "seed=0"],
    "films": ["experiment=medical/pneumonia"],
    "films_tuned": ["data=pneumonia_xray", "backbone=efficientnet_lite0", "backbone.resize_to=[64,64]",
                    "strategy=from_scratch,fine_tuning", "data.labels=50,200,null", "data.batch_size=32",
                    "data.batches_per_epoch=38", "optimizer=adamw", "optimizer.lr=0.001", "trainer.max_epochs=5",
                    "forgetting=false", "seed=0,1,2"],
    "shift": ["data=electricity_pair", *TABLES, FAMILY, "seed=0,1,2"],
    "shift_inputs": ["data=electricity_pair", *TABLES, "domain_adaptation=importance_weighting",
                     "domain_adaptation.compare=inputs", "seed=0,1,2"],
    "groups": ["data=adult_pair", *TABLES, FAMILY, "seed=0,1,2"],
    "tables": ["data=adult,compas,electricity", "backbone=mlp,ft_transformer", "strategy=from_scratch",
               "data.labels=2000", "trainer.max_epochs=10", "seed=0,1,2"],
    "speakers": ["data=spoken_digits", f"data.target={SPEAKERS}", "backbone=audio_cnn", "strategy=from_scratch",
                 "domain_adaptation=source_only,dann", "trainer.max_epochs=3", "seed=0"],
}  # fmt: skip
AXES = (
    "strategy",
    "data.labelled_seconds",
    "data.labels",
    "data.target",
    "backbone.positions",
    "backbone.bias",
    "domain_adaptation",
    "data",
    "backbone",
)
SCREENED = ("auroc", "low", "high", "sensitivity_at_90", "sensitivity", "specificity", "calibration_error")


def main() -> None:
    """Run the sweeps, and store what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=list(SWEEPS), nargs="*", help="some sweeps; all by default")
    options = parser.parse_args()
    folder = options.folder.resolve()
    for name in options.only or SWEEPS:
        overrides = SWEEPS[name]
        if "data=speech_table" in overrides:
            overrides = [*overrides, f"data.path={utterances(folder / 'speech')}"]
        done, jobs = progress(folder / name)
        if done < jobs:
            where = [f"hydra.sweep.dir={folder / name}", *(["sweep.resume=true"] if (folder / name).exists() else [])]
            subprocess.run([sys.executable, "train.py", "-m", *overrides, *QUIET, *where], cwd=ROOT, check=False)
    before = json.loads(STORED.read_text()) if STORED.is_file() else {}
    write_json(STORED, before | {name: found for name in SWEEPS if (found := collected(folder / name))})


def progress(folder: Path) -> tuple[int, int]:
    """Count a sweep's completed runs and its jobs; 1 job where the sweep has not started."""
    if not (folder / "multirun.yaml").is_file():
        return 0, 1
    hydra = OmegaConf.load(folder / "multirun.yaml").hydra
    texts = [*(f"{key}={value}" for key, value in (hydra.sweeper.params or {}).items()), *hydra.overrides.task]
    given = {one.key_or_group: one for one in OverridesParser.create().parse_overrides(texts)}  # the last one counts
    jobs = prod(len(list(one.sweep_string_iterator())) for one in given.values() if one.is_sweep_override())
    return len(completed(folder)), jobs


def completed(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Read the results of the completed runs below a folder."""
    found = [(path.parent, json.loads(path.read_text())) for path in sorted(folder.rglob("results.json"))]
    return [(run, results) for run, results in found if results["status"] == "completed"]


def utterances(folder: Path) -> Path:
    """Join recordings of one speaker, drawn anew for each utterance, and write a table, unless it is there."""
    table = folder / "speech.csv"
    if table.is_file():
        return table
    data, rows, draw = SpokenDigits(), [], np.random.default_rng(0)
    data.load()
    whole: Any = [data.sets[name] for name in ("train", "val", "test")]
    x = whole[0].x.concatenate([one.x for one in whole])
    y, group = torch.cat([one.y for one in whole]), torch.cat([one.columns["group"] for one in whole])
    pause = np.zeros(int(8000 * PAUSE), np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    for part, speakers in PARTS.items():
        for number in range(COUNTS[part]):
            speaker = speakers[number % len(speakers)]
            own = (group == data.speakers.index(speaker)).nonzero()[:, 0].numpy()
            chosen = [int(i) for i in draw.choice(own, DIGITS, replace=False)]
            sound = np.concatenate([pause, *(piece for i in chosen for piece in (x.wave(i).samples, pause))])
            wavfile.write(folder / f"{part}{number}.wav", 8000, (32767 * sound).astype(np.int16))
            text = plain_text("".join(str(int(y[i])) for i in chosen))
            rows.append((f"{part}{number}.wav", text, speaker, part))
    pd.DataFrame(rows, columns=["path", "transcript", "speaker", "part"]).to_csv(table, index=False)
    return table


def collected(folder: Path) -> dict[str, Any]:
    """Read the test scores of a sweep's runs, with what differs between them; nothing if some have not completed."""
    done, jobs = progress(folder)
    if done < jobs:
        if done:
            print(f"{folder.name}: {done} of {jobs} runs have completed; the same command resumes it")
        return {}
    command = " ".join(one for one in SWEEPS[folder.name] if not one.startswith("data.path"))
    runs = [row_of(run, found) for run, found in completed(folder)]
    return {"command": f"train.py -m {command}", "torch": torch.__version__, "runs": runs}


def row_of(run: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Keep a run's seed, axes, test scores, findings and numbers of tested samples."""
    config = OmegaConf.load(run / "config.yaml")
    values = {axis: found["choices"].get(axis) or OmegaConf.select(config, axis) for axis in AXES}
    findings = [
        {"set": one["set"], "finding": one["finding"], **{name: round(one[name], 5) for name in SCREENED}}
        for one in found.get("findings", [])
    ]
    return {
        "seed": found["seed"],
        **{axis: value for axis, value in values.items() if value is not None},
        **{name: round(value, 5) for name, value in found["metrics"].items() if name.startswith("test/")},
        **({"findings": findings} if findings else {}),
        "tested": {name: count for name, count in found["sizes"].items() if name.endswith("test")},
        "took_s": round(found["duration_s"], 1),
    }


if __name__ == "__main__":
    main()
