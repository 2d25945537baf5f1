"""The network that a strategy trains: backbone, bottleneck, head; and where its random weights come from."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager

from torch import Tensor, nn

from tl_lab.backbones.base import Backbone
from tl_lab.data.inputs.operations import Inputs
from tl_lab.model.heads import FrameHead, HeadOfTasks, TaskHead, mlp
from tl_lab.randomness import derive_seed, separate_stream

__all__ = ["PARTS", "Network", "weights_stream"]

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


class Network(nn.Module):
    """Backbone, bottleneck and head, in a row.

    Args:
        backbone: inputs ``(B, ...)`` -> features ``(B, backbone.num_features)``.
        bottleneck: width of a trainable linear - ReLU layer on the features; None for none.
        hidden: widths of the head's hidden layers.
        dropout: in the head, in [0, 1).
        num_outputs: number of outputs C.
        seed: the run's seed.
        blocks: outputs of each block of a :class:`TaskHead`; None for a plain head of C outputs.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_outputs: int,
        bottleneck: int | None = None,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        seed: int = 0,
        blocks: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_features, self.num_outputs = bottleneck or backbone.num_features, num_outputs
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
        layers = mlp(self.num_features, hidden, self.num_outputs, dropout)
        if self.backbone.owners is not None:
            return HeadOfTasks(self.backbone.owners, *layers)
        return FrameHead(*layers) if self.backbone.frames else layers

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

    def features(self, x: Inputs) -> Tensor:
        """Compute what the head and the alignment see, ``(B, num_features)``, or that of each frame."""
        backbone, bottleneck = self.encoder()
        features = backbone(x)
        seen = bottleneck(features)
        # frames behind a recording's end stay 0, by which the head knows them
        return seen * features.ne(0).any(-1, keepdim=True) if backbone.frames else seen

    def forward(self, x: Inputs) -> Tensor:
        """Compute the outputs, ``(B, C)``."""
        return self.head(self.features(x))
