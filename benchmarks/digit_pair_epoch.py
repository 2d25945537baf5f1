"""An epoch of DANN on MNIST -> MNIST-M, data included: this project against data sets that serve item by item.

    TL_LAB_DATA=<data sets> uv run python benchmarks/digit_pair_epoch.py

Both sides train the same network with the same objective. The other side is the customary one: a Dataset of PIL
images with torchvision's transforms for each domain, a DataLoader with two workers for each, and a loop written by
hand, which costs less than a trainer. Wall and CPU time (workers included), in turn.
Writes docs/results/digit_pair_epoch.json.
"""

import argparse
import functools
import logging
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from quiet import Stopwatch, cpu_seconds, quiet_trainer
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from tl_lab.backbones.lenet import LeNet
from tl_lab.data.request import Request
from tl_lab.data.sets.digit_pairs import MnistToMnistM
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.reversal_ramp import ReversalRamp
from tl_lab.functional import reverse_gradient
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.problems import SingleLabel
from tl_lab.results.folder.files import write_json
from tl_lab.strategies.from_scratch import FromScratch
from tl_lab.training.schedules import InverseDecay

BATCH = 64


class ItemByItem(Dataset):
    """A set of images as data sets of torchvision serve them: a PIL image an index, then the transform."""

    def __init__(self, x: Tensor, y: Tensor, transform: Any) -> None:
        # (N, C, H, W) -> (N, H, W) or (N, H, W, 3), as files hold them
        self.x = x[:, 0].numpy() if x.shape[1] == 1 else x.permute(0, 2, 3, 1).contiguous().numpy()
        self.y, self.transform = y.tolist(), transform

    def __len__(self) -> int:
        """Number of images."""
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        """Give one transformed image and its class."""
        return self.transform(Image.fromarray(self.x[i])), self.y[i]


def build(updates: int) -> tuple[MnistToMnistM, FromScratch]:
    """Build data and strategy as a run would, data not yet read."""
    data = MnistToMnistM(batch_size=BATCH, batches_per_epoch=updates)
    strategy = FromScratch(
        backbone=LeNet(in_channels=3, mean=0.3),
        adaptation=DANN(hidden=[100], lambda_max=1.0, batch_norm="joint"),
        problem=SingleLabel([str(c) for c in range(10)]),
        optimizer=functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9),
        scheduler=InverseDecay(),
        layers=LayerPolicy(),
        head={"hidden": [100, 100]},
    )
    return data, strategy


def through_the_frame(data: MnistToMnistM, strategy: FromScratch) -> tuple[float, float]:
    """Train for an epoch; wall and CPU seconds."""
    watch = Stopwatch()
    quiet_trainer(callbacks=[watch], limit_val_batches=0).fit(strategy, datamodule=data)
    return watch.wall_s, watch.cpu_s


def item_by_item(sets: dict[str, Any], strategy: FromScratch, updates: int) -> tuple[float, float, float]:
    """Do the same with DataLoaders; wall and CPU seconds, and the wall seconds of waiting for data."""
    normalise = transforms.Normalize([0.3] * 3, [1.0] * 3)
    of_source = transforms.Compose([transforms.Grayscale(3), transforms.Resize(28), transforms.ToTensor(), normalise])
    of_target = transforms.Compose([transforms.Resize(28), transforms.ToTensor(), normalise])
    source = ItemByItem(sets["source/train"].x, sets["source/train"].y, of_source)
    target = ItemByItem(sets["target/train"].x, torch.zeros(len(sets["target/train"].x)), of_target)
    network, discriminator = strategy.network.train(), strategy.adaptation.get_submodule("discriminator").train()
    optimizer = torch.optim.SGD([*network.parameters(), *discriminator.parameters()], lr=0.01, momentum=0.9)
    anneal, ramp = InverseDecay(), ReversalRamp()
    wall, cpu, waited = time.perf_counter(), cpu_seconds(), 0.0
    loaders = [DataLoader(each, BATCH, shuffle=True, drop_last=True, num_workers=2) for each in (source, target)]
    batches = zip(*loaders, strict=False)
    for step in range(updates):
        began = time.perf_counter()
        (x, y), (target_x, _) = next(batches)
        waited += time.perf_counter() - began
        p = step / updates
        optimizer.param_groups[0]["lr"] = 0.01 * anneal(p)
        features = network.features(torch.cat([x, target_x]))
        domains = discriminator(reverse_gradient(features, ramp(p))).squeeze(1)
        loss = F.cross_entropy(network.head(features[:BATCH]), y)
        loss = loss + F.softplus(domains[:BATCH]).mean() + F.softplus(-domains[BATCH:]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    del batches, loaders  # ends the workers, whose time counts from then on
    time.sleep(0.2)
    return time.perf_counter() - wall - 0.2, cpu_seconds() - cpu, waited


def measured(threads: int, updates: int, repeats: int) -> dict[str, Any]:
    """Measure with a number of PyTorch's threads, both sides in turn, and print."""
    torch.set_num_threads(threads)
    raw = MnistToMnistM(batch_size=BATCH)
    sets = raw.read()
    frame, items = [], []
    for repeat in range(repeats + 1):
        data, strategy = build(updates)
        data.load(Request(adapts=True))
        data.use(strategy.network.backbone.spec)
        a = through_the_frame(data, strategy)
        _, strategy = build(updates)
        b = item_by_item(sets, strategy, updates)
        if repeat:  # the first round warms up
            frame.append(a)
            items.append(b)
    wall = [b[0] / a[0] for a, b in zip(frame, items, strict=True)]
    cpu = [b[1] / a[1] for a, b in zip(frame, items, strict=True)]
    per_epoch = 54000 // BATCH / updates
    result = {
        "threads": threads,
        "updates": updates,
        "repeats": repeats,
        "batch_size": BATCH,
        "frame_epoch_s": per_epoch * statistics.median(a[0] for a in frame),
        "items_epoch_s": per_epoch * statistics.median(b[0] for b in items),
        "waiting_share": statistics.median(b[2] / b[0] for b in items),
        "wall_ratio_median": statistics.median(wall),
        "wall_ratio_min": min(wall),
        "wall_ratio_max": max(wall),
        "cpu_ratio_median": statistics.median(cpu),
        "cpu_ratio_min": min(cpu),
        "cpu_ratio_max": max(cpu),
        "torch": torch.__version__.split("+")[0],
    }
    for name, value in result.items():
        print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    return result


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--updates", type=int, default=300)
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of PyTorch; measured one by one")
    given = options.parse_args()
    logging.disable(logging.WARNING)
    result = {str(threads): measured(threads, given.updates, given.repeats) for threads in given.threads}
    write_json(Path(__file__).resolve().parent.parent / "docs" / "results" / "digit_pair_epoch.json", result)


if __name__ == "__main__":
    main()
