"""One run, from its configuration to its results: the only module that combines all parts."""

import contextlib
import dataclasses
import logging
import math
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from tl_lab.config import comparison_key, config_hash, raise_if_wrong, to_plain
from tl_lab.config.catalogue import given_folders
from tl_lab.config.debug import is_trial
from tl_lab.data.base import DataModule
from tl_lab.data.names import SetName
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.scenarios.inner import expand
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.errors import UserError, nearest
from tl_lab.results.folder.files import remove_leftovers, write_text
from tl_lab.results.folder.lock import held
from tl_lab.results.folder.metrics_csv import MetricsCsv
from tl_lab.results.folder.record import Record
from tl_lab.results.folder.references import known_reference
from tl_lab.results.folder.screening_csv import write_screening
from tl_lab.results.folder.selection import read_rows, selection
from tl_lab.results.screen import console
from tl_lab.run.allocator import keep_freed_memory
from tl_lab.run.build import Parts, build, build_strategy
from tl_lab.run.checkpoints import is_trained, last_checkpoint, read_checkpoint, restore_problem
from tl_lab.run.data_identity import RESTART, check_beside, forget, has_changed, use_places
from tl_lab.run.figures import draw_figures
from tl_lab.run.forgetting import Forgetting, watched_task
from tl_lab.run.mishaps import explained
from tl_lab.run.pairing import check_length, check_pairing, check_protocol
from tl_lab.run.parallel import synchronise_batch_norm
from tl_lab.run.plan import Plan
from tl_lab.run.rate_finding import check_rate_finding, with_found_rate
from tl_lab.run.reporting import banner_of, data_wait, facts_of, report
from tl_lab.run.trainer import direction, is_first_process, make_loggers, make_trainer, prepare_machine
from tl_lab.run.weights import check_weights
from tl_lab.strategies.base import Strategy
from tl_lab.texts import counted
from tl_lab.training.measuring import validation_metrics
from tl_lab.training.screening import screening_rows
from tl_lab.training.sharding import load_weights, unshard
from tl_lab.warned import print_warnings_in_one_line
from tl_lab.watching.doubts import at_chance, exploded, too_short
from tl_lab.watching.health import reading
from tl_lab.watching.health_check import HealthCheck
from tl_lab.watching.validators.base import Validator
from tl_lab.watching.validators.measuring import Measuring

__all__ = ["restore_tested", "run"]


def run(cfg: DictConfig, anew: Mapping[str, str] | None = None) -> float | None:
    """Execute one run in Hydra's folder: check, build, train, test, write all files.

    Args:
        cfg: the composed configuration; that of a resumed run is the one saved in its folder.
        anew: options that a resumed run may change: ``changed_data``, and the folders of its data, by key.

    Returns:
        For searches, the larger the better: the tested checkpoint's value of the validation metric ``sweep.objective``,
        with its sign changed if smaller is better; None if it has no finite value.

    Raises:
        UserError: a mistake in the configuration, the data or the files, in one sentence.
    """
    _quiet()
    keep_freed_memory()
    folder = _short(Path(HydraConfig.get().runtime.output_dir))
    # with several processes, the first one holds the lock for all
    with held(folder) if is_first_process() else contextlib.nullcontext():
        return _carry_out(cfg, folder, dict(anew or {}))


def _carry_out(cfg: DictConfig, folder: Path, given: dict[str, str]) -> float | None:
    if is_first_process():
        remove_leftovers(folder)
    record = Record(folder, writes=is_first_process(), resumed=bool(cfg.get("resume")))
    restarts = str(given.pop("changed_data", cfg.get("changed_data"))) == RESTART
    if record.completed and not restarts:
        use_places(cfg, record.content.get("data_places") or {}, given)
        plan = Plan.of(cfg)
        console.say("This run is already complete: nothing is trained; its results were")
        report(plan, folder, record)
        undrawn = record.content.get("drawn") is False or not (folder / "figures").exists()
        if undrawn and plan.figures is not False and record.writes:
            _draw_again(plan, folder, record)
        return record.content.get("objective")
    try:
        expand(cfg)
        if not record.completed:
            _begin(cfg, folder, record)
        raise_if_wrong(cfg)
        places = use_places(cfg, record.content.get("data_places") or {}, given)
        return _run(Plan.of(cfg), folder, record, places, restarts)
    except torch.OutOfMemoryError as error:
        reason = out_of_memory(error)
        record.fail(reason)
        raise reason from error
    except BaseException as error:
        mistake = explained(error)
        if not record.completed:
            record.fail(error if mistake is None else mistake)
        if mistake is not None:
            raise mistake from error
        raise


def out_of_memory(error: torch.OutOfMemoryError) -> UserError:
    """Convert an out-of-memory error of the GPU to one sentence with remedies."""
    wanted = re.search(r"Tried to allocate ([0-9.]+ \w+)", str(error))
    return UserError(
        f"the GPU has no memory left{f' for another {wanted[1]}' if wanted else ''}: reduce data.batch_size or "
        "data.eval_batch_size, use trainer.precision=bf16-mixed or, in a sweep, a smaller hydra.launcher.jobs"
    )


def _run(
    plan: Plan, folder: Path, record: Record, places: Mapping[str, Any] | None = None, restarts: bool = False
) -> float | None:
    check_pairing(plan)
    check_protocol(plan)
    check_weights(plan)
    check_rate_finding(plan)
    prepare_machine(plan)
    checkpoint = last_checkpoint(folder) if plan.resumes else None
    advice = "replace it by a good copy, or delete it to start the run over"
    updates_done = (
        int(read_checkpoint(checkpoint, advice)["updates_done"]) if checkpoint else -1 if plan.resumes else None
    )
    parts = build(plan)
    if has_changed(record.content, parts.data, restarts):
        console.say("The data have changed since this run started: the run restarts")
        forget(folder, record)
        checkpoint, updates_done = None, -1
    elif record.completed:
        report(plan, folder, record)
        return record.content.get("objective")
    if places:
        record.content["data_places"] = dict(places)
    if plan.sweep.part and not restarts:
        check_beside(record, parts.data, Path(HydraConfig.get().sweep.dir))
    plan, parts = with_found_rate(plan, parts, folder, record)
    validators = _validators(plan, parts)
    objective = _objective(plan, parts.data, validators)
    trainer = make_trainer(plan, folder, parts.data, validators, make_loggers(plan, folder, updates_done))
    if trainer.world_size > 1 and any(validator.ranks_runs for validator in validators.values()):
        raise UserError("validator=reverse trains twice, in one process only: leave it out, or use one device")
    health = _health_check(plan, trainer, parts, record)
    check_length(plan, trainer.max_epochs)
    facts = facts_of(plan, parts, trainer)
    record.update(**facts)
    if trainer.is_global_zero:
        console.banner(banner_of(plan, folder, parts, facts, trainer), title=f"tl_lab: {plan.name}")
    forgetting = _forgetting(plan, trainer, parts, record)
    _fit(plan, trainer, parts, checkpoint)
    if trainer.is_global_zero:
        _check_there(folder)
    tested = _load_tested(plan, folder, parts)
    # some facts are known only after training: the share of effective samples, the trace of the Fisher information
    record.update(protocol={**facts["protocol"], **parts.strategy.facts(), **parts.strategy.adaptation.facts()})
    trainer.test(parts.strategy, datamodule=parts.data, verbose=False)
    unshard(parts.strategy)
    if trainer.is_global_zero:
        _finish(plan, folder, parts, trainer, record, tested, health, validators, objective, forgetting)
    return record.content.get("objective")


def _check_there(folder: Path) -> None:
    """Refuse to go on in a folder that was deleted or moved meanwhile."""
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} was deleted or moved during the run: its configuration is missing")


def _short(folder: Path) -> Path:
    """Return a folder below the current one as a relative path."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _begin(cfg: DictConfig, folder: Path, record: Record) -> None:
    """Record the run before anything can fail."""
    plain = to_plain(cfg)
    facts = {name: plain.get(name) for name in ("name", "seed", "threads")} | {"config_hash": config_hash(plain)}
    if folders := given_folders():
        facts["config_dirs"] = [str(one) for one in folders]
    if not cfg.get("resume") or "choices" not in record.content:
        # those of a resumed run were restored from its folder
        facts["choices"] = {
            group: name for group, name in HydraConfig.get().runtime.choices.items() if "/" not in group
        }
    if record.writes and not (cfg.get("resume") and (folder / "config.yaml").exists()):
        write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain | {"resume": None})))
    record.start(**facts, comparison_key=comparison_key(plain))


# ---------------------------------------------------------------------- training


def _validators(plan: Plan, parts: Parts) -> dict[str, Validator]:
    """Build the validators of a domain pair; with any of them, the oracle's curve is measured, too."""
    data = parts.data
    if not data.paired or data.request.reveals_target:
        return {}
    built: dict[str, Validator] = {name: recipe.build() for name, recipe in plan.validators.items()}
    validators = {name: validator for name, validator in built.items() if data.problem.fits(validator.problems)}
    for validator in validators.values():
        validator.name_metric(data.problem)
    _measure_with(validators, parts.strategy)
    return validators


def _measure_with(validators: Mapping[str, Validator], strategy: Strategy) -> None:
    if measuring := [validator for validator in validators.values() if validator.measures]:
        strategy.scorers.append(Measuring(measuring))


def _run_scores(plan: Plan, folder: Path, parts: Parts, validators: Mapping[str, Validator]) -> dict[str, float]:
    """Compute the scores of validators that rank runs, which may require a second training."""

    def train(pair: DomainPair, weights: Mapping[str, Tensor] | None) -> float:
        again, own = Parts(pair, build_strategy(plan, pair)), folder / "reverse"
        if weights is not None:
            again.strategy.network.load_state_dict(weights)
        _measure_with(validators, again.strategy)
        try:
            trainer = make_trainer(plan, own, pair, validators, [])
            _fit(plan, trainer, again, None)
            _load_tested(plan, own, again)
            trainer.test(again.strategy, datamodule=pair, verbose=False)
        finally:
            shutil.rmtree(own, ignore_errors=True)
        return again.strategy.last_test[f"test/target/{pair.problem.monitor}"]

    scores = {}
    for name, validator in validators.items():
        if validator.ranks_runs:
            console.say(f"validator={name}: a second training of the same configuration")
            try:
                scores[validator.metric] = validator.score_run(parts.strategy, cast(DomainPair, parts.data), train)
            except UserError as error:  # the run's own results are kept
                warnings.warn(f"validator={name} has no score: {error}", stacklevel=2)
    return scores


def _objective(plan: Plan, data: DataModule, validators: Mapping[str, Validator]) -> tuple[str, int]:
    """Return the metric that a search optimises, and its sign: 1 if larger is better, -1 otherwise."""
    wanted = plan.sweep.objective
    name = data.monitor if wanted == "auto" else wanted
    valid = [*validation_metrics(data), *(validator.metric for validator in validators.values())]
    if wanted != "auto" and name not in valid:
        raise UserError(f"sweep.objective must be a validation metric, not {name!r}; {nearest(name, valid)}")
    return name, 1 if direction(name, validators) == "max" else -1


def _health_check(plan: Plan, trainer: pl.Trainer, parts: Parts, record: Record) -> HealthCheck | None:
    """Add the health check of a run on two domains to the trainer; a resumed run restores earlier measurements."""
    if not plan.health or not parts.data.paired:
        return None
    check = HealthCheck(keep=lambda found: record.update(health=found), known=record.content.get("health"))
    trainer.callbacks.append(check)  # type: ignore[attr-defined]
    return check


def _forgetting(plan: Plan, trainer: pl.Trainer, parts: Parts, record: Record) -> Forgetting | None:
    """Score the task on which the backbone was pretrained; a resumed run restores this score."""
    if (task := watched_task(plan, parts, trainer)) is None:
        return None
    found = Forgetting(
        task,
        lambda measured: record.update(forgetting=measured),
        record.content.get("forgetting"),
        trainer.strategy.root_device,
    )
    found.begin(parts)
    return found


def _fit(plan: Plan, trainer: pl.Trainer, parts: Parts, checkpoint: Path | None) -> None:
    """Train, or resume training; a run whose training is complete is left unchanged."""
    if not parts.strategy.trains:
        trainer.validate(parts.strategy, datamodule=parts.data, verbose=False)
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")
        return
    if checkpoint is not None and is_trained(content := read_checkpoint(checkpoint), trainer.max_epochs or 1):
        parts.strategy.load_state_dict(parts.strategy.whole_state(content))
        parts.strategy.restore(content, parts.data)
        return
    synchronise_batch_norm(plan, parts, trainer)
    try:
        # Lightning reads checkpoints as data only; ours contain tensors, numbers and names
        trainer.fit(parts.strategy, datamodule=parts.data, ckpt_path=checkpoint)
    except MisconfigurationException as error:
        raise UserError(f"training cannot start: {error}") from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    if parts.strategy.updates_done == 0:
        raise UserError("nothing was trained: trainer.limit_train_batches leaves no batch of an epoch")


def _load_tested(plan: Plan, folder: Path, parts: Parts) -> str:
    """Load the checkpoint to test, with its validation scores, and describe it."""
    if not parts.strategy.trains:
        return "untrained (the backbone as it was given)"
    if plan.evaluate == "last":
        return f"last (after {counted(parts.strategy.updates_done, 'update')})"
    content = _load_best(folder, parts)
    if not math.isfinite(content["last_validation"].get(parts.data.monitor, 0.0)):
        warnings.warn(
            f"{parts.data.monitor} was never a number, so that the first checkpoint counts as the best: choose another "
            "metric by callbacks.checkpoint.monitor, or set evaluate=last",
            stacklevel=2,
        )
    return f"best on validation (after {counted(content['updates_done'], 'update')})"


def _load_best(folder: Path, parts: Parts) -> dict[str, Any]:
    content = read_checkpoint(folder / "checkpoints" / "best.ckpt")
    load_weights(parts.strategy, parts.strategy.whole_state(content))
    parts.strategy.last_validation = content["last_validation"]
    restore_problem(parts.data.problem, content)
    return content


def _finish(
    plan: Plan,
    folder: Path,
    parts: Parts,
    trainer: pl.Trainer,
    record: Record,
    tested: str,
    health: HealthCheck | None,
    validators: Mapping[str, Validator],
    objective: tuple[str, int],
    forgetting: Forgetting | None,
) -> None:
    """Write figures and results, and print the table."""
    _check_there(folder)
    validation = parts.strategy.last_validation
    metrics = {name: value for name, value in validation.items() if not name.startswith("oracle/")}
    metrics |= parts.strategy.whole_validation | parts.strategy.last_test | parts.data.baselines()
    metrics |= _run_scores(plan, folder, parts, validators)
    if forgetting is not None:
        metrics |= forgetting.end(parts)
        record.update(forgetting=forgetting.measured)
    for logger in trainer.loggers:
        logger.finalize("success")
    if health is not None:
        rows = next(logger.rows for logger in trainer.loggers if isinstance(logger, MetricsCsv))
        known = known_reference(record.content, folder)  # read from earlier results, never trained
        found = health.health(
            parts.strategy.adaptation,
            rows,
            validation,
            f"val/source/{parts.data.problem.monitor}",
            (known.health, known.origin) if known is not None else None,
        )
        record.update(health={**health.measured, **dataclasses.asdict(found), "reading": reading(found)})
        metrics |= health.metrics()
    chosen_by = {name: (validator.metric, validator.mode) for name, validator in validators.items()}
    chosen = selection(read_rows(folder / "metrics.csv"), chosen_by)
    chance = _at_chance(parts, metrics)
    few = _few_updates(parts, bool(chance), is_trial(plan.overrides))
    doubts = [exploded(read_rows(folder / "metrics.csv")), *chance, few if chance else ""]
    value = objective[1] * metrics.get(objective[0], math.nan)
    findings = screening_rows(parts.strategy, parts.data) if parts.data.screens else []
    if findings:
        write_screening(folder / "findings.csv", findings)
    record.complete(
        metrics,
        tested_checkpoint=tested,
        selection=chosen,
        objective=value if math.isfinite(value) else None,
        objective_metric=objective[0],
        doubts=[text for text in doubts if text],
        drawn=False if _draws(plan) else None,  # so that a run killed while drawing draws again
        **({"findings": findings} if findings else {}),
        **({"few_updates": few} if few and not chance else {}),
        **data_wait(parts.data),
        **_facts_of_callbacks(trainer),
        **parts.strategy.artifacts(folder, parts.data),
    )
    report(plan, folder, record, parts.data.waiting)  # figures take seconds, so the results are printed first
    try:
        _show(plan, folder, parts, metrics, chosen)
    except Exception as error:  # the results are kept
        warnings.warn(f"the results are written, but not all figures ({type(error).__name__}: {error})", stacklevel=2)
    record.update(drawn=True if _draws(plan) else None)


def _facts_of_callbacks(trainer: pl.Trainer) -> dict[str, Any]:
    """Collect what callbacks with a method ``facts_for_results`` add to ``results.json``."""
    found: dict[str, Any] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if (facts := getattr(callback, "facts_for_results", None)) is not None:
            found |= facts(trainer)
    return found


def _at_chance(parts: Parts, metrics: Mapping[str, float]) -> list[str]:
    """Warn of test scores at chance level; tasks and episodes have chance levels of their own."""
    data = parts.data
    if not data.every_class:
        return []
    sizes = {SetName.parse(name).metrics: len(data.sets[name]) for name in data.test_names}
    return at_chance(metrics, sizes, data.problem)


def _few_updates(parts: Parts, at_chance: bool, trial: bool) -> str:
    """Suggest more updates after few, except in a trial, which makes few on purpose."""
    data = parts.data
    if not parts.strategy.trains or (trial and not at_chance):
        return ""
    tasks = data.num_tasks if isinstance(data, TaskStream) and not data.request.jointly else 1
    return too_short(parts.strategy.updates_done, at_chance, tasks)


def _draws(plan: Plan) -> bool:
    """Whether figures are drawn at the end; in a sweep, drawing could take longer than the run."""
    return not plan.sweep.part if plan.figures == "auto" else bool(plan.figures)


def _show(plan: Plan, folder: Path, parts: Parts, metrics: dict[str, float], chosen: list[dict[str, Any]]) -> None:
    """Draw the figures, and pass them and the final metrics to W&B."""
    figures = draw_figures(folder, parts.strategy, parts.data, chosen) if _draws(plan) else {}
    if plan.logger["mode"] != "disabled":
        from tl_lab.results.folder.weights_and_biases import finish_wandb, log_figures

        if plan.logger.get("log_figures"):
            log_figures(figures)
        finish_wandb(metrics)


def _draw_again(plan: Plan, folder: Path, record: Record) -> None:
    """Draw the figures of a run that has none, from its tested checkpoint."""
    prepare_machine(plan)
    parts = build(plan)
    has_changed(record.content, parts.data, restarts=False)
    restore_tested(folder, parts, record.content)
    trainer = make_trainer(plan, folder, parts.data, {}, [])
    trainer.test(parts.strategy, datamodule=parts.data, verbose=False)
    draw_figures(folder, parts.strategy, parts.data, record.content.get("selection") or ())
    record.update(drawn=True)
    console.say(f"figures: {folder / 'figures'}")


def restore_tested(folder: Path, parts: Parts, results: Mapping[str, Any]) -> None:
    """Load the tested state of a completed run.

    Args:
        folder: of the run.
        parts: built from its configuration, in their state before training.
        results: content of its ``results.json``.
    """
    if str(results.get("tested_checkpoint")).startswith("best"):
        _load_best(folder, parts)
        return
    content = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    parts.strategy.load_state_dict(parts.strategy.whole_state(content))
    parts.strategy.restore(content, parts.data)


def _quiet() -> None:
    """Silence irrelevant warnings of libraries, and print our own without their location in the code."""
    print_warnings_in_one_line()
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*`past_key_values` is deprecated.*")  # prefixes, by peft
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # meters contain all processes' samples
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # frozen layers, teachers
    warnings.filterwarnings("ignore", message=".*[Cc]heckpoint directory .* exists and is not empty.*")
