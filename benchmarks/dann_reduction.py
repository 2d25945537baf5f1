"""DANN on MNIST -> MNIST-M: target accuracy against updates, for both reductions of the domain loss.

    TL_LAB_DATA=<data sets> uv run python benchmarks/dann_reduction.py run outputs/dann_reduction
    uv run python benchmarks/dann_reduction.py collect outputs/dann_reduction

``run`` starts ten runs of experiment=dann/mnist_to_mnistm_reduced (5,000 updates, 40 minutes on a core); the same
command resumes. ``collect`` writes docs/results/dann_reduction.csv and docs/images/dann_reduction.svg. The paper gives
neither the reduction nor the length of training. Target labels only draw the curves: nothing is selected.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from tl_lab.results.figures.drawing import GREY, SOURCE, STYLE, TARGET
from tl_lab.results.folder.files import read_results
from tl_lab.results.tables.collecting import collect
from tl_lab.results.tables.papers import expected_by

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "results" / "dann_reduction.csv"
PICTURE = ROOT / "docs" / "images" / "dann_reduction.svg"
EXPERIMENT, METHOD, KEY = "dann/mnist_to_mnistm_reduced", "dann_paper", "domain_adaptation.reduction"
LOGGED = ["val/source/acc", "val/target/info_max", "oracle/target/acc"]
COLOURS = {"sum": SOURCE, "mean": TARGET}


def run(folder: Path) -> int:
    """Start or resume the sweep; return its exit code."""
    words = [f"experiment={EXPERIMENT}", f"domain_adaptation={METHOD}", f"{KEY}=sum,mean", "seed=0,1,2,3,4"]
    command = [sys.executable, "train.py", "-m", *words, f"hydra.sweep.dir={folder}", "sweep.resume=true"]
    return subprocess.run(command, cwd=ROOT).returncode


def curves(folder: Path) -> pd.DataFrame:
    """Read one row for each validation of each run, and one for its test, whose ``updates`` are those of the run."""
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
    return pd.DataFrame(rows).sort_values(["reduction", "seed", "updates"])


@matplotlib.rc_context(STYLE)
def picture(table: pd.DataFrame) -> Figure:
    """Draw the accuracy of every run, their mean, and the paper's value."""
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    ax = figure.subplots()
    for reduction, runs in table.groupby("reduction", sort=False):
        colour = COLOURS[str(reduction)]
        for _, of in runs.groupby("seed"):
            ax.plot(of["updates"], 100 * of["oracle/target/acc"], color=colour, alpha=0.35, lw=1)
        mean = 100 * runs.groupby("updates")["oracle/target/acc"].mean()
        ax.plot(mean.index, mean, color=colour, lw=2.2, marker="o", ms=4, label=f"{reduction} of the two means")
    published = expected_by(EXPERIMENT).published[METHOD]
    ax.axhline(100 * published, color=GREY, ls="--", lw=1.2, label="the paper's value")
    ax.set(xlabel="updates", ylabel="target accuracy, %")
    ax.legend(frameon=False)
    return figure


def main() -> int:
    """Run or collect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["run", "collect"])
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    if given.step == "run":
        return run(given.folder.resolve())
    table = curves(given.folder)
    table.to_csv(OUT, index=False, lineterminator="\n")
    picture(table).savefig(PICTURE, metadata={"Date": None})
    print(table.dropna(subset=["test/target/acc"]).groupby("reduction")["test/target/acc"].describe())
    return 0


if __name__ == "__main__":
    sys.exit(main())
