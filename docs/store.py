"""Keep an experiment's runs as a small table, from which README and docs/reproductions.md are written.

    uv run python train.py experiment=dann/amazon_reviews hydra.sweep.dir=outputs/sweeps/amazon
    uv run python docs/store.py dann/amazon_reviews outputs/sweeps/amazon
    uv run python docs/tables.py

Writes docs/results/reproductions/<experiment>.csv, a row a run; with ``--add`` beside the runs that are stored already.
Runs of another experiment, runs that are not completed, and runs whose command line changed more than the method, the
task and the seed are refused.
"""

import argparse
import io
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tl_lab.config import choices, compose
from tl_lab.errors import UserError
from tl_lab.results.collecting import collect
from tl_lab.results.files import read_results
from tl_lab.results.reproduction import Reproduces

OUT = Path(__file__).resolve().parent / "results" / "reproductions"


def stored(experiment: str, folders: list[str]) -> pd.DataFrame:
    """Read an experiment's runs.

    Args:
        experiment: its name, as ``dann/amazon_reviews``.
        folders: of its sweeps.

    Returns:
        A row a run: method, task, seed, test accuracies and the metric that is published, seconds, and what they were
        obtained with.

    Raises:
        UserError: a run belongs to something else, or is not completed.
    """
    expected = Reproduces.from_node(compose([f"experiment={experiment}"]).reproduces)
    if expected is None:
        raise UserError(f"conf/experiment/{experiment}.yaml states nothing to reproduce: it has no node 'reproduces'")
    runs = collect(folders)
    root = Path(runs.attrs["root"])
    keys = [f"override.{key}" for key in (expected.methods, expected.tasks, *expected.tuned) if key]
    allowed = {*keys, "override.seed", "override.experiment"}
    rows = []
    for _, run in runs.iterrows():
        results = read_results(root / run["folder"])
        changed = {name for name in runs if name.startswith("override.") and pd.notna(run[name])} - allowed
        if run["status"] != "completed":
            raise UserError(f"{run['folder']} is {run['status']}: {run['error']}")
        if results["choices"]["experiment"] != experiment:
            raise UserError(f"{run['folder']} is a run of experiment={results['choices']['experiment']}")
        if changed:
            raise UserError(f"{run['folder']} changes more than it may: {', '.join(sorted(changed))}")
        metrics = {name: run[name] for name in runs if name.startswith("test/") and name.endswith("/acc")}
        rows.append(
            {key: run[key] for key in keys}
            | {"seed": run["seed"], "oracle": run["oracle"]}
            | metrics
            | {name: run[name] for name in (expected.metric, expected.chosen_by) if name}
            | {"duration_s": round(run["duration_s"], 1)}
            | {"date": run["written"][:10], "git_commit": run["git_commit"], "device": run["device"]}
            | {"threads": results["threads"], "torch": results["versions"]["torch"].split("+")[0]}
            | {"data_protocol": _protocol(results["protocol"]), "config_hash": run["config_hash"]}
        )
    return _ordered(pd.DataFrame(rows))


def with_earlier(table: pd.DataFrame, place: Path) -> pd.DataFrame:
    """Put runs beside those that are stored, which keep every digit.

    Args:
        table: the new runs, as :func:`stored` gives them.
        place: the file of the earlier ones.

    Returns:
        All runs, each value as its text in the file.

    Raises:
        UserError: there is no such file, it has other columns, or a run is in both.
    """
    if not place.is_file():
        raise UserError(f"nothing is stored in {place.name} yet: leave --add out")
    new = io.StringIO(table.to_csv(index=False))
    earlier, added = (pd.read_csv(file, dtype=str, keep_default_na=False) for file in (place, new))
    if {*earlier} != {*added}:
        raise UserError(f"{place.name} has other columns than these runs: {sorted({*earlier} ^ {*added})}")
    return _ordered(pd.concat([earlier, added], ignore_index=True))


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    keys = [name for name in table if name.startswith("override.")]
    if table.duplicated([*keys, "seed"]).any():
        raise UserError("two runs have the same method, task and seed: name one sweep only")
    by_number = {"seed": table["seed"].astype(int)}
    return table.sort_values([*keys, "seed"], kind="stable", key=lambda values: by_number.get(values.name, values))


def _protocol(facts: Mapping[str, str]) -> str:
    """Give a pair's protocol, or a stream's scenario."""
    return facts.get("protocol") or facts.get("scenario", "")


def main() -> int:
    """Store the runs."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("experiment", choices=[*choices("experiment")["experiment"]])
    options.add_argument("folder", nargs="+", help="of its sweeps")
    options.add_argument("--add", action="store_true", help="keep what is stored: these are further seeds or tasks")
    given = options.parse_args()
    place = (OUT / given.experiment).with_suffix(".csv")
    try:
        table = stored(given.experiment, given.folder)
        table = with_earlier(table, place) if given.add else table
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    place.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(place, index=False, lineterminator="\n")
    print(f"{len(table)} runs stored in {place.relative_to(OUT.parent.parent.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
