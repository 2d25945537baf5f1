r"""Keep how the strengths of continual learning's penalties were chosen, as a small table.

    uv run python train.py -m experiment=incremental_learning/split_mnist_task seed=100 \
        strategy=si strategy.si_c=1,10,100 hydra.sweep.dir=outputs/sweeps/si
    uv run python docs/strengths.py outputs/sweeps/si
    uv run python docs/tables.py

Adds the sweeps' completed runs to docs/results/strengths.csv, a row a run: what was tried, and its accuracy on the
tasks' validation sets after the last task. Test accuracies are left out: they choose nothing.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, cast

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from tl_lab.errors import UserError
from tl_lab.results.folder.files import read_results
from tl_lab.results.tables.collecting import collect

OUT = Path(__file__).resolve().parent / "results" / "strengths.csv"
_STRENGTHS = ("ewc_lambda", "si_c", "mas_lambda")


def tried(folders: list[str]) -> pd.DataFrame:
    """Read the runs of sweeps over strengths.

    Args:
        folders: of the sweeps.

    Returns:
        A row a completed run.

    Raises:
        UserError: a run has no strength, or was not validated.
    """
    runs = collect(folders)
    rows = []
    for folder in runs.loc[runs["status"] == "completed", "folder"]:
        place = Path(runs.attrs["root"]) / folder
        results, cfg = read_results(place), cast(DictConfig, OmegaConf.load(place / "config.yaml"))
        name = next((name for name in _STRENGTHS if name in cfg.strategy), None)
        if name is None or "val/acc" not in results["metrics"]:
            raise UserError(f"{place} is no validated run of a strategy with a strength ({', '.join(_STRENGTHS)})")
        choices: dict[str, Any] = results["choices"]
        rows.append(
            {
                "data": choices["data"],
                "scenario": cfg.data.scenario,
                "tasks": cfg.data.num_tasks,
                "updates_per_task": cfg.data.batches_per_epoch * cfg.trainer.max_epochs,
                "strategy": choices["strategy"].rpartition("/")[2],
                "estimator": (cfg.strategy.get("fisher") or {}).get("estimator", ""),
                "option": name,
                "value": float(cfg.strategy[name]),
                "seed": results["seed"],
                "val_acc": results["metrics"]["val/acc"],
                "git_commit": results["git_commit"],
            }
        )
    return pd.DataFrame(rows)


def main() -> int:
    """Add the runs."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", nargs="+", help="of the sweeps")
    try:
        table = tried(options.parse_args().folder)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    if OUT.exists():
        table = pd.concat([pd.read_csv(OUT, keep_default_na=False), table])
    keys = [name for name in table if name not in ("val_acc", "git_commit")]
    table = table.drop_duplicates(keys, keep="last").sort_values(keys, kind="stable")
    table.to_csv(OUT, index=False, lineterminator="\n")
    print(f"{len(table)} runs in {OUT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
