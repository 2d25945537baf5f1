import csv
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tl_lab.errors import UserError
from tl_lab.results.folder.files import write_json
from tl_lab.results.report.sections import sections
from tl_lab.results.report.writing import show_summary, sizes_of, write_report
from tl_lab.results.tables.collecting import OVERRIDE, collect
from tl_lab.results.tables.findings import find
from tl_lab.results.tables.summarising import paired_differences, summarise
from tl_lab.results.tables.winners import describe_winners

ACCURACY = {
    "none": [0.50, 0.52, 0.54],
    "dann": [0.60, 0.66, 0.61],
    "mmd": [0.70],
}


def _run(folder, overrides, metrics=None, **facts):
    hydra = folder / ".hydra"
    hydra.mkdir(parents=True)
    hydra.joinpath("overrides.yaml").write_text(
        "".join(f"- {text}\n" for text in overrides) or "[]\n", encoding="utf-8"
    )
    results = {
        "schema": 1, "status": "completed", "error": None, "metrics": metrics or {}, "duration_s": 2.0, "seed": 0,
        "parameters": {"total": 100, "trainable": 10}, "versions": {"torch": "2"}, "git_commit": "abc", "device": "cpu",
        "config_hash": "c", "data_hash": "d", "name": "n", "tested_checkpoint": "last",
    }  # fmt: skip
    write_json(folder / "results.json", results | facts)


@pytest.fixture
def sweep(tmp_path):
    number = 0
    for method, values in ACCURACY.items():
        for seed, value in enumerate(values):
            overrides = ["data=digits", f"domain_adaptation={method}", f"seed={seed}"]
            metrics = {"test/target/acc": value, "test/target/loss": 1.0, "val/acc": None}
            _run(tmp_path / str(number), overrides, metrics, seed=seed)
            number += 1
    overrides = ["data=digits", "domain_adaptation=mmd", "seed=1"]
    _run(tmp_path / str(number), overrides, status="failed", error="The loss became NaN | at step 3.", seed=1)
    (tmp_path / str(number + 1) / ".hydra").mkdir(parents=True)
    (tmp_path / str(number + 1) / ".hydra" / "overrides.yaml").write_text(
        "- data=digits\n- domain_adaptation=mmd\n- seed=2\n", encoding="utf-8"
    )
    return tmp_path


def test_one_row_per_run(sweep):
    runs = collect(sweep)
    assert runs["folder"].tolist() == [str(i) for i in range(9)]
    assert runs["status"].tolist() == ["completed"] * 7 + ["failed", "missing"]
    assert runs["setting"].tolist()[::3] == [f"domain_adaptation={m}" for m in ("none", "dann", "mmd")]
    assert runs["seed"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert runs["override.data"].unique().tolist() == ["digits"]
    assert runs["overrides"][0] == "data=digits domain_adaptation=none seed=0"
    assert runs["test/target/acc"].tolist()[:7] == [*ACCURACY["none"], *ACCURACY["dann"], *ACCURACY["mmd"]]
    assert (runs["parameters_trainable"].dropna() == 10).all()
    assert "NaN" in runs["error"][7]
    assert "ended before writing" in runs["error"][8]


def test_runs_are_in_natural_order_and_several_folders_go_together(tmp_path):
    for name in ("a/10", "a/2", "b/1"):
        _run(tmp_path / name, [f"backbone={name[0]}"], {"test/acc": 0.5})
    assert collect([tmp_path / "a", tmp_path / "b", tmp_path / "a"])["folder"].tolist() == [
        os.path.join("a", "2"), os.path.join("a", "10"), os.path.join("b", "1"),  # noqa: PTH118
    ]  # fmt: skip


def test_overrides_of_every_form(tmp_path):
    _run(tmp_path / "0", ["+extra.key=a=b", "~logger", "'quoted=[1,2]'"], {"test/acc": 1.0})
    _run(tmp_path / "1", [], {"test/acc": 1.0})
    runs = collect(tmp_path)
    assert runs["overrides"].tolist() == ["extra.key=a=b logger=(removed) quoted=[1,2]", ""]
    assert runs["setting"].tolist() == ["extra.key=a=b logger=(removed) quoted=[1,2]", "defaults"]


def test_a_single_run_is_a_report_too(tmp_path):
    _run(tmp_path / "run", ["data=digits"], {"test/acc": 0.25})
    assert collect(tmp_path / "run")["folder"].tolist() == ["run"]
    assert "| all runs | 1 " in write_report(tmp_path / "run", figure=False).read_text(encoding="utf-8").replace(
        "  ", ""
    )


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run below"):
        collect(tmp_path)
    with pytest.raises(UserError, match="no folder"):
        collect(tmp_path / "absent")


def test_intervals_equal_those_of_scipy(sweep):
    table = summarise(collect(sweep)).set_index("setting")
    for method in ("none", "dann"):
        values = np.array(ACCURACY[method])
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        row = table.loc[f"domain_adaptation={method}"]
        assert row["test/target/acc mean"] == pytest.approx(values.mean(), abs=1e-15)
        assert row["test/target/acc ci95"] == pytest.approx((high - low) / 2, rel=1e-10)
        assert row["n"] == row["test/target/acc n"] == 3


def test_an_interval_by_hand(sweep):
    # .50, .52, .54: s = .02, t(.975, 2) = 4.30265, half-width 4.30265 * .02 / sqrt(3)
    table = summarise(collect(sweep)).set_index("setting")
    assert table.loc["domain_adaptation=none", "test/target/acc ci95"] == pytest.approx(0.0496828, abs=1e-6)


def test_one_seed_has_no_interval_and_failures_are_counted(sweep):
    row = summarise(collect(sweep)).set_index("setting").loc["domain_adaptation=mmd"]
    assert (row["n"], row["not_completed"]) == (1, 2)
    assert row["test/target/acc mean"] == 0.70
    assert math.isnan(row["test/target/acc ci95"])


def test_a_setting_and_seed_twice_counts_once(sweep):
    again = sweep / "99"
    _run(again, ["data=digits", "domain_adaptation=none", "seed=0"], {"test/target/acc": 0.1}, seed=0)
    os.utime(again / "results.json", (time.time() + 60,) * 2)
    row = summarise(collect(sweep)).set_index("setting").loc["domain_adaptation=none"]
    assert row["n"] == 3
    assert row["test/target/acc mean"] == pytest.approx(np.mean([0.1, 0.52, 0.54]))
    assert "repeat a setting and seed" in write_report(sweep, figure=False).read_text(encoding="utf-8")


def test_paired_differences_equal_those_of_scipy(sweep):
    table = paired_differences(collect(sweep), "test/target/acc").set_index("setting")
    row = table.loc["domain_adaptation=dann"]
    paired = stats.ttest_rel(ACCURACY["dann"], ACCURACY["none"]).confidence_interval(0.95)
    assert row["mean"] - row["ci95"] == pytest.approx(paired.low, rel=1e-9)
    assert row["mean"] + row["ci95"] == pytest.approx(paired.high, rel=1e-9)
    assert (row["n"], row["positive"], row["baseline"]) == (3, 3, "domain_adaptation=none")
    assert math.isnan(table.loc["domain_adaptation=mmd", "ci95"])
    assert "domain_adaptation=none" not in table.index


def test_a_baseline_differs_in_its_own_key_alone(tmp_path):
    values = {("a", "none"): 0.5, ("a", "dann"): 0.6, ("b", "none"): 0.2, ("b", "dann"): 0.7}
    for number, ((backbone, method), value) in enumerate(values.items()):
        overrides = [f"backbone={backbone}", f"domain_adaptation={method}", "seed=0"]
        _run(tmp_path / str(number), overrides, {"test/acc": value})
    table = paired_differences(collect(tmp_path), "test/acc")
    assert table["mean"].tolist() == pytest.approx([0.1, 0.5])
    assert table["baseline"].str.startswith(("backbone=a", "backbone=b")).all()
    assert paired_differences(collect(tmp_path), "test/acc", "strategy=none").empty


def test_trials_are_no_further_seeds_and_alone_show_no_test_score(tmp_path):
    """A run that won a search is the best of several, and would raise the mean of what it chose."""
    for seed, acc in enumerate([0.5, 0.6, 0.7]):
        tuned = ["domain_adaptation=mmd", "optimizer.lr=0.1", f"seed={seed}", "sweep.tuned='optimizer.lr'"]
        _run(tmp_path / "final" / str(seed), tuned, {"test/acc": acc}, seed=seed)
        plain = ["domain_adaptation=none", f"seed={seed}", "sweep.tuned=''"]
        _run(tmp_path / "final" / str(3 + seed), plain, {"test/acc": acc - 0.1}, seed=seed)
    trial = ["domain_adaptation=mmd", "optimizer.lr=0.1", "seed=100", "sweep.trial=true"]
    _run(tmp_path / "trials" / "0", trial, {"test/acc": 1.0, "val/acc": 0.9}, seed=100)
    for name, acc in (("1", 0.8), ("2", 0.7)):
        other = ["domain_adaptation=mmd", f"optimizer.lr=0.{name}1", "seed=100", "sweep.trial=true"]
        _run(tmp_path / "trials" / name, other, {"test/acc": acc, "val/acc": acc}, seed=100)

    both = collect(tmp_path)
    assert len(both) == 6
    assert summarise(both)["test/acc mean"].tolist() == pytest.approx([0.6, 0.5])
    assert paired_differences(both, "test/acc")["mean"].tolist() == pytest.approx([0.1])  # though lr is not the same
    write_report(tmp_path)
    assert "3 trials of a search are left out" in (tmp_path / "summary.md").read_text()

    alone = collect(tmp_path / "trials")
    assert "test/acc" not in alone
    assert alone["val/acc"].tolist() == [0.9, 0.8, 0.7]
    write_report(tmp_path / "trials")
    text = (tmp_path / "trials" / "summary.md").read_text()
    assert "val accuracy" in text
    assert "test accuracy" not in text
    assert "test scores are not shown" in text
    assert "test/acc" not in (tmp_path / "trials" / "results.csv").read_text()


def test_the_winner_of_a_search_is_named(tmp_path, capsys):
    """By the metric that the search maximises, in the metric's own sign and unit; a trial that failed wins nothing."""
    losses = {"0": 0.9, "1": 0.25, "2": 0.7}
    for name, loss in losses.items():
        trial = [f"optimizer.lr=0.{name}1", "sweep.trial=true"]
        _run(
            tmp_path / "a" / name,
            trial,
            {"test/acc": 1.0, "val/loss": loss},
            objective=-loss,
            objective_metric="val/loss",
        )
    _run(tmp_path / "a" / "3", ["optimizer.lr=9", "sweep.trial=true"], {}, status="failed")
    assert (
        describe_winners(collect(tmp_path / "a"))
        == "Best of 3 trials by val loss: `optimizer.lr=0.11` with 0.25 (run 1)."
    )
    write_report(tmp_path / "a", figure=False)
    assert "Best of 3 trials by val loss: `optimizer.lr=0.11`" in (tmp_path / "a" / "summary.md").read_text()
    show_summary(tmp_path / "a")
    assert "Best of 3 trials by val loss: optimizer.lr=0.11" in capsys.readouterr().out

    for number, (method, acc) in enumerate([("mmd", 0.5), ("dann", 0.8), ("mmd", 0.6), ("dann", 0.8)]):
        trial = [f"domain_adaptation={method}", f"optimizer.lr=0.{number}1", "sweep.trial=true"]
        facts = {"objective": acc, "objective_metric": "val/source/acc"}
        _run(tmp_path / "b" / str(number), trial, {"val/source/acc": acc}, **facts)
    assert describe_winners(collect(tmp_path / "b")) == (
        "Best of 4 trials by val source accuracy %, for each method: `domain_adaptation=dann optimizer.lr=0.11` with "
        "80.0 (run 1); `domain_adaptation=mmd optimizer.lr=0.21` with 60.0 (run 2)."
    )
    _run(tmp_path / "c" / "0", ["optimizer.lr=1"], {"val/acc": 0.5}, objective=0.5, objective_metric="val/acc")
    assert describe_winners(collect(tmp_path / "c")) == ""  # no trial


def test_a_damaged_run_is_a_row_and_takes_nothing_from_the_others(sweep):
    damaged = json.loads((sweep / "0" / "results.json").read_text())
    (sweep / "0" / "results.json").write_text(json.dumps(damaged | {"metrics": {"test/target/acc": "hello"}}))
    runs = collect(sweep)
    assert runs["status"][0] == "missing"
    assert "'hello' as test/target/acc" in runs["error"][0]
    assert runs["test/target/acc"].notna().sum() == 6


def test_the_report_is_written(sweep):
    path = write_report(sweep)
    text = path.read_text(encoding="utf-8")
    assert path == sweep / "summary.md"
    assert "9 runs, 7 completed, 2 not; 3 settings." in text
    assert "All runs: `data=digits`." in text
    assert "52.0 ± 5.0" in text
    assert "The loss became NaN \\| at step 3." in text
    assert "+10.3 ± 8.7" in text  # scipy.stats.ttest_rel
    assert "(figures/settings.png)" in text
    assert (sweep / "figures" / "settings.png").stat().st_size > 5000
    table = pd.read_csv(sweep / "results.csv")
    assert len(table) == 9
    assert table["test/target/acc"].tolist()[:3] == ACCURACY["none"]


def _titles(found):
    return {section.title: section for section in sections(found, [])}


def test_two_settings_are_compared_once_by_each_metric(tmp_path):
    for seed in range(3):
        for method, gain in (("none", 0.0), ("dann", 0.1 + 0.01 * seed)):
            metrics = {"test/target/acc": 0.5 + 0.02 * seed + gain, "test/target/f1_macro": 0.4 + gain}
            _run(tmp_path / f"{method}{seed}", [f"domain_adaptation={method}", f"seed={seed}"], metrics, seed=seed)
    titles = _titles(find([tmp_path]))
    differences = titles["Difference from `domain_adaptation=none`, seed by seed"].parts[0].rows
    assert [(row[2], row[3].text) for row in differences] == [("test target accuracy %", "+11.0 ± 2.5")]
    best = titles["Comparison with the best, seed by seed"].parts[0].rows
    assert [(row[0], row[1]) for row in best] == [("domain_adaptation=none", "test target macro F1 %")]
    alone = find([tmp_path])
    alone.metrics.remove("test/target/f1_macro")
    del alone.standings["test/target/f1_macro"]
    assert "Comparison with the best, seed by seed" not in _titles(alone)


def test_three_settings_are_compared_with_the_best_and_with_the_baseline(sweep):
    _run(sweep / "9", ["data=digits", "domain_adaptation=mmd", "seed=1"], {"test/target/acc": 0.7}, seed=1)
    _run(sweep / "10", ["data=digits", "domain_adaptation=mmd", "seed=2"], {"test/target/acc": 0.8}, seed=2)
    titles = _titles(find([sweep]))
    assert len(titles["Comparison with the best, seed by seed"].parts[0].rows) == 2
    assert len(titles["Difference from `domain_adaptation=none`, seed by seed"].parts[0].rows) == 2


def test_the_printed_summary_has_the_differences_from_the_baseline(sweep, capsys):
    show_summary(sweep)
    printed = capsys.readouterr().out
    table = printed.partition("difference from")[2]
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line.startswith("domain_adaptation=")}
    expected = stats.ttest_rel(ACCURACY["dann"], ACCURACY["none"])
    mean = np.mean(np.subtract(ACCURACY["dann"], ACCURACY["none"]))
    half = expected.confidence_interval(0.95).high - mean
    assert rows["domain_adaptation=dann"] == [f"+{100 * mean:.1f}", "±", f"{100 * half:.1f}", "3", "of", "3"]
    assert rows["domain_adaptation=mmd"] == ["+20.0", "1", "of", "1"]
    assert "target accuracy %" in printed
    assert max(map(len, printed[: printed.index("Mean ±")].splitlines())) <= 80


def test_without_a_baseline_no_difference_is_printed(tmp_path, capsys):
    for seed in range(3):
        for method in ("dann", "mmd"):
            overrides = [f"domain_adaptation={method}", f"seed={seed}"]
            _run(tmp_path / f"{method}{seed}", overrides, {"test/target/acc": 0.5}, seed=seed)
    show_summary(tmp_path)
    printed = capsys.readouterr().out
    assert "domain_adaptation=mmd" in printed
    assert "difference" not in printed


def test_the_protocol_stands_beside_the_numbers(tmp_path, capsys):
    for i, method in enumerate(("none", "dann")):
        facts = {"protocol": "transductive"} | ({"batch-norm statistics": "joint"} if method == "dann" else {})
        _run(tmp_path / str(i), [f"domain_adaptation={method}"], {"test/target/acc": 0.5}, protocol=facts)
    text = write_report(tmp_path, figure=False).read_text(encoding="utf-8")
    assert "\nFacts of all runs: protocol: transductive.\n" in text
    table = text.partition("## Settings")[2].partition("\n\nMean")[0]
    cells = [[cell.strip() for cell in line.split("|")] for line in table.splitlines() if line.startswith("|")]
    own = {row[1]: row[-2] for row in cells}
    assert own["setting"] == "protocol"
    assert own["domain_adaptation=none"] == ""
    assert own["domain_adaptation=dann"] == "batch-norm statistics: joint"
    show_summary(tmp_path)
    assert "Facts of all runs: protocol: transductive." in " ".join(capsys.readouterr().out.split())


def test_the_report_of_failures_alone(tmp_path):
    _run(tmp_path / "0", ["seed=0"], status="failed", error="no")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "results.json").write_text("{", encoding="utf-8")
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "2 runs, 0 completed" in text
    assert "cannot be read" in text
    assert "figures" not in text


def test_different_code_versions_are_reported(tmp_path):
    for seed, commit in enumerate(("abc", "def")):
        _run(tmp_path / str(seed), [f"seed={seed}"], {"test/acc": 0.5}, seed=seed, git_commit=commit)
    assert "2 different code versions" in write_report(tmp_path, figure=False).read_text(encoding="utf-8")


def test_different_data_of_one_seed_are_reported(tmp_path):
    for number, (seed, data) in enumerate([(0, "a"), (1, "b")]):
        _run(tmp_path / str(number), [f"seed={seed}"], {"test/acc": 0.5}, seed=seed, data_hash=data)
    assert "different data" not in write_report(tmp_path, figure=False).read_text(encoding="utf-8")
    _run(tmp_path / "2", ["seed=1"], {"test/acc": 0.5}, seed=1, data_hash="c")
    assert "different data" in write_report(tmp_path, figure=False).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_thousand_runs_are_read_once(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for number in range(1000):
        overrides = [f"backbone=b{number // 20}", f"domain_adaptation={'none' if number // 5 % 2 else 'dann'}"]
        metrics = {
            f"test/{domain}/{name}": rng.random() for domain in ("source", "target") for name in ("acc", "f1_macro")
        }
        _run(
            tmp_path / str(number),
            [*overrides, f"optimizer.lr={number // 10 % 2}", f"seed={number % 5}"],
            metrics,
            seed=number % 5,
        )
    opened = []
    original = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, *given, **named: opened.append(self) or original(self, *given, **named)
    )
    write_report(tmp_path)
    with (tmp_path / "results.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1000
    assert len([path for path in opened if path.name == "results.json"]) <= 1000  # each is read once


def _chosen(snd, oracle):
    facts = {"metric": "val/target/snd", "value": 1.0, "epoch": 2, "step": 20}
    return [
        {"chooser": "snd", **facts, "target_acc": snd, "oracle": False},
        {"chooser": "last epoch", **facts, "target_acc": 0.3, "oracle": False},
        {"chooser": "oracle (target test labels)", **facts, "target_acc": oracle, "oracle": True},
    ]


def test_what_validators_would_have_chosen_is_a_table_over_runs(tmp_path):
    for seed, values in enumerate([(0.5, 0.7), (0.6, 0.9)]):
        overrides = ["domain_adaptation=dann", f"seed={seed}"]
        _run(tmp_path / str(seed), overrides, {"test/target/acc": 0.3}, seed=seed, selection=_chosen(*values))
    _run(tmp_path / "2", ["domain_adaptation=none", "seed=0"], {"test/target/acc": 0.2}, selection=_chosen(None, None))
    text = write_report(tmp_path, figure=False).read_text()
    table = text.partition("## Target accuracy by what chooses the epoch")[2]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert lines[0] == ["setting", "n", "snd", "last epoch", "oracle (target test labels)"]
    assert lines[2][:3] == ["domain_adaptation=dann", "2", "55.0 (50.0, 60.0)"]
    assert lines[2][4].startswith("80.0")
    assert lines[3] == ["domain_adaptation=none", "1", "-", "30.0", "-"]
    assert "for comparison only" in table


def test_validators_that_reach_the_same_score_are_not_compared(tmp_path):
    """As after a single epoch, which all of them choose."""
    for seed in range(2):
        overrides = ["domain_adaptation=dann", f"seed={seed}"]
        _run(tmp_path / str(seed), overrides, {"test/target/acc": 0.3}, seed=seed, selection=_chosen(0.3, 0.3))
    assert "chooses the epoch" not in write_report(tmp_path, figure=False).read_text()
    _run(tmp_path / "2", ["domain_adaptation=dann", "seed=2"], {"test/target/acc": 0.3}, selection=_chosen(0.3, 0.4))
    assert "chooses the epoch" in write_report(tmp_path, figure=False).read_text()


@pytest.mark.parametrize(
    ("scores", "tex", "markdown"),
    [
        ([[0.5], [0.6]], "interval over n seeds.", "No setting is marked as the best"),
        ([[0.5, 0.5, 0.5]], "interval over n seeds.", None),
        (
            [[0.50, 0.55, 0.60], [0.52, 0.54, 0.63]],
            "Bold: best on the same data; dagger: not significantly worse (paired t-test over common seeds, Holm).",
            "≈: not significantly worse than the best by",
        ),
        (
            [[0.50, 0.51, 0.52], [0.70, 0.712, 0.72]],
            "Bold: best on the same data; all others are significantly worse (paired t-test over common seeds, Holm).",
            "All others are significantly worse than the best by",
        ),
    ],
)
def test_only_marks_that_occur_are_explained(scores, tex, markdown, tmp_path):
    for k, values in enumerate(scores):
        for seed, value in enumerate(values):
            words = [f"optimizer.lr={k + 1}", f"seed={seed}"]
            _run(tmp_path / f"{k}_{seed}", words, {"test/acc": value}, seed=seed)
    text = write_report(tmp_path, figure=False).read_text(encoding="utf-8")
    latex = (tmp_path / "summary.tex").read_text(encoding="utf-8")
    (caption,) = [line for line in latex.splitlines() if line.startswith(r"\caption")]
    assert caption.endswith(f"{tex}}}")
    assert ("Bold" in caption) == (r"\textbf" in latex)
    assert ("dagger:" in caption) == (r"$^\dagger$" in latex)
    if markdown:
        assert markdown in text
    assert ("≈:" in text) == ("dagger:" in caption)


def test_without_validators_there_is_no_such_table(sweep):
    assert "chooses the epoch" not in write_report(sweep, figure=False).read_text()


def test_a_streams_tasks_are_in_their_order_and_its_mean_alone_is_shown(tmp_path, capsys):
    accuracies = {f"test/task{k}/acc": 0.5 + k / 100 for k in (10, 1, 2, 3)}
    for seed in range(2):
        _run(tmp_path / str(seed), [f"seed={seed}"], {"test/acc": 0.875, **accuracies}, seed=seed)
    runs = collect(tmp_path)
    tasks = [name for name in runs if name.startswith("test/")]
    assert tasks == ["test/acc", "test/task1/acc", "test/task2/acc", "test/task3/acc", "test/task10/acc"]
    show_summary(tmp_path)
    printed = capsys.readouterr().out
    assert "87.5" in printed
    assert "task10" not in printed


def test_sizes_are_drawn_where_they_may_explain_something():
    runs = pd.DataFrame({"setting": ["a", "a", "b"], "parameters_trainable": [100, 100, 1000]})
    table = pd.DataFrame({"setting": ["b", "a"]})
    adapters = runs.assign(**{OVERRIDE + "adapter": ["none", "none", "lora"]})
    assert sizes_of(adapters, table)["parameters"].tolist() == [1000, 100]
    assert sizes_of(runs.assign(**{OVERRIDE + "domain_adaptation": ["none", "none", "dann"]}), table) is None
    assert sizes_of(adapters.assign(parameters_trainable=[100, 100, 140]), table) is None
