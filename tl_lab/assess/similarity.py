"""How far apart two domains are on a backbone's features."""

import torch
from torch import Tensor

from tl_lab.assess.material import RAW, Material
from tl_lab.assess.pictures import bars, plane
from tl_lab.assess.results import Confidence, Measure, NotApplicable, PartResult
from tl_lab.functional.domain_folds import folded_a_distance
from tl_lab.functional.gaussian_distance import frechet_distance, otdd
from tl_lab.functional.two_samples import mmd_test
from tl_lab.randomness import generator
from tl_lab.results.report.blocks import Cell, Table, said_p

__all__ = ["assess"]

TITLE = "Domain similarity"
_ASSIGNED = 500  # samples of each set in an exact assignment
_MMD = 500  # of each set in the permutation test
_HEAD = ["representation", "A-distance (95 %)", "MMD²", "p", "Fréchet, × halves", "OTDD, × halves"]


def assess(material: Material) -> PartResult | NotApplicable:
    """Measure the distances between training data and what they are compared with, on each representation.

    Args:
        material: of the assessment.
    """
    one, other = material.train, material.other
    if other is None:
        return NotApplicable(TITLE, "There is no second set that the training data could be compared with.")
    names = [material.said(one), material.said(other)]
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
        "Proxy A-distance, 0 for equal sets and 2 for sets that a line separates, with 95 % intervals": bars(
            distances, "proxy A-distance", line=0
        ),
    }
    caption = f"{names[0]} against {names[1]}. × halves: as a multiple of the distance between halves of {names[0]}"
    notes = [
        "Proxy A-distance is `2 (1 - 2 err)` of a linear classifier between the sets, over folds; MMD² is "
        "unbiased, with p by permutation; OTDD is the least cost of moving labelled samples, by exact assignment."
    ]
    if material.paired and material.deployment:
        notes.append("OTDD uses the labels of the target's test set: it is a description, and chooses nothing.")
    if not material.paired:
        notes.append("These data have one domain: the test set is compared with the training set, as a check of both.")
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
    estimate, p = mmd_test(x, y, options.permutations, seed)
    found["mmd2"] = Measure(estimate, p=p)
    count = min(len(a), len(b))
    half = _few(a, len(a), seed)
    within = frechet_distance(half[: len(a) // 2][:count], half[len(a) // 2 :][:count])
    size = min(len(a) // 2, len(b))
    found["frechet"] = Measure(frechet_distance(half[:size], _few(b, size, seed)))
    found["frechet_over_halves"] = Measure(_ratio(found["frechet"].value, within))
    return found


def _labelled(material: Material, name: str) -> dict[str, Measure]:
    """Measure OTDD between the training set and the labelled test set of the other domain."""
    labelled = material.deployment if material.paired else material.test
    if labelled is None or not material.classifies:
        return {}
    a, b = ((material.representation(name, one), material.labels(one)) for one in (material.train, labelled))
    return _assigned(a, b, material.plan.seed)


def _assigned(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], seed: int) -> dict[str, Measure]:
    """Measure OTDD between features with classes, and between halves of the first."""
    (x, y), (z, w) = a, b
    size = min(len(x) // 2, len(z), _ASSIGNED)
    order = torch.randperm(len(x), generator=generator(seed, "otdd", "a"))
    i, j, k = (
        order[:size],
        torch.randperm(len(z), generator=generator(seed, "otdd", "b"))[:size],
        order[size : 2 * size],
    )
    distance, within = otdd(x[i], y[i], z[j], w[j]), otdd(x[i], y[i], x[k], y[k])
    return {"otdd": Measure(distance), "otdd_over_halves": Measure(_ratio(distance, within))}


def _row(name: str, found: dict[str, Measure]) -> list[str | Cell]:
    ratio = found.get("otdd_over_halves")
    return [
        name,
        Cell(found["a_distance"].text(2), value=found["a_distance"].value),
        f"{found['mmd2'].value:.4f}",
        said_p(found["mmd2"].p),
        f"{found['frechet_over_halves'].value:.1f}",
        "-" if ratio is None else f"{ratio.value:.2f}",
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
        how, confidence = "different, and overlap", "moderate"
    features = "the inputs" if first == RAW else f"the features of {first}"
    said = (
        f"By {features}, {names[0]} and {names[1]} are {how}: a linear classifier tells them apart in {accuracy:.0%} "
        f"of cases (A-distance {found.text(2)} of 2; MMD p {'< 0.01' if p < 0.01 else f'= {p:.2f}'})."
    )
    return said, confidence  # type: ignore[return-value]


def _add_pretraining(material: Material, name: str, result: PartResult) -> None:
    """Compare data that represent the backbones' pretraining task with the target, in the same rows.

    OTDD needs classes of both: those of the pretraining data, and of the target's test set.
    """
    from tl_lab.assess.pretraining import features_of

    target = material.other or material.train
    labelled = material.deployment if material.paired else material.test or material.train
    said = [f"{name} (pretraining)", material.said(target)]
    rows = []
    for number, subject in enumerate(material.subjects):
        (a, y), b = features_of(material, subject, name), material.features(subject, target)
        found = _distances(material, a, b)
        if y is not None and labelled is not None and material.classifies:
            z, w = material.features(subject, labelled), material.labels(labelled)
            found |= _assigned((a, y), (z, w), material.plan.seed)
        result.measures |= {f"{subject.name}/pretraining_{key}": value for key, value in found.items()}
        rows.append(_row(subject.name, found))
        if number == 0:
            caption = f"{said[0]} and {said[1]} on the features of {subject.name}"
            result.figures[caption] = plane({n: x.numpy() for n, x in zip(said, (a, b), strict=True)})
    caption = f"{said[0]} against {said[1]}. × halves: as a multiple of the distance between halves of {name}"
    result.tables.append(Table(_HEAD, rows, 1, caption))
    result.notes.append(f"The data {name} represent the pretraining task.")


def _few(x: Tensor, most: int, seed: int) -> Tensor:
    return x[torch.randperm(len(x), generator=generator(seed, "similarity"))[:most]]


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else float("inf") if a > 0 else 1.0
