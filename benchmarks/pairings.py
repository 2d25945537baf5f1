"""Does every backbone with every data choice either learn for two updates or say in one sentence why not?

    python benchmarks/pairings.py                          # every pairing: about an hour of one core
    python benchmarks/pairings.py --data sst2 moons        # these sets
    python benchmarks/pairings.py --store                  # write docs/results/pairings.json
    python benchmarks/pairings.py --store --missing        # the pairings that are not stored yet

Episodes are learned by prototypes, streams by naive fine-tuning, and other data by the backbone's natural strategy.
Pairings of different kinds of inputs are refused before anything is read, which is asked for in this process. Each
other pairing is a run of its own: two updates, its test, without figures. It is right if it ends with exit code 0, or
with exit code 1 and one sentence that no other text stands beside. Sets that need files of one's own get small ones
made here; those whose files lie in TL_LAB_DATA are tried where they are there, and counted as absent elsewhere.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from own_files import files_of_ones_own
from portable import portable

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from program_starts import Start  # noqa: E402

from tl_lab.config import choices, compose  # noqa: E402
from tl_lab.errors import UserError  # noqa: E402
from tl_lab.run.pairing import check_modality  # noqa: E402
from tl_lab.run.plan import Plan  # noqa: E402

STORED = ROOT / "docs" / "results" / "pairings.json"
SHORT = ["logger=none", "threads=1", "trainer.enable_progress_bar=false", "figures=false", "health=false"]
SHORT += ["domain_adaptation=none", "trainer.max_epochs=1", "++data.batches_per_epoch=2"]
SHORT += ["trainer.limit_val_batches=2", "trainer.limit_test_batches=2", "validation.samples=null"]
STRATEGIES = {"episodes": "prototypical", "tasks": "naive", "several tasks": "multi_task"}
FEW = {"labels": 100, "test_count": 50}
MANY_CLASSES = {"glyphs"}  # more than 100, of which each needs a label
# large networks of large images take minutes for a batch otherwise
SMALL = {"batch_size": 8, "eval_batch_size": 32, "num_tasks": 2}
LONGEST_S = 300.0


def main() -> None:
    """Try every pairing, print a line each, store the counts and what went wrong."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", nargs="+", default=sorted(choices("data")["data"]), help="choices of data")
    options.add_argument("--backbone", nargs="+", default=sorted(choices("backbone")["backbone"]), help="backbones")
    options.add_argument("--store", action="store_true", help="write docs/results/pairings.json")
    options.add_argument("--missing", action="store_true", help="try what is not stored, and keep what is")
    chosen = options.parse_args()
    rows = json.loads(STORED.read_text())["rows"] if chosen.missing and STORED.is_file() else []
    there = {(row["data"], row["backbone"]) for row in rows}
    with tempfile.TemporaryDirectory() as place:
        own = files_of_ones_own(Path(place))
        del own["receipts"]  # the set itself is tried
        for data in chosen.data:
            for backbone in (one for one in chosen.backbone if (data, one) not in there):
                rows.append(_try(Path(place), data, backbone, own.get(data, [])))
                shutil.rmtree(Path(place) / f"{data}-{backbone}", ignore_errors=True)  # checkpoints fill a disk
                print(json.dumps(rows[-1]), flush=True)
            if chosen.store:
                _store(rows)


def _try(place: Path, data: str, backbone: str, own: list[str]) -> dict[str, str]:
    folder = place / f"{data}-{backbone}"
    words = [f"data={data}", f"backbone={backbone}", *SHORT, *own]
    plan = Plan.of(compose(words))
    words += [f"strategy={STRATEGIES[trait]}" for trait in plan.data.kind.traits_for(plan.data.node) & set(STRATEGIES)]
    if backbone == "clip" and not any(word.startswith("strategy=") for word in words):
        words.append("strategy=feature_extraction")  # its weights come from a hub
    row = {"data": data, "backbone": backbone}
    if (reason := _refused_by_kind(words)) is not None:
        return {**row, "ended": "refused", "said": reason}
    # a frozen backbone passes over the whole set once, which takes hours where both are large
    node = compose(words).data
    if not own:
        few = {"test_count": FEW["test_count"]} if data in MANY_CLASSES else FEW
        words += [f"data.{name}={count}" for name, count in few.items() if name in node and node[name] is None]
    words += [f"data.{name}={count}" for name, count in SMALL.items() if isinstance(node.get(name), int)]
    words.append(f"hydra.run.dir={folder}")
    start = Start(*words, output=place / "said.txt", environment={"COLUMNS": "1000"}, prepare=_new_files(place))
    try:
        code = start.wait(LONGEST_S)
    except Exception as error:  # a pairing that hangs is a result, too
        return {**row, "ended": "broken", "said": f"{type(error).__name__} after {LONGEST_S:.0f} s"}
    lines = [line for line in start.errors.splitlines() if line.strip()]
    sentence = lines[-1] if lines else ""
    if code == 0:
        return {**row, "ended": "learned", "said": ""}
    one = code == 1 and "Traceback" not in start.printed and "\n" not in sentence and len(sentence) < 1000
    ended = "broken" if not one else "absent" if "TL_LAB_DATA" in sentence else "refused"
    return {**row, "ended": ended, "said": sentence}


def _refused_by_kind(words: list[str]) -> str | None:
    """Give the sentence of a pairing whose kinds of inputs differ, which needs no start of its own."""
    try:
        check_modality(Plan.of(compose(words)))
    except UserError as error:
        return str(error)
    return None


def _new_files(place: Path) -> Any:
    """Empty the files of the start before, in the process itself, which appends to none of them."""

    def empty() -> None:
        os.environ.setdefault("TL_LAB_OUTPUTS", str(place / "outputs"))

    for name in ("said.txt", "said.txt.err"):
        (place / name).unlink(missing_ok=True)
    return empty


def _store(rows: list[dict[str, str]]) -> None:
    counts = Counter(row["ended"] for row in rows)
    of = {"of_pairings": len(choices("data")["data"]) * len(choices("backbone")["backbone"])}
    summary = {**counts, "pairings": len(rows), **of, "torch": torch.__version__, "python": platform.python_version()}
    STORED.write_text(json.dumps(portable({**summary, "rows": rows}), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
