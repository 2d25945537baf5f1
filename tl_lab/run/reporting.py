"""Reports of a run: its facts, the banner at its start, the table and the hints at its end."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from tl_lab.commands import command, train
from tl_lab.config.catalogue import given_folders
from tl_lab.config.debug import is_trial, without_debug
from tl_lab.data.base import DataModule
from tl_lab.data.waiting import Waiting, is_large, per_cent
from tl_lab.results.folder.record import Record
from tl_lab.results.folder.references import known_reference
from tl_lab.results.names import duration
from tl_lab.results.screen import console
from tl_lab.run.build import Parts
from tl_lab.run.lengthening import lengthened_fact
from tl_lab.run.plan import Plan
from tl_lab.run.weights import describe_weights, weights_hash
from tl_lab.strategies.base import Strategy
from tl_lab.texts import counted
from tl_lab.training.replay import describe
from tl_lab.watching.validators.reverse import ReverseValidation

__all__ = ["banner_of", "data_wait", "facts_of", "report"]

_DEBUGGED = "one tiny run through all stages, whose numbers mean nothing"


def facts_of(plan: Plan, parts: Parts, trainer: pl.Trainer) -> dict[str, Any]:
    strategy, data = parts.strategy, parts.data
    return {
        "data_hash": data.fingerprint(),
        **({"content_hash": data.content_hash} if data.content_hash else {}),
        "problem": data.problem.described(),
        "sizes": {name: len(samples) for name, samples in data.sets.items()},
        "parameters": {
            "total": sum(parameter.numel() for parameter in strategy.parameters()),
            "trainable": sum(parameter.numel() for parameter in strategy.learned_parameters()),
        },
        **({"adapter": _adapter_size(strategy)} if strategy.adapter.changes_backbone else {}),
        "device": _device(trainer),
        "oracle": strategy.adaptation.oracle,
        "weights": {"from": describe_weights(plan), "sha256": weights_hash(plan)},
        "protocol": {
            **data.facts(),
            **strategy.facts(),
            **strategy.adapter.facts(),
            **strategy.adaptation.facts(),
            **_parallel_facts(plan, parts, trainer),
            **({"debug": _DEBUGGED} if plan.config.get("debug") else {}),
            **_rate_fact(plan),
            **lengthened_fact(plan.lengthened_from, plan.max_epochs),
            **({"settings": chosen} if (chosen := plan.sweep.chosen) else {}),
        },
    }


def _rate_fact(plan: Plan) -> dict[str, str]:
    if plan.found_rate is None:
        return {}
    return {"learning rate": f"{plan.found_rate:g}, chosen by a range test of this run's first updates"}


def _parallel_facts(plan: Plan, parts: Parts, trainer: pl.Trainer) -> dict[str, str]:
    """Report the differences between several processes and a single one."""
    if trainer.world_size == 1:
        return {}
    facts, modules, share = {}, list(parts.strategy.modules()), parts.data.batch_size // trainer.world_size
    normalises = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules)
    if normalises and not plan.trainer.option("sync_batchnorm"):
        facts["batch-norm statistics"] = f"over {share} samples, separately in each process"
    if any(isinstance(module, nn.Dropout) and module.p for module in modules):
        facts["dropout"] = "drawn separately in each process"
    if parts.data.augmentation is not None and parts.data.augmentation.active:
        facts["augmentation"] = "drawn separately in each process"
    if parts.strategy.adaptation.couples_samples:
        facts["the adaptation's loss compares"] = f"{share} samples of each domain"
    return facts


def _adapter_size(strategy: Strategy) -> dict[str, Any]:
    """Count the parameters of the adapter and their bytes on disk; name base weights that are not stored with it."""
    learned = strategy.learned_by_name(strategy.network.backbone).values()
    size = {
        "parameters": sum(parameter.numel() for parameter in learned),
        "bytes": sum(parameter.numel() * parameter.element_size() for parameter in learned),
    }
    return {**size, "base": None if strategy.base is None else strategy.base.state()}


def _adapter_line(strategy: Strategy, size: dict[str, Any]) -> str:
    where = f"; base not stored: {strategy.base.source}" if strategy.base else "; base stored in the checkpoints"
    number, count = size["bytes"], size["parameters"]
    disk = f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.1f} kB"
    return f"{strategy.adapter.describe()}: {count:,} parameters, {disk} on disk{where}"


def banner_of(plan: Plan, folder: Path, parts: Parts, facts: dict[str, Any], trainer: pl.Trainer) -> dict[str, Any]:
    network, adapter = parts.strategy.network, parts.strategy.adapter
    return {
        "chosen": [] if plan.resumes else list(plan.reasons),
        "data": parts.data.describe_sizes(),
        "prepared": "; ".join(parts.data.notes),
        "backbone": f"{type(network.backbone).__name__}, {network.backbone.extra_repr()}",
        "weights": describe_weights(plan),
        "parameters": facts["parameters"],
        "layers": parts.strategy.describe_layers(),
        **({"adapter": _adapter_line(parts.strategy, facts["adapter"])} if adapter.changes_backbone else {}),
        "adaptation": f"{type(parts.strategy.adaptation).__name__}({parts.strategy.adaptation.extra_repr()})",
        "device": f"{facts['device']}, {counted(plan.threads, 'thread')}",
        **({"updates": describe(parts.strategy, trainer)} if trainer.strategy.root_device.type == "cuda" else {}),
        **({"length": f"{plan.max_updates:,} updates, {trainer.max_epochs} epochs"} if plan.max_updates else {}),
        **({"rate": f"{plan.found_rate:g}, chosen by a range test"} if plan.found_rate else {}),
        "seed": plan.seed,
        "folder": folder,
    }


def _device(trainer: pl.Trainer) -> str:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return name if trainer.world_size == 1 else f"{trainer.world_size} x {name}"


def data_wait(data: DataModule) -> dict[str, Any]:
    """Report how long training waited for data that were read during training; nothing for data in memory."""
    waiting = data.waiting
    if waiting.share is None or not data.read_as_needed:
        return {}
    text = waiting.report(data.workers, _cores())
    return {"data_wait": {"share": waiting.share, "seconds": waiting.seconds, "workers": data.workers, "said": text}}


def _cores() -> int:
    """Return the number of cores available to this process; all of the machine where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def report(plan: Plan, folder: Path, record: Record, waiting: Waiting | None = None) -> None:
    """Print the results of a completed run.

    Args:
        plan: of the run.
        folder: of the run.
        record: of its results.
        waiting: the time that training waited for its batches; None if nothing was trained now.
    """
    content = record.content
    reference = known_reference(content, folder)
    protocol = dict(content["protocol"])
    if reference is not None:
        protocol["source-only reference"] = reference.origin
    protocol["time"] = _time_line(content, waiting)
    console.final_table(
        content["metrics"],
        reference=None if reference is None else reference.accuracies(),
        seed=content["seed"],
        tested_checkpoint=content["tested_checkpoint"],
        protocol=protocol,
    )
    if content.get("findings"):
        console.findings(content["findings"])
    for text in content.get("doubts") or ():
        console.say(f"Doubtful: {text}.")
    if content.get("few_updates"):
        console.say(f"Few updates: {content['few_updates']}.")
    wait = content.get("data_wait")
    if wait and is_large(wait["share"]):
        console.say(f"{wait['said']}.")
    if content.get("health"):
        console.health(content["health"])
    if (forgotten := content.get("forgetting") or {}) and "after" in forgotten:
        console.forgetting(forgotten)
    if len({row["epoch"] for row in content.get("selection") or ()}) > 1:
        console.selection(content["selection"])
    if (score := content["metrics"].get(ReverseValidation.metric)) is not None:
        console.say(f"Reverse validation: accuracy {100 * score:.1f} % of the reverse classifier, for comparing runs.")
    if not plan.sweep.part:  # a sweep prints its own report at the end
        console.next_steps(folder, _hints(plan, folder))


def _time_line(content: Mapping[str, Any], waiting: Waiting | None) -> str:
    """Format the duration of a run, and the share of its training that was spent waiting for batches."""
    share = (content.get("data_wait") or {}).get("share") if waiting is None else waiting.share
    spent = duration(float(content["duration_s"]))
    return spent if share is None else f"{spent}; data-bound: {per_cent(share)} of training"


def _hints(plan: Plan, folder: Path) -> list[tuple[str, str]]:
    """Suggest next steps, as commands that can be copied."""
    outside = [word for one in given_folders() for word in ("--config-dir", str(one))]
    hints = [("methods and data", command("list", *outside))]
    if plan.data.kind.labels_new_samples:
        which = ["--task", "1"] if plan.data.option("scenario") == "task" else []
        what, example = _samples(plan)
        hints.insert(0, (f"label {what} of your own", command("predict", str(folder), example, *which, *outside)))
    asked = without_debug(plan.overrides)
    if is_trial(plan.overrides):
        hints.insert(0, ("the whole run", train(*outside, *asked)))
    if not plan.adaptation.kind.needs_target or plan.resumes:
        return hints
    given = [text for text in asked if not text.startswith("seed=")]
    others = [text for text in given if not text.startswith("domain_adaptation")]
    seeds = "seed=0,1,2,3,4"
    plain = train(*outside, "domain_adaptation=none", f"seed={plan.seed}", *others)
    place = 1 if is_trial(plan.overrides) else 0
    hints.insert(place, ("the same without adaptation", plain))
    if any(text.startswith("domain_adaptation.") for text in given):
        hints.insert(place + 1, ("this run over five seeds", train(*outside, "-m", seeds, *given)))
    else:
        compared = f"domain_adaptation=none,{plan.adaptation.choice}"
        hints.insert(place + 1, ("a comparison over five seeds", train(*outside, "-m", compared, seeds, *others)))
    return hints


def _samples(plan: Plan) -> tuple[str, str]:
    """Name the inputs of such a model, and an example path."""
    rows = {"vector": "samples", "table": "rows", "text": "texts"}
    modality = plan.data.kind.modality_for(plan.data.node)
    if modality == "tokens_with_boxes":
        return "recognised pages", "new_pages.tsv"
    if modality == "passage":
        return "questions", "new_questions.json"
    if modality == "audio":
        return "recordings", "new_recordings"
    return (rows[modality], f"new_{rows[modality]}.csv") if modality in rows else ("images", "new_images")
