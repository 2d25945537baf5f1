import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text

from tl_lab.results.screen.console import banner, final_table, health, next_steps, say

METRICS = {
    "val/source/acc": 0.99,
    "test/source/acc": 0.9712,
    "test/source/balanced_acc": 0.97,
    "test/source/loss": 0.1,
    "test/target/acc": 0.6811,
    "test/target/acc_ci95": 0.012,
    "test/target/balanced_acc": 0.67,
    "test/target/f1_macro": None,
    "test/bwt": -0.123,
}


class _Terminal(io.StringIO):
    def isatty(self):
        return True


class _Ascii(io.StringIO):
    encoding = "ascii"


def _output_of(say, *args, **kwargs):
    stream = io.StringIO()
    say(*args, **kwargs, stream=stream)
    text = stream.getvalue()
    assert "\x1b" not in text, "no colours in a log"
    return text


def test_the_banner_names_every_fact_in_plain_text():
    facts = {
        "trains": "lenet, dann",
        "parameters": {"total": 1_248_424, "trainable": 5_130},
        "head": {"total": 10, "trainable": 10},
        "frozen": ["conv1", "conv2"],
        "seed": 0,
        "nothing": None,
        "preprocessing": "to [28, 28]: " + "enlarged " * 20,
    }
    text = _output_of(banner, facts, title="a title")
    assert text.startswith("a title\n")
    assert "1,248,424, of which 5,130 (0.4%) trainable" in text
    assert "10, all trainable" in text
    assert "conv1, conv2" in text
    assert "nothing" not in text
    assert "[28, 28]" in text, "brackets are no markup"
    assert any(line.split() == ["seed", "0"] for line in text.splitlines())
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("stream", [io.StringIO, _Terminal])
@pytest.mark.parametrize("columns", ["60", "80"])
def test_paths_are_never_broken(columns, stream, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    long, spaced = Path("/some/where", *["a-long/name"] * 12), Path("/my files", *["of last week"] * 12)
    out = stream()
    banner({"weights": f"trained by {long}", "folder": spaced, "seed": 0}, stream=out)
    say(Text(f"Written to {long} and nowhere else"), f"figures: {long}", stream=out)
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert lines[1:] == [
        "weights  trained by", str(long), f"folder   {spaced}", "seed     0",
        "Written to", str(long), "and nowhere else", "figures:", str(long),
    ]  # fmt: skip


@pytest.mark.parametrize(("columns", "width"), [("60", 60), ("140", 140), ("", 100), ("0", 100), ("wide", 100)])
def test_the_width_of_a_log_is_that_of_columns(columns, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    lines = _output_of(say, Text("word " * 200)).splitlines()
    assert max(map(len, lines)) in range(width - 5, width + 1)
    assert " ".join(lines).split() == ["word"] * 200


def test_the_table_has_one_row_per_domain_and_the_reference():
    text = _output_of(
        final_table, METRICS, reference={"target": 0.573}, seed=0, tested_checkpoint="last",
        protocol={"target_labels": "used for this table only"},
    )  # fmt: skip
    source, target = (
        next(line for line in text.splitlines() if line.startswith(name)) for name in ("source", "target")
    )
    assert source.split() == ["source", "97.1", "97.0", "-"]
    assert target.split() == ["target", "68.1", "±", "1.2", "67.0", "57.3", "(here", "+10.8)"]
    assert "source-only reference" in text
    assert "macro F1" not in text, "a column that nothing fills is left out"
    assert "bwt -12.3 %" in text
    flat = " ".join(text.split())
    assert "One run, seed 0: no interval" in flat
    assert [line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  tested")] == [
        ["tested", "last checkpoint"]
    ]
    assert "  target labels  used for this table only" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_baseline_has_a_column_that_names_it():
    stream = io.StringIO()
    scores = {"test/target/acc": 0.5, "test/source/acc": 0.8, "test/target trees/acc": 0.75, "test/trees/acc": 0.7}
    final_table(scores, stream=stream)
    lines = [line.split() for line in stream.getvalue().splitlines()]
    assert ["test", "set", "model", "accuracy", "%"] in lines
    assert ["target", "network", "50.0"] in lines
    assert ["target", "gradient-boosted", "trees", "(baseline)", "75.0"] in lines
    assert ["all", "gradient-boosted", "trees", "(baseline)", "70.0"] in lines
    final_table({"test/oak trees park/acc": 0.5}, stream=(plain := io.StringIO()))
    assert "model" not in plain.getvalue()


def test_an_oracles_target_is_marked():
    text = _output_of(final_table, METRICS, protocol={"oracle": "trained on the target's labels"})
    assert sum("(oracle)" in line for line in text.splitlines()) == 1
    assert any(line.startswith("target (oracle)  ") for line in text.splitlines())


def test_a_set_without_domains_has_one_row():
    text = _output_of(final_table, {"test/acc": 0.5, "test/acc_ci95": 0.01})
    assert any(line.split() == ["all", "50.0", "±", "1.0"] for line in text.splitlines())
    assert "reference" not in text


def test_a_mean_over_tasks_of_different_metrics_is_below_the_table_with_its_unit():
    text = _output_of(final_table, {"test/rte/acc": 0.477, "test/stsb/r2": 0.09, "test/task_mean": 0.2835})
    lines = [line.split() for line in text.splitlines()]
    assert ["test", "set", "accuracy", "%", "R²"] in lines
    assert ["rte", "47.7", "-"] in lines
    assert ["stsb", "-", "0.090"] in lines
    assert "mean over tasks (fraction) 0.283" in text
    assert not any(line[:1] == ["all"] for line in lines)


def test_a_mean_of_the_metric_of_the_tasks_is_a_row():
    text = _output_of(final_table, {"test/task1/acc": 0.2, "test/task2/acc": 0.4, "test/acc": 0.3})
    assert any(line.split() == ["all", "30.0"] for line in text.splitlines())


def test_no_test_metrics_is_reported():
    assert "No test metric was logged." in _output_of(final_table, {"val/acc": 0.5})


def test_commands_and_paths_are_never_broken():
    folder = "/folder/" + "x" * 150
    text = _output_of(next_steps, folder, [("over seeds", "python train.py -m " + "a=b " * 40 + "end"), "python plain"])
    assert f"Files: {folder}\n" in text
    assert any(line.endswith("end") and "python train.py" in line for line in text.splitlines())
    assert "  python plain\n" in text


def test_a_terminal_gets_colours_and_ascii_gets_ascii():
    terminal, log = _Terminal(), _Ascii()
    for stream in (terminal, log):
        banner({"seed": 0, "name": "é"}, stream=stream)
        final_table(METRICS, stream=stream)
    assert "\x1b[" in terminal.getvalue()
    assert log.getvalue().isascii()
    assert "68.1 +- 1.2" in log.getvalue()


def test_console_and_report_import_no_torch():
    code = (
        "import sys, tl_lab.results.screen.console, tl_lab.results.report.writing, tl_lab.results.folder.files\n"
        "heavy = {'torch', 'pytorch_lightning', 'matplotlib', 'sklearn', 'pandas', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_health_shows_numbers_and_what_they_mean():
    facts = {
        "a_distance_start": 1.8,
        "a_distance": 0.42,
        "linear_acc_start": 0.95,
        "linear_acc": 0.605,
        "discriminator_acc": 0.61,
        "lambda_end": 1.0,
        "gradient_norms": {"task_loss": 0.25, "domain_loss": 0.031},
        "reading": "aligned: A-distance 1.80 -> 0.42",
    }
    numbers, meaning = " ".join(_output_of(health, facts).split()).split(" health: ")
    assert numbers == (
        "A-distance 1.8 -> 0.42; linear domain classifier % 95.0 -> 60.5; discriminator % 61.0; lambda 1; gradient at "
        "the features: task loss 0.25, domain loss 0.031"
    )
    assert meaning == "aligned: A-distance 1.80 -> 0.42"


def test_health_leaves_out_what_is_not_known():
    facts = {
        "a_distance": 1.7,
        "a_distance_start": None,
        "discriminator_acc": None,
        "gradient_norms": {},
        "reading": "x",
    }
    assert " ".join(_output_of(health, facts).split()) == "A-distance 1.7 health: x"
    assert _output_of(health, {"reading": "nothing was measured"}).split() == ["health:", "nothing", "was", "measured"]
