"""The network that a strategy trains (backbone, bottleneck and head), and the random streams of its weights."""

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
"""Trained parts of a run, by name; ``target_encoder`` exists if the target has a separate encoder."""
_DOMAINS = ("source", "target")
_STATISTICS = ("running_mean", "running_var")


def weights_stream(seed: int, part: str) -> AbstractContextManager[None]:
    """Return a context in which a part's weights are drawn from a separate random stream; it restores the global one.

    Args:
        seed: the run's seed.
        part: ``backbone``, ``bottleneck``, ``head`` or ``adaptation``.
    """
    return separate_stream(derive_seed(seed, "weights", part))


class Network(nn.Module):
    """Backbone, bottleneck and head in sequence.

    Args:
        backbone: inputs ``(B, ...)`` -> features ``(B, backbone.num_features)``.
        bottleneck: width of a trainable linear layer with ReLU on the features; None omits it.
        hidden: widths of the head's hidden layers.
        dropout: dropout rate in the head, in [0, 1).
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
        """Add a separate backbone and bottleneck for the target, equal to the source's (see :meth:`use`)."""
        parts = {"backbone": self.backbone, "bottleneck": self.bottleneck}
        self.target_encoder = nn.ModuleDict(copy.deepcopy(parts))

    def encoder(self) -> tuple[Backbone, nn.Module]:
        """Return the backbone and the bottleneck of the current domain."""
        if self.target_encoder is not None and self._domain == "target":
            return self.target_encoder["backbone"], self.target_encoder["bottleneck"]  # type: ignore[return-value]
        return self.backbone, self.bottleneck

    def separate_statistics(self) -> None:
        """Add batch-norm running statistics for each domain; weights remain shared (see :meth:`use`)."""
        for module in self._batch_norms():
            for domain in _DOMAINS:
                for name in _STATISTICS:
                    module.register_buffer(f"{domain}_{name}", getattr(module, name).clone())
        self.use("source")

    def use(self, domain: str | None) -> None:
        """Switch to the batch-norm statistics and the encoder of one domain, if these are separate.

        Args:
            domain: ``source`` or ``target``; None changes nothing.
        """
        self._domain = domain or self._domain
        for module in self._batch_norms() if domain else ():
            for name in _STATISTICS:
                if (own := module._buffers.get(f"{domain}_{name}")) is not None:
                    module._buffers[name] = own  # the same tensor, which batch-norm updates in place

    def _batch_norms(self) -> list[nn.modules.batchnorm._BatchNorm]:
        kinds = (module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
        return [module for module in kinds if module.running_mean is not None]

    def features(self, x: Inputs) -> Tensor:
        """Compute the features that the head and the alignment use: ``(B, num_features)``, or one vector per frame."""
        backbone, bottleneck = self.encoder()
        features = backbone(x)
        outputs = bottleneck(features)
        # frames after the end of a recording must remain 0, because the head recognises padding by zeros
        return outputs * features.ne(0).any(-1, keepdim=True) if backbone.frames else outputs

    def forward(self, x: Inputs) -> Tensor:
        """Compute the outputs, ``(B, C)``."""
        return self.head(self.features(x))
