"""Any legal name of a file, folder or class works everywhere, and is displayed literally or by its code."""

import io
import os
import re
import shlex
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from tl_lab.cli import arguments
from tl_lab.cli.terminal import prepare_terminal
from tl_lab.cli.train import main
from tl_lab.data.sets.image_folder import ImageFolder, ImageFolderPair
from tl_lab.data.sets.table import Table
from tl_lab.errors import UserError
from tl_lab.problems import Several, SingleLabel
from tl_lab.results.figures.confusion import confusion_matrix
from tl_lab.results.figures.drawing import fit_names, save_figures
from tl_lab.results.folder.files import read_results, write_json, write_text
from tl_lab.results.folder.predictions import predictions_path
from tl_lab.results.names import heading, split_name
from tl_lab.results.report.latex import escape
from tl_lab.results.report.page import svg
from tl_lab.texts import one_line, printable, same_name

ROOT = Path(__file__).resolve().parents[1]
NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name and b"/" not in name)
ODD = [
    "café",
    "cafe\u0301",
    "耳机",
    "a$b$c",
    r"$\frac$",
    "a\nb",
    "my run, 1",
    "=x",
    "[1]",
    "<script>",
    "a_b%&#",
    "😀",
    "-- x",
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))


# ---------------------------------------------------------------------- texts


@settings(max_examples=30, derandomize=True, deadline=None)
@given(NAMES)
def test_every_name_of_a_file_becomes_a_text_that_can_be_written(name):
    text = os.fsdecode(name)
    shown = printable(text)
    assert shown.encode("utf-8")
    try:
        assert shown == name.decode("utf-8")
    except UnicodeDecodeError:
        assert shown == name.decode("utf-8", "backslashreplace")
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert not any(unicodedata.category(sign) == "Cc" for sign in line)
    assert str(UserError(text)) == shown


def test_texts_of_files_take_any_name(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "a.json", {"name": name})
    assert "caf\\\\xe9" in (tmp_path / "a.json").read_text() or "caf\\xe9" in (tmp_path / "a.json").read_text()
    assert write_text(tmp_path / "a.txt", name).read_text() == "caf\\xe9"
    assert printable("\ud800x") == "\\ud800x"
    assert one_line("a\nb\x07") == "a\\nb\\x07"
    assert same_name("cafe\u0301") == "café"


def test_a_terminal_of_any_language_shows_any_name(monkeypatch, tmp_path):
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    prepare_terminal(["data.root=café"])
    print("café", file=shown, flush=True)
    assert shown.buffer.getvalue() == b"caf\\xe9\n"
    with pytest.raises(UserError, match=r"the argument 'data\.root=caf\\\\xe9' is not valid UTF-8"):
        prepare_terminal([os.fsdecode(b"data.root=caf\xe9")])
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match="the current folder"):
        prepare_terminal([])


# ---------------------------------------------------------------------- data


def images(root, classes, count=10):
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((4, 4), 20 * label + i, np.uint8)).save(root / name / f"{i}.png")
    return root


def test_classes_may_have_any_name(tmp_path):
    names = [*(name for name in ODD if name != "cafe\u0301"), os.fsdecode(b"caf\xe9")]
    data = ImageFolder(root=str(images(tmp_path, names)))
    data.load()
    assert sorted(data.class_names) == sorted(one_line(name) for name in names)
    order = [next(name for name in names if one_line(name) == shown) for shown in data.class_names]
    for samples in data.sets.values():
        assert [order[y] for y in samples.y] == [name.split("/")[0] for name in samples.x.names]
    assert len(data.fingerprint()) == 16


def test_a_name_in_two_spellings_is_one_class(tmp_path):
    images(tmp_path / "source", ["café", "tea"])
    images(tmp_path / "target", ["cafe\u0301", "tea"], count=8)
    data = ImageFolderPair(source=str(tmp_path / "source"), target=str(tmp_path / "target"), size=4, batch_size=4)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*lacks")
        data.load()
    assert data.class_names == ["café", "tea"]
    assert len(data.sets["target/train"]) + len(data.sets["target/test"]) == 16
    images(tmp_path / "source2", ["café", "cafe\u0301"])
    with pytest.raises(UserError, match="two folders 'café' with different encodings of the same name"):
        ImageFolder(root=str(tmp_path / "source2")).load()


def table(path, label, count=40):
    """Write a table whose columns have odd names: numbers, categories of odd names, and labels of two odd names."""
    draw = np.random.default_rng(0)
    columns = {name: draw.normal(size=count) for name in ODD if name != label}
    columns["where"] = [ODD[i % 5] for i in range(count)]
    columns[label] = [("=x", "café/a$b")[i % 2] for i in range(count)]
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("label", ODD)
def test_columns_and_labels_of_tables_may_have_any_name(tmp_path, label):
    data = Table(path=str(table(tmp_path / "t.csv", label)), label_column=label)
    data.load()
    assert data.class_names == ["=x", "café/a$b"]
    assert data.columns is not None
    assert data.columns.numbers == tuple(name for name in ODD if name != label)
    assert data.columns.categories == ("where",)
    assert sum(map(len, data.sets.values())) == 40


@pytest.mark.parametrize("task", ODD)
def test_a_task_in_the_name_of_a_metric_is_found_again(task):
    problem = Several(tasks={task: SingleLabel(["a/b", "c"])})
    (name,) = [name for name in problem.labelled if name.endswith("/acc")]
    assert split_name(f"test/{name}") == ("test", task, "acc")
    assert task in heading(f"test/{name}")


@pytest.mark.parametrize("task", ["a/b", "a.b", " "])
def test_a_task_whose_metrics_would_be_ambiguous_is_refused(task):
    with pytest.raises(UserError, match="a task cannot be named"):
        Several(tasks={task: SingleLabel(["a", "b"])})


# ---------------------------------------------------------------------- figures, LaTeX, pages


def test_figures_take_any_name(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = confusion_matrix(np.eye(len(ODD)), [one_line(name) for name in ODD])
        page = svg(figure, "Confusion")
        save_figures({"confusion": figure}, tmp_path)
    assert (tmp_path / "confusion.png").stat().st_size > 10_000
    for name in ("café", "耳机", "a$b$c", "$\\frac$", "a\\nb", "&lt;script&gt;", "a_b%&amp;#"):
        assert name in page


def test_signs_that_no_font_has_are_written_by_their_numbers():
    figure = confusion_matrix(np.eye(2), ["x\U00100000y", "café"])
    fit_names(figure)
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["x U+100000y", "café"]


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.text(st.sampled_from("ab [*]\\&%$#_{}~^-<>|`²±≈\n"), max_size=10))
def test_latex_sets_a_name_as_it_is(name):
    written = escape(name)
    assert not re.search(r"(?<!\\)[&%#_$]", re.sub(r"\$(\\pm|<|>|\^2|\\approx)\$", "", written))
    assert "--" not in written
    assert not written.startswith(("[", "*"))
    back = written
    for shown, sign in (
        ("$\\pm$", "±"), ("$<$", "<"), ("$>$", ">"), ("$^2$", "²"), ("$\\approx$", "≈"), ("\\textbar{}", "|"),
        ("\\textasciitilde{}", "~"), ("\\textasciicircum{}", "^"), ("\\`{}", "`"), ("-{}-", "--"),
    ):  # fmt: skip
        back = back.replace(shown, sign)
    back = back.removeprefix("{}").replace("-{}-", "--").replace("\\textbackslash{}", "\0")
    assert re.sub(r"\\([&%$#_{}])", r"\1", back).replace("\0", "\\") == one_line(name)


# ---------------------------------------------------------------------- shell lines and files


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="\\'\"${}:=,. abc()[]é\t", min_size=1, max_size=12).filter(str.strip))
@example("d_${oc.env:HOME}")
@example("r\\s")
@example("b\\")
@example("a\\'b")
@example("\\${x}")
def test_a_quoted_name_reaches_the_configuration_as_it_is(name):
    read = OverridesParser.create().parse_override(f"hydra.run.dir={arguments.quote(name)}")
    assert OmegaConf.create({"folder": read.value()}).folder == name


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.text(min_size=1, max_size=8).filter(lambda name: "\0" not in name and name == printable(name)))
def test_a_folder_in_a_line_for_the_shell_is_that_folder(name):
    folder = Path("runs") / name.replace("/", "_")
    (word,) = shlex.split(shlex.quote(f"resume={folder}"))
    assert arguments.resumed_folder([word]) == folder
    text = f"hydra.sweep.dir={arguments.plain_or_quoted(str(folder))}"
    (override,) = OverridesParser.create().parse_overrides([text])
    assert OmegaConf.create({"folder": override.value()}).folder == str(folder)


def test_the_lines_that_a_run_prints_can_be_pasted(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "it's my run, 1"
    small = ["data=digits", "backbone=mlp", "backbone.hidden=[4]", "trainer.max_epochs=1", "logger=none"]
    quiet = ["data.labels=50", "figures=false", "trainer.enable_progress_bar=false"]
    main([*small, *quiet, f"hydra.run.dir={arguments.quote(str(folder))}"])
    printed = "".join(line.strip() + " " for line in capsys.readouterr().out.splitlines())
    words = shlex.split(re.search(r"-m tl_lab predict (.*?) new_images", printed)[1])
    assert [Path(word).resolve() for word in words] == [folder]
    (word,) = shlex.split(shlex.quote(f"resume={folder}"))
    main([word])
    assert "already complete" in capsys.readouterr().out


@pytest.mark.slow
def test_a_terminal_without_any_language_and_wandb_take_any_name(tmp_path):
    table(tmp_path / "rows.csv", "[1]")
    small = ["data=table", "data.path=rows.csv", f"data.label_column={arguments.quote('[1]')}", "data.val_share=0.2"]
    small += ["backbone.hidden=[4]", "trainer.max_epochs=1", "figures=false", f"name={arguments.quote('my run, 1')}"]
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TL_LAB_OUTPUTS": "out"}
    run = subprocess.run(
        [sys.executable, "-m", "tl_lab", "train", *small, f"tags=[{arguments.quote('=x')}]"],
        env={**os.environ, **plain, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert (run.returncode, b"Traceback" in run.stderr) == (0, False), run.stderr.decode()
    (folder,) = (tmp_path / "out" / "runs" / "my run, 1").iterdir()
    results = read_results(folder)
    assert (results["status"], results["name"]) == ("completed", "my run, 1")
    assert results["data_places"]["data.path"] == {"given": "rows.csv", "used": str(tmp_path / "rows.csv")}
    assert b"W&B could not start" not in run.stderr, run.stderr.decode()
    (logged,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    content = logged.read_bytes()
    assert all(text.encode() in content for text in ("my run, 1-seed0", "[1]"))


def test_predictions_of_different_inputs_are_different_files(tmp_path):
    places = ["site.a", "site.b", "one/images", "other/images", "images.csv", "x/images.csv", "a\nb"]
    for place in places:
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "table.csv").write_text("")
    run = tmp_path / "run"
    paths = [predictions_path(run, [tmp_path / place]) for place in places]
    assert [path.name for path in paths] == [
        "site.a.csv", "site.b.csv", "images.csv", "images-2.csv", "images.csv.csv", "images.csv-2.csv", "a\\nb.csv",
    ]  # fmt: skip
    assert predictions_path(run, [tmp_path / "table.csv"]).name == "table.csv"
    assert [predictions_path(run, [tmp_path / place]) for place in places] == paths
    queries = [tmp_path / "site.a"]
    by_support = [predictions_path(run, queries, support).name for support in ("cats", "dogs", "cats")]
    assert by_support == ["site.a_by_support.csv", "site.a_by_support-2.csv", "site.a_by_support.csv"]
