"""Accuracy on data without labels, estimated from confidence: CBPE, DoC and ATC, with intervals.

No interval is narrower than Wilson's for as many labelled samples as there are new ones: confidences without variation
(all 1, or all above a threshold) would otherwise have an interval of zero width.
"""

from typing import NamedTuple

import numpy as np

from tl_lab.functional.share_interval import wilson_interval

__all__ = ["Estimated", "average_threshold", "confidence_based", "difference_of_confidences"]


class Estimated(NamedTuple):
    """An estimate of an accuracy with its 95 % interval, all in [0, 1].

    Examples:
        >>> estimate = confidence_based(np.array([0.5, 1.0]))
        >>> estimate.accuracy, round(estimate.low, 2), estimate.high
        (0.75, 0.2, 1.0)
    """

    accuracy: float
    low: float
    high: float


def confidence_based(confidence: np.ndarray) -> Estimated:
    """Estimate the accuracy by the mean confidence (CBPE), which is correct for calibrated probabilities.

    Covariate shift does not change this. The interval is that of a sum of independent answers, each correct with a
    probability equal to its confidence.

    Args:
        confidence: calibrated probabilities of the answers, ``(N,)``.

    Examples:
        >>> confidence_based(np.array([0.5, 1.0])).accuracy
        0.75
        >>> round(confidence_based(np.ones(10)).low, 2)  # Wilson's interval of 10 correct answers of 10
        0.72
    """
    _check(confidence)
    half = 1.96 * float(np.sqrt((confidence * (1 - confidence)).sum())) / len(confidence)
    return _within(float(confidence.mean()), half, len(confidence))


def difference_of_confidences(reference: np.ndarray, correct: np.ndarray, confidence: np.ndarray) -> Estimated:
    """Lower the reference accuracy by the decrease of the mean confidence (DoC).

    Args:
        reference: confidence of held-out reference samples, ``(N,)``.
        correct: whether each of their answers is correct, ``(N,)``.
        confidence: of the new samples, ``(M,)``.

    References:
        Guillory et al., Predicting with Confidence on Unseen Distributions, ICCV 2021, equation 4 with a slope of 1.

    Examples:
        >>> reference, correct = np.array([0.75, 0.75]), np.array([1, 0])
        >>> difference_of_confidences(reference, correct, confidence=np.array([0.5, 0.75])).accuracy
        0.375
    """
    _check(reference, confidence)
    gap = correct.astype(float) - reference
    variance = gap.var() / len(gap) + confidence.var() / len(confidence)
    return _within(float(confidence.mean() + gap.mean()), 1.96 * float(np.sqrt(variance)), len(confidence))


def average_threshold(
    reference: np.ndarray, correct: np.ndarray, confidence: np.ndarray, draws: int = 200, seed: int = 0
) -> Estimated:
    """Estimate the accuracy by the share of new samples above a threshold of confidence (ATC).

    The threshold t solves #{reference < t} = #{wrong answers}; the interval is a bootstrap interval over both sets.

    Args:
        reference: confidence of held-out reference samples, ``(N,)``.
        correct: whether each of their answers is correct, ``(N,)``.
        confidence: of the new samples, ``(M,)``.
        draws: of the bootstrap.
        seed: of the draws.

    References:
        Garg et al., Leveraging Unlabeled Data to Predict Out-of-Distribution Performance, ICLR 2022, equation 4.

    Examples:
        >>> reference, correct = np.array([0.2, 0.6, 0.8, 0.9]), np.array([0, 1, 1, 1])
        >>> average_threshold(reference, correct, confidence=np.array([0.1, 0.5, 0.7, 0.9])).accuracy
        0.5
    """
    _check(reference, confidence)
    draw = np.random.default_rng(seed)
    found = _above(reference, correct, confidence)
    drawn = []
    for _ in range(draws):
        i, j = (draw.integers(len(values), size=len(values)) for values in (reference, confidence))
        drawn.append(_above(reference[i], correct[i], confidence[j]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return _widened(found, float(low), float(high), len(confidence))


def _above(reference: np.ndarray, correct: np.ndarray, confidence: np.ndarray) -> float:
    wrong = int((~correct.astype(bool)).sum())
    if wrong == len(reference):
        return 0.0
    threshold = np.sort(reference)[wrong]  # the number of reference samples below it equals the number of wrong answers
    return float((confidence >= threshold).mean())


def _within(mean: float, half: float, count: int) -> Estimated:
    mean = min(1.0, max(0.0, mean))
    return _widened(mean, max(0.0, mean - half), min(1.0, mean + half), count)


def _widened(estimate: float, low: float, high: float, count: int) -> Estimated:
    """Widen an interval to contain the estimate and Wilson's interval of a share of ``count`` samples."""
    least, most = wilson_interval(estimate, count)
    return Estimated(estimate, min(estimate, low, least), max(estimate, high, most))


def _check(*sets: np.ndarray) -> None:
    if any(len(values) == 0 for values in sets):
        raise ValueError("an estimated accuracy needs samples of each set")
