"""Only an experiment's own, whole runs become stored numbers."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from tl_lab.__main__ import main
from tl_lab.config import choices
from tl_lab.errors import UserError
from tl_lab.results.folder.files import write_json
from tl_lab.results.tables.papers import Paper, asked, expected_by, keep, machine, papers, stored, with_earlier

ROOT = Path(__file__).resolve().parents[3]
EXPERIMENT = "dann/mnist_to_mnistm_reduced"


def _run(folder, overrides, acc=0.5, **facts):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {text}\n" for text in overrides))
    write_json(
        folder / "results.json",
        {
            "schema": 1, "status": "completed", "error": None, "metrics": {"test/target/acc": acc}, "seed": 0,
            "duration_s": 61.23, "parameters": {}, "versions": {"torch": "2.15.0+cpu"}, "git_commit": "abc",
            "device": "cpu", "config_hash": "c", "data_hash": "d", "name": "n", "tested_checkpoint": "last",
            "oracle": False, "threads": 1, "choices": {"experiment": EXPERIMENT}, "protocol": {"protocol": "inductive"},
        }
        | facts,
    )  # fmt: skip


def test_a_row_a_run(tmp_path):
    _run(tmp_path / "0", [f"experiment={EXPERIMENT}", "domain_adaptation=none", "seed=0"], 0.5)
    _run(tmp_path / "1", [f"experiment={EXPERIMENT}", "domain_adaptation=dann_paper", "seed=0"], 0.7)
    table = stored(EXPERIMENT, [str(tmp_path)])
    assert dict(zip(table["override.domain_adaptation"], table["test/target/acc"], strict=True)) == {
        "none": 0.5,
        "dann_paper": 0.7,
    }
    assert set(table["torch"]) == {"2.15.0"}
    assert set(table["duration_s"]) == {61.2}
    assert set(table["data_protocol"]) == {"inductive"}


@pytest.mark.parametrize(
    ("overrides", "facts", "said"),
    [
        (["domain_adaptation=none", "optimizer.lr=1"], {}, r"changes more than it may: override\.optimizer\.lr"),
        (["domain_adaptation=none"], {"choices": {"experiment": "mnist_usps"}}, "is a run of experiment=mnist_usps"),
        (["domain_adaptation=none"], {"status": "failed", "error": "NaN"}, "is failed: NaN"),
    ],
)
def test_other_runs_are_refused(tmp_path, overrides, facts, said):
    _run(tmp_path / "0", overrides, **facts)
    with pytest.raises(UserError, match=said):
        stored(EXPERIMENT, [str(tmp_path)])


def test_a_repeated_run_is_refused(tmp_path):
    for name in ("a", "b"):
        _run(tmp_path / name, ["domain_adaptation=none", "seed=0"])
    with pytest.raises(UserError, match="same method, task and seed"):
        stored(EXPERIMENT, [str(tmp_path)])


def test_further_runs_are_added_and_earlier_ones_keep_every_digit(tmp_path):
    place = tmp_path / "stored.csv"
    for seed, acc in ((0, 0.8933731938216243), (10, 0.1 + 0.2)):
        _run(tmp_path / "early" / str(seed), ["domain_adaptation=none", f"seed={seed}"], acc, seed=seed)
    stored(EXPERIMENT, [str(tmp_path / "early")]).to_csv(place, index=False)
    before = place.read_text().splitlines()
    _run(tmp_path / "late" / "0", ["domain_adaptation=none", "seed=2"], 1 / 3, seed=2)
    late = stored(EXPERIMENT, [str(tmp_path / "late")])
    with_earlier(late, place).to_csv(place, index=False)
    after = place.read_text().splitlines()
    assert after[:2] + after[3:] == before  # seeds 0, 2, 10
    assert after[2].split(",")[1] == "2"
    with pytest.raises(UserError, match="same method, task and seed"):
        with_earlier(late, place)
    with pytest.raises(UserError, match=r"other columns than these runs: \['new'\]"):
        with_earlier(late.assign(new=1), place)
    with pytest.raises(UserError, match=r"nothing is stored in none\.csv yet"):
        with_earlier(late, tmp_path / "none.csv")


def test_an_experiment_that_expects_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="states nothing to reproduce"):
        stored("embedded_pair", [str(tmp_path)])


@pytest.mark.parametrize(
    "file", sorted((ROOT / "docs" / "results" / "reproductions").rglob("*.csv")), ids=lambda file: file.stem
)
def test_what_is_stored_belongs_to_an_experiment(file):
    rows = pd.read_csv(file)
    name = file.relative_to(ROOT / "docs" / "results" / "reproductions").with_suffix("")
    experiment = OmegaConf.load((ROOT / "conf" / "experiment" / name).with_suffix(".yaml"))
    assert rows[experiment.reproduces.get("metric", "test/target/acc")].between(0, 1).all()
    assert not rows["git_commit"].str.contains("changes").any()  # of committed code


def _table(accuracies, **facts):
    rows = [
        {
            "override.domain_adaptation": method,
            "seed": seed,
            "oracle": False,
            "test/target/acc": acc,
            "date": "2026-01-02",
        }
        for method, of in accuracies.items()
        for seed, acc in enumerate(of)
    ]
    return pd.DataFrame(rows).assign(date="2026-01-02", **facts)


@pytest.mark.parametrize(
    ("accuracies", "status", "reached"),
    [
        ({"none": [0.51, 0.53]}, "partly run", "1 of 2"),
        # published: none .5225, dann_paper .7666, within .02 of the mean
        ({"none": [0.51, 0.53], "dann_paper": [0.75, 0.78]}, "within its tolerance", "2 of 2"),
        ({"none": [0.51, 0.53], "dann_paper": [0.70, 0.71]}, "not within its tolerance", "1 of 2"),
        ({"coral": [0.6]}, "partly run", ""),
        (None, "not run here", ""),
    ],
)
def test_the_status_is_that_of_the_stored_means(accuracies, status, reached):
    runs = None if accuracies is None else _table(accuracies)
    expected = expected_by(EXPERIMENT)
    asks = asked(choices("experiment")["experiment"][EXPERIMENT], expected)
    assert asks == {"none", "dann_paper"}  # and not "train on target", which the paper has, too
    paper = Paper(EXPERIMENT, "", expected, runs, asks)
    assert (paper.status, paper.reached) == (status, reached)
    full = Paper("dann/mnist_to_mnistm", "", expected, runs, asks)
    assert full.status == status.replace("within its tolerance", "reproduced")
    assert runs is None or Paper("few_shot/glyphs", "", expected, runs, frozenset()).status == "nothing published"
    assert paper.date == ("" if accuracies is None else "2026-01-02")


def test_every_stored_experiment_is_listed_with_its_runs():
    found = {paper.name: paper for paper in papers()}
    place = ROOT / "docs" / "results" / "reproductions"
    files = {str(file.relative_to(place).with_suffix("")) for file in place.rglob("*.csv")}
    assert {name for name, paper in found.items() if paper.runs is not None} == files
    assert all(paper.status != "not run here" for name, paper in found.items() if name in files)


def test_runs_of_uncommitted_code_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("tl_lab.results.tables.papers.place_of", lambda name: tmp_path / f"{name}.csv")
    with pytest.raises(UserError, match="committed code only"):
        keep("a", _table({"none": [0.5]}, git_commit="abc+changes"))
    assert keep("a", _table({"none": [0.5]}, git_commit="abc")) == tmp_path / "a.csv"


def test_an_experiment_is_run_compared_and_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TL_LAB_OUTPUTS", str(tmp_path))
    monkeypatch.setattr("tl_lab.results.tables.papers.place_of", lambda name: tmp_path / "kept" / f"{name}.csv")
    commands = []

    def train(command, check):  # stands for the training
        commands.append(command)
        folder = Path(next(text for text in command if text.startswith("hydra.sweep.dir=")).partition("=")[2])
        for i, (method, acc) in enumerate({"none": 0.52, "dann_paper": 0.70}.items()):
            _run(folder / str(i), [f"domain_adaptation={method}", "seed=0"], acc)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("tl_lab.cli.papers.subprocess.run", train)
    with pytest.raises(SystemExit) as end:
        main(["papers", "run", EXPERIMENT])
    assert end.value.code == 1  # 1 of 2
    assert "not within its tolerance, 1 of 2 methods" in capsys.readouterr().out
    assert commands[0][3:5] == ["train", f"experiment={EXPERIMENT}"]
    assert "sweep.resume=true" in commands[0]
    kept = pd.read_csv(tmp_path / "kept" / f"{EXPERIMENT}.csv")
    assert set(kept["command"]) == {f"python train.py experiment={EXPERIMENT}"}
    assert set(kept["machine"]) == {machine()}
    assert kept["git_commit"].tolist() == ["abc", "abc"]
    with pytest.raises(UserError, match="did you mean 'mnist_usps'"):
        expected_by("mnist_upsp")
