"""Drift detectors: the reference for new samples, the tests, and accuracy estimated without labels."""

import math
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tl_lab.assess.results import Measure, wilson
from tl_lab.functional.estimated_accuracy import (
    Estimated,
    average_threshold,
    confidence_based,
    difference_of_confidences,
)
from tl_lab.functional.two_samples import chi2_counts, detectable_shift, enough_samples, ks_features, mmd_test

__all__ = [
    "BY_DEFAULT",
    "DETECTORS",
    "LARGEST_MISSED",
    "Detection",
    "Drift",
    "Power",
    "Reference",
    "detect",
    "enough_permutations",
    "moved_most",
    "reference_of",
]

_COMPONENTS = 10  # principal components of the features that are tested
_MMD = 400  # samples of each set in the permutation test
LARGEST_MISSED = 1.0
"""Shift in standard deviations that must be detectable before samples without a detected drift count as not drifted."""
DETECTORS = {
    "softmax_ks": "answers (probabilities, or numbers), Kolmogorov-Smirnov",
    "classes_chi2": "predicted classes, chi-squared",
    "pca_ks": "principal components of features, Kolmogorov-Smirnov",
    "pca_mmd": "principal components of features, MMD",
    "features_mmd": "features of the trained encoder, MMD",
    "untrained_ks": "principal components of an untrained encoder's features, Kolmogorov-Smirnov",
    "untrained_mmd": "features of an untrained encoder, MMD",
    "softmax_mmd": "answers (probabilities, or numbers), MMD",
    "features_ks": "features of the trained encoder, Kolmogorov-Smirnov",
}
"""Detectors by name, and what they look at."""
BY_DEFAULT = tuple(DETECTORS)[:-2]
"""Those used unless others are named: each costs all of them power."""
_PLACES = {"softmax_ks": "answers", "classes_chi2": "classes", "features_mmd": "features"}
_PLACES |= {"pca_ks": "components", "pca_mmd": "components"}
_PLACES |= {"untrained_ks": "untrained components", "untrained_mmd": "untrained"}
_PLACES |= {"softmax_mmd": "answers", "features_ks": "features"}


@dataclass(frozen=True)
class Reference:
    """The reference for new samples: held-out samples, never training data.

    Args:
        answers: of the model, ``(N, A)``: probabilities of classes, scaled by the temperature, or of findings; numbers;
            the confidence of a sequence; no columns where nothing answers.
        components: principal components of the features of every second sample, which did not fit them, ``(N / 2, K)``.
        correct: whether the most probable class is right, ``(N,)`` 0 or 1; empty where no class is predicted.
        centre, directions: that new features are projected by, ``(D,)``, ``(D, K)``.
        features: as the head sees them, ``(N, D)``.
        labels: classes ``(N,)``; empty where none is predicted.
        temperature: by which logits of classes are divided.
        untrained: features of an untrained encoder, of these samples or some of them, ``(U, E)``; no columns where
            there is none.
        weights: hash of the model's weights that the reference was fitted with; empty if unknown.
    """

    answers: np.ndarray
    components: np.ndarray
    correct: np.ndarray
    centre: np.ndarray
    directions: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    temperature: float
    untrained: np.ndarray
    weights: str = ""

    def project(self, features: Tensor) -> np.ndarray:
        """Give the principal components of features ``(M, D)``: ``(M, K)``."""
        return (features.double().numpy() - self.centre) @ self.directions

    def arrays(self) -> dict[str, np.ndarray]:
        """Give everything as arrays, for a file."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Any) -> "Reference":
        """Read what :meth:`arrays` gave.

        Raises:
            KeyError: an array is missing.
        """
        names = ("answers", "components", "correct", "centre", "directions", "features", "labels", "untrained")
        found = {name: np.asarray(arrays[name]) for name in names}
        return cls(**found, temperature=float(arrays["temperature"]), weights=str(arrays["weights"]))


class Detection(NamedTuple):
    """A detector's answer.

    Attributes:
        statistic: of its test, the largest over dimensions.
        p: corrected for the number of its dimensions.
        dimensions: tested.
        rejected: of these, by themselves, at the level.
    """

    statistic: float
    p: float
    dimensions: int
    rejected: int


class Power(NamedTuple):
    """The shift that the most sensitive detector finds with a power of 80 %.

    Attributes:
        reference: number of held-out samples.
        new: number of new samples.
        shift: of one tested quantity, in standard deviations, see
            :func:`~tl_lab.functional.two_samples.detectable_shift`; infinite if none is found reliably.
        enough: number of new samples that detect a shift of :data:`LARGEST_MISSED`; None if the reference is too small.
        alone: if the reference is too small for all detectors together, the Kolmogorov-Smirnov detector that requires
            the fewest new samples as the only one, and this number; None if the reference is too small for each.
    """

    reference: int
    new: int
    shift: float
    enough: int | None
    alone: tuple[str, int] | None = None


class Drift(NamedTuple):
    """What the detectors say together.

    Attributes:
        detections: by detector.
        p: of all together: the smallest times their number.
        drifted: whether p is below the level.
        accuracy: of the reference, with Wilson's interval; None where no class is predicted.
        estimates: of the accuracy on the new samples, by method; none where no class is predicted.
        power: of the detectors.
    """

    detections: dict[str, Detection]
    p: float
    drifted: bool
    accuracy: Measure | None
    estimates: dict[str, Estimated]
    power: Power

    @property
    def undecided(self) -> bool:
        """Whether no drift is detected, and a shift of :data:`LARGEST_MISSED` would often be missed."""
        return not self.drifted and self.power.shift > LARGEST_MISSED

    @property
    def verdict(self) -> str:
        """``drift``, ``no drift`` or ``undecided``."""
        return "drift" if self.drifted else "undecided" if self.undecided else "no drift"


def reference_of(
    answers: Tensor,
    features: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float = 1.0,
    untrained: Tensor | None = None,
    weights: str = "",
) -> Reference:
    """Fit a reference to held-out samples.

    Args:
        answers: of the model, ``(N, A)``, as in :class:`Reference`.
        features: ``(N, D)``.
        labels: classes ``(N,)``, whose probabilities the answers are; None where no class is predicted.
        temperature: that was applied to them, > 0, by held-out samples too.
        untrained: features of an untrained encoder, ``(U, E)``; without them, its detectors are left out.
        weights: hash of the model's weights.

    Raises:
        ValueError: there are fewer than two samples.
    """
    if len(answers) < 2:
        raise ValueError("a drift reference needs at least two held-out samples")
    centre, directions, components = _principal(features.double())
    known = torch.zeros(0, dtype=torch.int64) if labels is None else labels.cpu()
    correct = (answers.cpu().argmax(1) == known).double() if labels is not None else torch.zeros(0)
    return Reference(
        answers.double().cpu().numpy(),
        components.numpy(),
        correct.numpy(),
        centre.numpy(),
        directions.numpy(),
        features.float().numpy(),
        known.numpy(),
        temperature,
        (features.new_zeros(len(features), 0) if untrained is None else untrained).float().cpu().numpy(),
        weights,
    )


def _principal(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fit principal components to every second sample: their centre, directions, and those of the other samples.

    Directions of largest variance are so by chance, too, in the samples that they are fitted to: new samples are held
    against the others.
    """
    fitted, held = features[::2], features[1::2]
    centre = fitted.mean(0)
    _, values, right = torch.linalg.svd(fitted - centre, full_matrices=False)
    kept = int((values > 1e-9 * (values[0] + 1e-300)).sum())
    directions = right[: min(_COMPONENTS, max(1, kept))].T
    return centre, directions, (held - centre) @ directions


def detect(
    reference: Reference,
    answers: np.ndarray,
    components: np.ndarray,
    *,
    features: np.ndarray | None = None,
    untrained: np.ndarray | None = None,
    alpha: float = 0.05,
    correction: str = "bonferroni",
    detectors: tuple[str, ...] = BY_DEFAULT,
    permutations: int = 200,
    seed: int = 0,
) -> Drift:
    """Test whether new samples are drawn as the reference was.

    The detectors' answers are combined by Bonferroni: together they raise a false alarm with probability alpha at
    most.

    Args:
        reference: held-out samples.
        answers: on the new samples, ``(M, A)``.
        components: of the new samples, ``(M, K)``.
        features: of the new samples, ``(M, D)``; without them, their detector is left out.
        untrained: features of new samples by the untrained encoder, ``(V, E)``; likewise.
        alpha: level, in (0, 1).
        correction: over the dimensions of a detector, ``bonferroni`` or ``fdr``.
        detectors: keys of :data:`DETECTORS`.
        permutations: of each MMD test at least; more where its smallest p could not fall below the corrected level.
        seed: of its draws.

    Raises:
        ValueError: there is no new sample, no detector can be used, or the correction is unknown.
    """
    if not len(components):
        raise ValueError("there is no new sample to compare")
    seen = _views(reference, answers, components, features, untrained)
    usable = [name for name in detectors if _PLACES[name] in seen]
    if not usable:
        raise ValueError(f"there is nothing to compare by {', '.join(detectors)}")
    permutations = max(permutations, enough_permutations(alpha, len(usable)))
    found: dict[str, Detection] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for name in usable:
        old, new = seen[_PLACES[name]]
        sizes[name] = len(old), len(new)
        if name.endswith("_ks"):
            tests = ks_features(old, new, correction, alpha)
            found[name] = Detection(float(tests.statistic.max()), tests.p, len(tests.p_values), tests.rejected)
        elif name == "classes_chi2":
            statistic, p = chi2_counts(old.argmax(1), new.argmax(1), old.shape[1])
            found[name] = Detection(statistic, p, 1, int(p < alpha))
        elif min(len(old), len(new)) > 1:
            draw = np.random.default_rng(seed)
            a, b = (z[torch.from_numpy(draw.permutation(len(z))[:_MMD])] for z in (old, new))
            statistic, p = mmd_test(a, b, permutations, seed)
            found[name] = Detection(statistic, p, 1, int(p < alpha))
    if not found:
        raise ValueError(f"{', '.join(usable)} cannot compare a single sample")
    p = min(1.0, len(found) * min(one.p for one in found.values()))
    accuracy, estimates = _estimates(reference, np.asarray(answers), seed)
    power = _power(found, sizes, alpha, (len(reference.features), len(components)))
    return Drift(found, p, p < alpha, accuracy, estimates, power)


def _power(
    found: dict[str, Detection], sizes: dict[str, tuple[int, int]], alpha: float, both: tuple[int, int]
) -> Power:
    """Compute what the Kolmogorov-Smirnov detectors find; without any, what one such test of one quantity would.

    Args:
        found: by detector.
        sizes: of the reference and of the new samples, by detector, with those that cannot compare a single sample:
            more samples use them, too.
        alpha: level of all detectors together.
        both: sizes of the whole reference and of the new samples.
    """
    tests = {name: one.dimensions for name, one in found.items() if name.endswith("_ks")} or dict.fromkeys(found, 1)
    levels = {name: alpha / (len(sizes) * dimensions) for name, dimensions in tests.items()}
    shifts = [detectable_shift(*sizes[name], level) for name, level in levels.items()]
    enough = [enough_samples(sizes[name][0], LARGEST_MISSED, level) for name, level in levels.items()]
    fewest = min((one for one in enough if one is not None), default=None)
    return Power(*both, min(shifts), fewest, _alone(found, sizes, alpha) if fewest is None else None)


def _alone(found: dict[str, Detection], sizes: dict[str, tuple[int, int]], alpha: float) -> tuple[str, int] | None:
    """Find the Kolmogorov-Smirnov detector that requires the fewest new samples at the whole level, if one does."""
    if len(sizes) == 1:
        return None
    required = {
        name: enough_samples(sizes[name][0], LARGEST_MISSED, alpha / one.dimensions)
        for name, one in found.items()
        if name.endswith("_ks")
    }
    possible = [(name, count) for name, count in required.items() if count is not None]
    return min(possible, key=itemgetter(1), default=None)


def enough_permutations(alpha: float, tests: int) -> int:
    """Count the permutations with which the smallest p, corrected for the number of tests, is half the level.

    Args:
        alpha: level, in (0, 1).
        tests: >= 1.

    Examples:
        >>> enough_permutations(0.05, 7)  # 7 / (279 + 1) = .025
        279
    """
    return math.ceil(2 * tests / alpha - 1e-9) - 1


def _views(
    reference: Reference,
    answers: np.ndarray,
    components: np.ndarray,
    features: np.ndarray | None,
    untrained: np.ndarray | None,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Pair the reference with the new samples at each place that the detectors look at, where both are known."""
    pairs = {"components": (reference.components, components)}
    if reference.answers.shape[1]:
        pairs["answers"] = (reference.answers, answers)
    if len(reference.labels):
        pairs["classes"] = pairs["answers"]
    if features is not None:
        pairs["features"] = (reference.features, features)
    if untrained is not None and reference.untrained.shape[1]:
        pairs["untrained"] = (reference.untrained, untrained)
    found = {name: (_tensor(old), _tensor(new)) for name, (old, new) in pairs.items()}
    if "untrained" in found:
        old, new = (one.double() for one in found["untrained"])
        centre, directions, held = _principal(old)
        found["untrained components"] = (held, (new - centre) @ directions)
    return found


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values))


def _estimates(
    reference: Reference, probabilities: np.ndarray, seed: int
) -> tuple[Measure | None, dict[str, Estimated]]:
    if not len(reference.labels):
        return None, {}
    sure, new = reference.answers.max(1), probabilities.max(1)
    return wilson(float(reference.correct.sum()), len(reference.correct)), {
        "CBPE": confidence_based(new),
        "DoC": difference_of_confidences(sure, reference.correct, new),
        "ATC": average_threshold(sure, reference.correct, new, seed=seed),
    }


def moved_most(reference: Reference, components: np.ndarray, most: int = 10) -> list[tuple[int, float]]:
    """Find the new samples farthest from the reference, in its deviations along the principal components.

    Returns:
        Positions and distances, the farthest first.
    """
    spread = np.maximum(reference.components.std(0), 1e-12)
    distance = np.sqrt(np.square((components - reference.components.mean(0)) / spread).mean(1))
    order = np.argsort(-distance, kind="stable")[:most]
    return [(int(i), float(distance[i])) for i in order]
