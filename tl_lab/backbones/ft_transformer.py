"""A transformer over the columns of a table."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.backbones.base import Backbone, LayerGroup, check_count, check_probability
from tl_lab.data.inputs.table import TableSpec
from tl_lab.errors import UserError
from tl_lab.options import Count, Positive, Probability

__all__ = ["FTTransformer", "FeatureTokens"]


class FTTransformer(Backbone):
    """One token per column and a class token, followed by transformer blocks with normalisation first.

    A number x_j becomes b_j + x_j w_j, a category b_j + e_j[category], and a missing number b_j + m_j if it is also
    missing in training rows. The first block does not normalise before its attention. The features are
    relu(norm(class token)).

    Args:
        width: D of a token, the number of features; a multiple of ``heads``.
        blocks: number of blocks.
        heads: of each block's attention.
        hidden_factor: width of a block's hidden layer in D; its gate (ReGLU) doubles the first layer.
        attention_dropout: of the attention's weights, in [0, 1).
        hidden_dropout: of hidden units, in [0, 1).
        columns: columns of the data; filled in by the run.

    Raises:
        UserError: an argument is out of its range, or the data are not a table.

    References:
        Y. Gorishniy, I. Rubachev, V. Khrulkov, A. Babenko, "Revisiting Deep Learning Models for Tabular Data", NeurIPS
        2021. https://arxiv.org/abs/2106.11959
    """

    modalities = frozenset({"table"})

    def __init__(
        self,
        width: Count = 192,
        blocks: Count = 3,
        heads: Count = 8,
        hidden_factor: Positive = 4 / 3,
        attention_dropout: Probability = 0.2,
        hidden_dropout: Probability = 0.1,
        columns: TableSpec | None = None,
    ) -> None:
        super().__init__()
        if columns is None:
            raise UserError(
                "backbone=ft_transformer is built for the columns of a table, such as data=table or data=adult"
            )
        if check_count("backbone.width", width) % check_count("backbone.heads", heads):
            raise UserError(f"backbone.width={width} is not a multiple of backbone.heads={heads}")
        drops = (
            check_probability("backbone.attention_dropout", attention_dropout),
            check_probability("backbone.hidden_dropout", hidden_dropout),
        )
        self.tokens = FeatureTokens(columns, width)
        hidden = max(1, int(width * hidden_factor))
        self.blocks = nn.ModuleList(
            _Block(width, heads, hidden, *drops, first=number == 0)
            for number in range(check_count("backbone.blocks", blocks))
        )
        self.norm = nn.LayerNorm(width)
        self.num_features = width
        self.spec = columns

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Map rows to ``(B, num_features)``."""
        states = self.tokens(x)  # (B, 1 + columns, D)
        for block in self.blocks:
            states = block(states)
        return self.norm(states[:, 0]).relu()

    def layer_groups(self) -> list[LayerGroup]:
        """Return the tokens and each block; the last norm belongs to the last block."""
        groups: list[LayerGroup] = [("tokens", [self.tokens])]
        groups += [(f"block{number}", [block]) for number, block in enumerate(self.blocks, start=1)]
        groups[-1][1].append(self.norm)
        return groups


class FeatureTokens(nn.Module):
    """One token per column, after a learned class token.

    Args:
        columns: of the rows.
        width: D.
    """

    def __init__(self, columns: TableSpec, width: int) -> None:
        super().__init__()
        bound = width**-0.5  # drawn as in the paper's code and in PyTorch's linear layers
        numbers, categories = len(columns.numbers), len(columns.categories)

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))

        self.cls = drawn(width)
        self.weight, self.bias = drawn(numbers, width), drawn(numbers + categories, width)
        self.absent = drawn(len(columns.gaps), width)
        sizes = [1 + len(values) for values in columns.values]
        self.embedding = drawn(sum(sizes), width)
        places = [columns.numbers.index(name) for name in columns.gaps]
        self.register_buffer("offsets", torch.tensor([0, *sizes[:-1]][: len(sizes)]).cumsum(0), persistent=False)
        self.register_buffer("gaps", torch.tensor(places, dtype=torch.int64), persistent=False)

    offsets: Tensor
    gaps: Tensor

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Map rows to ``(B, 1 + columns, D)``."""
        parts = []
        if "numbers" in x:
            parts.append(x["numbers"][..., None] * self.weight)  # (B, K) -> (B, K, D)
            if len(self.gaps):
                lacking = 1 - x["known"][:, self.gaps]
                parts[0] = parts[0].index_add(1, self.gaps, lacking[..., None] * self.absent)
        if "categories" in x:
            parts.append(F.embedding(x["categories"] + self.offsets, self.embedding))
        tokens = torch.cat(parts, 1) + self.bias
        return torch.cat([self.cls.expand(len(tokens), 1, -1), tokens], 1)


class _Block(nn.Module):
    def __init__(
        self, width: int, heads: int, hidden: int, attention_dropout: float, hidden_dropout: float, first: bool
    ) -> None:
        super().__init__()
        self.norm1 = nn.Identity() if first else nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, attention_dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.expand, self.contract = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(hidden_dropout)

    def forward(self, states: Tensor) -> Tensor:
        seen = self.norm1(states)
        states = states + self.attention(seen, seen, seen, need_weights=False)[0]
        value, gate = self.expand(self.norm2(states)).chunk(2, -1)
        return states + self.contract(self.dropout(value * gate.relu()))
