"""Reads the features of whole sets in evaluation mode, without augmentation, and in the order of the sets."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, NamedTuple

import torch
from pytorch_lightning.plugins.precision import Precision
from rich.progress import track
from torch import Tensor, nn

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.operations import Inputs, join, move, numel, places_inside
from tl_lab.data.samples import in_memory
from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.functional.pooling import pooled
from tl_lab.model.network import Network

__all__ = ["FeatureReader", "Read", "evaluating", "one_vector_each"]

_LARGE = 10**8  # a progress bar is shown if a set's inputs have more values than this

Place = Literal["backbone", "head", "outputs"]
"""Position in the network: the backbone's features, the head's input, the head's output."""


class Read(NamedTuple):
    """Features of a batch.

    Attributes:
        values: features ``(B, D)`` at the chosen position, on the device, in the precision of the network.
        index: positions in the set, or in the requested part of it, ``(B,)``.
    """

    values: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which is not used


class FeatureReader:
    """Reads features of whole sets, without a trainer.

    It also gives adaptations access to whole sets (see :class:`~tl_lab.domain_adaptation.base.Domains`). The mode of
    each module is restored after reading.

    Args:
        network: the network whose features are read.
        data: loaded data with prepared inputs.
        device: device of the network.
        precision: precision plugin of a trainer; None runs the network in the precision of its weights.
        adaptation: method that prepares the network for a domain (see :meth:`prepare`); None for no preparation.
        reduce: function that sums a tensor over processes; None for a single process.
    """

    def __init__(
        self,
        network: Network,
        data: DataModule,
        *,
        device: torch.device | str = "cpu",
        precision: Precision | None = None,
        adaptation: DomainAdaptation | None = None,
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.network, self.data, self.device = network, data, torch.device(device)
        self._precision, self._adaptation, self._reduce = precision, adaptation, reduce

    # ------------------------------------------------------------------ access for an adaptation

    def inputs(self, name: str) -> Any:
        """Return the inputs of a set, ``(N, ...)``, without augmentation."""
        return join(list(self.batches(name)), self.data.padding)

    def features(self, name: str) -> Tensor:
        """Return the backbone's features of a set, ``(N, D)``, in evaluation mode."""
        return self.backbone_features(self.data.set_for(name))

    def batches(self, name: str) -> Iterator[Any]:
        """Yield the network's inputs in the set's order, batch by batch, on the device; each process gets all."""
        for batch in self.data.loader(self.data.set_for(name), cached=False, shared=False):
            yield self._converted(batch.x)

    # ------------------------------------------------------------------ reading

    def prepare(self, domain: str | None) -> None:
        """Switch the network to a domain's encoder and statistics, and have the adaptation prepare its evaluation."""
        self.network.use(domain)
        if self._adaptation is not None:
            self._adaptation.before_evaluation(self.network, domain, self)

    def stream(
        self,
        name: str,
        place: Place = "head",
        *,
        index: Tensor | None = None,
        cached: bool = True,
        shared: bool = False,
        bar: bool = False,
        places: bool = True,
    ) -> Iterator[Read]:
        """Read a set batch by batch, with the encoder and the statistics of its domain.

        Args:
            name: name of the set.
            place: position at which the network is read.
            index: positions of the samples to read, ``(M,)``; None for all.
            cached: start from cached features if the data provide them.
            shared: divide the set among processes; False reads all of it in each process.
            bar: show a progress bar.
            places: return the vectors of all words and frames; False averages them to one vector per sample.
        """
        self.network.use(self.data.domain_of(name))
        compute = self._computation(place, cached and self.data.has_features(name))
        loader = self.data.loader(name, cached=cached, shared=shared, index=index)
        for batch in track(loader, f"features of {name}", len(loader), transient=True) if bar else loader:
            with torch.no_grad(), evaluating(self.network), self._context():
                values = compute(x := self._converted(batch.x))
            values = values if places else one_vector_each(values, x)
            yield Read(values, batch.index)

    def read(self, name: str, place: Place = "head", *, index: Tensor | None = None, cached: bool = True) -> Tensor:
        """Read a set or a part of it at once; every process reads all of it, so that none waits for another.

        Args:
            name, place, index, cached: see :meth:`stream`.

        Returns:
            ``(N, D)`` on the device, in the order of the set or of ``index``; vectors of words and frames are averaged.
        """
        return torch.cat([part.values for part in self.stream(name, place, index=index, cached=cached, places=False)])

    def backbone_features(self, name: str) -> Tensor:
        """Compute the backbone's features of a set once, divided among all processes.

        Returns:
            Features in the set's order, ``(N, backbone.num_features)``, in single precision, on the device.
        """
        x = self.data.sets[name].x
        large = not in_memory(x) or numel(x) > _LARGE
        self.network.use(self.data.domain_of(name))
        width = self.network.encoder()[0].num_features
        features = torch.zeros((len(self.data.sets[name]), width), device=self.device)
        lengths = self.data.lengths(name)
        order = None if lengths is None else lengths.argsort(stable=True)  # texts of similar lengths need less padding
        for part in self.stream(name, "backbone", index=order, cached=False, shared=True, bar=large):
            place = part.index if order is None else order.to(self.device)[part.index]
            features[place] = part.values.to(features)
        return features if self._reduce is None else self._reduce(features)

    def classify(self, features: Tensor) -> Tensor:
        """Compute the head's outputs ``(N, C)`` for its inputs ``(N, D)``, in evaluation mode."""
        with torch.no_grad(), evaluating(self.network), self._context():
            return self.network.head(features)

    def _computation(self, place: Place, cached: bool) -> Callable[[Inputs], Tensor]:
        """Compose the modules to run on a batch, which contains the backbone's features if they are cached."""
        backbone, bottleneck = self.network.encoder()
        modules = [*([] if cached else [backbone]), *([] if place == "backbone" else [bottleneck])]
        return nn.Sequential(*modules, *([self.network.head] if place == "outputs" else []))

    def _context(self) -> AbstractContextManager[None]:
        return nullcontext() if self._precision is None else self._precision.forward_context()

    def _converted(self, x: Inputs) -> Any:
        x = move(x, self.device)
        return x if self._precision is None else self._precision.convert_input(x)


def one_vector_each(features: Tensor, x: Inputs) -> Tensor:
    """Average the vectors of each sample's words or frames, without its padding.

    Args:
        features: ``(B, L, D)``, or any other shape ``(B, ...)`` of samples with one vector, which is flattened.
        x: the network's inputs, which contain the lengths or masks that mark padding.

    Returns:
        ``(B, D)``.
    """
    if features.dim() != 3:
        return features.flatten(1)
    inside: Tensor | None
    if isinstance(x, Mapping) and "words" in x:  # a vector for each word, of several tokens
        inside = (torch.arange(features.shape[1], device=features.device) < x["words"][:, None]).to(features)
    else:
        inside = places_inside(x, features.shape[1])
    return features.mean(1) if inside is None else pooled(features, inside)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode within a context, and restore each module's mode, which for frozen modules is evaluation."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
