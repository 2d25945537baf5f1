"""Any classification model of torchvision by name."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

import torchvision.models as models
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from tl_lab.backbones.base import Backbone, Classifier, LayerGroup, check_count, check_size
from tl_lab.backbones.grouping import cut, group_by_structure
from tl_lab.backbones.weights import check_fit, download, read_weights, replace_first_conv
from tl_lab.backbones.wrapping import (
    Size,
    check_source,
    first_that_works,
    grey_or_colour,
    unknown_model,
)
from tl_lab.errors import UserError
from tl_lab.options import Count, ImageSize

__all__ = ["Torchvision"]

_HEADS = ("fc", "heads", "head", "classifier")  # names of the classifier in each family of models
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


class Torchvision(Backbone):
    """A torchvision classification model without its head, with pooled features.

    For families that end in hidden layers (AlexNet, VGG) or in a convolution to the classes (SqueezeNet), the features
    are the last maps averaged over the image: 256, 512 and 512. With trained weights, mean and deviation are those of
    the published recipe; without, the data stay in [0, 1]. For grey inputs, mean and deviation are averaged over RGB,
    and the weights of a trained first convolution are summed over RGB.

    Args:
        name: a model, for example ``squeezenet1_0`` or ``resnet50``.
        pretrained: download torchvision's best weights for ImageNet; a copy in the cache needs no network.
        weights: local file of this model's weights (a state dict of torch, or .safetensors), with any head or none.
        resize_to: ``[H, W]`` of the input; None: with trained weights the model's own size; without, that of the data
            if the architecture supports it, otherwise the model's own.
        max_groups: largest number of layer groups, to which neighbouring ones are joined; None for no limit.
        in_channels: channels of the data's images; None: 3.
        input_size: ``[H, W]`` of the data's images; None: unknown.

    Raises:
        UserError: the name is unknown, the weights are damaged or do not fit, there is no network, or the size is not
            supported.
    """

    def __init__(
        self,
        name: str = "squeezenet1_0",
        pretrained: bool = False,
        weights: str | None = None,
        resize_to: ImageSize | None = None,
        max_groups: Count | None = None,
        in_channels: Count | None = None,
        input_size: ImageSize | None = None,
    ) -> None:
        super().__init__()
        check_source(name, pretrained, weights)
        known = models.list_models(module=models)
        if name not in known:
            raise unknown_model(name, "torchvision", "torchvision.models.list_models()", known)
        channels = 3 if in_channels is None else check_count("backbone.in_channels", in_channels)
        self._max_groups = None if max_groups is None else check_count("backbone.max_groups", max_groups)
        trained = pretrained or weights is not None

        published = models.get_model_weights(name)
        # files usually contain weights of the first recipe
        recipe = published.DEFAULT if pretrained else next(iter(published))
        transform = recipe.transforms()
        own: Size = (transform.crop_size[0], transform.crop_size[0])
        if resize_to is not None:
            sizes = [check_size("backbone.resize_to", resize_to)]
        elif trained or input_size is None:
            sizes = [own]
        else:
            sizes = [check_size("backbone.input_size", input_size), own]

        path = download(recipe.url, name) if pretrained else weights
        state = None if path is None else read_weights(path)

        self._path, self._head = None if path is None else str(path), ""

        def build(size: Size) -> nn.Module:
            net = models.get_model(name, weights=None, **_arguments(name, size))
            self._head = _remove_head(net)
            if state is not None:
                _load(net, name, state, str(path), (f"{self._head}.", *_AUXILIARY), size)
            replace_first_conv(net, channels, trained)
            return net

        self.net, size, self.num_features = first_that_works(name, sizes, channels, build)
        mean, std = (transform.mean, transform.std) if trained else (None, None)
        if trained and name in ("googlenet", "inception_v3"):
            # Trained on [-1, 1]; torchvision's own models convert ImageNet's scale to that inside the network.
            mean, std = [0.5] * 3, [0.5] * 3
        crop = transform.crop_size[0] / transform.resize_size[0] if size == own else 1.0
        self.spec = grey_or_colour(size, channels, mean, std, crop)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, num_features)``."""
        return self.net(x)

    def classifier(self) -> Classifier | None:
        """Read ImageNet's classifier from the file of the weights; None if hidden layers or maps precede it."""
        from tl_lab.backbones.imagenet_names import imagenet_classifier

        if self._path is None or isinstance(self.net, models.SqueezeNet):  # which classifies maps before their average
            return None
        return imagenet_classifier(read_weights(self._path), self._head, self.num_features)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the stem and each block or stage in order; AlexNet and VGG are cut after each pooling."""
        titles, group_of = group_by_structure(self.net)
        return cut(self.net, titles, group_of, self._max_groups)


def _arguments(name: str, size: Size) -> dict[str, Any]:
    """Return the arguments that the constructor of a model family needs in addition to the weights."""
    if name.startswith(("vit_", "maxvit")):
        if size[0] != size[1]:
            raise UserError(f"backbone.resize_to: {name} takes square images only, got {size[0]}x{size[1]}.")
        return {"image_size": size[0]} if name.startswith("vit_") else {"input_size": size}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    return {}


def _remove_head(net: nn.Module) -> str:
    """Remove the classifier in place, except for norms and poolings in it; return its name."""
    name = next(name for name in _HEADS if hasattr(net, name))
    head = getattr(net, name)
    if isinstance(net, models.SqueezeNet):
        rest: nn.Module = nn.AdaptiveAvgPool2d(1)
    elif isinstance(net, models.AlexNet | models.VGG):
        net.avgpool, rest = nn.AdaptiveAvgPool2d(1), nn.Identity()
    elif name == "classifier" and isinstance(head, nn.Sequential):
        rest = nn.Sequential(*takewhile(lambda layer: not isinstance(layer, nn.Linear | nn.Dropout), head))
    else:
        rest = nn.Identity()
    setattr(net, name, rest)
    return name


def _load(
    net: nn.Module, name: str, state: Mapping[str, Tensor], path: str, ignored: tuple[str, ...], size: Size
) -> None:
    """Load a network without head from a file, whose tensors must be those of the network except for the head."""
    # DenseNet's published files contain norm.1 for modules named norm1.
    given = {re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key): t for key, t in state.items()}
    expected = net.state_dict()
    positions = given.get("encoder.pos_embedding")
    if isinstance(net, models.VisionTransformer) and positions is not None:
        try:
            given = dict(interpolate_embeddings(size[0], net.patch_size, OrderedDict(given)))
        except ValueError as error:
            raise UserError(f"backbone.weights: {path} does not fit {name}: {error}") from error
    extra = [key for key in given if key not in expected and not key.startswith(ignored)]
    check_fit(path, name, expected, given, extra)
    kept = OrderedDict((key, tensor) for key, tensor in given.items() if key in expected)
    kept._metadata = expected._metadata  # type: ignore[attr-defined]  # the versions that loading hooks ask for
    net.load_state_dict(kept, strict=False)
