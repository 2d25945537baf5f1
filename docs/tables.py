"""Write the generated tables of README.md and docs/*.md, from the configuration files and the stored results.

    uv run python docs/tables.py            # write
    uv run python docs/tables.py --check    # only report whether a page is out of date; exit code 1 if one is

Tables are between ``<!-- table: NAME -->`` and ``<!-- end -->``, where nothing is edited by hand.
"""

import argparse
import csv
import functools
import json
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from tl_lab.config import choices, compose, describe
from tl_lab.results.names import format_difference, format_metric
from tl_lab.results.report.markdown import crossed_sections
from tl_lab.results.tables.claims import Claim, Judged
from tl_lab.results.tables.papers import Paper, papers
from tl_lab.results.tables.reproduction import Crossed, named_methods, verdicts, verdicts_by_task
from tl_lab.results.tables.statistics import (
    FEWEST_SEEDS,
    Difference,
    both_of,
    half_width,
    holm,
    paired_t,
    verdict,
)
from tl_lab.training.seen_replayed import MOST_APART, STORED

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_NORMS_ALONE = "lambda 0 (domain-specific batch-norm alone)"
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def choices_table() -> str:
    """List every choice of every group with the first line of its file."""
    rows = ["| group | choice | what it is |", "|---|---|---|"]
    for group, files in choices().items():
        for i, (name, file) in enumerate(files.items()):
            rows.append(f"| {f'`{group}`' if i == 0 else ''} | `{name}` | {describe(file)} |")
    return "\n".join(rows)


def embedded_pair_table(name: str = "embedded_pair.csv", concepts: str = "docs/concepts.md") -> str:
    """Tabulate each setting's accuracies over seeds, and the paired difference from source-only."""
    runs = _rows(name)
    accuracies: dict[str, dict[int, tuple[float, float]]] = {}
    for row in runs:
        pair = float(row["test/source/acc"]), float(row["test/target/acc"])
        accuracies.setdefault(row["setting"], {})[int(row["seed"])] = pair
    seeds = sorted(next(iter(accuracies.values())))
    baseline = accuracies["source only"]
    lines = ["| setting | target test accuracy | lowest to highest | gain over source only | better on | source test |"]
    lines.append("|---|---|---|---|---|---|")
    for setting, by_seed in accuracies.items():
        target = [100 * by_seed[seed][1] for seed in seeds]
        gain = [100 * (by_seed[seed][1] - baseline[seed][1]) for seed in seeds]
        above = f"{sum(value > 0 for value in gain)} of {len(seeds)} seeds"
        compared = " | " if setting == "source only" else f"{_with_interval(gain, '+')} points | {above}"
        source = f"{100 * statistics.fmean(by_seed[seed][0] for seed in seeds):.1f}"
        span = f"{min(target):.1f} to {max(target):.1f}"
        lines.append(f"| {setting} | {_with_interval(target)} | {span} | {compared} | {source} |")
    alone = accuracies[_NORMS_ALONE]
    own = [100 * (accuracies["DANN"][seed][1] - alone[seed][1]) for seed in seeds]
    above_alone = sum(value > 0 for value in own)
    lines += [
        "",
        "DANN keeps separate batch-norm statistics for each domain, which alone (lambda 0) give part of the gain; the "
        f"adversary adds {_with_interval(own, '+')} points, positive for {above_alone} of {len(own)} seeds.",
    ]
    facts = runs[0]
    protocol = compose(["experiment=embedded_pair"]).data.protocol
    lines += [
        "",
        f"In per cent; ± is the half-width of a 95 % Student t interval over the seeds {seeds[0]} to {seeds[-1]}, for "
        f"gains over the differences seed by seed. Protocol: [{protocol}]({concepts}#protocols). Commit "
        f"`{facts['git_commit'][:10]}`, {facts['date']}, PyTorch {facts['torch']}, {facts['threads']} CPU thread.",
    ]
    return "\n".join(lines)


def first_seeds_table() -> str:
    """Tabulate the same for the seeds that were reported first."""
    return embedded_pair_table("embedded_pair_first_seeds.csv", "concepts.md")


def settings_table(name: str = "embedded_pair_settings.csv") -> str:
    """List the settings that were tried, in descending order of agreement."""
    rows = _rows(name)
    if "bottleneck" in rows[0]:
        rows = [_joined_settings(row) for row in rows]
    columns = [column for column in rows[0] if any(row[column] for row in rows)]
    lines = ["| " + " | ".join(column.replace("_", " ") for column in columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(row[column] for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _joined_settings(row: dict[str, str]) -> dict[str, str]:
    """Join the columns of the settings of a row into two, because a page has no room for a column of each."""
    method = f"{row['method']}, lambda {row['lambda_max']}" if row["lambda_max"] else row["method"]
    norm = row["batch_norm"].replace("_", "-")
    setting = [method, f"{norm} batch-norm" if norm != "none" else "no batch-norm"]
    for column in ("bottleneck", "head_hidden", "discriminator"):
        setting += [f"{column.replace('_hidden', '')} {row[column].replace(' ', ', ')}"] if row.get(column) else []
    training = [f"{row['optimizer']} {row['lr']}", f"{int(row['steps']):,} x {row['batch']}"]
    training += ["augmented"] if row["augmentation"] == "yes" else []
    scores = {column: row[column] for column in [*row][[*row].index("augmentation") + 1 :]}
    first = {"setting": "; ".join(setting), "training": ", ".join(training)}
    return {**first, "round": row["round"], "seeds": row["seeds"], **scores}


def settings_again_table() -> str:
    """List the best settings as repeated inside the project."""
    return settings_table("embedded_pair_settings_again.csv")


def mnist_to_mnistm_tried_table() -> str:
    """List what was tried on MNIST -> MNIST-M before the experiment's settings were fixed."""
    return settings_table("mnist_to_mnistm_tried.csv")


def dann_reduction_table() -> str:
    """Compare DANN's accuracy on MNIST-M for both reductions of the domain loss with the paper's."""
    if not (RESULTS / "dann_reduction.csv").is_file():
        return "Not run here: `benchmarks/dann_reduction.py` runs it."
    (full, short) = (next(p for p in _papers() if p.name == f"dann/mnist_to_mnistm{end}") for end in ("", "_reduced"))
    published = float(short.expected.published["dann_paper"])
    runs = pd.read_csv(RESULTS / "dann_reduction.csv").dropna(subset=["test/target/acc"])
    found = [
        (f"{reduction} of the two means", int(length), of["test/target/acc"])
        for (length, reduction), of in runs.groupby(["length", "reduction"], sort=True)
    ]
    assert full.runs is not None
    long = full.runs[full.runs["override.domain_adaptation"] == "dann_paper"]
    found.append(("mean of the two means", 30_000, long["test/target/acc"]))
    lines = [
        "| domain loss | updates | seeds | target test accuracy | published | difference | verdict |",
        "|---" * 7 + "|",
    ]
    for name, updates, scores in found:
        mean, half = scores.mean(), half_width(scores.to_numpy())
        low, high = mean - half - published, mean + half - published
        word = "above the paper" if low > 0 else "below the paper" if high < 0 else "includes the paper's value"
        chosen = " (chosen to come near the paper)" if updates not in (5_000, 30_000) else ""
        cells = [name, f"{updates:,}{chosen}", str(len(scores)), format_metric("test/acc", mean, half)]
        cells += [format_metric("test/acc", published), format_difference("test/acc", mean - published, half), word]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ranks_table() -> str:
    """Tabulate the rank correlation of each label-free score with the oracle over the tried settings."""
    rows = _rows("embedded_pair_settings.csv")
    oracle = [float(row["oracle_target_test_acc"]) for row in rows]
    lines = [f"| score | Spearman correlation with the oracle, {len(rows)} settings |", "|---|---|"]
    for name in ("kappa", "info_max", "source_val_acc", "snd"):
        rank = stats.spearmanr([float(row[name]) for row in rows], oracle).statistic
        lines.append(f"| {name.replace('_', ' ')} | {rank:.2f} |")
    return "\n".join(lines)


def benchmarks_table() -> str:
    """Tabulate the latest results of the benchmarks."""
    step, cache = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("step_overhead", "feature_cache"))
    same = all(abs(cache["cached_test"][name] - cache["plain_test"][name]) < 1e-6 for name in cache["cached_test"])
    tested = (format_metric(name, cache[side][name]) for name in ["test/acc"] for side in ("cached_test", "plain_test"))
    accuracy = " % and ".join(tested) + " %"
    epoch = json.loads((RESULTS / "digit_pair_epoch.json").read_text())
    epochs = [
        f"| an epoch of MNIST -> MNIST-M, item by item / here, PyTorch on {one['threads']} "
        f"thread{'s' if one['threads'] > 1 else ''} of 2 cores | {one['wall_ratio_median']:.2f} "
        f"({one['wall_ratio_min']:.2f} to {one['wall_ratio_max']:.2f}) in time, {one['cpu_ratio_median']:.2f} "
        f"({one['cpu_ratio_min']:.2f} to {one['cpu_ratio_max']:.2f}) in CPU time | {one['items_epoch_s']:.0f} s and "
        f"{one['frame_epoch_s']:.0f} s, {one['repeats']} x {one['updates']} updates in turn; the loaders have "
        "2 workers each |"
        for one in epoch.values()
    ]
    return "\n".join(
        [
            "| measured | ratio | how |",
            "|---|---|---|",
            f"| a DANN training step, framework / by hand | {step['ratio_median']:.3f} ({step['ratio_min']:.3f} to "
            f"{step['ratio_max']:.3f}) | LeNet, {step['batch_size']} + {step['batch_size']} images, "
            f"{step['repeats']} x {step['steps']} steps in turn, {step['frame_ms']:.1f} and "
            f"{step['by_hand_ms']:.1f} ms, PyTorch {step['torch']} |",
            *_phases_rows(),
            f"| feature extraction, every step / computed once | {cache['ratio']:.1f} | {cache['epochs']} epochs, "
            f"{cache['plain_s']:.0f} s and {cache['cached_s']:.0f} s, test accuracy {accuracy}"
            f"{' (every test score equal to six digits)' if same else ''}; `{cache['overrides']}` |",
            *epochs,
        ]
    )


def peers_table() -> str:
    """Compare a DANN step of this project, by hand and of other libraries, each as it is used."""
    found = json.loads((RESULTS / "peers.json").read_text())
    whom = ("by hand", "pytorch-adapt")
    lines = [f"| a DANN step | CPU time, ms | {' | '.join(f'ratio to {name}' for name in whom)} |", "|---" * 4 + "|"]
    for name, side in found["sides"].items():
        label = name.replace("tl_lab", "this project")
        if not name.startswith(("tl_lab", "by hand")):
            label += f" {side['version']}"
        ratios = [
            "1" if name == other else f"{statistics.median(of):.2f} ({min(of):.2f} to {max(of):.2f})"
            for other in whom
            for of in [side[f"ratio to {other}"]]
        ]
        lines.append(f"| {label} | {statistics.median(side['ms']):.0f} | {' | '.join(ratios)} |")
    how = f"LeNet, 64 + 64 images, Adam, one thread, {found['repeats']} x {found['steps']} steps in processes in turn"
    return "\n".join([*lines, "", f"{how}; PyTorch {found['torch']}, {found['date']}."])


def _phases_rows() -> list[str]:
    found = json.loads((RESULTS / "phases.json").read_text())
    how = f"LeNet, {found['batch_size']} + {found['batch_size']} images, {found['repeats']} x {found['steps']} steps"
    return [
        f"| a batch of {name}, framework / by hand | {one['ratio_median']:.3f} ({one['ratio_min']:.3f} to "
        f"{one['ratio_max']:.3f}) | {how} in turn, {one['passes']:.1f} and {one['passes_by_hand']} passes through an "
        f"encoder, {one['frame_ms']:.1f} and {one['by_hand_ms']:.1f} ms, PyTorch {found['torch']} |"
        for name, one in found["methods"].items()
    ]


def reliability_table() -> str:
    """Count the kills, mistakes and foreign folders that were handled correctly."""
    found = json.loads((RESULTS / "reliability.json").read_text())
    outcomes = {
        "kills at write points": f"{found['cases']} cases of strategy and scenario or adaptation; the whole folder "
        "equals that of a run that was never killed",
        "kills at random moments": "the same",
        "kills at the test": "the same",
        "malformed overrides": "each refused in one sentence",
        "malformed commands": "drawn from these and started: each ends with exit code 1 and one sentence",
        "malformed data": "each refused in one sentence",
        "foreign code that did not run": "ways in which a foreign run's folder could have code executed",
    }
    lines = ["| test | correct | of | correct outcome |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {found[name]['right']:,} | {found[name]['tries']:,} | {how} |" for name, how in outcomes.items()
    ]
    return "\n".join(lines)


def strengths_table() -> str:
    """List the tried strengths with their validation accuracies, one row per strategy."""
    tried = pd.read_csv(RESULTS / "strengths.csv", keep_default_na=False)
    lines = ["| stream | strategy | validation accuracy by strength | best |", "|---|---|---|---|"]
    keys = ["data", "scenario", "tasks", "updates_per_task", "strategy", "estimator", "option"]
    for key, runs in tried.groupby(keys, sort=False):
        data, scenario, count, updates, strategy, estimator, option = key
        runs = runs.sort_values("value")
        best = runs.loc[runs["val_acc"].idxmax(), "value"]
        values = ", ".join(f"{v:g}: {100 * a:.2f}" for v, a in zip(runs["value"], runs["val_acc"], strict=True))
        named = f"`{strategy}`" + (f", {estimator}" if estimator else "")
        lines.append(
            f"| {data}, {scenario}, {count} tasks of {updates:,} updates | {named} | `{option}` {values} | {best:g} |"
        )
    return "\n".join(lines)


def trade_off_table() -> str:
    """Tabulate source and target accuracy after training on both, one row per strength of EWC."""
    file = RESULTS / "reproductions" / "incremental_learning" / "source_and_target.csv"
    lines = ["| `ewc_lambda` | MNIST | Fashion-MNIST | seeds |", "|---|---|---|---|"]
    for strength, runs in pd.read_csv(file).groupby("override.strategy.ewc_lambda"):
        cells = [
            format_metric(name, runs[name].mean(), half_width(runs[name].to_numpy()), both_of(runs[name]))
            for name in ("test/task1/acc", "test/task2/acc")
        ]
        lines.append(f"| {strength:g} | {' | '.join(cells)} | {len(runs)} |")
    return "\n".join(lines)


def fisher_estimators_table() -> str:
    """Compare the estimators of the Fisher information by their trace and their correlation with the exact one."""
    found = json.loads((RESULTS / "fisher_estimators.json").read_text())
    rows = found["rows"]
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    lines = ["| updates (training accuracy) | " + " | ".join(f"`{name}`" for name in names) + " |"]
    lines.append("|---|" + "---|" * len(names))
    for updates in dict.fromkeys(row["updates"] for row in rows):
        of = {row["estimator"]: row for row in rows if row["updates"] == updates}
        cells = [f"{of[name]['trace']:.3g}; {of[name]['correlation']:.2f}" for name in names]
        lines.append(f"| {updates:,} ({100 * of['exact']['train_acc']:.1f} %) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ewc_table() -> str:
    """Compare the cost of EWC with that of a hand-written loop and of avalanche-lib."""
    found = json.loads((RESULTS / "ewc.json").read_text())

    def ratio(name: str) -> str:
        one = found[name]
        return f"{one['median']:.2f} ({one['min']:.2f} to {one['max']:.2f})"

    how = f"CPU time, {found['repeats']} x {found['updates']} updates in turn, PyTorch {found['torch']}"
    lines = ["| measured | ratio | how |", "|---|---|---|"]
    for task, ordinal in (("second", "second"), ("last", "tenth")):
        lines += [
            f"| updates per second with EWC's penalty, {ordinal} task, this project / by hand | "
            f"{ratio(f'{task}_against_by_hand')} | {how}, {found[f'{task}_ms']:.1f} and "
            f"{found[f'by_hand_{task}_ms']:.1f} ms; by hand with a term for each earlier task |",
            f"| the same, this project / avalanche-lib 0.6.0, separate penalties | "
            f"{ratio(f'{task}_against_avalanche')} | the same, data included, "
            f"{found[f'avalanche_{task}_ms']:.1f} ms there |",
        ]
    lines += [
        f"| Fisher pass over 1,000 samples, avalanche-lib at batch 1 / `exact` here | "
        f"{ratio('exact_fisher_against_avalanche')} | CPU time, {found['avalanche_importance_s']:.2f} and "
        f"{found['exact_s']:.2f} s; `exact` weights all ten labels, avalanche-lib uses the true one |",
        f"| the same / `empirical` here, the same quantity | {ratio('empirical_fisher_against_avalanche')} | "
        f"{found['empirical_s']:.2f} s |",
    ]
    return "\n".join(lines)


def sweep_overhead_table() -> str:
    """Tabulate the overhead of a sweep's job, and the memory and files of long sweeps."""
    found = json.loads((RESULTS / "sweep_overhead.json").read_text())
    rows = [
        "| sweep | CPU time of a job outside fit and test | the same, first to last quarter of the jobs "
        "| elapsed time | memory of the sweep's process, first to last quarter | its open files |",
        "|---|---|---|---|---|---|",
    ]
    for row in found.values():
        cpu, wall, memory, files = (row[name] for name in ("cpu_s", "wall_s", "memory_mb", "files"))
        rows.append(
            f"| {row['jobs']} jobs, `data={row['data']}`, `logger={row['logger']}` | {cpu['median']:.2f} s "
            f"| {cpu['first quarter']:.2f} to {cpu['last quarter']:.2f} s | {wall['median']:.2f} s "
            f"| {memory['first quarter']:.1f} to {memory['last quarter']:.1f} MB "
            f"| {files['first quarter']:.0f} to {files['last quarter']:.0f} |"
        )
    where = {row["where"] for row in found.values()}
    return "\n".join([*rows, "", f"Medians; {'; '.join(sorted(where))}."])


def report_table() -> str:
    """Tabulate the cost of a report over many runs."""
    found = json.loads((RESULTS / "report.json").read_text())
    return "\n".join(
        [
            "| measured | CPU time | how |",
            "|---|---|---|",
            f"| `report` over {found['runs']:,} runs, figures and page included | {found['cpu_s_median']:.1f} s "
            f"| median of {found['repeats']} processes of one thread, imports included, the longest "
            f"{found['cpu_s_max']:.1f} s |",
        ]
    )


def few_shot_speed_table() -> str:
    """Compare a step on episodes with a hand-written loop, and tabulate the share of sampling."""
    found = json.loads((RESULTS / "few_shot.json").read_text())

    def spread(one: dict[str, float], form: str) -> str:
        return f"{one['median']:{form}} ({one['min']:{form}} to {one['max']:{form}})"

    how = f"CPU time, {found['repeats']} x {found['steps']} steps in turn, PyTorch {found['torch']}"
    lines = ["| measured | ratio | how |", "|---|---|---|"]
    for name, title in (("prototypical", "a prototypical step"), ("maml", "a MAML step")):
        one = found[name]
        lines += [
            f"| {title}, framework / by hand | {spread(one['ratio'], '.3f')} | 4 episodes, 5-way 1-shot, "
            f"{one['queries']} queries per class, Conv4; {how}, {one['frame_ms']:.0f} and {one['by_hand_ms']:.0f} ms |",
            f"| share of sampling in the step | {spread(one['sampling_share'], '.2%')} | drawing and gathering images, "
            f"{one['sampling_ms']:.2f} ms |",
        ]
    lines += [
        f"| a MAML step, vmap over episodes / loop, {one['queries']} queries per class | {spread(one, '.2f')} | {how} |"
        for one in found["vmap"]
    ]
    return "\n".join(lines)


def _input_runs(*names: str) -> dict[str, Any]:
    """Read the stored sweeps of benchmarks/input_runs.py, as far as they are stored."""
    file = RESULTS / "input_runs.json"
    stored = json.loads(file.read_text()) if file.is_file() else {}
    return {name: stored[name] for name in names if name in stored}


def _not_run(*names: str) -> str:
    """Return the command of sweeps that are not stored."""
    return f"Not run here: `python benchmarks/input_runs.py <folder> --only {' '.join(names)}`"


def recognition_table() -> str:
    """Tabulate word error rates by the amount of labelled speech in training."""
    names = ["decoder", "whisper", "untaught", "scratch"]
    stored = _input_runs(*names)
    if not stored:
        return _not_run(*names)
    ways = {
        "decoder": "Whisper tiny.en's own decoder",
        "whisper": "Whisper tiny.en's encoder, fine-tuned",
        "untaught": "the same encoder from random weights, with the same updates",
        "scratch": "`audio_cnn` from random weights",
    }
    cells: dict[str, dict[int, list[float]]] = {way: {} for way in stored}
    tested: dict[str, int] = {}
    for way, one in stored.items():
        for run in one["runs"]:
            amount = round(run.get("data.labelled_seconds", 0))  # the decoder is not trained
            cells[way].setdefault(amount, []).append(100 * run["test/wer"])
            tested[way] = run.get("tested", {}).get("test", 0)
    amounts = sorted({amount for by_amount in cells.values() for amount in by_amount})
    lines = ["| word error rate, per cent | tested utterances |" + "".join(f" {amount} s |" for amount in amounts)]
    lines.append("|---|---|" + "---|" * len(amounts))
    for way, by_amount in cells.items():
        shown = [_with_interval(by_amount[amount]) if amount in by_amount else "" for amount in amounts]
        lines.append(f"| {ways[way]} | {tested[way] or 'not stored'} | {' | '.join(shown)} |")
    missing = [name for name in names if name not in stored]
    return "\n".join([*lines, "", _how_inputs_ran(stored, names), *(["", _not_run(*missing)] if missing else [])])


def boxes_table() -> str:
    """Tabulate entity F1 on receipts with and without boxes, seed by seed, and the paired differences."""
    stored = _input_runs("layout", "bias")
    if "layout" not in stored:
        return _not_run("layout", "bias")
    titles = {
        (False, False): "words alone",
        (True, False): "words and embeddings of their boxes",
        (True, True): "the same, and a bias by the distance of two boxes",
    }
    scores: dict[tuple[bool, bool], dict[int, float]] = {}
    for run in (run for one in stored.values() for run in one["runs"]):
        arm = bool(run["backbone.positions"]), bool(run.get("backbone.bias", False))
        scores.setdefault(arm, {})[run["seed"]] = 100 * run["test/entity_f1"]
    seeds = sorted(set.intersection(*(set(own) for own in scores.values())))
    lines = [f"| entity F1, seed | {' | '.join(map(str, seeds))} | mean | difference from words alone | boxes |"]
    lines.append("|---|" + "---|" * (len(seeds) + 3))
    arms = [arm for arm in titles if arm in scores]
    gains = {arm: [scores[arm][seed] - scores[False, False][seed] for seed in seeds] for arm in arms if any(arm)}
    words = dict(zip(gains, _verdicts([paired_t(gain) for gain in gains.values()]), strict=True))
    for arm in arms:
        own = [scores[arm][seed] for seed in seeds]
        gain = f"{_with_interval(gains[arm], '+')} | {words[arm]}" if arm in gains else " | "
        lines.append(
            f"| {titles[arm]} | {' | '.join(f'{value:.1f}' for value in own)} | {_with_interval(own)} | {gain} |"
        )
    missing = ["", _not_run("bias")] if "bias" not in stored else []
    return "\n".join([*lines, "", _how_inputs_ran(stored, ["layout", "bias"]), *missing])


def languages_table() -> str:
    """Tabulate exact match and F1 of answers in three languages after training in English."""
    stored = _input_runs("questions")
    if not stored:
        return _not_run("questions")
    lines = ["| tested | answer F1 | exact match |", "|---|---|---|"]
    for language, title in (("", "English"), ("de/", "German"), ("es/", "Spanish")):
        scores = (
            [100 * run[f"test/{language}{name}"] for run in stored["questions"]["runs"]]
            for name in ("span_f1", "exact_match")
        )
        lines.append(f"| {title} | " + " | ".join(map(_with_interval, scores)) + " |")
    return "\n".join([*lines, "", _how_inputs_ran(stored, ["questions"])])


def films_table() -> str:
    """Tabulate accuracies and screening metrics on X-rays by network and number of labels."""
    names = ["films", "films_tuned"]
    stored = _input_runs(*names)
    if not stored:
        return _not_run(*names)
    lite = "`efficientnet_lite0`"
    networks = {"films": "`conv4`", "from_scratch": f"{lite}, random", "fine_tuning": f"{lite}, ImageNet"}
    scores: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for sweep, one in stored.items():
        for run in sorted(one["runs"], key=lambda run: (run.get("data.labels", math.inf), run["seed"])):
            network = networks[run["strategy"] if sweep == "films_tuned" else sweep]
            labels = f"{run['data.labels']:,}" if "data.labels" in run else "all"
            scores.setdefault((network, labels), []).append(run)
    heads = {"auroc": "AUROC", "sensitivity_at_90": "at 90 % specificity", "sensitivity": "sensitivity"}
    heads |= {"specificity": "specificity", "calibration_error": "ECE"}
    lines = [f"| network | labels | accuracy | {' | '.join(heads.values())} |", "|---" * (3 + len(heads)) + "|"]
    order = list(networks.values())
    for (network, labels), runs in sorted(scores.items(), key=lambda one: order.index(one[0][0])):
        found = [row for run in runs for row in run.get("findings", []) if row["set"] == "test"]
        cells = [_with_interval([100 * run["test/acc"] for run in runs])]
        cells += [
            _with_interval([100 * row[name] for row in found]) if all(name in row for row in found) else "not stored"
            for name in heads
        ]
        lines.append(f"| {network} | {labels} | {' | '.join(cells)} |")
    note = (
        "Per cent. 'At 90 % specificity' is the sensitivity at that point of the test set's ROC curve; sensitivity and "
        "specificity are at the threshold whose specificity on validation is 90 %."
    )
    missing = [name for name in names if name not in stored]
    ran = _how_inputs_ran(stored, names)
    return "\n".join([*lines, "", note, "", ran, *(["", _not_run(*missing)] if missing else [])])


def _shifted(names: list[str], after: str) -> str:
    """Tabulate target accuracies, and the gains over source only seed by seed."""
    stored = _input_runs(*names)
    if names[0] not in stored:
        return _not_run(*names)
    scores: dict[str, dict[int, float]] = {}
    for sweep, one in stored.items():
        for run in one["runs"]:
            compared = " domain_adaptation.compare=inputs" if sweep.endswith("_inputs") else ""
            scores.setdefault(f"{run['domain_adaptation']}{compared}", {})[run["seed"]] = 100 * run["test/target/acc"]
    base = scores["source_only"]
    lines = [f"| `domain_adaptation=` | {after} | gain over source only |", "|---|---|---|"]
    for name, by_seed in scores.items():
        gains = [by_seed[seed] - base[seed] for seed in sorted(by_seed.keys() & base.keys())]
        gain = "" if name == "source_only" else f"{_with_interval(gains, '+')} points"
        lines.append(f"| `{name}` | {_with_interval(list(by_seed.values()))} | {gain} |")
    trees = {run["seed"]: 100 * run["test/target trees/acc"] for run in stored[names[0]]["runs"]}
    lines.append(f"| gradient-boosted trees (baseline) | {_with_interval(list(trees.values()))} | |")
    missing = [name for name in names if name not in stored]
    return "\n".join([*lines, "", _how_inputs_ran(stored, names), *(["", _not_run(*missing)] if missing else [])])


def shift_table() -> str:
    """Tabulate accuracies after a point in time, and the gains over source only seed by seed."""
    return _shifted(["shift", "shift_inputs"], "accuracy after the point in time")


def groups_table() -> str:
    """Tabulate accuracies in another group, and the gains over source only seed by seed."""
    return _shifted(["groups"], "accuracy on the incomes of women")


def tabular_table() -> str:
    """Compare networks for tables with gradient-boosted trees."""
    stored = _input_runs("tables")
    if not stored:
        return _not_run("tables")
    scores: dict[str, dict[str, list[float]]] = {}
    for run in stored["tables"]["runs"]:
        of_data = scores.setdefault(run["data"], {})
        of_data.setdefault(f"`{run['backbone']}`", []).append(100 * run["test/acc"])
        if run["backbone"] == "mlp":
            of_data.setdefault("gradient-boosted trees", []).append(100 * run["test/trees/acc"])
    ways = list(next(iter(scores.values())))
    lines = [f"| accuracy, per cent | {' | '.join(ways)} |", "|---" * (1 + len(ways)) + "|"]
    for data, of_data in scores.items():
        lines.append(f"| `{data}` | {' | '.join(_with_interval(of_data[way]) for way in ways)} |")
    return "\n".join([*lines, "", _how_inputs_ran(stored, ["tables"])])


def speakers_table() -> str:
    """Tabulate the accuracy on each left-out speaker, with and without adaptation."""
    stored = _input_runs("speakers")
    if not stored:
        return _not_run("speakers")
    runs = stored["speakers"]["runs"]
    scores: dict[str, dict[str, float]] = {}
    for run in runs:
        scores.setdefault(run["domain_adaptation"], {})[run["data.target"]] = 100 * run["test/target/acc"]
    base = scores["source_only"]
    speakers = sorted(base)
    lines = [f"| speaker left out | {' | '.join(speakers)} | mean | gain over source only |"]
    lines.append("|---" * (3 + len(speakers)) + "|")
    for name, own in scores.items():
        gain = (
            "" if name == "source_only" else f"{_with_interval([own[one] - base[one] for one in speakers], '+')} points"
        )
        cells = " | ".join(f"{own[one]:.1f}" for one in speakers)
        lines.append(f"| `{name}` | {cells} | {_with_interval(list(own.values()))} | {gain} |")
    tested = runs[0].get("tested", {}).get("target/test", 0)
    note = f"Accuracy in per cent, of {tested} recordings of each speaker; ± is over speakers, for one seed."
    return "\n".join([*lines, "", note, "", _how_inputs_ran(stored, ["speakers"])])


def other_inputs_table() -> str:
    """Tabulate times and accuracies of benchmarks/other_inputs.py."""
    file = RESULTS / "other_inputs.json"
    if not file.is_file():
        return "Not run here: `python benchmarks/other_inputs.py --padded 200`"
    found = json.loads(file.read_text())
    speech, table, asked = found["speech"], found["table"], found["zero_shot"]
    known = [100 * value for value in speech["left_out"]]
    number = f"{speech['recordings']:,} recordings"
    low, high = table["ratio_range"]
    lines = [
        "| measured | result | how |",
        "|---|---|---|",
        f"| log-mel spectrograms | {speech['log_mel_s']:.1f} s | {number}, CPU time of one core |",
        f"| Whisper tiny.en's encoder at their own lengths | {speech['encoder_s']:.0f} s | the same |",
        f"| logistic regression on its frozen features, leaving out one speaker | {statistics.fmean(known):.1f} % "
        f"({min(known):.1f} to {max(known):.1f}) | mean over {len(known)} speakers |",
        f"| `strategy=zero_shot` with Whisper's decoder | {asked['right']} of {asked['tested']} | test recordings |",
    ]
    if padded := speech.get("padded"):
        share = speech["encoder_s"] * padded["recordings"] / speech["recordings"]
        how = f"{padded['recordings']} recordings; at their own lengths about {share:.1f} s"
        accuracies = f"{100 * padded['padded_acc']:.1f} % and {100 * padded['own_length_acc']:.1f} %"
        lines += [
            f"| the encoder on recordings padded to 30 s | {padded['encoder_s']:.0f} s | {how} |",
            f"| accuracy padded and at their own lengths | {accuracies} | logistic regression on the others |",
        ]
    lines.append(
        f"| an epoch of Adult, `Dataset` of rows / `data=adult` | {table['ratio']:.1f} ({low:.1f} to {high:.1f}) | "
        f"{table['batches']} batches, median of {table['turns']} turns, {table['rows_epoch_s']:.2f} and "
        f"{table['epoch_s']:.3f} s |"
    )
    return "\n".join([*lines, "", f"`benchmarks/other_inputs.py`, {found['date']}, PyTorch {found['torch']}."])


def _how_inputs_ran(stored: dict[str, Any], names: list[str]) -> str:
    """Describe how the runs of benchmarks/input_runs.py were made."""
    here = [stored[name] for name in names if name in stored]
    seeds = sorted({run["seed"] for one in here for run in one["runs"]})
    seconds = statistics.median(run["took_s"] for one in here for run in one["runs"])
    spread = (
        f"± is the half-width of a 95 % Student t interval over {len(seeds)} seeds" if len(seeds) > 1 else "One seed"
    )
    script = f"`benchmarks/input_runs.py <folder> --only {' '.join(name for name in names if name in stored)}`"
    took = f"a run took {_seconds(seconds)} (median, while other programs ran)"
    return f"{spread}. {script}; PyTorch {here[0]['torch']}, {took}."


def kept_memory_table() -> str:
    """Tabulate the time that a training step saves by keeping freed memory."""
    found = json.loads((RESULTS / "kept_memory.json").read_text())
    how = f"{found['repeats']} processes of {found['steps']} steps each way, in turn, PyTorch {found['torch']}"
    lines = ["| a training step on the CPU, freed memory returned / kept | ratio | how |", "|---|---|---|"]
    for one in found["cases"]:
        low, high = one["ratio_range"]
        before, after = one["without"], one["kept"]
        lines.append(
            f"| {one['case']} | {one['ratio']:.2f} ({low:.2f} to {high:.2f}) | CPU time, {how}, "
            f"{1000 * before['seconds']:.0f} and {1000 * after['seconds']:.0f} ms; peak memory "
            f"{before['peak_mb']:.0f} and {after['peak_mb']:.0f} MiB |"
        )
    return "\n".join(lines)


def large_data_table() -> str:
    """Tabulate throughput and memory of images that are read during training."""
    found = json.loads((RESULTS / "large_data.json").read_text())
    size = (
        f"{found['images']:,} JPEG files of {found['side']}x{found['side']} pixels, {found['bytes'] / 1000:.1f} kB each"
    )
    lines = [
        f"| {size}, {found['workers']} workers | images per second | relative to a plain `DataLoader` | in CPU time | "
        "memory in MB: first, middle and last tenth of the first epoch |",
        "|---|---|---|---|---|",
    ]
    names = {"plain": "a plain `DataLoader`", "image_folder": "`data=image_folder`", "webdataset": "`data=webdataset`"}
    for name, rate in found["images_a_second"].items():
        memory, every = found["memory_mb"][name], [found[kind].get(name) for kind in ("ratio", "cpu_ratio")]
        shown = ", ".join(f"{memory[place]:.0f}" for place in (0, len(memory) // 2, -1))
        cells = [f"{statistics.median(one):.2f} ({min(one):.2f} to {max(one):.2f})" if one else "" for one in every]
        lines.append(f"| {names[name]} | {rate:,.0f} | {' | '.join(cells)} | {shown} |")
    looked = " and ".join(f"{found['looked_s'][name]:.0f} s ({names[name]})" for name in found["looked_s"])
    how = (
        f"medians of {found['repeats']} epochs each, in turn; memory of the process and its workers together; reading "
        f"every file once before the first epoch took {looked}"
    )
    return "\n".join([*lines, "", f"`benchmarks/large_data.py`: {how}; PyTorch {found['torch']}.", *_allocators(found)])


def large_data_throughput_table() -> str:
    """Compare epochs of files, shards and recordings with those of a plain DataLoader, in turn."""
    found = json.loads((RESULTS / "large_data.json").read_text())["throughput"]
    names = {
        "image_folder": ("`data=image_folder`", "plain images"),
        "webdataset": ("`data=webdataset`", "plain images"),
        "audio_folder": ("`data=audio_folder`", "plain recordings"),
    }
    lines = [
        f"| {found['samples']:,} files, {found['workers']} workers | samples per second | a plain `DataLoader` | "
        "ratio: median (smallest to largest) | faster epochs |",
        "|---|---|---|---|---|",
    ]
    for name, (text, by_hand) in names.items():
        if name in found["ratio"]:
            ratio, rates = sorted(found["ratio"][name]), found["a_second"]
            lines.append(
                f"| {text} | {rates[name]:,.0f} | {rates[by_hand]:,.0f} | {statistics.median(ratio):.2f} "
                f"({ratio[0]:.2f} to {ratio[-1]:.2f}) | {sum(one >= 1 for one in ratio)} of {len(ratio)} |"
            )
    how = f"`benchmarks/large_data.py --throughput`: medians of {found['repeats']} epochs each, in turn"
    return "\n".join([*lines, "", f"{how}; PyTorch {found['torch']}."])


def large_data_texts_table() -> str:
    """Tabulate the memory of a process that reads a table of texts as a whole and part by part."""
    found = json.loads((RESULTS / "large_data.json").read_text())["texts"]
    lines = [
        f"| {found['rows']:,} texts, {found['bytes'] / 1e6:.0f} MB | before, MB | peak, MB | over an epoch, MB: "
        "smallest to largest | reading and tokenising, s | texts per second in an epoch |",
        "|---" * 6 + "|",
    ]
    names = {"whole": "as a whole (`data.lazy=false`)", "parts": "part by part (`data.lazy=true`)"}
    for way, text in names.items():
        one = found[way]
        lines.append(
            f"| {text} | {one['before_mb']:,.0f} | {one['peak_mb']:,.0f} | {min(one['epoch_mb']):,.0f} to "
            f"{max(one['epoch_mb']):,.0f} | {one['reading_s']:.0f} | {one['texts_a_second']:,.0f} |"
        )
    how = (
        "`benchmarks/large_data.py --texts`: resident memory of a process without workers; both gave the same "
        f"batches; the cache of the second took {found['cache_bytes'] / 1e6:.0f} MB"
    )
    return "\n".join([*lines, "", f"{how}; PyTorch {found['torch']}."])


def decoders_table() -> str:
    """Compare the project's decoder with torchvision's, by throughput and pixels."""
    found = json.loads((RESULTS / "decoders.json").read_text())
    lines = [
        "| JPEG files | images per second, tl_lab | torchvision | torchvision / tl_lab, in CPU time | "
        "differing values, and their largest difference |",
        "|---" * 5 + "|",
    ]
    for name, one in found["cases"].items():
        rate, ratio = one["images_a_second"], sorted(one["ratio"])
        differ = f"{100 * one['share_of_values_that_differ']:.1f} %, {one['largest_difference']} of 255"
        lines.append(
            f"| {name} | {rate['project']:,.0f} | {rate['torchvision']:,.0f} | {statistics.median(ratio):.2f} "
            f"({ratio[0]:.2f} to {ratio[-1]:.2f}) | {differ if one['largest_difference'] else 'none'} |"
        )
    how = f"`benchmarks/decoders.py`: one thread, {found['rounds']} rounds in turn"
    return "\n".join([*lines, "", f"{how}; Pillow {found['pillow']}, torchvision {found['torchvision']}."])


def random_changes_table() -> str:
    """Compare the project's random changes of images with torchvision's, by throughput."""
    found = json.loads((RESULTS / "decoders.json").read_text())
    lines = [
        "| batch | images per second, tl_lab | torchvision | torchvision / tl_lab, in CPU time |",
        "|---" * 4 + "|",
    ]
    for name, one in found["changes"].items():
        rate, ratio = one["images_a_second"], sorted(one["ratio"])
        lines.append(
            f"| {name} | {rate['project']:,.0f} | {rate['torchvision']:,.0f} | {statistics.median(ratio):.2f} "
            f"({ratio[0]:.2f} to {ratio[-1]:.2f}) |"
        )
    how = f"`benchmarks/decoders.py`: one thread, {found['rounds']} rounds in turn"
    return "\n".join([*lines, "", f"{how}; torchvision {found['torchvision']}."])


def _allocators(found: dict[str, Any]) -> list[str]:
    """Describe the private memory of the training process and its workers at the start and the end of an epoch."""
    if "allocator" not in found:
        return []
    memory = found["allocator"]
    ends = [
        f"{process} {values[0]:.0f} to {values[-1]:.0f} MB{how}"
        for side, how in (("usual", ""), ("blocks returned", " if freed blocks are returned to the system"))
        for process, values in memory[side].items()
    ]
    return ["", f"Private memory at the first and after {memory['images']:,} images: {'; '.join(ends)}."]


def gpu_table() -> str:
    """Compare steps on a GPU: by hand, plain and captured, and with the framework, plain and replayed."""
    found = json.loads((RESULTS / "gpu.json").read_text())
    names = {
        "steps/dann 64 + 64": "DANN, LeNet, 64 + 64 images of 28x28",
        "steps/dann 1024 + 1024": "DANN, LeNet, 1,024 + 1,024 images",
        "steps/ewc": "EWC, permuted pixels, two layers of 1,000, 128 images, second task",
        "steps/prototypical 60-way": "prototypical networks, 60-way 1-shot, 5 queries per class, Conv4",
    }
    lines = [
        f"| ms per update on an {found['card']}, PyTorch {found['torch'].split('+')[0]} | by hand | captured by hand | "
        "`update.graph=false` | `update.graph=true` | separate kernels / by hand | replayed / captured by hand |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, text in names.items():
        sides = {side: one["ms"] for side, one in found[name].items()}
        ratio = sides["frame_graph"] / sides["captured_by_hand"]
        shown = (sides[side] for side in ("by_hand", "captured_by_hand", "frame", "frame_graph"))
        plain = found[name]["frame"]["times_by_hand"]
        lines.append(f"| {text} | {' | '.join(f'{ms:.2f}' for ms in shown)} | {plain:.2f} | {ratio:.2f} |")
    maml = {side: one["ms"] for side, one in found["steps/maml"].items()}
    for tasks, text in (("loop", "in a loop"), ("vmap", "under vmap")):
        lines.append(
            f"| MAML, second order, 5-way 1-shot, 4 episodes, Conv4, {text} | | | {maml[tasks]:.2f} | "
            f"{maml[f'{tasks}_graph']:.2f} | | |"
        )
    return "\n".join(lines)


def gpu_aims_table() -> str:
    """Compare the measured steps and the time outside training with the aims."""
    found = json.loads((RESULTS / "gpu.json").read_text())
    ms = {name: {side: one["ms"] for side, one in found[f"steps/{name}"].items()} for name in _GPU_STEPS}
    plain = max(found[f"steps/{name}"]["frame"]["times_by_hand"] for name in _GPU_STEPS)
    proto = ms["prototypical 60-way"]["frame_graph"] / ms["prototypical 60-way"]["captured_by_hand"]
    ewc = f"{ms['ewc']['frame_graph']:.2f} ms; captured by hand {ms['ewc']['captured_by_hand']:.2f} ms"
    main = found["outside/main job"]
    outside = main["outside training"] if "outside training" in main else main["whole"] - main["training batches"]
    dann = ms["dann 64 + 64"]["frame_graph"]
    rows = [
        ("DANN, 64 + 64 images, replayed", "at most 0.7 ms", f"{dann:.2f} ms", dann <= 0.7),
        ("EWC on permuted pixels, replayed", "at most 0.25 ms", ewc, ms["ewc"]["frame_graph"] <= 0.25),
        ("prototypical 60-way, replayed / captured by hand", "at most 1.2", f"{proto:.2f}", proto <= 1.2),
        ("`update.graph=false` / by hand, the largest of four", "at most 1.1", f"{plain:.2f}", plain <= 1.1),
        ("main job, time outside training", "below 8 s", f"{outside:.1f} s", outside < 8),
    ]
    lines = ["| aim | value | measured | met |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {a} | {b} | {c} | {'yes' if met else 'no'} |" for a, b, c, met in rows])


_GPU_STEPS = ("dann 64 + 64", "dann 1024 + 1024", "ewc", "prototypical 60-way")


def gpu_choices_table() -> str:
    """Count the choices that completed a tiny run on a GPU with and without graphs; list what auto replays."""
    choices_tried, seen = json.loads((RESULTS / "gpu.json").read_text())["choices"], json.loads(STORED.read_text())
    both = [one for one in choices_tried.values() if one.get("plain") == one.get("graph") == "completed"]
    lacking = (
        "was not found",
        "need the package",
        "too few samples for a split",
    )  # files that were not copied to that machine
    absent = [name for name, one in choices_tried.items() if any(why in str(one.get("plain")) for why in lacking)]
    untried = [name for name, one in choices_tried.items() if str(one.get("plain")).startswith("not tried")]
    others = [name for name, one in choices_tried.items() if one not in both and name not in (*absent, *untried)]
    apart = [name for name, one in choices_tried.items() if one in both and one.get("apart", 0.0) > MOST_APART]
    rows = [
        ("data set or weights missing on that machine", absent),
        ("not reached within the benchmark's time", untried),
        ("others", others),
        (f"replayed, with the weights of both runs more than {MOST_APART:.0%} apart".replace("%", " %"), apart),
    ]
    for group in dict.fromkeys(name.partition("=")[0] for name in seen):
        rows.append(
            (f"replayed by `auto`, `{group}`", [n.partition("=")[2] for n in seen if n.startswith(f"{group}=")])
        )
    return "\n".join(
        [
            "| choices tried on a GPU | number |",
            "|---|---|",
            f"| completed a tiny run with `update.graph=false` and with `true` | {len(both)} |",
            *(f"| {what}: {_listed(names)} | {len(names)} |" for what, names in rows if names),
        ]
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def gpu_sweeps_table() -> str:
    """Tabulate the runs per minute of a sweep on one GPU by the number of concurrent jobs."""
    found = json.loads((RESULTS / "gpu.json").read_text())["sweeps"]
    lines = [
        "| `hydra.launcher.jobs` | seconds for 8 runs of the main job, 2 epochs | runs per minute |",
        "|---|---|---|",
    ]
    for name, one in found.items():
        lines.append(f"| {name.removeprefix('jobs=')} | {one['seconds']:.0f} | {one['runs_a_minute']:.1f} |")
    return "\n".join(lines)


@functools.cache
def _papers() -> list[Paper]:
    """Read all experiments once, because each must be composed."""
    return papers()


def _reproductions() -> Iterator[tuple[Paper, pd.DataFrame, Crossed]]:
    """Yield each experiment with stored runs, its runs, and its scores by method and task."""
    for paper in _papers():
        if paper.runs is not None:
            table = paper.crossed
            assert table is not None
            yield paper, paper.runs, table


def reproductions_table() -> str:
    """Compare each method's mean with the published one, one row per method of an experiment."""
    lines = [
        "| experiment | protocol | method | measured | published | reproduced | runs | time per run |",
        "|---" * 8 + "|",
    ]
    deviations = []
    for paper, runs, table in _reproductions():
        expected, verdicts = paper.expected, {row[0]: row[-1] for row in paper.rows}
        protocol = " and ".join(dict.fromkeys(map(_short_protocol, runs["data_protocol"].dropna())))
        for j, method in enumerate(table.methods):
            published = expected.mean(method, table.tasks)
            of = runs[named_methods(runs, expected) == method]
            tasks = f"{len(table.tasks)} tasks x " if len(table.tasks) > 1 else ""
            verdict = verdicts.get(table.named(method), "")
            if verdict and not paper.same_recipe:  # another recipe cannot reproduce the paper
                words = {"yes": "within tolerance", "no, above": "outside, above", "no, below": "outside, below"}
                text = words.get(verdict, verdict)
                verdict = f"{text} (deviation)" if expected.deviation else f"reduced, {text}"
                deviations += [f"`{paper.name}`: {expected.deviation}"] if expected.deviation else []
            measured = format_metric(
                expected.metric, float(table.overall[j]), float(table.overall_half[j]), table.overall_both.get(j)
            )
            lines.append(
                f"| {f'`{paper.name}`' if j == 0 else ''} | {protocol if j == 0 else ''} | {table.named(method)} "
                f"| {measured} | {format_metric(expected.metric, published)} | {verdict} "
                f"| {tasks}{_seeds(of['seed'].nunique())} | {_seconds(of['duration_s'].median())} |"
            )
    noted = f"Deviations: {'; '.join(dict.fromkeys(deviations))}." if deviations else "No experiment has a deviation."
    return "\n".join([*lines, "", noted])


def _short_protocol(protocol: str) -> str:
    """Keep ways and shots of the protocol of episodes, whose other numbers would make the table too wide."""
    return protocol.partition(", ")[0] if "-shot" in protocol else protocol


_ENOUGH_SEEDS = 5


def decided_table() -> str:
    """Count the published numbers, each of one method and task, that five seeds or more decide; equal ones count once.

    Numbers of one source and task that are equal in value are taken for one.
    """
    lines = ["| experiment | published numbers, five seeds or more | reproduced | not reproduced | undecided |"]
    lines.append("|---" * 5 + "|")
    counted = set[tuple[str, float | None, str]]()
    totals = [0, 0, 0, 0]
    for paper, _, table in _reproductions():
        row = [0, 0, 0, 0]
        for (method, task), (judged, seeds) in verdicts_by_task(table, paper.expected).items():
            number = (paper.expected.source.partition(",")[0], paper.expected.of(method, task), task)
            if seeds < _ENOUGH_SEEDS or number in counted:
                continue
            counted.add(number)
            row[0] += 1
            row[1 + ["yes", "no", "undecided"].index(judged.word.partition(",")[0])] += 1
        if row[0]:
            recipe = "" if paper.same_recipe else " (reduced, or with a deviation)"
            lines.append(f"| `{paper.name}`{recipe} | {' | '.join(map(str, row))} |")
            totals = [a + b for a, b in zip(totals, row, strict=True)]
    return "\n".join([*lines, f"| all | {' | '.join(map(str, totals))} |"])


def spread_of_naive_table() -> str:
    """Show how far the seeds of plain fine-tuning lie apart, which decides how many of them a verdict needs."""
    head = ["experiment", "seeds", "smallest to largest", "standard deviation", "measured", "published", "difference"]
    lines = [f"| {' | '.join([*head, 'tolerance'])} |", "|---" * (len(head) + 1) + "|"]
    for paper, _, table in _reproductions():
        expected = paper.expected
        if "naive" not in expected.published or paper.runs is None or not paper.same_recipe:
            continue
        runs = paper.runs[paper.runs[f"override.{expected.methods}"] == "naive"]
        scores, metric = runs.groupby("seed")[expected.metric].mean().to_numpy(), expected.metric
        if len(scores) < FEWEST_SEEDS:
            continue
        verdict, published = verdicts(table, expected)["naive"], expected.of("naive", None)
        cells = [
            f"`{paper.name}`",
            str(len(scores)),
            f"{format_metric(metric, scores.min())} to {format_metric(metric, scores.max())}",
            format_metric(metric, scores.std(ddof=1)),
            format_metric(metric, scores.mean(), half_width(scores)),
            format_metric(metric, published),
            format_difference(metric, scores.mean() - published, verdict.half),
            format_metric(metric, expected.tolerance),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def tasks_table_of_paper(name: str = "dann/amazon_reviews") -> str:
    """Compare each task of an experiment with its own published number."""
    paper, table = next((paper, table) for paper, _, table in _reproductions() if paper.name == name)
    found, expected = verdicts_by_task(table, paper.expected), paper.expected
    methods = [name for name in table.methods if name in expected.published]
    head = " | ".join(f"{table.named(method)} | published | reproduced" for method in methods)
    lines = [f"| {(expected.tasks or 'task').rpartition('.')[2]} | {head} |", "|---" * (1 + 3 * len(methods)) + "|"]
    for i, task in enumerate(table.tasks):
        cells = [task]
        for method in methods:
            j = table.methods.index(method)
            mean, half = float(table.mean[i, j]), float(table.half[i, j])
            cells += [
                format_metric(expected.metric, mean, half, table.both.get((i, j))),
                format_metric(expected.metric, expected.of(method, task)),
                found[method, task][0].text if (method, task) in found else "",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


_OF_A_METHOD = {"ewc": ("fisher_estimators", "permuted_mnist", "split_mnist"), "dann": ("dann_paper", "dann_shallow")}
"""Choices whose stored runs are runs of another choice's method."""
_NO_METHODS = frozenset({"auto", "none", "source_only", "target_only", "naive", "joint", "from_scratch"})
"""Baselines, bounds, and the automatic choice."""


_PUBLISHED_BESIDE = {
    "matching": "Omniglot: 98.1 (5-way 1-shot), 98.9, 93.8 (20-way 1-shot), 98.5 % (Vinyals et al. 2016, table 1)",
    "maml": "Omniglot: 98.7 ± 0.4 (5-way 1-shot), 99.9 ± 0.1, 95.8 ± 0.3, 98.9 ± 0.2 % (Finn et al. 2017, table 1)",
}
"""Published numbers of methods without a stored run beside them, for the protocols of conf/experiment; each was seen in
two sources."""


def unverified_table() -> str:
    """List the methods, and class-incremental uses, of which no stored run is compared with a published number."""
    beside, run, in_class = set[str](), set[str](), set[str]()
    for paper, _, table in _reproductions():
        names = {method.rpartition("/")[2] for method in table.methods} | set(table.methods)
        run |= names
        compared = {row[0] for row in paper.rows} | {row[0].rpartition("/")[2] for row in paper.rows}
        beside |= compared
        in_class |= compared if paper.name.endswith("_class") else set()
    lines = ["| group | method | stored runs | published number for it |", "|---|---|---|---|"]
    for group in ("domain_adaptation", "strategy"):
        for name in choices(group)[group]:
            if "/" in name or name in _NO_METHODS or name in beside:
                continue
            if any(other.startswith(start) for start in _OF_A_METHOD.get(name, ()) for other in beside):
                continue
            stored = "yes, without a published number" if name in run else "none"
            published = _PUBLISHED_BESIDE.get(name, "none that could be checked")
            lines.append(f"| `{group}` | `{name}` | {stored} | {published} |")
    for name in ("lwf", "si", "online_ewc"):
        if name not in in_class:
            lines.append(f"| `strategy` | `{name}`, class-incremental | none | none that could be checked |")
    return "\n".join(lines)


def reproduced_paper_table(name: str = "dann/amazon_reviews") -> str:
    """Compare the methods of one experiment with its paper, for the tutorial."""
    paper = next(paper for paper, _, _ in _reproductions() if paper.name == name)
    lines = ["| method | measured | published | difference | reproduced |", "|---" * 5 + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in paper.rows)])


def reproduction_pages() -> str:
    """Describe each stored experiment: scores by method and task, the comparison with the paper, and the runs."""
    parts = []
    for paper, runs, table in _reproductions():
        name, expected = paper.name, paper.expected
        file = choices("experiment")["experiment"][name]
        sections = crossed_sections((table, expected.metric, expected.tasks or ""), expected)
        facts = runs.iloc[0]
        stored = "" if pd.isna(facts["data_protocol"]) else f"; protocol: {facts['data_protocol']}"
        protocol = re.sub(r"\b1 queries\b", "1 query", stored)  # as runs of earlier versions recorded it
        commits = [f"`{commit[:10]}`" for commit in dict.fromkeys(runs["git_commit"])]
        dates = sorted({*runs["date"]})
        parts += [
            f"## {describe(file)}",
            f"    uv run python train.py experiment={name}",
            _comments(file),
            *(section.replace("## ", "### ", 1) if section.startswith("## ") else section for section in sections),
            *_claims(paper),
            f"{len(runs)} run{_plural(runs)} on {_enumerated(dates)}, commit{_plural(commits)} {_enumerated(commits)}, "
            f"PyTorch {facts['torch']}, {facts['device']}, {facts['threads']} thread{_machines(runs)}; {_times(runs)}"
            f"{protocol}.",
        ]
    return "\n\n".join(parts)


_ADVANTAGES = ("advantage/texts", "advantage/images")
"""Experiments whose data sets are pooled."""


def claims_table() -> str:
    """List which expectations of experiments hold, and pool the gain from transfer over all data sets."""
    lines = ["| experiment | expected | difference | over | holds |", "|---" * 5 + "|"]
    together: list[Judged] = []
    for paper in _papers():
        rows = [claim.row(paper.expected.metric) for claim in paper.claims]
        if paper.runs is None:
            rows = [[claim.says, "-", "", "not run here"] for claim in paper.expected.expectations]
        for i, row in enumerate(rows):
            lines.append(f"| {' | '.join([f'`{paper.name}`' if i == 0 else '', *row])} |")
        together += paper.claims if paper.name in _ADVANTAGES else []
    if len(together) == len(_ADVANTAGES):
        differences = np.concatenate([one.differences for one in together])
        whole = Judged(together[0].claim, differences, half_width(differences))
        lines.append(f"| `advantage`, texts and images | {' | '.join(whole.row('test/acc'))} |")
    return "\n".join(lines)


def learned_table() -> str:
    """Compare adapters with full fine-tuning, by accuracy and number of trainable parameters, in the stored runs."""
    lines = ["| experiment | strategy | trainable parameters | share | accuracy |", "|---" * 5 + "|"]
    for paper, runs, table in _reproductions():
        if "adapter_tuning" not in table.methods or runs.get("learned", pd.Series([math.nan])).isna().any():
            continue
        learned = runs.groupby("override.strategy")["learned"].mean()
        for j, method in enumerate(table.methods):
            accuracy = format_metric(paper.expected.metric, float(table.overall[j]), float(table.overall_half[j]))
            count, share = learned[method], learned[method] / learned["fine_tuning"]
            name = f"`{paper.name}`" if j == 0 else ""
            lines.append(f"| {name} | `{method}` | {count:,.0f} | {share:.2%} | {accuracy} |")
    return "\n".join(lines) if len(lines) > 2 else "Not run here."


def pretraining_gain_table() -> str:
    """Tabulate the gain of a pretext run over its starting weights by the number of labels."""
    if not (RESULTS / "pretraining_gain.json").is_file():
        return "Not run here: `benchmarks/pretraining_gain.py` measures it."
    head = ["data, backbone", "pretext", "labels", "evaluation", "without", "with the pretext", "gain", "holds"]
    head.append("EfficientNet-Lite0, ImageNet")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for one in json.loads((RESULTS / "pretraining_gain.json").read_text()).values():
        data, backbone, pretext = (
            re.findall(rf"\b{key}=(\w+)", one["overrides"])[0] for key in ("data", "backbone", "pretext")
        )
        pretext += ", next sentence" if "next_sentence=true" in one["overrides"] else ""
        published = backbone.startswith("hf_") and "pretrained=false" not in one["overrides"]
        for row in one["rows"]:
            gain = np.subtract(row["pretrained"], row["random"])
            found = Judged(Claim("gain", {"init_from": "run"}, {"init_from": "null"}), gain, half_width(gain))
            sides = [_with_interval([100 * value for value in row[side]]) for side in ("random", "pretrained")]
            cells = [
                f"{data}, {backbone}{' with published weights' if published else ''}",
                pretext,
                "all" if row["labels"] == "null" else f"{int(row['labels']):,}",
                row["way"],
                *sides,
                found.row("test/acc")[1],
                found.word,
                _with_interval([100 * value for value in row["other"]]) if "other" in row else "-",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ways_table() -> str:
    """Compare the methods for texts by number of labels, and each with training from scratch."""
    stored = [
        paper for paper in _papers() if paper.name.startswith("zero_shot/") and paper.expected.tasks == "data.labels"
    ]
    lines: list[str] = []
    for paper in stored:
        if paper.runs is None or (table := paper.crossed) is None:
            continue
        budgets = sorted(table.tasks, key=int)
        if not lines:
            heads = [f"{int(labels):,} labels" for labels in budgets]
            gains = [f"difference from training from scratch, {head}" for head in heads]
            lines = [f"| data | method | {' | '.join([*heads, *gains])} |"]
            lines.append("|---" * (2 + 2 * len(budgets)) + "|")
        places = [table.tasks.index(labels) for labels in budgets]
        metric = paper.expected.metric
        scores = paper.runs.assign(way=named_methods(paper.runs, paper.expected)).pivot_table(
            index=["override.data.labels", "seed"], columns="way", values=metric
        )
        found = {
            (way, n): paired_t((scores.loc[n][way] - scores.loc[n]["from_scratch"]).dropna().to_numpy())
            for way in table.methods
            if way != "from_scratch"
            for n in budgets
        }
        words = dict(zip(found, _verdicts(list(found.values())), strict=True))
        for j, way in enumerate(table.methods):
            means = [format_metric(metric, table.mean[i, j], table.half[i, j], table.both.get((i, j))) for i in places]
            gains = ["" if way == "from_scratch" else _gain(metric, found[way, n], words[way, n]) for n in budgets]
            first = f"`{paper.name.partition('/')[2]}`" if j == 0 else ""
            lines.append(f"| {first} | {table.named(way)} | {' | '.join(means)} | {' | '.join(gains)} |")
    return "\n".join(lines) or "Not run here: `python -m tl_lab papers run zero_shot/sst2` runs it."


def which_transfer_table() -> str:
    """Tabulate how each kind of transfer compares with training from scratch, by number of labels, and its cost."""
    stored = json.loads((RESULTS / "which_transfer.json").read_text())
    lines, times = list[str](), list[str]()
    for name, one in stored.items():
        runs = pd.DataFrame(one["budgets"])
        found = {each["setting"]: each["verdict"] for each in one["transfer"]}
        if not lines:
            heads = [f"{n:,} labels" for n in sorted(runs.loc[~runs["everything"], "labels"].unique())]
            lines = [f"| inputs | method | {' | '.join([*heads, 'all labels'])} | time per run |"]
            lines.append("|---" * (4 + len(heads)) + "|")
        for way, group in runs.groupby("way", sort=False):
            cells = [
                format_metric(one["metric"], row["mean"], row["half"])
                + (f", {found[row['setting']]}" if row["setting"] in found else "")
                for _, row in group.sort_values("labels").iterrows()
            ]
            first = name if way == runs["way"].iloc[0] else ""
            method = str(way).partition("=")[2]
            lines.append(f"| {first} | {method} | {' | '.join(cells)} | {_seconds(group['seconds'].mean())} |")
        seeds = _seeds(int(runs["n"].max()))
        took = f"{_seconds(one['wall_s'])} in all on {one['cores']} cores"
        times.append(f"{name}: {one['runs']} runs with {seeds}, {took}")
    return "\n".join([*lines, "", f"{'; '.join(times)}."])


def mapped_labels_table() -> str:
    """Tabulate the accuracy of the pretraining task's classifier on Office-Caltech10."""
    (paper,) = (paper for paper in _papers() if paper.name == "zero_shot/office_caltech10")
    if paper.runs is None:
        return f"Not run here: `python -m tl_lab papers run {paper.name}` runs it."
    lines = ["| photographs | accuracy among the mapped classes |", "|---|---|"]
    for place, runs in paper.runs.groupby("override.data.root"):
        lines.append(f"| {str(place).rpartition('/')[2]} | {format_metric('test/acc', runs['test/acc'].mean())} % |")
    return "\n".join(lines)


def _verdicts(found: Sequence[Difference]) -> list[str]:
    """Return the verdicts of docs/reports.md: paired t-tests over seeds, with Holm's correction for their number.

    Args:
        found: differences of one sweep from its baseline, where more is better.
    """
    corrected = holm([one.p if one.n >= FEWEST_SEEDS else None for one in found])
    return [verdict(p, one.mean > 0) for one, p in zip(found, corrected, strict=True)]


def _gain(metric: str, found: Difference, word: str) -> str:
    """Write the difference from training from scratch with the same labels over seeds, and its verdict."""
    return f"{format_difference(metric, found.mean, found.half, found.both)}, {word}" if found.n else "not run"


def tasks_table() -> str:
    """Compare each jointly learned task with its single-task runs, seed by seed."""
    (paper,) = (paper for paper in _papers() if paper.name == "multi_task/rte_mrpc_stsb")
    if paper.runs is None:
        return f"Not run here: `python -m tl_lab papers run {paper.name}` runs it."
    by_sets = {
        tuple(text.strip("[]").split(",")): runs.set_index("seed")
        for text, runs in paper.runs.groupby("override.data.datasets")
    }
    together = next(names for names in by_sets if len(names) > 1)
    lines = ["| task | metric | alone | together | difference | learning together |", "|---" * 6 + "|"]
    names = {task: next(name for name in by_sets[together] if name.startswith(f"test/{task}/")) for task in together}
    found = [
        paired_t((by_sets[together][name] - by_sets[task,][name]).dropna().to_numpy()) for task, name in names.items()
    ]
    for (task, name), one, word in zip(names.items(), found, _verdicts(found), strict=True):
        sides = [
            format_metric(name, of[name].mean(), half_width(of[name].to_numpy()))
            for of in (by_sets[task,], by_sets[together])
        ]
        difference = f"{format_difference(name, one.mean, one.half)}, {one.n} seeds"
        lines.append(f"| {task} | {name.rpartition('/')[2]} | {' | '.join(sides)} | {difference} | {word} |")
    return "\n".join(lines)


def start_up_table() -> str:
    """Tabulate the CPU time to the end of the first update, and that of the imports of other packages."""
    found = json.loads((RESULTS / "start_up.json").read_text())
    lines = ["| start | least CPU time | times `import torch` |", "|---|---|---|"]
    for one in found["starts"]:
        lines.append(f"| {one['start']} | {one['cpu_s']:.1f} s | {one['times_import_torch']:.1f} |")
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return "\n".join([*lines, "", f"Least of {found['repeats']} starts each, measured in turn; {versions}."])


def text_values_table() -> str:
    """Compare measured values of the packaged text weights with reference values."""
    found = json.loads((RESULTS / "text_values.json").read_text())
    lines = ["| quantity | measured | reference |", "|---|---|---|"]
    lines.append(f"| STS-B test, Spearman, MiniLM's cosines | {found['stsb_spearman']:.4f} | .8203 |")
    for key, title, known in (
        ("glove_20000", "SST-2 test accuracy, mean of GloVe vectors, 20,000 sentences", "72.8 %"),
        ("minilm_2000", "SST-2 test accuracy, frozen MiniLM, 2,000 sentences", "78.5 %"),
    ):
        lines.append(f"| {title} | {_with_interval([100 * one for one in found[key]])} % | {known} |")
    return "\n".join(lines)


def text_speed_table() -> str:
    """Compare a fine-tuning step with other loops, and with cached computations."""
    found = json.loads((RESULTS / "text_speed.json").read_text())
    frame, others, features, tokens = (found[name] for name in ("frame", "transformers", "features", "tokenising"))

    def spread(one: dict[str, float], form: str) -> str:
        return f"{one['ratio']:{form}} ({one['min']:{form}} to {one['max']:{form}})"

    def ms(seconds: float) -> str:
        value = 1000 * seconds / found["steps"]
        return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"

    how = (
        f"MiniLM, {found['batch']} sentences of SST-2; CPU time, {found['repeats']} x {found['steps']} steps in turn, "
        f"PyTorch {found['torch']}"
    )
    return "\n".join(
        [
            "| measured | ratio | how |",
            "|---|---|---|",
            f"| a fine-tuning step, framework / by hand, same batches | {spread(frame, '.3f')} | {how}, "
            f"{ms(frame['frame_s'])} and {ms(frame['by_hand_s'])} |",
            f"| a fine-tuning step, Trainer of transformers / framework | {spread(others, '.2f')} | the same "
            f"sentences, in random batches there, each padded to its longest text, {ms(others['transformers_s'])} |",
            f"| a step of a head, frozen encoder in the loop / cached features | {spread(features, ',.0f')} | the "
            f"same, {ms(features['every_step_s'])} and {ms(features['cached_s'])}, the features computed before |",
            f"| SST-2 tokenised, first time / from the cache | {tokens['first_s'] / tokens['again_s']:.1f} | "
            f"{tokens['sentences']:,} sentences, {tokens['first_s']:.1f} s ({tokens['first_cpu_s']:.1f} s of CPU time) "
            f"and {tokens['again_s']:.1f} s |",
        ]
    )


def _claims(paper: Paper) -> list[str]:
    """List the expectations of an experiment and whether they hold."""
    if not paper.claims:
        return []
    rows = [" | ".join(claim.row(paper.expected.metric)) for claim in paper.claims]
    head = ["| expected | difference | over | holds |", "|---" * 4 + "|"]
    return ["### Expected differences", "\n".join([*head, *(f"| {row} |" for row in rows)])]


def _plural(items: Sized) -> str:
    return "" if len(items) == 1 else "s"


def _enumerated(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _times(runs: pd.DataFrame) -> str:
    """State the time of a run, and that of all runs if there are several."""
    seconds = runs["duration_s"]
    if len(runs) == 1:
        return _seconds(seconds.sum())
    return f"{_seconds(seconds.median())} per run (median), {_seconds(seconds.sum())} in total"


def _machines(runs: pd.DataFrame) -> str:
    """Name the machines, if they were recorded."""
    return "".join(f", {name}" for name in runs.get("machine", pd.Series(dtype=str)).dropna().unique())


def _comments(file: Path) -> str:
    """Return the description of the protocol in an experiment's file: the comments below its first line."""
    lines = [line[1:].strip() for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    text = " ".join(lines[2:])
    text = re.sub(r"(?<![.]) (?=Protocol:)", ". ", text)  # in the file a new line ends the sentence
    return text[text.index("Expected:") :] if "Expected:" in text else ""


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def assess_table() -> str:
    """Tabulate the findings of benchmarks/assess.py, one table per question."""
    parts = []
    for one in json.loads((RESULTS / "assess.json").read_text(encoding="utf-8")).values():
        rows = [one["head"], ["---"] * len(one["head"]), *one["rows"]]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        how = f"{one['cpu_s']:.0f} s of CPU time, {one['date']}, PyTorch {one['torch']}"
        parts.append("\n".join([f"**{one['question']}**", "", *lines, "", f"{one['answer']} ({how})"]))
    return "\n\n".join(parts)


def referee_table() -> str:
    """List the stored runs that were drawn and repeated, the newest first."""
    found = json.loads((RESULTS / "referee.json").read_text())
    lines = ["| drawn run | repeated | verdict |", "|---|---|---|"]
    for one in sorted(found, key=lambda one: one["date"], reverse=True):
        lines.append(f"| `{one['run']}` | {one['date']} | {one['verdict']} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[], str]] = {
    "assess": assess_table,
    "benchmarks": benchmarks_table,
    "boxes": boxes_table,
    "choices": choices_table,
    "claims": claims_table,
    "embedded_pair": embedded_pair_table,
    "embedded_pair_first_seeds": first_seeds_table,
    "ewc": ewc_table,
    "films": films_table,
    "few_shot_speed": few_shot_speed_table,
    "gpu": gpu_table,
    "groups": groups_table,
    "gpu_choices": gpu_choices_table,
    "gpu_aims": gpu_aims_table,
    "gpu_sweeps": gpu_sweeps_table,
    "decoders": decoders_table,
    "random_changes": random_changes_table,
    "kept_memory": kept_memory_table,
    "languages": languages_table,
    "dann_reduction": dann_reduction_table,
    "learned": learned_table,
    "pretraining_gain": pretraining_gain_table,
    "recognition": recognition_table,
    "shift": shift_table,
    "speakers": speakers_table,
    "tabular": tabular_table,
    "large_data": large_data_table,
    "large_data_texts": large_data_texts_table,
    "large_data_throughput": large_data_throughput_table,
    "other_inputs": other_inputs_table,
    "sweep_overhead": sweep_overhead_table,
    "start_up": start_up_table,
    "tasks": tasks_table,
    "text_speed": text_speed_table,
    "text_values": text_values_table,
    "ways": ways_table,
    "which_transfer": which_transfer_table,
    "mapped_labels": mapped_labels_table,
    "fisher_estimators": fisher_estimators_table,
    "mnist_to_mnistm_tried": mnist_to_mnistm_tried_table,
    "referee": referee_table,
    "reliability": reliability_table,
    "report": report_table,
    "reproduced_paper": reproduced_paper_table,
    "reproduction_pages": reproduction_pages,
    "reproductions": reproductions_table,
    "unverified": unverified_table,
    "decided": decided_table,
    "peers": peers_table,
    "spread_of_naive": spread_of_naive_table,
    "amazon_pairs": tasks_table_of_paper,
    "strengths": strengths_table,
    "trade_off": trade_off_table,
    "embedded_pair_ranks": ranks_table,
    "embedded_pair_settings": settings_table,
    "embedded_pair_settings_again": settings_again_table,
}


def filled(page: str) -> str:
    """Return a page's text with every table regenerated."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block[2]]()}\n\n{block[3]}", page)


def main() -> int:
    """Write or check the pages."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--check", action="store_true", help="change nothing")
    check = options.parse_args().check
    stale = 0
    for path in PAGES:  # each page is read late, because tables take seconds, during which a page may be edited
        before = path.read_text()
        after = filled(before)
        if after != before:
            stale += 1
            if not check:
                path.write_text(after)
            print(f"{path.relative_to(ROOT)} {'is out of date' if check else 'written'}")
    return 1 if check and stale else 0


def _rows(name: str) -> list[dict[str, str]]:
    with (RESULTS / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _with_interval(values: list[float], sign: str = "") -> str:
    mean = f"{statistics.fmean(values):{sign}.1f}"
    if len(values) == 2:  # too few for an interval
        return f"{mean} ({min(values):{sign}.1f}, {max(values):{sign}.1f})"
    half = half_width(values)
    return mean if half != half else f"{mean} ± {half:.1f}"


if __name__ == "__main__":
    sys.exit(main())
