"""Energy of the assessment, and energy and results of finished runs and sweeps on the same data."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tl_lab.assess.footprint import Footprint, emissions, kwh_of_run, shares, source_of_run
from tl_lab.assess.material import Material
from tl_lab.assess.measured_runs import accuracy_of, finished
from tl_lab.assess.pictures import bars, scatter_scores
from tl_lab.assess.results import (
    Confidence,
    Measure,
    NotApplicable,
    PartResult,
    mean_with_interval,
    ratio_with_interval,
)
from tl_lab.assess.tuning import WAYS
from tl_lab.errors import UserError
from tl_lab.results.report.blocks import Cell, Table

__all__ = ["assess"]

TITLE = "Energy"
_MOST_ROWS = 20
_SWEEP = "multirun.yaml"  # lies in the folder of a sweep


@dataclass
class _Runs:
    """Finished runs that differ by their seeds."""

    accuracies: list[float] = field(default_factory=list)
    kwh: list[float] = field(default_factory=list)


def assess(
    material: Material,
    footprint: Footprint | None,
    seconds: Mapping[str, float],
    baselines: PartResult | NotApplicable | None = None,
) -> PartResult | NotApplicable:
    """State what the assessment used, shared out over its parts by processor time, and what finished runs used.

    Args:
        material: of the assessment.
        footprint: of all of it.
        seconds: of processor time by part.
        baselines: the part that trained from scratch and from what was learned, where it was asked for.
    """
    if footprint is None:
        country = material.options.country
        return NotApplicable(TITLE, f"The carbon intensity of {country} is not known without the library codecarbon.")
    kwh, kg = shares(footprint.kwh, seconds), shares(footprint.kg, seconds)
    rows: list[list[str | Cell]] = [[name, f"{1000 * kwh[name]:.3f}", f"{1000 * kg[name]:.3f}"] for name in seconds]
    rows.append(["all", f"{1000 * footprint.kwh:.3f}", f"{1000 * footprint.kg:.3f}"])
    sentence = (
        f"The assessment used {1000 * footprint.kwh:.2f} Wh, {1000 * footprint.kg:.2f} g CO2e in "
        f"{material.options.country} ({footprint.source})."
    )
    measures = {"kwh": Measure(footprint.kwh), "kg": Measure(footprint.kg)}
    measures |= {f"kwh/{name}": Measure(value) for name, value in kwh.items()}
    table = Table(["part", "Wh", "g CO2e"], rows, 1, f"Electricity, {footprint.source}, divided by processor time")
    figure = bars({name: Measure(1000 * value) for name, value in kwh.items()}, "Wh")
    measured = footprint.source.startswith("measured")
    confidence: Confidence = "high" if measured else "low"
    result = PartResult(TITLE, sentence, confidence, measures, [table], {"Electricity by part": figure})
    whole = sum(seconds.values())
    if isinstance(baselines, PartResult) and whole > 0:
        _add_ways(baselines, footprint.kwh / whole, result)
    _add_runs(material, result)
    return result


def _add_ways(baselines: PartResult, kwh_a_second: float, result: PartResult) -> None:
    """Add what a training in each way used, its accuracy, and the multiple of it that training from scratch takes."""
    seconds = baselines.facts["seconds"]
    used = {way: mean_with_interval((kwh_a_second * np.array(seconds[way])).tolist()) for way in WAYS}
    rows: list[list[str | Cell]] = []
    for way in WAYS:
        multiple = ratio_with_interval(seconds["from scratch"], seconds[way])
        result.measures |= {f"{way}/kwh": used[way], f"{way}/from_scratch_multiple": multiple}
        accuracy = baselines.measures[way].text(percent=True)
        rows.append([way, accuracy, used[way].times(1000).text(4), multiple.text(2)])
    head = ["training", "accuracy (95 %)", "Wh per training (95 %)", "from scratch, multiple of it (95 %)"]
    result.tables.append(
        Table(head, rows, 1, "Each kind of training of the three-way baseline, by processor time, over seeds")
    )
    points = {way: (1000 * used[way].value, baselines.measures[way].value) for way in WAYS}
    result.figures["Accuracy by kind of training against its electricity"] = scatter_scores(
        points, "Wh per training", "accuracy"
    )


def _add_runs(material: Material, result: PartResult) -> None:
    """Add finished runs by how they were trained, and sweeps."""
    ways: dict[str, _Runs] = defaultdict(_Runs)
    sources: set[str] = set()
    sweeps: dict[str, _Runs] = defaultdict(_Runs)
    for folder, results in finished(material):
        used = kwh_of_run(results)
        if used is None:
            continue
        chosen, score = results.get("choices") or {}, accuracy_of(results.get("metrics") or {})
        groups = ("backbone", "strategy", "adapter", "domain_adaptation")
        words = [str(chosen[group]) for group in groups if chosen.get(group) not in (None, "none")]
        trained = (results.get("sizes") or {}).get("train")
        name = ", ".join([*words, *([f"{trained:,} labels"] if trained else [])])
        ways[name].kwh.append(used)
        sources.add(source_of_run(results))
        ways[name].accuracies += [] if score is None else [score]
        if (sweep := _sweep_of(folder)) is not None:
            sweeps[sweep].kwh.append(used)
    if not ways:
        return
    for kind, several in (("runs", ways), ("sweeps", sweeps)):
        for name, one in several.items():
            result.measures[f"{kind}/{name}/kwh_in_all"] = Measure(sum(one.kwh))
            if (kg := _kg(material, sum(one.kwh))) is not None:
                result.measures[f"{kind}/{name}/kg_in_all"] = Measure(kg)
    shown = sorted(ways, key=lambda name: -len(ways[name].kwh))[:_MOST_ROWS]
    rows = [_row(material, name, ways[name]) for name in shown]
    head = ["runs on these data", "runs", "accuracy (95 %)", "Wh per run (95 %)", "Wh in total", "g CO2e in total"]
    how = "; ".join(sorted(sources))
    caption = f"Finished runs ({how})"
    result.tables.append(Table(head, rows, 1, caption))
    if sweeps:
        rows = [_row(material, name, sweeps[name]) for name in sorted(sweeps)[-_MOST_ROWS:]]
        result.tables.append(Table(["sweep", *head[1:]], rows, 1, f"Sweeps ({how})"))
    points = {
        name: (mean_with_interval(ways[name].kwh).times(1000), mean_with_interval(ways[name].accuracies))
        for name in shown
        if ways[name].accuracies
    }
    for name, (watt_hours, accuracy) in points.items():
        result.measures |= {f"runs/{name}/kwh": watt_hours.times(1e-3), f"runs/{name}/accuracy": accuracy}
    if points:
        result.figures["Test accuracy of finished runs against their electricity"] = scatter_scores(
            {name: (one.value, accuracy.value) for name, (one, accuracy) in points.items()},
            "Wh per run",
            "test accuracy",
        )


def _row(material: Material, name: str, runs: _Runs) -> list[str | Cell]:
    accuracy = mean_with_interval(runs.accuracies).text(percent=True) if runs.accuracies else "-"
    total = sum(runs.kwh)
    kg = _kg(material, total)
    grams = "-" if kg is None else f"{1000 * kg:.2f}"
    each = mean_with_interval(runs.kwh).times(1000).text()
    return [name, str(len(runs.kwh)), accuracy, each, f"{1000 * total:.2f}", grams]


def _kg(material: Material, kwh: float) -> float | None:
    """Give the emissions, or None for a country that is known to codecarbon alone."""
    try:
        return emissions(kwh, material.options.country)
    except UserError:
        return None


def _sweep_of(folder: Path) -> str | None:
    """Name the sweep that a run is part of; None for a single run."""
    return next((f"{one.parent.name}/{one.name}" for one in list(folder.parents)[:3] if (one / _SWEEP).is_file()), None)
