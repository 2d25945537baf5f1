"""Heads, which map features to outputs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tl_lab.functional.transcripts import BLANK, SILENT

__all__ = ["FrameHead", "GroupedHead", "HeadOfTasks", "TaskHead", "UnitLength", "mlp"]


def mlp(inputs: int, hidden: Sequence[int], outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Build dropout - linear - ReLU blocks and a last linear layer.

    Args:
        inputs: width of the input.
        hidden: widths of the hidden layers; empty for a linear map.
        outputs: width of the output.
        dropout: dropout rate before each linear layer, in [0, 1); 0 omits dropout.

    Returns:
        A module ``(B, inputs) -> (B, outputs)``; its last element is the output layer.
    """
    layers: list[nn.Module] = []
    for width, following in zip((inputs, *hidden), (*hidden, outputs), strict=True):
        if dropout:
            layers.append(nn.Dropout(dropout))
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class TaskHead(nn.Module):
    """A classifier with blocks of outputs, of which only the active blocks are used.

    All blocks exist from the start, each as a separate linear layer. The gradient of inactive blocks is None, so that
    optimizers do not change them, not even by weight decay or momentum.

    Args:
        inputs: width of the input.
        hidden: widths of hidden layers that all blocks share.
        blocks: number of outputs of each block.
        dropout: dropout rate before each linear layer except the blocks, in [0, 1).
    """

    def __init__(self, inputs: int, hidden: Sequence[int], blocks: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.shared = nn.Sequential()
        if hidden:
            self.shared.extend([*mlp(inputs, hidden[:-1], hidden[-1], dropout), nn.ReLU()])
        width = hidden[-1] if hidden else inputs
        self.widest = max(blocks)
        self.blocks = nn.ModuleList(nn.Linear(width, count) for count in blocks)
        self.active = tuple(range(len(blocks)))

    def forward(self, features: Tensor) -> Tensor:
        """Compute the logits of the active blocks side by side: ``(B, D)`` -> ``(B, sum of their outputs)``."""
        shared = self.shared(features)
        logits = [self.blocks[block](shared) for block in self.active]
        return logits[0] if len(logits) == 1 else torch.cat(logits, 1)

    def each(self, features: Tensor, block: Tensor) -> Tensor:
        """Compute each sample's logits with its own block.

        Args:
            features: ``(B, D)``.
            block: index of each sample's block, ``(B,)``.

        Returns:
            Logits, ``(B, largest number of outputs)``; minus infinity for outputs that a sample's block does not have.
        """
        shared = self.shared(features)
        logits = shared.new_full((len(shared), self.widest), -torch.inf)
        for k in block.unique().tolist():
            rows = (block == k).nonzero()[:, 0]
            block_logits = self.blocks[k](shared[rows])
            logits[rows[:, None], torch.arange(block_logits.shape[1], device=rows.device)] = block_logits
        return logits

    def extra_repr(self) -> str:
        return f"active={self.active}"


class FrameHead(nn.Sequential):
    """A head on each frame of a recording: ``(B, L, D) -> (B, L, C)``.

    Frames whose features are all 0 are padding after the end of a recording. They predict the first output, the blank,
    with certainty, so that padding changes neither the loss nor the transcript.

    Args:
        layers: the layers, as returned by :func:`mlp`.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Compute the logits."""
        outputs = super().forward(features)
        silent = outputs.new_full((outputs.shape[-1],), SILENT)
        silent[BLANK] = 0.0
        return torch.where(features.ne(0).any(-1, keepdim=True), outputs, silent)


class HeadOfTasks(nn.Sequential):
    """A head on features of each task, ``(B, T, D) -> (B, C)``: each output depends only on the features of its task.

    Features ``(B, D)`` are taken for those of every task.

    Args:
        owners: number of each output's task, ``(C,)``.
        layers: as of :func:`mlp`, shared by the tasks but for the outputs.
    """

    owners: Tensor
    places: Tensor

    def __init__(self, owners: Sequence[int], *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.register_buffer("owners", torch.tensor(owners), persistent=False)
        self.register_buffer("places", torch.arange(len(owners)), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the outputs."""
        outputs = super().forward(features)
        if features.dim() == 2:
            return outputs
        return outputs[:, self.owners, self.places]  # (B, T, C) -> (B, C)


class UnitLength(nn.Module):
    """Scales features ``(B, D)`` to length 1, so that a subsequent linear layer computes cosines."""

    def forward(self, features: Tensor) -> Tensor:
        """Scale each sample's features."""
        return nn.functional.normalize(features.flatten(1))


class GroupedHead(nn.Module):
    """A classifier of K classes that predicts groups of classes, by the log-sum-exp of each group's logits.

    Args:
        inputs: width of the input.
        groups: indices of the classes in each group; an empty group is never predicted.
    """

    def __init__(self, inputs: int, groups: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.groups = [list(group) for group in groups]
        self.linear = nn.Linear(inputs, 1 + max((k for group in self.groups for k in group), default=0))

    def forward(self, features: Tensor) -> Tensor:
        """Compute the groups' logits: ``(B, D)`` -> ``(B, number of groups)``."""
        logits = self.linear(features)
        none = logits.new_full((len(logits),), -torch.inf)
        return torch.stack([logits[:, group].logsumexp(1) if group else none for group in self.groups], 1)
