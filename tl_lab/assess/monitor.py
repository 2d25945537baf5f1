"""The drift monitor of a run: a reference in its folder, and new data compared with it."""

import math
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tl_lab.assess.detectors import BY_DEFAULT, DETECTORS, Drift, Reference, detect, moved_most, reference_of
from tl_lab.assess.drift import advice
from tl_lab.assess.probes import fit_probe
from tl_lab.assess.results import Measure, wilson
from tl_lab.assess.untrained import untrained
from tl_lab.config.catalogue import using
from tl_lab.config.identity import to_plain
from tl_lab.config.instantiate import build_node, foreign
from tl_lab.config.stored import read_stored
from tl_lab.data.base import DataModule
from tl_lab.data.inputs.operations import move
from tl_lab.data.request import Request
from tl_lab.errors import UserError, nearest
from tl_lab.functional.calibration import temperature
from tl_lab.model.base_weights import hash_of
from tl_lab.problems import Problem
from tl_lab.randomness import generator
from tl_lab.results.folder.files import SCHEMA, replacing, write_json
from tl_lab.run.inference import TrainedModel, load_classifier

__all__ = ["REFERENCE", "Monitored", "New", "fit_reference", "monitor", "write"]

REFERENCE = "drift_reference.npz"
_MOST = 2000  # samples of the reference, and of new data


@dataclass(frozen=True)
class New:
    """New samples as the model sees them.

    Args:
        description: what they are.
        names: of the samples.
        answers: of the model, ``(M, A)``, see :class:`~tl_lab.assess.detectors.Reference`.
        features: as the head sees them, ``(M, D)``.
        untrained: the same of an untrained network of this architecture.
        labels: classes ``(M,)``, where they are known.
    """

    description: str
    names: list[str]
    answers: Tensor
    features: Tensor
    untrained: Tensor
    labels: Tensor | None = None


@dataclass(frozen=True)
class Monitored:
    """Result of the monitor.

    Args:
        new: samples.
        drift: what the detectors say.
        known: accuracy on the new samples where they have labels.
        forgets: accuracy on the reference of a head refitted to the new samples alone; None without labels.
        moved: names of the samples that moved most, with their distances; empty without drift.
        advice: in a clause.
    """

    new: New
    drift: Drift
    known: Measure | None
    forgets: Measure | None
    moved: list[tuple[str, float]]
    advice: str


def monitor(
    run: Path,
    given: Sequence[str],
    *,
    part: str | None = None,
    alpha: float = 0.05,
    correction: str = "bonferroni",
    detectors: Sequence[str] = BY_DEFAULT,
    allow: Sequence[str] = (),
    skip_unreadable: bool = False,
) -> Monitored:
    """Hold new data against the reference of a run, which is fitted at the first call, and again to changed weights.

    Args:
        run: its folder.
        given: ``data=...`` with its options, or one folder or file of new samples.
        part: of ``data=``, the set that is new; None for the test set.
        alpha: level of the tests, in (0, 1).
        correction: over the dimensions of a detector, ``bonferroni`` or ``fdr``.
        detectors: keys of :data:`~tl_lab.assess.detectors.DETECTORS`.
        allow: further names that the run's configuration may use.
        skip_unreadable: leave out files that cannot be read with a warning that names them, instead of stopping.

    Raises:
        UserError: the folder contains no run with a model, or the new data cannot be read.
    """
    if wrong := [name for name in detectors if name not in DETECTORS]:
        raise UserError(f"drift: there is no detector {wrong[0]!r}; {nearest(wrong[0], DETECTORS)}")
    if not 0 < alpha < 1:
        raise UserError(f"drift: --alpha is a level between 0 and 1, not {alpha:g}")
    model = load_classifier(run, allow=allow)
    reference = _read(run, hash_of(model.network)) or fit_reference(run, model, allow)
    new = _new(model, given, part, reference.temperature, skip_unreadable)
    components = reference.project(new.features)
    try:
        found = detect(
            reference,
            new.answers.numpy(),
            components,
            features=new.features.float().numpy(),
            untrained=new.untrained.float().numpy(),
            alpha=alpha,
            correction=correction,
            detectors=tuple(detectors),
        )
    except ValueError as error:  # such as a single sample for detectors that need two
        raise UserError(f"drift: {error}") from error
    known, forgets = None, None
    if new.labels is not None:
        known = wilson(int((new.answers.argmax(1) == new.labels).sum()), len(new.labels))
        forgets = _forgets(reference, new)
    farthest = moved_most(reference, components) if found.drifted else []
    moved = [(new.names[i], distance) for i, distance in farthest]
    return Monitored(new, found, known, forgets, moved, advice(found, known))


def fit_reference(run: Path, model: TrainedModel, allow: Sequence[str] = ()) -> Reference:
    """Fit a reference to the run's own validation data, and keep it in the run's folder.

    Args:
        run: its folder.
        model: of the run.
        allow: as in :func:`monitor`.

    Raises:
        UserError: the run's data cannot be read any more, or have no validation set with labels.
    """
    cfg = read_stored(run)
    with foreign(run / "config.yaml", allow):
        data: DataModule = build_node(to_plain(cfg.data))
    data.load(Request())
    name = next((one for one in ("val", "source/val") if one in data.sets and data.sets[one].y is not None), None)
    if name is None:
        raise UserError(f"drift: the data of {run} have no validation set with labels to fit a reference to")
    y = data.sets[name].y
    outputs, features, blank, index = _see(model, data, name)
    labels = y[index] if model.problem.numbers_outputs and y is not None else None
    heat = 1.0 if labels is None else temperature(torch.cat(outputs), labels)
    answers = _answers(model.problem, outputs, heat)
    reference = reference_of(
        answers, features, labels, temperature=heat, untrained=blank, weights=hash_of(model.network)
    )
    with replacing(run / REFERENCE) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **reference.arrays())  # type: ignore[arg-type]
    return reference


def _read(run: Path, weights: str) -> Reference | None:
    """Read the reference; None where it is missing, damaged, or of other weights, so that it is fitted again."""
    try:
        with np.load(run / REFERENCE, allow_pickle=False) as arrays:
            found = Reference.from_arrays(arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return found if found.weights == weights else None


def _answers(problem: Problem, outputs: Sequence[Tensor], heat: float) -> Tensor:
    """Give what is compared of a model's outputs, ``(N, A)``.

    Args:
        problem: of the model.
        outputs: by batch; batches of sequences have different lengths.
        heat: temperature of classes; 1 for others.
    """
    parts = []
    for batch in outputs:
        values, confidence, shares = problem.predict(batch.double() / heat)
        if shares is not None:  # of several tasks, NaN stands where one has numbers
            known = ~shares.isnan().any(0)
            parts.append(shares if bool(known.all()) else torch.cat([shares[:, known], values], 1))
        else:
            parts.append(values if confidence is None else confidence[:, None])
    return torch.cat(parts).double()


def _see(model: TrainedModel, data: DataModule, name: str) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Give a set's outputs by batch, features, untrained features and positions; of a large set, those of a draw."""
    count = len(data.sets[name])
    index = torch.arange(count)
    if count > _MOST:
        index = torch.randperm(count, generator=generator(data.seed, "drift", name))[:_MOST].sort()[0]
    data = data.serving({name: data.sets[name].subset(index)}, model.spec)
    blank = _blank(model)
    device = next(model.network.parameters()).device
    outputs, features, random = [], [], []
    for batch in data.loader(name, cached=False, shared=False):
        seen = model.see(x := move(batch.x, device))
        outputs.append(seen.outputs)
        features.append(seen.features)
        random.append(blank.see(x).features)
    return outputs, torch.cat(features), torch.cat(random), index


def _blank(model: TrainedModel) -> TrainedModel:
    return TrainedModel(untrained(model.network), model.problem, model.shape, model.reading)


def _new(model: TrainedModel, given: Sequence[str], part: str | None, heat: float, skip: bool) -> New:
    paths = [text for text in given if "=" not in text]
    if not paths:
        return _from_data(model, given, part, heat)
    if len(paths) > 1 or len(given) > 1:
        raise UserError(f"drift: give data=..., or one folder or file of new samples, not {' '.join(given)}")
    if not Path(paths[0]).exists():
        raise UserError(f"drift: there is no folder or file {paths[0]!r}; new data are given by data=..., too")
    parts = list(model.predict_batches(paths[0], skip_unreadable=skip, logits=True, features=True))
    if not parts:
        raise UserError(f"drift: {paths[0]!r} has no sample that can be read")
    names = [name for part in parts for name in part.names]
    outputs, features = ([getattr(part, place) for part in parts] for place in ("logits", "features"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same files are left out again
        blank = _blank(model).predict_batches(paths[0], skip_unreadable=skip, features=True)
        random = [part.features for part in blank]
    return New(
        paths[0],
        names,
        _answers(model.problem, outputs, heat),
        torch.cat(features),
        torch.cat([one for one in random if one is not None]),
    )


def _from_data(model: TrainedModel, given: Sequence[str], part: str | None, heat: float) -> New:
    from tl_lab.assess.asking import read

    plan = read([*given, "assess=drift"]).plans[0]
    with using([]):
        data: DataModule = plan.data.build()
    data.load(Request())
    name = part or next((one for one in ("target/test", "test") if one in data.test_names), data.test_names[-1])
    if name not in data.sets:
        raise UserError(f"drift: data={plan.data.choice} has no set {name!r}; {nearest(name, data.sets)}")
    y = data.sets[name].y
    known = y is not None and model.problem.numbers_outputs and data.class_names == model.class_names
    outputs, features, blank, index = _see(model, data, name)
    names = [f"{name}[{i}]" for i in index.tolist()]
    labels = y[index] if known and y is not None else None
    answers = _answers(model.problem, outputs, heat)
    return New(f"data={plan.data.choice}, {name}", names, answers, features, blank, labels)


def _forgets(reference: Reference, new: New) -> Measure | None:
    """Score a head refitted to the new samples alone on the reference."""
    assert new.labels is not None
    if len(new.labels.unique()) < 2:
        return None
    probe = fit_probe(new.features.float(), new.labels)
    answers = probe.logits(torch.from_numpy(reference.features), reference.answers.shape[1]).argmax(1).numpy()
    return wilson(int((answers == reference.labels).sum()), len(reference.labels))


def write(found: Monitored, run: Path, output: Path | None) -> tuple[Path, dict[str, Any]]:
    """Write the result of the monitor as JSON.

    Args:
        found: by :func:`monitor`.
        run: its folder.
        output: the file; None for one in ``<run>/drift``, named by the time.
    """
    drift = found.drift
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "new": found.new.description,
        "count": len(found.new.names),
        "reference_count": drift.power.reference,
        "verdict": drift.verdict,
        "drift": None if drift.undecided else drift.drifted,
        "detectable_shift": drift.power.shift if math.isfinite(drift.power.shift) else None,
        "new_samples_required": drift.power.enough,
        "p": drift.p,
        "detectors": {name: one._asdict() for name, one in drift.detections.items()},
        "reference_accuracy": None if drift.accuracy is None else drift.accuracy.plain(),
        "estimated_accuracy": {name: one._asdict() for name, one in drift.estimates.items()},
        "known_accuracy": None if found.known is None else found.known.plain(),
        "accuracy_on_reference_after_retraining_on_new_alone": None if found.forgets is None else found.forgets.plain(),
        "moved_most": [{"sample": name, "distance": distance} for name, distance in found.moved],
        "advice": found.advice,
    }
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    return write_json(output or run / "drift" / f"{name}.json", content), content
