"""Drift detectors: what new samples are held against, the tests, and accuracy estimated without labels."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tl_lab.functional.estimated_accuracy import (
    Estimated,
    average_threshold,
    confidence_based,
    difference_of_confidences,
)
from tl_lab.functional.two_samples import chi2_counts, ks_features, mmd_test

__all__ = ["DETECTORS", "Detection", "Drift", "Reference", "detect", "moved_most", "reference_of"]

_COMPONENTS = 10  # principal components of the features that are tested
_MMD = 400  # samples of each set in the permutation test
DETECTORS = {
    "softmax_ks": "class probabilities, Kolmogorov-Smirnov",
    "classes_chi2": "predicted classes, chi-squared",
    "pca_ks": "principal components of features, Kolmogorov-Smirnov",
    "pca_mmd": "principal components of features, MMD",
}


@dataclass(frozen=True)
class Reference:
    """What new samples are held against: held-out samples, never training data.

    Args:
        probabilities: of the model, ``(N, C)``, scaled by the temperature.
        components: principal components of the features of every second sample, which did not fit them, ``(N / 2, K)``.
        correct: whether its answers are right, ``(N,)`` 0 or 1.
        centre, directions: that new features are projected by, ``(D,)``, ``(D, K)``.
        features: as the head sees them, ``(N, D)``.
        labels: classes ``(N,)``.
        temperature: by which logits are divided.
    """

    probabilities: np.ndarray
    components: np.ndarray
    correct: np.ndarray
    centre: np.ndarray
    directions: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    temperature: float

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
        names = ("probabilities", "components", "correct", "centre", "directions", "features", "labels")
        return cls(**{name: np.asarray(arrays[name]) for name in names}, temperature=float(arrays["temperature"]))


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


class Drift(NamedTuple):
    """What the detectors say together.

    Attributes:
        detections: by detector.
        p: of all together: the smallest times their number.
        drifted: whether p is below the level.
        accuracy: of the reference.
        estimates: of the accuracy on the new samples, by method.
    """

    detections: dict[str, Detection]
    p: float
    drifted: bool
    accuracy: float
    estimates: dict[str, Estimated]


def reference_of(logits: Tensor, features: Tensor, labels: Tensor, temperature: float) -> Reference:
    """Fit a reference to held-out samples.

    Args:
        logits: ``(N, C)``.
        features: ``(N, D)``.
        labels: classes ``(N,)``.
        temperature: > 0, by held-out samples too.

    Raises:
        ValueError: there are fewer than two samples.
    """
    if len(logits) < 2:
        raise ValueError("a drift reference needs at least two held-out samples")
    p = (logits.double() / temperature).softmax(1)
    x = features.double()
    # directions of largest variance are so by chance, too, in the samples that they are fitted to: every second sample
    # fits them, and new samples are held against the others
    fitted, held = x[::2], x[1::2]
    centre = fitted.mean(0)
    _, values, right = torch.linalg.svd(fitted - centre, full_matrices=False)
    kept = int((values > 1e-9 * (values[0] + 1e-300)).sum())
    directions = right[: min(_COMPONENTS, max(1, kept))].T
    correct = (p.argmax(1) == labels).double()
    return Reference(
        p.numpy(),
        ((held - centre) @ directions).numpy(),
        correct.numpy(),
        centre.numpy(),
        directions.numpy(),
        features.float().numpy(),
        labels.cpu().numpy(),
        temperature,
    )


def detect(
    reference: Reference,
    probabilities: np.ndarray,
    components: np.ndarray,
    *,
    alpha: float = 0.05,
    correction: str = "bonferroni",
    detectors: tuple[str, ...] = tuple(DETECTORS),
    permutations: int = 200,
    seed: int = 0,
) -> Drift:
    """Test whether new samples are drawn as the reference was.

    The detectors' answers are combined by Bonferroni: together they raise a false alarm with probability alpha at
    most.

    Args:
        reference: held-out samples.
        probabilities: of the new samples, ``(M, C)``.
        components: of the new samples, ``(M, K)``.
        alpha: level, in (0, 1).
        correction: over the dimensions of a detector, ``bonferroni`` or ``fdr``.
        detectors: keys of :data:`DETECTORS`.
        permutations: of the MMD test.
        seed: of its draws.

    Raises:
        ValueError: there is no new sample, or an unknown correction.
    """
    old, new = (torch.from_numpy(np.asarray(one)) for one in (reference.probabilities, probabilities))
    z_old, z_new = (torch.from_numpy(np.asarray(one)) for one in (reference.components, components))
    if not len(new):
        raise ValueError("there is no new sample to compare")
    found: dict[str, Detection] = {}
    for name in detectors:
        if name.endswith("_ks"):
            tests = ks_features(*((old, new) if name == "softmax_ks" else (z_old, z_new)), correction, alpha)
            found[name] = Detection(float(tests.statistic.max()), tests.p, len(tests.p_values), tests.rejected)
        elif name == "classes_chi2":
            statistic, p = chi2_counts(old.argmax(1), new.argmax(1), old.shape[1])
            found[name] = Detection(statistic, p, 1, int(p < alpha))
        elif len(z_new) > 1:
            draw = np.random.default_rng(seed)
            a, b = (z[torch.from_numpy(draw.permutation(len(z))[:_MMD])] for z in (z_old, z_new))
            statistic, p = mmd_test(a, b, permutations, seed)
            found[name] = Detection(statistic, p, 1, int(p < alpha))
    p = min(1.0, len(found) * min(one.p for one in found.values()))
    accuracy, estimates = _estimates(reference, np.asarray(probabilities), seed)
    return Drift(found, p, p < alpha, accuracy, estimates)


def _estimates(reference: Reference, probabilities: np.ndarray, seed: int) -> tuple[float, dict[str, Estimated]]:
    sure, new = reference.probabilities.max(1), probabilities.max(1)
    return float(reference.correct.mean()), {
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
