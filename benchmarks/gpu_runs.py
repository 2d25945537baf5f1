"""Whole runs of :mod:`gpu`: every choice for two updates, its test and a prediction; time outside training; sweeps."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

__all__ = ["choices_run", "outside_training", "sweeps"]

ROOT = Path(__file__).resolve().parent.parent
TINY = ["trainer.max_epochs=1", "trainer.limit_train_batches=3", "trainer.limit_val_batches=1", "threads=1"]
QUIET = ["trainer.limit_test_batches=1", "trainer.enable_progress_bar=false", "logger=none", "figures=false"]
PAIR = ["data.source_count=200", "data.source_test_count=50", "data.target_test_count=1600", "data.batch_size=8"]
NONE = "domain_adaptation=none"
EPISODES = ["data=episodes_of", "data.train.way=3", "data.test_episodes=4", "data.val_episodes=4", NONE]
STREAM = ["data=permuted_digits", "data.num_tasks=2", "data.batch_size=8", NONE]
BACKBONES = {
    "mlp": ["backbone.hidden=[16]"],
    "lenet": [],
    "conv4": ["backbone.width=8"],
    "timm": ["backbone.name=test_resnet", "backbone.resize_to=[32,32]"],
    "torchvision": ["backbone.name=squeezenet1_1", "backbone.resize_to=[48,48]"],
    "clip": ["backbone.pretrained=false"],
}
TEXTS = ["data=trec", "data.batch_size=8", "data.test_count=50", NONE]
AUDIO = ["data=spoken_digits", "data.batch_size=8", "data.test_count=50", NONE]
OTHER_BACKBONES = {  # beside images
    "hf_text": TEXTS,
    "hf_causal": ["data=sst2", "data.batch_size=4", "data.test_count=50", NONE],
    "hf_words": ["data=xquad", "data.batch_size=4", NONE],
    "layout_text": ["data=receipts", "data.batch_size=4", NONE],
    "lstm": TEXTS,
    "text_cnn": TEXTS,
    "word_vectors": TEXTS,
    "ft_transformer": ["data=compas", "data.batch_size=8", NONE],
    "audio_cnn": AUDIO,
    "whisper": AUDIO,
    "wav2vec2": AUDIO,
}
OTHER_STRATEGIES = {  # that learn from data of their own
    "adapter_tuning": ["backbone=hf_text", *TEXTS],
    "multi_task": ["data=tasks", "data.batch_size=8", NONE],
    "pretraining": ["data=digits", "data.batch_size=8", NONE],
    "prompting": ["data=sst2", "data.test_count=20", "backbone=hf_causal", NONE],
    "setfit": ["backbone=hf_text", *TEXTS],
    "zero_shot": ["data=sst2", "data.test_count=50", "backbone=hf_text", NONE],
}
WITH_A_RUN = frozenset({"distillation"})  # its teacher is another run


def cases(trainer: str) -> dict[str, list[str]]:
    """Give the overrides of a tiny run for every choice of a group, and for each way to train on a GPU."""
    from hydra.utils import get_class

    from tl_lab.config import choices, compose
    from tl_lab.config.nodes import read_node

    found: dict[str, list[str]] = {}
    for name, file in choices("strategy")["strategy"].items():
        kind: Any = get_class(read_node(file)["_target_"])
        if name in WITH_A_RUN:
            continue
        usual = EPISODES if "episodes" in kind.needs else STREAM if "tasks" in kind.needs else None
        data = OTHER_STRATEGIES.get(name) or usual or ["strategy.bottleneck=8", *PAIR]
        found[f"strategy={name}"] = data
    for name in choices("domain_adaptation")["domain_adaptation"]:
        found[f"domain_adaptation={name}"] = PAIR
    for name in choices("backbone")["backbone"]:
        found[f"backbone={name}"] = OTHER_BACKBONES.get(name) or [*BACKBONES.get(name, []), *PAIR]
    for group in ("optimizer", "scheduler", "augmentation", "callbacks", "adapter"):
        for name in choices(group)[group]:
            if group == "adapter" and name not in ("none", "bitfit", "norm_only"):  # of transformers
                found[f"{group}={name}"] = ["strategy=fine_tuning", "backbone=hf_text", *TEXTS]
                continue
            tuned = ["strategy=fine_tuning"] if group == "adapter" else []
            found[f"{group}={name}"] = ["backbone.batch_norm=true", *tuned, *PAIR]
    for name in choices("data")["data"]:
        node = compose([f"data={name}"]).data
        if not _names_a_place(node):
            found[f"data={name}"] = ["data.batch_size=8", *_learner(node)]
    for name in choices("validator")["validator"]:
        found[f"validator={name}"] = [f"validator=[{name}]", *PAIR]
    found |= {f"trainer={name}": PAIR for name in ("ddp", "fsdp", "gpu") if trainer == "gpu"}
    for option in ("trainer.precision=bf16-mixed", "trainer.precision=16-mixed", "trainer.precision=64-true"):
        found[option] = PAIR
    found["precision_of_matmul=high"] = ["precision_of_matmul=high", *PAIR]
    found["update.compile=true"] = PAIR
    return found


def _names_a_place(node: Any) -> bool:
    """Whether data are the user's own, in a file or folder that must be given."""
    module = str(node._target_).rpartition(".")[0].rpartition(".")[2]
    own = module in ("image_folder", "text_folder", "audio_folder", "webdataset", "support_query")
    return own or any(node.get(option, "") is None for option in ("path", "image_column"))


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
    for graph in (False, True) if trainer == "gpu" else (False,):
        run = where / str(graph)
        given = [*base, *TINY, *QUIET, *options, *own, f"update.graph={str(graph).lower()}", f"hydra.run.dir={run}"]
        try:
            main(list(dict.fromkeys(given)))
            results = json.loads((run / "results.json").read_text())
            found["graph" if graph else "plain"] = results["status"]
            found["loss" if not graph else "graph_loss"] = next(
                (value for key, value in sorted(results["metrics"].items()) if key.endswith("/loss")), None
            )
            if not graph:
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


def choices_run(trainer: str, workers: int, only: str = "") -> dict[str, Any]:
    """Run every case, several at once, in processes of their own."""
    found: dict[str, Any] = {}
    wanted = {name: options for name, options in cases(trainer).items() if only in name}
    with (
        TemporaryDirectory() as folder,
        ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        running = {pool.submit(_one, name, options, trainer, folder): name for name, options in wanted.items()}
        for done in as_completed(running):
            name = running[done]
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
