"""The mathematics, as pure functions on tensors: no Lightning, no config."""

from tl_lab.functional.gradient_reversal import reverse_gradient
from tl_lab.functional.label_free import information_maximisation, mean_entropy, soft_neighbourhood_density

__all__ = ["information_maximisation", "mean_entropy", "reverse_gradient", "soft_neighbourhood_density"]
