"""Episodes, a network with batch norm, and few-shot strategies, small and in double precision."""

import copy
import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.backbones.base import Backbone
from tl_lab.data.batches import Episode, Labelled
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.episodic import EpisodicData
from tl_lab.domain_adaptation.base import Phase
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.problems import SingleLabel
from tl_lab.strategies.few_shot.base import FewShotStrategy
from tl_lab.training.schedules import Constant

WAY, SHOT, QUERIES = 3, 2, 4


class Normed(Backbone):
    """A convolution, batch norm and a smooth non-linearity, which finite differences can follow, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh())
        self.two = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Tanh())
        self.num_features = 8
        self.spec = ImageSpec(size=(6, 6), channels=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x)).flatten(1)

    def layer_groups(self):
        return [("one", [self.one]), ("two", [self.two])]


def episode(count: int = 2, seed: int = 0, shot: int = SHOT) -> Episode:
    """Episodes of noise around each class's own pattern."""
    draw = torch.Generator().manual_seed(seed)
    patterns = torch.rand(count, WAY, 1, 1, 6, 6, generator=draw, dtype=torch.float64)
    parts, first = [], 0
    for k in (shot, QUERIES):
        noise = torch.rand(count, WAY, k, 1, 6, 6, generator=draw, dtype=torch.float64)
        y = torch.arange(WAY).repeat_interleave(k).repeat(count, 1)
        index = first + torch.arange(y.numel()).view_as(y)
        parts.append(Labelled((patterns + 0.5 * noise).flatten(1, 2), y, index))
        first += y.numel()
    return Episode(*parts, WAY)


def make(kind: type[FewShotStrategy], trainable: str | int = "all", **options) -> FewShotStrategy:
    """Build a strategy on the small network, in training mode and double precision."""
    torch.manual_seed(0)
    strategy = kind(
        backbone=Normed(),
        adaptation=NoAdaptation(),
        problem=SingleLabel([str(c) for c in range(WAY)]),
        optimizer=functools.partial(torch.optim.SGD, lr=0.1),
        scheduler=Constant(),
        layers=LayerPolicy(trainable=trainable),
        **options,
    ).double()
    strategy.freeze_for(0)
    return strategy.train()


def objective(strategy: FewShotStrategy, batch: Episode) -> Tensor:
    """The task loss of a training step."""
    _, _, logits, y = strategy.outputs_for(batch, None, Phase())
    return strategy.task_loss(logits, y)


def gradients(strategy: FewShotStrategy, batch: Episode) -> dict[str, Tensor]:
    """What a training step hands to the optimizer, by name; nothing where there is no gradient."""
    strategy.zero_grad()
    objective(strategy, batch).backward()
    return {name: p.grad.clone() for name, p in strategy.network.named_parameters() if p.grad is not None}


def adapt_by_hand(network: nn.Module, x: Tensor, y: Tensor, steps: int, rate: float) -> nn.Module:
    """Descend on a copy of the network, as plain training would."""
    network = copy.deepcopy(network)
    for _ in range(steps):
        slopes = torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(network.parameters(), slopes, strict=True):
                parameter -= rate * slope
    return network


class Patterns(EpisodicData):
    """Sets of classes that differ by a pattern under noise."""

    def __init__(self, episodes_per_step: int = 4, seed: int = 0, **options) -> None:
        size = {"way": WAY, "shot": SHOT, "queries": QUERIES}
        super().__init__(
            **{"train": size, "test": size, "val_episodes": 4, "test_episodes": 10, **options},
            episodes_per_step=episodes_per_step,
            episodes_per_epoch=8,
            seed=seed,
        )

    def read(self) -> dict[str, Samples]:
        draw, sets = torch.Generator().manual_seed(self.seed), {}
        for name in ("train", "val", "test"):
            patterns = torch.rand(5, 1, 1, 6, 6, generator=draw)
            x = (patterns + torch.rand(5, 8, 1, 6, 6, generator=draw)) / 2
            sets[name] = Samples(x.flatten(0, 1), torch.arange(5).repeat_interleave(8))
            self.classes[name] = [f"{name}{c}" for c in range(5)]
        return sets


def ready(**options) -> Patterns:
    """Read the patterns, in the network's form."""
    data = Patterns(**options)
    data.load()
    data.use(Normed().spec)
    return data
