"""Density ratios of the target to the source, w(x) = p_t(x) / p_s(x), estimated from samples.

Each estimator first standardises every feature by mean and deviation over both domains, so that none depends on the
features' units, and computes in double precision on the CPU.
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tl_lab.functional.box_quadratic import minimise_in_box
from tl_lab.randomness import generator

__all__ = ["classifier_ratio", "effective_sample_size", "kernel_mean_matching", "kliep_ratio"]

_LARGEST_LOG = 50.0  # of a ratio, so that sums of squared ratios are finite
_FAR = 0.01  # nats: a warning reports a mean log-ratio further below its maximum
_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def classifier_ratio(source: Tensor, target: Tensor, at: Tensor, regularisation: float = 1.0) -> Tensor:
    """Density ratio from a domain classifier: w(x) = (n_s / n_t) P(target | x) / P(source | x).

    The classifier is a logistic regression, so that log w is linear in the features; n_s / n_t corrects for the
    domains' sizes, which the classifier takes for prior probabilities.

    Args:
        source: features, ``(N, D)``.
        target: features, ``(M, D)``.
        at: points at which the ratio is computed, ``(K, D)``.
        regularisation: weight of the penalty |v|^2 / 2 on the coefficients against the summed log-loss, > 0.

    Returns:
        ``(K,)``, double, in [e^-50, e^50].

    Raises:
        ValueError: a domain is empty, or a feature is not finite.

    References:
        Bickel, Brueckner and Scheffer, Discriminative Learning for Differing Training and Test Distributions,
        ICML 2007, section 3.

    Examples:
        >>> source = torch.linspace(-2, 2, 9)[:, None]
        >>> ratio = classifier_ratio(source, source + 1, at=torch.tensor([[-2.0], [0.5], [3.0]]))
        >>> [round(value, 1) for value in ratio.tolist()]
        [0.3, 1.0, 3.1]
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    x_s, x_t, x = _standardised(source, target, at)
    domain = np.repeat([0, 1], [len(x_s), len(x_t)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported below, in terms that a user knows
        classifier = LogisticRegression(C=1 / regularisation, max_iter=1000).fit(torch.cat([x_s, x_t]).numpy(), domain)
    if classifier.n_iter_.max() >= 1000:
        _warn_unconverged("the domain classifier", "its coefficients are not final after 1,000 iterations")
    odds = torch.from_numpy(classifier.decision_function(x.numpy()))
    return (odds + math.log(len(x_s) / len(x_t))).clamp(-_LARGEST_LOG, _LARGEST_LOG).exp().to(at.device)


def kliep_ratio(
    source: Tensor,
    target: Tensor,
    at: Tensor,
    centres: int = 100,
    widths: Sequence[float] = _WIDTHS,
    folds: int = 5,
    seed: int = 0,
) -> Tensor:
    """Density ratio that minimises the Kullback-Leibler divergence of the target from the weighted source (KLIEP).

    w(x) = sum_l a_l k(x, c_l), with Gaussian kernels at points c_l of the target, maximises mean_j log w(x_t_j) under
    a >= 0 and mean_i w(x_s_i) = 1. Written for a_l mean_i k(x_s_i, c_l), which are then at least 0 and sum to 1, this
    is the likelihood of a mixture in its proportions: a concave problem that expectation-maximisation climbs without
    a step size, with both constraints met at every step. The kernels' width is chosen by the mean log w of held-out
    parts of the target.

    Args:
        source: features, ``(N, D)``.
        target: features, ``(M, D)``.
        at: points at which the ratio is computed, ``(K, D)``.
        centres: kernels, >= 1, at points drawn from the target; all of them where there are fewer.
        widths: candidates for the kernels' width, as multiples of the median distance within the target.
        folds: parts of the target, kernels included, that are held out in turn, >= 2; not used for a single width.
        seed: of the draws.

    Returns:
        ``(K,)``, double, >= 0.

    Raises:
        ValueError: a domain is empty, a feature is not finite, or no width lets a kernel reach the source.

    References:
        Sugiyama, Suzuki, Nakajima, Kashima, von Buenau and Kawanabe, Direct Importance Estimation for Covariate Shift
        Adaptation, Annals of the Institute of Statistical Mathematics 60 (2008), sections 2.2 to 2.4.

    Examples:
        >>> source = torch.linspace(-2, 2, 9)[:, None]
        >>> ratio = kliep_ratio(source, source + 1, at=source, widths=[1.0])
        >>> round(float(ratio.mean()), 3), bool(ratio[0] < ratio[-1])
        (1.0, True)
    """
    x_s, x_t, x = _standardised(source, target, at)
    order = torch.randperm(len(x_t), generator=generator(seed, "kliep"))
    c = x_t[order[:centres]]
    to_s, to_t, to_x = (_squared_distances(part, c) for part in (x_s, x_t, x))
    unit = _median_distance(c)
    scores = [0.0] * len(widths)
    for i, width in enumerate(widths) if len(widths) > 1 and len(c) > 1 else ():
        k_s, k_t = _gaussian(to_s, width * unit), _gaussian(to_t, width * unit)
        for held_out in (order[fold::folds] for fold in range(min(folds, len(c)))):
            kept = torch.ones(len(x_t), dtype=torch.bool)
            kept[held_out] = False
            # a held-out sample that is also a centre would favour the narrowest kernel
            others = kept[order[:centres]]
            a = _kliep_coefficients(k_s[:, others], k_t[kept][:, others])
            scores[i] += float((k_t[held_out][:, others] @ a).clamp(min=math.exp(-_LARGEST_LOG)).log().sum())
    chosen = widths[scores.index(max(scores))]
    a = _kliep_coefficients(_gaussian(to_s, chosen * unit), _gaussian(to_t, chosen * unit))
    if not bool((a > 0).any()):
        raise ValueError("no kernel at the target reaches a sample of the source: the domains do not overlap")
    return (_gaussian(to_x, chosen * unit) @ a).to(at.device)


def _kliep_coefficients(k_s: Tensor, k_t: Tensor, steps: int = 2000, tolerance: float = 1e-10) -> Tensor:
    """Maximise mean_j log(k_t a)_j under mean_i (k_s a)_i = 1 and a >= 0; zeros where no kernel reaches the source."""
    b = k_s.mean(0)
    reaches = b > 1e-12  # a kernel that is 0 on the whole source could grow without bound
    if not bool(reaches.any()):
        return torch.zeros_like(b)
    components = k_t[:, reaches] / b[reaches]  # (M, L): each has mean 1 on the source
    components = components[(components > 0).any(1)]
    g = torch.full_like(b[reaches], 1 / int(reaches.sum()))
    last = -math.inf
    for _ in range(steps):
        mixture = components @ g
        likelihood = float(mixture.log().mean())
        if likelihood - last <= tolerance:
            break
        last = likelihood
        g = g * (components / mixture.unsqueeze(1)).mean(0)
        g = g / g.sum()
    # the likelihood is concave in the proportions, so that the largest slope bounds the distance to its maximum
    gap = float((components / (components @ g).unsqueeze(1)).mean(0).max()) - 1
    if not gap <= _FAR:
        _warn_unconverged("KLIEP", f"its mean log-ratio may lie {gap:.1g} below the maximum")
    a = torch.zeros_like(b)
    a[reaches] = g / b[reaches]
    return a


def kernel_mean_matching(
    source: Tensor,
    target: Tensor,
    bound: float = 1000.0,
    epsilon: float | None = None,
    width: float = 1.0,
    steps: int = 100,
    tolerance: float = 1e-9,
) -> Tensor:
    """Weights of source samples that match the source's mean to the target's in a kernel's feature space (KMM).

    min_b 1/2 b' K b - kappa' b under 0 <= b_i <= B and |sum_i b_i - N| <= N eps, with K_ij = k(x_s_i, x_s_j) and
    kappa_i = N/M sum_j k(x_s_i, x_t_j), with a Gaussian kernel. The problem is solved by an interior-point method; if
    the solution is not unique numerically, the one with the smallest norm is returned.

    Args:
        source: features, ``(N, D)``; 3 N^2 doubles are held in memory.
        target: features, ``(M, D)``.
        bound: B, largest weight, > 0 (paper: 1000).
        epsilon: largest deviation of the mean weight from 1, >= 0; None for (sqrt(N) - 1) / sqrt(N) (paper).
        width: of the kernel, as a multiple of the median distance between all samples.
        steps: largest number of steps; a few dozen are usual, and a warning is given if more are needed.
        tolerance: stop once the proven distance to the minimum, relative to 1 + |minimum|, is at most this.

    Returns:
        ``(N,)``, double, in [0, B].

    Raises:
        ValueError: a domain is empty, a feature is not finite, or no weights meet both constraints.

    References:
        Huang, Smola, Gretton, Borgwardt and Schoelkopf, Correcting Sample Selection Bias by Unlabeled Data, NIPS
        2006, equation 12.

    Examples:
        >>> source = torch.linspace(-2, 2, 9)[:, None]
        >>> weights = kernel_mean_matching(source, target=source[5:], bound=4.0)
        >>> bool(weights[:4].mean() < 0.1 < weights[5:].mean())
        True
    """
    x_s, x_t, _ = _standardised(source, target, source[:0])
    n = len(x_s)
    epsilon = (math.sqrt(n) - 1) / math.sqrt(n) if epsilon is None else epsilon
    low, high = n * max(0.0, 1 - epsilon), n * (1 + epsilon)
    if low > n * bound:
        raise ValueError(f"weights of at most {bound} cannot have a mean of at least {1 - epsilon}")
    sigma = width * _median_distance(torch.cat([x_s, x_t]))
    k = _gaussian(_squared_distances(x_s, x_s), sigma)
    kappa = n / len(x_t) * _gaussian(_squared_distances(x_s, x_t), sigma).sum(1)
    b, gap = minimise_in_box(k, kappa, bound, low, high, steps, tolerance)
    if not gap <= tolerance:
        _warn_unconverged("kernel mean matching", f"its objective may lie {gap:.1g} of its size above the minimum")
    return b.to(source.device)


def _warn_unconverged(estimator: str, consequence: str) -> None:
    warnings.warn(f"{estimator} stopped before it converged: {consequence}", stacklevel=3)


def effective_sample_size(weights: Tensor) -> float:
    """Number of equally weighted samples with the same information: (sum_i w_i)^2 / sum_i w_i^2.

    Args:
        weights: ``(N,)``, >= 0, not all 0.

    Returns:
        In [1, N]; N for equal weights.

    References:
        Kish, Survey Sampling, Wiley 1965, section 11.2.

    Examples:
        >>> effective_sample_size(torch.tensor([1.0, 1.0, 0.0]))
        2.0
    """
    w = weights.double()
    return float(w.sum().square() / w.square().sum())


def _standardised(source: Tensor, target: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    for name, features in (("source", source), ("target", target)):
        if len(features) == 0:
            raise ValueError(f"the {name} has no samples")
        if not bool(features.isfinite().all()):
            raise ValueError(f"features of the {name} contain NaN or infinity")
    parts = [features.detach().cpu().double() for features in (source, target, at)]
    both = torch.cat(parts[:2])
    centre, spread = both.mean(0), both.std(0, correction=0)
    spread = torch.where(spread > 1e-12 * (1 + centre.abs()), spread, torch.ones_like(spread))  # constant features
    x_s, x_t, x = ((part - centre) / spread for part in parts)
    return x_s, x_t, x


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


def _median_distance(x: Tensor, most: int = 1000) -> float:
    """Median distance between different samples, of at most ``most`` samples spread over the set."""
    chosen = x[torch.linspace(0, len(x) - 1, min(len(x), most)).long()]
    distances = torch.nn.functional.pdist(chosen)
    positive = distances[distances > 0]
    return float(positive.median()) if len(positive) else 1.0


def _gaussian(squared_distances: Tensor, width: float) -> Tensor:
    return torch.exp(-squared_distances / (2 * width**2))
