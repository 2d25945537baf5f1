"""Probabilities of source classes: an earlier run's, those of the weights' own task, or those of a Gaussian mixture."""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from tl_lab.assess.material import Material

__all__ = ["mixture_probabilities", "probabilities"]

_COMPONENTS = 32
_MOST_PARTS = 100


def probabilities(material: Material, name: str, x: Tensor) -> Tensor:
    """Give source probabilities of the drawn training samples, ``(N, Z)``.

    Args:
        material: of the assessment.
        name: of a backbone, or the raw inputs.
        x: its features of the training set, ``(N, D)``.
    """
    subject = next((one for one in material.subjects if one.name == name), None)
    if subject is not None and subject.plan.init_from is not None:
        return _of_run(material, Path(subject.plan.init_from))
    if subject is not None and (known := subject.backbone.classifier()) is not None:
        return (x.double() @ known.weight.double().T + known.bias.double()).softmax(1)
    return mixture_probabilities(x, len(material.class_names), material.plan.seed)


def mixture_probabilities(x: Tensor, classes: int, seed: int = 0) -> Tensor:
    """Fit a Gaussian mixture with diagonal covariances, five parts a class, to principal components.

    Args:
        x: features ``(N, D)``.
        classes: of the target.
        seed: of the mixture's start.

    Returns:
        Posteriors of the parts, ``(N, Z)``.

    References:
        Li et al., Ranking Neural Checkpoints, CVPR 2021, section 3.2 (N-LEEP).
    """
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    values = x.double().numpy()
    # the covariance is the smaller matrix where there are more samples than features: several times faster, and exact
    solver = "covariance_eigh" if values.shape[0] >= values.shape[1] else "auto"
    reduced = PCA(min(_COMPONENTS, *values.shape), svd_solver=solver, random_state=seed).fit_transform(values)
    parts = max(2, min(5 * classes, _MOST_PARTS, len(values) // 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture = GaussianMixture(parts, covariance_type="diag", random_state=seed, max_iter=50, reg_covar=1e-4)
        return torch.from_numpy(mixture.fit(reduced).predict_proba(reduced))


def _of_run(material: Material, run: Path) -> Tensor:
    """Let the classifier of an earlier run answer for the drawn training samples."""
    from tl_lab.run.inference import load_classifier
    from tl_lab.training.feature_reader import FeatureReader

    model = load_classifier(run)
    name = material.train
    data = material.data.serving({name: material.drawn[name]}, model.spec)
    outputs = FeatureReader(model.network, data).read(name, "outputs", cached=False)
    return outputs.cpu().double().softmax(1)
