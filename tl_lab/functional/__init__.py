"""The mathematics as pure functions on tensors, independent of Lightning and of the configuration."""

from tl_lab.functional.accuracy_matrix import average_accuracy, backward_transfer, forgetting, forward_transfer
from tl_lab.functional.attention import attention_logits
from tl_lab.functional.class_confusion import batch_nuclear_norm, certainty_weights, minimum_class_confusion
from tl_lab.functional.coral import coral, covariance
from tl_lab.functional.density_ratio import (
    classifier_ratio,
    effective_sample_size,
    kernel_mean_matching,
    kliep_ratio,
)
from tl_lab.functional.distillation import distillation_loss
from tl_lab.functional.domain_distance import a_distance, linear_domain_accuracy
from tl_lab.functional.fisher import (
    FISHER_ESTIMATORS,
    fisher_diagonal,
    fisher_sums,
    output_sensitivity,
    sensitivity_sums,
)
from tl_lab.functional.gradient_projection import project_gradient
from tl_lab.functional.gradient_reversal import reverse_gradient
from tl_lab.functional.head_distance import class_mean_gap, disparity_discrepancy, output_discrepancy
from tl_lab.functional.inner_loop import adapt, meta_gradient, over_tasks, reptile_gradient, with_gradient
from tl_lab.functional.kernels import gaussian_kernel, mmd_linear, mmd_unbiased, squared_distances
from tl_lab.functional.label_free import information_maximisation, mean_entropy, soft_neighbourhood_density
from tl_lab.functional.likelihoods import BERNOULLI, CATEGORICAL, GAUSSIAN, Likelihood
from tl_lab.functional.multilinear import multilinear_map, randomised_multilinear_map
from tl_lab.functional.path_integral import add_path_contributions, path_contributions, path_importance
from tl_lab.functional.prototypes import cosine_similarities, prototypes
from tl_lab.functional.quadratic import merge_quadratics, quadratic_penalty
from tl_lab.functional.reservoir import reservoir_slots
from tl_lab.functional.support_heads import cosine_scores, fit_heads, linear_scores, random_heads
from tl_lab.functional.task_gradients import cagrad, gradient_cosines, gram_matrix, pcgrad
from tl_lab.functional.task_sampling import annealed_exponent, sampling_shares
from tl_lab.functional.task_weighting import dynamic_weights, gradnorm_gradient, uncertainty_objective
from tl_lab.functional.weighted_risk import controlled_risk, weighted_risk

__all__ = [
    "BERNOULLI",
    "CATEGORICAL",
    "FISHER_ESTIMATORS",
    "GAUSSIAN",
    "Likelihood",
    "a_distance",
    "adapt",
    "add_path_contributions",
    "annealed_exponent",
    "attention_logits",
    "average_accuracy",
    "backward_transfer",
    "batch_nuclear_norm",
    "cagrad",
    "certainty_weights",
    "class_mean_gap",
    "classifier_ratio",
    "controlled_risk",
    "coral",
    "cosine_scores",
    "cosine_similarities",
    "covariance",
    "disparity_discrepancy",
    "distillation_loss",
    "dynamic_weights",
    "effective_sample_size",
    "fisher_diagonal",
    "fisher_sums",
    "fit_heads",
    "forgetting",
    "forward_transfer",
    "gaussian_kernel",
    "gradient_cosines",
    "gradnorm_gradient",
    "gram_matrix",
    "information_maximisation",
    "kernel_mean_matching",
    "kliep_ratio",
    "linear_domain_accuracy",
    "linear_scores",
    "mean_entropy",
    "merge_quadratics",
    "meta_gradient",
    "minimum_class_confusion",
    "mmd_linear",
    "mmd_unbiased",
    "multilinear_map",
    "output_discrepancy",
    "output_sensitivity",
    "over_tasks",
    "path_contributions",
    "path_importance",
    "pcgrad",
    "project_gradient",
    "prototypes",
    "quadratic_penalty",
    "random_heads",
    "randomised_multilinear_map",
    "reptile_gradient",
    "reservoir_slots",
    "reverse_gradient",
    "sampling_shares",
    "sensitivity_sums",
    "soft_neighbourhood_density",
    "squared_distances",
    "uncertainty_objective",
    "weighted_risk",
    "with_gradient",
]
