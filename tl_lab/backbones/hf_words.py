"""Text encoders of the library transformers, with features for each word of a passage."""

from typing import Any

from torch import Tensor

from tl_lab.backbones.base import Backbone, LayerGroup
from tl_lab.backbones.hf_text import HFText
from tl_lab.data.inputs.passages import PassageSpec
from tl_lab.options import Count

__all__ = ["HFWords"]


class HFWords(Backbone):
    """A text encoder that reads a question and a passage; the features of a word are the state of its first token.

    Args:
        name: on the hub, or a folder; None for all-MiniLM-L6-v2 from its package.
        pretrained: start from the published weights; False for random ones in the same architecture.
        max_length: largest number of tokens of question and passage; passages are cut at the end.
        max_groups: largest number of layer groups, to which neighbouring ones are joined; None for no limit.

    Raises:
        UserError: see :class:`~tl_lab.backbones.hf_text.HFText`.

    References:
        J. Devlin, M.-W. Chang, K. Lee, K. Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for
        Language Understanding", NAACL 2019. https://arxiv.org/abs/1810.04805
    """

    modalities = frozenset({"passage"})

    def __init__(
        self,
        name: str | None = None,
        pretrained: bool = True,
        max_length: Count = 384,
        max_groups: Count | None = None,
    ) -> None:
        super().__init__()
        self.text = HFText(name=name, pretrained=pretrained, max_length=max_length, max_groups=max_groups)
        self.source, known = self.text.source, self.text.spec
        assert known.tokeniser is not None
        self.num_features = self.text.num_features
        self.spec = PassageSpec(known.vocabulary, known.max_length, known.padding_id, known.tokeniser)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Map a batch to the features of the passages' words, ``(B, W, num_features)``; 0 for those cut off."""
        net: Any = self.text.net
        types = {"token_type_ids": x["types"]} if self.text.takes_types else {}
        states = net(input_ids=x["ids"], attention_mask=x["mask"], **types).last_hidden_state  # (B, T, D)
        places = x["first"].clamp(min=0)[..., None].expand(-1, -1, states.shape[2])
        return states.gather(1, places) * (x["first"] >= 0)[..., None]

    def layer_groups(self) -> list[LayerGroup]:
        """Return the layer groups of the text encoder."""
        return self.text.layer_groups()
