"""The frame's cost on episodes: a prototypical and a MAML step through Lightning, and the same written by hand.

    uv run python benchmarks/few_shot.py

Writes docs/results/few_shot.json.
5-way 1-shot, 4 episodes a step, Conv4, Adam, 1,000 classes of 20 images in memory; the same mathematics on both sides,
by hand as fast as was found: MAML as a loop over tasks, each task's graph freed before the next. CPU time, one thread,
the two sides in turn. What sampling takes is timed alone, drawing and cutting out images. Last MAML's episodes under
vmap beside its loop, both in the frame.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from quiet import Stopwatch, quiet_trainer
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.backbones.conv4 import Conv4
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.episodic import EpisodicData
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.problems import SingleLabel
from tl_lab.results.folder.files import write_json
from tl_lab.run.allocator import keep_freed_memory
from tl_lab.strategies.few_shot.base import FewShotStrategy
from tl_lab.strategies.few_shot.maml import MAML
from tl_lab.strategies.few_shot.prototypical import Prototypical
from tl_lab.training.schedules import Constant

CLASSES, IMAGES, EPISODES, WAY, SHOT = 1000, 20, 4, 5, 1
RATE = 0.4  # of the inner step


class RandomCharacters(EpisodicData):
    """Noise of Omniglot's size: what is learned does not matter here."""

    def read(self) -> dict[str, Samples]:
        """Make the sets."""
        sets = {}
        for name, count in (("train", CLASSES), ("val", 20), ("test", 20)):
            x = torch.randint(0, 256, (count * IMAGES, 1, 28, 28), dtype=torch.uint8)
            sets[name] = Samples(x, torch.arange(count).repeat_interleave(IMAGES))
            self.classes[name] = [f"{name}{c}" for c in range(count)]
        return sets


def build(
    kind: type[FewShotStrategy], steps: int, queries: int, tasks: str = "loop"
) -> tuple[RandomCharacters, FewShotStrategy]:
    """Build data and strategy as a run would."""
    torch.manual_seed(0)
    size = {"way": WAY, "shot": SHOT, "queries": queries}
    data = RandomCharacters(
        train=size, test=size, episodes_per_step=EPISODES, episodes_per_epoch=EPISODES * steps, seed=0
    )
    data.load()
    backbone = Conv4(in_channels=1, input_size=(28, 28))
    data.use(backbone.spec)
    inner: dict[str, Any] = {}
    if kind is MAML:
        inner = {"inner_steps": 1, "test_inner_steps": 1, "inner_rate": RATE, "tasks": tasks}
    strategy = kind(
        backbone=backbone,
        adaptation=NoAdaptation(),
        problem=SingleLabel([str(c) for c in range(WAY)]),
        optimizer=functools.partial(torch.optim.Adam, lr=1e-3),
        scheduler=Constant(),
        layers=LayerPolicy(),
        **inner,
    )
    strategy.network.to(memory_format=torch.channels_last)  # as a run does
    return data, strategy


def through_the_frame(data: RandomCharacters, strategy: FewShotStrategy) -> float:
    """Train for one epoch; CPU seconds."""
    watch = Stopwatch()
    trainer = quiet_trainer(callbacks=[watch], limit_val_batches=0, log_every_n_steps=10)
    trainer.fit(strategy, datamodule=data)
    return watch.cpu_s


def sampling(data: RandomCharacters) -> float:
    """Draw and cut out an epoch's episodes, and do nothing with them; CPU seconds."""
    began = time.process_time()
    for _ in data.train_dataloader():
        pass
    return time.process_time() - began


def images(data: RandomCharacters) -> Tensor:
    """Give the training images, ``(CLASSES * IMAGES, 1, 28, 28)``."""
    x = data.sets["train"].x
    assert isinstance(x, Tensor)
    return x


def draw(x: Tensor, queries: int) -> tuple[Tensor, Tensor]:
    """Draw a step's episodes by hand: supports ``(E, N*K, ...)`` and queries ``(E, N*Q, ...)``."""
    classes = torch.rand(EPISODES, CLASSES).topk(WAY, 1).indices
    chosen = torch.rand(EPISODES, WAY, IMAGES).topk(SHOT + queries, 2).indices
    index = classes[:, :, None] * IMAGES + chosen
    support, query = index[:, :, :SHOT].flatten(1), index[:, :, SHOT:].flatten(1)
    return x[support], x[query]


def prototypical_by_hand(data: RandomCharacters, network: nn.Module, steps: int, queries: int) -> float:
    """Train prototypical networks without any frame; CPU seconds."""
    x, encoder = images(data), network.get_submodule("backbone").train()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
    y = torch.arange(WAY).repeat_interleave(queries).repeat(EPISODES)
    began = time.process_time()
    for _ in range(steps):
        support, query = draw(x, queries)
        count = EPISODES * WAY * SHOT
        features = encoder(torch.cat([support.flatten(0, 1), query.flatten(0, 1)]))
        prototypes = features[:count].view(EPISODES, WAY, SHOT, -1).mean(2)
        embedded = features[count:].view(EPISODES, WAY * queries, -1)
        logits = -(embedded[:, :, None] - prototypes[:, None]).square().sum(3)
        loss = F.cross_entropy(logits.flatten(0, 1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.process_time() - began


def forward(x: Tensor, weights: list[Tensor]) -> Tensor:
    """Conv4 and a linear layer, written out."""
    for i in range(0, 16, 4):
        x = F.conv2d(x, weights[i], weights[i + 1], padding=1)
        x = F.batch_norm(x, None, None, weights[i + 2], weights[i + 3], training=True)
        x = F.max_pool2d(F.relu(x), 2)
    return F.linear(x.flatten(1), weights[16], weights[17])


def maml_by_hand(data: RandomCharacters, network: nn.Module, steps: int, queries: int) -> float:
    """Train MAML without any frame; CPU seconds."""
    x, weights = images(data), list(network.parameters())
    optimizer = torch.optim.Adam(weights, lr=1e-3)
    y, query_y = torch.arange(WAY).repeat_interleave(SHOT), torch.arange(WAY).repeat_interleave(queries)
    began = time.process_time()
    for _ in range(steps):
        support, query = draw(x, queries)
        optimizer.zero_grad()
        for e in range(EPISODES):
            loss = F.cross_entropy(forward(support[e], weights), y)  # type: ignore[arg-type]
            slopes = torch.autograd.grad(loss, weights, create_graph=True)
            adapted = [weight - RATE * slope for weight, slope in zip(weights, slopes, strict=True)]
            (F.cross_entropy(forward(query[e], adapted), query_y) / EPISODES).backward()
        optimizer.step()
    return time.process_time() - began


def compare(kind: type[FewShotStrategy], by_hand: Callable[..., float], steps: int, queries: int, repeats: int) -> Any:
    """Time the sides in turn; a step's times and their ratios."""
    frame, hand, drawn = [], [], []
    for repeat in range(repeats + 1):
        a = through_the_frame(*build(kind, steps, queries))
        data, strategy = build(kind, steps, queries)
        b, c = by_hand(data, strategy.network, steps, queries), sampling(data)
        if repeat:  # the first round warms up
            frame.append(a)
            hand.append(b)
            drawn.append(c)
    milliseconds = [1000 * statistics.median(times) / steps for times in (frame, hand, drawn)]
    return {
        "queries": queries,
        **dict(zip(("frame_ms", "by_hand_ms", "sampling_ms"), milliseconds, strict=True)),
        "ratio": ratios(frame, hand),
        "sampling_share": ratios(drawn, frame),
    }


def vmap_beside_loop(steps: int, queries: int, repeats: int) -> Any:
    """Time MAML in the frame under vmap and in a loop, in turn."""
    seconds: dict[str, list[float]] = {"vmap": [], "loop": []}
    for _ in range(repeats + 1):
        for tasks, found in seconds.items():
            found.append(through_the_frame(*build(MAML, steps, queries, tasks)))
    return {"queries": queries, **ratios(seconds["vmap"][1:], seconds["loop"][1:])}  # the first round warms up


def ratios(times: list[float], others: list[float]) -> dict[str, float]:
    """Compare turn by turn."""
    found = [one / other for one, other in zip(times, others, strict=True)]
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=30)
    options.add_argument("--queries", type=int, default=5)
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as a run does
    result: dict[str, Any] = {"steps": given.steps, "repeats": given.repeats, "torch": torch.__version__.split("+")[0]}
    for name, kind, by_hand in (
        ("prototypical", Prototypical, prototypical_by_hand),
        ("maml", MAML, maml_by_hand),
    ):
        result[name] = one = compare(kind, by_hand, given.steps, given.queries, given.repeats)
        print(f"{name}: frame {one['frame_ms']:.1f} ms, by hand {one['by_hand_ms']:.1f} ms a step")
        for what in ("ratio", "sampling_share"):
            print(f"  {what} {one[what]['median']:.4f} ({one[what]['min']:.4f} to {one[what]['max']:.4f})")
    result["vmap"] = [vmap_beside_loop(given.steps, queries, given.repeats) for queries in (1, 5, 15)]
    for one in result["vmap"]:
        print(f"vmap / loop, {one['queries']} queries: {one['median']:.2f} ({one['min']:.2f} to {one['max']:.2f})")
    write_json(Path(__file__).resolve().parent.parent / "docs" / "results" / "few_shot.json", result)


if __name__ == "__main__":
    main()
