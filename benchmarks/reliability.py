"""Does a run that is killed at any of its writes end, once resumed, as one that was never killed?

    python benchmarks/reliability.py                                   # every write of every case
    python benchmarks/reliability.py --cases ewc --writes 5             # five writes of the cases named "ewc"
    python benchmarks/reliability.py --writes 4 --moments 2 --store     # what is stored
    python benchmarks/reliability.py --writes 4 --moments 2 --store --missing    # the cases that are not stored yet

For each case (a strategy with a scenario, or a method on two domains) a run without a kill is made first, and its
writes are counted: every file of a run gets its name by one call. Then runs are killed, each once, and resumed: at
writes, in turn before and after the file has its name, at random moments, and where the test begins. Everything in the
folder is compared: metrics, protocol, tables, matrices, figures, weights, optimizers, random states. What the clock
says is left out.

Beside the kills it counts options with values that they do not admit, 200 of them as commands that are started, and,
by the tests, data that are malformed or do not fit, and tries to let a run's folder from elsewhere run code.
"""

import argparse
import functools
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from portable import portable

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "config")]

from killing import contents, count_writes, differing, run_with_kills  # noqa: E402
from program_starts import Start  # noqa: E402
from test_options import PLAIN, check, commands, ends_in_a_sentence, generated, taken_by, wrong_for  # noqa: E402

import tl_lab.run.experiment  # noqa: E402, F401  (once for all processes)

STORED = ROOT / "docs" / "results" / "reliability.json"
SMALL = ["logger=none", "threads=1", "trainer.enable_progress_bar=false", "backbone=mlp", "backbone.hidden=[8]"]
DRAWN = ("ewc, class", "pair, dann", "set, from_scratch")  # the others draw no figures, which takes most of the time
STREAM = ["data=split_digits", "data.num_tasks=2", "data.batches_per_epoch=2", "trainer.max_epochs=1"]
PAIR = ["data=printed_to_handwritten", "data.source_count=200", "data.source_test_count=50"]
PAIR += ["data.target_test_count=50", "data.batches_per_epoch=2", "trainer.max_epochs=2"]
CONTINUAL = ["naive", "joint", "ewc", "online_ewc", "si", "mas", "lwf", "replay", "a_gem", "der_plus_plus"]
METHODS = ["none", "dann", "mcd", "adda", "self_training", "mmd", "importance_weighting"]
METHODS += ["cdan", "mdd", "afn", "jmmd", "coral", "mcc", "domain_randomisation", "target_only"]
SET = ["data=digits", "data.labels=100", "trainer.max_epochs=3"]
EPISODES = ["data=glyph_episodes", "data.train.way=5", "data.episodes_per_epoch=4", "data.val_episodes=4"]
EPISODES += ["data.test_episodes=4", "trainer.max_epochs=2"]
FEW_SHOT = ["prototypical", "maml", "matching", "fomaml", "anil", "reptile", "baseline", "baseline_plus_plus"]
TEXTS = ["data=sst2", "data.test_count=20", "backbone=word_vectors"]
PROMPTS = ["data=sst2", "data.test_count=4", "strategy.shots=1", "backbone=hf_causal"]
TEACHER = "TEACHER"  # stands for the folder of a run, made for the case


def cases() -> dict[str, list[str]]:
    """Give the overrides of each case by its name."""
    found = {}
    for scenario in ("class", "domain", "task"):
        for strategy in CONTINUAL:
            if (strategy, scenario) != ("lwf", "domain"):
                found[f"{strategy}, {scenario}"] = [*STREAM, f"strategy={strategy}", f"data.scenario={scenario}"]
    for method in METHODS:
        found[f"pair, {method}"] = [*PAIR, f"domain_adaptation={method}"]
    found["pair, adabn"] = [*PAIR, "domain_adaptation=adabn", "backbone.batch_norm=true"]
    for strategy in ("from_scratch", "fine_tuning", "feature_extraction", "pretraining", "partial_tuning", "setfit"):
        found[f"set, {strategy}"] = [*SET, f"strategy={strategy}"]
    found["set, adapter"] = [*SET, "strategy=fine_tuning", "adapter=bitfit"]
    found["set, distillation"] = [*SET, "strategy=distillation", f"strategy.teacher={TEACHER}"]
    found["set, multi_task"] = ["strategy=multi_task", "data=tasks", "data.datasets=[digits,digits_value]", *SET[1:]]
    found["set, adapter_tuning"] = [*SET, "strategy=adapter_tuning", "adapter=lora"]
    for strategy in FEW_SHOT:
        found[f"episodes, {strategy}"] = [*EPISODES, f"strategy={strategy}"]
    found["episodes, nearest_centroid"] = [*EPISODES, "strategy=nearest_centroid"]
    found["texts, zero_shot"] = [*TEXTS, "strategy=zero_shot"]
    found["texts, prompting"] = [*PROMPTS, "strategy=prompting"]
    return {
        name: [
            *(part for part in SMALL if "backbone=" not in " ".join(overrides) or not part.startswith("backbone")),
            *overrides,
            f"figures={str(name in DRAWN).lower()}",
        ]
        for name, overrides in sorted(found.items(), key=lambda case: case[0] not in DRAWN)
    }


def kills(writes: int, at_most: int) -> Iterator[tuple[int, bool]]:
    """Name the places of a run's kills: a write, evenly spread, and whether the file has its name already."""
    count = min(writes, at_most)
    for place in range(count):
        number = 1 + place * writes // count
        yield number, number % 2 == 0


def main() -> None:
    """Kill, resume, compare; the stored result grows with every case."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cases", default="", help="part of the names of the cases to try")
    options.add_argument("--writes", type=int, default=10**6, help="writes of each case to kill at, at most")
    options.add_argument("--moments", type=int, default=1, help="random moments of each case to kill at")
    options.add_argument("--store", action="store_true", help="write docs/results/reliability.json")
    options.add_argument("--missing", action="store_true", help="try what is not stored, and keep what is")
    chosen = options.parse_args()
    rows = json.loads(STORED.read_text())["rows"] if chosen.missing else list[dict[str, Any]]()
    tries, there = {} if chosen.cases else _tries(), {row["case"] for row in rows}
    for name, overrides in cases().items():
        if chosen.cases in name and name not in there:
            rows.append(_try(name, overrides, chosen.writes, chosen.moments))
            print(json.dumps(rows[-1]), flush=True)
            if chosen.store:
                _store(rows, tries)


# ---------------------------------------------------------------------- kills


def _try(name: str, overrides: list[str], writes: int, moments: int) -> dict[str, Any]:
    """Kill runs of one case at writes, at random moments and where the test begins."""
    with tempfile.TemporaryDirectory() as place:
        folder, draw = Path(place), random.Random(name)
        overrides = _with_teacher(overrides, folder / "teacher")
        total = count_writes(folder / "unbroken", overrides)
        unbroken, began = contents(folder / "unbroken"), time.monotonic()
        assert Start(*overrides, f"hydra.run.dir={folder / 'timed'}", output=folder / "timed.txt").wait() == 0
        took = time.monotonic() - began
        ways: list[tuple[str, str, Callable[[Path], Any]]] = [
            (
                "writes",
                f"{'after' if whole else 'before'} write {number} of {total}",
                _at_write(overrides, number, whole),
            )
            for number, whole in kills(total, writes)
        ]
        for _ in range(moments):
            after = draw.uniform(0.1, 0.95)
            ways.append(("moments", f"after {after:.0%} of the time", _at_moment(overrides, after * took)))
        ways.append(("tests", "where the test begins", _at_test(overrides)))
        row: dict[str, Any] = {"case": name}
        for kind in ("writes", "moments", "tests"):
            row[kind] = {"kills": 0, "equal": 0, "different": {}}
        for number, (kind, moment, kill) in enumerate(ways):
            killed = folder / f"killed_{number}"
            if not kill(killed):
                continue  # it had ended before
            places = differing(unbroken, contents(killed))
            row[kind]["kills"] += 1
            row[kind]["equal"] += not places
            if places:
                row[kind]["different"][moment] = places[:5]
    return row


def _with_teacher(overrides: list[str], teacher: Path) -> list[str]:
    """Train the teacher of a case that has one, and name its folder in the overrides."""
    if not any(TEACHER in text for text in overrides):
        return overrides
    start = Start(*SMALL, *SET, "figures=false", f"hydra.run.dir={teacher}", output=teacher.parent / "teacher.txt")
    assert start.wait() == 0, start.printed
    return [text.replace(TEACHER, str(teacher)) for text in overrides]


def _at_write(overrides: list[str], number: int, whole: bool) -> Callable[[Path], Any]:
    return lambda folder: run_with_kills(folder, overrides, [(number, whole)])


def _at_moment(overrides: list[str], after_s: float) -> Callable[[Path], Any]:
    return lambda folder: _killed_and_resumed(folder, overrides, prepare=functools.partial(_die_after, after_s))


def _at_test(overrides: list[str]) -> Callable[[Path], Any]:
    return lambda folder: _killed_and_resumed(folder, overrides, dies_at="pytorch_lightning:Trainer.test")


def _killed_and_resumed(folder: Path, overrides: list[str], **death: Any) -> bool:
    """Start a run that dies, and go on with it; False where it ended before."""
    start = Start(*overrides, f"hydra.run.dir={folder}", output=folder.parent / f"{folder.name}.txt", **death)
    if start.wait() == 0:
        return False
    assert start.returncode == -signal.SIGKILL, start.printed
    begun = (folder / "config.yaml").exists()
    again = [f"resume={folder}"] if begun else [*overrides, f"hydra.run.dir={folder}"]
    resumed = Start(*again, output=folder.parent / f"{folder.name}_again.txt")
    assert resumed.wait() == 0, resumed.printed
    return True


def _die_after(seconds: float) -> None:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()


# ---------------------------------------------------------------------- mistakes, and folders from elsewhere


def _tries() -> dict[str, dict[str, int]]:
    """Count what is refused in a sentence, or runs nothing, of how many tries."""
    refusals = "refused or damaged or missing or wrong or refuses or empty or mistake or unreadable or truncated"
    foreign = ["tests/config/test_foreign_folders.py", "tests/config/test_trust.py"]
    return {
        "malformed overrides": _overrides_refused(),
        "malformed commands": _commands_refused(200),
        "malformed data": _passed(
            ["tests/data", "tests/run/test_input_checks.py", "tests/run/test_inputs_to_predict.py", "-k", refusals]
        ),
        "foreign code that did not run": _passed(foreign),
    }


def _overrides_refused() -> dict[str, int]:
    mistakes = [
        check({"part": {"_target_": target, name: value}}, {"part": taken_by(target).needed})
        for target, name, value in generated()
    ]
    for where, hint in PLAIN.items():
        for value in wrong_for(hint):
            content: Any = value
            for key in reversed(where.split(".")):
                content = {key: content}
            mistakes.append(check(content))
    return {"tries": len(mistakes), "right": sum(len(one) == 1 and "\n" not in one[0] for one in mistakes)}


def _commands_refused(count: int) -> dict[str, int]:
    """Start the program with drawn mistakes: each has to end with exit code 1 and one sentence."""
    right = 0
    for arguments, option in commands(count, seed=1):
        with tempfile.TemporaryDirectory() as place:
            right += ends_in_a_sentence(arguments, option, Path(place))
    return {"tries": count, "right": right}


def _passed(tests: list[str]) -> dict[str, int]:
    """Run tests, and count those that passed; what lacks its data is no try."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "told.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", f"--junitxml={report}", *tests]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    tries = int(suite.attrib["tests"]) - int(suite.attrib["skipped"])
    return {"tries": tries, "right": tries - int(suite.attrib["failures"]) - int(suite.attrib["errors"])}


def _store(rows: list[dict[str, Any]], tries: dict[str, dict[str, int]]) -> None:
    """Write the rows, and how many kills of how many left no trace."""
    counts = {
        f"kills at {moment}": {
            "tries": sum(row[kind]["kills"] for row in rows),
            "right": sum(row[kind]["equal"] for row in rows),
        }
        for kind, moment in (("writes", "write points"), ("moments", "random moments"), ("tests", "the test"))
    }
    content = {
        **counts,
        **tries,
        "cases": len(rows),
        "of_cases": len(cases()),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    STORED.write_text(json.dumps(portable({**content, "rows": rows}), indent=2) + "\n")


if __name__ == "__main__":
    main()
