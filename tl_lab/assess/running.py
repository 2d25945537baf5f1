"""An assessment from its command line to its files: each part by itself, so that one that fails stops no other."""

import functools
import importlib
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tl_lab.assess.asking import Asked, read
from tl_lab.assess.footprint import Footprint, FootprintMeter
from tl_lab.assess.material import Material
from tl_lab.assess.results import NotApplicable, PartResult
from tl_lab.assess.verdict import verdict
from tl_lab.data.sets.columns import UnreadableTimes, names_in
from tl_lab.errors import UserError, root_cause
from tl_lab.run.plan import Recipe

__all__ = ["Assessed", "carry_out", "run_parts"]


@dataclass
class Assessed:
    """An assessment.

    Args:
        asked: what was asked for.
        material: what was looked at.
        parts: results by part, in order.
        verdict: three sentences with their confidence.
        seconds: of processor time by part.
        footprint: energy of all of it; None where it is not known.
        notes: what of the data was left out, each a sentence.
    """

    asked: Asked
    material: Material
    parts: Mapping[str, PartResult | NotApplicable]
    verdict: Sequence[str]
    seconds: Mapping[str, float]
    footprint: Footprint | None
    notes: Sequence[str] = ()


def carry_out(overrides: Sequence[str], output: Path | None = None) -> tuple[Assessed, Path]:
    """Assess, and write ``assessment.json`` and ``assessment.html``.

    Args:
        overrides: see :func:`tl_lab.assess.asking.read`.
        output: folder to write to; None for a new one below the outputs.

    Returns:
        The assessment, and the folder.

    Raises:
        UserError: a mistake in the overrides, or data that cannot be read.
    """
    from tl_lab.assess.writing import new_folder, write

    asked = read(overrides)
    meter = FootprintMeter(asked.options.country)
    meter.start()
    began = time.process_time()
    _say("reading the data, building the backbones")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what training would warn of
        material, notes = _read_data(asked)
    seconds = {"reading": time.process_time() - began}
    parts = run_parts(material, seconds)
    footprint = _stopped(meter)
    if "energy" in asked.options.parts:
        from tl_lab.assess.energy import assess as energy

        parts["energy"] = _guarded("energy", lambda: energy(material, footprint, seconds, parts.get("baselines")))
    assessed = Assessed(asked, material, parts, verdict(material, parts), seconds, footprint, notes)
    folder = output or new_folder(asked)
    write(assessed, folder)
    return assessed, folder


def _read_data(asked: Asked) -> tuple[Material, list[str]]:
    """Read the data, where necessary without their times, which only a split by time needs."""
    try:
        return Material(asked.plans, asked.options), []
    except UnreadableTimes as error:
        if asked.plans[0].data.option("split") == "time":
            raise
        plans = [replace(plan, data=_without_times(plan.data)) for plan in asked.plans]
        note = f"The times of the data are left out: {error}."
        _say(note)
        return Material(plans, asked.options), [note]


def _without_times(data: Recipe) -> Recipe:
    """Leave the column with times out of tables: it has no role, and is no input."""
    names = names_in(data.option("time_column"))
    if "drop" in data.node:
        data = data.with_options(drop=[*data.node["drop"], *names])
    return data.with_options(time_column=None)


def run_parts(material: Material, seconds: dict[str, float]) -> dict[str, PartResult | NotApplicable]:
    """Run the parts that were asked for, but energy, which is known at the end.

    Args:
        material: of the assessment.
        seconds: processor time is added here, by part.
    """
    found: dict[str, PartResult | NotApplicable] = {}
    names = [name for name in material.options.parts if name != "energy"]
    for number, name in enumerate(names, 1):
        began = time.process_time()
        module = importlib.import_module(f"tl_lab.assess.{name}")
        title = getattr(module, "TITLE", name)
        _say(f"part {number} of {len(names)}: {title}")
        found[name] = _guarded(name, functools.partial(module.assess, material), title)
        seconds[name] = time.process_time() - began
    return found


def _say(text: str) -> None:
    """Say on the error stream what is being done: a part may take a minute."""
    print(f"tl_lab assess: {text}", file=sys.stderr, flush=True)


def _guarded(name: str, work: Callable[[], PartResult | NotApplicable], title: str = "") -> PartResult | NotApplicable:
    """Run a part; what it stumbles over becomes one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work()
    except MemoryError:
        raise
    except Exception as error:  # an error in one part does not stop the others
        cause = root_cause(error)
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        kind = "" if isinstance(cause, UserError | ValueError) else f" ({type(cause).__name__})"
        return NotApplicable(
            title or name.capitalize(), f"{reason[:1].upper()}{reason[1:]}{kind}.".replace("..", "."), True
        )


def _stopped(meter: FootprintMeter) -> Footprint | None:
    try:
        return meter.stop()
    except UserError:
        return None
