"""Whole runs of :mod:`gpu`: every choice for two updates, its test and a prediction; time outside training; sweeps."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

__all__ = ["LEFT_OUT", "NOT_TRIED", "cases", "choices_run", "files", "outside_training", "sweeps"]

ROOT = Path(__file__).resolve().parent.parent
TINY = ["trainer.max_epochs=1", "trainer.limit_train_batches=6", "trainer.limit_val_batches=1", "threads=1"]
QUIET = ["trainer.limit_test_batches=1", "trainer.enable_progress_bar=false", "logger=none", "figures=false"]
QUIET += ["health=false"]  # it observes the last update of an epoch, which is then not replayed
PAIR = ["data.source_count=200", "data.source_test_count=50", "data.target_test_count=1600", "data.batch_size=8"]
NONE = "domain_adaptation=none"
EPISODES = ["data=episodes_of", "data.train.way=3", "data.test_episodes=4", "data.val_episodes=4", NONE]
STREAM = ["data=permuted_digits", "data.num_tasks=2", "data.batch_size=8", NONE]
LEFT_OUT = {
    "trainer=cpu": "is no GPU",
    "trainer=ddp_cpu": "is no GPU",
    "data=support_query": "lists for scoring, from which nothing is trained",
}
"""Choices that are not run, with the reason."""


def _backbones(own: dict[str, list[str]]) -> dict[str, list[str]]:
    """Give the overrides of backbones: small sizes, random weights, and data of their kind."""
    texts, audio = _data_of("text_table", own), _data_of("audio_folder", own)
    given = {
        "mlp": ["backbone.hidden=[16]", *PAIR],
        "lenet": PAIR,
        "conv4": ["backbone.width=8", *PAIR],
        "timm": ["backbone.name=test_resnet", "backbone.resize_to=[32,32]", *PAIR],
        "torchvision": ["backbone.name=squeezenet1_1", "backbone.resize_to=[48,48]", *PAIR],
        "squeezenet1_0": ["backbone.pretrained=false", "backbone.resize_to=[48,48]", *PAIR],
        "clip": ["strategy=fine_tuning", *PAIR],
        "hf_words": _data_of("squad", own),
        "layout_text": _data_of("receipts", own),
        "ft_transformer": ["backbone.width=16", "backbone.heads=2", *_data_of("table", own)],
        **dict.fromkeys(("hf_text", "hf_causal", "lstm", "text_cnn", "word_vectors"), texts),
        **dict.fromkeys(("audio_cnn", "whisper", "wav2vec2"), audio),
    }
    for size in range(3):
        given[f"efficientnet_lite{size}"] = ["backbone.pretrained=false", "backbone.resize_to=[32,32]", *PAIR]
    return {name: [*own.get(f"backbone={name}", []), *options] for name, options in given.items()}


def _strategies(own: dict[str, list[str]]) -> dict[str, list[str]]:
    """Give the overrides of strategies that learn from data of their own."""
    encoder = ["backbone=hf_text", *own["backbone=hf_text"]]
    texts = _data_of("text_table", own)
    return {
        "adapter_tuning": [*encoder, *texts],
        "distillation": [f"strategy.teacher={own['teacher'][0]}", *encoder, *texts],
        "multi_task": [*encoder, *_data_of("tasks_of_table", own)],
        "pretraining": ["data=digits", "data.batch_size=8", NONE],
        "prompting": ["backbone=hf_causal", *own["backbone=hf_causal"], *texts],
        "setfit": [*encoder, *texts],
        "zero_shot": [*encoder, *texts],
    }


def _data_of(name: str, own: dict[str, list[str]]) -> list[str]:
    return [f"data={name}", *own[f"data={name}"], "data.batch_size=4", NONE]


def files(folder: Path, write: bool = True) -> dict[str, list[str]]:
    """Write small data and random encoders, and give the overrides that name them: ``data=...``, ``backbone=...``."""
    from own_files import encoders, files_of_ones_own, write_encoders

    if write:
        write_encoders(folder)
    data = {f"data={name}": options for name, options in files_of_ones_own(folder, write).items()}
    backbones = {f"backbone={name}": options for name, options in encoders(folder).items()}
    return {**data, **backbones, "teacher": [str(folder / "bert")]}


def cases(trainer: str, own: dict[str, list[str]]) -> dict[str, list[str]]:
    """Give the overrides of a tiny run for every choice of a group, and for each way to train on a GPU.

    Args:
        trainer: the choice that runs them.
        own: overrides that name the files of :func:`files`.
    """
    from hydra.utils import get_class

    from tl_lab.config import choices, compose
    from tl_lab.config.nodes import read_node

    found: dict[str, list[str]] = {}
    special, backbones = _strategies(own), _backbones(own)
    for name, file in choices("strategy")["strategy"].items():
        kind: Any = get_class(read_node(file)["_target_"])
        usual = EPISODES if "episodes" in kind.needs else STREAM if "tasks" in kind.needs else None
        found[f"strategy={name}"] = special.get(name) or usual or ["strategy.bottleneck=8", *PAIR]
    for name in choices("domain_adaptation")["domain_adaptation"]:
        found[f"domain_adaptation={name}"] = PAIR
    for name in choices("backbone")["backbone"]:
        found[f"backbone={name}"] = backbones.get(name, PAIR)
    for group in ("optimizer", "scheduler", "augmentation", "callbacks", "adapter"):
        for name in choices(group)[group]:
            if group == "adapter" and name not in ("none", "bitfit", "norm_only"):  # of transformers
                found[f"{group}={name}"] = ["strategy=fine_tuning", "backbone=hf_text", *backbones["hf_text"]]
                continue
            tuned = ["strategy=fine_tuning"] if group == "adapter" else []
            found[f"{group}={name}"] = ["backbone.batch_norm=true", *tuned, *PAIR]
    found["augmentation=texts"] = ["backbone=hf_text", *backbones["hf_text"]]
    for name, file in choices("data")["data"].items():
        files_of_data = own.get(f"data={name}", [])
        node = compose([f"data={name}", *files_of_data]).data
        backbone = _own_backbone(Path(file), own)
        found[f"data={name}"] = [*files_of_data, "data.batch_size=4", *backbone, *_learner(node)]
    for name in choices("validator")["validator"]:
        found[f"validator={name}"] = [f"validator=[{name}]", *PAIR]
    found |= {f"trainer={name}": PAIR for name in ("ddp", "fsdp", "gpu") if trainer == "gpu"}
    for option in ("trainer.precision=bf16-mixed", "trainer.precision=16-mixed", "trainer.precision=64-true"):
        found[option] = PAIR
    found["precision_of_matmul=high"] = ["precision_of_matmul=high", *PAIR]
    found["update.compile=true"] = PAIR
    return {name: options for name, options in found.items() if name not in LEFT_OUT}


def _own_backbone(file: Path, own: dict[str, list[str]]) -> list[str]:
    """Replace the backbone that a file of data names, if it needs published weights, by one of own files."""
    from tl_lab.config.natural import declared

    header = file.read_text(encoding="utf-8").splitlines()[0]
    backbone = "backbone=" + declared(header.removeprefix("# @natural ")).get("backbone", "")
    return [backbone, *own[backbone]] if backbone in own else []


def _learner(node: Any) -> list[str]:
    """Choose a strategy that learns from data."""
    from tl_lab.config.instantiate import class_of

    kind: Any = class_of(node)
    traits = kind.traits_for(node)
    if "episodes" in traits:
        return ["strategy=prototypical"]
    if "several tasks" in traits:
        return ["strategy=multi_task"]
    return ["strategy=naive"] if "tasks" in traits else []


@dataclass
class _Seen:
    """What a run did: its replayed updates, and its learned weights before and after, ``(P,)`` on the CPU."""

    replays: int = 0
    start: Any = None
    end: Any = None

    def apart_from(self, plain: "_Seen") -> float | None:
        """Distance of the weights of two runs, as a share of the distance that training moved them; None without."""
        given = (self.start, self.end, plain.start, plain.end)
        if any(one is None or one.shape != given[0].shape for one in given):
            return None  # nothing was trained, or parameters were added during training
        moved = float((plain.end - plain.start).norm())
        return float((self.end - plain.end).norm()) / moved if moved else None


@contextmanager
def _observed() -> Iterator[_Seen]:
    """Count the replays of a run in this process, and keep its weights before and after."""
    import torch

    from tl_lab.strategies.base import Strategy
    from tl_lab.training.replay import Replayer

    seen, replay = _Seen(), Replayer._replay
    began, ended = Strategy.on_train_start, Strategy.on_train_end

    def weights(step: Any) -> Any:
        return torch.cat([one.detach().double().cpu().flatten() for one in step.parameters()] or [torch.empty(0)])

    def counted(self: Any, *given: Any, **options: Any) -> Any:
        seen.replays += 1
        return replay(self, *given, **options)

    def start(self: Any) -> None:
        seen.start = weights(self)
        began(self)

    def end(self: Any) -> None:
        seen.end = weights(self)
        ended(self)

    with (
        patch.object(Replayer, "_replay", counted),
        patch.object(Strategy, "on_train_start", start),
        patch.object(Strategy, "on_train_end", end),
    ):
        yield seen


def _one(name: str, options: Sequence[str], trainer: str, folder: str) -> dict[str, Any]:
    """Run one case in this process."""
    import warnings

    import torch

    from tl_lab.cli.train import main
    from tl_lab.run.inference import load

    warnings.simplefilter("ignore")
    where = Path(folder) / name.replace("=", "-")
    own = [name] if not name.startswith("validator=") else []
    base = [] if name.startswith("trainer=") else [f"trainer={trainer}"]
    began = time.monotonic()
    found: dict[str, Any] = {}
    plain: _Seen | None = None
    for graph in (False, True) if trainer == "gpu" else (False,):
        run = where / str(graph)
        given = [*base, *TINY, *QUIET, *options, *own, f"update.graph={str(graph).lower()}", f"hydra.run.dir={run}"]
        try:
            with _observed() as seen:
                main(list(dict.fromkeys(given)))
            results = json.loads((run / "results.json").read_text())
            found["graph" if graph else "plain"] = results["status"]
            found["loss" if not graph else "graph_loss"] = next(
                (value for key, value in sorted(results["metrics"].items()) if key.endswith("/loss")), None
            )
            if graph:
                found["replays"] = seen.replays
                if plain is not None and (apart := seen.apart_from(plain)) is not None:
                    found["apart"] = apart
            else:
                plain = seen
                found["predicts"] = _predicts(load, run, torch)
        except SystemExit:
            found["graph" if graph else "plain"] = _reason(run)
        except Exception as error:
            found["graph" if graph else "plain"] = f"{type(error).__name__}: {error}"[:300]
    return {**found, "seconds": round(time.monotonic() - began, 1)}


def _reason(folder: Path) -> str:
    path = folder / "results.json"
    return str(json.loads(path.read_text()).get("error", "exit"))[-300:] if path.exists() else "refused"


def _predicts(load: Any, run: Path, torch: Any) -> bool | str:
    from tl_lab.errors import UserError

    try:
        model = load(run)
    except UserError as error:  # of episodes, of permuted pixels: nothing of the kind can be labelled
        return str(error).removeprefix(str(run))
    if getattr(model, "spec", None) is None or model.spec.modality != "image" or not model.shape:
        return True
    try:
        answer = model.predict(torch.rand(3, *model.shape))
    except UserError as error:  # of a model that classifies by examples
        return str(error)
    return len(answer.labels) == 3


NOT_TRIED = "not tried: no time was left"


def choices_run(
    trainer: str, workers: int, only: str = "", until: float | None = None, last: Collection[str] = ()
) -> dict[str, Any]:
    """Run every case, several at once, in processes of their own.

    Args:
        trainer: the choice that runs them.
        workers: processes at once.
        only: part of the names of the cases to run.
        until: reading of the monotonic clock after which no further case starts; None for no limit.
        last: cases to run after all others: those that are known to complete.
    """
    found: dict[str, Any] = {}
    with (
        TemporaryDirectory() as folder,
        ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        every = cases(trainer, files(Path(folder)))
        wanted = {name: every[name] for name in sorted(every, key=lambda name: name in last) if only in name}
        running = {pool.submit(_one, name, options, trainer, folder): name for name, options in wanted.items()}
        for done in as_completed(running):
            name = running[done]
            if until is not None and time.monotonic() > until:
                for other in running:
                    other.cancel()  # those that have not started
            if done.cancelled():
                found[name] = {"plain": NOT_TRIED}
                continue
            try:
                found[name] = done.result()
            except Exception as error:  # a worker that died
                found[name] = {"plain": f"{type(error).__name__}: {error}"}
    return dict(sorted(found.items()))


_TIMED = """
import sys, time
began = float(sys.argv.pop(1))
import tl_lab.cli.train as train
marks = {"imports of the command line": time.time() - began}
import pytorch_lightning as pl
marks["Lightning is imported"] = time.time() - began
fit, test = pl.Trainer.fit, pl.Trainer.test
def timed(name, call):
    def run(*a, **k):
        t = time.time(); marks.setdefault(name + " starts at", t - began)
        try: return call(*a, **k)
        finally: marks[name] = marks.get(name, 0) + time.time() - t
    return run
pl.Trainer.fit, pl.Trainer.test = timed("fit", fit), timed("test", test)
epoch = pl.loops.training_epoch_loop._TrainingEpochLoop.advance
steps = [0.0]
def advance(self, *a, **k):
    t = time.perf_counter()
    try: return epoch(self, *a, **k)
    finally: steps[0] += time.perf_counter() - t
pl.loops.training_epoch_loop._TrainingEpochLoop.advance = advance
train.main(sys.argv[1:])
marks["training batches"] = steps[0]
marks["whole"] = time.time() - began
import json; print("MARKS " + json.dumps(marks))
"""


def outside_training(trainer: str, *options: str) -> dict[str, Any]:
    """Run the main job as a program of its own; seconds from its start to each mark."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _TIMED, str(time.time()), f"trainer={trainer}", "logger=none", *options]
        ended = subprocess.run(
            [*command, f"hydra.run.dir={folder}/run"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    lines = [line for line in ended.stdout.splitlines() if line.startswith("MARKS ")]
    if not lines:
        return {"error": (ended.stdout + ended.stderr)[-500:]}
    marks = json.loads(lines[0].removeprefix("MARKS "))
    marks["outside training"] = marks["whole"] - marks["training batches"]
    return {name: round(value, 2) for name, value in marks.items()}


def sweeps(trainer: str, runs: int, jobs: Sequence[int], *options: str) -> dict[str, Any]:
    """Time a sweep over seeds with several jobs at once."""
    found: dict[str, Any] = {}
    for number in jobs:
        with TemporaryDirectory() as folder:
            command = [sys.executable, "train.py", "-m", f"trainer={trainer}", "logger=none"]
            given = [f"seed={','.join(map(str, range(runs)))}", f"hydra.launcher.jobs={number}"]
            began = time.monotonic()
            ended = subprocess.run(
                [*command, *given, *options, f"hydra.sweep.dir={folder}/sweep"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
            )
            seconds = time.monotonic() - began
        found[f"jobs={number}"] = {"seconds": round(seconds, 1), "runs_a_minute": round(60 * runs / seconds, 1)}
        if ended.returncode:
            found[f"jobs={number}"]["error"] = (ended.stdout + ended.stderr)[-400:]
    return found
