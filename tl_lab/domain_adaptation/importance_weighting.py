"""Importance weighting: source samples are weighted by the density ratio of target and source."""

import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from tl_lab.data.inputs.operations import Inputs
from tl_lab.data.inputs.table import columns_joined
from tl_lab.domain_adaptation.base import DomainAdaptation, Domains
from tl_lab.errors import UserError, nearest
from tl_lab.functional import classifier_ratio, effective_sample_size, kernel_mean_matching, kliep_ratio
from tl_lab.model.network import Network
from tl_lab.options import Count, NonNegative, Positive, Share
from tl_lab.problems import ALL

__all__ = ["ImportanceWeighting"]

_ESTIMATORS = ("classifier", "kliep", "kmm")
_FEW = 0.1  # share of effective samples below which a warning is issued
_MOST_FOR_KMM = 10_000  # source samples: the kernel matrix then takes 800 MB


class ImportanceWeighting(DomainAdaptation):
    """Weight each source sample's loss by w(x) = p_t(x) / p_s(x), estimated once before training.

    Under covariate shift, p_s(y | x) = p_t(y | x), the expectation of the weighted source loss is the target's loss.
    The ratio is clipped, flattened and scaled to mean 1 over the source: w = min(r, clip)^exponent / mean. Only the
    source's labels are used, in the loss.

    Args:
        estimator: ``classifier`` (logistic regression between the domains), ``kliep`` (Kullback-Leibler importance
            estimation) or ``kmm`` (kernel mean matching).
        compare: ``features`` of the backbone before training, or flattened ``inputs``; for tables, these are the
            numbers, their flags and the one-hot categories.
        clip: largest ratio r, > 0; None for no limit.
        exponent: flattening, in [0, 1]: 1 for the ratio itself, 0 for equal weights.
        regularisation: regularisation strength of the classifier, > 0.
        centres: number of kernels of KLIEP, >= 1; their width is chosen by cross-validation.
        bound: B, largest weight of KMM, > 0.
        epsilon: tolerance of KMM's mean weight around 1, >= 0; None for (sqrt(N) - 1) / sqrt(N).

    Raises:
        UserError: an option is out of its range; no weights can be estimated (from :meth:`before_training`).

    References:
        Shimodaira, Improving Predictive Inference under Covariate Shift by Weighting the Log-Likelihood Function,
        Journal of Statistical Planning and Inference 90 (2000), for the weighted loss and the exponent;
        Bickel et al., ICML 2007 (classifier); Sugiyama et al., AISM 60 (2008) (KLIEP); Huang et al., NIPS 2006 (KMM).
    """

    problems = ALL
    trains_on_target = False

    def __init__(
        self,
        estimator: Literal["classifier", "kliep", "kmm"] = "classifier",
        compare: Literal["features", "inputs"] = "features",
        clip: Positive | None = None,
        exponent: Share = 1.0,
        regularisation: Positive = 1.0,
        centres: Count = 100,
        bound: Positive = 1000.0,
        epsilon: NonNegative | None = None,
    ) -> None:
        super().__init__()
        if estimator not in _ESTIMATORS:
            raise UserError(
                f"domain_adaptation.estimator={estimator} is unknown; {nearest(str(estimator), _ESTIMATORS)}"
            )
        if compare not in ("features", "inputs"):
            raise UserError(f"domain_adaptation.compare must be 'features' or 'inputs', not {compare!r}")
        if not 0 <= exponent <= 1:
            raise UserError(f"domain_adaptation.exponent must be in [0, 1], not {exponent}")
        for name, value in {"clip": clip, "regularisation": regularisation, "centres": centres, "bound": bound}.items():
            if value is not None and not value > 0:
                raise UserError(f"domain_adaptation.{name} must be above 0, not {value}")
        if epsilon is not None and not epsilon >= 0:
            raise UserError(f"domain_adaptation.epsilon must be null or at least 0, not {epsilon}")
        self.estimator, self.compare, self.clip, self.exponent = estimator, compare, clip, exponent
        self.regularisation, self.centres, self.bound, self.epsilon = regularisation, centres, bound, epsilon
        self.weights: Tensor | None = None

    def build(self, network: Network) -> None:
        """Draw the seed of the kernel centres, so that it depends on the run's seed."""
        self.seed = int(torch.randint(2**31, ()))

    def before_training(self, domains: Domains) -> None:
        """Estimate the weights of the source's training samples."""
        serve = domains.features if self.compare == "features" else domains.inputs
        source, target = _rows(*(serve(f"{domain}/train") for domain in ("source", "target")))
        try:
            ratio = self._ratio(source, target)
        except ValueError as error:
            raise UserError(f"domain_adaptation=importance_weighting cannot weight the source: {error}") from error
        if self.clip is not None:
            ratio = ratio.clamp(max=self.clip)
        weights = ratio**self.exponent
        self.weights = (weights / weights.mean()).float()
        size = effective_sample_size(self.weights)
        if size < _FEW * len(weights):
            warnings.warn(
                f"importance weights give an effective sample size of {size:,.0f} of the source's "
                f"{len(weights):,}: flatten them with domain_adaptation.clip or exponent",
                stacklevel=2,
            )

    def _ratio(self, source: Tensor, target: Tensor) -> Tensor:
        if self.estimator == "classifier":
            return classifier_ratio(source, target, source, self.regularisation)
        if self.estimator == "kliep":
            return kliep_ratio(source, target, source, self.centres, seed=self.seed)
        if len(source) > _MOST_FOR_KMM:
            raise ValueError(
                f"kmm compares all pairs of source samples and supports up to {_MOST_FOR_KMM:,} of them, not "
                f"{len(source):,}; use domain_adaptation.estimator=classifier or kliep"
            )
        return kernel_mean_matching(source, target, self.bound, self.epsilon)

    def sample_weights(self, index: Tensor) -> Tensor | None:
        """Return the weights of a batch's samples, ``(B,)``."""
        assert self.weights is not None, "weights are fitted before the first update"
        self.weights = self.weights.to(index.device)
        return self.weights[index]

    def facts(self) -> dict[str, str]:
        """Report how samples are weighted and, once known, the effective sample size."""
        cut = "" if self.clip is None else f", ratio at most {self.clip:g}"
        flat = "" if self.exponent == 1 else f", to the power of {self.exponent:g}"
        facts = {"importance weights": f"{self.estimator} on {self.compare}{cut}{flat}"}
        if self.weights is not None:
            size = effective_sample_size(self.weights)
            facts["effective sample size"] = f"{size:,.1f} of {len(self.weights):,}"
        return facts

    def get_extra_state(self) -> dict[str, Any]:
        """Save the weights: a resumed run does not estimate them again."""
        return {"weights": self.weights}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the weights."""
        self.weights = state["weights"]

    def extra_repr(self) -> str:
        """Show the method's options."""
        return f"estimator={self.estimator}, compare={self.compare}, clip={self.clip}, exponent={self.exponent}"


def _rows(source: Inputs, target: Inputs) -> tuple[Tensor, Tensor]:
    """Convert each sample to one row, ``(N, D)`` and ``(M, D)``: flattened, or a table's numbers and categories.

    Raises:
        UserError: the inputs are named tensors that are not the columns of a table.
    """
    if isinstance(source, Tensor) and isinstance(target, Tensor):
        return source.flatten(1), target.flatten(1)
    assert not isinstance(source, Tensor)
    assert not isinstance(target, Tensor)
    codes = [x["categories"].amax(0) for x in (source, target) if "categories" in x]
    widths = (torch.stack(codes).amax(0) + 1).tolist() if codes else []
    rows = columns_joined(source, widths), columns_joined(target, widths)
    if rows[0] is None or rows[1] is None:
        raise UserError(
            "domain_adaptation=importance_weighting cannot compare inputs that are named tensors, such as tokens: set "
            "domain_adaptation.compare=features"
        )
    return rows[0], rows[1]
