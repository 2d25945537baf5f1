"""Jobs that do not end by themselves: time limits, remaining threads, and folders in use."""

import contextlib
import io
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tl_lab.cli import arguments
from tl_lab.errors import UserError
from tl_lab.results.folder.lock import held
from tl_lab.sweeps import processes
from tl_lab.sweeps.jobs import settle
from tl_lab.sweeps.processes import Child, wait_for_any
from tl_lab.sweeps.progress import SweepProgress
from tl_lab.sweeps.running import run_jobs

LIMIT_S = 0.3


def outcome(child: Child, limit_s: float | None = None) -> float:
    """Wait for a process as a sweep does, and give the seconds that it took."""
    began = time.monotonic()
    while not child.ended():
        assert time.monotonic() - began < 20, "the process goes on for ever"
        child.limit(limit_s, "hydra.launcher.timeout")
        wait_for_any([child], 0.05)
    return time.monotonic() - began


def test_a_remaining_thread_does_not_keep_the_job_alive() -> None:
    def job(tell: Any) -> str:
        threading.Thread(target=time.sleep, args=(60,)).start()
        return "done"

    child = Child(job)
    outcome(child)
    assert (child.value, child.returned, child.death) == ("done", True, None)
    child.close()


def test_an_error_with_a_remaining_thread() -> None:
    def job(tell: Any) -> None:
        threading.Thread(target=time.sleep, args=(60,)).start()
        raise SystemExit(3)

    child = Child(job)
    outcome(child)
    assert child.death == "the job's process ended with exit code 3 before it could report a reason"
    child.close()


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_job_that_takes_too_long_is_ended(stubborn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PATIENCE_S", 0.2)

    def job(tell: Any) -> None:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            if stubborn:
                time.sleep(60)
            raise

    child = Child(job)
    took = outcome(child, LIMIT_S)
    assert LIMIT_S <= took < 10
    assert child.death == "the job took longer than hydra.launcher.timeout=0.3 s, and was ended"
    child.close()


def test_a_job_within_its_time_limit_is_not_ended() -> None:
    child = Child(lambda tell: "done")
    outcome(child, 20)
    assert (child.value, child.overdue) == ("done", "")
    child.close()


class Stub:
    """A job with a folder, without a configuration."""

    def __init__(self, number: int, folder: Path, seconds: float) -> None:
        self.number, self.overrides, self.name = number, (), f"job {number}"
        self.folder, self.seconds = folder, seconds

    def run(self, tell: Any, gpu: str | None = None) -> dict[str, Any]:
        self.folder.mkdir()
        tell({"folder": str(self.folder)})
        (self.folder / "results.json").write_text(json.dumps({"schema": 1, "status": "running", "duration_s": 0.0}))
        try:
            time.sleep(self.seconds)
        except KeyboardInterrupt:  # as a run does, which says what it knows
            (self.folder / "results.json").write_text(
                '{"schema": 1, "status": "failed", "error": "KeyboardInterrupt: "}'
            )
            raise
        (self.folder / "results.json").write_text('{"schema": 1, "status": "completed"}')
        return {"value": 1.0}

    def settle(
        self, message: dict[str, Any], failure: str | None, seconds: float, ended: bool = False
    ) -> dict[str, Any]:
        return settle(self.folder, failure, seconds, None, ended)


def test_a_sweep_continues_after_a_job_that_took_too_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs: Any = [Stub(0, tmp_path / "0", 60), Stub(1, tmp_path / "1", 0)]
    progress = SweepProgress(1)
    progress.start(2)
    returned = run_jobs(jobs, 1, progress, timeout_s=LIMIT_S)
    progress.stop()
    first, second = (json.loads((tmp_path / name / "results.json").read_text()) for name in "01")
    assert first["status"] == "failed"
    assert first["error"] == "the job took longer than hydra.launcher.timeout=0.3 s, and was ended"
    assert second["status"] == "completed"
    assert [job.return_value for job in returned] == [None, 1.0]
    assert "1 failed" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["0", "-3", "soon", "true", "nan"])
def test_a_limit_is_a_number_of_seconds(value: str) -> None:
    with pytest.raises(UserError, match=r"^hydra\.launcher\.timeout must be null or a number of seconds above 0, not "):
        arguments.check([f"hydra.launcher.timeout={value}"], [("-m", None)])


# ---------------------------------------------------------------------- folders in use


def test_a_folder_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path):
        child = Child(lambda tell: _try(tmp_path))
        outcome(child)
        assert (
            child.value
            == f"another process is working in '{tmp_path}': wait until it has ended, or choose another folder"
        )
        child.close()
    assert _try(tmp_path) == "free"
    assert list(tmp_path.iterdir()) == []


def test_a_start_does_not_write_to_a_folder_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    with held(tmp_path / "run"):
        with held(tmp_path / "run"):  # by the same process
            pass
        second = Child(lambda tell: _start(["data=digits", "logger=none", "figures=false", "hydra.run.dir=run"]))
        outcome(second)
        code, errors = second.value
        second.close()
    assert (code, "another process is working in 'run': wait until it has ended" in errors) == (1, True)
    assert list((tmp_path / "run").iterdir()) == []  # not even Hydra's record of the overrides


def test_a_second_start_changes_nothing_in_the_folder_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["data=digits", "data.labels=50", "backbone=mlp", "backbone.hidden=[4]", "trainer.max_epochs=1"]
    quiet = ["logger=none", "figures=false", "trainer.enable_progress_bar=false", "hydra.run.dir=run"]
    first = Child(lambda tell: _start([*small, *quiet], tell))
    while first.message is None:
        assert not first.ended()
        wait_for_any([first], 0.05)
    before = {name: (tmp_path / "run" / name).read_bytes() for name in ("config.yaml", "results.json")}
    for more in (["trainer.max_epochs=9"], []):
        second = Child(lambda tell, more=more: _start(["resume=run", *more]))
        outcome(second)
        code, errors = second.value
        assert (code, "another process is working in 'run': wait until it has ended" in errors) == (1, True)
        assert before == {name: (tmp_path / "run" / name).read_bytes() for name in before}
        second.close()
    (tmp_path / "go").touch()
    outcome(first)
    assert first.value[0] == 0
    first.close()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["status"], "lengthened" in results) == ("completed", False)


def _start(argv: list[str], tell: Any = None) -> tuple[int, str]:
    """Start the program; if the process can tell, it waits with training until there is a file ``go``."""
    from tl_lab.cli.train import main
    from tl_lab.run import experiment

    fit = experiment._fit

    def waiting(*given: Any) -> None:
        if tell is not None:
            tell("begun")
            while not Path("go").exists():
                time.sleep(0.02)
        fit(*given)

    experiment._fit = waiting
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main(argv)
        except SystemExit as end:
            return int(end.code or 0), errors.getvalue()
    return 0, errors.getvalue()


def _try(folder: Path) -> str:
    try:
        with held(folder):
            return "free"
    except UserError as error:
        return str(error)


def test_a_killed_process_releases_its_folder(tmp_path: Path) -> None:
    def job(tell: Any) -> None:
        with held(tmp_path):
            tell("held")
            os.kill(os.getpid(), 9)

    child = Child(job)
    outcome(child)
    assert child.message == "held"
    child.close()
    assert _try(tmp_path) == "free"


def test_a_deleted_folder_is_reported(tmp_path: Path) -> None:
    assert _try(tmp_path / "gone") == f"cannot work in '{tmp_path / 'gone'}' (no such file or directory)"
