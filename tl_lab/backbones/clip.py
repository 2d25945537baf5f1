"""Two-tower models of images and texts (CLIP): the image tower is the backbone, the text tower encodes classes."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup, TextTower
from tl_lab.backbones.grouping import cut, group_by_structure
from tl_lab.backbones.read_tokeniser import check_tokeniser, read_tokeniser
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.roots import places_of
from tl_lab.errors import UserError
from tl_lab.options import Count, ImageSize

__all__ = ["Clip"]

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of the published models
_OPEN_CLIP = "open_clip_config.json"
_OF_TOKENISERS = {"clean", "context_length", "reduction_mask", "strip_sep_token", "tokenizer_mode"}


class Clip(Backbone):
    """The image tower of a two-tower model, whose features are in the same space as those of texts.

    ``strategy=zero_shot`` compares images with descriptions of the classes. The layer groups are the embeddings and
    each block; the projection belongs to the last block.

    Args:
        name: a folder written by open_clip or transformers (``save_pretrained`` of a CLIP model), or a name on the hub.
        pretrained: start from the published weights; False for random ones in the same architecture.
        max_groups: largest number of layer groups, to which neighbouring ones are joined; None for no limit.
        in_channels: channels of the data's images; grey ones are repeated.
        input_size: ``[H, W]`` of the data's images, which are resized to the model's size.

    Raises:
        UserError: the model or its library is not available, or the model does not have two towers.

    References:
        A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
        https://arxiv.org/abs/2103.00020
    """

    def __init__(
        self,
        name: str = "openai/clip-vit-base-patch32",
        pretrained: bool = True,
        max_groups: Count | None = None,
        in_channels: Count | None = None,
        input_size: ImageSize | None = None,
    ) -> None:
        super().__init__()
        folder = next((place for place in places_of(name) if place.is_dir()), None)
        self._open = _of_open_clip if folder is not None and (folder / _OPEN_CLIP).is_file() else _of_transformers
        self._name, self._place, self._pretrained, self._max_groups = name, str(folder or name), pretrained, max_groups
        self.source = name if pretrained else ""
        with _one_sentence(name):
            towers = self._open(self._place, pretrained, texts=False)
        self.net, self.num_features = towers.images, towers.width
        self.spec = ImageSpec(towers.size, 3, towers.mean, towers.std)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` to ``(B, num_features)``."""
        found = self.net(x)
        return found if isinstance(found, Tensor) else found.image_embeds

    def text_tower(self) -> TextTower | None:
        """Read the text tower of published weights, which is not part of the backbone."""
        if not self._pretrained:
            return None
        with _one_sentence(self._name):
            return self._open(self._place, True, texts=True).texts

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embeddings and each block; layers after the last block belong to it."""
        lists = {path: module for path, module in self.net.named_modules() if isinstance(module, nn.ModuleList)}
        if not lists:  # a tower of convolutions
            return cut(self.net, *group_by_structure(self.net), self._max_groups)
        path = max(lists, key=lambda one: sum(p.numel() for p in lists[one].parameters()))
        group_of, current = {}, 0
        for tensor, _ in [*self.net.named_parameters(), *self.net.named_buffers()]:
            if tensor.startswith(f"{path}."):
                current = 1 + int(tensor.removeprefix(f"{path}.").partition(".")[0])
            group_of[tensor] = current if "." in tensor or tensor != "proj" else len(lists[path])
        inside = {name for name in group_of if name.startswith(f"{path}.")}
        group_of |= {name: 0 for name, _ in self.net.named_buffers() if name not in inside}
        titles = ["embeddings", *(f"block{number}" for number in range(1, len(lists[path]) + 1))]
        return cut(self.net, titles, group_of, self._max_groups)


class _Towers(NamedTuple):
    """The parts of a model that are read; the text tower only on request."""

    images: nn.Module
    width: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    texts: TextTower | None


@contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    """Convert the errors of libraries to one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of files, the network and unknown architectures
        reason = (str(error).strip().partition("\n")[0] or type(error).__name__)[:160].rstrip(". ")
        raise UserError(
            f"backbone.name={name} cannot be read as a two-tower model ({reason}): give a folder of open_clip or of "
            "transformers' CLIP, or a name on the hub"
        ) from error


def _of_transformers(place: str, pretrained: bool, texts: bool) -> _Towers:
    try:
        import transformers
    except ImportError as error:
        raise UserError("backbone=clip needs the library transformers: install tl_lab[text]") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    local = {"local_files_only": True} if Path(place).is_dir() else {}
    config: Any = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False, **local)
    if config.model_type != "clip":
        raise ValueError(f"{config.model_type} is not a model of images and texts")
    kind, vision = transformers.CLIPVisionModelWithProjection, config.vision_config
    vision.projection_dim = config.projection_dim
    net: Any = kind.from_pretrained(place, config=vision, dtype=torch.float32, **local) if pretrained else kind(vision)
    tower = None
    if texts:
        model: Any = transformers.CLIPModel.from_pretrained(place, dtype=torch.float32, **local).eval()
        tokeniser = read_tokeniser(place, place, config.text_config.vocab_size)
        longest = int(config.text_config.max_position_embeddings)

        def embed(lines: Sequence[str]) -> Tensor:
            _check_lengths(lines, longest, lambda line: len(tokeniser(line)["input_ids"]) > longest)
            given = tokeniser(list(lines), padding=True, return_tensors="pt")
            states = model.text_model(input_ids=given["input_ids"], attention_mask=given["attention_mask"])
            return model.text_projection(states.pooler_output)

        tower = TextTower(torch.no_grad()(embed), float(model.logit_scale.exp()))
    size = int(config.vision_config.image_size)
    mean, std = _statistics(Path(place) / "preprocessor_config.json", "image_mean", "image_std")
    return _Towers(net, int(config.projection_dim), (size, size), mean, std, tower)


def _of_open_clip(place: str, pretrained: bool, texts: bool) -> _Towers:
    try:
        import open_clip
    except ImportError as error:
        raise UserError(
            f"{place} contains a model of open_clip: install tl_lab[clip], or give a folder of transformers' CLIP"
        ) from error
    about = json.loads((Path(place) / _OPEN_CLIP).read_text(encoding="utf-8"))
    kept_apart = _check_tokeniser(about)
    model: Any = open_clip.create_model(f"local-dir:{place}", load_weights=pretrained).eval()
    tower = None
    if texts:
        tokeniser: Any = open_clip.get_tokenizer(f"local-dir:{place}", **kept_apart)
        if kept_apart:  # a tokenizer of transformers
            check_tokeniser(tokeniser.tokenizer, place, place, None)
        longest = int(tokeniser.context_length)
        padding = int(tokeniser([""], longest)[0, -1])

        def embed(lines: Sequence[str]) -> Tensor:
            _check_lengths(lines, longest, lambda line: int(tokeniser([line], longest + 1)[0, -1]) != padding)
            return model.encode_text(tokeniser(list(lines)))

        tower = TextTower(torch.no_grad()(embed), float(model.logit_scale.exp()))
    sides = model.visual.image_size
    size = (int(sides[0]), int(sides[1])) if isinstance(sides, list | tuple) else (int(sides), int(sides))
    given = about.get("preprocess_cfg") or {}
    mean, std = (tuple(given.get(name) or usual) for name, usual in (("mean", _MEAN), ("std", _STD)))
    return _Towers(model.visual, int(about["model_cfg"]["embed_dim"]), size, mean, std, tower)


def _check_tokeniser(about: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse a configuration with options for another library that could make it run code from the folder.

    Returns:
        Options for the tokenizer, if it belongs to another library.
    """
    texts = about["model_cfg"].get("text_cfg") or {}
    if beyond := sorted(set(texts.get("tokenizer_kwargs") or {}) - _OF_TOKENISERS):
        raise UserError(f"{_OPEN_CLIP} sets the option {beyond[0]!r} of its tokenizer, which files must not set")
    return {"trust_remote_code": False} if texts.get("hf_tokenizer_name") else {}


def _check_lengths(lines: Sequence[str], longest: int, is_longer: Callable[[str], bool]) -> None:
    if long := [line for line in lines if is_longer(line)]:
        raise UserError(
            f"strategy.descriptions: {long[0][:40]!r} is longer than the {longest} tokens that the text tower reads: "
            "shorten it"
        )


def _statistics(path: Path, mean: str, std: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Read mean and deviation of the model's training images; by default those of the published models."""
    given = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return tuple(given.get(mean) or _MEAN), tuple(given.get(std) or _STD)
