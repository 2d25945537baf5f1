"""Everything that wants a GPU, in one command: steps with and without graphs, every choice, memory, sweeps.

    python benchmarks/gpu.py

Takes under five minutes on one GPU and writes docs/results/gpu.json with the card's name, and the choices that
``update.graph=auto`` replays (tl_lab/training/seen_replayed.json). Sides of a comparison run one after the other on the
same card. Without a GPU it says so and ends. Data and encoders of the choices are made here, so that no files are
needed but those of published data sets. Choices that are not known to complete come first, and no further one starts
when the time (``--seconds``) is nearly over. Parts that are left out, and choices that are not reached, keep their
stored results.

- ``steps``: milliseconds an update: through the frame, one kernel after the other and replayed as a graph, and the same
  in a loop by hand, plain and captured; MAML under vmap and in a loop. Peak memory beside them.
- ``choices``: every choice of ``python -m tl_lab list``, plain and with graphs, for three updates, its test and a
  prediction; ``trainer=ddp`` and ``fsdp`` on one device; mixed precision; a compiled backbone.
- ``outside``: the main job's seconds outside training.
- ``sweeps``: runs a minute with one and with 4 jobs at once on one GPU.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from portable import portable

from tl_lab.results.folder.files import write_json
from tl_lab.results.folder.record import git_commit
from tl_lab.training.seen_replayed import STORED, held

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "gpu.json"
PARTS = ("steps", "choices", "outside", "sweeps")


_USUAL = ["adapter=none", "domain_adaptation=none", "optimizer=adam"]
STEP_CHOICES = {
    "steps/dann 64 + 64": ["strategy=from_scratch", "domain_adaptation=dann", "backbone=lenet", "optimizer=sgd"],
    "steps/ewc": ["strategy=ewc", "backbone=mlp", *_USUAL],
    "steps/prototypical 60-way": ["strategy=prototypical", "backbone=conv4", *_USUAL],
}
"""Choices of each timed step."""
SECONDS = 290.0
"""Time for everything, unless another one is given."""
_AFTER_CHOICES_S = 120.0  # for choices that are running, the time outside training, and sweeps


def parts_of(
    rehearsal: bool, workers: int, only: str, until: float | None = None, last: Collection[str] = ()
) -> dict[str, Callable[[], Any]]:
    """Name the measurements; for ``until`` and ``last`` see :func:`gpu_runs.choices_run`."""
    import gpu_runs
    import gpu_steps

    trainer, updates, repeats = ("cpu", 20, 1) if rehearsal else ("gpu", 100, 5)
    short = ["trainer.max_epochs=1"] if rehearsal else []
    steps: dict[str, Callable[[], Any]] = {
        "steps/dann 64 + 64": lambda: gpu_steps.dann(64, updates, repeats),
        "steps/dann 1024 + 1024": lambda: gpu_steps.dann(8 if rehearsal else 1024, updates, min(repeats, 3)),
        "steps/ewc": lambda: gpu_steps.ewc(updates, repeats),
        "steps/prototypical 60-way": lambda: gpu_steps.prototypical(updates, repeats),
        "steps/maml": lambda: gpu_steps.maml(min(updates, 40), 1),
    }
    return {
        **steps,
        "choices": lambda: gpu_runs.choices_run(trainer, workers, only, until, last),
        "outside/main job": lambda: gpu_runs.outside_training(trainer, *short),
        "sweeps": lambda: gpu_runs.sweeps(trainer, 8, (1, 4), f"trainer.max_epochs={1 if rehearsal else 2}"),
    }


def main() -> None:
    """Measure, print and store."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--parts", default=",".join(PARTS), help=f"which of {', '.join(PARTS)}")
    options.add_argument("--only", default="", help="of the choices: those whose names hold this")
    options.add_argument(
        "--workers", type=int, default=min(8, os.cpu_count() or 1), help="runs at once, of the choices"
    )
    options.add_argument("--seconds", type=float, default=SECONDS, help="time for everything")
    options.add_argument("--output", type=Path, default=RESULTS)
    options.add_argument("--rehearse", action="store_true", help="go through it on the CPU, in small, storing nothing")
    given = options.parse_args()
    if not torch.cuda.is_available() and not given.rehearse:
        print("There is no GPU here: nothing is measured.")
        return
    torch.set_num_threads(1)
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    stored = json.loads(given.output.read_text()) if given.output.is_file() and not given.rehearse else {}
    found: dict[str, Any] = {**stored, "card": card, "torch": torch.__version__, "step_choices": STEP_CHOICES}
    known = {name for name, one in stored.get("choices", {}).items() if "replays" in one}
    until = None if given.rehearse else time.monotonic() + given.seconds - _AFTER_CHOICES_S
    commit = git_commit()  # before the first result is written
    print(f"{card}, torch {torch.__version__}", flush=True)
    for name, measure in parts_of(given.rehearse, given.workers, given.only, until, known).items():
        if name.split("/")[0] not in given.parts.split(","):
            continue
        began = time.monotonic()
        try:
            found[name] = merged(stored.get(name, {}), measure(), commit) if name == "choices" else measure()
        except Exception as error:  # the other parts stand
            found[name] = {"error": f"{type(error).__name__}: {error}"[:1000]}
        found.setdefault("seconds", {})[name] = round(time.monotonic() - began, 1)
        print(f"{name} ({found['seconds'][name]} s): {json.dumps(_short(found[name]))}", flush=True)
        if not given.rehearse:
            write_json(given.output, portable(found))
            if given.output == RESULTS:
                write_json(STORED, held(found))


def merged(stored: Mapping[str, Any], found: Mapping[str, Any], commit: str | None) -> dict[str, Any]:
    """Replace the stored results of choices that were tried now, with the commit; the others are kept."""
    import gpu_runs

    tried = {
        name: one if one["plain"] == gpu_runs.NOT_TRIED else {**one, "commit": commit}
        for name, one in found.items()
        if one["plain"] != gpu_runs.NOT_TRIED or name not in stored
    }
    return dict(sorted({**stored, **tried}.items()))


def _short(found: Any) -> Any:
    """Leave out of the choices what went well."""
    if not isinstance(found, dict) or not all(isinstance(one, dict) and "plain" in one for one in found.values()):
        return found
    wrong = {
        name: one
        for name, one in found.items()
        if {one.get("plain"), one.get("graph", "completed")} != {"completed"} or not one.get("predicts")
    }
    return {"completed": len(found) - len(wrong), "other": wrong}


if __name__ == "__main__":
    main()
