"""Distance between two domains, measured at the outputs of a classifier's head."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.functional.domain_distance import halves
from tl_lab.functional.kernels import gaussian_kernel, mmd_unbiased

__all__ = ["class_mean_gap", "disparity_discrepancy", "output_discrepancy"]

_RIDGE = 1e-3  # keeps the second head finite where it can tell the domains apart without an error


def output_discrepancy(source: Tensor, target: Tensor, max_samples: int = 1000) -> float:
    """Squared maximum mean discrepancy of the domains' outputs, with the median distance as the kernel's width.

    Args:
        source: outputs, ``(N, C)``.
        target: outputs, ``(M, C)``.
        max_samples: of each domain, the first ones, >= 2.

    Returns:
        About 0 for equal distributions, below 2.

    References:
        Gretton et al., A Kernel Two-Sample Test, JMLR 13 (2012), equation 3.

    Examples:
        >>> outputs = torch.linspace(0, 1, 20)[:, None]
        >>> round(output_discrepancy(outputs, outputs), 1), round(output_discrepancy(outputs, outputs + 5), 1)
        (-0.1, 1.5)
    """
    parts = [outputs.detach().cpu().double()[:max_samples] for outputs in (source, target)]
    return float(mmd_unbiased(gaussian_kernel(torch.cat(parts)), len(parts[0])))


def class_mean_gap(source: Tensor, target: Tensor) -> float | None:
    """Distance between the domains' class means divided by the spread within classes, averaged over classes.

    mean_k |m_s_k - m_t_k| / sqrt((v_s_k + v_t_k) / 2), where m_k is the mean and v_k the summed variance of the outputs
    of those samples for which output k is the largest. No label is used.

    Args:
        source: outputs, ``(N, C)``, C >= 2.
        target: outputs, ``(M, C)``.

    Returns:
        >= 0; None if no class is predicted twice in both domains, or if outputs do not vary within any class.

    Examples:
        >>> source = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
        >>> target = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
        >>> round(class_mean_gap(source, target), 3)
        0.354
    """
    parts = [outputs.detach().cpu().double() for outputs in (source, target)]
    gaps = []
    for k in range(source.shape[1]):
        of_class = [outputs[outputs.argmax(1) == k] for outputs in parts]
        if min(map(len, of_class)) < 2:
            continue
        means = [outputs.mean(0) for outputs in of_class]
        spread = sum(float(outputs.var(0).sum()) for outputs in of_class) / 2
        if spread > 0:
            gaps.append(float((means[0] - means[1]).norm()) / spread**0.5)
    return sum(gaps) / len(gaps) if gaps else None


def disparity_discrepancy(source: Tensor, target: Tensor, max_samples: int = 2000, seed: int = 0) -> float:
    """Largest increase, from source to target, of the disagreement between a second linear head and the first one.

    sup_f' P_t(f' != h) - P_s(f' != h), where h is the class of the largest output and f' is linear in the outputs. f'
    is fitted to half of each domain, by the cross-entropy to h on the source and the modified one, -log(1 - p_h), on
    the target, and scored on the other half.

    Args:
        source: outputs, ``(N, C)``, C >= 2.
        target: outputs, ``(M, C)``.
        max_samples: of each domain, >= 2.
        seed: of the draw.

    Returns:
        In [0, 1]; about 0 if the outputs have the same distribution.

    Raises:
        ValueError: a domain has fewer than two samples, or an output is not finite.

    References:
        Zhang, Liu, Long and Jordan, Bridging Theory and Algorithm for Domain Adaptation, ICML 2019, definition 3.1
        and equations 28 to 30.

    Examples:
        >>> outputs = torch.eye(2).repeat(8, 1)
        >>> round(disparity_discrepancy(outputs, outputs), 3)
        0.0
    """
    fitted, scored = halves(source, target, max_samples, seed)
    both = torch.cat(fitted)
    centre, spread = both.mean(0), both.std(0, correction=0).clamp_min(1e-12)
    labels = [z.argmax(1) for z in fitted]
    weight, bias = _second_head([(z - centre) / spread for z in fitted], labels)
    apart = []
    for z in scored:
        second = (z - centre) / spread @ weight.T + bias
        apart.append(float((second.argmax(1) != z.argmax(1)).double().mean()))
    return max(0.0, apart[1] - apart[0])


def _second_head(x: list[Tensor], h: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Fit a linear head that agrees with h on the source and disagrees on the target: ``(C, C)`` and ``(C,)``."""
    width = x[0].shape[1]
    with torch.inference_mode(False), torch.enable_grad():
        (x_s, x_t), (h_s, h_t) = [part.clone() for part in x], [part.clone() for part in h]  # of a test's inference
        first = F.one_hot(h_t, width).bool()
        weight = torch.zeros(width, width, dtype=x_s.dtype, requires_grad=True)
        bias = torch.zeros(width, dtype=x_s.dtype, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> float:
            optimizer.zero_grad()
            on_source = F.cross_entropy(x_s @ weight.T + bias, h_s)
            log_p = (x_t @ weight.T + bias).log_softmax(1)
            others = log_p.masked_fill(first, -torch.inf).logsumexp(1)  # log(1 - p_h), without cancellation
            value = on_source - others.mean() + _RIDGE * weight.square().sum()
            value.backward()
            return float(value.detach())

        optimizer.step(loss)
    return weight.detach(), bias.detach()
