"""The transformer over columns, held against the paper's equations in numpy."""

import numpy as np
import pytest
import torch

from tl_lab.backbones.ft_transformer import FTTransformer
from tl_lab.data.inputs.table import TableSpec
from tl_lab.errors import UserError

SPEC = TableSpec(("a", "b"), (0.0, 0.0), (1.0, 1.0), ("b",), ("c", "d"), (("x", "y"), ("z",)))
ROWS = {
    "numbers": torch.tensor([[0.5, -1.0], [2.0, 0.0]]),
    "known": torch.tensor([[1.0, 1.0], [1.0, 0.0]]),
    "categories": torch.tensor([[2, 1], [0, 0]]),
}


def _norm(x: np.ndarray, layer: torch.nn.LayerNorm) -> np.ndarray:
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return scaled * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def _by_hand(net: FTTransformer, row: int) -> np.ndarray:
    """Compute one row's features by the paper's equations."""
    p = {name: value.detach().double().numpy() for name, value in net.named_parameters()}
    x, heads = ROWS["numbers"][row].numpy(), 2
    e = p["tokens.embedding"]
    codes = ROWS["categories"][row].tolist()
    tokens = [p["tokens.cls"], *(x[j] * p["tokens.weight"][j] + p["tokens.bias"][j] for j in range(2))]
    if row == 1:
        tokens[2] = tokens[2] + p["tokens.absent"][0]
    tokens += [e[codes[0]] + p["tokens.bias"][2], e[3 + codes[1]] + p["tokens.bias"][3]]
    z = np.stack(tokens)
    for number, block in enumerate(net.blocks):
        at = f"blocks.{number}."
        seen = z if number == 0 else _norm(z, block.norm1)
        q, k, v = np.split(seen @ p[at + "attention.in_proj_weight"].T + p[at + "attention.in_proj_bias"], 3, -1)
        out = []
        for part in np.split(np.arange(z.shape[1]), heads):
            score = q[:, part] @ k[:, part].T / np.sqrt(len(part))
            share = np.exp(score - score.max(-1, keepdims=True))
            out.append(share / share.sum(-1, keepdims=True) @ v[:, part])
        z = z + np.concatenate(out, -1) @ p[at + "attention.out_proj.weight"].T + p[at + "attention.out_proj.bias"]
        hidden = _norm(z, block.norm2) @ p[at + "expand.weight"].T + p[at + "expand.bias"]
        value, gate = np.split(hidden, 2, -1)
        z = z + (value * np.maximum(gate, 0)) @ p[at + "contract.weight"].T + p[at + "contract.bias"]
    return np.maximum(_norm(z[:1], net.norm)[0], 0)


def test_features_follow_the_equations() -> None:
    torch.manual_seed(0)
    net = FTTransformer(width=8, blocks=2, heads=2, columns=SPEC).eval()
    with torch.no_grad():
        for parameter in net.parameters():  # norms and biases that are not what they start from
            parameter.add_(0.1 * torch.randn_like(parameter))
        features = net(ROWS)
    for row in range(2):
        np.testing.assert_allclose(features[row].numpy(), _by_hand(net, row), atol=2e-6)


def test_parts_and_sizes() -> None:
    net = FTTransformer(columns=SPEC)
    net.check_layer_groups()
    assert [name for name, _ in net.layer_groups()] == ["tokens", "block1", "block2", "block3"]
    assert net.num_features == 192
    assert net.blocks[0].contract.in_features == 256  # 4/3 of the width, as published
    net(ROWS).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    with pytest.raises(UserError, match=r"backbone\.width=10 is not a multiple of backbone.heads=8"):
        FTTransformer(width=10, columns=SPEC)
    with pytest.raises(UserError, match="built for the columns of a table"):
        FTTransformer()
