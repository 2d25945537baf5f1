"""Replay of updates, which are recorded once as a graph of GPU kernels and launched as a whole afterwards.

With small networks, a GPU waits for the next kernel, because launching a hundred kernels takes longer than computing
them. A graph launches all of them at once. Everything that changes between updates is written to fixed memory before
each replay: the batch, the learning rates and other numbers that depend on training progress, and the seeds of random
streams. Logged quantities are also summed in fixed memory.

The first update of each kind runs normally. The second update runs the code that is to be replayed and is monitored:
code that waits for the GPU or reads training progress as a number cannot be replayed, and such updates continue to
launch one kernel after the other. The third update is recorded. Without a GPU, the same code runs unrecorded.
"""

import gc
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor
from torch.optim import SGD, Optimizer

from tl_lab.data.batches import Deferred
from tl_lab.domain_adaptation.base import Phase, Update
from tl_lab.randomness import separate_stream
from tl_lab.training.fused import fuse
from tl_lab.training.means import Means, check_quantity

if TYPE_CHECKING:
    from tl_lab.training.step import Step

__all__ = ["LiveUpdate", "Recording", "Replayer", "acts_within_updates", "describe", "obstacle"]

_NUMBERS = 256  # learning rates and other numbers that change between updates
_HOOKS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_before_zero_grad")
_KEPT = 4  # number of recordings that are kept; a run passes through its kinds of updates in order
_WORTH = 10  # replays after which a recording has repaid its cost
_RARE = 12  # forgotten kinds in succession with fewer replays, after which no further kind is recorded


class LiveUpdate(Update):
    """The progress of training for code that is to be replayed, in which changing numbers are tensors.

    Args:
        now: the update in which the code runs for the first time.
        recording: the recording to which the update belongs.
    """

    _now: Update
    _recording: "Recording"

    def __init__(self, now: Update, recording: "Recording") -> None:
        object.__setattr__(self, "_now", now)
        object.__setattr__(self, "_recording", recording)

    @property
    def progress(self) -> float:
        """Completed share of training; code that reads it cannot be replayed."""
        self._recording.object_to("update.progress is read as a number; use update.live(...) instead")
        return self._now.progress

    @property
    def number(self) -> int:
        """Number of updates done; code that reads it cannot be replayed."""
        self._recording.object_to("update.number is read as a number; use update.live(...) instead")
        return self._now.number

    @property
    def phase(self) -> str:
        """Name of the phase, the same in each replay."""
        return self._now.phase

    def live(self, number: Callable[[Update], float]) -> Tensor:
        """Return the tensor that contains the number in each replay."""
        return self._recording.number(self._now.phase, number, self._now)

    def in_phase(self, name: str) -> "LiveUpdate":
        """Return the same update in another phase."""
        return LiveUpdate(self._now.in_phase(name), self._recording)


@dataclass
class Recording:
    """The recording of one kind of update: its inputs and its graph.

    Args:
        batch: source, target and changed inputs, in fixed memory.
        phases: phases of the update.
        numbers: the replayer's tensor of changing numbers, ``(_NUMBERS,)``.
        first: index of the first free number.
    """

    batch: tuple[Any, ...]
    phases: tuple[Phase, ...]
    numbers: Tensor
    first: int
    graph: torch.cuda.CUDAGraph | None = None
    sums: Tensor | None = None
    updates: int = 0  # included in the sums
    replays: int = 0
    names: list[str] = field(default_factory=list)
    constants: Means = field(default_factory=Means)
    objections: list[str] = field(default_factory=list)
    tensors: list[Tensor] = field(init=False)
    _functions: list[tuple[str, Callable[[Update], float]]] = field(default_factory=list)
    _streams: list[tuple[str, torch.Generator | None]] = field(default_factory=list)
    _noted: list[tuple[str, Tensor | float]] = field(default_factory=list)
    _numbers_used: int = 0
    _streams_used: int = 0

    def __post_init__(self) -> None:
        self.tensors = list(_tensors(self.batch))

    def fits(self, batch: tuple[Any, ...], tensors: list[Tensor], phases: tuple[Phase, ...]) -> bool:
        """Whether a batch can replace the recorded one, if nothing else has changed."""
        if [isinstance(part, Deferred) for part in batch] != [isinstance(part, Deferred) for part in self.batch]:
            return False
        shapes = zip(self.tensors, tensors, strict=False)
        same = len(tensors) == len(self.tensors) and all(own.shape == other.shape for own, other in shapes)
        return same and phases == self.phases

    def begin(self) -> None:
        """Reset for another pass through the code."""
        self._noted, self._numbers_used, self._streams_used = [], 0, 0

    def object_to(self, what: str) -> None:
        """Record that the code cannot be replayed, and the reason."""
        self.objections.append(what)

    # ------------------------------------------------------------------ requests of the code

    def number(self, phase: str, function: Callable[[Update], float], now: Update) -> Tensor:
        """Return the tensor of the next changing number, ``()``; it is filled at the first request."""
        place = self._numbers_used
        self._numbers_used += 1
        if place == len(self._functions):
            self._functions.append((phase, function))
            self.numbers[self.first + place].fill_(function(now))
        return self.numbers[self.first + place]

    @contextmanager
    def stream(self, use: str, seed: int) -> Iterator[None]:
        """Return a context in which the code draws from the next random stream, which each replay seeds anew."""
        place, device = self._streams_used, self.numbers.device
        self._streams_used += 1
        if device.type != "cuda":
            if place == len(self._streams):
                self._streams.append((use, None))
            with separate_stream(seed):
                yield
            return
        if place == len(self._streams):
            self._streams.append((use, torch.Generator(device).manual_seed(seed)))
        own, shared = self._streams[place][1], torch.cuda.default_generators[device.index or 0]
        assert own is not None
        before = shared.graphsafe_get_state()
        shared.graphsafe_set_state(own)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                yield
        finally:
            shared.graphsafe_set_state(before)

    def note(self, quantities: Mapping[str, Tensor | float]) -> None:
        """Add quantities to the sums."""
        self._noted += quantities.items()

    def sum_up(self) -> list[str]:
        """Add the recorded quantities to the sums, and return the tensors' names."""
        tensors = [(name, value) for name, value in self._noted if isinstance(value, Tensor)]
        names = [name for name, _ in tensors]
        if self.sums is None:
            self.names, self.sums = names, torch.zeros(len(names), device=self.numbers.device)
            for name, value in self._noted:
                if not isinstance(value, Tensor):
                    self.constants.add({name: value})
        if names == self.names and names:
            self.sums += torch.stack([_scalar(name, value.detach()) for name, value in tensors])
        return names

    # ------------------------------------------------------------------ between replays

    def fill(self, tensors: list[Tensor], rates: list[float], now: Update, seed: Callable[[str], int]) -> None:
        """Write the values of an update to fixed memory.

        Args:
            tensors: tensors of a batch, with the shapes of the recorded batch.
            rates: learning rates of the optimizer's groups.
            now: progress of training.
            seed: function that returns the seed of a random stream, given its use.
        """
        if tensors:
            torch._foreach_copy_(self.tensors, tensors, non_blocking=True)
        values = [*rates, *(function(now.in_phase(phase)) for phase, function in self._functions)]
        # copied from pageable memory, which has been read when the call returns, without waiting for the GPU
        self.numbers[: len(values)].copy_(torch.tensor(values), non_blocking=True)
        for use, generator in self._streams:
            if generator is not None:
                generator.manual_seed(seed(use))

    def generators(self) -> list[torch.Generator]:
        """List the random streams that a graph must register."""
        return [generator for _, generator in self._streams if generator is not None]

    def read_into(self, means: Means) -> None:
        """Add the sums to means, and reset them."""
        if not self.updates or self.sums is None:
            return
        for i, name in enumerate(self.names):
            means.add({name: self.sums[i].clone()}, self.updates)
        for name, (value, count) in self.constants.items():
            means.add({name: value * self.updates}, count * self.updates)
        self.sums.zero_()
        self.updates = 0


def _scalar(name: str, value: Tensor) -> Tensor:
    """Return a quantity as a scalar; the mean of marks takes few kernels, because each replay runs them."""
    check_quantity(name, value)
    return value.float().mean() if value.dim() else value.float()


class Replayer:
    """Performs the updates of a strategy by replaying them.

    Args:
        step: the training step.
        optimizer: PyTorch's optimizer; it is converted so that its state is on the device.
        records: record graphs; False runs the same code without recording.
        say: function that is called with a message when a kind of update turns out not to be replayable.
    """

    def __init__(
        self, step: "Step", optimizer: Optimizer, *, records: bool = True, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._step, self._optimizer, self._records, self._say = step, optimizer, records, say
        self._recordings: dict[Any, Recording | str | None] = {}  # a text is the reason why there is no recording
        self._last: Recording | None = None
        self._reasons: list[str] = []
        self._rare = 0  # forgotten kinds since the last one that was worth its recording
        self._numbers = torch.zeros(_NUMBERS, device=step.device)
        self._modules = list(step.modules())
        self._parameters = list(step.parameters())
        self._stream = torch.cuda.Stream(step.device) if records else None
        self._pool = torch.cuda.graph_pool_handle() if records else None
        for i, group in enumerate(optimizer.param_groups):
            group["lr"] = self._numbers[i]
        if step.device.type == "cuda":
            fuse(optimizer, capturable=True)
            optimizer._warned_capturable_if_run_uncaptured = True  # true for the first updates

    def set_rates(self, rates: list[float]) -> None:
        """Set the learning rates of an update that is not replayed."""
        self._numbers[: len(rates)].copy_(torch.tensor(rates), non_blocking=True)

    @property
    def reasons(self) -> list[str]:
        """The distinct reasons why some updates are not replayed."""
        return list(self._reasons)

    def update(
        self,
        batch: tuple[Any, ...],
        rates: list[float],
        now: Update,
        phases: tuple[Phase, ...],
        again: bool = False,
    ) -> bool:
        """Perform an update, unless it is the first of its kind or cannot be replayed.

        Args:
            batch: source, target, and the inputs as changed by the adaptation.
            rates: learning rates of the optimizer's groups.
            now: progress of training.
            phases: phases of the update.
            again: whether only the batch can have changed since the last update.

        Returns:
            Whether the update was performed.
        """
        tensors = list(_tensors(batch))
        if again and self._last is not None and self._last.fits(batch, tensors, phases):
            self._replay(self._last, tensors, rates, now)
            self._step.count_updates(len(phases))
            return True
        self._last = None
        kind = (_shape(batch), phases, *self._modes())
        if kind not in self._recordings:
            if self._rare < _RARE:
                self._admit(kind)
            return False
        recording = self._recordings[kind]
        if isinstance(recording, str):
            return False
        if recording is None:
            self._try(kind, batch, rates, now, phases)
        else:
            self._replay(recording, tensors, rates, now)
            self._last = recording
        self._step.count_updates(len(phases))
        return True

    def read_into(self, means: Means) -> None:
        """Add the sums of all logged quantities to means, and reset them."""
        for recording in self._recordings.values():
            if isinstance(recording, Recording):
                recording.read_into(means)

    def _admit(self, kind: Any) -> None:
        """Make room for another kind of updates; after too many rare ones, keep the present ones instead."""
        while len(self._recordings) >= _KEPT:
            self._forget(next(iter(self._recordings)))
        self._recordings[kind] = None
        if self._rare == _RARE:
            self._object(f"updates are of too many kinds, most of which recur fewer than {_WORTH} times")

    def _forget(self, kind: Any) -> None:
        recording = self._recordings.pop(kind)
        replays = 0
        if isinstance(recording, Recording):
            recording.read_into(self._step.means)
            replays = recording.replays
        self._rare = 0 if replays >= _WORTH else self._rare + 1

    def _object(self, reason: str) -> None:
        """State once why updates are not replayed."""
        if reason not in self._reasons:
            self._reasons.append(reason)
            self._say(f"update.graph: these updates are not replayed: {reason}")

    def _modes(self) -> tuple[Any, ...]:
        learning = tuple(parameter.requires_grad for parameter in self._parameters)
        return self._step.replay_key(), tuple(module.training for module in self._modules), learning

    # ------------------------------------------------------------------ running, recording, replaying

    def _try(
        self, kind: Any, batch: tuple[Any, ...], rates: list[float], now: Update, phases: tuple[Phase, ...]
    ) -> None:
        """Perform an update with the code that is to be replayed, and check whether it can be replayed."""
        static = _rebuilt(batch, lambda tensor: tensor.detach().clone(memory_format=torch.preserve_format))
        recording = Recording(static, phases, self._numbers, len(rates))
        self.set_rates(rates)
        with self._beside(), _watched(recording) if self._records else nullcontext():
            self._run(recording, now)
        recording.updates += 1
        if recording.objections and any(isinstance(part, Deferred) for part in batch):
            # perhaps the batch is cut in a way that cannot be replayed, and the rest of the update can
            recording.read_into(self._step.means)
            del self._recordings[kind]
            self._step.cuts_before = True
            self._step.defer_batches(False)
        elif recording.objections:
            recording.read_into(self._step.means)
            self._recordings[kind] = recording.objections[0]
            self._object(recording.objections[0])
        else:
            self._recordings[kind] = recording

    def _replay(self, recording: Recording, tensors: list[Tensor], rates: list[float], now: Update) -> None:
        recording.fill(tensors, rates, now, self._step.stream_seed)
        if not self._records:
            self._run(recording, now)
        else:
            if recording.graph is None:
                recording.graph = self._record(recording, now)
            recording.graph.replay()
        recording.updates += 1
        recording.replays += 1

    def _run(self, recording: Recording, now: Update) -> list[str]:
        recording.begin()
        if torch.is_autocast_enabled(self._numbers.device.type):
            torch.clear_autocast_cache()  # cached casts refer to other memory
        self._step.recording = recording
        try:
            source, target = (Deferred.cut(part) for part in recording.batch[:2])
            self._step.make_update(source, target, LiveUpdate(now, recording), recording.phases, self._optimizer)
        finally:
            self._step.recording = None
        return recording.sum_up()

    def _record(self, recording: Recording, now: Update) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for generator in recording.generators():
            graph.register_generator_state(generator)
        torch.cuda.synchronize()
        collects = gc.isenabled()
        gc.disable()  # no memory may be freed during recording
        try:
            with self._beside():
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    names = self._run(recording, now)
                finally:
                    graph.capture_end()
        finally:
            if collects:
                gc.enable()
        assert names == recording.names, "an update logs the same quantities in each replay"
        return graph

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """Run on a separate stream, as recording requires."""
        if self._stream is None:
            yield
            return
        before = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(before)
        with torch.cuda.stream(self._stream):
            yield
        before.wait_stream(self._stream)


def obstacle(step: "Step", trainer: pl.Trainer) -> str | None:
    """Return the reason why a run cannot replay any of its updates; None if it can.

    Args:
        step: the training step.
        trainer: trainer of the run; the optimizer is checked if the trainer already has one.
    """
    if trainer.strategy.root_device.type != "cuda":
        return f"the run uses the {trainer.strategy.root_device.type}"
    if step.graph == "auto" and step.not_seen is not None:
        return step.not_seen
    if trainer.world_size > 1 or isinstance(trainer.strategy, ParallelStrategy):
        return "processes exchange gradients"
    if trainer.precision not in ("32-true", "bf16-mixed"):
        return f"trainer.precision={trainer.precision}"
    if step.accumulate_batches > 1:
        return "gradients are accumulated over batches"
    if trainer._detect_anomaly:
        return "trainer.detect_anomaly=true checks each operation"
    for optimizer in trainer.optimizers:
        if not isinstance(optimizer, SGD) and not all("capturable" in group for group in optimizer.param_groups):
            return f"{type(optimizer).__name__} computes with numbers on the CPU"
        if len(optimizer.param_groups) > _NUMBERS // 2:
            return f"the optimizer has {len(optimizer.param_groups)} groups"
    callback = acts_within_updates(trainer)
    return None if callback is None else f"the callback {callback} acts within updates"


def acts_within_updates(trainer: pl.Trainer) -> str | None:
    """Return the class of a callback that is called between objective and optimizer step; None without one."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        # a LambdaCallback has hooks of its own
        own = {hook: getattr(getattr(callback, hook), "__func__", None) for hook in _HOOKS}
        if any(function is not getattr(Callback, hook) for hook, function in own.items()):
            return type(callback).__name__
    return None


def describe(step: "Step", trainer: pl.Trainer) -> str:
    """Return the banner's description of how updates run on a GPU."""
    if not step.graph:
        return "one kernel after the other (update.graph=false)"
    if (reason := obstacle(step, trainer)) is not None:
        return f"one kernel after the other: {reason}"
    return "replayed as graphs, except for the first two of each kind"


@contextmanager
def _watched(recording: Recording) -> Iterator[None]:
    """Record operations that wait for the GPU or draw on the CPU, because such code cannot be part of a graph."""
    before, drawn = torch.cuda.get_sync_debug_mode(), _state_on_the_cpu()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)
    if _state_on_the_cpu() != drawn:
        recording.object_to("random numbers are drawn on the CPU, which would be the same in each replay")
    for one in caught:
        if "called a synchronizing" in str(one.message):
            recording.object_to(f"{_place(one.filename)}, line {one.lineno}, waits for the GPU")
        elif "deterministic" not in str(one.message) and "Synchronization debug mode" not in str(one.message):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def _state_on_the_cpu() -> tuple[Any, ...]:
    """Return the states of the CPU's shared random generators; equal if nothing was drawn in between."""
    numpys: Any = np.random.get_state(legacy=False)["state"]  # noqa: NPY002, of libraries that draw from it
    return random.getstate(), bytes(numpys["key"]), numpys["pos"], bytes(torch.get_rng_state().numpy())


def _place(filename: str) -> str:
    parts = filename.split("/")
    return "/".join(parts[parts.index("tl_lab") :]) if "tl_lab" in parts else "/".join(parts[-2:])


def _shape(tree: Any) -> Any:
    """Describe the structure of a batch; batches with the same description are interchangeable."""
    if isinstance(tree, Tensor):
        return tree.shape, tree.dtype, tree.stride()
    if isinstance(tree, Mapping):
        return tuple((name, _shape(value)) for name, value in tree.items())
    if isinstance(tree, tuple):
        return type(tree), tuple(_shape(value) for value in tree)
    return tree


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _tensors(value)
    elif isinstance(tree, tuple):
        for value in tree:
            yield from _tensors(value)


def _rebuilt(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, Mapping):
        return {name: _rebuilt(value, change) for name, value in tree.items()}
    if isinstance(tree, tuple):
        values = [_rebuilt(value, change) for value in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else tuple(values)
    return tree
