"""Speed on texts: a fine-tuning step of MiniLM, tokenising SST-2 once, and cached features.

    TL_LAB_DATA=<data sets> uv run python benchmarks/text_speed.py [--repeats 3] [--labels 160]

Fine-tuning: the frame, a loop by hand over the same batches of similar lengths, and the Trainer of transformers on the
same sentences with its default batches (random ones, each padded to its longest text), in turn. CPU time of one thread.
Writes docs/results/text_speed.json.
"""

import argparse
import copy
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, cast

import torch
from quiet import Stopwatch, quiet_trainer
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

from tl_lab.backbones.packaged import packaged
from tl_lab.config import compose
from tl_lab.data.cache import CACHE_VARIABLE
from tl_lab.data.inputs.operations import take
from tl_lab.data.inputs.texts import Texts
from tl_lab.results.folder.files import write_json
from tl_lab.run.build import Parts, build
from tl_lab.run.plan import Plan

BATCH, RATE = 16, 1e-4
CACHE = {"true": "cached", "false": "every_step"}
TUNED = ["strategy=fine_tuning", "optimizer=adamw", f"optimizer.lr={RATE}", "strategy.layers.backbone_lr=1.0"]


def parts_of(labels: int, *overrides: str) -> Parts:
    """Build data and strategy as a run would."""
    shared = ["data=sst2", "backbone=hf_text", "strategy.bottleneck=null", "scheduler=constant"]
    return build(Plan.of(compose([*shared, f"data.labels={labels}", f"data.batch_size={BATCH}", *overrides])))


def through_the_frame(parts: Parts, epochs: int = 1) -> float:
    """Train; CPU seconds of the last epoch."""
    watch = Stopwatch()
    quiet_trainer(epochs, callbacks=[watch], limit_val_batches=0, log_every_n_steps=10).fit(
        parts.strategy, datamodule=parts.data
    )
    return watch.cpu_s


def _second_epoch(parts: Parts) -> float:
    """CPU seconds of an epoch before which the features, if they are kept, have been computed."""
    return through_the_frame(copy.deepcopy(parts), epochs=2)


def by_hand(parts: Parts) -> float:
    """Train for an epoch on the same batches without any frame; CPU seconds."""
    network, data = parts.strategy.network.train(), parts.data
    batches = data.train_loader(data.primary)  # the frame's: shuffled, of similar lengths
    samples = data.sets[data.primary]
    assert samples.y is not None
    assert data.spec is not None
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    steps = 0
    began = time.process_time()
    for index in batches.order.epoch(0):
        steps += 1
        x = data.spec.shorten(take(cast(Any, samples.x), index))
        loss = F.cross_entropy(network(x), samples.y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seconds = time.process_time() - began
    assert steps == len(samples) // BATCH, steps
    return seconds


class _Epoch(TrainerCallback):
    """CPU time of an epoch's steps."""

    seconds = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Start."""
        self.seconds = -time.process_time()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        """Stop."""
        self.seconds += time.process_time()


def through_transformers(parts: Parts) -> float:
    """Train for an epoch on the same sentences by the Trainer of transformers; CPU seconds."""
    samples = parts.data.sets[parts.data.primary]
    assert samples.y is not None
    x = cast(dict[str, torch.Tensor], samples.x)
    lengths = x["mask"].sum(1).tolist()
    rows = [
        {"input_ids": ids[:length], "attention_mask": [1] * length, "labels": label}
        for ids, length, label in zip(x["ids"].tolist(), lengths, samples.y.tolist(), strict=True)
    ]
    # DataCollatorWithPadding, the Trainer's default where it knows a tokeniser, without one
    pad = functools.partial(_padded, padding_id=cast(Any, parts.data.spec).padding_id)
    model = AutoModelForSequenceClassification.from_pretrained(
        packaged("minilm").locate()["model/config.json"].parent, num_labels=2
    )
    with tempfile.TemporaryDirectory() as folder:
        options = TrainingArguments(
            folder, num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=RATE, weight_decay=0.01,
            max_grad_norm=0.0, lr_scheduler_type="constant", optim="adamw_torch", use_cpu=True, save_strategy="no",
            report_to=[], disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        watch = _Epoch()
        Trainer(model, options, data_collator=pad, train_dataset=cast(Any, rows), callbacks=[watch]).train()
    return watch.seconds


def _padded(rows: list[dict[str, Any]], padding_id: int) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)

    def filled(name: str, value: int) -> torch.Tensor:
        return torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in rows])

    labels = torch.tensor([row["labels"] for row in rows])
    return {
        "input_ids": filled("input_ids", padding_id),
        "attention_mask": filled("attention_mask", 0),
        "labels": labels,
    }


def in_turn(sides: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Let the sides take turns, in another order each time; seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(sides[name]())
            print(turn, name, seconds[name][-1], flush=True)
    return seconds


def compared(seconds: dict[str, list[float]], above: str, below: str) -> dict[str, float]:
    """Divide the times of one side by another's, turn by turn."""
    ratios = [one / other for one, other in zip(seconds[above], seconds[below], strict=True)]
    times = {f"{name}_s": statistics.median(seconds[name]) for name in (above, below)}
    return {"ratio": statistics.median(ratios), "min": min(ratios), "max": max(ratios), **times}


def tokenising() -> dict[str, float]:
    """Tokenise all of SST-2, and read the tokens from the cache."""
    parts = parts_of(BATCH, "strategy=feature_extraction")
    cfg = compose(["data=sst2", "backbone=hf_text"])
    data: Any = Plan.of(cfg).data.build()
    sentences = Texts([text for samples in data.read().values() for text in samples.x.items])
    spec = cast(Any, parts.data.spec)
    times = []
    for _ in range(2):
        began = time.perf_counter(), time.process_time()
        sentences.load_all(spec)
        times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    (first_s, first_cpu_s), (again_s, _) = times
    return {"sentences": len(sentences), "first_s": first_s, "first_cpu_s": first_cpu_s, "again_s": again_s}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--labels", type=int, default=160)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ[CACHE_VARIABLE] = tempfile.mkdtemp()  # tokens and features of earlier runs would not be computed
    tuned = parts_of(options.labels, *TUNED)
    step = in_turn(
        {
            "frame": lambda: through_the_frame(copy.deepcopy(tuned)),
            "by_hand": lambda: by_hand(copy.deepcopy(tuned)),
            "transformers": lambda: through_transformers(tuned),
        },
        options.repeats,
    )
    sides = {name: parts_of(options.labels, "strategy=feature_extraction", f"strategy.cache={name}") for name in CACHE}
    features = in_turn(
        {title: functools.partial(_second_epoch, sides[name]) for name, title in CACHE.items()}, options.repeats
    )
    result = {
        "steps": options.labels // BATCH,
        "batch": BATCH,
        "repeats": options.repeats,
        "frame": compared(step, "frame", "by_hand"),
        "transformers": compared(step, "transformers", "frame"),
        "features": compared(features, "every_step", "cached"),
        "tokenising": tokenising(),
        "date": date.today().isoformat(),
        "torch": torch.__version__.split("+")[0],
    }
    print(result)
    write_json(Path(__file__).resolve().parent.parent / "docs" / "results" / "text_speed.json", result)


if __name__ == "__main__":
    main()
