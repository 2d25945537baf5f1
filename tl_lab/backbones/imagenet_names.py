"""Classifiers of ImageNet: the names of its 1,000 classes in order, and the last layer in a file of weights."""

import functools
from collections.abc import Mapping

from torch import Tensor

from tl_lab.backbones.base import Classifier

__all__ = ["imagenet_classifier", "imagenet_names"]


@functools.cache
def imagenet_names() -> tuple[tuple[str, ...], ...]:
    """List the names of each class in WordNet: ``("mountain bike", "all-terrain bike", "off-roader")``."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    lemmas = [str(info.index_to_description(i, detailed=False)) for i in range(info.num_classes())]
    return tuple(tuple(name.strip() for name in line.split(",")) for line in lemmas)


def imagenet_classifier(
    state: Mapping[str, Tensor], head: str, num_features: int, offset: int = 0
) -> Classifier | None:
    """Find the linear layer that classifies a backbone's features into ImageNet's classes.

    Args:
        state: tensors of the whole model.
        head: name of the module that contains the classifier, such as ``fc``.
        num_features: of the backbone, D.
        offset: number of outputs before the first class.

    Returns:
        The classifier; None if the module has no layer of 1,000 classes, or hidden layers before it.
    """
    layers = [name for name, t in state.items() if name.startswith(f"{head}.") and name.endswith(".weight")]
    linear = [name for name in layers if state[name].dim() > 1]
    if len(linear) != 1 or (bias := state.get(linear[0].removesuffix("weight") + "bias")) is None:
        return None
    weight, names = state[linear[0]].flatten(1)[offset:].float(), imagenet_names()
    fits = weight.shape == (len(names), num_features)
    return Classifier(weight, bias[offset:].float(), names) if fits else None
