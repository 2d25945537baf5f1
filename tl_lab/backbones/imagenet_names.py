"""Names of the 1,000 classes of ImageNet, in the order of classifiers that were trained on them."""

import functools

__all__ = ["imagenet_names"]


@functools.cache
def imagenet_names() -> tuple[tuple[str, ...], ...]:
    """List the names of each class as WordNet has them: ``("mountain bike", "all-terrain bike", "off-roader")``."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    lemmas = [str(info.index_to_description(i, detailed=False)) for i in range(info.num_classes())]
    return tuple(tuple(name.strip() for name in line.split(",")) for line in lemmas)
