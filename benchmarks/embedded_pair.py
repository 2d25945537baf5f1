"""Store the results of printed_to_handwritten that README and runs refer to.

    uv run python train.py -m domain_adaptation=none,dann "seed=range(11,21)" hydra.sweep.dir=outputs/sweeps/pair
    uv run python train.py -m domain_adaptation.lambda_max=0 "seed=range(11,21)" hydra.sweep.dir=outputs/sweeps/lambda0
    uv run python benchmarks/embedded_pair.py outputs/sweeps/pair outputs/sweeps/lambda0
    uv run python docs/tables.py

Writes docs/results/embedded_pair.csv, a row a run, and tl_lab/results/folder/references.json, the source-only means by
comparison key.
"""

import csv
import datetime
import statistics
import sys
from pathlib import Path

from omegaconf import OmegaConf

from tl_lab.results.folder.files import read_results, write_json
from tl_lab.results.folder.references import STORED

OUT = Path(__file__).resolve().parent.parent / "docs" / "results" / "embedded_pair.csv"
METRICS = ("test/source/acc", "test/target/acc")


def setting(folder: Path) -> str:
    """Name a run's setting."""
    adaptation = OmegaConf.load(folder / "config.yaml").domain_adaptation
    if "DANN" not in adaptation._target_:
        return "source only"
    return "DANN" if adaptation.lambda_max else "lambda 0 (domain-specific batch-norm alone)"


def main() -> None:
    """Read the sweeps' runs and write both files."""
    rows = []
    for path in sorted(path for sweep in sys.argv[1:] for path in Path(sweep).glob("*/results.json")):
        results = read_results(path.parent)
        assert results["status"] == "completed", f"{path} is {results['status']}"
        rows.append(
            {
                "setting": setting(path.parent),
                "seed": results["seed"],
                **{name: results["metrics"][name] for name in METRICS},
                "duration_s": results["duration_s"],
                "comparison_key": results["comparison_key"],
                "git_commit": results["git_commit"],
                "date": datetime.date.fromtimestamp(path.stat().st_mtime).isoformat(),
                "torch": results["versions"]["torch"].split("+")[0],
                "threads": results["threads"],
                "device": results["device"],
            }
        )
    order = ["source only", "lambda 0 (domain-specific batch-norm alone)", "DANN"]
    rows.sort(key=lambda row: (order.index(row["setting"]), row["seed"]))
    with OUT.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    references = {}
    for key in {row["comparison_key"] for row in rows}:
        of_source = [row for row in rows if row["comparison_key"] == key and row["setting"] == "source only"]
        references[key] = {
            "metrics": {name: statistics.fmean(row[name] for row in of_source) for name in METRICS},
            "origin": f"mean over {len(of_source)} seeds, shipped with the project",
        }
    write_json(STORED, references)


if __name__ == "__main__":
    main()
