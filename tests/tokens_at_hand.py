"""Sequences of tokens as named tensors, and a backbone for them, shared by tests."""

import functools
from dataclasses import replace

import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone
from tl_lab.data.base import DataModule
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.scenarios.episodic import EpisodicData
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.model.network import weights_stream
from tl_lab.training.schedules import Constant

VOCABULARY, LONGEST = 20, 7
SIZES = {"train": 60, "val": 30, "test": 30}


def sentences(count: int, seed: int, shift: int = 0, classes: int = 2, length: int = LONGEST) -> Samples:
    """Sequences of 3 to ``length`` tokens; those of class c are drawn from the ids 1 + 4 c + shift ... 4 + 4 c + shift.

    Padding is 0, and is no token of any class.
    """
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % classes
    lengths = torch.randint(3, length + 1, (count,), generator=draw)
    ids = 1 + shift + 4 * y[:, None] + torch.randint(0, 4, (count, length), generator=draw)
    mask = (torch.arange(length) < lengths[:, None]).long()
    return Samples({"ids": ids * mask, "mask": mask}, y)


class Sentences(DataModule):
    """Two classes, told apart by which tokens occur."""

    modality = "text"

    def __init__(self, shift: int = 0, length: int = LONGEST, **options) -> None:
        super().__init__(**options)
        self.shift, self.length = shift, length

    def read(self) -> dict[str, Samples]:
        self.class_names = ["low", "high"]
        return {
            name: sentences(count, self.seed + i, self.shift, length=self.length)
            for i, (name, count) in enumerate(SIZES.items())
        }


class SentencePair(DomainPair):
    """A source, and a target whose tokens have moved."""

    modality = "text"

    def read(self) -> dict[str, Samples]:
        self.class_names = ["low", "high"]
        sets = {f"source/{name}": sentences(count, self.seed + i) for i, (name, count) in enumerate(SIZES.items())}
        return sets | {"target/train": sentences(45, 10, shift=1), "target/test": sentences(30, 11, shift=1)}


class SentenceStream(TaskStream):
    """Two tasks of other tokens, whose sequences differ in length."""

    modality = "text"

    def read_tasks(self) -> list[dict[str, Samples]]:
        self.template = Sentences()
        self.task_classes = [["low1", "high1"], ["low2", "high2"]]
        return [Sentences(shift, length, seed=100 * shift).read() for shift, length in ((0, LONGEST), (8, 5))]


class SentenceEpisodes(EpisodicData):
    """Four classes of sequences in each set."""

    modality = "text"

    def __init__(self, **options) -> None:
        size = {"way": 2, "shot": 2, "queries": 3}
        super().__init__(train=size, test=size, episodes_per_epoch=4, val_episodes=4, test_episodes=6, **options)

    def read(self) -> dict[str, Samples]:
        self.classes = {name: [f"{name}{c}" for c in range(4)] for name in SIZES}
        return {name: sentences(40, i, classes=4) for i, name in enumerate(SIZES)}


class TokenNet(Backbone):
    """Embedding, mean over the tokens of the mask, and a layer."""

    modalities = frozenset({"text"})

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.out = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.num_features = width
        self.spec = TokenSpec(vocabulary=VOCABULARY, max_length=LONGEST)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        mask = x["mask"].unsqueeze(-1)  # (B, L, 1)
        embedded = self.embedding(x["ids"])  # (B, L, width)
        return self.out((embedded * mask).sum(-2) / mask.sum(-2))

    def layer_groups(self):
        return [("embedding", [self.embedding]), ("out", [self.out])]


def make(strategy, data, adaptation=None, seed=0, **options):
    """Build data and strategy the way a run does."""
    adaptation = adaptation or NoAdaptation()
    data.load(replace(data.request, adapts=adaptation.trains_on_target, epochs_per_task=4))
    with weights_stream(seed, "backbone"):
        backbone = TokenNet()
    data.use(backbone.spec)
    options = {"layers": LayerPolicy(), **options}
    model = strategy(
        backbone=backbone,
        adaptation=adaptation,
        problem=data.problem,
        optimizer=functools.partial(torch.optim.Adam, lr=0.02),
        scheduler=Constant(),
        labels=data.training_labels,
        seed=seed,
        outputs=data.outputs if isinstance(data, TaskStream) else None,
        **options,
    )
    return data, model
