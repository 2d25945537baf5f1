"""A text encoder that uses the positions of words on the page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup, check_count
from tl_lab.backbones.hf_text import HFText
from tl_lab.data.inputs.layout import EXTENT, LayoutSpec
from tl_lab.errors import UserError
from tl_lab.functional.boxes import relative_bucket
from tl_lab.options import Count

__all__ = ["LayoutText"]

_BINS = 32  # of relative distances along each side
_SMALL = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512}


class LayoutText(Backbone):
    """A text encoder with embeddings of each token's box, and an attention bias that depends on distances of boxes.

    The vector of each token is increased by those of its box's left and right (from one table), top and bottom (from
    another), width and height, each divided into ``cells`` (LayoutLM). The logits of each attention head are increased
    by one number for the horizontal and one for the vertical distance of two boxes, the same in all layers
    (LayoutLMv2). Both start at 0, so that training starts from the unchanged text encoder. The features of a word are
    the state of its first token.

    Args:
        name: on the hub, or a folder, of an encoder that accepts vectors of tokens (like BERT); None for
            all-MiniLM-L6-v2 from its package. LayoutLM (version 1) receives boxes as in its training; versions 2 and 3
            are refused.
        pretrained: start from the published weights; False for random ones in the same architecture.
        small: replace the network by a random one of two blocks of width 128, with the same tokeniser.
        positions: add embeddings of boxes.
        bias: add the attention bias.
        cells: number of cells along each side of a page.
        max_length: largest number of tokens of a page, special ones included; the features of later words are 0.
        max_groups: largest number of layer groups, to which neighbouring ones are joined; None for no limit.

    Raises:
        UserError: the model is not available or does not accept vectors, or an option is out of its range.

    References:
        Y. Xu et al., "LayoutLM: Pre-training of Text and Layout for Document Image Understanding", KDD 2020.
        https://arxiv.org/abs/1912.13318
        Y. Xu et al., "LayoutLMv2: Multi-modal Pre-training for Visually-Rich Document Understanding", ACL 2021.
        https://arxiv.org/abs/2012.14740
    """

    modalities = frozenset({"tokens_with_boxes"})

    def __init__(
        self,
        name: str | None = None,
        pretrained: bool = True,
        small: bool = False,
        positions: bool = True,
        bias: bool = True,
        cells: Count = 64,
        max_length: Count = 512,
        max_groups: Count | None = None,
    ) -> None:
        super().__init__()
        check_count("backbone.cells", cells)
        _check_kind(name)
        self.text = HFText(name=name, pretrained=pretrained and not small, max_length=max_length, max_groups=max_groups)
        known = self.text.spec
        if small:
            self.text.net = _small(known.vocabulary, known.padding_id, max_length)
        self.source = "" if small else self.text.source
        config: Any = self.text.net.config
        self.native = config.model_type == "layoutlm"
        if self.native:
            self.text.net.pooler = nn.Identity()  # which models of its kind call by default
        if not self.native and config.model_type in ("t5", "mt5", "umt5"):
            raise UserError(f"backbone.name={name} does not accept a mask per head: give an encoder like BERT")
        self.num_features, self.cells = int(config.hidden_size), cells
        self.places: nn.ModuleDict | None = None
        if positions and not self.native:
            kinds = ("across", "down", "width", "height")
            self.places = nn.ModuleDict({kind: _zero(cells, self.num_features) for kind in kinds})
        self.distances: nn.ModuleDict | None = None
        if bias:
            heads = int(config.num_attention_heads)
            self.distances = nn.ModuleDict({kind: _zero(_BINS, heads) for kind in ("across", "down")})
        length = max_length if small else known.max_length
        assert known.tokeniser is not None
        self.spec = LayoutSpec(known.vocabulary, length, known.padding_id, known.tokeniser)

    @classmethod
    def weights_in(cls, node: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`Backbone.weights_in`; the weights of a small network are random."""
        return {} if node.get("small") else super().weights_in(node)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Map a batch of pages to the features of its words, ``(B, W, num_features)``."""
        net: Any = self.text.net
        mask = self._mask(x) if self.distances is not None else x["mask"]
        if self.native:
            states = net(input_ids=x["ids"], attention_mask=mask, bbox=x["boxes"]).last_hidden_state
        else:
            vectors = net.get_input_embeddings()(x["ids"])
            states = net(inputs_embeds=vectors + self._of_boxes(x["boxes"]), attention_mask=mask).last_hidden_state
        places = x["first"].clamp(min=0)[..., None].expand(-1, -1, states.shape[2])
        return states.gather(1, places) * (x["first"] >= 0)[..., None]  # (B, T, D) -> (B, W, D)

    def _of_boxes(self, boxes: Tensor) -> Tensor | float:
        """Embed boxes, ``(B, T, 4)`` -> ``(B, T, D)``."""
        if self.places is None:
            return 0.0
        left, top, right, bottom = boxes.unbind(-1)
        across, down = self.places["across"], self.places["down"]
        sums = across(self._cell(left)) + across(self._cell(right)) + down(self._cell(top)) + down(self._cell(bottom))
        return sums + self.places["width"](self._cell(right - left)) + self.places["height"](self._cell(bottom - top))

    def _cell(self, place: Tensor) -> Tensor:
        return (place * self.cells // (EXTENT + 1)).clamp(0, self.cells - 1)

    def _mask(self, x: dict[str, Tensor]) -> Tensor:
        """Add the bias to the mask: ``(B, heads, T, T)``, which is added to the logits of the attention."""
        assert self.distances is not None
        boxes, added = x["boxes"], None
        for kind, side in (("across", 0), ("down", 1)):
            middle = (boxes[..., side] + boxes[..., side + 2]) // 2
            apart = relative_bucket(middle[:, None, :] - middle[:, :, None], _BINS)  # (B, T, T)
            part = self.distances[kind](apart).permute(0, 3, 1, 2)
            added = part if added is None else added + part
        assert added is not None
        return added.masked_fill(x["mask"][:, None, None] == 0, torch.finfo(added.dtype).min)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the layer groups of the text encoder; the parameters for boxes belong to the first one."""
        groups = [(title, list(modules)) for title, modules in self.text.layer_groups()]
        groups[0][1].extend(part for part in (self.places, self.distances) if part is not None)
        return groups


def _check_kind(name: str | None) -> None:
    """Raise an error for a folder with LayoutLMv2 or v3, which also take the image of the page."""
    file = Path(name or "") / "config.json"
    try:
        kind = str(json.loads(file.read_text(encoding="utf-8")).get("model_type"))
    except (OSError, ValueError, AttributeError):
        return  # no folder: the library states what is wrong
    if kind in ("layoutlmv2", "layoutlmv3", "layoutxlm"):
        raise UserError(
            f"backbone.name={name} contains {kind}, which takes images of pages: give a folder with LayoutLM, version "
            "1, or another encoder like BERT"
        )


def _zero(count: int, width: int) -> nn.Embedding:
    table = nn.Embedding(count, width)
    nn.init.zeros_(table.weight)
    return table


def _small(vocabulary: int, padding_id: int, length: int) -> nn.Module:
    from transformers import BertConfig, BertModel

    sizes = {**_SMALL, "vocab_size": vocabulary, "pad_token_id": padding_id, "max_position_embeddings": length}
    return BertModel(BertConfig(**sizes), add_pooling_layer=False)
