"""Only complete runs of the experiment itself are stored."""

import functools
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from tl_lab.__main__ import main
from tl_lab.cli.papers import _say
from tl_lab.config import choices
from tl_lab.errors import UserError
from tl_lab.results.folder.files import write_json
from tl_lab.results.tables.papers import (
    Paper,
    asked,
    expected_by,
    keep,
    paper_of,
    papers,
    stored,
    with_earlier,
)
from tl_lab.results.tables.reproduction import Reproduces

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
            "oracle": False, "threads": 1, "machine": "two cores", "choices": {"experiment": EXPERIMENT},
            "protocol": {"protocol": "inductive"},
        }
        | facts,
    )  # fmt: skip


def test_one_row_per_run(tmp_path):
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


def test_a_row_names_the_machine_and_the_command_of_its_run(tmp_path):
    _run(tmp_path / "0", ["domain_adaptation=none", "seed=0"])
    _run(tmp_path / "older" / "0", ["domain_adaptation=none", "seed=1"], seed=1)
    older = json.loads((tmp_path / "older" / "0" / "results.json").read_text())
    del older["machine"]  # as an earlier version wrote it
    write_json(tmp_path / "older" / "0" / "results.json", older)
    words = [f"experiment={EXPERIMENT}", "seed=0,1", "hydra.sweep.dir=/somewhere", "sweep.resume=true"]
    write_json(tmp_path / "sweep.json", {"overrides": words})
    table = stored(EXPERIMENT, [str(tmp_path)]).set_index("seed")
    assert table.loc[0, "command"] == f"python train.py -m experiment={EXPERIMENT} seed=0,1"
    assert table.loc[0, "machine"] == "two cores"
    assert table.loc[1, ["command", "machine"]].tolist() == ["", ""]  # this machine may be another one


@pytest.mark.parametrize(
    ("overrides", "facts", "message"),
    [
        (
            ["domain_adaptation=none", "optimizer.lr=1"],
            {},
            r"overrides other keys than method, task and seed: override\.optimizer\.lr",
        ),
        (["domain_adaptation=none"], {"choices": {"experiment": "mnist_usps"}}, "is a run of experiment=mnist_usps"),
        (["domain_adaptation=none"], {"status": "failed", "error": "NaN"}, r"has failed \(NaN\)"),
    ],
)
def test_other_runs_are_refused(tmp_path, overrides, facts, message):
    _run(tmp_path / "0", overrides, **facts)
    with pytest.raises(UserError, match=message):
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
    with pytest.raises(UserError, match=r"and these runs have different columns: \['new'\]"):
        with_earlier(late.assign(new=1), place)
    with pytest.raises(UserError, match=r"nothing is stored in none\.csv yet"):
        with_earlier(late, tmp_path / "none.csv")


def test_an_experiment_that_expects_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no published values"):
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
            "duration_s": 3600.0,
        }
        for method, of in accuracies.items()
        for seed, acc in enumerate(of)
    ]
    return pd.DataFrame(rows).assign(date="2026-01-02", **facts)


def test_published_methods_of_an_experiment_are_found(tmp_path):
    """They are in its sweep, among its defaults, or in the file that it is based on."""
    read = [paper for paper in papers() if paper.expected.published]
    assert len(read) > 15
    assert [paper.name for paper in read if not paper.asked] == []
    folder = tmp_path / "experiment"
    folder.mkdir()
    own = folder / "mine.yaml"
    own.write_text("defaults:\n  - few_shot/_omniglot\n  - nowhere\n  - _self_\n")
    assert asked(own, replace(expected_by("few_shot/omniglot_5way_1shot"))) == {"prototypical"}
    based = "few_shot/omniglot_5way_1shot"
    assert asked(choices("experiment")["experiment"][based], expected_by(based)) == {"prototypical"}


@pytest.mark.parametrize(
    ("accuracies", "status", "reached"),
    [
        ({"none": [0.52, 0.52, 0.521]}, "partly run", "1 of 2"),
        # published: none .5225, dann_paper .7666; the interval over seeds lies within .02 of the mean
        ({"none": [0.52, 0.521, 0.522], "dann_paper": [0.764, 0.766, 0.768]}, "within its tolerance", "2 of 2"),
        ({"none": [0.52, 0.521, 0.522], "dann_paper": [0.70, 0.701, 0.702]}, "not within its tolerance", "1 of 2"),
        ({"none": [0.52, 0.521, 0.522], "dann_paper": [0.75, 0.78, 0.77]}, "undecided", "1 of 2"),
        ({"none": [0.52, 0.521], "dann_paper": [0.766, 0.766]}, "undecided", "0 of 2"),
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
    if status == "undecided":
        assert paper.next_seed == len(accuracies["none"])
        assert paper.more_seeds > 0
        hours = sum(3600.0 for _ in accuracies) / 3600 * paper.more_seeds  # each run takes an hour
        assert paper.hours_to_decide == pytest.approx(hours)
    full = Paper("dann/mnist_to_mnistm", "", expected, runs, asks)
    assert full.status == status.replace("within its tolerance", "reproduced")
    deviating = Paper("dann/mnist_to_mnistm", "", replace(expected, deviation="another net"), runs, asks)
    assert deviating.status == status  # which is that of a reduced recipe
    assert runs is None or Paper("few_shot/glyphs", "", expected, runs, frozenset()).status == "nothing published"
    assert paper.date == ("" if accuracies is None else "2026-01-02")


def test_a_deviation_is_shown_with_the_verdict(capsys):
    """SetFit's protocol uses titles, which the sample of AG News lacks."""
    expected = expected_by("text/setfit_ag_news")
    assert "without titles" in expected.deviation
    runs = _table({"x": [0.83, 0.831, 0.832]}).rename(columns={"test/target/acc": "test/acc"})
    runs["override.strategy"] = "setfit"
    _say(Paper("text/setfit_ag_news", "", expected, runs, frozenset({"setfit"})))
    assert capsys.readouterr().out == (
        "text/setfit_ag_news: within its tolerance, 1 of 1 methods within the tolerance (deviation: only descriptions "
        "are used, without titles, which the training sample lacks)\n"
    )


@pytest.fixture(scope="module")
def all_papers():
    return papers()


def test_every_stored_experiment_is_listed_with_its_runs(all_papers):
    found = {paper.name: paper for paper in all_papers}
    place = ROOT / "docs" / "results" / "reproductions"
    files = {str(file.relative_to(place).with_suffix("")) for file in place.rglob("*.csv")}
    assert {name for name, paper in found.items() if paper.runs is not None} == files
    assert all(paper.status != "not run here" for name, paper in found.items() if name in files)


def test_runs_of_uncommitted_code_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("tl_lab.results.tables.papers.place_of", lambda name: tmp_path / f"{name}.csv")
    with pytest.raises(UserError, match="only runs of committed code"):
        keep("a", _table({"none": [0.5]}, git_commit="abc+changes"))
    assert keep("a", _table({"none": [0.5]}, git_commit="abc")) == tmp_path / "a.csv"


def _stands_for_training(tmp_path, monkeypatch, accuracies):
    """Let ``papers run`` find runs that it did not train; gives the commands that it would have started."""
    monkeypatch.setenv("TL_LAB_OUTPUTS", str(tmp_path))
    monkeypatch.setattr("tl_lab.results.tables.papers.place_of", lambda name: tmp_path / "kept" / f"{name}.csv")
    commands = []

    def train(command, check):
        commands.append(command)
        given = dict(text.partition("=")[::2] for text in command if "=" in text)
        folder, seeds = Path(given["hydra.sweep.dir"]), given.get("seed", "0").split(",")
        for i, (method, of) in enumerate(accuracies.items()):
            for seed in seeds:
                _run(
                    folder / f"{seed}_{i}",
                    [f"domain_adaptation={method}", f"seed={seed}"],
                    of[int(seed)],
                    seed=int(seed),
                )
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("tl_lab.cli.papers.subprocess.run", train)
    return commands


def test_an_experiment_is_run_compared_and_kept(tmp_path, monkeypatch, capsys):
    commands = _stands_for_training(tmp_path, monkeypatch, {"none": [0.52], "dann_paper": [0.70]})
    main(["papers", "run", EXPERIMENT])  # one seed decides nothing: no failure
    assert "undecided, 0 of 2 methods within the tolerance; 2 more seeds" in capsys.readouterr().out
    assert commands[0][3:6] == ["train", "-m", f"experiment={EXPERIMENT}"]
    assert "sweep.resume=true" in commands[0]
    kept = pd.read_csv(tmp_path / "kept" / f"{EXPERIMENT}.csv")
    assert set(kept["command"]) == {f"python train.py experiment={EXPERIMENT}"}
    assert set(kept["machine"]) == {"two cores"}
    assert kept["git_commit"].tolist() == ["abc", "abc"]
    with pytest.raises(UserError, match="did you mean 'mnist_usps'"):
        expected_by("mnist_upsp")


def test_seeds_are_added_until_the_verdict_is_decided(tmp_path, monkeypatch, capsys):
    accuracies = {"none": [0.52, 0.521, 0.522, 0.521, 0.52, 0.522, 0.521, 0.52], "dann_paper": [0.70] * 8}
    accuracies["dann_paper"][1] = 0.73  # an interval that needs more than three seeds
    commands = _stands_for_training(tmp_path, monkeypatch, accuracies)
    with pytest.raises(SystemExit) as end:
        main(["papers", "run", EXPERIMENT, "--until", "decided"])
    assert end.value.code == 1  # decided: not within its tolerance
    printed = capsys.readouterr().out
    assert "undecided" in printed
    assert printed.strip().endswith("not within its tolerance, 1 of 2 methods within the tolerance")
    asked_for = [text for command in commands for text in command if text.startswith("seed=")]
    assert asked_for[0] == "seed=1,2"
    kept = pd.read_csv(tmp_path / "kept" / f"{EXPERIMENT}.csv")
    numbers = sorted(set(kept["seed"]))
    assert numbers == list(range(len(numbers)))  # each seed once, none left out
    assert len(kept) == 2 * len(numbers)
    with pytest.raises(SystemExit):
        main(["papers", "run", EXPERIMENT, "seed=3", "--until", "decided"])
    assert "leave the overrides out" in capsys.readouterr().err


def test_seeds_are_added_while_another_method_is_undecided(tmp_path, monkeypatch, capsys):
    """Although the experiment is known not to be reproduced, because of the first one."""
    accuracies = {"none": [0.62] * 12, "dann_paper": [0.75, 0.78, 0.77, 0.77, *[0.767] * 8]}
    commands = _stands_for_training(tmp_path, monkeypatch, accuracies)
    main_of = functools.partial(main, ["papers", "run", EXPERIMENT, "--until", "decided"])
    with pytest.raises(SystemExit):
        main_of()
    first = pd.read_csv(tmp_path / "kept" / f"{EXPERIMENT}.csv")
    assert len(set(first["seed"])) > 3
    assert len(commands) > 2
    assert capsys.readouterr().out.strip().endswith("not within its tolerance, 1 of 2 methods within the tolerance")


def test_a_reproduced_reduced_recipe_ends_well(tmp_path, monkeypatch, capsys):
    close = {"none": [0.52, 0.521, 0.522, 0.521], "dann_paper": [0.766, 0.767, 0.768, 0.767]}
    _stands_for_training(tmp_path, monkeypatch, close)
    main(["papers", "run", EXPERIMENT, "--until", "decided"])  # no exit code
    assert "within its tolerance, 2 of 2 methods" in capsys.readouterr().out


def test_runs_of_uncommitted_code_are_compared_before_they_are_refused(tmp_path, monkeypatch, capsys):
    _stands_for_training(tmp_path, monkeypatch, {"none": [0.52], "dann_paper": [0.70]})
    commit = {"git_commit": "abc+changes"}
    monkeypatch.setattr(f"{__name__}._run", functools.partial(_run, **commit))
    with pytest.raises(SystemExit):
        main(["papers", "run", EXPERIMENT])
    printed = capsys.readouterr()
    assert "undecided, 0 of 2 methods within the tolerance" in printed.out
    assert "only runs of committed code" in printed.err


def test_adding_seeds_ends_at_a_number(tmp_path, monkeypatch, capsys):
    wild = [0.2, 0.9, 0.4, 0.8, 0.3, 0.95, 0.5, 0.6]
    _stands_for_training(tmp_path, monkeypatch, {"none": wild, "dann_paper": wild})
    with pytest.raises(SystemExit) as end:
        main(["papers", "run", EXPERIMENT, "--until", "decided", "--most", "6"])
    assert end.value.code == 1
    assert "still undecided" in capsys.readouterr().out
    assert set(pd.read_csv(tmp_path / "kept" / f"{EXPERIMENT}.csv")["seed"]) == set(range(6))


def test_the_list_says_what_a_decision_takes_and_the_cheapest_comes_first(all_papers, monkeypatch, capsys):
    monkeypatch.setattr("tl_lab.results.tables.papers.papers", lambda: all_papers)
    main(["papers"])
    titles, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert titles == ["experiment", "status", "within tolerance", "to decide", "run on", "what it is"]
    hours = [float(row[3].split(", ")[1].removesuffix(" h")) for row in rows if ", " in row[3]]
    assert len(hours) > 3
    assert hours == sorted(hours)
    undecided = {paper.name for paper in all_papers if paper.open}
    assert {row[0] for row in rows if row[3]} == undecided
    assert {row[0] for row in rows if row[1] == "undecided"} < undecided  # others are known not to be reproduced


def test_a_claim_compares_what_each_side_has_selected():
    claim = {"says": "b is better", "better": {"strategy": "b"}, "worse": {"strategy": "a"}}
    expected = Reproduces(
        "x", "test/acc", methods="strategy", tuned=["optimizer.lr"], chosen_by="val/acc", claims=[claim]
    )
    scores = {("a", "1"): (0.7, 0.9), ("a", "2"): (0.8, 0.5), ("b", "1"): (0.6, 0.1), ("b", "2"): (0.9, 0.8)}
    runs = pd.DataFrame(
        [
            {"override.strategy": method, "override.optimizer.lr": rate, "seed": seed, "val/acc": val, "test/acc": acc}
            for (method, rate), (val, acc) in scores.items()
            for seed in range(3)
        ]
    )
    (found,) = Paper("own", "", expected, runs, frozenset()).claims
    assert list(found.differences) == pytest.approx([0.8 - 0.5] * 3)  # a selects rate 2, b too; at rate 1 b is worse
    runs.loc[runs["override.optimizer.lr"] == "2", "val/acc"] -= 0.25  # a now selects rate 1, b rate 2
    (found,) = Paper("own", "", expected, runs, frozenset()).claims
    assert list(found.differences) == pytest.approx([0.8 - 0.9] * 3)


def test_a_swept_null_is_a_value() -> None:
    paper = paper_of("prompting/scale")
    assert paper is not None
    assert paper.runs is not None
    assert list(paper.runs["override.backbone.blocks"].unique()) == ["1", "10", "20", "null"]
