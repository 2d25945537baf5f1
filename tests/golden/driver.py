"""Run golden runs with one revision's code: ``python driver.py <root> <jobs> <name> ...`` in an empty folder.

The process imports the revision once and forks a child for each run, whose command line is that of ``train.py``. It is
a program of its own because the revision's code must not be that of the process that compares. Extra overrides for all
runs come from the environment variable ``GOLDEN_OVERRIDES``.
"""

import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runs import RUNS, Run

_DEADLINE_S = 240.0
_THIRD_PARTY = ["pytorch_lightning", "torchmetrics", "torchvision", "timm", "sklearn.linear_model", "pandas", "hydra"]


def load(root: Path) -> Callable[[list[str]], None]:
    """Import the revision below ``root`` whole, and give the function that its ``train.py`` calls.

    Raises:
        RuntimeError: another tl_lab, or another of its plug-ins, would be imported.
    """
    sys.path.insert(0, str(root))
    for name in _THIRD_PARTY:
        importlib.import_module(name)
    from hydra.core.plugins import Plugins

    import tl_lab

    Plugins.instance()  # imports all plug-ins that it finds
    for module in pkgutil.walk_packages(tl_lab.__path__, "tl_lab.", onerror=lambda _: None):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        own = name.partition(".")[0] == "tl_lab" or name.startswith("hydra_plugins.tl_lab")
        if own and file and not Path(file).resolve().is_relative_to(root):
            raise RuntimeError(f"{name} comes from {file}, not from {root}")
    print(f"tl_lab: {tl_lab.__file__}", flush=True)
    return runpy.run_path(str(root / "train.py"))["main"]


def _make_images(folder: Path) -> None:
    """Write a folder of class folders: 24 images of each of three classes of scikit-learn's digits."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for label in range(3):
        (folder / str(label)).mkdir(parents=True)
        for number, image in enumerate(digits.images[digits.target == label][:24]):
            Image.fromarray((image * 15).astype("uint8")).convert("RGB").save(folder / str(label) / f"{number}.png")


def _fork(main: Callable[[list[str]], None], root: Path, argv: list[str], log: Path) -> int:
    """Start the command line in a forked process, which leads a process group; return its id."""
    if (pid := os.fork()) != 0:
        return pid
    code = 1
    try:
        os.setpgid(0, 0)
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.argv[:] = [str(root / "train.py"), *argv]
        main(argv)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run(main: Callable[[list[str]], None], root: Path, name: str, run: Run) -> int:
    """Run one golden run in its folder; return the exit code."""
    log, folder = Path("logs") / f"{name}.txt", Path("runs") / name
    overrides = [*run.overrides, *os.environ.get("GOLDEN_OVERRIDES", "").split()]
    if run.kind == "sweep":
        return _wait(_fork(main, root, ["-m", *overrides, f"hydra.sweep.dir={folder}"], log))
    argv = [*overrides, f"hydra.run.dir={folder}"]
    if run.kind == "process":
        with log.open("ab") as file:
            command = [sys.executable, str(root / "train.py"), *argv]
            return subprocess.run(command, stdout=file, stderr=file, check=False).returncode
    pid = _fork(main, root, argv, log)
    if run.kind == "plain":
        return _wait(pid)
    last, began = folder / "checkpoints" / "last.ckpt", time.monotonic()
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while not last.exists() and os.waitid(os.P_PID, pid, look) is None and time.monotonic() - began < _DEADLINE_S:
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    _wait(pid)
    status = json.loads((folder / "results.json").read_text())["status"]
    if status != "running":
        log.open("a").write(f"the run was to be killed, and is {status}\n")
        return 1
    return _wait(_fork(main, root, [f"resume={folder}"], log))


def run_all(main: Callable[[list[str]], None], root: Path, jobs: int, names: list[str]) -> dict[str, Any]:
    """Run them, ``jobs`` at a time; return exit code and seconds of each."""
    waiting, running, outcomes = list(names), dict[int, tuple[str, float]](), dict[str, Any]()
    while waiting or running:
        ready = [name for name in waiting if RUNS[name].after is None or RUNS[name].after in outcomes]
        while ready and len(running) < jobs:
            name = ready.pop(0)
            waiting.remove(name)
            if (pid := os.fork()) == 0:
                code = 1
                try:
                    code = _run(main, root, name, RUNS[name])
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            running[pid] = name, time.monotonic()
        pid, status = os.wait()
        if pid in running:
            name, began = running.pop(pid)
            code, seconds = os.waitstatus_to_exitcode(status), round(time.monotonic() - began, 1)
            outcomes[name] = {"code": code, "seconds": seconds}
            print(f"{name}: {seconds} s" + ("" if code == 0 else f", exit code {code}"), flush=True)
    return outcomes


def main() -> None:
    """Run what the command line names, and write ``ended.json``."""
    root, jobs, names = Path(sys.argv[1]).resolve(), int(sys.argv[2]), sys.argv[3:]
    train = load(root)
    for folder in ("logs", "runs"):
        Path(folder).mkdir()
    _make_images(Path("images"))
    gc.collect()
    gc.freeze()
    Path("ended.json").write_text(json.dumps(run_all(train, root, jobs, names)))
    sys.stdout.flush()
    os._exit(0)  # without the warnings of compiled modules that are torn down after a fork


if __name__ == "__main__":
    main()
