"""Random removal of tokens from training texts."""

from collections.abc import Mapping
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from tl_lab.data.inputs.augmentation import RandomChange
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.inputs.tokenisers import Words
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.errors import UserError, nearest
from tl_lab.options import Probability

__all__ = ["Replacement", "TokenDropout", "drop_tokens"]

Replacement = Literal["unknown", "mask", "hidden"]


class TokenDropout(RandomChange):
    """Drop each token of a training text with the same probability, except special tokens.

    Args:
        share: probability, in [0, 1).
        replacement: what replaces dropped tokens: ``unknown``, the tokeniser's unknown token; ``mask``, its mask
            token; or ``hidden``, which excludes dropped tokens by the attention mask, but keeps the first token of a
            text that would otherwise lose all.

    Raises:
        UserError: an option is out of its range.

    References:
        M. Iyyer et al., "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", ACL 2015,
        section 3.1 (word dropout). https://aclanthology.org/P15-1162
    """

    modalities = frozenset({"text"})
    changes = "texts"

    def __init__(self, share: Probability = 0.1, replacement: Replacement = "unknown") -> None:
        if not 0 <= share < 1:
            raise UserError(f"augmentation.share must be in [0, 1), not {share}")
        if replacement not in (valid := get_args(Replacement)):
            raise UserError(f"augmentation.replacement={replacement} is unknown; {nearest(str(replacement), valid)}")
        self.share, self.replacement, self.active = share, replacement, share > 0
        self._special, self._substitute = frozenset[int](), cast("int | None", None)

    def use(self, spec: InputSpec) -> None:
        """Set the ids of special tokens and of the replacement from the backbone's tokeniser.

        Raises:
            UserError: the data are not texts, or the tokeniser has no such token.
        """
        super().use(spec)
        if not self.active:
            return
        assert isinstance(spec, TokenSpec)
        tokeniser = spec.tokeniser
        known = {} if tokeniser is None else {"unknown": tokeniser.unknown_id, "mask": tokeniser.mask_id}
        valid = [name for name, number in known.items() if number is not None]
        if not isinstance(tokeniser, Words):  # word vectors have no attention that could leave out a word
            valid.append("hidden")
        if self.replacement not in valid:
            raise UserError(
                f"augmentation.replacement={self.replacement} is not supported by this backbone; valid: "
                f"{', '.join(valid)}"
            )
        self._substitute = known.get(self.replacement)
        self._special = frozenset({spec.padding_id}) | (frozenset() if tokeniser is None else tokeniser.special_ids)

    def __call__(self, x: Mapping[str, Tensor], draw: torch.Generator) -> dict[str, Tensor]:
        """Drop tokens of a batch.

        Args:
            x: ``ids`` and ``mask``, ``(B, L)``; other tensors are returned unchanged.
            draw: CPU generator of all random numbers, which are the same on every device.
        """
        if not self.active:
            return dict(x)
        drawn = torch.rand(x["ids"].shape, generator=draw).to(x["ids"].device) < self.share
        special = torch.tensor(sorted(self._special), device=x["ids"].device)
        return drop_tokens(x, drawn & ~torch.isin(x["ids"], special), self._substitute)

    def __repr__(self) -> str:
        return f"TokenDropout(share={self.share}, replacement={self.replacement})"


def drop_tokens(x: Mapping[str, Tensor], dropped: Tensor, substitute: int | None) -> dict[str, Tensor]:
    """Replace or hide tokens.

    Args:
        x: ``ids`` and ``mask``, ``(B, L)``; other tensors are returned unchanged.
        dropped: which tokens to drop, ``(B, L)``, boolean; padding is ignored.
        substitute: id that replaces them; None to exclude them from the mask, except the first token of a text that
            would otherwise lose all.

    Returns:
        New tensors; ``x`` is unchanged.
    """
    dropped = dropped & x["mask"].bool()
    if substitute is not None:
        return {**x, "ids": x["ids"].masked_fill(dropped, substitute)}
    mask = x["mask"].masked_fill(dropped, 0)
    empty = ~mask.bool().any(1)  # (B,)
    mask[empty, 0] = x["mask"][empty, 0]
    return {**x, "mask": mask}
