"""Figure that compares the features of several finished runs on a domain pair."""

from collections.abc import Sequence
from pathlib import Path

from tl_lab.config.instantiate import foreign
from tl_lab.config.stored import read_stored
from tl_lab.config.trust import check_foreign
from tl_lab.errors import UserError
from tl_lab.results.figures.drawing import save_figures
from tl_lab.results.figures.embedding import PairFeatures, embeddings_beside
from tl_lab.results.folder.files import not_completed, read_results
from tl_lab.results.names import format_metric, is_share
from tl_lab.run.build import build
from tl_lab.run.experiment import restore_tested
from tl_lab.run.inference import warn_if_edited
from tl_lab.run.plan import Plan
from tl_lab.training.figures import features_of_pair

__all__ = ["draw_beside"]


def draw_beside(runs: Sequence[Path], allow: Sequence[str] = ()) -> Path:
    """Draw the features of runs on one domain pair side by side, as ``beside.png`` in the figures of the last run.

    Args:
        runs: folders of completed runs, for example one without adaptation and one with it.
        allow: names in addition to the project's own that their configurations may use.

    Returns:
        The figure's file.

    Raises:
        UserError: a run is not complete, has no two domains, or has other classes than the first run.
    """
    found: dict[str, PairFeatures] = {}
    for run in runs:
        heading, features = _read(run, allow)
        found[heading if heading not in found else f"{heading} ({run.name})"] = features
    try:
        figure = embeddings_beside(found)
    except ValueError as error:
        raise UserError(f"figures --beside: {error}") from error
    return save_figures({"beside": figure}, runs[-1] / "figures")[0]


def _read(run: Path, allow: Sequence[str]) -> tuple[str, PairFeatures]:
    """Return the title of a run's column, and its features."""
    results = read_results(run)
    if results.get("status") != "completed":
        raise UserError(f"figures --beside: {run} {not_completed(results)}: give completed runs")
    cfg = read_stored(run, ("data", "strategy", "backbone", "domain_adaptation"))
    check_foreign(cfg, run / "config.yaml", allow)
    warn_if_edited(run, cfg)
    with foreign(run / "config.yaml", allow):
        parts = build(Plan.of(cfg))
    if not parts.data.paired:
        raise UserError(f"figures --beside: {run} has a single domain, and the figure needs two")
    restore_tested(run, parts, results)
    name = (results.get("choices") or {}).get("domain_adaptation", run.name)
    name = "source only" if name == "none" else str(name)
    monitor = f"test/target/{parts.data.problem.monitor}"
    value = (results.get("metrics") or {}).get(monitor)
    unit = " %" if is_share(monitor) else ""
    score = f": {format_metric(monitor, value)}{unit} on the target" if value is not None else ""
    return f"{name}{score}", features_of_pair(parts.strategy, parts.data)
