"""Text encoders of the library transformers."""

import inspect
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup, check_count
from tl_lab.backbones.grouping import cut
from tl_lab.backbones.packaged import packaged
from tl_lab.backbones.read_tokeniser import read_tokeniser
from tl_lab.data.inputs.tokenisers import FastTokeniser
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.data.roots import places_of
from tl_lab.errors import UserError, nearest
from tl_lab.functional.pooling import Pooling, mixed, pooled
from tl_lab.options import Count

__all__ = ["HFText", "blocks_of", "longest", "source_of"]

_POOLINGS = ("mean", "cls", "last")


class HFText(Backbone):
    """A text encoder by its name on the hub or from a folder, with the pooled last states of its tokens as features.

    The layer groups are the embeddings and each block; pooling layers of the published model are removed.

    Args:
        name: on the hub (``bert-base-uncased``; read from the local cache if available) or a folder written by
            ``save_pretrained``; None for all-MiniLM-L6-v2 from its package (see ``python -m tl_lab weights``).
        pretrained: start from the published weights; False for random ones in the same architecture.
        pooling: ``mean`` over all tokens, ``cls``: the first token, or ``last``.
        layers: ``last``, or ``mixed``: a mixture of the embeddings and all blocks with learned weights (ELMo).
        max_length: largest number of tokens of a text, special ones included; longer texts are cut at the end.
        max_groups: largest number of layer groups, to which neighbouring ones are joined; None for no limit.
        sizes: fields of the model's configuration by name (``{hidden_size: 64, num_hidden_layers: 2}``), for a small
            model with random weights, ``pretrained=False``; None for the published sizes.

    Raises:
        UserError: the model, its tokeniser or the library is not available, or an option is out of its range.

    References:
        W. Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
        Transformers", NeurIPS 2020. https://arxiv.org/abs/2002.10957
        N. Reimers, I. Gurevych, "Sentence-BERT", EMNLP 2019. https://arxiv.org/abs/1908.10084
    """

    modalities = frozenset({"text"})
    takes_prompts = True
    causal: ClassVar[bool] = False
    """Whether the model predicts the next token, and keeps the layer that does."""
    default: ClassVar[str] = "minilm"
    """The packaged weights that are used without a name."""

    @classmethod
    def family_for(cls, node: Mapping[str, Any]) -> str | None:
        """Read the family from the model's configuration file, if that is available."""
        with suppress(UserError, OSError, ValueError):
            source = cls.source_for(node.get("name"))
            path = Path(source) / "config.json" if Path(source).is_dir() else _cached(source)
            return str(json.loads(path.read_text(encoding="utf-8"))["model_type"]) if path else None
        return None

    @classmethod
    def source_for(cls, name: str | None) -> str:
        """Find the folder or the name from which a model is read."""
        return source_of(name)

    def __init__(
        self,
        name: str | None = None,
        pretrained: bool = True,
        pooling: Pooling = "mean",
        layers: Literal["last", "mixed"] = "last",
        max_length: Count = 256,
        max_groups: Count | None = None,
        sizes: Mapping[str, Count] | None = None,
    ) -> None:
        super().__init__()
        if pooling not in _POOLINGS:
            raise UserError(f"backbone.pooling={pooling} is unknown; {nearest(str(pooling), _POOLINGS)}")
        if layers not in ("last", "mixed"):
            raise UserError(f"backbone.layers={layers} is unknown; {nearest(str(layers), ['last', 'mixed'])}")
        check_count("backbone.max_length", max_length)
        if sizes and pretrained:
            raise UserError(
                "backbone.sizes defines another model, for which no weights exist: set backbone.pretrained=false"
            )
        source = self.source_for(name)
        self.net, tokeniser, padding_id = _load(source, name, pretrained, self.causal, sizes)
        self.source = f"{name or packaged(self.default).package} (library transformers)" if pretrained else ""
        config: Any = self.net.config
        self.pooling, self._max_groups = pooling, max_groups
        self.takes_types = "token_type_ids" in inspect.signature(self.net.forward).parameters
        # BERT looks up positions once for all texts, which would prevent per-sample gradients of them
        self._gives_positions = config.model_type == "bert"
        self.spec: TokenSpec
        self.num_features = int(config.hidden_size)
        self.mixture = _Mixture(1 + len(blocks_of(self.net)[1])) if layers == "mixed" else None
        length = min(max_length, longest(config))
        self.spec = TokenSpec(tokeniser.size, length, padding_id, tokeniser)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Map ``ids`` and ``mask``, ``(B, L)``, and of pairs ``types``, to ``(B, num_features)``."""
        return pooled(self.states(x), x["mask"], self.pooling)

    def states(self, x: Mapping[str, Tensor]) -> Tensor:
        """Return the states of all tokens, ``(B, L, num_features)``, without those that an adapter puts before them."""
        types = {"token_type_ids": x["types"]} if self.takes_types and "types" in x else {}
        places = torch.arange(x["ids"].shape[1], device=x["ids"].device).expand_as(x["ids"])
        positions = {"position_ids": places} if self._gives_positions else {}
        options = {**types, **positions, "output_hidden_states": self.mixture is not None}
        out = self.net(input_ids=x["ids"], attention_mask=x["mask"], **options)
        states = out.last_hidden_state if self.mixture is None else self.mixture(out.hidden_states)  # (B, L, D)
        return states[:, -x["mask"].shape[1] :]

    def make_room(self, tokens: int) -> None:
        """Reserve positions for vectors before the tokens of a text, and omit types, which these vectors do not have.

        Raises:
            UserError: the model does not have enough positions.
        """
        most = longest(self.net.config) - tokens
        if most < 1:
            raise UserError(f"adapter.tokens={tokens} leaves no position for the tokens of texts")
        self.spec = replace(self.spec, max_length=min(self.spec.max_length, most))
        self.takes_types = self._gives_positions = False

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embeddings, each block (the last one with all later layers), and a mixture of layers, if any."""
        path, blocks = blocks_of(self.net)
        titles = ["embeddings", *(f"block{number}" for number in range(1, len(blocks) + 1))]
        group_of, current = {}, 0
        tensors = [*self.net.named_parameters(), *self.net.named_buffers()]
        places = {module: i for i, (module, _) in enumerate(self.net.named_modules())}
        for tensor, _ in sorted(tensors, key=lambda pair: places[pair[0].rpartition(".")[0]]):
            if tensor.startswith(f"{path}."):
                current = 1 + int(tensor.removeprefix(f"{path}.").partition(".")[0])
            group_of[tensor] = current
        groups = cut(self.net, titles, group_of, self._max_groups)
        return groups if self.mixture is None else [*groups, ("mixture", [self.mixture])]


class _Mixture(nn.Module):
    """Mixes layers with learned weights, which are equal at first."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores, self.scale = nn.Parameter(torch.zeros(layers)), nn.Parameter(torch.ones(()))

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        return mixed(layers, self.scores, self.scale)


def blocks_of(net: nn.Module) -> tuple[str, nn.ModuleList]:
    """Find the list of blocks of a model, and its path: the list of modules with the most parameters.

    Raises:
        UserError: the model has no such list.
    """
    lists = {path: module for path, module in net.named_modules() if isinstance(module, nn.ModuleList)}
    if not lists:
        raise UserError(f"{type(net).__name__} has no list of blocks, from which layer groups are formed")
    path = max(lists, key=lambda name: sum(p.numel() for p in lists[name].parameters()))
    return path, lists[path]


def longest(config: Any) -> int:
    """Return the largest number of tokens; models like RoBERTa number positions from the padding's id."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return 2**20
    return positions - (config.pad_token_id + 1 if "roberta" in config.model_type else 0)


def source_of(name: str | None) -> str:
    """Find the folder of a name, or return the name; None stands for the packaged MiniLM.

    Raises:
        UserError: there is no such folder.
    """
    if name is None:
        return str(packaged("minilm").locate()["model/model.safetensors"].parent)
    folder = next((place for place in places_of(name) if place.is_dir()), None)
    if folder is None and (name.startswith(("/", ".", "~")) or name.count("/") > 1):
        raise UserError(f"backbone.name: there is no folder {name}")
    return name if folder is None else str(folder)


def _cached(name: str) -> Path | None:
    """Find a model's configuration file in the hub's cache."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    path = try_to_load_from_cache(name, "config.json")
    return Path(path) if isinstance(path, str) else None


def _resized(config: Any, sizes: Mapping[str, int]) -> Any:
    """Change sizes in a model's configuration; the library derives all dependent sizes.

    Raises:
        UserError: the configuration has no such field.
    """
    fields = config.to_dict()
    if unknown := [name for name in sizes if name not in fields]:
        known = [name for name, value in fields.items() if isinstance(value, int) and not isinstance(value, bool)]
        raise UserError(f"backbone.sizes: {config.model_type} has no size {unknown[0]}; {nearest(unknown[0], known)}")
    follow = {"head_dim", "layer_types"} | ({"num_key_value_heads"} if "num_attention_heads" in sizes else set())
    kept = {name: value for name, value in fields.items() if name not in follow}
    return type(config).from_dict(kept | dict(sizes))


def _load(
    source: str, name: str | None, pretrained: bool, causal: bool, sizes: Mapping[str, int] | None
) -> tuple[nn.Module, FastTokeniser, int]:
    """Read network and tokeniser, from local files if possible, otherwise from the hub."""
    try:
        import transformers
        from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
    except ImportError as error:
        raise UserError("models of texts need the library transformers: install tl_lab[text]") from error
    kind = AutoModelForCausalLM if causal else AutoModel
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    display_name = name or source

    def fetch(kind: Any, **options: Any) -> Any:
        try:
            return kind.from_pretrained(source, local_files_only=True, trust_remote_code=False, **options)
        except OSError:
            if Path(source).is_dir():
                raise
            return kind.from_pretrained(source, trust_remote_code=False, **options)

    try:
        config = fetch(AutoConfig)
        published = getattr(config, "vocab_size", None)
        config = _resized(config, sizes) if sizes else config
        net = fetch(kind, dtype=torch.float32) if pretrained else kind.from_config(config)
    except UserError:
        raise
    except Exception as error:  # of files, the network and unknown architectures
        raise UserError(
            f"backbone.name={display_name} cannot be read ({_first(error)}); give a folder, a name on the hub that is "
            "in its cache or can be downloaded, or null for the packaged model"
        ) from error
    made = read_tokeniser(source, display_name, published)
    try:
        tokeniser = FastTokeniser(made.backend_tokenizer.to_str())
    except Exception as error:  # of a tokeniser in Python only
        raise UserError(f"backbone.name={display_name}: the tokeniser cannot be read ({_first(error)})") from error
    if getattr(config, "is_encoder_decoder", False):
        net = net.get_encoder()
    if getattr(net, "pooler", None) is not None:
        net.pooler = None
    padding = next((one for one in (made.pad_token_id, made.eos_token_id) if one is not None), 0)
    return net, tokeniser, int(padding)


def _first(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:160].rstrip(". ")
