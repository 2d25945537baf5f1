"""How far apart two domains are on a backbone's features."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tl_lab.assess.material import RAW, Material
from tl_lab.assess.pictures import bars, plane
from tl_lab.assess.resampling import jackknifed, jackknifed_ratio
from tl_lab.assess.results import Confidence, Measure, NotApplicable, PartResult
from tl_lab.functional.domain_folds import folded_a_distance
from tl_lab.functional.gaussian_distance import frechet_distance, otdd
from tl_lab.functional.kernels import gaussian_kernel, mmd_unbiased
from tl_lab.functional.two_samples import mmd_test
from tl_lab.randomness import generator
from tl_lab.results.report.blocks import Cell, Table, p_cell

__all__ = ["assess"]

TITLE = "Domain similarity"
_ASSIGNED = 500  # samples of each set in an exact assignment
_MMD = 500  # of each set in the permutation test
_HEAD = ["representation", "A-distance (95 %)", "MMD² (95 %)", "p", "Fréchet, × halves (95 %)", "OTDD, × halves (95 %)"]


def assess(material: Material) -> PartResult | NotApplicable:
    """Measure the distances between training data and what they are compared with, on each representation.

    Args:
        material: of the assessment.
    """
    one, other = material.train, material.other
    if other is None:
        return NotApplicable(TITLE, "There is no second set that the training data could be compared with.")
    names = [material.display_name(one), material.display_name(other)]
    rows: list[list[str | Cell]] = []
    measures: dict[str, Measure] = {}
    distances: dict[str, Measure] = {}
    for name in material.representations:
        a, b = material.representation(name, one), material.representation(name, other)
        found = _distances(material, a, b) | _labelled(material, name)
        measures |= {f"{name}/{key}": value for key, value in found.items()}
        distances[name] = found["a_distance"]
        rows.append(_row(name, found))
    first = material.representations[0]
    figures = {
        f"{names[0]} and {names[1]} on the features of {first}": plane(
            {n: material.representation(first, s).numpy() for n, s in zip(names, (one, other), strict=True)}
        ),
        "Proxy A-distance, 0 for equal and 2 for linearly separable sets, with 95 % intervals": bars(
            distances, "proxy A-distance", line=0
        ),
    }
    caption = f"{names[0]} against {names[1]}. × halves: as a multiple of the distance between halves of {names[0]}"
    notes = [
        "Proxy A-distance is `2 (1 - 2 err)` of a linear classifier between the sets, over folds; MMD² is the "
        "unbiased estimate, with p by permutation; OTDD is the least cost of moving labelled samples, by exact "
        "assignment. The intervals of MMD², Fréchet distance and OTDD are jackknife intervals over folds; p tests "
        "whether the sets differ at all."
    ]
    if material.paired and material.deployment:
        notes.append(
            "OTDD uses the labels of the target's test set: it describes the data and is not used for selection."
        )
    if not material.paired:
        notes.append(
            "These data have one domain: the test set is compared with the training set, from which it should not "
            "differ."
        )
    sentence, confidence = _sentence(material, names, measures)
    result = PartResult(TITLE, sentence, confidence, measures, [Table(_HEAD, rows, 1, caption)], figures, notes)
    if material.options.pretraining:
        _add_pretraining(material, material.options.pretraining, result)
    return result


def _distances(material: Material, a: Tensor, b: Tensor) -> dict[str, Measure]:
    options, seed = material.options, material.plan.seed
    folded = folded_a_distance(a, b, options.folds, options.samples, seed)
    found = {"a_distance": Measure(folded.distance, folded.low, folded.high)}
    x, y = _few(a, _MMD, seed), _few(b, _MMD, seed)
    _, p = mmd_test(x, y, options.permutations, seed)
    found["mmd2"] = replace(_mmd(x, y, options.folds), p=p)
    halves = _few(a, len(a), seed).tensor_split(2)
    found |= _against_halves("frechet", [*halves, _few(b, len(b), seed)], frechet_distance, options.folds)
    return found


def _mmd(x: Tensor, y: Tensor, folds: int) -> Measure:
    """Measure MMD² between sets in a random order, with the interval of a jackknife over folds.

    The kernel is that of all samples; there is no interval where there are fewer than two samples a fold.
    """
    kernel = gaussian_kernel(torch.cat([x, y]).double())
    fold = torch.cat([torch.arange(len(one)) % folds for one in (x, y)])
    whole = float(mmd_unbiased(kernel, len(x)))
    if min(len(x), len(y)) < 2 * folds:
        return Measure(whole)
    kept = [(fold != k).nonzero()[:, 0] for k in range(folds)]
    return jackknifed(whole, np.array([float(mmd_unbiased(kernel[i][:, i], int((i < len(x)).sum()))) for i in kept]))


def _labelled(material: Material, name: str) -> dict[str, Measure]:
    """Measure OTDD between the training set and the labelled test set of the other domain."""
    labelled = material.deployment if material.paired else material.test
    if labelled is None or not material.classifies:
        return {}
    a, b = ((material.representation(name, one), material.labels(one)) for one in (material.train, labelled))
    return _assigned(a, b, material)


def _assigned(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], material: Material) -> dict[str, Measure]:
    """Measure OTDD between features with classes, and between halves of the first."""
    seed = material.plan.seed
    order, other = (
        torch.randperm(len(y), generator=generator(seed, "otdd", name)) for name, (_, y) in (("a", a), ("b", b))
    )
    most = min(len(order) // 2, _ASSIGNED)
    i, j, k = order[:most], other[:most], order[most : 2 * most]
    # features and classes side by side: the same samples of both are left out
    sets = [torch.cat([x[at].double(), y[at, None].double()], 1) for (x, y), at in ((a, i), (a, k), (b, j))]
    return _against_halves("otdd", sets, _otdd_of_rows, material.options.folds)


def _otdd_of_rows(a: Tensor, b: Tensor) -> float:
    return otdd(a[:, :-1], a[:, -1], b[:, :-1], b[:, -1])


def _against_halves(
    key: str, sets: Sequence[Tensor], distance: Callable[[Tensor, Tensor], float], folds: int
) -> dict[str, Measure]:
    """Measure a distance between sets, and as a multiple of that between halves of the first.

    Args:
        key: name of the distance.
        sets: both halves of the first set, and the second set, in a random order; as many of each are used.
        distance: of two sets of equal size.
        folds: of the intervals, a jackknife that leaves out the same fold of each set.

    Returns:
        The distance, and its ratio; without intervals where there are fewer than two samples a fold.
    """
    size = min(map(len, sets))
    one, half, other = (rows[:size] for rows in sets)

    def measured(kept: Tensor) -> tuple[float, float]:
        between = distance(one[kept], other[kept])
        return between, _ratio(between, distance(one[kept], half[kept]))

    fold, whole = torch.arange(size) % folds, measured(torch.ones(size, dtype=torch.bool))
    if size < 2 * folds:
        return {key: Measure(whole[0]), f"{key}_over_halves": Measure(whole[1])}
    between, ratios = np.array([measured(fold != k) for k in range(folds)]).T
    return {key: jackknifed(whole[0], between, least=0), f"{key}_over_halves": jackknifed_ratio(whole[1], ratios)}


def _row(name: str, found: dict[str, Measure]) -> list[str | Cell]:
    ratio = found.get("otdd_over_halves")
    return [
        name,
        Cell(found["a_distance"].text(2), value=found["a_distance"].value),
        Cell(found["mmd2"].text(4), value=found["mmd2"].value),
        p_cell(found["mmd2"].p),
        found["frechet_over_halves"].text(1),
        "-" if ratio is None else ratio.text(2),
    ]


def _sentence(material: Material, names: list[str], measures: dict[str, Measure]) -> tuple[str, Confidence]:
    first = material.representations[0]
    found, p = measures[f"{first}/a_distance"], measures[f"{first}/mmd2"].p or 0.0
    accuracy = (found.value / 2 + 1) / 2
    if found.low is not None and found.low > 1:
        how, confidence = "far apart", "high"
    elif p >= material.options.alpha and (found.low or 0) <= 0.1:
        how, confidence = "not told apart", "moderate"
    else:
        how, confidence = "different but overlapping", "moderate"
    features = "the inputs" if first == RAW else f"the features of {first}"
    sentence = (
        f"By {features}, {names[0]} and {names[1]} are {how}: a linear classifier tells them apart in {accuracy:.0%} "
        f"of cases (A-distance {found.text(2)} of 2; MMD p {'< 0.01' if p < 0.01 else f'= {p:.2f}'})."
    )
    return sentence, confidence  # type: ignore[return-value]


def _add_pretraining(material: Material, name: str, result: PartResult) -> None:
    """Compare data that represent the backbones' pretraining task with the target, in the same rows.

    OTDD needs classes of both: those of the pretraining data, and of the target's test set.
    """
    from tl_lab.assess.pretraining import features_of

    target = material.other or material.train
    labelled = material.deployment if material.paired else material.test or material.train
    labels = [f"{name} (pretraining)", material.display_name(target)]
    rows = []
    for number, subject in enumerate(material.subjects):
        (a, y), b = features_of(material, subject, name), material.features(subject, target)
        found = _distances(material, a, b)
        if y is not None and labelled is not None and material.classifies:
            z, w = material.features(subject, labelled), material.labels(labelled)
            found |= _assigned((a, y), (z, w), material)
        result.measures |= {f"{subject.name}/pretraining_{key}": value for key, value in found.items()}
        rows.append(_row(subject.name, found))
        if number == 0:
            caption = f"{labels[0]} and {labels[1]} on the features of {subject.name}"
            result.figures[caption] = plane({n: x.numpy() for n, x in zip(labels, (a, b), strict=True)})
    caption = f"{labels[0]} against {labels[1]}. × halves: as a multiple of the distance between halves of {name}"
    result.tables.append(Table(_HEAD, rows, 1, caption))
    result.notes.append(f"The data {name} represent the pretraining task.")


def _few(x: Tensor, most: int, seed: int) -> Tensor:
    return x[torch.randperm(len(x), generator=generator(seed, "similarity"))[:most]]


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else float("inf") if a > 0 else 1.0
