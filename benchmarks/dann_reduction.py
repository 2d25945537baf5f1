"""DANN on MNIST -> MNIST-M: target accuracy against updates, for both reductions of the domain loss.

    export TL_LAB_DATA=<data sets>
    uv run python benchmarks/dann_reduction.py run outputs/dann_reduction
    uv run python benchmarks/dann_reduction.py run outputs/dann_11000 --updates 11000 --reductions mean
    uv run python benchmarks/dann_reduction.py run outputs/dann_13000 --updates 13000 --reductions mean
    uv run python benchmarks/dann_reduction.py collect outputs/dann_reduction outputs/dann_11000 outputs/dann_13000

``run`` starts five runs of experiment=dann/mnist_to_mnistm_reduced for each reduction (about 20 minutes on a core for
25,000 updates); the same command resumes. ``collect`` writes its runs into docs/results/dann_reduction.csv, where other
reductions and lengths stay, and draws docs/images/dann_reduction.svg. The paper gives neither the reduction nor the
length of training. The lengths of 11,000 and 13,000 were interpolated between the target accuracies after other
numbers of updates, to find what the paper's value corresponds to; nothing else is selected by target labels, which draw
the curves.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from tl_lab.results.figures.drawing import GREY, INK, PALETTE, SOURCE, STYLE, TARGET
from tl_lab.results.folder.files import read_results
from tl_lab.results.tables.collecting import collect
from tl_lab.results.tables.papers import expected_by

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "results" / "dann_reduction.csv"
PICTURE = ROOT / "docs" / "images" / "dann_reduction.svg"
EXPERIMENT, METHOD, KEY = "dann/mnist_to_mnistm_reduced", "dann_paper", "domain_adaptation.reduction"
LOGGED = ["val/source/acc", "val/target/info_max", "oracle/target/acc"]
KINDS = ["reduction", "length"]
SHORT = 5000
EPOCH = 1000
COLOURS = {("sum", SHORT): SOURCE, ("mean", SHORT): TARGET, ("mean", 11_000): PALETTE[2]}


def run(folder: Path, updates: int, reductions: list[str]) -> int:
    """Start or resume the sweep; return its exit code."""
    words = [f"experiment={EXPERIMENT}", f"domain_adaptation={METHOD}", f"{KEY}={','.join(reductions)}"]
    words += [f"trainer.max_epochs={updates // EPOCH}", "seed=0,1,2,3,4"]
    command = [sys.executable, "train.py", "-m", *words, f"hydra.sweep.dir={folder}", "sweep.resume=true"]
    return subprocess.run(command, cwd=ROOT).returncode


def curves(folder: Path) -> pd.DataFrame:
    """Read one row for each validation of each run; the last one, after ``length`` updates, holds the test too."""
    runs = collect(folder)
    rows = []
    for _, one in runs[runs["status"] == "completed"].iterrows():
        place = Path(runs.attrs["root"]) / one["folder"]
        about = {"reduction": one[f"override.{KEY}"], "seed": one["seed"], "git_commit": one["git_commit"]}
        logged = pd.read_csv(place / "metrics.csv").dropna(subset=LOGGED)
        rows += [
            about | {"updates": int(row["step"])} | {name: row[name] for name in LOGGED} for _, row in logged.iterrows()
        ]
        rows[-1]["test/target/acc"] = read_results(place)["metrics"]["test/target/acc"]
        for row in rows[-len(logged) :]:
            row["length"] = rows[-1]["updates"]
    return pd.DataFrame(rows)


def merged(table: pd.DataFrame) -> pd.DataFrame:
    """Put the runs of ``table`` in the place of the stored ones of the same reduction, length and seed."""
    key = [*KINDS, "seed"]
    kept = pd.read_csv(OUT) if OUT.is_file() else table.iloc[:0]
    kept = kept[~kept[key].apply(tuple, axis=1).isin(set(table[key].apply(tuple, axis=1)))]
    columns = [*key, "git_commit", "updates", *LOGGED, "test/target/acc"]
    return pd.concat([kept, table])[columns].sort_values([*key, "updates"])


@matplotlib.rc_context(STYLE)
def picture(table: pd.DataFrame) -> Figure:
    """Draw the accuracy of every run, their mean, and the paper's value."""
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    ax = figure.subplots()
    for (reduction, length), runs in table.groupby(KINDS, sort=False):
        colour = COLOURS.get((str(reduction), int(length)), INK)
        for _, of in runs.groupby("seed"):
            ax.plot(of["updates"], 100 * of["oracle/target/acc"], color=colour, alpha=0.35, lw=1)
        mean = 100 * runs.groupby("updates")["oracle/target/acc"].mean()
        label = f"{reduction} of the two means, {length:,} updates"
        ax.plot(mean.index, mean, color=colour, lw=2.2, marker="o", ms=4, label=label)
    published = expected_by(EXPERIMENT).published[METHOD]
    ax.axhline(100 * published, color=GREY, ls="--", lw=1.2, label="the paper's value")
    ax.set(xlabel="updates", ylabel="target accuracy, %")
    ax.legend(frameon=False)
    return figure


def main() -> int:
    """Run or collect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["run", "collect"])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--updates", type=int, default=SHORT, help=f"length of training, a multiple of {EPOCH}")
    parser.add_argument("--reductions", nargs="+", choices=["sum", "mean"], default=["sum", "mean"])
    given = parser.parse_args()
    if given.updates < EPOCH or given.updates % EPOCH:
        parser.error(f"--updates is a multiple of {EPOCH}, not {given.updates}")
    if given.step == "run":
        if len(given.folders) > 1:
            parser.error("run takes one folder")
        return run(given.folders[0].resolve(), given.updates, given.reductions)
    table = merged(pd.concat([curves(folder) for folder in given.folders]))
    table.to_csv(OUT, index=False, lineterminator="\n")
    picture(table).savefig(PICTURE, metadata={"Date": None})
    print(table.dropna(subset=["test/target/acc"]).groupby(KINDS)["test/target/acc"].describe())
    return 0


if __name__ == "__main__":
    sys.exit(main())
