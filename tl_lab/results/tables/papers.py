"""Experiments from papers: published values, measured values, and the files that store the measured values.

This module does not import torch. Runs are stored in ``docs/results/reproductions/<experiment>.csv``, with one row per
run. The tables of README.md and docs/reproductions.md are generated from these files.
"""

import io
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from tl_lab.config import choices, compose, conf_dir, describe
from tl_lab.errors import UserError, nearest
from tl_lab.results.folder.files import SWEEP, not_completed, read_results, write_text
from tl_lab.results.names import leads, split_name
from tl_lab.results.tables.claims import Judged, judge
from tl_lab.results.tables.collecting import collect
from tl_lab.results.tables.reproduction import Crossed, Reproduces, arrange, chosen, verdict_rows, verdicts
from tl_lab.results.tables.verdicts import Verdict

__all__ = [
    "Paper",
    "asked",
    "command_of",
    "expected_by",
    "keep",
    "paper_of",
    "papers",
    "place_of",
    "stored",
    "with_earlier",
]

_LATER = ("machine", "command", "learned")  # columns that older files do not have


@dataclass(frozen=True)
class Paper:
    """An experiment with published values, and its stored runs.

    Attributes:
        name: name of the experiment, for example ``dann/amazon_reviews``.
        what: description in one line.
        expected: the published values.
        runs: stored runs, one row each; None if the experiment was not run here.
        asked: methods of the experiment that have a published value.
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
        return arrange(self.runs, self.expected)

    @property
    def rows(self) -> list[list[str]]:
        """A table row for each published method that was run: method, measured, published, difference, verdict."""
        table = self.crossed
        return [] if table is None else verdict_rows(table, self.expected.metric, self.expected)

    @cached_property
    def decisions(self) -> dict[str, Verdict]:
        """Verdict of each published method that has runs of every task and seed, by the name of the method."""
        table = self.crossed
        return {} if table is None else verdicts(table, self.expected)

    @cached_property
    def claims(self) -> list[Judged]:
        """Results of the experiment's claims on the stored runs."""
        if self.runs is None:
            return []
        # the tuned keys may have different selected values on the two sides of a claim
        runs = chosen(self.runs, self.expected).drop(columns=[f"override.{key}" for key in self.expected.tuned])
        return [judge(runs, claim, self.expected.metric) for claim in self.expected.expectations]

    @property
    def status(self) -> str:
        """``reproduced``, ``not reproduced``, ``undecided``, ``partly run``, ``not run here``, ``nothing published``.

        A reduced recipe, or one that deviates from the published protocol, is not a reproduction, so its status is
        ``within its tolerance`` or ``not within its tolerance``. Without published numbers, the claims determine the
        status, ``as expected`` or ``not as expected``.
        """
        if self.runs is None:
            return "not run here"
        if not self.asked:
            return _status_of([claim.word for claim in self.claims])
        words = [verdict.word for method, verdict in self.decisions.items() if method in self.asked]
        if len(words) < len(self.asked):
            return "partly run"
        if any(word.startswith("no,") for word in words):
            return "not reproduced" if self.same_recipe else "not within its tolerance"
        if "undecided" in words:
            return "undecided"
        return "reproduced" if self.same_recipe else "within its tolerance"

    @property
    def open(self) -> bool:
        """Whether further seeds could decide more: a published method, or without one a claim, is undecided."""
        if not self.asked:
            return self.status == "undecided"
        if self.status in ("not run here", "partly run"):
            return False
        return not all(self.decisions[method].decided for method in self.asked)

    @property
    def same_recipe(self) -> bool:
        """Whether the experiment follows the published protocol: it is neither reduced nor states a deviation."""
        return "reduced" not in self.name and self.expected.deviation is None

    @property
    def reached(self) -> str:
        """How many methods are within the tolerance, or how many claims hold: ``2 of 3``; empty if there are none."""
        if not self.asked and self.claims:
            return f"{[claim.word for claim in self.claims].count('yes')} of {len(self.claims)} claims"
        words = [verdict.word for verdict in self.decisions.values()]
        return f"{words.count('yes')} of {len(self.asked)}" if words else ""

    @property
    def more_seeds(self) -> int | None:
        """Expected number of further seeds that decide all methods, or without a published one all claims.

        It is 0 if all are decided, and None if it is unknown.
        """
        if self.runs is None or self.status == "partly run":
            return None
        if self.asked:
            asked = [self.decisions[method] for method in self.asked]
            needed = [0 if verdict.decided else verdict.more_seeds for verdict in asked]
        else:
            needed = [claim.more_seeds if claim.word == "undecided" else 0 for claim in self.claims]
        known = [number for number in needed if number is not None]
        return max(known, default=None) if len(known) == len(needed) else None

    @property
    def hours_to_decide(self) -> float | None:
        """Expected hours for these seeds, from the mean time of the stored runs; None if unknown."""
        more = self.more_seeds
        if more is None or self.runs is None:
            return None
        keys = [f"override.{key}" for key in self.expected.swept]
        return more * float(self.runs.groupby(keys)["duration_s"].mean().sum()) / 3600

    @property
    def next_seed(self) -> int:
        """The smallest seed above those of the stored runs."""
        return 0 if self.runs is None else int(self.runs["seed"].max()) + 1

    @property
    def date(self) -> str:
        """Date of the newest run; empty without runs."""
        return "" if self.runs is None else str(self.runs["date"].max())


def _status_of(words: Sequence[str]) -> str:
    """Summarise the verdicts on claims."""
    if not words:
        return "nothing published"
    if "no" in words:
        return "not as expected"
    return "partly run" if "not run" in words else "undecided" if "undecided" in words else "as expected"


def papers() -> list[Paper]:
    """Read all experiments with published values, and their stored runs."""
    found = (paper_of(name) for name in choices("experiment")["experiment"])
    return [paper for paper in found if paper is not None]


def paper_of(name: str) -> Paper | None:
    """Read an experiment and its stored runs; None if it has no published values."""
    file = choices("experiment")["experiment"][name]
    expected = Reproduces.from_node(compose([f"experiment={name}"]).reproduces)
    if expected is None:
        return None
    place = place_of(name)
    # swept values are text, even if they look like numbers or like a missing value (null)
    names = {f"override.{key}": str for key in expected.swept}
    runs = pd.read_csv(place, dtype=names, keep_default_na=False, na_values=[""]) if place.exists() else None
    return Paper(name, describe(file), expected, runs, asked(file, expected))


def asked(file: Path, expected: Reproduces) -> frozenset[str]:
    """List the methods that an experiment runs and the paper reports; other published methods are ignored.

    Args:
        file: configuration file of the experiment.
        expected: the published values.
    """
    own: list[str] = []
    for content in _with_bases(file):
        params = ((content.get("hydra") or {}).get("sweeper") or {}).get("params") or {}
        if expected.methods in params:
            swept = [text.strip() for text in str(params[expected.methods]).split(",")]
            return frozenset(expected.published) & frozenset(swept)
        overrides = [entry for entry in content.get("defaults") or [] if isinstance(entry, dict)]
        own = own or [str(entry[key]) for entry in overrides if (key := f"override /{expected.methods}") in entry]
    return frozenset(expected.published) & frozenset(own)


def _with_bases(file: Path) -> Iterator[dict[str, Any]]:
    """Read an experiment's file, and then the files of experiments that it is based on."""
    content: Any = OmegaConf.to_container(OmegaConf.load(file))
    yield content
    own = [folder for folder in file.parents if folder.name == "experiment"][:1]
    for entry in content.get("defaults") or []:
        if isinstance(entry, str) and entry != "_self_":
            # an experiment of a further folder may be based on one of the project
            places = (folder / f"{entry}.yaml" for folder in (*own, conf_dir() / "experiment"))
            if place := next((place for place in places if place.is_file()), None):
                yield from _with_bases(place)


def expected_by(experiment: str) -> Reproduces:
    """Read the published values of an experiment.

    Raises:
        UserError: the experiment is unknown, or has no published values.
    """
    names = choices("experiment")["experiment"]
    if experiment not in names:
        raise UserError(f"there is no experiment {experiment!r}; {nearest(experiment, names)}")
    expected = Reproduces.from_node(compose([f"experiment={experiment}"]).reproduces)
    if expected is None:
        raise UserError(f"conf/experiment/{experiment}.yaml has no published values (no node 'reproduces')")
    return expected


def place_of(experiment: str) -> Path:
    """Return the file of an experiment's runs: in the repository or, for an installed package, among the outputs."""
    repository = conf_dir().parent / "docs" / "results"
    outputs = Path(os.environ.get("TL_LAB_OUTPUTS", "outputs"))
    root = repository if repository.is_dir() else outputs
    return root / "reproductions" / f"{experiment}.csv"


def stored(experiment: str, folders: Sequence[str | Path], command: str = "") -> pd.DataFrame:
    """Read an experiment's runs, and convert them to the stored format.

    Args:
        experiment: name of the experiment.
        folders: folders of its sweeps.
        command: command that ran them; empty: the one that their sweep recorded.

    Returns:
        One row per run: method, task, seed, main test metrics, the published metric, duration in seconds, and details
        such as date, commit, device and versions.

    Raises:
        UserError: a run is not completed, belongs to another experiment, or overrides other keys than method, task and
            seed.
    """
    expected = expected_by(experiment)
    runs = collect(folders)
    root = Path(runs.attrs["root"])
    keys = [f"override.{key}" for key in expected.swept]
    allowed = {*keys, "override.seed", "override.experiment"}
    rows = []
    for _, run in runs.iterrows():
        results = read_results(root / run["folder"])
        changed = {name for name in runs if name.startswith("override.") and pd.notna(run[name])} - allowed
        if run["status"] != "completed":
            raise UserError(f"{run['folder']} {not_completed(run)}")
        if results["choices"]["experiment"] != experiment:
            raise UserError(f"{run['folder']} is a run of experiment={results['choices']['experiment']}")
        changed |= set(str(run["tuned"]).split())
        if changed:
            raise UserError(
                f"{run['folder']} overrides other keys than method, task and seed: {', '.join(sorted(changed))}"
            )
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
            | {"machine": results.get("machine", ""), "command": command or command_of(root / run["folder"])}
            | {"learned": run["parameters_trainable"]}
        )
    return _ordered(pd.DataFrame(rows))


def command_of(run: Path) -> str:
    """Return the command of the sweep that a run belongs to, without where it was written; empty if unknown."""
    outside = ("hydra.", "hydra/", "sweep.", "changed_data=")
    try:
        words = json.loads((run.parent / SWEEP).read_text(encoding="utf-8"))["overrides"]
        if not isinstance(words, list):
            return ""
        kept = [word for word in words if not word.startswith(outside)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # absent, or not as sweeps write it
        return ""
    return shlex.join(["python", "train.py", "-m", *kept])


def _chosen(run: Any, key: str, results: Mapping[str, Any]) -> Any:
    """Return the swept value of a key, or the experiment's own choice if the key was not swept."""
    given = run.get(key)
    return given if pd.notna(given) else results["choices"].get(key.removeprefix("override."))


def with_earlier(table: pd.DataFrame, place: Path) -> pd.DataFrame:
    """Append runs to the stored ones, whose text is not changed.

    Args:
        table: the new runs, as returned by :func:`stored`.
        place: file of the earlier runs.

    Returns:
        All runs, with each value as its text in the file.

    Raises:
        UserError: the file does not exist or has other columns, or a run is in both.
    """
    if not place.is_file():
        raise UserError(f"nothing is stored in {place.name} yet: leave out --add")
    new = io.StringIO(table.to_csv(index=False))
    earlier, added = (pd.read_csv(file, dtype=str, keep_default_na=False) for file in (place, new))
    earlier = earlier.assign(**{name: "" for name in _LATER if name not in earlier})
    if {*earlier} != {*added}:
        raise UserError(f"{place.name} and these runs have different columns: {sorted({*earlier} ^ {*added})}")
    return _ordered(pd.concat([earlier, added], ignore_index=True))


def keep(experiment: str, table: pd.DataFrame, add: bool = False) -> Path:
    """Write an experiment's runs to its file.

    Args:
        experiment: name of the experiment.
        table: runs as returned by :func:`stored`.
        add: whether to keep the stored runs and add the new ones (further seeds or tasks), instead of replacing them.

    Returns:
        The path of the file.

    Raises:
        UserError: the runs come from uncommitted code, or do not fit the stored ones.
    """
    place = place_of(experiment)
    if table["git_commit"].isna().any() or table["git_commit"].str.contains("changes").any():
        raise UserError(
            f"{place.name} stores only runs of committed code, and some of these are not: commit, and run again"
        )
    table = with_earlier(table, place) if add else table
    return write_text(place, table.to_csv(index=False, lineterminator="\n"))


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    keys = [name for name in table if name.startswith("override.")]
    if table.duplicated([*keys, "seed"]).any():
        raise UserError("two runs have the same method, task and seed: give only one sweep")
    by_number = {"seed": table["seed"].astype(int)}
    return table.sort_values([*keys, "seed"], kind="stable", key=lambda values: by_number.get(values.name, values))


def _protocol(facts: Mapping[str, str]) -> str:
    """Return a pair's protocol, a stream's scenario, or the size of episodes."""
    return next((facts[name] for name in ("protocol", "scenario", "episodes") if facts.get(name)), "")
