"""Risk on a target domain, estimated from losses on the source and density ratios w(x) = p_t(x) / p_s(x)."""

from torch import Tensor

__all__ = ["controlled_risk", "weighted_risk"]


def weighted_risk(losses: Tensor, weights: Tensor, normalise: bool = False) -> float:
    """Importance-weighted risk: 1/N sum_i w_i l_i.

    Args:
        losses: of source samples that are not in the training set, ``(N,)``, N >= 1.
        weights: density ratios at these samples, ``(N,)``, >= 0.
        normalise: divide by sum_i w_i instead of N, for a weighted mean of the losses, with bias and less variance.

    Returns:
        The risk; NaN if it is normalised and all weights are 0.

    References:
        Sugiyama, Krauledat and Mueller, Covariate Shift Adaptation by Importance Weighted Cross Validation, JMLR 8
        (2007), equation 5.

    Examples:
        >>> weighted_risk(losses=torch.tensor([1.0, 0.0]), weights=torch.tensor([0.5, 1.5]))
        0.25
    """
    w, loss = weights.double(), losses.double()
    return float((w * loss).sum() / (w.sum() if normalise else len(w)))


def controlled_risk(losses: Tensor, weights: Tensor) -> float:
    """Importance-weighted risk with the weights as control variate: mean(L) + eta mean(W) - eta, with L_i = w_i l_i.

    True weights have the mean 1, so that eta (mean(W) - 1) adds nothing in expectation; eta = -Cov(L, W) / Var(W)
    makes the variance of the sum smallest.

    Args:
        losses: of source samples that are not in the training set, ``(N,)``, N >= 1.
        weights: density ratios at these samples, ``(N,)``, >= 0.

    Returns:
        The risk, which may be negative; without the control variate if the weights do not vary.

    References:
        You, Wang, Long and Jordan, Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation, ICML
        2019, section 4.2 and algorithm 1.

    Examples:
        >>> controlled_risk(losses=torch.tensor([1.0, 0.0]), weights=torch.tensor([0.5, 1.5]))
        0.25
    """
    w = weights.double()
    weighted = w * losses.double()
    apart = w - w.mean()
    variance = apart.square().sum()
    if not float(variance) > 0:
        return float(weighted.mean())
    eta = -(apart * (weighted - weighted.mean())).sum() / variance  # both sums lack the same 1 / (N - 1)
    return float(weighted.mean() + eta * (w.mean() - 1))
