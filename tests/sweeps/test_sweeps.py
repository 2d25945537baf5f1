"""Sweeps with real jobs: isolated, recorded whatever their end, and resumed."""

import faulthandler
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from program_starts import Start
from small_sweeps import TINY, command, results, sweep, table

import tl_lab.run.experiment
from tl_lab import commands
from tl_lab.__main__ import main as tl_lab_main
from tl_lab.cli.train import main
from tl_lab.errors import UserError
from tl_lab.sweeps.folder import Earlier, claim, earlier_runs, last_sweep, pick
from tl_lab.sweeps.processes import Child

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

TRAIN = str(Path(__file__).resolve().parents[2] / "train.py")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "sweep"
    assert sweep(folder, "seed=0,1,2,3,4,5", "hydra.launcher.jobs=2") == 0
    return folder


def test_a_job_is_the_same_alone_and_in_a_sweep(undisturbed: Path, tmp_path: Path) -> None:
    alone = Child(lambda tell: main([*TINY, "seed=3", "figures=false", f"hydra.run.dir={tmp_path / 'alone'}"]))
    while not alone.ended():
        time.sleep(0.05)
    assert alone.returned
    assert results(tmp_path / "alone")["metrics"] == results(undisturbed / "3")["metrics"]
    weights = [
        torch.load(run / "checkpoints" / "last.ckpt")["state_dict"] for run in (tmp_path / "alone", undisturbed / "3")
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert "epoch 2/2" in (undisturbed / "3" / "output.txt").read_text()
    assert not (undisturbed / "3" / "figures").exists()


def test_figures_are_drawn_afterwards_and_are_those_of_the_run(
    undisturbed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(undisturbed / "0", tmp_path / "sweep" / "0")
    drawn = Child(lambda tell: main([*TINY, "seed=0", f"hydra.run.dir={tmp_path / 'alone'}"]))
    while not drawn.ended():
        time.sleep(0.05)
    before = json.loads((tmp_path / "sweep" / "0" / "results.json").read_text())
    tl_lab_main(["figures", str(tmp_path / "sweep")])
    assert "1 completed run, 1 without figures" in capfd.readouterr().out
    names = {file.name for file in (tmp_path / "alone" / "figures").iterdir()}
    assert names == {file.name for file in (tmp_path / "sweep" / "0" / "figures").iterdir()}
    assert len(names) >= 2
    for name in names:
        one, other = ((tmp_path / run / "figures" / name).read_bytes() for run in ("alone", "sweep/0"))
        assert one == other, name
    assert json.loads((tmp_path / "sweep" / "0" / "results.json").read_text()) == {**before, "drawn": True}
    for folder, message in {
        "nowhere": "there is no folder",
        "alone/figures": "there is no completed run below",
    }.items():
        with pytest.raises(SystemExit):
            tl_lab_main(["figures", str(tmp_path / folder)])
        assert message in capfd.readouterr().err


def _runs_out_of_memory(*arguments: Any) -> None:
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79 GiB."
    )


def test_every_end_of_a_job_gives_one_row_and_resume_completes_the_table(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tl_lab.run.experiment.run

    def dies(cfg: Any) -> float | None:
        if cfg.seed == 1:
            os._exit(3)
        if cfg.seed == 2:
            faulthandler.disable()  # pytest's would print where
            os.kill(os.getpid(), signal.SIGSEGV)
        if cfg.seed == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if cfg.seed == 4:  # a GPU that other jobs have filled up
            monkeypatch.setattr(tl_lab.run.experiment, "_fit", _runs_out_of_memory)
        if cfg.seed == 5:  # a disk that is full: no file larger than this
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        return run(cfg)

    monkeypatch.setattr(tl_lab.run.experiment, "run", dies)
    folder = tmp_path / "sweep"
    assert sweep(folder, "seed=0,1,2,3,4,5") == 1
    printed = capsys.readouterr()
    rows = pd.read_csv(folder / "results.csv").set_index("seed")
    assert rows["status"].to_dict() == {0: "completed", **dict.fromkeys(range(1, 6), "failed")}
    reasons = {1: "exit code 3", 2: "killed by SIGSEGV", 3: "killed by SIGKILL", 5: "Cannot write "}
    for seed, reason in (
        reasons | {4: "the GPU has no memory left for another 2.50 GiB: reduce data.batch_size"}
    ).items():
        assert reason in rows["error"][seed]
        assert f"job {seed}: seed={seed}  failed  {rows['error'][seed]}" in printed.out
    assert "nothing was written" in rows["error"][5]
    assert "5 of 6 jobs failed" in printed.err
    assert results(folder / "0")["metrics"] == results(undisturbed / "0")["metrics"]

    monkeypatch.setattr(tl_lab.run.experiment, "run", run)
    kept = (folder / "0" / "results.json").stat().st_mtime_ns
    assert sweep(folder, "seed=0,1,2,3,4,5") == 1  # without resume nothing is touched
    assert "sweep.resume=true" in capsys.readouterr().err
    assert sweep(folder, "seed=0,1,2,3,4,5", "sweep.resume=true", "hydra.launcher.jobs=2") == 0
    assert (folder / "0" / "results.json").stat().st_mtime_ns == kept
    pd.testing.assert_frame_equal(table(folder), table(undisturbed))


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root can mount a tiny disk")
def test_a_full_disk_fails_later_jobs_and_keeps_earlier_results(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    room = int(2.7 * sum(-(-file.stat().st_size // 4096) * 4096 for file in (undisturbed / "0").rglob("*")))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this machine does not let tests mount a disk")
    try:
        assert sweep(disk / "sweep", "seed=range(4)") == 1
        printed = capsys.readouterr()
        statuses = [json.loads(file.read_text())["status"] for file in sorted(disk.glob("sweep/*/results.json"))]
        assert statuses[0] == "completed"
        assert "completed" not in statuses[statuses.index("failed") :]
        assert "no space left on device" in printed.out.lower()
        assert "jobs failed" in printed.err
        for file in disk.rglob("*.ckpt"):  # whole, if there at all
            torch.load(file, weights_only=True)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_job_that_does_not_compose_is_a_failed_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(tmp_path / "sweep", "seed=0", "data.batch_size='${oc.env:NOT_SET_ANYWHERE}'") == 1
    assert "NOT_SET_ANYWHERE" in capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "sweep" / "results.csv")
    assert (rows["status"][0], rows["seed"][0]) == ("failed", 0)
    assert "NOT_SET_ANYWHERE" in rows["error"][0]


def test_another_configuration_or_code_version_is_not_mixed_in(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(undisturbed, folder)
    for run, change in {
        "1": {"git_commit": "0" * 40},
        "2": {"git_commit": "0" * 40, "status": "running"},
    }.items():
        (folder / run / "results.json").write_text(json.dumps(results(folder / run) | change))
    trained = (folder / "2" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert sweep(folder, "seed=0,1,2", "optimizer.lr=0.5,0.001", "sweep.resume=true") == 0
    printed = capsys.readouterr().out
    # the default rate is among the new ones: those runs are kept, wherever they lie
    assert printed.count("  kept  (") == 2
    assert "job 0 runs in 0-2: 0 contains another configuration" in printed
    assert "restarts: its checkpoint is from another code version (0000000000)" in printed
    assert (folder / "2" / "checkpoints" / "last.ckpt").stat().st_mtime_ns > trained
    assert "1 kept run is from another code version" in printed
    assert results(folder / "0")["metrics"] == results(undisturbed / "0")["metrics"]


def test_other_launchers_resume_with_the_same_jobs_only(
    undisturbed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(undisturbed, folder)
    again = ["sweep.resume=true", "hydra/launcher=basic"]
    assert sweep(folder, "seed=0,1", *again) == 1
    assert "contains the sweep of another command: resume with hydra/launcher=forked" in capfd.readouterr().err
    (folder / "1" / "results.json").write_text(json.dumps(results(folder / "1") | {"config_hash": "of other files"}))
    assert sweep(folder, "seed=0,1,2,3,4,5", *again) == 1
    assert f"the files under conf/ have changed since {folder / '1'} started" in capfd.readouterr().err
    shutil.copy(undisturbed / "1" / "results.json", folder / "1")
    (folder / "2" / "results.json").write_text(json.dumps(results(folder / "2") | {"status": "running"}))
    kept = (folder / "0" / "results.json").stat().st_mtime_ns
    assert sweep(folder, "seed=0,1,2,3,4,5", *again) == 0
    assert (folder / "0" / "results.json").stat().st_mtime_ns == kept
    pd.testing.assert_frame_equal(table(folder), table(undisturbed))


@pytest.mark.slow
def test_a_sweep_interrupted_and_then_killed_resumes_to_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real processes: Ctrl-C in the first start, kill -9 of the second, both while a job trains."""
    long = ["trainer.max_epochs=40", "seed=0,1"]

    def go_on(folder: Path, name: str) -> Start:
        return Start(*command(folder, *long, "sweep.resume=true"), output=tmp_path / name)

    def wait_for(file: Path, process: Start, newer_than: int = 0) -> int:
        for _ in range(6000):
            if file.exists() and file.stat().st_mtime_ns > newer_than:
                return file.stat().st_mtime_ns
            if process.poll() is not None:
                raise AssertionError(process.printed)
            time.sleep(0.02)
        raise AssertionError(f"{file} did not appear")

    broken = tmp_path / "broken"
    last = [broken / number / "checkpoints" / "last.ckpt" for number in "01"]
    first = Start(*command(broken, *long), output=tmp_path / "first.txt")
    wait_for(last[0], first)
    os.kill(first.pid, signal.SIGINT)
    code, printed = first.wait(180), first.printed
    assert code == 130, printed
    monkeypatch.setattr(sys, "argv", [TRAIN])
    assert f"interrupted; resume: {commands.train('-m')} " in printed
    assert results(broken / "0")["status"] == "failed"

    second = go_on(broken, "second.txt")
    wait_for(last[1], second)
    second.kill()
    printed = second.printed
    assert "job 0 resumes from its checkpoint" in printed
    assert "job 0: seed=0  completed" in printed
    assert results(broken / "1")["status"] == "running"
    left = last[1].stat().st_mtime_ns
    time.sleep(1)
    assert last[1].stat().st_mtime_ns == left  # its job has died with it

    third = go_on(broken, "third.txt")
    assert third.wait(300) == 0, third.printed
    printed = third.printed
    assert "job 0: seed=0  completed  test/acc" in printed
    assert "kept" in printed
    assert "job 1 resumes from its checkpoint" in printed
    whole = tmp_path / "whole"
    assert sweep(whole, *long) == 0
    pd.testing.assert_frame_equal(table(broken), table(whole))


@pytest.mark.slow
def test_the_processes_of_a_distributed_job_die_with_a_killed_sweep(tmp_path: Path) -> None:
    folder, given = tmp_path / "sweep", ["trainer=ddp_cpu", "trainer.max_epochs=2000", "seed=0"]
    process = subprocess.Popen([sys.executable, TRAIN, *command(folder, *given)], stdout=subprocess.DEVNULL)
    last = folder / "0" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(_processes_about(folder)) >= 3  # the sweep, its job as a program of its own, and that one's second
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while (left := _processes_about(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def _processes_about(folder: Path) -> list[str]:
    """Return the command lines of the processes that name a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        if any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


def test_weights_and_biases_gets_one_group_per_sweep_and_one_run_per_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    folder = tmp_path / "a_group_of_two"
    assert sweep(folder, "seed=0,1", "logger=wandb", "hydra.launcher.jobs=2") == 0
    assert f"wandb sync {folder}/*/wandb/offline-run-*" in capsys.readouterr().out
    for number in "01":
        (run,) = (folder / number).glob("wandb/offline-run-*/run-*.wandb")
        content = run.read_bytes()
        assert b"a_group_of_two" in content
        assert content.count(b"test/acc") >= 1  # the final metrics are in


@pytest.mark.slow
def test_two_processes_train_inside_a_sweep(tmp_path: Path) -> None:
    assert sweep(tmp_path / "sweep", "trainer=cpu,ddp_cpu") == 0
    alone, pair = (results(tmp_path / "sweep" / number) for number in "01")
    assert (alone["device"], pair["device"]) == ("cpu", "2 x cpu")
    assert pair["objective"] == pair["metrics"]["val/acc"]
    assert sorted(path.name for path in (tmp_path / "sweep").glob("[0-9]*")) == ["0", "1"]
    assert not (tmp_path / "sweep" / "1" / "figures").exists()


def test_a_child_sends_messages_returns_and_ends_with_its_descendants() -> None:
    started = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")

    def talks(tell: Any) -> int:
        tell("first")
        tell("second")
        return 7

    child = Child(talks)
    while not child.ended():
        time.sleep(0.01)
    assert (child.message, child.value, child.returned, child.death) == ("second", 7, True, None)
    child.close()

    sleeper = Child(lambda tell: tell(subprocess.Popen(["sleep", "100"]).pid) or time.sleep(100))
    while sleeper.message is None:
        assert not sleeper.ended()
        time.sleep(0.01)
    assert Path(f"/proc/{sleeper.message}").exists()
    sleeper.interrupt()
    sleeper.stop()
    assert sleeper.death == "the job's process ended with exit code 130 before it could report a reason"
    sleeper.close()
    state = Path(f"/proc/{sleeper.message}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"
    assert not started.exists() or str(sleeper.message) not in started.read_text().split()


def test_two_sweeps_never_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one").mkdir()
    with claim(tmp_path / "one", ["seed=0,1"]):
        with pytest.raises(UserError, match="another process is running a sweep"):
            claim(tmp_path / "one", ["seed=0,1"])
        assert sweep(tmp_path / "one", "seed=0,1") == 1
        assert "another process is running a sweep" in capsys.readouterr().err
        with claim(tmp_path, ["seed=0,1"]):
            pass
    claim(tmp_path / "one", ["seed=0,1"]).close()


def test_two_concurrent_sweeps_in_neighbouring_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_OUTPUTS", str(tmp_path))
    both = [Child(lambda tell: main(["-m", *TINY, "seed=0,1"])) for _ in range(2)]
    while not all(child.ended() for child in both):
        time.sleep(0.05)
    folders = list((tmp_path / "sweeps").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert [results(folder / number)["status"] for number in "01"] == ["completed"] * 2
        assert len(pd.read_csv(folder / "results.csv")) == 2


def test_the_last_sweep_by_the_same_command_is_found(tmp_path: Path) -> None:
    commands = {"a": ["seed=0,1", "backbone=mlp"], "b": ["seed=0,1", "backbone=mlp"], "c": ["seed=0,1"]}
    for number, (name, overrides) in enumerate(commands.items()):
        (tmp_path / name).mkdir()
        claim(tmp_path / name, overrides).close()
        content = json.loads((tmp_path / name / "sweep.json").read_text())
        (tmp_path / name / "sweep.json").write_text(json.dumps(content | {"began": f"2026-01-0{number + 1}T00:00:00"}))
    again = ["backbone=mlp", "sweep.resume=true", "seed=0,1", "hydra.launcher.jobs=2"]
    assert last_sweep(tmp_path / "new", again) == tmp_path / "b"
    assert last_sweep(tmp_path / "new", ["seed=0,2"]) is None


def test_the_right_run_is_chosen_among_equal_configurations(tmp_path: Path) -> None:
    for name, status, root in (("0", "failed", "a"), ("1", "completed", "a"), ("2", "completed", "b")):
        (tmp_path / name).mkdir()
        content = {"schema": 1, "status": status, "config_hash": "x", "objective": 0.5, "git_commit": "c"}
        (tmp_path / name / "results.json").write_text(json.dumps(content))
        (tmp_path / name / "config.yaml").write_text(f"data:\n  root: {root}\n  of:\n    root: null\nseed: 0\n")
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "results.json").write_text("{")  # damaged: as if it were not there
    found = earlier_runs(tmp_path)
    assert list(found) == ["x"]

    def taken(root: str, own: str) -> str | None:
        one = pick(found["x"], {"data": {"root": root, "of": {"root": None}}, "seed": 0}, tmp_path / own)
        return None if one is None else one.folder.name

    assert taken("a", "7") == "1"  # completed
    assert taken("a", "0") == "0"  # its own, which failed
    assert taken("b", "1") == "2"  # other data, though the hash is the same
    assert taken("c", "1") is None
    assert found["x"][1] == Earlier(tmp_path / "1", "completed", "c", 0.5, trained=False)
