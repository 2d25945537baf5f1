"""Experiments of papers: what is expected of each, what was measured here, and the small files that keep it.

Nothing here imports torch. Runs are kept in ``docs/results/reproductions/<experiment>.csv``, a row a run, from which
the tables of README.md and docs/reproductions.md are written.
"""

import io
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from tl_lab.config import choices, compose, conf_dir, describe
from tl_lab.errors import UserError, nearest
from tl_lab.results.folder.files import read_results, write_text
from tl_lab.results.names import leads, split_name
from tl_lab.results.tables.claims import Judged, judge
from tl_lab.results.tables.collecting import collect
from tl_lab.results.tables.reproduction import Crossed, Reproduces, chosen, cross, verdict_rows, verdicts
from tl_lab.results.tables.verdicts import Verdict

__all__ = [
    "Paper",
    "asked",
    "expected_by",
    "keep",
    "machine",
    "paper_of",
    "papers",
    "place_of",
    "stored",
    "with_earlier",
]

_LATER = ("machine", "command", "learned")  # columns that the first files do not have


@dataclass(frozen=True)
class Paper:
    """An experiment that states what it is held against, and what its stored runs say.

    Attributes:
        name: of the experiment, as ``dann/amazon_reviews``.
        what: it is, in a line.
        expected: what it is held against.
        runs: stored ones, a row each; None where it was not run here.
        asked: its methods that have a published number.
    """

    name: str
    what: str
    expected: Reproduces
    runs: pd.DataFrame | None
    asked: frozenset[str]

    @cached_property
    def crossed(self) -> Crossed | None:
        """Methods by tasks; None without runs."""
        if self.runs is None:
            return None
        runs, expected = self.runs, self.expected
        return cross(chosen(runs, expected), expected.metric, expected.methods, expected.tasks)

    @property
    def rows(self) -> list[list[str]]:
        """Method, measured, published, difference and verdict of each method that is in the paper and was run."""
        table = self.crossed
        return [] if table is None else verdict_rows(table, self.expected.metric, self.expected)

    @cached_property
    def decisions(self) -> dict[str, Verdict]:
        """What the seeds decide, by method: those in the paper that were run, with runs of every task and seed."""
        table = self.crossed
        return {} if table is None else verdicts(table, self.expected)

    @cached_property
    def claims(self) -> list[Judged]:
        """What the stored runs say of the experiment's own expectations."""
        if self.runs is None:
            return []
        return [judge(self.runs, claim, self.expected.metric) for claim in self.expected.expectations]

    @property
    def status(self) -> str:
        """``reproduced``, ``not reproduced``, ``undecided``, ``partly run``, ``not run here``, ``nothing published``.

        A reduced recipe reproduces nothing: it is ``within its tolerance`` or ``not within its tolerance``. Without
        published numbers the claims decide: ``as expected`` or ``not as expected``.
        """
        if self.runs is None:
            return "not run here"
        if not self.asked:
            return _status_of([claim.word for claim in self.claims])
        words = [verdict.word for method, verdict in self.decisions.items() if method in self.asked]
        if len(words) < len(self.asked):
            return "partly run"
        if any(word.startswith("no,") for word in words):
            return "not within its tolerance" if "reduced" in self.name else "not reproduced"
        if "undecided" in words:
            return "undecided"
        return "within its tolerance" if "reduced" in self.name else "reproduced"

    @property
    def reached(self) -> str:
        """How many methods lie within the tolerance, or claims hold: ``2 of 3``; nothing without either."""
        if not self.asked and self.claims:
            return f"{[claim.word for claim in self.claims].count('yes')} of {len(self.claims)} claims"
        words = [verdict.word for verdict in self.decisions.values()]
        return f"{words.count('yes')} of {len(self.asked)}" if words else ""

    @property
    def more_seeds(self) -> int | None:
        """How many more seeds are expected to decide every method; 0 if they are, None if no number is known to."""
        if self.runs is None or not self.asked or self.status == "partly run":
            return None
        needed = [0 if verdict.decided else verdict.more_seeds for verdict in self.decisions.values()]
        known = [number for number in needed if number is not None]
        return max(known) if len(known) == len(needed) else None

    @property
    def hours_to_decide(self) -> float | None:
        """How many hours these seeds take, by the mean time of the stored runs; None where that is not known."""
        more = self.more_seeds
        if more is None or self.runs is None:
            return None
        keys = [f"override.{key}" for key in (self.expected.methods, self.expected.tasks, *self.expected.tuned) if key]
        return more * float(self.runs.groupby(keys)["duration_s"].mean().sum()) / 3600

    @property
    def next_seed(self) -> int:
        """The first seed after those of the stored runs."""
        return 0 if self.runs is None else int(self.runs["seed"].max()) + 1

    @property
    def date(self) -> str:
        """Day of the newest run; empty without runs."""
        return "" if self.runs is None else str(self.runs["date"].max())


def _status_of(words: Sequence[str]) -> str:
    """Sum up the verdicts on claims."""
    if not words:
        return "nothing published"
    if "no" in words:
        return "not as expected"
    return "partly run" if "not run" in words else "undecided" if "undecided" in words else "as expected"


def papers() -> list[Paper]:
    """Read every experiment that states what it is held against, with its stored runs."""
    found = (paper_of(name) for name in choices("experiment")["experiment"])
    return [paper for paper in found if paper is not None]


def paper_of(name: str) -> Paper | None:
    """Read an experiment with its stored runs; None where it states nothing to be held against."""
    file = choices("experiment")["experiment"][name]
    expected = Reproduces.from_node(compose([f"experiment={name}"]).reproduces)
    if expected is None:
        return None
    place = place_of(name)
    # what was swept is a name, also where it looks like a number
    names = {f"override.{key}": str for key in (expected.methods, expected.tasks, *expected.tuned) if key}
    runs = pd.read_csv(place, dtype=names) if place.exists() else None
    return Paper(name, describe(file), expected, runs, asked(file, expected))


def asked(file: Path, expected: Reproduces) -> frozenset[str]:
    """Name the methods that an experiment runs and the paper has; what else is published is beside the point.

    Args:
        file: of the experiment.
        expected: what it is held against.
    """
    content: Any = OmegaConf.to_container(OmegaConf.load(file))
    params = ((content.get("hydra") or {}).get("sweeper") or {}).get("params") or {}
    swept = [text.strip() for text in str(params.get(expected.methods, "")).split(",")]
    own = [str(entry.get(f"override /{expected.methods}")) for entry in content["defaults"] if isinstance(entry, dict)]
    return frozenset(expected.published) & frozenset(swept if expected.methods in params else own)


def expected_by(experiment: str) -> Reproduces:
    """Read what an experiment is held against.

    Raises:
        UserError: there is no such experiment, or it states nothing to reproduce.
    """
    names = choices("experiment")["experiment"]
    if experiment not in names:
        raise UserError(f"there is no experiment {experiment!r}; {nearest(experiment, names)}")
    expected = Reproduces.from_node(compose([f"experiment={experiment}"]).reproduces)
    if expected is None:
        raise UserError(f"conf/experiment/{experiment}.yaml states nothing to reproduce: it has no node 'reproduces'")
    return expected


def place_of(experiment: str) -> Path:
    """Name the file of an experiment's runs: in the repository, or among the outputs of an installed package."""
    repository = conf_dir().parent / "docs" / "results"
    outputs = Path(os.environ.get("TL_LAB_OUTPUTS", "outputs"))
    root = repository if repository.is_dir() else outputs
    return root / "reproductions" / f"{experiment}.csv"


def stored(experiment: str, folders: Sequence[str | Path], command: str = "") -> pd.DataFrame:
    """Read an experiment's runs as they are kept.

    Args:
        experiment: its name.
        folders: of its sweeps.
        command: that made them on this machine; empty where that is not known.

    Returns:
        A row a run: method, task, seed, leading test metrics and the metric that is published, seconds, and what they
        were obtained with.

    Raises:
        UserError: a run belongs to something else, changes more than the method, the task and the seed, or is not
            completed.
    """
    expected = expected_by(experiment)
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
        changed |= set(str(run["tuned"]).split())
        if changed:
            raise UserError(f"{run['folder']} changes more than it may: {', '.join(sorted(changed))}")
        metrics = {name: run[name] for name in runs if split_name(name).split == "test" and leads(name)}
        rows.append(
            {key: _chosen(run, key, results) for key in keys}
            | {"seed": run["seed"], "oracle": run["oracle"]}
            | metrics
            | {name: run[name] for name in (expected.metric, expected.chosen_by) if name}
            | {"duration_s": round(run["duration_s"], 1)}
            | {"date": run["written"][:10], "git_commit": run["git_commit"], "device": run["device"]}
            | {"threads": results["threads"], "torch": results["versions"]["torch"].split("+")[0]}
            | {"data_protocol": _protocol(results["protocol"]), "config_hash": run["config_hash"]}
            | {"machine": machine() if command else "", "command": command}
            | {"learned": run["parameters_trainable"]}
        )
    return _ordered(pd.DataFrame(rows))


def _chosen(run: Any, key: str, results: Mapping[str, Any]) -> Any:
    """What was swept, or the experiment's own choice where nothing was."""
    return run[key] if key in run else results["choices"].get(key.removeprefix("override."))


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
    earlier = earlier.assign(**{name: "" for name in _LATER if name not in earlier})
    if {*earlier} != {*added}:
        raise UserError(f"{place.name} has other columns than these runs: {sorted({*earlier} ^ {*added})}")
    return _ordered(pd.concat([earlier, added], ignore_index=True))


def keep(experiment: str, table: pd.DataFrame, add: bool = False) -> Path:
    """Write an experiment's runs to its file.

    Args:
        experiment: its name.
        table: as :func:`stored` gives it.
        add: keep what is stored: these are further seeds or tasks.

    Raises:
        UserError: the runs come from code that was never committed, or do not fit to those that are stored.
    """
    place = place_of(experiment)
    if table["git_commit"].isna().any() or table["git_commit"].str.contains("changes").any():
        raise UserError(
            f"{place.name} keeps runs of committed code only, and some of these are not: commit, and run again"
        )
    table = with_earlier(table, place) if add else table
    return write_text(place, table.to_csv(index=False, lineterminator="\n"))


def machine() -> str:
    """Name this machine's processor and the number of its cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    keys = [name for name in table if name.startswith("override.")]
    if table.duplicated([*keys, "seed"]).any():
        raise UserError("two runs have the same method, task and seed: name one sweep only")
    by_number = {"seed": table["seed"].astype(int)}
    return table.sort_values([*keys, "seed"], kind="stable", key=lambda values: by_number.get(values.name, values))


def _protocol(facts: Mapping[str, str]) -> str:
    """Give a pair's protocol, a stream's scenario, or the size of episodes."""
    return next((facts[name] for name in ("protocol", "scenario", "episodes") if facts.get(name)), "")
