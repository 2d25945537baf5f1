"""Record the golden runs of a revision, and compare the work tree with them to the last bit.

    python tests/golden/record.py record --revision a7fb69b --output golden.json
    python tests/golden/record.py compare golden.json [--only from_scratch,pair_dann]

The first command checks the revision out into a temporary folder, runs every run of ``runs.py`` there with that
revision's code and writes what the runs' folders hold. The second runs the work tree that holds this file and prints
each difference; the exit code is 1 where there is any. Without ``--revision``, ``record`` records the work tree. Of
weights it is told apart whether tensors were renamed or their numbers changed.

The recorded hashes hold for one machine, its PyTorch and its number of threads, so the file is not kept in the
repository. Record anew, at the last revision before a change that must leave all numbers alone:

* on another machine, or after an update of a dependency;
* after a change that is meant to alter numbers, once each difference that ``compare`` prints has been explained by it;
* after a change to ``runs.py``.

Both sides run the list of runs that lies beside this file. A run whose overrides are renamed by a change needs an
entry whose command line both revisions understand.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from digests import compare, digest, digest_sweep
from runs import RUNS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Record or compare; return the exit code."""
    options = _parser().parse_args(argv)
    names = _names(options.only)
    if options.command == "record":
        with _checked_out(options.revision) if options.revision else nullcontext(ROOT) as root:
            content = run(root, names, options.jobs)
        options.output.write_text(json.dumps({"revision": options.revision, "runs": content}, indent=1) + "\n")
        failed = [name for name, found in content.items() if found.get("failed")]
        print(
            f"{len(content)} runs recorded in {options.output}" + (f"; failed: {', '.join(failed)}" if failed else "")
        )
        return int(bool(failed))
    stored = json.loads(options.record.read_text())["runs"]
    names = [name for name in names if name in stored or options.only]
    return _print_differences({name: stored.get(name, {}) for name in names}, run(ROOT, names, options.jobs))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Golden runs: record a revision, compare the work tree with it.")
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="run the golden runs and write what they give")
    record.add_argument("--revision", help="a commit; default: the work tree")
    record.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    comparison = commands.add_parser("compare", help="run the work tree and print each difference")
    comparison.add_argument("record", type=Path, help="the JSON file of a recorded revision")
    for command in (record, comparison):
        command.add_argument("--only", help="names of runs, separated by commas; default: all")
        command.add_argument("--jobs", type=int, default=2, help="runs at the same time, of a thread each")
    return parser


def _names(only: str | None) -> list[str]:
    names = only.split(",") if only else list(RUNS)
    if unknown := [name for name in names if name not in RUNS]:
        sys.exit(f"--only: there is no run {', '.join(unknown)}; there are {', '.join(RUNS)}")
    needed = {RUNS[name].after for name in names} - {None, *names}
    return [name for name in RUNS if name in names or name in needed]


@contextmanager
def _checked_out(revision: str):
    """Check a revision out into a temporary folder, as a work tree of this repository."""
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        root = Path(folder).resolve() / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(root), revision], check=True)
        try:
            yield root
        finally:
            subprocess.run([*git, "remove", "--force", str(root)], check=True)


def run(root: Path, names: Sequence[str], jobs: int) -> dict[str, Any]:
    """Run golden runs with the code below ``root``, in a temporary folder; return the record of each.

    Raises:
        RuntimeError: the runs used other code than that below ``root``.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        work = Path(folder).resolve()
        # its own cache of made data, or a change in how they are made would stay unseen
        own = {"PYTHONPATH": str(root), "TL_LAB_CACHE": str(work / "cache"), "OMP_NUM_THREADS": "1"}
        own |= {"WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
        drive(work, own, [str(root), str(jobs), *names])
        ended = json.loads((work / "ended.json").read_text())
        found = {name: _recorded(work, root, name, ended[name]["code"]) for name in names}
        print(f"{len(names)} runs of {root} in {time.monotonic() - began:.0f} s", flush=True)
        return found


def drive(work: Path, environment: dict[str, str], argv: list[str]) -> None:
    """Start the driver in a folder, as a process that has imported nothing yet, and wait for its end."""
    command = [sys.executable, str(HERE / "driver.py"), *argv]
    subprocess.run(command, cwd=work, env={**os.environ, **environment}, check=True)


def _recorded(work: Path, root: Path, name: str, code: int) -> dict[str, Any]:
    folder = work / "runs" / name
    if code != 0:
        text = (work / "logs" / f"{name}.txt").read_text(errors="replace")
        return {"failed": [f"exit code {code}", *text.strip().splitlines()[-8:]]}
    for path in [*folder.glob("**/.hydra/hydra.yaml")]:
        if f"path: {root}/" not in path.read_text():
            raise RuntimeError(f"{name} was composed from another configuration than that below {root}")
    return digest_sweep(folder) if RUNS[name].kind == "sweep" else digest(folder, RUNS[name].kind == "killed")


def _print_differences(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print each difference; return the exit code."""
    differing = 0
    for name in after:
        lines = compare(before[name], after[name])
        # what fails in the same way on both sides is not equal: it has no numbers
        lines += [text for text in after[name].get("failed", []) if not lines]
        differing += bool(lines)
        for line in lines:
            print(f"{name}: {line}")
    print(f"{len(after) - differing} of {len(after)} runs equal to the last bit")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
