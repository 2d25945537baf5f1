"""The frame's cost: a DANN training step through Lightning and the same step written by hand.

    uv run python benchmarks/step_overhead.py

Writes docs/results/step_overhead.json.
Same networks, batch size, data in memory, optimizer and schedules; no validation. CPU time, one thread, the two
sides in turn.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from quiet import Stopwatch, quiet_trainer
from torch.nn import functional as F
from torch.optim import Optimizer

from tl_lab.backbones.lenet import LeNet
from tl_lab.data.request import Request
from tl_lab.data.sets.printed_to_handwritten import PrintedToHandwritten
from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.reversal_ramp import ReversalRamp
from tl_lab.functional import reverse_gradient
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.problems import SingleLabel
from tl_lab.results.folder.files import write_json
from tl_lab.strategies.from_scratch import FromScratch
from tl_lab.training.schedules import InverseDecay

SGD = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9)


def build(
    adaptation: DomainAdaptation,
    steps: int,
    batch_size: int,
    optimizer: Callable[..., Optimizer] = SGD,
) -> tuple[PrintedToHandwritten, FromScratch]:
    """Build data and strategy as a run would."""
    data = PrintedToHandwritten(batch_size=batch_size, batches_per_epoch=steps)
    data.load(Request(adapts=True))
    backbone = LeNet(in_channels=1, input_size=(8, 8))
    data.use(backbone.spec)
    strategy = FromScratch(
        backbone=backbone,
        adaptation=adaptation,
        problem=SingleLabel([str(c) for c in range(10)]),
        optimizer=optimizer,
        scheduler=InverseDecay(),
        layers=LayerPolicy(),
        head={"hidden": [100, 100]},
    )
    return data, strategy


def through_the_frame(data: PrintedToHandwritten, strategy: FromScratch) -> float:
    """Train for one epoch; CPU seconds."""
    watch = Stopwatch()
    trainer = quiet_trainer(callbacks=[watch], limit_val_batches=0, log_every_n_steps=10)
    trainer.fit(strategy, datamodule=data)
    return watch.cpu_s


def by_hand(data: PrintedToHandwritten, strategy: FromScratch, steps: int, batch_size: int) -> float:
    """Do the same without any frame; CPU seconds."""
    network, discriminator = strategy.network.train(), strategy.adaptation.get_submodule("discriminator").train()
    parameters = [*network.parameters(), *discriminator.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    source_x, target_x = (data.sets[name].x for name in ("source/train", "target/train"))
    source_y = data.sets["source/train"].y
    assert isinstance(source_x, torch.Tensor)
    assert isinstance(target_x, torch.Tensor)
    assert source_y is not None
    anneal, ramp = InverseDecay(), ReversalRamp()
    began = time.process_time()
    order = torch.cat([torch.randperm(len(source_x)) for _ in range(1 + steps * batch_size // len(source_x))])
    target_order = torch.cat([torch.randperm(len(target_x)) for _ in range(1 + steps * batch_size // len(target_x))])
    for step in range(steps):
        p = step / steps
        optimizer.param_groups[0]["lr"] = 0.01 * anneal(p)
        rows = slice(step * batch_size, (step + 1) * batch_size)
        x, y = source_x[order[rows]], source_y[order[rows]]
        features = network.features(torch.cat([x, target_x[target_order[rows]]]))
        domains = discriminator(reverse_gradient(features, ramp(p))).squeeze(1)
        loss = F.cross_entropy(network.head(features[:batch_size]), y)
        loss = loss + F.softplus(domains[:batch_size]).mean() + F.softplus(-domains[batch_size:]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.process_time() - began


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=150)
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--repeats", type=int, default=9)
    given = options.parse_args()
    torch.set_num_threads(1)
    ratios, frame, hand = [], [], []
    for repeat in range(given.repeats + 1):
        data, strategy = build(DANN(), given.steps, given.batch_size)
        a = through_the_frame(data, strategy)
        data, strategy = build(DANN(), given.steps, given.batch_size)
        b = by_hand(data, strategy, given.steps, given.batch_size)
        if repeat:  # the first round warms up
            frame.append(a)
            hand.append(b)
            ratios.append(a / b)
    per_step = [1000 * statistics.median(times) / given.steps for times in (frame, hand)]
    print(f"DANN step, LeNet, {given.batch_size} + {given.batch_size} images, torch {torch.__version__}, one thread")
    print(
        f"frame {per_step[0]:.2f} ms, by hand {per_step[1]:.2f} ms (medians of {given.repeats} x {given.steps} steps)"
    )
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"ratio frame / by hand: median {statistics.median(ratios):.3f}, range {spread}")
    result = {
        "batch_size": given.batch_size,
        "steps": given.steps,
        "repeats": given.repeats,
        "frame_ms": per_step[0],
        "by_hand_ms": per_step[1],
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "torch": torch.__version__.split("+")[0],
    }
    write_json(Path(__file__).resolve().parent.parent / "docs" / "results" / "step_overhead.json", result)


if __name__ == "__main__":
    main()
