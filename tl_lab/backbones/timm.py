"""Any model of timm by name."""

import re
from itertools import chain
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import get_pretrained_cfg
from timm.models._manipulate import group_with_matcher  # the public versions omit buffers
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, Classifier, LayerGroup, check_count, check_probability, check_size
from tl_lab.backbones.grouping import TRUNKS, cut, group_by_structure
from tl_lab.backbones.weights import bounded_sockets, read_weights, require_reachable, unreachable
from tl_lab.backbones.wrapping import (
    Size,
    check_source,
    first_that_works,
    grey_or_colour,
    unknown_model,
)
from tl_lab.errors import UserError, nearest
from tl_lab.options import Count, ImageSize, Probability

__all__ = ["Timm"]


class Timm(Backbone):
    """A timm model without its classifier, with pooled features.

    Mean, deviation and crop are those of the model (timm's data configuration). For grey inputs, mean and deviation are
    averaged over RGB, and the weights of trained first convolutions are summed over RGB.

    Args:
        name: a model, with or without the tag of its weights (``resnet18``, ``resnet18.a1_in1k``).
        pretrained: download the published weights; a copy in the cache needs no network.
        weights: local file with weights of this model (.safetensors, or a state dict of torch), for any number of
            classes or none.
        drop_rate: dropout before the classifier, in [0, 1); None: the model's default.
        drop_path_rate: stochastic depth, in [0, 1); None: the model's default.
        resize_to: ``[H, W]`` of the input; None: with trained weights the model's own size; without, that of the data
            if the architecture supports it, otherwise the model's own.
        max_groups: largest number of layer groups, to which neighbouring ones are joined (a ViT has one per block);
            None for no limit.
        in_channels: channels of the data's images; None: 3.
        input_size: ``[H, W]`` of the data's images; None: unknown.

    Raises:
        UserError: the name is unknown, the weights are damaged or do not fit, there is no network, or the model lacks
            an option.
    """

    def __init__(
        self,
        name: str = "resnet18",
        pretrained: bool = False,
        weights: str | None = None,
        drop_rate: Probability | None = None,
        drop_path_rate: Probability | None = None,
        resize_to: ImageSize | None = None,
        max_groups: Count | None = None,
        in_channels: Count | None = None,
        input_size: ImageSize | None = None,
    ) -> None:
        super().__init__()
        check_source(name, pretrained, weights)
        cfg = _published(name)
        rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
        options = {key: check_probability(f"backbone.{key}", rate) for key, rate in rates.items() if rate is not None}
        channels = 3 if in_channels is None else check_count("backbone.in_channels", in_channels)
        self._max_groups = None if max_groups is None else check_count("backbone.max_groups", max_groups)

        own: Size = (cfg.input_size[1], cfg.input_size[2])
        if resize_to is not None:
            sizes = [check_size("backbone.resize_to", resize_to)]
        elif pretrained or weights is not None or input_size is None:
            sizes = [own]
        else:
            sizes = [check_size("backbone.input_size", input_size), own]

        path = _cached(cfg) if pretrained else weights
        if pretrained and path is None:
            require_reachable(_address(cfg, name), name)
        state = None if path is None else self._read(name, path)

        def build(size: Size) -> nn.Module:
            # Only models for a fixed size accept it as an argument; convolutions support any size.
            known: dict[str, Any] = {**options, "in_chans": channels}
            if cfg.fixed_input_size:
                known["img_size"] = size
            try:
                if state is not None:
                    net = _load(name, cfg, state, str(path), known)
                elif pretrained:
                    net = _fetch(name, cfg, known)
                else:
                    net = timm.create_model(name, pretrained=False, num_classes=0, **known)
            except TypeError as error:
                lacking = [key for key in options if f"'{key}'" in str(error)]
                if not lacking:
                    raise
                raise UserError(
                    f"backbone.{lacking[0]}: the timm model {name} has no such option; leave it null."
                ) from error
            _check_patches(net, size)
            return net

        self.net, size, self.num_features = first_that_works(name, sizes, channels, build)
        data = resolve_model_data_config(self.net)
        crop = data["crop_pct"] if size == own else 1.0
        self.spec = grey_or_colour(size, channels, data["mean"], data["std"], crop)
        self._name, self._file = name, _cached(cfg) if pretrained else weights

    def _read(self, name: str, path: str) -> dict[str, Tensor]:
        """Read a file of the model's weights; a subclass may rename them."""
        return read_weights(path)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, num_features)``."""
        return self.net(x)

    def classifier(self) -> Classifier | None:
        """Read ImageNet's classifier from the file of the weights, if that has one of 1,000 classes."""
        from tl_lab.backbones.imagenet_names import imagenet_classifier

        cfg = _published(self._name)
        if self._file is None or not isinstance(cfg.classifier, str):
            return None
        state = self._read(self._name, self._file)
        return imagenet_classifier(state, cfg.classifier, self.num_features, cfg.label_offset or 0)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the stem and each stage or block in order, as divided by timm's own matcher."""
        names = [name for name, _ in chain(self.net.named_parameters(), self.net.named_buffers())]
        try:
            matcher = self.net.group_matcher(coarse=True)  # type: ignore[operator]
        except (AttributeError, AssertionError, TypeError):  # a few models have no matcher, or none by stages
            titles, group_of = group_by_structure(self.net)
        else:
            group_of = group_with_matcher(((name, None) for name in names), matcher, reverse=True)
            titles = _titles(names, group_of)
        return cut(self.net, titles, group_of, self._max_groups)


def _published(name: str) -> Any:
    """Look up timm's metadata of a model and its weights."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture) or set(name) & set("/:"):
        raise unknown_model(name, "timm", "timm.list_models()", timm.list_models())
    known = timm.list_models(f"{architecture}.*", pretrained=True) if tag else []
    if tag and name not in known:
        raise UserError(f"backbone.name={name}: {architecture} has no weights of that tag; {nearest(name, known)}")
    cfg = get_pretrained_cfg(name)
    if cfg is None:
        raise UserError(f"backbone.name={name}: timm does not describe its input; use another model.")
    return cfg


def _cached(cfg: Any) -> str | None:
    """Find published weights that an earlier run downloaded."""
    if cfg.custom_load:
        return None
    if cfg.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache

        repository, _, revision = cfg.hf_hub_id.partition("@")
        names = [cfg.hf_hub_filename] if cfg.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        for name in names:
            path = try_to_load_from_cache(repository, name, revision=revision or None)
            if isinstance(path, str):
                return path
    elif isinstance(cfg.url, str):
        path = Path(torch.hub.get_dir()) / "checkpoints" / cfg.url.rpartition("/")[2]
        return str(path) if path.is_file() else None
    return None


def _address(cfg: Any, name: str) -> str:
    """Return the address of published weights."""
    if cfg.hf_hub_id:
        from huggingface_hub import constants

        repository, _, revision = cfg.hf_hub_id.partition("@")
        file = cfg.hf_hub_filename or "model.safetensors"
        return f"{constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}/{file}"
    if isinstance(cfg.url, str) and cfg.url:
        return cfg.url
    raise UserError(
        f"backbone.pretrained=true: timm publishes no weights for {name}; give backbone.weights=<file>, or "
        "backbone.pretrained=false."
    )


def _fetch(name: str, cfg: Any, options: dict[str, Any]) -> nn.Module:
    try:
        with bounded_sockets():
            return timm.create_model(name, pretrained=True, num_classes=0, **options)
    except TypeError:
        raise
    except Exception as error:  # the hub's clients raise errors of several libraries
        raise unreachable(_address(cfg, name), name, f"{type(error).__name__}: {error}"[:160]) from error


def _load(name: str, cfg: Any, state: dict[str, Tensor], path: str, options: dict[str, Any]) -> nn.Module:
    """Build a model from a file's tensors, all of which must fit.

    timm compares all names if the number of classes is that of the file; otherwise it would skip missing tensors. The
    classifier is removed afterwards.
    """
    offset = cfg.label_offset or 0
    heads = (cfg.classifier,) if isinstance(cfg.classifier, str) else (cfg.classifier or ())
    rows = [state[f"{head}.weight"].shape[0] - offset for head in heads if f"{head}.weight" in state]
    error: Exception | None = None
    for classes in rows[:1] or (cfg.num_classes, 0):  # an older file may name its classifier differently
        overlay = {"state_dict": dict(state), "num_classes": classes, "custom_load": False}
        overlay |= {} if classes else {"label_offset": None}
        try:
            net: Any = timm.create_model(
                name, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay, **options
            )
        except TypeError:
            raise
        except Exception as caught:  # filters for old files fail in their own ways on files of other models
            error = caught
            continue
        if classes:
            net.reset_classifier(0)
        net.pretrained_cfg.pop("state_dict", None)  # it would keep a second copy of the weights in memory
        return net
    raise UserError(
        f"backbone.weights: {path} does not fit the timm model {name} ({_complaint(error)}); give weights of "
        "this model."
    ) from error


def _complaint(error: Exception | None) -> str:
    """Shorten torch's list of every mismatched tensor to the first few."""
    text = str(error)
    complaints = []
    for kind, pattern in (
        ("missing", r"Missing key\(s\)[^:]*: (.*)"),
        ("unknown", r"Unexpected key\(s\)[^:]*: (.*)"),
    ):
        for found in re.findall(pattern, text):
            keys = re.findall(r'"([^"]+)"', found)
            complaints.append(
                f"{kind}: {', '.join(keys[:3])}" + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            )
    wrong = re.findall(r"size mismatch for ([^:]+):", text)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        complaints.append(f"of another shape: {', '.join(wrong[:3])}{more}")
    return "; ".join(complaints) or f"{type(error).__name__}: {text.strip().partition(chr(10))[0][:120]}"


def _titles(names: list[str], group_of: dict[str, int]) -> list[str]:
    """Name each group by the module of its first tensor: ``stem``, ``layer1``, ``stages.0``, ``blocks.11``, ..."""
    paths = [
        next(name for name in names if group_of[name] == number).split(".")
        for number in range(1 + max(group_of.values(), default=-1))
    ]
    depths = [2 if path[0] in TRUNKS and len(path) > 2 else 1 for path in paths]
    while True:
        titles = [
            ".".join(path[:depth]) if number else "stem"
            for number, (path, depth) in enumerate(zip(paths, depths, strict=True))
        ]
        alike = [n for n, title in enumerate(titles) if titles.count(title) > 1 and depths[n] < len(paths[n])]
        if not alike:
            return titles
        for number in alike:
            depths[number] += 1


def _check_patches(net: Any, size: Size) -> None:
    """Refuse a size whose last rows and columns would be silently ignored."""
    patch = getattr(getattr(net, "patch_embed", None), "patch_size", None)
    if isinstance(patch, int):
        patch = (patch, patch)
    if patch is not None and any(pixels % side for pixels, side in zip(size, patch, strict=True)):
        raise ValueError(f"patches of {patch[0]}x{patch[1]} pixels do not tile it")
