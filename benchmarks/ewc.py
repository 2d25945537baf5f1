"""EWC: an update with the penalty beside a loop written by hand and beside avalanche-lib; the Fisher pass beside both.

    uv venv <env> && uv pip install --python <env>/bin/python avalanche-lib==0.6.0
    uv run python benchmarks/ewc.py <env>/bin/python

avalanche-lib lives in an environment of its own, whose interpreter is the argument. Ten tasks of 38,400 random images,
a 784-400-400-10 network, batches of 128, Adam; CPU time of an update of the second and of the tenth task, one thread,
data included; the sides take turns. By hand and avalanche-lib add a term for each earlier task, as EWC is written; here
they are one. The importance pass runs over 1,000 samples. Writes docs/results/ewc.json.
"""

import argparse
import functools
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from quiet import Stopwatch, quiet_trainer
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.backbones.mlp import MLP
from tl_lab.data.base import DataModule
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.permuted_stream import PermutedStream
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.functional import fisher_diagonal
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.problems import SingleLabel
from tl_lab.results.folder.files import write_json
from tl_lab.strategies.continual.ewc import EWC
from tl_lab.training.schedules import Constant

SAMPLES, BATCH, LAMBDA, TASKS = 38_400, 128, 100.0, 10
AVALANCHE = """
import json, sys, time, torch
from torch import nn
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_tensor_classification_dataset as tensors
from avalanche.training.plugins import EWCPlugin, EvaluationPlugin
from avalanche.training.plugins.strategy_plugin import SupervisedPlugin
from avalanche.training.supervised import Naive
torch.set_num_threads(1); torch.manual_seed(0)
updates = int(sys.argv[1])
x, y = torch.rand(38400, 784), torch.randint(10, (38400,))
stream = benchmark_from_datasets(train=[tensors(x[:, torch.randperm(784)], y, task_labels=0) for _ in range(10)])
class Clock(SupervisedPlugin):
    ms = []
    def before_training_epoch(self, s, **k): self.n, self.began = 0, time.process_time()
    def after_training_iteration(self, s, **k):
        self.n += 1
        if self.n == updates:
            self.ms.append(1000 * (time.process_time() - self.began) / self.n)
            s.stop_training()
net = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10))
clock, ewc = Clock(), EWCPlugin(ewc_lambda=100.0, mode="separate")
s = Naive(model=net, optimizer=torch.optim.Adam(net.parameters(), 1e-3), criterion=nn.CrossEntropyLoss(),
          train_mb_size=128, train_epochs=1, plugins=[clock, ewc], evaluator=EvaluationPlugin(loggers=[]))
for experience in stream.train_stream:
    s.train(experience, num_workers=0)
few = stream.train_stream[1].dataset.subset(list(range(1000)))
began = time.process_time()
EWCPlugin(1.0).compute_importances(s.model, nn.CrossEntropyLoss(), s.optimizer, few, s.device, 1)
print(json.dumps({"second_ms": clock.ms[1], "last_ms": clock.ms[-1], "importance_s": time.process_time() - began}))
"""


class Noise(DataModule):
    """Random images of ten classes."""

    def read(self) -> dict[str, Samples]:
        """Draw them."""
        self.class_names = [str(digit) for digit in range(10)]
        draw = torch.Generator().manual_seed(0)
        x = torch.randint(256, (SAMPLES, 1, 28, 28), generator=draw, dtype=torch.uint8)
        y = torch.randint(10, (SAMPLES,), generator=draw)
        few = Samples(x[:100], y[:100])
        return {"train": Samples(x, y), "val": few, "test": few}


class Watch(Stopwatch):
    """CPU time of each epoch, which is a task; stopped before the Fisher pass that ends it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop."""
        super().on_train_epoch_end(trainer, pl_module)
        self.seconds.append(self.cpu_s)


def through_the_frame(updates: int) -> tuple[float, float]:
    """Train all tasks; CPU milliseconds of an update of the second and of the last."""
    data = PermutedStream(of=Noise(), num_tasks=TASKS, batch_size=BATCH, batches_per_epoch=updates)
    data.load()
    backbone = MLP(hidden=[400, 400], in_channels=1, input_size=(28, 28))
    data.use(backbone.spec)
    strategy = EWC(
        ewc_lambda=LAMBDA,
        backbone=backbone,
        adaptation=NoAdaptation(),
        problem=SingleLabel([str(c) for c in range(10)]),
        outputs=data.outputs,
        optimizer=functools.partial(torch.optim.Adam, lr=1e-3),
        scheduler=Constant(),
        layers=LayerPolicy(),
    )
    watch = Watch()
    trainer = quiet_trainer(
        epochs=data.total_epochs,
        callbacks=[watch],
        limit_val_batches=0,
        log_every_n_steps=50,
        reload_dataloaders_every_n_epochs=1,
    )
    trainer.fit(strategy, datamodule=data)
    return 1000 * watch.seconds[1] / updates, 1000 * watch.seconds[-1] / updates


def network() -> nn.Sequential:
    """Build the network."""
    return nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10))


def by_hand(updates: int, earlier: int) -> float:
    """Train with the penalties of some earlier tasks as one would write them; CPU milliseconds of an update."""
    sets = Noise().read()
    x, y, net = sets["train"].x, sets["train"].y, network()
    assert isinstance(x, Tensor)
    assert y is not None
    x, places = x.float().div(255).flatten(1), torch.randperm(784)
    parameters = list(net.parameters())
    anchors = [[p.detach().clone() for p in parameters] for _ in range(earlier)]
    fishers = [[torch.rand_like(p) for p in parameters] for _ in range(earlier)]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    began = time.process_time()
    order = torch.randperm(len(x))
    for update in range(updates):
        index = order[update * BATCH : (update + 1) * BATCH]
        loss = F.cross_entropy(net(x[index][:, places]), y[index])
        for fisher, anchor in zip(fishers, anchors, strict=True):
            terms = zip(fisher, parameters, anchor, strict=True)
            loss = loss + LAMBDA / 2 * torch.stack([(f * (p - a).square()).sum() for f, p, a in terms]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return 1000 * (time.process_time() - began) / updates


def fisher_pass(estimator: str) -> float:
    """Estimate the Fisher information over 1,000 samples; CPU seconds."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.rand(1000, 784, generator=draw), torch.randint(10, (1000,), generator=draw)
    net = network()
    began = time.process_time()
    fisher_diagonal(net, zip(x.split(BATCH), y.split(BATCH), strict=True), estimator)
    return time.process_time() - began


def avalanche(python: str, updates: int) -> dict[str, float]:
    """Let avalanche-lib do the same, in a process of its own."""
    command = [python, "-c", AVALANCHE, str(updates)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print and store."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("python", help="interpreter of an environment with avalanche-lib")
    options.add_argument("--updates", type=int, default=300)
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {}
    for repeat in range(given.repeats + 1):
        theirs = avalanche(given.python, given.updates)
        second, last = through_the_frame(given.updates)
        round_ = {
            "second_ms": second,
            "last_ms": last,
            "by_hand_second_ms": by_hand(given.updates, 1),
            "by_hand_last_ms": by_hand(given.updates, TASKS - 1),
            "avalanche_second_ms": theirs["second_ms"],
            "avalanche_last_ms": theirs["last_ms"],
            "exact_s": fisher_pass("exact"),
            "empirical_s": fisher_pass("empirical"),
            "avalanche_importance_s": theirs["importance_s"],
        }
        if repeat:  # the first round warms up
            for name, value in round_.items():
                found.setdefault(name, []).append(value)
    result: dict[str, Any] = {name: statistics.median(values) for name, values in found.items()}
    for name, above, below in (
        ("second_against_by_hand", "by_hand_second_ms", "second_ms"),
        ("last_against_by_hand", "by_hand_last_ms", "last_ms"),
        ("second_against_avalanche", "avalanche_second_ms", "second_ms"),
        ("last_against_avalanche", "avalanche_last_ms", "last_ms"),
        ("exact_fisher_against_avalanche", "avalanche_importance_s", "exact_s"),
        ("empirical_fisher_against_avalanche", "avalanche_importance_s", "empirical_s"),
    ):
        ratios = [a / b for a, b in zip(found[above], found[below], strict=True)]
        result[name] = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    facts = {"updates": given.updates, "repeats": given.repeats, "torch": torch.__version__.split("+")[0]}
    print(json.dumps(result, indent=2))
    write_json(Path(__file__).resolve().parent.parent / "docs" / "results" / "ewc.json", {**facts, **result})


if __name__ == "__main__":
    main()
