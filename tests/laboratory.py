"""Small data, networks and trainers that the tests share."""

import functools
from dataclasses import replace

import pytorch_lightning as pl
import torch
from torch import nn

from tl_lab.adapters import NoAdapter
from tl_lab.backbones.base import Backbone
from tl_lab.data.base import DataModule
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.vector import VectorSpec
from tl_lab.data.request import Request
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.model.network import Network, weights_stream
from tl_lab.strategies.from_scratch import FromScratch
from tl_lab.training.schedules import Constant


def blobs(count: int, seed: int, shift: float = 0.0) -> Samples:
    """Images 1x6x6 of three classes: noise around a bright patch whose place tells the class."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    x = 0.3 * torch.rand(count, 1, 6, 6, generator=draw) + shift
    for c in range(3):
        x[y == c, :, 2 * c : 2 * c + 2, 1:5] += 0.4
    return Samples(x.clamp(0, 1), y)


class Blobs(DataModule):
    """A supervised set."""

    def read(self) -> dict[str, Samples]:
        self.class_names = ["a", "b", "c"]
        return {name: blobs(count, self.seed + i) for i, (name, count) in enumerate(SIZES.items())}


class BlobPair(DomainPair):
    """A source and a brighter target."""

    def read(self) -> dict[str, Samples]:
        self.class_names = ["a", "b", "c"]
        sets = {f"source/{name}": blobs(count, self.seed + i) for i, (name, count) in enumerate(SIZES.items())}
        sets["target/train"] = blobs(45, self.seed + 10, shift=0.2)
        sets["target/test"] = blobs(30, self.seed + 11, shift=0.2)
        return sets


class BlobStream(TaskStream):
    """Three tasks of three classes each, one brighter than the other; sets, or pairs of domains."""

    def __init__(self, pairs: bool = False, epochs_per_task: int = 1, **options) -> None:
        super().__init__(**options)
        self.pairs, self.request = pairs, Request(epochs_per_task=epochs_per_task)

    def read_tasks(self) -> list[dict[str, Samples]]:
        self.task_classes = [[f"{c}{k + 1}" for c in "abc"] for k in range(3)]
        tasks = []
        for k in range(3):
            self.template = (BlobPair if self.pairs else Blobs)(seed=self.seed + 100 * k)
            sets = self.template._read()
            tasks.append({name: Samples(samples.x + 0.2 * k, samples.y) for name, samples in sets.items()})
        return tasks


SIZES = {"train": 60, "val": 30, "test": 30}


class TinyNet(Backbone):
    """Three layer groups, with batch-norm and dropout, so that all that can go wrong with them can."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.out = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Dropout(dropout))
        self.num_features = 8
        self.spec = ImageSpec((6, 6), 1, (0.4,), (0.25,))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.conv2(self.conv1(x)))

    def layer_groups(self):
        return [("conv1", [self.conv1]), ("conv2", [self.conv2]), ("out", [self.out])]


class _Same(Backbone):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width
        self.spec = VectorSpec(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def layer_groups(self):
        return []


def network(num_features: int = 5, num_classes: int = 3) -> Network:
    """A network whose features are its inputs, for methods that only look at their number."""
    return Network(_Same(num_features), num_classes)


def make(strategy=FromScratch, data=None, adaptation=None, layers=None, optimizer=None, seed=0, dropout=0.0, **options):
    """Build data and strategy the way a run does."""
    data = data or Blobs(batch_size=20, seed=seed)
    adaptation = adaptation or NoAdaptation()
    adapter = options.pop("adapter", None) or NoAdapter()
    with weights_stream(seed, "backbone"):
        backbone = adapter.inject(TinyNet(dropout))
    if not data.sets:
        jointly = getattr(strategy, "jointly", False)
        wanted = {"adapts": adaptation.trains_on_target, "reveals_target": adaptation.oracle, "jointly": jointly}
        data.load(replace(data.request, **wanted))
        data.use(backbone.spec)
    model = strategy(
        backbone=backbone,
        adapter=adapter,
        adaptation=adaptation,
        problem=data.problem,
        num_outputs=data.num_classes,
        optimizer=optimizer or functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        scheduler=options.pop("scheduler", Constant()),
        layers=layers or LayerPolicy(),
        labels=data.training_labels,
        seed=seed,
        outputs=data.outputs if isinstance(data, TaskStream) else None,
        **options,
    )
    return data, model


def fit(data, model, epochs=2, callbacks=(), ckpt_path=None, folder=None, **options):
    """Train on the CPU without output; of a stream, all its tasks."""
    if isinstance(data, TaskStream):
        epochs, options = data.total_epochs, {"reload_dataloaders_every_n_epochs": 1, **options}
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=any(isinstance(c, pl.callbacks.ModelCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **options,
    )
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path)
    return trainer


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copy parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def differing(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Name the tensors that differ in any bit."""
    return {name for name in before if not torch.equal(before[name], after[name])}
