"""Reports on problems other than single-label classification, from folders in the format of runs."""

import io

import numpy as np
import pytest
from scipy import stats

from tl_lab.results.folder.files import write_json
from tl_lab.results.report.writing import show_summary, write_report
from tl_lab.results.screen import console
from tl_lab.results.tables.findings import find
from tl_lab.results.tables.trade_off import trade_off
from tl_lab.sweeps.progress import outcome_of

REGRESSION = {  # R², Spearman, MAE, MSE by seed
    "from_scratch": [(-0.2, 0.41, 3.5, 20.0), (0.1, 0.45, 3.1, 16.0), (0.0, 0.4, 3.3, 17.5)],
    "fine_tuning": [(0.7, 0.88, 1.25, 2.5), (0.72, 0.9, 1.2, 2.25), (0.74, 0.86, 1.3, 2.0)],
}
MULTI_LABEL = {  # AUROC, mAP, F1 at .5, F1 with thresholds from validation, exact match
    "from_scratch": [(0.71, 0.5, 0.4, 0.45, 0.2), (0.69, 0.52, 0.42, 0.44, 0.22), (0.7, 0.51, 0.41, 0.46, 0.21)],
    "fine_tuning": [(0.91, 0.8, 0.7, 0.75, 0.5), (0.89, 0.82, 0.72, 0.74, 0.52), (0.93, 0.81, 0.71, 0.76, 0.51)],
}
NAMES = {
    "regression": ("r2", "spearman", "mae", "mse"),
    "multi_label": ("auroc", "map", "f1_macro", "f1_tuned", "subset_acc"),
}


def _write(folder, problem, values, seeds=3, options=("strategy",), **more):
    monitor = NAMES[problem][0]
    for number, (choice, seed) in enumerate((choice, seed) for choice in values for seed in range(seeds)):
        run = folder / str(number)
        (run / ".hydra").mkdir(parents=True)
        given = [f"{option}={value}" for option, value in zip(options, choice.split(), strict=True)]
        (run / ".hydra" / "overrides.yaml").write_text("".join(f"- {text}\n" for text in [*given, f"seed={seed}"]))
        scores = dict(zip(NAMES[problem], values[choice][seed], strict=True))
        metrics = {f"test/{name}": value for name, value in scores.items()}
        metrics |= {f"val/{name}": value for name, value in scores.items()} | {"test/loss": 0.5, "val/loss": 0.5}
        content = {"schema": 1, "status": "completed", "metrics": metrics, "duration_s": 1.0, "seed": seed, **more}
        write_json(run / "results.json", content | {"problem": {"name": problem, "monitor": monitor}})
        rows = "".join(f"{e},{10 * e},{1 / (e + 1)},{scores[monitor] - 0.1 / (e + 1)},{0.5}\n" for e in range(3))
        (run / "metrics.csv").write_text(f"epoch,step,train/loss,val/{monitor},val/loss\n{rows}")
    return folder


def _table(text, title):
    part = text.partition(f"## {title}")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("|")]


def _interval(values, digits, scale=1.0):
    mean, half = scale * np.mean(values), scale * stats.t.ppf(0.975, 2) * stats.sem(values)
    return f"{mean:{digits}} ± {half:{digits}}"


def test_a_sweep_over_a_regression(tmp_path, capsys):
    text = write_report(_write(tmp_path, "regression", REGRESSION), baseline="strategy=from_scratch").read_text("utf-8")
    head, _, scratch, tuned = _table(text, "Settings")
    assert head == ["setting", "n", "test R²", "test Spearman", "test MAE", "test MSE", "duration"]
    of_scratch, of_tuned = (np.array(REGRESSION[name]).T for name in ("from_scratch", "fine_tuning"))
    assert scratch[2].startswith(_interval(of_scratch[0], "z.3f"))
    assert scratch[4:6] == [_interval(of_scratch[2], "z.4g"), _interval(of_scratch[3], "z.4g")]
    best = [
        f"**{_interval(values, digits)}**"
        for values, digits in zip(of_tuned, ("z.3f", "z.3f", "z.4g", "z.4g"), strict=True)
    ]
    assert tuned[2:6] == best, "the highest R² and the lowest errors"
    assert "MAE in the unit of the target, MSE in its square." in text
    assert "per cent" not in text
    (difference,) = _table(text, "Difference from `strategy=from_scratch`, seed by seed")[2:]
    assert difference[2:5] == ["test R²", f"+{_interval(of_tuned[0] - of_scratch[0], 'z.3f')}", "3 of 3"]
    tex = (tmp_path / "summary.tex").read_text(encoding="utf-8")
    assert "setting & n & test R$^2$ & test Spearman & test MAE & test MSE" in tex
    assert rf"\textbf{{{_interval(of_tuned[3], 'z.4g')}}}".replace("±", r"$\pm$") in tex
    assert "test R²" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "val R²" in (tmp_path / "report.html").read_text(encoding="utf-8"), "its curves lead, too"
    show_summary(tmp_path)
    printed = capsys.readouterr().out
    assert "R²" in printed
    assert _interval(of_tuned[0], "z.3f") in printed
    assert "accuracy" not in text + printed + tex


def test_a_sweep_over_several_labels(tmp_path, capsys):
    text = write_report(_write(tmp_path, "multi_label", MULTI_LABEL)).read_text("utf-8")
    head, _, _, tuned = _table(text, "Settings")
    expected = ["AUROC", "mAP", "macro F1", "macro F1 (tuned thresholds)", "exact match"]
    assert head[2:-1] == [f"test {name} %" for name in expected]
    of_tuned = np.array(MULTI_LABEL["fine_tuning"]).T
    assert tuned[2:-1] == [f"**{_interval(values, '.1f', 100)}**" for values in of_tuned]
    assert "AUROC, mAP, F1 and exact matches in per cent." in text
    show_summary(tmp_path)
    printed = capsys.readouterr().out
    assert "AUROC %" in printed
    assert "accuracy" not in text + printed


def test_two_seeds_show_both_values_and_no_interval(tmp_path, capsys):
    text = write_report(_write(tmp_path, "regression", REGRESSION, seeds=2)).read_text("utf-8")
    _, _, scratch, tuned = _table(text, "Settings")
    assert scratch[2] == "-0.050 (-0.200, 0.100)"
    assert tuned[5] == "2.375 (2.25, 2.5)"
    assert "no interval below n = 3; for n = 2, both values are in parentheses" in text
    assert " ± " not in "".join(scratch + tuned)
    show_summary(tmp_path)
    assert "0.710 (0.700, 0.720)" in capsys.readouterr().out
    tex = (tmp_path / "summary.tex").read_text(encoding="utf-8")
    assert "0.710 (0.700, 0.720)" in tex
    assert r"\pm" not in tex


def test_labels_of_a_regression_say_whether_transfer_helps(tmp_path):
    values = {f"{name} {count}": runs for name, runs in REGRESSION.items() for count in ("10", "null")}
    _write(tmp_path, "regression", values, options=("strategy", "data.labels"), sizes={"train": 100})
    text = write_report(tmp_path).read_text("utf-8")
    assert _table(text, "R² by number of labels")[0][3] == "test R²"
    assert [row[-1] for row in _table(text, "Does transfer help?")[2:]] == ["helps", "helps"]
    assert (tmp_path / "figures" / "label_budgets.png").stat().st_size > 5000


def test_the_best_of_many_settings_is_that_of_the_main_metric(tmp_path):
    found = find(_write(tmp_path, "regression", REGRESSION))
    assert found.main_metric == "test/r2"
    words = {name: standing["strategy=fine_tuning"].word for name, standing in found.standings.items()}
    assert words == dict.fromkeys(("test/r2", "test/spearman", "test/mae", "test/mse"), "best")


def test_a_stream_of_regressions_trades_r2(tmp_path):
    for seed in range(3):
        run = tmp_path / str(seed)
        run.mkdir()
        metrics = {"test/r2": 0.2, "test/task1/r2": -0.5 + seed, "test/task2/r2": 0.9, "test/task2/mse": 4.0}
        content = {"schema": 1, "status": "completed", "metrics": metrics | {"test/bwt": -1.2}, "seed": seed}
        write_json(run / "results.json", content)
    found = find(tmp_path)
    table = trade_off(found.runs)
    assert table.attrs["metric"] == "r2"
    assert table[["last mean", "earlier mean"]].to_numpy().tolist() == pytest.approx(np.array([[0.9, 0.5]]))
    assert found.metrics == ["test/r2", "test/task1/r2", "test/task2/r2", "test/bwt_r2"]


@pytest.mark.parametrize("problem", NAMES)
def test_a_runs_table_has_the_scores_of_its_problem(problem):
    values = {"regression": (0.75, 0.88, 1.25, 22.5), "multi_label": (0.91, 0.8, 0.7, 0.75, 0.5)}[problem]
    metrics = {f"test/{name}": value for name, value in zip(NAMES[problem], values, strict=True)}
    stream = io.StringIO()
    console.final_table(metrics | {"test/loss": 1.0}, reference={"": 0.5}, seed=0, stream=stream)
    head, _, row = stream.getvalue().strip().splitlines()[:3]
    if problem == "regression":
        assert head.split() == ["test", "set", "R²", "Spearman", "MAE", "MSE", "source-only", "reference"]
        assert row.split() == ["all", "0.750", "0.880", "1.25", "22.5", "0.500", "(here", "+0.250)"]
    else:
        assert "AUROC %" in stream.getvalue()
        assert "91.0" in stream.getvalue()
        assert "(here +41.0)" in " ".join(stream.getvalue().split())


def test_a_jobs_line_names_the_main_metric():
    content = {"status": "completed", "metrics": {"test/r2": 0.75, "test/mse": 2.0}}
    assert outcome_of(content) == "completed  test/r2 0.750"
    content["metrics"] = {"test/target/auroc": 0.91, "test/source/auroc": 0.95}
    assert outcome_of(content) == "completed  test/target/auroc 91.0 %"
