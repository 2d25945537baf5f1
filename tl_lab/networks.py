"""The network that a strategy trains: backbone, bottleneck, head; and where its random weights come from."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone
from tl_lab.randomness import derive_seed, separate_stream

__all__ = ["PARTS", "Network", "TaskHead", "mlp", "weights_stream"]

PARTS = frozenset({"backbone", "bottleneck", "head", "adaptation", "target_encoder"})
"""What learns in a run, by name; ``target_encoder`` is there where the target has one of its own."""
_DOMAINS = ("source", "target")
_STATISTICS = ("running_mean", "running_var")


def weights_stream(seed: int, part: str) -> AbstractContextManager[None]:
    """Draw the weights of one part from a stream of their own, and leave the global one as it was.

    Args:
        seed: the run's seed.
        part: ``backbone``, ``bottleneck``, ``head``, ``adaptation``.
    """
    return separate_stream(derive_seed(seed, "weights", part))


def mlp(inputs: int, hidden: Sequence[int], outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Build dropout - linear - ReLU blocks and a last linear layer.

    Args:
        inputs: width of the input.
        hidden: widths of the hidden layers; empty for a linear map.
        outputs: width of the output.
        dropout: before each linear layer, in [0, 1); 0 leaves it out.

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
    """A classifier whose outputs come in blocks, of which only the active ones take part.

    All blocks are there from the start, each a linear layer of its own: what does not take part gets no gradient at
    all (None), so that no optimizer moves it, weight decay and momentum included.

    Args:
        inputs: width of the input.
        hidden: widths of hidden layers that all blocks share.
        blocks: number of outputs of each block.
        dropout: before each linear layer but the blocks, in [0, 1).
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
        """Let each sample be answered by a block of its own.

        Args:
            features: ``(B, D)``.
            block: number of each sample's block, ``(B,)``.

        Returns:
            Logits, ``(B, largest number of outputs)``; minus infinity where a sample's block has fewer.
        """
        shared = self.shared(features)
        logits = shared.new_full((len(shared), self.widest), -torch.inf)
        for k in block.unique().tolist():
            here = (block == k).nonzero()[:, 0]
            of_block = self.blocks[k](shared[here])
            logits[here[:, None], torch.arange(of_block.shape[1], device=here.device)] = of_block
        return logits

    def extra_repr(self) -> str:
        return f"active={self.active}"


class Network(nn.Module):
    """Backbone, bottleneck and head, in a row.

    Args:
        backbone: inputs ``(B, ...)`` -> features ``(B, backbone.num_features)``.
        bottleneck: width of a trainable linear - ReLU layer on the features; None for none.
        hidden: widths of the head's hidden layers.
        dropout: in the head, in [0, 1).
        num_classes: number of classes C.
        seed: the run's seed.
        blocks: outputs of each block of a :class:`TaskHead`; None for a plain head of C outputs.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bottleneck: int | None = None,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        seed: int = 0,
        blocks: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_features, self.num_classes = bottleneck or backbone.num_features, num_classes
        self._head_options, self._blocks = (tuple(hidden), dropout), blocks
        with weights_stream(seed, "bottleneck"):
            self.bottleneck: nn.Module = nn.Identity()
            if bottleneck:
                self.bottleneck = nn.Sequential(nn.Linear(backbone.num_features, bottleneck), nn.ReLU())
        with weights_stream(seed, "head"):
            self.head: nn.Module = self.make_head()
        self.target_encoder: nn.ModuleDict | None = None
        self._domain: str | None = None

    def make_head(self) -> nn.Module:
        """Build a head like the network's own, with weights from the global random stream."""
        hidden, dropout = self._head_options
        if self._blocks is not None:
            return TaskHead(self.num_features, hidden, self._blocks, dropout)
        return mlp(self.num_features, hidden, self.num_classes, dropout)

    def separate_encoders(self) -> None:
        """Give the target a backbone and a bottleneck of its own, equal to the source's (see :meth:`use`)."""
        parts = {"backbone": self.backbone, "bottleneck": self.bottleneck}
        self.target_encoder = nn.ModuleDict(copy.deepcopy(parts))

    def encoder(self) -> tuple[Backbone, nn.Module]:
        """Give the backbone and the bottleneck of the domain in use."""
        if self.target_encoder is not None and self._domain == "target":
            return self.target_encoder["backbone"], self.target_encoder["bottleneck"]  # type: ignore[return-value]
        return self.backbone, self.bottleneck

    def separate_statistics(self) -> None:
        """Give batch-norm running statistics for each domain; weights stay shared (see :meth:`use`)."""
        for module in self._batch_norms():
            for domain in _DOMAINS:
                for name in _STATISTICS:
                    module.register_buffer(f"{domain}_{name}", getattr(module, name).clone())
        self.use("source")

    def use(self, domain: str | None) -> None:
        """Let batch-norm read and update one domain's statistics, and run its encoder, where they were separated.

        Args:
            domain: ``source`` or ``target``; None leaves things as they are.
        """
        self._domain = domain or self._domain
        for module in self._batch_norms() if domain else ():
            for name in _STATISTICS:
                if (own := module._buffers.get(f"{domain}_{name}")) is not None:
                    module._buffers[name] = own  # the same tensor: batch-norm updates it in place

    def _batch_norms(self) -> list[nn.modules.batchnorm._BatchNorm]:
        kinds = (module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
        return [module for module in kinds if module.running_mean is not None]

    def features(self, x: Tensor) -> Tensor:
        """Compute what the head and the alignment see, ``(B, num_features)``."""
        backbone, bottleneck = self.encoder()
        return bottleneck(backbone(x))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits, ``(B, C)``."""
        return self.head(self.features(x))
