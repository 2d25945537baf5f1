"""Collect the runs in folders as rows of a table.

This module does not import torch.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_lab.config.stored import read_yaml
from tl_lab.errors import UserError
from tl_lab.results.folder.files import RESULTS, read_results
from tl_lab.results.folder.selection import reached
from tl_lab.results.names import metric_rank, named_by_unit, natural
from tl_lab.results.tables.reproduction import Reproduces

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FIRST", "OVERRIDE", "SELECTION", "Folders", "collect", "expected_of"]

FIRST = (
    "folder", "setting", "seed", "status", "error", "oracle", "trial", "tuned", "duration_s",
    "parameters_total", "parameters_trainable",
    "train_samples", "name", "device", "tested_checkpoint", "config_hash", "data_hash", "git_commit", "versions",
    "protocol", "written", "overrides",
)  # fmt: skip
"""Columns of :func:`collect` that are neither overrides nor metrics."""
OVERRIDE = "override."
"""Prefix of the column of an override, before its key."""
SELECTION = "selection/"
"""Prefix of the columns with the target's main metric at the epoch that a validator would have chosen."""
Folders = str | Path | Iterable[str | Path]
"""One folder, or several folders."""
_NEVER_OF_A_TRIAL = ("test/", "oracle/", SELECTION)
_ABOUT_THE_SWEEP = ("sweep.", "changed_data")  # not settings of a run
_NEVER_ENTERED = {"checkpoints", "figures", "wandb", ".git", ".hydra"}


def collect(folders: Folders) -> "pd.DataFrame":
    """Collect the runs in one or several folders and their sub-folders, one row each.

    A run is a folder with ``results.json`` or ``.hydra/overrides.yaml``. A run without results, or with damaged
    results, also has a row, which states the reason. Runs of a folder are in natural order.

    Settings that a search chose for each run are part of its ``setting``, but do not have ``override.`` columns,
    because they are results of the search and not swept values (``tuned`` lists them). Trials of a search are omitted
    if there are other runs (``attrs["trials_left_out"]`` is their number). If there are only trials, they have no test
    scores, which must not be used for selection.

    Args:
        folders: folder of a sweep or of a run, or several of these.

    Returns:
        A table with the columns ``folder``; ``setting`` (the overrides that differ between runs, without the seed; it
        marks oracles, and the ``content_hash`` of the data if runs of the same setting read different files);
        ``seed``; ``status`` (completed, failed, running or missing) and ``error``; ``duration_s``; numbers of
        parameters; name, device, hashes, commit, versions, protocol; ``overrides`` as one text, and each override as
        ``override.<key>``; then the metrics under their names. ``attrs["objectives"]`` has for each run the name and
        value (larger is better) of the metric by which it was ranked, or None. ``attrs["scales"]`` has, by folder, the
        scores by model size of prompting runs; ``attrs["base_tasks"]`` has, by folder, the scores on the base model's
        own task before and after training.

    Raises:
        UserError: a folder does not exist, or none contains a run.
    """
    import pandas as pd

    roots = [Path(folders)] if isinstance(folders, str | os.PathLike) else [Path(folder) for folder in folders]
    for root in roots:
        if not root.is_dir():
            raise UserError(f"There is no folder {root}: give the folder of a run or of a sweep.")
    found = dict.fromkeys(run.resolve() for root in roots for run in _runs(root))
    if not found:
        raise UserError(f"There is no run below {', '.join(map(str, roots))}: give a folder whose runs have {RESULTS}.")
    common = Path(os.path.commonpath(found)) if len(found) > 1 else next(iter(found)).parent
    rows = [_row(run, str(run.relative_to(common))) for run in found]
    trials = [row["trial"] for row in rows]
    if all(trials):
        rows = [{name: value for name, value in row.items() if not name.startswith(_NEVER_OF_A_TRIAL)} for row in rows]
    elif any(trials):  # otherwise the winning trial would count as another seed of the chosen setting
        rows = [row for row in rows if not row["trial"]]
    objectives = [row.pop("_objective", None) for row in rows]
    scales = {row["folder"]: scale for row in rows if isinstance(scale := row.pop("_scale", None), dict)}
    base_tasks = {row["folder"]: task for row in rows if (task := row.pop("_base_task", None))}
    settings = _settings([row.pop("_overrides") for row in rows])
    settings = _distinguish(settings, [row.pop("_content", None) for row in rows])
    marked = [
        f"{setting} (oracle)" if row.get("oracle") else setting for row, setting in zip(rows, settings, strict=True)
    ]
    frame = pd.DataFrame([row | {"setting": setting} for row, setting in zip(rows, marked, strict=True)])
    names = [name for name in frame if name not in FIRST]
    overrides = [name for name in names if name.startswith(OVERRIDE)]
    metrics = sorted((name for name in names if name not in overrides), key=metric_rank)
    frame = frame.reindex(columns=[*FIRST, *overrides, *metrics])
    frame.attrs["root"], frame.attrs["trials_left_out"] = str(common), len(trials) - len(rows)
    frame.attrs["objectives"], frame.attrs["scales"], frame.attrs["base_tasks"] = objectives, scales, base_tasks
    return frame


def expected_of(runs: "pd.DataFrame") -> Reproduces | None:
    """Read the published values of the experiment from the runs' configurations; None if these differ."""
    nodes = []
    for folder in runs["folder"]:
        try:
            nodes.append(read_yaml(Path(runs.attrs["root"]) / folder / "config.yaml").get("reproduces"))
        except (UserError, AttributeError):
            continue
    if not nodes or any(node != nodes[0] for node in nodes):
        return None
    try:
        return Reproduces.from_node(nodes[0])
    except UserError:  # a configuration from elsewhere must not prevent the report
        return None


def _runs(root: Path) -> Iterator[Path]:
    """Yield the run folders among a folder and its sub-folders, in natural order (2 before 10)."""
    for path, folders, files in os.walk(root):
        if RESULTS in files or (".hydra" in folders and (Path(path) / ".hydra" / "overrides.yaml").is_file()):
            yield Path(path)
            folders[:] = [name for name in folders if name not in _NEVER_ENTERED]
        else:
            folders[:] = [name for name in folders if not name.startswith(".")]
        folders.sort(key=natural)


def _row(run: Path, folder: str) -> dict[str, Any]:
    overrides = _overrides(run / ".hydra" / "overrides.yaml")
    tuned = overrides.get("sweep.tuned", "").strip("'").split()
    row: dict[str, Any] = {
        "folder": folder,
        "trial": overrides.get("sweep.trial") == "true",
        "tuned": " ".join(tuned),
        "overrides": " ".join(f"{key}={value}" for key, value in overrides.items()),
        "_overrides": {key: value for key, value in overrides.items() if not key.startswith(_ABOUT_THE_SWEEP)},
        **{
            OVERRIDE + key: value
            for key, value in overrides.items()
            if key not in tuned and not key.startswith(_ABOUT_THE_SWEEP)
        },
    }
    try:
        results = read_results(run)
    except UserError as error:
        reason = str(error) if (run / RESULTS).exists() else f"ended before writing {RESULTS}"
        return row | {"status": "missing", "error": reason, "seed": _number(overrides.get("seed"))}
    parameters = results.get("parameters") or {}
    plain = ("oracle", "name", "device", "tested_checkpoint", "config_hash", "data_hash", "git_commit", "duration_s")
    row |= {name: results.get(name) for name in plain}
    row["_content"], row["_scale"] = results.get("content_hash"), results.get("scale")
    row["_base_task"] = (results.get("forgetting") or {}).get("task")
    if results.get("objective") is not None:
        row["_objective"] = (str(results.get("objective_metric")), float(results["objective"]))
    row["status"], row["error"] = results.get("status", "missing"), results.get("error")
    if row["status"] == "running" and not row["error"]:
        row["error"] = "still running, or ended without a message (killed, out of memory)"
    seed = results.get("seed")
    row["seed"] = seed if seed is not None else _number(overrides.get("seed"))
    row["parameters_total"], row["parameters_trainable"] = parameters.get("total"), parameters.get("trainable")
    sizes = results.get("sizes") or {}
    row["train_samples"] = sizes.get("train", sizes.get("source/train"))
    row["versions"] = json.dumps(results.get("versions") or {}, sort_keys=True)
    row["protocol"] = json.dumps(results.get("protocol") or {})
    row["written"] = datetime.fromtimestamp((run / RESULTS).stat().st_mtime).isoformat(timespec="microseconds")
    metrics = results.get("metrics") or {}
    for choice in results.get("selection") or ():
        if not isinstance(choice, dict) or "chooser" not in choice or (score := reached(choice)) is None:
            continue
        metric, value = score
        row[f"{SELECTION}{choice['chooser']}/target_{metric}"] = float("nan") if value is None else value
    return row | {name: float("nan") if value is None else value for name, value in named_by_unit(metrics).items()}


def _overrides(path: Path) -> dict[str, str]:
    """Read Hydra's list of overrides; ``+key=value`` means the same as ``key=value``, and ``~key`` removes a key."""
    try:
        lines = read_yaml(path)
    except UserError:
        return {}
    pairs = {}
    for line in map(str, lines if isinstance(lines, list) else []):
        key, _, value = line.partition("=")
        pairs[key.lstrip("+~")] = "(removed)" if line.startswith("~") else value
    return pairs


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def _settings(overrides: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the name of each run's setting: the overrides that differ between runs, except the seed."""
    keys = dict.fromkeys(key for pairs in overrides for key in pairs if key != "seed")
    varying = [key for key in keys if len({pairs.get(key) for pairs in overrides}) > 1]
    return [
        " ".join(f"{key}={pairs[key]}" for key in varying if key in pairs) or ("defaults" if varying else "all runs")
        for pairs in overrides
    ]


def _distinguish(settings: Sequence[str], contents: Sequence[str | None]) -> list[str]:
    """Mark runs of the same setting that read different files, because they are not repetitions of each other."""
    read: dict[str, set[str]] = {}
    for setting, content in zip(settings, contents, strict=True):
        read.setdefault(setting, set()).update({content} if content else ())
    return [
        f"{setting} (data {content[:8]})" if content and len(read[setting]) > 1 else setting
        for setting, content in zip(settings, contents, strict=True)
    ]
