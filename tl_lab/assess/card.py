"""The model card of a run, from its folder, its assessment, and its test samples predicted again."""

import json
import os
import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tl_lab import commands
from tl_lab.assess.footprint import FACTORS, emissions, kwh_of_run, source_of_run
from tl_lab.assess.licences import data_terms
from tl_lab.assess.results import Measure, wilson
from tl_lab.config.identity import to_plain
from tl_lab.config.stored import read_stored, read_yaml
from tl_lab.data.sets.columns import names_in
from tl_lab.errors import UserError, root_cause
from tl_lab.problems.metrics import PACKAGED
from tl_lab.results.folder.files import not_completed, read_results, write_text
from tl_lab.results.names import (
    ASSUMED,
    answerer,
    duration,
    format_metric,
    is_score,
    is_share,
    less_is_better,
    readable,
    split_name,
)
from tl_lab.results.report.blocks import Cell, Picture, Section, Table
from tl_lab.results.report.markdown import markdown
from tl_lab.results.report.page import document, tiles_of
from tl_lab.results.tables.screening import ON_SCREENING, SCREENED, screened
from tl_lab.texts import counted

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["NAMES", "card", "front_matter", "write_card"]

NAMES = ("model_card.md", "model_card.html")
_SEE_LICENCES = {"license_name": "see-licences"}  # hubs accept links to files named LICENSE and to pages only
_ASSESSED = {"calibration": ("single_label",), "bias": ("single_label", "multi_label")}  # parts, and their problems
_NOT_ASSESSED = {
    "calibration": "Assessed for classes alone; the calibration error of each finding is in the section on findings.",
    "bias": "Audits compare decisions for classes and findings, which this model does not make.",
}
_HUB_METRICS = {"acc": "accuracy", "f1_macro": "f1"}
_NONE = (None, "none")
_PATHS = ("init_from", "backbone.weights")  # options with a path, besides those of data
_BASES = {  # what relative paths are relative to, and how to use them again
    "folder": ("the folder in which the run was started", "Run the command in that folder"),
    "data": ("the folder `TL_LAB_DATA`", "Set this variable"),
    "either": (
        "the folder in which the run was started, or to `TL_LAB_DATA`",
        "Run the command in that folder with that variable",
    ),
}
_OUTPUTS = {"single_label": "class", "multi_label": "label", "regression": "number"}  # names of outputs, by problem
_MOST_NAMED = 20
_NO_NAMES = frozenset({"generated", "fonts", "own"})  # terms that are no data sets


def write_card(
    run: Path,
    folder: Path | None = None,
    assessment: Path | None = None,
    laid_out: tuple[list[Section], list[tuple[str, str, str]]] | None = None,
    *,
    predicts: bool = True,
    allow: Sequence[str] = (),
) -> list[Path]:
    """Write ``model_card.md`` and ``model_card.html``.

    Args:
        run: a completed run's folder.
        folder: where to; None for the run's own.
        assessment: an ``assessment.json``; None for the newest of this run below the outputs, if there is one.
        laid_out: result of :func:`card`; None to call it.
        predicts: whether the test samples may be predicted again for the intervals of scores; if not, the card has
            those that an earlier one has kept, or none.
        allow: further names that the run's configuration may use.

    Returns:
        The two files.

    Raises:
        UserError: the folder contains no completed run, or the assessment cannot be read.
    """
    sections, tiles = laid_out or card(run, assessment, predicts=predicts, allow=allow)
    place = folder or run
    title = sections[0].title
    page = document(title, tiles_of(tiles), sections, {})
    texts = (front_matter(run) + markdown(sections), page)
    return [write_text(place / name, text) for name, text in zip(NAMES, texts, strict=True)]


def front_matter(run: Path) -> str:
    """Write the metadata that model hubs read at the top of a card, as YAML between two lines of dashes.

    The licence is that of the pretrained weights, if it is known. For random ones and others it is ``other``, with a
    reference to the card's section on licences: the user sets it.

    Args:
        run: a run's folder.
    """
    results, config = read_results(run), read_stored(run)
    choices = results.get("choices") or {}
    licence = _known_licence(json.dumps(results.get("weights") or {}))
    content: dict[str, Any] = {"license": licence.lower()} if licence else {"license": "other", **_SEE_LICENCES}
    content["library_name"] = "tl_lab"
    groups = ("backbone", "strategy", "adapter", "domain_adaptation")
    content["tags"] = ["tl_lab", *dict.fromkeys(str(choices[one]) for one in groups if choices.get(one) not in _NONE)]
    content["datasets"] = [name for name in data_terms(to_plain(config)["data"]) if name not in _NO_NAMES]
    metrics = results.get("metrics") or {}
    scores = [metric for split, _, metric in map(split_name, metrics) if split == "test" and is_score(metric)]
    content["metrics"] = list(dict.fromkeys(_HUB_METRICS.get(name, name) for name in scores if "_ci95" not in name))
    kept = {key: value for key, value in content.items() if value != []}
    return f"---\n{yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)}---\n\n"


def card(
    run: Path, assessment: Path | None = None, *, predicts: bool = True, allow: Sequence[str] = ()
) -> tuple[list[Section], list[tuple[str, str, str]]]:
    """Lay the card out; arguments as of :func:`write_card`.

    Returns:
        Sections, the first with the title and the summary, and tiles.
    """
    results = read_results(run)
    if results.get("status") != "completed":
        raise UserError(f"card: the run in {run} {not_completed(results)}: give a completed run")
    config, choices = read_stored(run), results.get("choices") or {}
    found = _assessment(run, assessment)
    name = str(results.get("name") or run.name)
    names = [_word(choices, group) for group in ("backbone", "strategy", "data")]
    version = (results.get("versions") or {}).get("tl_lab", "")
    summary = f"Backbone `{names[0]}`, trained by `{names[1]}` on `{names[2]}`{_adapted(choices)}, by tl_lab {version}."
    sections = [
        Section(f"Model card: {name}", [summary]),
        *_use(run, choices, results, config),
        *_data(results, choices),
    ]
    metrics = _metrics(results, *_intervals(run, results, predicts, allow))
    metrics.parts += _reservations(results)
    sections += [metrics, *_findings(results)]
    sections += [_from_assessment(run, choices, found, "calibration", "Calibration")]
    sections += [_from_assessment(run, choices, found, "bias", "Groups"), _drift(run), _energy(results, found)]
    sections += [_licences(results, config, _files(run, results)), _repeat(run, results)]
    parameters = (results.get("parameters") or {}).get("total")
    tiles = [
        ("data", _word(choices, "data"), ""),
        ("backbone", _word(choices, "backbone"), ""),
        ("parameters", "-" if parameters is None else f"{parameters:,}", ""),
        ("trained in", duration(float(results.get("duration_s") or 0)), ""),
    ]
    return sections, tiles


def _word(choices: Mapping[str, Any], group: str) -> str:
    return str(choices.get(group) or "-")


def _adapted(choices: Mapping[str, Any]) -> str:
    adaptation = choices.get("domain_adaptation")
    return "" if adaptation in (None, "none") else f", adapted to the target by `{adaptation}`"


def _use(run: Path, choices: Mapping[str, Any], results: Mapping[str, Any], config: "DictConfig") -> list[Section]:
    columns = to_plain(config)["data"].get("label_column")
    target = f" the column {' and '.join(f'`{one}`' for one in names_in(columns))} of" if columns else ""
    parts: list[str | Table | Picture] = [
        f"Intended: to predict{target} samples like the test data of `data={_word(choices, 'data')}`"
        f"{_files(run, results)}. The scores below hold for such samples only.",
    ]
    kind = _OUTPUTS.get(_problem(run))
    if kind and (names := _outputs(run)):
        more = f" and {len(names) - _MOST_NAMED:,} others" if len(names) > _MOST_NAMED else ""
        shown = ", ".join(f"'{name}'" for name in names[:_MOST_NAMED])
        parts.append(
            f"Predicted: {counted(len(names), kind, f'{kind}es' if kind == 'class' else None)}: {shown}{more}."
        )
    parts.append(
        "Not intended: decisions about people without a bias audit of their groups and a review by a responsible "
        "person; data that have drifted (see `Drift reference`)."
    )
    if results.get("oracle"):
        parts.append("> The run was trained on target labels: it is an oracle for comparisons, not a method.")
    return [Section("Intended use", parts)]


def _files(run: Path, results: Mapping[str, Any]) -> str:
    """Name the files or folders of data that were given, in brackets, without the folders that contain them."""
    given = [one.lstrip("+").partition("=")[0] for one in _overrides(run) or []]
    places = results.get("data_places") or {}
    names = [Path(path).name for key in dict.fromkeys(given) for path in _listed((places.get(key) or {}).get("used"))]
    return f" ({', '.join(f'`{name}`' for name in names)})" if names else ""


def _outputs(run: Path) -> list[str]:
    """Read the names of classes, labels or numbers from the checkpoint, without its weights; empty without any."""
    import torch

    from tl_lab.run.checkpoints import checkpoint_of

    try:
        content = torch.load(checkpoint_of(run), map_location="cpu", mmap=True, weights_only=True)
        return [str(name) for name in content["model"]["class_names"]]
    except Exception:  # a card does not need the checkpoint
        return []


def _reservations(results: Mapping[str, Any]) -> list[str]:
    """State what speaks against the model: a better baseline, and the doubts that the run has recorded."""
    metrics, sizes = results.get("metrics") or {}, results.get("sizes") or {}
    main = (results.get("problem") or {}).get("monitor", ASSUMED)
    found = []
    for name, value in metrics.items():
        split, part, metric = split_name(name)
        domain, model = answerer(part)
        own = metrics.get("/".join(filter(None, [split, domain, metric])))
        if split != "test" or not model or metric != main or value is None or own is None:
            continue
        if value == own or (value < own) != less_is_better(metric):
            continue
        count = sizes.get(f"{domain}/test" if domain else "test")
        texts = [_with_interval(metric, float(one), count, None, None) for one in (value, own)]
        where = f" on {domain}" if domain else ""
        side = "lower, which is better," if less_is_better(metric) else "higher"
        found.append(
            f"> {model[:1].upper()}{model[1:]} score {side} than the model{where}: "
            f"{readable(metric)} {texts[0]} against {texts[1]}."
        )
    return found + [f"> Doubtful: {text.rstrip('.')}." for text in results.get("doubts") or ()]


def _data(results: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Section]:
    sizes = results.get("sizes") or {}
    rows = [[str(name), f"{count:,}"] for name, count in sizes.items()]
    parts: list[str | Table | Picture] = [Table(["set", "samples"], rows, 1, f"Sets of {_word(choices, 'data')}")]
    protocol = results.get("protocol") or {}
    parts += [f"{name}: {value}." for name, value in protocol.items() if isinstance(value, str)]
    parts.append(f"Fingerprint of the data: `{results.get('data_hash', '-')}`.")
    return [Section("Training data", parts)]


def _intervals(
    run: Path, results: Mapping[str, Any], predicts: bool, allow: Sequence[str]
) -> tuple[Mapping[str, Measure], str]:
    """Return the bootstrap intervals of scores by name, or the reason why there are none."""
    names = [name for name, value in (results.get("metrics") or {}).items() if value is not None]
    tested = [metric for split, _, metric in map(split_name, names) if split == "test" and is_score(metric)]
    if not set(tested) - {"acc", "accuracy"} or any(metric.endswith("_ci95") for metric in tested):
        return {}, ""
    from tl_lab.assess.rescoring import NotByTheSample, intervals_of

    try:
        found = intervals_of(run, predicts, allow)
        return ({}, "this was switched off") if found is None else (found, "")
    except NotByTheSample as reason:
        return {}, str(reason)
    except (UserError, OSError, ImportError) as error:  # there is a card without them
        warnings.warn(f"the card has no bootstrap intervals: {root_cause(error)}", stacklevel=2)
        return {}, "the model or the data cannot be read any more"  # the error may name places of this machine


def _metrics(results: Mapping[str, Any], intervals: Mapping[str, Measure], lacking: str) -> Section:
    metrics, sizes = results.get("metrics") or {}, results.get("sizes") or {}
    rows: list[list[str | Cell]] = []
    beside = any(answerer(split_name(name).part)[1] for name in metrics)
    for name, value in metrics.items():
        split, part, metric = split_name(name)
        if split != "test" or value is None or metric.endswith("_ci95") or not is_score(metric):
            continue
        tested, model = answerer(part)
        count = sizes.get(f"{tested}/test" if tested else "test")
        interval = _with_interval(metric, float(value), count, metrics.get(f"{name}_ci95"), intervals.get(name))
        rows.append([tested or "all", *([model or "network"] if beside else []), readable(metric), interval])
    explanation = (
        "Intervals of accuracies are Wilson's over the test samples of one run, or normal ones over its test episodes; "
        "those of other scores are a bootstrap over the test samples, predicted again. They do not cover the variation "
        "between seeds. "
        "A score that these predictions do not reproduce, or that is equal in all draws, has no interval."
    )
    notes = [f"> The test samples are not predicted again: {lacking.rstrip('.')}."] if lacking else []
    columns = ["test set", *(["model"] if beside else []), "metric", "value (95 %)"]
    return Section("Metrics", [Table(columns, rows, len(columns) - 1), explanation, *notes])


def _findings(results: Mapping[str, Any]) -> list[Section]:
    """Show each finding at its operating point, where the run screened for some."""
    rows = results.get("findings") or []
    cells: list[list[str | Cell]] = [list(row) for row in screened(rows)]
    return [Section("Findings", [Table(list(SCREENED), cells, 1), ON_SCREENING])] if rows else []


def _with_interval(metric: str, value: float, count: int | None, half: float | None, drawn: Measure | None) -> str:
    """Write a metric with the interval over episodes that the run has stored, or over test samples."""
    if half is not None and is_share(metric):
        return Measure(value, max(0.0, value - half), min(1.0, value + half)).text(percent=True)
    if metric in ("acc", "accuracy") and count and is_share(metric):
        return wilson(value * count, int(count)).text(percent=True)
    if drawn is not None and drawn.low == drawn.high:  # kept by an earlier version
        drawn = None
    if drawn is not None and is_share(metric):
        return Measure(value, drawn.low, drawn.high).text(percent=True)
    text = f"{format_metric(metric, value, None)}{' %' if is_share(metric) else ''}"
    if drawn is None or drawn.low is None or drawn.high is None:
        return text
    return f"{text} ({' to '.join(format_metric(metric, end, None) for end in (drawn.low, drawn.high))})"


def _from_assessment(
    run: Path, choices: Mapping[str, Any], found: Mapping[str, Any] | None, part: str, title: str
) -> Section:
    """Take a part over from the assessment, with its main numbers."""
    if found is None:
        if (problem := _problem(run)) in PACKAGED and problem not in _ASSESSED[part]:
            return Section(title, [_NOT_ASSESSED[part]])
        command = commands.command("assess", *_inputs(run, choices), f"init_from={run}", f"assess={part}")
        return Section(title, [f"Not assessed: `{command}` does."])
    one = (found.get("parts") or {}).get(part) or {
        "status": "not assessed",
        "why": "The assessment does not contain this part.",
    }
    if one.get("status") != "assessed":
        return Section(title, [str(one.get("why"))])
    rows: list[list[str | Cell]] = [
        [name, Measure(**{k: v for k, v in m.items() if k != "p"}).text()]
        for name, m in one["measures"].items()
        if m.get("value") is not None and (part != "bias" or "difference" in name or "/fpr" in name)
    ]
    return Section(title, [str(one["sentence"]), Table(["quantity", "value (95 %)"], rows, 1)])


def _problem(run: Path) -> str:
    return str((read_results(run).get("problem") or {}).get("name", "single_label"))


def _inputs(run: Path, choices: Mapping[str, Any]) -> list[str]:
    """List the run's overrides of data and backbone, with which they are built again."""
    parts = ("data=", "data.", "data@", "backbone", "experiment=")
    own = [one for one in _overrides(run) or [] if one.lstrip("+").startswith(parts)]
    given = {one.partition("=")[0] for one in own}
    return [f"{group}={_word(choices, group)}" for group in ("data", "backbone") if group not in given] + own


def _overrides(run: Path) -> list[str] | None:
    """Read the options that the run was started with; None where they are not stored."""
    try:
        return [str(one) for one in read_yaml(run / ".hydra" / "overrides.yaml") or []]
    except UserError:
        return None


def _drift(run: Path) -> Section:
    reference = run / "drift_reference.npz"
    command = commands.command("drift", str(run), "data=...")
    state = "is stored with the weights" if reference.is_file() else "is fitted at the first call"
    return Section(
        "Drift reference", [f"A reference of held-out data {state}; new data are compared with it: `{command}`."]
    )


def _energy(results: Mapping[str, Any], found: Mapping[str, Any] | None) -> Section:
    seconds = float(results.get("duration_s") or 0)
    sentence = f"Training took {duration(seconds)} on {results.get('device', 'an unknown device')}"
    if (kwh := kwh_of_run(results)) is None:
        sentence += "; its electricity is not known."
    else:
        each = ", ".join(f"{1000 * emissions(kwh, country):.2f} g in {country}" for country in FACTORS)
        sentence += f": about {1000 * kwh:.2f} Wh ({source_of_run(results)}), CO2e {each}."
    parts: list[str | Table | Picture] = [sentence]
    if found and found.get("footprint"):
        one = found["footprint"]
        parts.append(
            f"The assessment used {1000 * one['kwh']:.2f} Wh, {1000 * one['kg']:.2f} g CO2e ({one['source']})."
        )
    return Section("Energy", parts)


def _licences(results: Mapping[str, Any], config: "DictConfig", files: str) -> Section:
    weights = results.get("weights") or {}
    licence = _licence_of(json.dumps(weights))
    terms = data_terms(to_plain(config)["data"])
    lines = [
        f"Data of the user{files}: tl_lab does not know their terms of use; state them before you publish the model."
        if name == "own"
        else f"{what}: {conditions}."
        if name in _NO_NAMES
        else f"Data `{name}`: {what}: {conditions}."
        for name, (what, conditions) in terms.items()
    ]
    parts: list[str | Table | Picture] = [
        f"Backbone: weights {weights.get('from', 'unknown')}; licence {licence}.",
        *(lines or ["Data: their publishers set the terms."]),
        "The publishers of the data set the terms; a model trained on data for research only inherits these.",
        "Code: MIT.",
    ]
    return Section("Licences", parts)


def _licence_of(weights: str) -> str:
    """Say the licence of weights; that of weights which are not packaged is their publisher's."""
    random = "as the code's, for they were random at the start"
    return _known_licence(weights) or ("of their publisher" if "random" not in weights else random)


def _known_licence(weights: str) -> str | None:
    """Find the licence of packaged weights by their names."""
    from tl_lab.backbones.packaged import PACKAGED

    for name, one in PACKAGED.items():
        if any(text and text in weights for text in (name, one.package, *one.files)):
            return one.licence
    return None


def _repeat(run: Path, results: Mapping[str, Any]) -> Section:
    versions = results.get("versions") or {}
    numbers = ", ".join(f"{name} {number}" for name, number in versions.items())
    outside = [word for one in results.get("config_dirs") or () for word in ("--config-dir", str(one))]
    parts: list[str | Table | Picture] = [
        f"`{commands.command('reproduce', str(run))}` repeats the stored configuration and compares the numbers.",
        f"Versions: {numbers}.",
    ]
    if (overrides := _overrides(run)) is not None:
        parts.insert(0, f"`{shlex.join(['python', 'train.py', *outside, *overrides])}`")
        by_base: dict[str, list[str]] = {}
        for one, base in _relative(results, overrides).items():
            by_base.setdefault(base, []).append(one)
        parts[1:1] = [_on_relative(options, base) for base, options in by_base.items()]
    return Section("To repeat this", parts)


def _relative(results: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, str]:
    """Find the given options with relative paths, and what these are relative to: a key of ``_BASES``."""
    places = results.get("data_places") or {}
    found: dict[str, str] = {}
    for one in overrides:
        name, _, value = one.lstrip("+").partition("=")
        if name not in {*places, *_PATHS}:
            continue
        given = _paths_in(value)
        if all(Path(path).expanduser().is_absolute() for path in given):
            continue
        used = _listed((places.get(name) or {}).get("used"))
        pairs = list(zip(given, used, strict=False)) if len(given) == len(used) else []
        found[one] = "folder" if name in _PATHS else _base_of(pairs)
    return found


def _base_of(pairs: Sequence[tuple[str, str]]) -> str:
    """Tell what relative paths of data are relative to, if the absolute ones show it on this machine."""
    kept = [(path, used) for path, used in pairs if not Path(path).expanduser().is_absolute()]
    bases = {"folder": Path.cwd()}
    if data := os.environ.get("TL_LAB_DATA"):
        bases["data"] = Path(data).expanduser().absolute()
    matching = (name for name, base in bases.items() if kept and all(Path(used) == base / path for path, used in kept))
    return next(matching, "either")


def _on_relative(options: Sequence[str], base: str) -> str:
    """Say what relative paths are relative to, and how to use them again."""
    count = sum(len(_paths_in(one.partition("=")[2])) for one in options)
    these, paths = ("this path is", "the path") if count == 1 else ("these paths are", "the paths")
    what, how = _BASES[base]
    kept = ", ".join(f"`{one}`" for one in options)
    return f"{kept}: {these} relative to {what}. {how}, or give {paths} on your machine."


def _listed(paths: object) -> list[str]:
    """Return a path, a list of paths, or nothing as a list."""
    return [str(one) for one in paths] if isinstance(paths, list | tuple) else [str(paths)] if paths else []


def _paths_in(value: str) -> list[str]:
    """Read the paths of an override's value: one, a list in brackets, or none for an empty value and ``null``."""
    if value in ("", "null"):
        return []
    if not (value.startswith("[") and value.endswith("]")):
        return [value.strip("'\"")]
    return [one for part in value[1:-1].split(",") if (one := part.strip().strip("'\""))]


def _assessment(run: Path, given: Path | None) -> Mapping[str, Any] | None:
    """Read an assessment: the one given, or the newest that names the run."""
    if given is not None:
        try:
            found = json.loads(given.read_text(encoding="utf-8"))
            assert isinstance(found["parts"], dict)
            return found
        except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
            raise UserError(f"card: {given} is no assessment.json that can be read") from error
    root = Path(os.environ.get("TL_LAB_OUTPUTS", "outputs")) / "assessments"
    for path in sorted(root.glob("*/*/assessment.json"), key=lambda one: one.parent.name, reverse=True):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            named = [text.partition("=")[2] for text in found["overrides"] if text.startswith("init_from=")]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if named and Path(named[0]).absolute() == run.absolute():
            return found
    return None
