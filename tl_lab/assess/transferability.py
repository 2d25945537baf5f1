"""Which backbone: scores of transferability on labelled training data, ranked, and checked afterwards."""

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from tl_lab.assess.material import RAW, Material
from tl_lab.assess.measured_runs import measured
from tl_lab.assess.pictures import bars, scatter_scores
from tl_lab.assess.resampling import folds_of, jackknifed
from tl_lab.assess.results import Confidence, Measure, NotApplicable, PartResult, wilson
from tl_lab.data.sets.trees import tree_scores
from tl_lab.functional.class_separation import h_score, regularised_h_score, transrate
from tl_lab.functional.label_transfer import leep, nce
from tl_lab.functional.log_evidence import logme
from tl_lab.functional.rank_agreement import weighted_tau
from tl_lab.results.names import BASELINE
from tl_lab.results.report.blocks import Cell, Table

__all__ = ["SCORES", "TREES", "agreement", "assess", "tau_text"]

TITLE = "Which backbone"
TREES = "trees"
"""Measure of the baseline on tables."""
_COMPONENTS = 32  # of the principal components that mixtures are fitted to
_FEWEST_ORDERED = 3  # two names: their tau is -1 or 1 by a single comparison
_FEWEST_RANKED = 6  # fewer names: the bootstrap interval of a ranking covers too rarely
_RESAMPLED = 1000
SCORES: dict[str, tuple[str, Callable[[Tensor, Tensor, bool], float]]] = {
    "logme": ("LogME", logme),
    "h_score": ("H-score", h_score),
    "regularised_h_score": ("H-score, regularised", regularised_h_score),
    "transrate": ("TransRate", lambda x, y, exact: transrate(x, y)),
}


def assess(material: Material) -> PartResult | NotApplicable:
    """Score and rank the backbones and the raw inputs on labelled training data.

    Neither test data nor target labels choose: scores see training labels, the probe is scored on validation data.

    Args:
        material: of the assessment.
    """
    if not material.classifies:
        return NotApplicable(TITLE, "The scores rank features for classes, and these data have none.")
    y = material.labels(material.train)
    measures: dict[str, Measure] = {}
    found: dict[str, dict[str, Measure]] = {}
    left_out: dict[str, np.ndarray] = {}  # LogME without each fold
    for name in material.representations:
        x = material.representation(name, material.train)
        jackknives = {key: _folded(score, x, y, material) for key, (_, score) in SCORES.items()}
        found[name] = {key: one for key, (one, _) in jackknives.items()}
        left_out[name] = jackknives["logme"][1]
        found[name] |= _from_source(material, name, x, y)
        found[name]["probe"] = _probe(material, name, material.validation)
        if material.deployment is not None:
            found[name]["probe_target"] = _probe(material, name, material.deployment)
        if RAW in material.representations and name != RAW:
            found[name]["gain"] = _gain(material, name)
        measures |= {f"{name}/{key}": value for key, value in found[name].items()}
    order = sorted(found, key=lambda name: -found[name]["logme"].value)
    if len(order) > 1:
        first, second = order[:2]
        difference = found[first]["logme"].value - found[second]["logme"].value
        measures["lead"] = jackknifed(difference, left_out[first] - left_out[second])
    notes = _notes(material)
    if (trees := _trees(material)) is not None:
        measures[TREES] = trees
        notes.append(
            "Gradient-boosted trees are fitted to the same training rows and scored on the same validation rows as "
            "the linear probes; they have no features that LogME could rank."
        )
    caption = f"Scores on {len(y):,} samples of {material.display_name(material.train)}; higher is better"
    tables = [_ranked(order, found, caption, trees), _further(order, found)]
    tables += _checked(material, found, measures, notes)
    figures = {
        "LogME in nats per sample, with 95 % jackknife intervals over folds": bars(
            {name: found[name]["logme"] for name in order}, "LogME"
        ),
        "LogME against the validation accuracy of a linear probe": scatter_scores(
            {name: (found[name]["logme"].value, found[name]["probe"].value) for name in order},
            "LogME",
            "probe's validation accuracy",
        ),
    }
    sentence, confidence = _sentence(found, order, measures.get("lead"))
    return PartResult(TITLE, sentence, confidence, measures, tables, figures, notes, {"ranking": order})


def _folded(
    score: Callable[[Tensor, Tensor, bool], float], x: Tensor, y: Tensor, material: Material
) -> tuple[Measure, np.ndarray]:
    """Compute a score with its interval by a jackknife over folds, and the scores without each, less exact."""
    folds = material.options.folds
    fold = folds_of(len(x), folds, material.plan.seed)
    left_out = np.array([score(x[fold != k], y[fold != k], False) for k in range(folds)])
    return jackknifed(score(x, y, True), left_out), left_out


def _from_source(material: Material, name: str, x: Tensor, y: Tensor) -> dict[str, Measure]:
    """Compute LEEP and NCE from source classes: those of an earlier run, or the parts of a Gaussian mixture."""
    from tl_lab.assess.source_classes import probabilities

    p = probabilities(material, name, x)
    scores: dict[str, Callable[[Tensor, Tensor, bool], float]] = {
        "leep": lambda p, y, _: leep(p, y),
        "nce": lambda p, y, _: nce(p.argmax(1), y),
    }
    return {key: _folded(score, p, y, material)[0] for key, score in scores.items()}


def _probe(material: Material, name: str, on: str) -> Measure:
    y = material.labels(on)
    answers = material.logits(name, on).argmax(1)
    return wilson(int((answers == y).sum()), len(y))


def _gain(material: Material, name: str) -> Measure:
    """Compare a probe with one on the raw inputs, on the same validation samples."""
    y = material.labels(material.validation)
    right = [(material.logits(one, material.validation).argmax(1) == y).double() for one in (name, RAW)]
    difference = right[0] - right[1]
    half = 1.96 * float(difference.std(correction=0)) / len(y) ** 0.5
    return Measure(float(difference.mean()), float(difference.mean()) - half, float(difference.mean()) + half)


def _trees(material: Material) -> Measure | None:
    """Score gradient-boosted trees on validation data; None for data that are no tables, or without this baseline."""
    if not getattr(material.data, "trees", False):
        return None
    scores = tree_scores(
        material.drawn,
        material.train,
        [material.validation],
        material.data.problem,
        material.plan.seed,
        material.data.fingerprint(),
    )
    accuracy = next((value for name, value in scores.items() if name.endswith("/acc")), None)
    count = len(material.labels(material.validation))
    return None if accuracy is None else wilson(round(accuracy * count), count)


def _ranked(
    order: list[str], found: dict[str, dict[str, Measure]], caption: str, trees: Measure | None = None
) -> Table:
    """List what the ranking is by, and what it is checked by."""
    oracle = any("probe_target" in one for one in found.values())
    head = ["rank", "representation", "LogME", "linear probe (95 %)", *(["on the target, oracle"] if oracle else [])]
    rows: list[list[str | Cell]] = []
    for rank, name in enumerate(order, 1):
        mark = "best" if rank == 1 else ""
        cells = [found[name]["probe"], *([found[name]["probe_target"]] if oracle else [])]
        scored = Cell(found[name]["logme"].short(), value=found[name]["logme"].value)
        rows.append([Cell(str(rank), mark), Cell(name, mark), scored, *(one.text(percent=True) for one in cells)])
    if trees is not None:
        rows.append(["-", BASELINE, "-", trees.text(percent=True), *(["-"] if oracle else [])])
    return Table(head, rows, 2, caption)


def _further(order: list[str], found: dict[str, dict[str, Measure]]) -> Table:
    """List the other scores."""
    keys = [key for key in SCORES if key != "logme"]
    rows: list[list[str | Cell]] = []
    for name in order:
        cells = [Cell(found[name][k].short(_digits(found[name][k].value)), value=found[name][k].value) for k in keys]
        source = (found[name][key] for key in ("leep", "nce"))
        rows.append([name, *cells, *(Cell(one.short(3), value=one.value) for one in source)])
    head = ["representation", *(SCORES[key][0] for key in keys), "LEEP", "NCE"]
    return Table(head, rows, 1, "Further scores, with half the widths of their 95 % intervals")


def _digits(value: float) -> int:
    return 1 if abs(value) >= 10 else 3


def agreement(scores: Mapping[str, float], accuracies: Mapping[str, float]) -> Measure | None:
    """Compute the weighted Kendall tau of scores and accuracies, with a 95 % bootstrap interval over the names.

    Mistakes at the top of the ranking by accuracy weigh most. Fewer than six names have no interval, because its
    coverage would be too low. Every resample of a ranking without mistakes is without mistakes as well: its bounds are
    1 and say nothing.

    Args:
        scores: by name.
        accuracies: by name.

    Returns:
        tau over the names that have both; None for fewer than three names.
    """
    names = [name for name in scores if name in accuracies]
    x, y = (np.array([float(of[name]) for name in names])[None] for of in (accuracies, scores))
    if len(names) < _FEWEST_ORDERED or not np.isfinite(found := float(weighted_tau(x, y)[0])):
        return None
    if len(names) < _FEWEST_RANKED:
        return Measure(found)
    drawn = np.random.default_rng(0).integers(len(names), size=(_RESAMPLED, len(names)))
    low, high = np.nanquantile(weighted_tau(x[0, drawn], y[0, drawn]), [0.025, 0.975])
    return Measure(found, float(low), float(high))


def tau_text(tau: Measure | None) -> str:
    """Write an agreement with its interval, or with the reason why it has none; "-" for None."""
    if tau is None:
        return "-"
    if tau.low is None or tau.high is None:
        return f"{tau.value:+.2f} (too few)"
    if tau.low == tau.high:
        return f"{tau.value:+.2f} (no mistake)"
    return f"{tau.value:+.2f} ({tau.low:+.2f} to {tau.high:+.2f})"


def _checked(
    material: Material, found: dict[str, dict[str, Measure]], measures: dict[str, Measure], notes: list[str]
) -> list[Table]:
    """Hold each score against the probe, and against finished runs where there are any."""
    known = {"probe": {name: one["probe"].value for name, one in found.items()}}
    if material.deployment is not None:
        known["target"] = {name: one["probe_target"].value for name, one in found.items()}
    runs = measured(material)
    if runs:
        known["runs"] = {name: mean for name, (mean, _) in runs.items()}
    rows: list[list[str | Cell]] = []
    named = {key: title for key, (title, _) in SCORES.items()}
    named |= {"leep": "LEEP", "nce": "NCE", "probe": "linear probe on validation data"}
    for key, title in named.items():
        scores = {name: one[key].value for name, one in found.items()}
        taus = [None if where == key else agreement(scores, one) for where, one in known.items()]
        for where, tau in zip(known, taus, strict=True):
            if tau is not None:
                measures[f"tau/{key}/{where}"] = tau
        rows.append([title, *(tau_text(tau) for tau in taus)])
    if runs:
        accuracies = ", ".join(f"{name} {mean:.1%} ({n} run{'s' if n > 1 else ''})" for name, (mean, n) in runs.items())
        notes.append(f"Fine-tuning accuracy measured by finished runs on these data: {accuracies}.")
    else:
        notes.append(
            "No finished fine-tuning run on these data was found, so that the ranking is checked by the probe."
        )
    if len(found) < _FEWEST_ORDERED:
        return []
    words = {"probe": "τ, probe", "target": "τ, probe on the target (oracle)", "runs": "τ, finished runs"}
    head = ["score", *(words[where] for where in known)]
    notes.append(
        f"Intervals of Kendall's τ are a bootstrap over the representations; of fewer than {_FEWEST_RANKED} (too few), "
        "or without a single mistake, there is none."
    )
    return [Table(head, rows, 1, "Weighted Kendall τ (95 %) with measured accuracies: 1 for the same ranking")]


def _notes(material: Material) -> list[str]:
    notes = []
    if untaught := [one.name for one in material.subjects if not one.learned]:
        are = "has" if len(untaught) == 1 else "have"
        notes.append(
            f"> {', '.join(untaught)} {are} random weights: the scores are those of an untrained network's features. "
            "Give `backbone.weights`, `backbone.pretrained=true` or `init_from=<run>` for trained weights."
        )
    if material.deployment is not None:
        notes.append(
            "Columns marked oracle use target labels: they check the ranking afterwards and are not used for selection."
        )
    if material.paired:
        notes.append(
            f"All scores use labels of {material.display_name(material.train)} only; target labels are never used for "
            "selection."
        )
    notes.append(
        "LEEP and NCE use the classes of the run given by `init_from`, or those of the pretraining task if the "
        "classifier of the weights is known (EfficientNet-Lite: ImageNet), or else the components of a Gaussian "
        "mixture on the "
        "features (N-LEEP)."
    )
    return notes


def _sentence(found: dict[str, dict[str, Measure]], order: list[str], lead: Measure | None) -> tuple[str, Confidence]:
    best, probe = order[0], {name: one["probe"] for name, one in found.items()}
    if lead is None:
        sentence = f"LogME of {best} is {found[best]['logme'].text()}"
        return f"{sentence}; its linear probe reaches {probe[best].text(percent=True)} on validation data.", "moderate"
    first = found[best]["logme"]
    apart = lead.low is not None and lead.low > 0
    winner = max(probe, key=lambda name: probe[name].value)
    agrees = winner == best
    ahead = f"{'ahead of' if apart else 'not separated from'} {order[1]} (difference {lead.text()})"
    ranks = f"LogME ranks {best} first ({first.text()}), {ahead}"
    if agrees:
        sentence = f"{ranks}; a linear probe agrees ({probe[winner].text(percent=True)})."
    else:
        sentence = (
            f"LogME and the linear probe disagree: {ranks}; the probe is most accurate on {winner} "
            f"({probe[winner].text(percent=True)}, on {best} {probe[best].text(percent=True)})."
        )
    if best == RAW or winner == RAW:
        sentence += " No backbone is better than the raw inputs by both scores: transfer may not help here."
    return sentence, "high" if apart and agrees else "moderate" if agrees or apart else "low"
