"""How long does the comparison of experiment=which_transfer take on one's own data, and what does it find?

    TL_LAB_DATA=<data sets> uv run python benchmarks/which_transfer.py [texts] [photographs] [--folder outputs/which]

``texts``: a table of 2,000 sentences of SST-2, with MiniLM. ``photographs``: the 958 of Office-Caltech10's amazon, with
SqueezeNet at 64 pixels. The command of docs/reports.md reads each as a user's own table or folder: six ways, 100, 500
and all labels, five seeds, two runs at a time, one report. Writes docs/results/which_transfer.json: the wall time of
the whole command, and for each way and number of labels the accuracy, the time of a run and the difference to training
from scratch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from tl_lab.results.folder.files import write_json
from tl_lab.results.tables.findings import find

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "which_transfer.json"
SENTENCES = 2000


def texts(folder: Path) -> list[str]:
    """Write a table of sentences of SST-2, and give the overrides that read it."""
    sentences = pd.read_csv(Path(os.environ["TL_LAB_DATA"]) / "text" / "sst2" / "train.tsv", sep="\t", quoting=3)
    chosen = sentences.drop_duplicates("sentence").sample(SENTENCES, random_state=0)
    named = pd.DataFrame({"review": chosen["sentence"], "rating": chosen["label"].map({0: "negative", 1: "positive"})})
    named.to_csv(folder / "reviews.csv", index=False)
    columns = ["data.text_column=review", "data.label_column=rating"]
    return ["experiment=which_transfer_texts", f"data.path={folder / 'reviews.csv'}", *columns]


def photographs(folder: Path) -> list[str]:
    """Link a folder of photographs by class, and give the overrides that read it."""
    images = Path(os.environ["TL_LAB_DATA"]) / "office_caltech10" / "images" / "amazon"
    (folder / "photos").symlink_to(images, target_is_directory=True)
    small = ["backbone=squeezenet1_0", "backbone.resize_to=[64,64]"]
    return ["experiment=which_transfer", f"data.root={folder / 'photos'}", *small]


CASES: dict[str, Callable[[Path], list[str]]] = {"texts": texts, "photographs": photographs}


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Run the command of a case, and read its comparison."""
    with tempfile.TemporaryDirectory() as inputs:
        overrides = CASES[name](Path(inputs))
        began = time.perf_counter()
        command = [sys.executable, "train.py", *overrides, f"hydra.sweep.dir={folder / name}"]
        subprocess.run(command, cwd=ROOT, check=True)
        seconds = time.perf_counter() - began
    found = find(folder / name)
    assert set(found.runs["status"]) == {"completed"}
    assert found.budgets is not None
    metric, budgets = found.budgets
    return {
        "overrides": " ".join(Path(word).name if inputs in word else word for word in overrides),
        "runs": len(found.runs),
        "wall_s": seconds,
        "run_s": float(found.runs["duration_s"].sum()),
        "metric": metric,
        "budgets": [asdict(budget) for budget in budgets],
        "transfer": [
            {"setting": each.budget.setting, "mean": each.mean, "half": each.half, "p": each.p, "verdict": each.verdict}
            for each in found.transfer
        ],
        "date": date.today().isoformat(),
        "torch": torch.__version__.split("+")[0],
        "cores": len(os.sched_getaffinity(0)),
    }


def main() -> None:
    """Measure the named cases, all without a name, and keep the others' results."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    options.add_argument("--folder", type=Path, default=ROOT / "outputs" / "which_transfer")
    given = options.parse_args()
    if unknown := {*given.cases} - {*CASES}:
        options.error(f"there is no case {', '.join(sorted(unknown))}; valid: {', '.join(CASES)}")
    for name in given.cases or CASES:
        if (given.folder / name).exists():
            options.error(f"{given.folder / name} exists: give another --folder, or the time would be of a part")
        stored = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
        stored[name] = measured(name, given.folder.resolve())
        print(name, {key: stored[name][key] for key in ("runs", "wall_s", "transfer")})
        write_json(RESULT, stored)


if __name__ == "__main__":
    main()
