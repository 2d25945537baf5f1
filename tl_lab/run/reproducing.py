"""Repetition of a run from its saved configuration, with a bitwise comparison of the results."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tl_lab.config.stored import read_stored
from tl_lab.config.trust import ALLOW, check_foreign
from tl_lab.errors import UserError
from tl_lab.results.folder.files import RESULTS, SCHEMA, not_completed, read_results, write_json, write_text

__all__ = ["Reproduction", "compare_runs", "reproduce"]

_LOGGED = "metrics.csv"
_MOST_SHOWN = 20
_LARGEST_BYTES = 2**20
# possible reasons for differing numbers, by the key in results.json
_CIRCUMSTANCES = {
    "config_hash": "configuration",
    "data_hash": "data",
    "git_commit": "code",
    "device": "device",
    "machine": "machine",
    "threads": "threads",
}
_RECORDED_LATER = {"machine"}  # keys that older records lack


@dataclass
class Reproduction:
    """Result of repeating a run.

    Attributes:
        folder: of the new run.
        metrics: number of final metrics compared.
        logged: number of values of ``metrics.csv`` compared.
        differences: a line for each metric that differs, and for the first logged value that does.
        circumstances: other differences: versions, device, threads, code, data.
    """

    folder: Path
    metrics: int = 0
    logged: int = 0
    differences: list[str] = field(default_factory=list)
    circumstances: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether all numbers are identical to the last bit."""
        return not self.differences

    def report(self) -> str:
        """Format the result as lines."""
        lines = [f"{self.metrics} metrics and {self.logged:,} logged values compared; the new run: {self.folder}"]
        if self.equal:
            lines.append("equal to the last bit")
        else:
            more = len(self.differences) - _MOST_SHOWN
            lines += ["not equal:", *(f"  {text}" for text in self.differences[:_MOST_SHOWN])]
            lines += [f"  and {more} more"] if more > 0 else []
        if self.circumstances:
            lines += ["other differences:" if not self.equal else "despite other differences:"]
            lines += [f"  {text}" for text in self.circumstances]
        elif not self.equal:
            lines.append("versions, device, threads, code and data are the same")
        return "\n".join(lines)


def reproduce(run: str | Path, output: str | Path | None = None, allow: Sequence[str] = ()) -> Reproduction:
    """Repeat a saved configuration in a separate process and folder, and compare every metric.

    Figures and W&B, which change no number, are omitted. Data are read from the folders that the first run used, if
    these still exist.

    Args:
        run: the first run's folder.
        output: the new run's folder, which must not hold a run; None for ``outputs/reproduced/<name>/<time>``.
        allow: names in addition to the project's own that the configuration may use (see :mod:`tl_lab.config.trust`).

    Returns:
        The comparison.

    Raises:
        UserError: the first run did not complete, its configuration is damaged or uses a name that is not allowed, or
            the new run failed.
    """
    first = Path(run)
    before = read_results(first)
    if before.get("status") != "completed":
        raise UserError(
            f"{first} {not_completed(before)}, so that there are no numbers to compare: give a completed run"
        )
    cfg = read_stored(first, ("data", "strategy", "backbone", "logger"))
    check_foreign(cfg, first / "config.yaml", allow)
    name = first.resolve().name
    folder = (
        Path(output) if output is not None else _root() / "reproduced" / name / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    )
    if (folder / RESULTS).exists() or (folder / "config.yaml").exists():
        raise UserError(f"{folder} contains a run, which would be overwritten: name another folder")
    cfg.figures, cfg.resume, cfg.logger = False, None, {"mode": "disabled"}
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg))
    (folder / ".hydra").mkdir(exist_ok=True)
    for file in ((first / ".hydra" / f"{name}.yaml") for name in ("config", "hydra", "overrides")):
        if file.is_file() and file.stat().st_size <= _LARGEST_BYTES:
            shutil.copy(file, folder / ".hydra")
    # a folder with a configuration and no checkpoint is treated as a run that resumes from its beginning
    known = {"choices": before.get("choices") or {}, "data_places": before.get("data_places") or {}}
    write_json(folder / RESULTS, {"schema": SCHEMA, "status": "running", **known})
    package = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    allowed = ",".join(filter(None, [os.environ.get(ALLOW), *allow]))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(package), ALLOW: allowed}
    command = [sys.executable, "-m", "tl_lab", "train", f"resume={folder}"]
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        raise UserError(f"the run could not be repeated: {read_results(folder).get('error') or f'see {folder}'}")
    return compare_runs(first, folder)


def compare_runs(first: Path, second: Path) -> Reproduction:
    """Compare two completed runs of one configuration, number by number.

    Args:
        first: folder of the first.
        second: folder of the second.
    """
    before, after = read_results(first), read_results(second)
    found = Reproduction(second)
    old, new = before.get("metrics") or {}, after.get("metrics") or {}
    for name in {**old, **new}:
        found.metrics += 1
        if name not in old or name not in new:
            found.differences.append(f"{name}: only in the {'first' if name in old else 'second'} run")
        elif old[name] != new[name]:
            by = f" (by {new[name] - old[name]:+.3g})" if None not in (old[name], new[name]) else ""
            found.differences.append(f"{name}: {old[name]!r} and {new[name]!r}{by}")
    logged = [(run / _LOGGED).exists() for run in (first, second)]
    if all(logged):
        _compare_logged(first / _LOGGED, second / _LOGGED, found)
    elif any(logged):
        found.differences.append(f"{_LOGGED}: only in the {'first' if logged[0] else 'second'} run")
    found.circumstances = _circumstances(before, after)
    return found


def _compare_logged(first: Path, second: Path, found: Reproduction) -> None:
    """Compare the values logged in training; the first differing value shows when the runs diverged."""
    old, new = _cells(first), _cells(second)
    found.logged = len(old)
    apart = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if apart:
        step, name = min(apart)
        values = f"{old.get((step, name), 'nothing')} and {new.get((step, name), 'nothing')}"
        found.differences.append(
            f"{_LOGGED}: {len(apart):,} of {len(old):,} values, first at update {step}: {name}: {values}"
        )


def _cells(path: Path) -> dict[tuple[int, str], str]:
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        return {
            (int(row["step"]), name): cell
            for row in csv.DictReader(file)
            for name, cell in row.items()
            if cell and name not in ("step", "epoch")
        }


def _circumstances(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{words}: {before.get(key)} and {after.get(key)}"
        for key, words in _CIRCUMSTANCES.items()
        if before.get(key) != after.get(key) and (key in before or key not in _RECORDED_LATER)
    ]
    old, new = (content.get("versions") or {} for content in (before, after))
    lines += [
        f"{package}: {old.get(package)} and {new.get(package)}"
        for package in {**old, **new}
        if old.get(package) != new.get(package)
    ]
    old, new = ((content.get("weights") or {}).get("sha256") for content in (before, after))
    return [*lines, *([f"weights that the backbone started from: {old} and {new}"] if old != new else [])]


def _root() -> Path:
    return Path(os.environ.get("TL_LAB_OUTPUTS", "outputs"))
