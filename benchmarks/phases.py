"""What the frame costs where a batch has several updates: MCD and ADDA, each beside the same loop written by hand.

    uv run python benchmarks/phases.py

Writes docs/results/phases.json.
The loops by hand send through the encoder what each update needs, and nothing else: MCD's six updates a batch take
seven passes (source; source and target; four times the target), ADDA's two take three (source and target; target).
Same networks, batch size, data in memory, optimizer and schedule; no validation. CPU time, one thread, the two sides in
turn. The passes of the frame are counted as well.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from step_overhead import build, through_the_frame
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.data.sets.printed_to_handwritten import PrintedToHandwritten
from tl_lab.domain_adaptation.adda import ADDA
from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.domain_adaptation.mcd import MCD, discrepancy
from tl_lab.results.folder.files import write_json
from tl_lab.strategies.from_scratch import FromScratch
from tl_lab.training.schedules import InverseDecay

STORED = Path(__file__).resolve().parent.parent / "docs" / "results" / "phases.json"
PRETRAIN = 1e-6  # of ADDA: the first update alone learns the source
Batch = tuple[Tensor, Tensor, Tensor]


def passes(method: Callable[[], DomainAdaptation], steps: int, batch_size: int) -> float:
    """Count the batches of one domain that the frame sends through the encoders for each batch."""
    data, strategy = build(method(), steps, batch_size)
    seen = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal seen
        seen += len(inputs[0])

    own = strategy.network.target_encoder
    for backbone in (strategy.network.backbone, *([] if own is None else [own["backbone"]])):
        backbone.register_forward_pre_hook(count)
    through_the_frame(data, strategy)
    return seen / batch_size / steps


def batches(data: PrintedToHandwritten, steps: int, size: int) -> list[Batch]:
    """Draw the samples of each step: source, its labels, target."""
    source, target = data.sets["source/train"], data.sets["target/train"]
    assert isinstance(source.x, Tensor)
    assert isinstance(target.x, Tensor)
    assert source.y is not None
    drawn = []
    for of in (len(source), len(target)):
        drawn.append(torch.cat([torch.randperm(of) for _ in range(1 + steps * size // of)]))
    rows = [slice(step * size, (step + 1) * size) for step in range(steps)]
    return [(source.x[drawn[0][row]], source.y[drawn[0][row]], target.x[drawn[1][row]]) for row in rows]


def mcd_by_hand(data: PrintedToHandwritten, strategy: FromScratch, steps: int, batch_size: int) -> float:
    """Train without any frame, with seven passes a batch; CPU seconds."""
    network = strategy.network.train()
    encoder, first, second = network.backbone, network.head, strategy.adaptation.get_submodule("second_head").train()
    generator = torch.optim.SGD(encoder.parameters(), lr=0.01, momentum=0.9)
    classifiers = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=0.01, momentum=0.9)
    anneal, began = InverseDecay(), time.process_time()
    for step, (x, y, target) in enumerate(batches(data, steps, batch_size)):
        generator.param_groups[0]["lr"] = classifiers.param_groups[0]["lr"] = 0.01 * anneal(step / steps)
        features = encoder(x)
        _learn(F.cross_entropy(first(features), y) + F.cross_entropy(second(features), y), generator, classifiers)
        with torch.no_grad():
            features, of_target = encoder(x), encoder(target)
        loss = F.cross_entropy(first(features), y) + F.cross_entropy(second(features), y)
        _learn(loss - discrepancy(first(of_target).softmax(1), second(of_target).softmax(1)), classifiers)
        for _ in range(4):
            features = encoder(target)
            _learn(discrepancy(first(features).softmax(1), second(features).softmax(1)), generator)
            classifiers.zero_grad()
    return time.process_time() - began


def adda_by_hand(data: PrintedToHandwritten, strategy: FromScratch, steps: int, batch_size: int) -> float:
    """Train without any frame, with three passes a batch; CPU seconds."""
    network = strategy.network.train()
    assert network.target_encoder is not None
    own = network.target_encoder["backbone"].train()
    discriminator = strategy.adaptation.get_submodule("discriminator").train()
    source = torch.optim.SGD([*network.backbone.parameters(), *network.head.parameters()], lr=0.01, momentum=0.9)
    encoder = torch.optim.SGD(own.parameters(), lr=0.01, momentum=0.9)
    critic = torch.optim.SGD(discriminator.parameters(), lr=0.01, momentum=0.9)
    anneal, began = InverseDecay(), time.process_time()
    for step, (x, y, target) in enumerate(batches(data, steps, batch_size)):
        for optimizer in (source, encoder, critic):
            optimizer.param_groups[0]["lr"] = 0.01 * anneal(step / steps)
        if step == 0:
            _learn(F.cross_entropy(network.head(network.backbone(x)), y), source)
            own.load_state_dict(network.backbone.state_dict())
            continue
        with torch.no_grad():
            of_source, of_target = network.backbone(x), own(target)
        loss = F.softplus(discriminator(of_source)).mean() + F.softplus(-discriminator(of_target)).mean()
        _learn(loss, critic)
        _learn(F.softplus(discriminator(own(target))).mean(), encoder)
        critic.zero_grad()
    return time.process_time() - began


def _learn(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


METHODS: dict[str, tuple[Callable[[], DomainAdaptation], Callable[..., float], int]] = {
    "MCD": (MCD, mcd_by_hand, 7),
    "ADDA": (lambda: ADDA(pretrain=PRETRAIN), adda_by_hand, 3),
}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS), help="the others stay as stored")
    given = options.parse_args()
    torch.set_num_threads(1)
    facts = {"batch_size": given.batch_size, "steps": given.steps, "repeats": given.repeats}
    facts["torch"] = torch.__version__.split("+")[0]
    found: dict[str, Any] = json.loads(STORED.read_text())["methods"] if STORED.exists() else {}
    for name in given.only:
        method, by_hand, least = METHODS[name]
        frame, hand = [], []
        for repeat in range(given.repeats + 1):
            times = through_the_frame(*build(method(), given.steps, given.batch_size))
            plain = by_hand(*build(method(), given.steps, given.batch_size), given.steps, given.batch_size)
            if repeat:  # the first round warms up
                frame.append(times)
                hand.append(plain)
        ratios = [one / other for one, other in zip(frame, hand, strict=True)]
        found[name] = {
            "frame_ms": 1000 * statistics.median(frame) / given.steps,
            "by_hand_ms": 1000 * statistics.median(hand) / given.steps,
            "ratio_median": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "passes": round(passes(method, given.steps, given.batch_size), 2),
            "passes_by_hand": least,
        }
        print(name, found[name], flush=True)
        write_json(STORED, {**facts, "methods": found})


if __name__ == "__main__":
    main()
