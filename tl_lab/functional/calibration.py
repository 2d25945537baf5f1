"""Calibration of a classifier: calibration error and its bias, temperature scaling, selective accuracy."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tl_lab.functional.label_transfer import check_probabilities

__all__ = [
    "Calibration",
    "Reliability",
    "aurc_interval",
    "calibration",
    "reliability",
    "risk_coverage",
    "temperature",
    "temperature_interval",
]

_Z = 1.959964  # normal quantile of a two-sided 95 % interval
_HOTTEST = 20.0  # temperatures lie between this and its inverse


class Reliability(NamedTuple):
    """Accuracy and confidence in bins of equal width.

    Attributes:
        counts: samples in each bin, ``(B,)``.
        confidence, accuracy: means over each bin, ``(B,)``; NaN if it is empty.
        error: expected calibration error, ``sum_b n_b / N |accuracy_b - confidence_b|``.

    Examples:
        >>> found = reliability(np.array([0.75, 0.75, 0.25]), np.array([1, 0, 0]), bins=2)
        >>> found.counts.tolist(), found.confidence.tolist(), found.accuracy.tolist()
        ([1, 2], [0.25, 0.75], [0.0, 0.5])
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


class Calibration(NamedTuple):
    """Expected calibration error, and its value for a perfectly calibrated classifier.

    Attributes:
        error: the measured error.
        bias: mean error over labels drawn with the stated confidences, which is due to sampling alone.
        p: share of such draws with an error at least as large, (1 + k) / (1 + draws).
        low, high: 95 % bootstrap interval over samples, corrected for the bias of resampling, and at least 0.
        bias_low, bias_high: between which 95 % of the errors of such draws lie.

    Examples:
        >>> found = calibration(torch.tensor([[0.75, 0.25]] * 100), torch.tensor([0] * 50 + [1] * 50))
        >>> found.low < found.error < found.high, found.bias < 0.1
        (True, True)
    """

    error: float
    bias: float
    p: float
    low: float
    high: float
    bias_low: float
    bias_high: float


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Reliability:
    """Sort samples into bins of confidence.

    Args:
        confidence: of each answer, ``(N,)``, in [0, 1].
        correct: whether each answer is correct, ``(N,)``, 0 or 1.
        bins: of equal width over [0, 1].

    References:
        Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017, equation 3.

    Examples:
        >>> reliability(np.array([0.75, 0.75, 0.25]), np.array([1, 0, 0]), bins=2).error
        0.25
    """
    where = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(where, minlength=bins)
    sums = [np.bincount(where, weights=values, minlength=bins) for values in (confidence, correct.astype(float))]
    with np.errstate(invalid="ignore"):
        sure, right = (values / count for values in sums)
    return Reliability(count, sure, right, float(np.abs(sums[1] - sums[0]).sum() / max(1, len(confidence))))


def calibration(probabilities: Tensor, labels: Tensor, bins: int = 15, draws: int = 200, seed: int = 0) -> Calibration:
    """Compute the expected calibration error of the most probable class, with its bias and interval.

    Args:
        probabilities: ``(N, C)``, rows sum to 1.
        labels: classes ``(N,)``.
        bins: number of bins.
        draws: number of draws, of labels for the bias and of samples for the interval.
        seed: of both kinds of draws.

    Raises:
        ValueError: rows do not sum to one, or there is no sample.

    References:
        Broecker and Smith, Increasing the Reliability of Reliability Diagrams, Weather and Forecasting 22 (2007).

    Examples:
        >>> found = calibration(torch.tensor([[0.75, 0.25]] * 100), torch.tensor([0] * 50 + [1] * 50))
        >>> found.error, found.p < 0.01
        (0.25, True)
    """
    confidence, correct = _answers(probabilities, labels)
    draw = np.random.default_rng(seed)
    found = reliability(confidence, correct, bins).error
    calibrated = [reliability(confidence, draw.random(len(confidence)) < confidence, bins).error for _ in range(draws)]
    low, high = _resampled(lambda i: reliability(confidence[i], correct[i], bins).error, len(confidence), draws, draw)
    reached = int(np.sum(np.asarray(calibrated) >= found))
    ends = (float(one) for one in np.quantile(calibrated, [0.025, 0.975]))
    return Calibration(found, float(np.mean(calibrated)), (1 + reached) / (1 + draws), low, high, *ends)


def temperature(logits: Tensor, labels: Tensor) -> float:
    """Find the temperature T that maximises the likelihood of the labels under ``softmax(logits / T)``.

    Args:
        logits: of samples that are not in the training set, ``(N, C)``.
        labels: classes ``(N,)``.

    Returns:
        In [1/20, 20]; above 1 for an overconfident classifier.

    Raises:
        ValueError: there is no sample, or a logit is not finite.

    References:
        Guo et al., ICML 2017, section 4.2.

    Examples:
        >>> round(temperature(torch.tensor([[3.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])), 2)
        2.73
    """
    from scipy.optimize import minimize_scalar

    outputs, y = _finite(logits), labels.cpu()

    def loss(log_t: float) -> float:
        return float(torch.nn.functional.cross_entropy(outputs / float(np.exp(log_t)), y))

    bound = float(np.log(_HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6}).x))


def temperature_interval(logits: Tensor, labels: Tensor, draws: int = 200, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the temperature, over samples.

    The loss of every sample is computed at temperatures 5 % apart, once for all draws; the minimum of a draw is that of
    the parabola through its smallest loss and the two beside it, on the logarithm of the temperature.

    Args:
        logits, labels: see :func:`temperature`.
        draws: number of bootstrap samples.
        seed: of the draws.

    Returns:
        Both ends, in [1/20, 20].

    Raises:
        ValueError: there is no sample, or a logit is not finite.

    Examples:
        >>> low, high = temperature_interval(torch.tensor([[3.0, 0.0]] * 80), torch.tensor([0, 0, 0, 1] * 20))
        >>> low < 2.73 < high
        True
    """
    outputs, y = _finite(logits), labels.cpu()
    bound = float(np.log(_HOTTEST))
    grid = np.linspace(-bound, bound, 2 * round(bound / 0.05) + 1)
    losses = torch.stack(
        [torch.nn.functional.cross_entropy(outputs / float(np.exp(at)), y, reduction="none") for at in grid]
    )  # (G, N)
    drawn = np.random.default_rng(seed).integers(len(y), size=(draws, len(y)))
    counts = np.stack([np.bincount(index, minlength=len(y)) for index in drawn])
    of_draws = losses.numpy() @ counts.T.astype(float)  # (G, draws)
    least = of_draws.argmin(0)
    inner = np.clip(least, 1, len(grid) - 2)
    before, here, after = (np.take_along_axis(of_draws, (inner + by)[None], 0)[0] for by in (-1, 0, 1))
    step = (grid[1] - grid[0]) * 0.5 * (before - after) / np.maximum(before - 2 * here + after, 1e-300)
    # at an end of the grid there is no loss beside the smallest one
    found = np.where(least == inner, grid[inner] + step, grid[least])
    low, high = np.exp(np.quantile(found, [0.025, 0.975]))
    return float(low), float(high)


def _finite(logits: Tensor) -> Tensor:
    outputs = logits.detach().cpu().double()
    if not len(outputs) or not bool(outputs.isfinite().all()):
        raise ValueError("temperature scaling needs finite logits of at least one sample")
    return outputs


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Compute the error among the most confident samples at every coverage.

    Args:
        confidence: ``(N,)``, any order-preserving score.
        correct: ``(N,)``, 0 or 1.

    Returns:
        The coverages ``(N,)`` in ascending order up to 1, the risk at each, and the area under the curve (AURC).

    Raises:
        ValueError: there is no sample.

    References:
        Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NIPS 2017.

    Examples:
        >>> coverage, risk, area = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 1, 0, 1]))
        >>> coverage.tolist(), [round(error, 2) for error in risk.tolist()], round(area, 3)
        ([0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.33, 0.25], 0.146)
    """
    if not len(confidence):
        raise ValueError("selective accuracy needs at least one sample")
    order = np.argsort(-confidence, kind="stable")
    counted = np.arange(1, len(order) + 1)
    risk = np.cumsum(1 - correct[order].astype(float)) / counted
    return counted / len(order), risk, float(risk.mean())


def aurc_interval(confidence: np.ndarray, correct: np.ndarray, draws: int = 200, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the area under the risk-coverage curve, over samples.

    It is corrected for the bias of resampling, and is at least 0. If every answer is correct, all resampled areas are
    0, and the upper end is that of Wilson's interval of the error.

    Args:
        confidence, correct: see :func:`risk_coverage`.
        draws: number of bootstrap samples.
        seed: of the draws.

    Raises:
        ValueError: there is no sample.

    Examples:
        >>> low, high = aurc_interval(np.linspace(0.5, 1, 100), np.arange(100) >= 20)
        >>> low < risk_coverage(np.linspace(0.5, 1, 100), np.arange(100) >= 20)[2] < high
        True
    """
    if len(correct) and correct.all():
        return 0.0, _Z**2 / (len(correct) + _Z**2)
    draw = np.random.default_rng(seed)
    return _resampled(lambda i: risk_coverage(confidence[i], correct[i])[2], len(confidence), draws, draw)


def _resampled(
    score: Callable[[np.ndarray], float], count: int, draws: int, draw: np.random.Generator
) -> tuple[float, float]:
    """Compute the 95 % bootstrap interval of a score >= 0, corrected for the bias of resampling.

    The score is a function of the positions of samples.
    """
    bias = -score(np.arange(count))  # first, because it refuses invalid samples
    found = [score(draw.integers(count, size=count)) for _ in range(draws)]
    bias += float(np.mean(found))
    low, high = np.maximum(np.quantile(found, [0.025, 0.975]) - bias, 0)
    return float(low), float(high)


def _answers(probabilities: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    confidence, answer = check_probabilities(probabilities).max(1)
    return confidence.numpy(), (answer == labels.cpu()).numpy()
