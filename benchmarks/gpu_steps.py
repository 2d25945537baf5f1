"""Steps of :mod:`gpu`: through the frame, with and without graphs, beside loops by hand, plain and captured."""

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.backbones.base import Backbone
from tl_lab.backbones.conv4 import Conv4
from tl_lab.backbones.lenet import LeNet
from tl_lab.backbones.mlp import MLP
from tl_lab.data.base import DataModule
from tl_lab.data.request import Request
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.scenarios.episodic import EpisodicData
from tl_lab.data.scenarios.permuted_stream import PermutedStream
from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.domain_adaptation.reversal_ramp import ReversalRamp
from tl_lab.functional import prototypes, reverse_gradient
from tl_lab.functional.prototypes import squared_distances
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.problems import SingleLabel
from tl_lab.strategies.base import Strategy
from tl_lab.strategies.continual.ewc import EWC
from tl_lab.strategies.few_shot.maml import MAML
from tl_lab.strategies.few_shot.prototypical import Prototypical
from tl_lab.strategies.from_scratch import FromScratch
from tl_lab.training.schedules import InverseDecay

torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # as a run does

__all__ = ["dann", "ewc", "maml", "prototypical"]

Sides = dict[str, dict[str, Any]]


class _Pair(DomainPair):
    def __init__(self, images: int, **options: Any) -> None:
        super().__init__(**options)
        self._images = images

    def read(self) -> dict[str, Samples]:
        self.class_names = [str(c) for c in range(10)]
        return {
            f"{domain}/{part}": _noise(count, 10, (1, 28, 28))
            for domain in ("source", "target")
            for part, count in (("train", self._images), ("val", 64), ("test", 64))
            if (domain, part) != ("target", "val")
        }


class _Set(DataModule):
    def read(self) -> dict[str, Samples]:
        self.class_names = [str(c) for c in range(10)]
        return {name: _noise(n, 10, (1, 28, 28)) for name, n in (("train", 40_000), ("val", 64), ("test", 64))}


class _Episodes(EpisodicData):
    def read(self) -> dict[str, Samples]:
        sets = {}
        for name, count in (("train", 400), ("val", 60), ("test", 60)):
            x = torch.randint(0, 256, (20 * count, 1, 28, 28), dtype=torch.uint8)
            sets[name] = Samples(x, torch.arange(count).repeat_interleave(20))
            self.classes[name] = [f"{name}{c}" for c in range(count)]
        return sets


def _noise(count: int, classes: int, shape: tuple[int, ...]) -> Samples:
    return Samples(torch.randint(0, 256, (count, *shape), dtype=torch.uint8), torch.randint(classes, (count,)))


class _Clock(pl.Callback):
    """Milliseconds an update of the last epoch."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _wait()
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _wait()
        self.ms = 1000 * (time.perf_counter() - self._began) / int(trainer.num_training_batches)


class _Kernels(pl.Callback):
    """Kernels of an update of the last epoch, by PyTorch's profiler."""

    found: dict[str, Any] | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _wait()
        self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
        self._profiler.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _wait()
        self._profiler.stop()
        self.found = kernels(self._profiler.key_averages(), int(trainer.num_training_batches))


_KINDS = {  # parts of the names of kernels, the first that fits counts
    "fused optimizer": ("FusedOptimizer", "FusedAdam", "FusedSgd", "fused_adam", "fused_sgd"),
    "lists of tensors": ("multi_tensor_apply",),
    "products and convolutions": ("gemm", "gemv", "cutlass", "cublas", "splitK", "conv", "cudnn", "xmma"),
    "sums and other reductions": ("reduce_kernel",),
    "copies": ("Memcpy", "Memset", "copy"),
}


def kernels(averages: Any, updates: int) -> dict[str, Any]:
    """Sum the kernels of updates by kind.

    Args:
        averages: of PyTorch's profiler, one for each kernel, with its name (``key``), number and total time.
        updates: that were observed.

    Returns:
        Microseconds that the GPU is busy in an update, its launches, and the microseconds of each kind of kernel.
    """
    kinds: dict[str, float] = {}
    for one in averages:
        kind = next((name for name, parts in _KINDS.items() if any(part in one.key for part in parts)), "others")
        kinds[kind] = kinds.get(kind, 0.0) + one.self_device_time_total / updates
    launches = sum(one.count for one in averages if one.self_device_time_total) / updates
    return {
        "busy_us": round(sum(kinds.values()), 1),
        "launches": round(launches, 1),
        "kinds_us": {kind: round(value, 1) for kind, value in sorted(kinds.items()) if value},
    }


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak() -> float:
    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0


def _in_the_frame(
    build: Callable[[bool], tuple[DataModule, Strategy]], graph: bool, repeats: int, profiled: bool = False
) -> dict[str, Any]:
    """Time updates of the last epoch through the frame; or return their kernels, if profiled."""
    times, reasons = [], ""
    observer = _Kernels()
    for _ in range(repeats):
        data, strategy = build(graph)
        clock = _Clock()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        trainer = pl.Trainer(
            accelerator="gpu" if torch.cuda.is_available() else "cpu",
            devices=1,
            max_epochs=data.total_epochs_for(2),
            reload_dataloaders_every_n_epochs=int(data.changes_by_epoch),
            deterministic="warn",
            callbacks=[clock, observer] if profiled else [clock],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            log_every_n_steps=10,
        )
        trainer.fit(strategy, datamodule=data)
        times.append(clock.ms)
        reasons = "; ".join(strategy.replayer.reasons) if strategy.replayer is not None else ""
    if profiled:
        return {} if observer.found is None else {"kernels": observer.found}
    found: dict[str, Any] = {"ms": statistics.median(times), "spread": max(times) - min(times), "peak_mib": _peak()}
    if reasons:
        found["not_replayed"] = reasons
    return found


def _by_hand(step: Callable[..., None], batches: Iterator[tuple[Any, ...]], updates: int) -> dict[str, float]:
    """Time a step that is called with each batch."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    for batch in itertools.islice(batches, 10):
        step(*batch)
    _wait()
    began = time.perf_counter()
    for batch in itertools.islice(batches, updates):
        step(*batch)
    _wait()
    return {"ms": 1000 * (time.perf_counter() - began) / updates, "peak_mib": _peak()}


def _medians(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Combine repeated measurements of one side."""
    times = [one["ms"] for one in runs]
    return {**runs[0], "ms": statistics.median(times), "spread": max(times) - min(times)}


def _captured(step: Callable[..., None], example: tuple[Tensor, ...]) -> Callable[..., None]:
    """Capture a step whose arguments are tensors of one shape each."""
    static = [tensor.clone() for tensor in example]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(5):
            step(*static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(*static)

    def replay(*batch: Tensor) -> None:
        for place, tensor in zip(static, batch, strict=True):
            place.copy_(tensor, non_blocking=True)
        graph.replay()

    return replay


def _all_sides(
    build: Callable[[bool], tuple[DataModule, Strategy]],
    hand: Callable[[bool], tuple[Callable[..., None], Iterator[tuple[Any, ...]]]],
    updates: int,
    repeats: int,
) -> Sides:
    """Measure all sides, the loop by hand and the frame in turn; a captured loop is given what changes as tensors."""
    sides: Sides = {}
    torch.use_deterministic_algorithms(True, warn_only=True)  # as trainer=gpu does
    pairs = []
    for _ in range(repeats):
        step, batches = hand(False)
        pairs.append((_by_hand(step, batches, updates), _in_the_frame(build, False, 1)))
    sides["by_hand"], sides["frame"] = (_medians(one) for one in zip(*pairs, strict=True))
    sides["frame"]["times_by_hand"] = statistics.median(frame["ms"] / loop["ms"] for loop, frame in pairs)
    for name, exact in (("captured_by_hand", True), ("captured_by_hand_not_repeatable", False)):
        if torch.cuda.is_available():
            torch.use_deterministic_algorithms(exact, warn_only=True)
            step, batches = hand(True)
            replay = _captured(step, next(batches))
            sides[name] = _by_hand(replay, batches, updates)
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
                _by_hand(replay, batches, updates)
            sides[name]["kernels"] = kernels(profiler.key_averages(), updates + 10)  # 10 to warm up
    if torch.cuda.is_available():
        sides["frame_graph"] = _in_the_frame(build, True, repeats)
        sides["frame_graph"] |= _in_the_frame(build, True, 1, profiled=True)
    return sides


def _strategy(
    kind: type[Strategy],
    backbone: Backbone,
    data: DataModule,
    graph: bool,
    adaptation: DomainAdaptation,
    **options: Any,
) -> Strategy:
    strategy = kind(
        backbone=backbone,
        adaptation=adaptation,
        problem=data.problem,
        outputs=data.outputs,
        scheduler=InverseDecay(),
        layers=LayerPolicy(),
        graph=graph,
        **options,
    )
    strategy.network.to(memory_format=torch.channels_last)
    return strategy


_SGD = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9)
_ADAM = functools.partial(torch.optim.Adam, lr=1e-4)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


# ---------------------------------------------------------------------- domain-adversarial


def dann(batch_size: int, updates: int, repeats: int) -> Sides:
    """LeNet on 28x28 images, a discriminator of 100 units, SGD with momentum."""
    images = max(4096, 4 * batch_size)

    def build(graph: bool) -> tuple[DataModule, Strategy]:
        torch.manual_seed(0)
        data = _Pair(images, batch_size=batch_size, batches_per_epoch=updates)
        data.load(Request(adapts=True))
        backbone = LeNet(in_channels=1, input_size=(28, 28))
        data.use(backbone.spec)
        return data, _strategy(FromScratch, backbone, data, graph, DANN(), optimizer=_SGD, head={"hidden": [100, 100]})

    def hand(on_device: bool) -> tuple[Callable[..., None], Iterator[tuple[Any, ...]]]:
        data, strategy = build(False)
        device = _device()
        network, discriminator = strategy.network.to(device), strategy.adaptation.get_submodule("discriminator")
        discriminator.to(device)
        parameters = [*network.parameters(), *discriminator.parameters()]
        optimizer = torch.optim.SGD(
            parameters, lr=torch.tensor(0.01, device=device) if on_device else 0.01, momentum=0.9
        )
        if on_device:
            optimizer.param_groups[0] |= {"fused": True, "lr": torch.tensor(0.01, device=device)}
        xs, xt = (data.sets[f"{name}/train"].x.to(device) for name in ("source", "target"))  # type: ignore[union-attr]
        ys = data.sets["source/train"].y
        assert ys is not None
        ys = ys.to(device)
        anneal, ramp = InverseDecay(), ReversalRamp()

        def step(i: Tensor, j: Tensor, rate: Any, strength: Any) -> None:
            if on_device:
                optimizer.param_groups[0]["lr"].copy_(rate)
            else:
                optimizer.param_groups[0]["lr"] = rate
            features = network.features(torch.cat([xs[i], xt[j]]))
            domains = discriminator(reverse_gradient(features, strength)).squeeze(1)
            loss = F.cross_entropy(network.head(features[:batch_size]), ys[i])
            loss = loss + F.softplus(domains[:batch_size]).mean() + F.softplus(-domains[batch_size:]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        def batches() -> Iterator[tuple[Any, ...]]:
            for n in itertools.count():
                p = (n % updates) / updates
                numbers: list[Any] = [0.01 * anneal(p), ramp(p)]
                if on_device:
                    numbers = [torch.tensor(number) for number in numbers]
                    if n == 0:
                        numbers = [number.to(device) for number in numbers]
                i, j = (torch.randint(images, (batch_size,), device=device) for _ in range(2))
                yield i, j, *numbers

        return step, batches()

    return _all_sides(build, hand, updates, repeats)


# ---------------------------------------------------------------------- a stream, episodes


def ewc(updates: int, repeats: int) -> Sides:
    """Two layers of 1,000 on permuted pixels, 128 images, Adam; the second task, with the penalty."""

    def build(graph: bool) -> tuple[DataModule, Strategy]:
        torch.manual_seed(0)
        data = PermutedStream(of=_Set(), num_tasks=2, scenario="domain", batch_size=128, batches_per_epoch=updates)
        data.load(Request(epochs_per_task=2))
        backbone = MLP((1000, 1000), in_channels=1, input_size=(28, 28))
        data.use(backbone.spec)
        return data, _strategy(EWC, backbone, data, graph, NoAdaptation(), optimizer=_ADAM, ewc_lambda=100.0)

    def hand(on_device: bool) -> tuple[Callable[..., None], Iterator[tuple[Any, ...]]]:
        device = _device()
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10)
        ).to(device)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=on_device or None, capturable=on_device)
        old = [p.detach().clone() for p in net.parameters()]
        fisher = [torch.rand_like(p) for p in net.parameters()]
        x = torch.rand(40_000, 1, 28, 28, device=device)
        y = torch.randint(10, (40_000,), device=device)

        def step(i: Tensor) -> None:
            penalty = torch.stack(
                [(f * (p - o).square()).sum() for f, p, o in zip(fisher, net.parameters(), old, strict=True)]
            ).sum()
            loss = F.cross_entropy(net(x[i]), y[i]) + 50 * penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return step, ((torch.randint(40_000, (128,), device=device),) for _ in itertools.count())

    return _all_sides(build, hand, updates, repeats)


def _episodes(way: int, shot: int, queries: int, at_once: int, updates: int) -> _Episodes:
    data = _Episodes(
        train={"way": way, "shot": shot, "queries": queries},
        test={"way": min(way, 20), "shot": shot, "queries": queries},
        episodes_per_step=at_once,
        episodes_per_epoch=at_once * updates,
    )
    data.load()
    return data


def prototypical(updates: int, repeats: int) -> Sides:
    """60-way 1-shot episodes, five queries a class, Conv4, Adam."""
    way, shot, queries = 60, 1, 5

    def build(graph: bool) -> tuple[DataModule, Strategy]:
        torch.manual_seed(0)
        data = _episodes(way, shot, queries, 1, updates)
        backbone = Conv4(in_channels=1, input_size=(28, 28))
        data.use(backbone.spec)
        return data, _strategy(Prototypical, backbone, data, graph, NoAdaptation(), optimizer=_ADAM)

    def hand(on_device: bool) -> tuple[Callable[..., None], Iterator[tuple[Any, ...]]]:
        device = _device()
        net = Conv4(in_channels=1, input_size=(28, 28)).to(memory_format=torch.channels_last).to(device)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=on_device or None, capturable=on_device)
        x = torch.rand(400, 20, 1, 28, 28, device=device)
        labels = [torch.arange(way, device=device).repeat_interleave(k) for k in (shot, queries)]

        def step(c: Tensor, k: Tensor) -> None:
            images = x[c[:, None], k]
            parts = images[:, :shot].flatten(0, 1), images[:, shot:].flatten(0, 1)
            support, query = net(torch.cat(parts)).split([way * shot, way * queries])
            logits = -squared_distances(query[None], prototypes(support[None], labels[0][None], way))
            loss = F.cross_entropy(logits[0], labels[1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        def batches() -> Iterator[tuple[Any, ...]]:
            while True:
                c = torch.rand(400, device=device).topk(way).indices
                yield c, torch.rand(way, 20, device=device).topk(shot + queries, dim=1).indices

        return step, batches()

    return _all_sides(build, hand, updates, repeats)


def maml(updates: int, repeats: int) -> Sides:
    """Second order, 5-way 1-shot, 4 episodes, 5 queries a class, Conv4: under vmap and in a loop."""
    sides: Sides = {}
    for tasks, graph in itertools.product(("loop", "vmap"), (False, True)):
        if graph and not torch.cuda.is_available():
            continue

        def build(graph: bool, tasks: str = tasks) -> tuple[DataModule, Strategy]:
            torch.manual_seed(0)
            data = _episodes(5, 1, 5, 4, updates)
            backbone = Conv4(in_channels=1, input_size=(28, 28))
            data.use(backbone.spec)
            inner = {"inner_steps": 1, "test_inner_steps": 1, "inner_rate": 0.4, "tasks": tasks}
            strategy = MAML(
                backbone=backbone,
                adaptation=NoAdaptation(),
                problem=SingleLabel([str(c) for c in range(5)]),
                optimizer=_ADAM,
                scheduler=InverseDecay(),
                layers=LayerPolicy(),
                graph=graph,
                **inner,  # type: ignore[arg-type]
            )
            strategy.network.to(memory_format=torch.channels_last)
            return data, strategy

        sides[f"{tasks}{'_graph' if graph else ''}"] = _in_the_frame(build, graph, repeats)
    return sides
