"""The command line: mistakes, folders, and failing jobs."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
import types
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from tl_lab import commands
from tl_lab.__main__ import main as tl_lab_main
from tl_lab.cli import arguments
from tl_lab.cli import train as cli
from tl_lab.config import choices, compose, conf_dir, config_hash
from tl_lab.errors import UserError
from tl_lab.run.pairing import check_pairing
from tl_lab.run.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
Job = Callable[[DictConfig, Path], Any]


class Program:
    """The command line with a stand-in for the experiment, in a folder of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd
        self.seen: list[tuple[DictConfig, Path]] = []
        self.job: Job = lambda cfg, folder: None
        module = types.ModuleType("tl_lab.run.experiment")
        module.run = self._run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "tl_lab.run.experiment", module)

    def _run(self, cfg: DictConfig, anew: Mapping[str, str] | None = None) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        self.seen.append((OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)), folder))
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
        status = "failed"
        try:
            self.job(cfg, folder)
            status = "completed"
        finally:
            (folder / "results.json").write_text(json.dumps({"status": status}))

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        code = 0
        try:
            cli.main(argv)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1 if end.code else 0
        out, err = self.capfd.readouterr()
        return code, out, err


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Program:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TL_LAB_OUTPUTS", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.delenv("UV", raising=False)  # with which commands would begin with uv run
    return Program(monkeypatch, capfd)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["backbone=lenett"], "'backbone=lenett' is not among the choices; did you mean 'lenet'?"),
        (["strategy="], "'strategy=' leaves the run without its strategy; valid: "),
        (["data=zzqqxx"], " and 48 more (python -m tl_lab list data)"),
        (["strategy=null"], "'strategy=null' leaves the run without its strategy; valid: "),
        (["~strategy"], "'~strategy' leaves the run without its strategy; valid: "),
        (["optimizer.lrr=1"], "optimizer has no key 'lrr'; did you mean 'lr'?"),
        (["optimizer.lr.x=1"], "'optimizer.lr.x' cannot be set: optimizer.lr is a value"),
        (["bakbone=lenet"], "there is no key or group 'bakbone'; did you mean 'backbone'?"),
        (["sed=1"], "there is no key or group 'sed'; did you mean 'seed'"),
        (["lenet"], "'lenet' does not set a value; write backbone=lenet"),
        (["whatever"], "'whatever' does not set a value; write key=value"),
        (["name=(x"], "'name=(x' cannot be read; a value with spaces or symbols needs two pairs of quotes"),
        (
            ["hydra/launcher.jobs=2"],
            "'hydra/launcher.jobs=2' cannot be read: an option of a group is named with dots only; "
            "write hydra.launcher.jobs=2",
        ),
        (["trainer/max_epochs=2"], "'trainer/max_epochs' is not a group; write the option as trainer.max_epochs=..."),
        (["name=../.."], "name=../.. is not a valid folder below the outputs"),
        (["name=a/../../b"], "name=a/../../b is not a valid folder below the outputs"),
        (["name=/etc"], "name=/etc is not a valid folder below the outputs"),
        (["+optimizer=adam"], "'+optimizer=adam': optimizer already has a choice; leave out the +"),
        (["+optimizer.lr=1"], "'+optimizer.lr=1': optimizer.lr already exists; leave out the +"),
        (
            ["data=sst2", "data.group_column=x"],
            "data has no key 'group_column' with this choice; it names columns of data=table, text_table, tasks_of",
        ),
        (["strategy={layers: {trainable: none, traineble: all}}"], "strategy.layers has no key 'traineble'"),
        (["trainer={max_epochs: 1, maxepochs: 2}"], "trainer has no key 'maxepochs'; did you mean 'max_epochs' or"),
        (
            ["experiment=zero_shot/office_caltech10", "strategy.label_map={mug: cup, pens: pen}"],
            "strategy.label_map has no key 'pens'; valid: backpack, bike, calculator, headphones, keyboard, laptop",
        ),
        (
            ["strategy=prompting", "strategy.label_words={negative: bad, positive: good}", "trainer.max_epoch=3"],
            "tl_lab: trainer has no key 'max_epoch'; did you mean 'max_epochs'",
        ),
        (["update.new=1"], "(to add a new key, write +update.new=...)"),
        (["data.augmentation.flip=1"], "data.augmentation is ${augmentation}; set it there"),
        (["hydra.run.dirr=x"], "hydra.run has no key 'dirr'; did you mean 'dir'?"),
        (["+hydra.foo=1"], "'+hydra.foo=1': hydra has no key 'foo'; valid: callbacks, defaults"),
        (["++hydra.run.dirr=x"], "'++hydra.run.dirr=x': hydra.run has no key 'dirr'; did you mean 'dir'?"),
        (["+hydra.job.config.foo=1"], "hydra.job.config has no key 'foo'"),
        (["experiment=nothing"], "'experiment=nothing' is not among the choices"),
        (["seed=0,1"], "'seed=0,1' has several values; add -m to run them one after another"),
        (["backbone=mlp", "backbone.hidden=8,4"], "one after another, or write 'backbone.hidden=[8,4]' for a list"),
        (["--data", "digits"], "there is no option '--data'; write data=digits"),
        (["--strategy"], "there is no option '--strategy'; write strategy=<choice>"),
        (["--multirunn"], "there is no option '--multirunn'; did you mean '--multirun'"),
        (["--config-dir"], "option '--config-dir' must be followed by a value"),
        (["-cd", "nowhere"], "--config-dir: there is no folder"),
        (["-m", "seed=0,1", "backbone=mlp,lenett"], "'backbone=lenett' is not among the choices"),
        (["-m", "backbone=glob(x*)"], "'backbone=glob(x*)' does not match any choice"),
        (
            ["-m", "seed=0,1", "hydra.launcher.jobs=0"],
            "hydra.launcher.jobs must be a whole number of at least 1, not 0",
        ),
        (["-m", "seed=0,1", "hydra/launcher=forkd"], "did you mean 'forked'?"),
        (["sweep.objective=test/acc"], "sweep.objective=test/acc: test metrics cannot be used for selection"),
        (["trainer=cuda"], "'trainer=cuda' is not among the choices; did you mean 'gpu'?\n"),
        (
            ["data=tabel", "data.path=x.csv"],
            "tl_lab: 'data=tabel' is not among the choices; did you mean 'table' or 'text_table' or 'table_pair'?\n",
        ),
        (["-m", "hydra/launcher=forkd", "hydra.launcher.jobs=2"], "tl_lab: 'hydra/launcher=forkd' is not among"),
        (["experiment=nothin", "data.path=x.csv", "sed=1"], "2 mistakes: (1) 'experiment=nothin' is not among"),
        (["backbone=lenett", "optimizer.lrr=1"], "(2) optimizer has no key 'lrr'; did you mean 'lr'?"),
        (["backbone=lenett", "sed=1"], "2 mistakes: (1) 'backbone=lenett'"),
        (["resume=nowhere"], "resume: there is no folder 'nowhere'"),
        (["resume=.", "seed=1"], "the place of the data (data.<option>) can be given with it, not seed=1"),
        (["-m", "resume=."], "the place of the data (data.<option>) can be given with it, not -m"),
        (["resume=."], "resume: '.' has no config.yaml"),
        (["resume="], "'resume=' does not name a folder: give that of the run to resume"),
        (["~seed"], "'~seed' removes a key that every run requires: set seed instead"),
        (["~update"], "'~update' removes a key that every run requires"),
        (["~trainer.max_epochs"], "'~trainer.max_epochs' removes a key that every run requires"),
        (["hydra.run.dir="], "hydra.run.dir= does not name a folder"),
        (["-m", "seed=0..3"], "'seed=0..3' is not a range: write 'seed=range(0,4)'"),
        (["-m", "--run"], "--multirun and --run exclude each other"),
        (["--cfg", "everything"], "--cfg must be followed by all or hydra or job, not 'everything'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence(program: Program, argv: list[str], message: str) -> None:
    code, out, err = program(*argv)
    assert code == 1
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert out == ""
    assert program.seen == []
    assert list(Path.cwd().iterdir()) == []


def test_a_run_that_never_began_can_be_started_again(program: Program) -> None:
    assert program("seed=7", "backbone=mlp", "hydra.run.dir='my run'")[0] == 0
    Path("my run/config.yaml").unlink()  # as a kill leaves it that comes before the first write
    code, _, err = program("resume=my run")
    assert code == 1
    *_, again = err.strip().partition(f"start it again: {commands.train()} ")
    assert program(*shlex.split(again)) == (0, "", "")
    cfg, folder = program.seen[-1]
    assert (cfg.seed, folder) == (7, Path("my run").absolute())


def test_hints_name_the_program_that_was_started(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    assert program("hydra.run.dir=run")[0] == 0
    Path("run/config.yaml").unlink()
    for started in ("train.py", "tl-lab"):
        monkeypatch.setattr(sys, "argv", [started])
        assert (
            f"option '--config-dir' must be followed by a value; {commands.train('--hydra-help')} lists them"
            in program("--config-dir")[2]
        )
        again = commands.train(f"hydra.run.dir={arguments.quote('run')}")
        assert f"start it again: {again}" in program("resume=run")[2]
    source = [line for file in (ROOT / "tl_lab").rglob("*.py") for line in file.read_text().splitlines()]
    hints = [line for line in source if re.search(r"f?[\"'][^\"'`]*(python train\.py|python -m tl_lab) ", line)]
    assert [line for line in hints if "help=" not in line and "  # or " not in line] == []


@pytest.mark.parametrize(
    ("given", "epochs", "mode"),
    [
        ([], 1, "disabled"),
        (["trainer.max_epochs=3"], 3, "disabled"),
        (["trainer.max_updates=5"], None, "disabled"),
        (["logger=[csv]"], 1, "disabled"),
        (["logger.mode=offline"], 1, "offline"),
        (["++figures=auto"], 1, "disabled"),
    ],
)
def test_a_tiny_run_keeps_what_is_given(program: Program, given: list[str], epochs: int | None, mode: str) -> None:
    assert program("debug=true", "data=digits", *given, "hydra.run.dir=run") == (0, "", "")
    ((cfg, _),) = program.seen
    assert (cfg.trainer.max_epochs, cfg.logger.mode) == (epochs, mode)
    assert cfg.figures == ("auto" if "++figures=auto" in given else True)
    assert [cfg.trainer[f"limit_{part}_batches"] for part in ("train", "val", "test")] == [2, 2, 2]
    assert [node for node in cfg.logger if node == "csv"] == (["csv"] if "logger=[csv]" in given else [])
    assert not Path("run/train.log").exists()


def test_a_configuration_that_was_edited_is_not_resumed(program: Program) -> None:
    assert program("seed=7", "hydra.run.dir=run")[0] == 0
    cfg = OmegaConf.load("run/config.yaml")
    Path("run/results.json").write_text(json.dumps({"status": "running", "config_hash": config_hash(cfg)}))
    assert program("resume=run")[0] == 0
    Path("run/results.json").write_text(json.dumps({"status": "running", "config_hash": config_hash(cfg)}))
    cfg.optimizer.lr = 0.5
    OmegaConf.save(cfg, "run/config.yaml")
    code, _, err = program("resume=run")
    assert (code, "config.yaml was edited since the run started (its hash was" in err) == (1, True)


def test_options_that_only_swept_choices_have(program: Program) -> None:
    """The default strategy has no such option: the sweep's jobs get it, and what they share does not."""
    given = ["-m", "hydra/launcher=basic", "strategy=ewc,si", "data=split_digits", "strategy.optimizer_state=reset"]
    code, _, err = program(*given, "hydra.sweep.dir=sweep")
    assert (code, err) == (0, "")
    assert [(cfg.strategy._target_.rpartition(".")[2], cfg.strategy.optimizer_state) for cfg, _ in program.seen] == [
        ("EWC", "reset"),
        ("SI", "reset"),
    ]
    assert "- strategy.optimizer_state=reset\n" in Path("sweep/0/.hydra/overrides.yaml").read_text()


def test_the_configuration_of_a_sweep_is_that_of_its_first_job(program: Program) -> None:
    code, out, err = program("-m", "seed=3,4", "strategy=ewc,si", "data=split_digits", "--cfg", "job")
    assert (code, err) == (0, "tl_lab: configuration of the first of several jobs:\n")
    shown = OmegaConf.create(out)
    assert (shown.seed, shown.strategy._target_.rpartition(".")[2]) == (3, "EWC")
    assert program.seen == []


def test_a_run_gets_its_own_folder(program: Program) -> None:
    folders = set()
    for _ in range(2):
        code, _, err = program("seed=3", "domain_adaptation=none")
        assert (code, err) == (0, "")
    for cfg, folder in program.seen:
        assert (cfg.seed, cfg.name) == (3, "none-from_scratch-printed_to_handwritten")
        assert folder.relative_to(Path.cwd()).parts[:3] == ("outputs", "runs", cfg.name)
        assert (folder / ".hydra" / "overrides.yaml").read_text() == "- seed=3\n- domain_adaptation=none\n"
        folders.add(folder)
    assert len(folders) == 2


def test_outputs_can_be_elsewhere(program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TL_LAB_OUTPUTS", str(tmp_path / "big disk"))
    assert program()[0] == 0
    assert program.seen[0][1].is_relative_to(tmp_path / "big disk" / "runs")


def test_a_folder_is_never_used_twice(program: Program) -> None:
    assert program("hydra.run.dir=mine")[0] == 0
    before = {file: file.read_bytes() for file in Path("mine").rglob("*") if file.is_file()}
    code, _, err = program("hydra.run.dir=mine", "seed=1")
    assert code == 1
    assert "resume=mine" in err
    assert program("-m", "seed=0", "hydra.sweep.dir=many")[0] == 0
    code, _, err = program("-m", "seed=1", "hydra.sweep.dir=many")
    assert code == 1
    assert "earlier sweep" in err
    assert before == {file: file.read_bytes() for file in Path("mine").rglob("*") if file.is_file()}


def test_other_processes_of_a_distributed_run_share_its_folder(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = ["hydra.job.name=train_ddp_process_1", "hydra.output_subdir=null"]
    assert program("hydra.run.dir=mine")[0] == 0
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert program("seed=0", 'hydra.run.dir="mine"', *added)[0] == 0
    assert program("resume=mine", 'hydra.run.dir="mine"', *added)[0] == 0
    assert {folder for _, folder in program.seen} == {Path("mine").absolute()}
    assert not Path("mine/train_ddp_process_1.log").exists()  # of its own, and only where there is something to say


def test_a_further_process_waits_for_the_first_ones_error_message(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(cfg: DictConfig, folder: Path) -> None:
        raise UserError("both processes fail")

    program.job = job
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("tl_lab.cli.job._PATIENCE_S", 0.2)
    assert program() == (1, "", "tl_lab: both processes fail\n")
    parents = iter([1, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 2))
    assert program() == (1, "", "")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_names_the_command_to_resume(program: Program, error: type[BaseException]) -> None:
    def job(cfg: DictConfig, folder: Path) -> None:
        raise error

    program.job = job
    code, _, err = program("hydra.run.dir=run")
    assert code == 130
    again = commands.train(f"resume={Path('run').absolute()}")
    assert err == f"tl_lab: interrupted; resume: {again}\n"


def test_the_users_mistake_is_a_sentence_and_others_keep_their_traceback(program: Program) -> None:
    def wrapped(cfg: DictConfig, folder: Path) -> None:
        try:
            raise UserError("there is no such thing")
        except UserError as error:
            raise InstantiationException("Error in call to target 'x'") from error

    program.job = wrapped
    code, _, err = program("hydra.run.dir=one")
    assert (code, err) == (1, "tl_lab: there is no such thing\n")
    assert "there is no such thing" in Path("one/train.log").read_text()

    def bug(cfg: DictConfig, folder: Path) -> None:
        raise ZeroDivisionError("our own mistake")

    program.job = bug
    code, _, err = program()
    assert code == 1
    assert "Traceback" in err
    assert "our own mistake" in err


@pytest.mark.parametrize("launcher", ["basic", "forked"])
def test_a_failing_job_does_not_stop_a_sweep(program: Program, launcher: str) -> None:
    def job(cfg: DictConfig, folder: Path) -> None:
        if cfg.seed == 0:
            raise UserError("seed 0 fails")
        if cfg.seed == 1:
            raise ZeroDivisionError

    program.job = job
    code, out, err = program("-m", "seed=0,1,2", "hydra.sweep.dir=many", f"hydra/launcher={launcher}")
    assert code == 1
    assert [OmegaConf.load(f"many/{number}/config.yaml").seed for number in range(3)] == [0, 1, 2]
    printed = err if launcher == "basic" else "".join(Path(f"many/{n}/output.txt").read_text() for n in range(2))
    assert "tl_lab: seed 0 fails" in printed
    assert "ZeroDivisionError" in printed
    assert "2 of 3 jobs failed: many/0, many/1" in err
    assert "job 2: seed=2" in out
    assert "seed 0 fails" in Path("many/0/train.log").read_text()
    assert json.loads(Path("many/2/results.json").read_text())["status"] == "completed"


def test_a_sweep_ends_with_its_report(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("tl_lab.results.report.writing")
    module.show_summary = lambda folder: None  # type: ignore[attr-defined]
    module.write_report = (  # type: ignore[attr-defined]
        lambda folder, *_, **__: Path(*([folder] if isinstance(folder, str | Path) else folder)) / "summary.md"
    )
    monkeypatch.setitem(sys.modules, "tl_lab.results.report.writing", module)
    code, out, err = program("-m", "backbone=mlp,lenet", "hydra.sweep.dir='a b'")
    assert (code, err) == (0, "")
    assert "report: a b/report.html" in out
    with pytest.raises(SystemExit):
        tl_lab_main(["report", "nowhere"])
    tl_lab_main(["report", "a b"])
    assert program.capfd.readouterr() == (
        "a b/summary.md\na b/report.html\n",
        "tl_lab: report: there is no folder 'nowhere'\n",
    )


def test_resume_continues_in_the_runs_folder_with_its_configuration(program: Program) -> None:
    folder = Path("it's (a) run,1")
    assert program("seed=7", "backbone=mlp", f"hydra.run.dir={arguments.quote(str(folder))}")[0] == 0
    stored = {file: file.read_bytes() for file in (folder / ".hydra").iterdir()}
    choices = []
    program.job = lambda cfg, _: choices.append(HydraConfig.get().runtime.choices.backbone)
    assert program(f"resume={folder}") == (0, "", "")
    cfg, used = program.seen[-1]
    assert used == folder.absolute()
    assert (cfg.seed, cfg.resume, choices) == (7, str(folder), ["mlp"])
    assert {file: file.read_bytes() for file in (folder / ".hydra").iterdir()} == stored
    code, _, err = program("resume=it's (a) run,2")
    assert code == 1
    assert "did you mean" in err


def test_a_damaged_config_cannot_be_resumed(program: Program) -> None:
    Path("run").mkdir()
    Path("run/config.yaml").write_text("a: [")
    code, _, err = program("resume=run")
    assert (code, "cannot be read" in err) == (1, True)
    Path("run/config.yaml").write_text("a: 1")
    code, _, err = program("resume=run")
    assert (code, "not the configuration of a run" in err) == (1, True)


def test_a_folder_of_the_users_choices(program: Program) -> None:
    Path("mine/backbone").mkdir(parents=True)
    Path("mine/backbone/own.yaml").write_text("# Mine\n_target_: own.Backbone\n")
    assert program("-cd", "mine", "backbone=own")[0] == 0
    assert program.seen[0][0].backbone == {"_target_": "own.Backbone"}


@pytest.mark.parametrize(
    ("argv", "flags", "overrides"),
    [
        (["a=1", "-m", "b=2"], [("-m", None)], ["a=1", "b=2"]),
        (["--cfg", "job", "a=-1"], [("--cfg", "job")], ["a=-1"]),
        (["--cfg=job"], [("--cfg", "job")], []),
        (["-i", "defaults", "~a"], [("-i", "defaults")], ["~a"]),
        (["-sc", "query=bash"], [("-sc", None)], ["query=bash"]),
    ],
)
def test_split(argv: list[str], flags: list[tuple[str, str | None]], overrides: list[str]) -> None:
    assert arguments.split(argv) == (flags, overrides)


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    tl_lab_main(["list", "trainer", "--plain"])
    titles, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert titles == ["group", "choice", "what it is"]
    assert {row[1] for row in rows} == {"cpu", "gpu", "ddp", "ddp_cpu", "fsdp"}
    assert all(row[0] == "trainer" and row[2] for row in rows)
    with pytest.raises(SystemExit):
        tl_lab_main(["list", "trainr"])
    assert capsys.readouterr().err == "tl_lab: there is no group 'trainr'; did you mean 'trainer'?\n"
    tl_lab_main(["list", "data", "--long"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("  in a run ")
    assert lines.index("texts") < lines.index("domain pairs of images") < lines.index("streams of tasks")
    assert all(len(line) <= 100 for line in lines)
    assert {line.split()[0] for line in lines[5:] if line.startswith("  ")} == set(choices("data")["data"])
    tl_lab_main(["list", "strategy", "ewc"])
    card = capsys.readouterr().out
    assert card.startswith("strategy=ewc   Elastic weight consolidation")
    assert all(key in card for key in ("strategy.ewc_lambda ", "strategy.fisher.samples ", "strategy.layers.decay "))
    with pytest.raises(SystemExit):
        tl_lab_main(["list", "strategy", "ewcc"])
    assert "there is no choice 'ewcc' of strategy; did you mean 'ewc'" in capsys.readouterr().err


@pytest.mark.parametrize("group", ["hydra/launcher", "hydra/sweeper"])
def test_the_list_of_launchers_and_sweepers_is_that_of_valid_choices(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["-m", "seed=0,1", f"{group}=nothing_like_it"])
    valid = capsys.readouterr().err.rstrip().partition("valid: ")[2].split(", ")
    assert {"basic"} < set(valid)
    tl_lab_main(["list", group, "--plain"])
    listed = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()[1:]]
    assert sorted(listed) == valid
    tl_lab_main(["list", group])
    assert set(valid) <= set(re.split(r"[\s,]+", capsys.readouterr().out))
    tl_lab_main(["list"])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(f"  {group} "))
    assert row.split()[1] == str(len(valid))
    with pytest.raises(SystemExit):
        tl_lab_main(["list", group, "basic"])
    assert f"{group}=basic --cfg hydra -p {group.replace('/', '.')}" in capsys.readouterr().err


@pytest.mark.parametrize("group", list(choices()))
def test_the_list_of_a_group_fits_a_screen(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    tl_lab_main(["list", group])
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 40
    assert all(len(line) <= 100 for line in text.splitlines())
    assert set(choices(group)[group]) <= set(re.split(r"[\s,]+", text))


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("audio_folder_pair", ["'data.source=<folder>'", "'data.target=<folder>'"]),
        ("text_folder", ["'data.path=<folder>'"]),
        ("table_pair", ["'data.path=<path>'"]),
        ("tasks_of_table", ["'data.path=<path>'", "'data.tasks=<tasks>'"]),
        ("squad", ["data.path=train.json", "data.test_path=dev.json"]),
        ("mnist_usps", ["data.source=mnist"]),
    ],
)
def test_the_example_of_a_choice_sets_what_it_needs(
    choice: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tl_lab_main(["list", "data", choice])
    shown = re.split("  terms |  file ", capsys.readouterr().out)[0].split()
    assert shown[shown.index(f"data={choice}", 1) + 1 :] == words
    assert "null" not in " ".join(shown)


@pytest.mark.parametrize(
    ("group", "choice", "command"),
    [
        ("hydra/launcher", "forked", "hydra/launcher=forked hydra.launcher.jobs=1"),
        ("hydra/sweeper", "tune", "hydra/sweeper=tune hydra.sweeper.methods=domain_adaptation"),
        ("search", "strategy/ewc", "-m hydra/sweeper=optuna strategy=ewc search=strategy/ewc"),
    ],
)
def test_the_example_of_a_choice_of_a_sweep(
    group: str, choice: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("UV", raising=False)
    tl_lab_main(["list", group, choice])
    assert f"  in a run  python -m tl_lab train {command}\n" in capsys.readouterr().out


@pytest.mark.parametrize("group", ["strategy", "backbone", "adapter", "domain_adaptation", "optimizer", "data"])
def test_the_command_of_each_choice_fits_together(
    group: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    checked = 0
    for choice in choices(group)[group]:
        tl_lab_main(["list", group, choice])
        shown = re.split("  terms |  file ", capsys.readouterr().out.partition("  in a run  ")[2])[0]
        words = shlex.split(" ".join(shown.split()).partition(" train ")[2])
        if choice == "qlora" or any("<" in word for word in words):  # needs a GPU; needs files
            continue
        check_pairing(Plan.of(compose(words)))
        checked += 1
    assert checked > 2


def test_an_option_without_a_default_must_be_set_or_says_what_null_means(capsys: pytest.CaptureFixture[str]) -> None:
    """The examples of choices that run as they are have no placeholders."""
    placeholders = set()
    for group in ("data", "strategy", "backbone", "adapter", "domain_adaptation", "optimizer"):
        for choice in choices(group)[group]:
            tl_lab_main(["list", group, choice])
            if "=<" in capsys.readouterr().out.partition("  file ")[0].partition("in a run")[2]:
                placeholders.add(f"{group}={choice}")
    assert placeholders == {
        "data=audio_folder", "data=audio_folder_pair", "data=chest_xray", "data=image_folder", "data=image_folder_pair",
        "data=support_query", "data=table_pair", "data=tasks_of_table", "data=text_folder", "data=text_folder_pair",
        "data=text_table_pair", "data=webdataset", "strategy=distillation",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "{place}/sweep"], "report: there is no folder '{place}/sweep'; did you mean '{place}/sweeps'?"),
        (["predict", "{place}/run.json", "{place}"], "predict: '{place}/run.json' is a file: give a run folder"),
        (
            ["test", "{place}/sweeps", "{place}/run.jsn"],
            "folder or file '{place}/run.jsn'; did you mean '{place}/run.json'?",
        ),
        (["card", "{place}/run.jsn"], "card: there is no run folder '{place}/run.jsn'\n"),
    ],
)
def test_a_path_that_does_not_exist_has_similar_ones(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "run.json").touch()
    with pytest.raises(SystemExit):
        tl_lab_main([word.replace("{place}", str(tmp_path)) for word in words])
    assert message.replace("{place}", str(tmp_path)) in capsys.readouterr().err


def test_lists_of_names_are_grouped_by_kind(capsys: pytest.CaptureFixture[str]) -> None:
    tl_lab_main(["list", "data"])
    lines = capsys.readouterr().out.splitlines()
    listed = dict(re.split(r" {2,}", line.strip(), maxsplit=1) for line in lines if re.match(r" {2}\w.* {2,}\w", line))
    assert listed["documents"] == "receipts"
    assert listed["domain pairs of vectors"] == "amazon_reviews, moons"
    assert any(line.startswith("  one line per choice  ") and line.endswith("list data --long") for line in lines)


@pytest.mark.parametrize("argv", [[], ["--help"], ["list"], ["train", "--help"]])
def test_overviews_fit_a_screen(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    tl_lab_main(argv)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert all(len(line) <= 100 and "…" not in line for line in lines)
    text = "\n".join(lines)
    expected: Collection[str] = ["train", "list", "predict", "test", "report", "figures", "papers"]
    if argv == ["list"]:
        expected = choices()
    elif argv == ["train", "--help"]:
        expected = choices().keys() - {"assess", "hydra/sweeper"}
    assert all(f"\n  {name} " in text for name in expected)


@pytest.mark.parametrize("argv", [["--help"], ["-h", "data=digits"], ["data=digits", "--help"]])
def test_the_help_of_runs_begins_with_examples(program: Program, argv: list[str]) -> None:
    code, out, err = program(*argv)
    assert (code, err) == (0, "")
    assert out.splitlines()[2] == "Examples"
    assert "train data=digits\n" in out
    assert "key=value sets any key that --cfg job prints" in out
    assert program.seen == []


@pytest.mark.parametrize(
    ("program", "given"),
    [
        (tl_lab_main, ["list", "--plain"]),
        (tl_lab_main, []),
        (tl_lab_main, ["--help"]),
        (tl_lab_main, ["train", "--help"]),
        (cli.main, ["--help"]),
        (cli.main, ["--hydra-help"]),
        (cli.main, ["--cfg", "job"]),
        (cli.main, ["--info", "config"]),
    ],
)
def test_a_closed_pipe_ends_the_program_quietly(
    program: Callable[[list[str]], None], given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``python -m tl_lab list --plain | head -1``: the reader closes its end first."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(SystemExit) as ended:
            program(given)
        assert ended.value.code == 0


def test_predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    called = []
    module = types.ModuleType("tl_lab.run.inference")
    module.predict_to_csv = lambda *given, **named: called.append((given, named))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tl_lab.run.inference", module)
    tl_lab_main(["predict", str(tmp_path), str(tmp_path), "--checkpoint", "best"])
    named = {
        "checkpoint": "best",
        "skip_unreadable": False,
        "task": None,
        "allow": [],
        "arrays": False,
        "support": None,
        "reject_below": 0.0,
        "device": "cpu",
        "keep": [],
    }
    assert called == [((tmp_path, [tmp_path], None), named)]
    with pytest.raises(SystemExit) as end:
        tl_lab_main(["predict", str(tmp_path / "no"), str(tmp_path)])
    assert end.value.code == 1
    assert "there is no run folder" in capsys.readouterr().err


def _train(*argv: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "train.py"), *argv]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )


def test_help_and_cfg_do_not_import_pytorch(tmp_path: Path) -> None:
    """Bytecode may be switched off and the machine busy: the limit is generous, the imports are what counts."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "heavy = {'torch', 'pytorch_lightning', 'torchvision', 'timm', 'sklearn', 'pandas', 'wandb', 'matplotlib'}\n"
        "atexit.register(lambda: print('heavy:', sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
    )
    began = time.monotonic()
    for argv, expected in [
        (["--help"], "the feature extractor"),
        (["--cfg", "job", "--resolve"], "name: dann-from_scratch-printed_to_handwritten"),
    ]:
        answer = _train(*argv, cwd=tmp_path, PYTHONPATH=str(tmp_path))
        assert answer.returncode == 0, answer.stderr
        assert answer.stderr == "heavy: []\n"
        assert expected in answer.stdout
    assert time.monotonic() - began < 30
    assert {file.name for file in tmp_path.iterdir()} <= {"sitecustomize.py", "__pycache__"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("schedu", {"scheduler=", "scheduler."}),
        ("strat", {"strategy", "strategy."}),  # some of its choices lie in folders
        ("strategy=ew", {"strategy=ewc"}),
        ("backbone=le", {"backbone=lenet"}),
        ("optimizer.l", {"optimizer.lr="}),
        ("trainer=ddp", {"trainer=ddp", "trainer=ddp_cpu"}),
    ],
)
def test_tab_completion(tmp_path: Path, line: str, expected: set[str]) -> None:
    typed = f"python train.py {line}"
    answer = _train("-sc", "query=bash", cwd=tmp_path, COMP_LINE=typed, COMP_POINT=str(len(typed)))
    assert answer.returncode == 0, answer.stderr
    assert set(answer.stdout.split()) == expected


def test_tab_completion_is_installed(tmp_path: Path) -> None:
    for shell in ("bash", "fish", "zsh"):
        answer = _train("-sc", f"install={shell}", cwd=tmp_path)
        assert answer.returncode == 0
        assert "complet" in answer.stdout


def test_log_messages_go_to_the_file(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of earlier tests write to closed streams

    def job(cfg: DictConfig, folder: Path) -> None:
        logging.getLogger("a").info("for the file")
        logging.getLogger("a").warning("for both")

    program.job = job
    assert program("hydra.run.dir=run") == (0, "", "WARNING: for both\n")
    text = Path("run/train.log").read_text()
    assert "for the file" in text
    assert "for both" in text


def test_the_files_are_found_beside_the_package() -> None:
    assert (conf_dir() / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tl-lab pre", {"train", "list", "predict", "test", "report", "figures", "papers", "reproduce", "weights"}),
        ("tl-lab list ", set(choices())),
        ("tl-lab list optimizer ", {"adam", "adamw", "sgd"}),
        ("tl-lab train strategy=ew", {"strategy=ewc"}),
        ("tl-lab predict ", set()),
    ],
)
def test_tl_lab_is_completed(
    line: str, expected: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/tl-lab"])
    tl_lab_main(["-sc", "query=bash"])
    offered = set(capsys.readouterr().out.split())
    assert expected <= offered
    assert not offered or expected
