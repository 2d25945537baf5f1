"""A problem of another package, in one file: trained, predicted, reported and loaded without any edit here."""

import ast
import csv
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tl_lab
from tl_lab.cli.main import main as tl_lab_main
from tl_lab.cli.train import main
from tl_lab.config import catalogue
from tl_lab.problems import ALL, PROBLEMS, MultiLabel, Regression, Sequence, Several, SingleLabel, base, metrics
from tl_lab.results import kinds
from tl_lab.results.folder.files import read_results
from tl_lab.results.kinds import Kind, Scores, learn, register, written
from tl_lab.results.names import describe_units, format_metric, heading, leading_metric, less_is_better

PACKAGE = Path(tl_lab.__file__).parent

MODULE = '''
"""Counts: the expected number of events, with a Poisson loss."""

import torch
from torch.nn import functional as F

from tl_lab.data.base import DataModule
from tl_lab.data.samples import Samples
from tl_lab.evaluation.meter import Meter
from tl_lab.functional.likelihoods import GAUSSIAN
from tl_lab.problems.base import Criterion, Prediction, Problem, Targets, refuse_options_of_classifiers
from tl_lab.results.kinds import Kind


class PoissonLoss(Criterion):
    def forward(self, outputs, y, reduction="mean"):
        losses = F.poisson_nll_loss(outputs, y, reduction="none").mean(1)
        return losses if reduction == "none" else losses.mean()


class CountMeter(Meter):
    def __init__(self):
        super().__init__()
        self.seen = []

    def update(self, outputs, y):
        if y is not None:
            self.seen.append((outputs.detach().cpu().double(), y.cpu().double()))

    def compute(self):
        if not self.seen:
            return {}
        outputs, y = (torch.cat(part) for part in zip(*self.seen))
        self.seen = []
        error = (outputs.exp() - y).abs().mean()
        blind = (y.mean() - y).abs().mean()
        loss = F.poisson_nll_loss(outputs, y)
        return {"loss": float(loss), "explained_events": float(1 - error / blind), "events_off": float(error)}


class Counts(Problem):
    name = "counts"
    monitor = "explained_events"
    labelled = ("loss", "explained_events", "events_off")
    likelihood = GAUSSIAN
    metrics = {
        "explained_events": Kind("events explained", share=True, digits="z.2f", bounds=(float("-inf"), 1.0)),
        "events_off": Kind("events off", digits="z.2f", higher=False, bounds=(0.0, float("inf"))),
    }
    units = "Errors in events a day."
    predicts_numbers = True

    def check(self, name, y, num_outputs=None):
        assert y.is_floating_point() and bool((y >= 0).all())

    def criterion(self, y, *, class_weights=None, label_smoothing=0.0):
        refuse_options_of_classifiers(self, class_weights, label_smoothing)
        return PoissonLoss()

    def losses(self, outputs, y):
        return PoissonLoss()(outputs, y, "none")

    def predict(self, outputs):
        return Prediction(outputs.exp(), None, None)

    def words(self, values):
        return [f"{row[0]:.2f} events" for row in values.tolist()]

    def meter(self, num_outputs=None):
        return CountMeter()

    def batch_scores(self, outputs, y):
        return {"events_off": (outputs.exp() - y).abs().mean()}


class Visits(DataModule):
    modality = "vector"
    problem_kind = Counts

    def read(self):
        self.class_names = ["visits"]
        draw = torch.Generator().manual_seed(self.seed)
        x = torch.rand(200, 3, 1, 1, generator=draw)
        y = torch.poisson(torch.exp(2.5 * x[:, :1, 0, 0]), generator=draw)
        parts = {"train": slice(0, 120), "val": slice(120, 160), "test": slice(160, 200)}
        return {name: Samples(x[part], y[part]) for name, part in parts.items()}
'''
SMALL = ["backbone=mlp", "strategy=from_scratch", "domain_adaptation=none", "trainer.max_epochs=15", "logger=none"]
SMALL += ["threads=1", "optimizer.lr=0.01"]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The folder of choices of a package, and a run on its data."""
    place = tmp_path_factory.mktemp("outside_problem")
    package, conf = place / "visits_lab", place / "visits_lab" / "conf"
    (conf / "data").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "visits.py").write_text(MODULE)
    (conf / "data" / "visits.yaml").write_text(
        "# Visits a day\ndefaults:\n  - _batches\n  - _self_\n"
        "_target_: visits_lab.visits.Visits\nbatch_size: 20\nevaluate: best\n"
    )
    run = place / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv(catalogue.CONFIG_DIR, raising=False)
        main(["--config-dir", str(conf), "data=visits", *SMALL, f"hydra.run.dir={run}"])
    yield conf, run
    forget()
    sys.path[:] = [one for one in sys.path if not one.startswith(str(place))]


def forget() -> None:
    """Leave this process as one that never imported the package."""
    base._CLASSES.pop("counts", None)
    kinds._STATED.pop("counts", None)
    kinds._READ.pop("counts", None)
    kinds._merged.cache_clear()
    for name in [name for name in sys.modules if name.startswith("visits_lab")]:
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_it_trains_and_its_results_contain_its_metrics(outside: tuple[Path, Path]) -> None:
    results = json.loads((outside[1] / "results.json").read_text())
    assert results["status"] == "completed"
    assert results["objective_metric"] == "val/explained_events"
    assert results["metrics"]["test/explained_events"] > 0.05  # the mean explains nothing
    assert results["problem"] == {
        "name": "counts",
        "monitor": "explained_events",
        "scores": {
            "counts": {
                "main": "explained_events",
                "metrics": {
                    "explained_events": {
                        "words": "events explained", "share": True, "digits": "z.2f", "bounds": [None, 1.0],
                    },
                    "events_off": {"words": "events off", "digits": "z.2f", "higher": False, "bounds": [0.0, None]},
                },
                "units": "Errors in events a day.",
            }
        },
    }  # fmt: skip


@pytest.mark.slow
def test_reports_display_it_without_its_package(outside: tuple[Path, Path], tmp_path: Path) -> None:
    forget()
    assert format_metric("test/events_off", 1.23456) == "1.235"  # not yet known
    tl_lab_main(["report", str(outside[1]), "--output", str(tmp_path), "--no-figures"])
    text = (tmp_path / "summary.md").read_text()
    assert "visits_lab.visits" not in sys.modules
    assert "events explained %" in text
    assert "Errors in events a day." in text
    value = read_results(outside[1])["metrics"]["test/events_off"]
    assert format_metric("test/events_off", value) == f"{value:.2f}"
    assert leading_metric(["test/loss", "test/events_off", "test/explained_events"]) == "explained_events"
    assert less_is_better("test/events_off")


@pytest.mark.slow
def test_its_model_predicts_where_the_package_is_given(outside: tuple[Path, Path], tmp_path: Path) -> None:
    conf, run = outside
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b,c\n0.05,0.5,0.5\n0.95,0.5,0.5\n")
    forget()
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv(catalogue.CONFIG_DIR, raising=False)
        with pytest.raises(SystemExit):  # its code runs for nobody who has not asked for it
            tl_lab_main(["predict", str(run), str(rows), "--output", str(tmp_path / "never.csv")])
        tl_lab_main(["predict", str(run), str(rows), "--config-dir", str(conf), "--output", str(tmp_path / "out.csv")])
    labels = [row["label"] for row in csv.DictReader((tmp_path / "out.csv").open())]
    few, many = (float(label.removesuffix(" events")) for label in labels)
    assert 0 < few < many
    shutil.rmtree(tmp_path)


def test_methods_for_all_problems_take_it_and_others_do_not() -> None:
    class Ordinal(SingleLabel):
        name = "ordinal_of_this_test"

    class Free(base.Problem):
        name = "free_of_this_test"

    try:
        assert all(kind.fits(ALL) for kind in (*PROBLEMS.values(), Ordinal, Free))
        assert Ordinal.fits({"single_label"})
        assert not Free.fits({"single_label", "regression"})
        assert not any(kind.fits(ALL) for kind in (Several, Sequence))
        assert Several.fits(ALL | {"several"})
    finally:
        for kind in (Ordinal, Free):
            base._CLASSES.pop(kind.name)
            kinds._STATED.pop(kind.name, None)
        kinds._merged.cache_clear()


def test_a_name_is_used_once() -> None:
    with pytest.raises(ValueError, match="there is already a problem named 'regression'"):
        type("Other", (base.Problem,), {"name": "regression", "__module__": __name__})
    with pytest.raises(ValueError, match="'mine' displays the metric 'acc' differently from 'single_label'"):
        register("mine", Scores("acc", {"acc": Kind("accuracy")}))
    assert "mine" not in kinds._STATED


def test_this_packages_problems_state_their_tables() -> None:
    every = {name: base.by_name(name) for name in metrics.PACKAGED}
    assert {kind.name for kind in (SingleLabel, MultiLabel, Regression, Several, Sequence)} <= set(every)
    for name, kind in every.items():
        stated = metrics.PACKAGED[name]
        assert (stated.main, stated.metrics, stated.units) == (kind.monitor, kind.metrics, kind.units)
        scores = {score.rpartition("/")[2] for score in getattr(kind, "labelled", ())} - {"loss"}
        assert scores <= set(stated.metrics), name
        assert "scores" not in kind(["a", "b"]).described()


def test_a_file_adds_metrics_but_changes_none() -> None:
    scores = Scores("drops", {"drops": Kind("drops of rain", digits="z.1f"), "acc": Kind("mine")}, "In drops.")
    odd = {
        "long": {"main": "m", "metrics": {"m": {"words": "w" * 10_000}}},
        "format": {"main": "m", "metrics": {"m": {"digits": "099999999.9f"}}},
        "field": {"main": "m", "metrics": {"m": {"colour": "red"}}},
        "list": ["m"],
    }
    try:
        learn({"name": "rain", "scores": {"rain": written(scores), **odd}})
        learn({"scores": [1]})
        learn("rain")
        assert set(kinds._READ) - {"counts"} == {"rain"}
        assert (heading("test/drops"), format_metric("drops", 2.345)) == ("test drops of rain", "2.3")
        assert heading("test/acc") == "test accuracy %"
        assert describe_units(["test/drops"]) == "In drops."
    finally:
        kinds._READ.pop("rain", None)
        kinds._merged.cache_clear()


def test_no_other_module_tests_the_kind_of_problem() -> None:
    """Ask a problem for what is needed, with an answer in its base class: other packages' problems answer, too."""
    classes = {kind.__name__ for kind in _problem_classes()}
    files = [file for file in PACKAGE.rglob("*.py") if "problems" not in file.relative_to(PACKAGE).parts[:1]]
    found = []
    for file in files:
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        names = _imported(nodes, classes)
        found += [f"{file.relative_to(PACKAGE)}:{node.lineno}" for node in nodes if _asks(node, names)]
    assert len(files) > 300
    assert len(classes) >= 8
    assert found == []


def _problem_classes() -> set[type]:
    every = {base.Problem.__subclasses__()[0]}
    waiting = list(base.Problem.__subclasses__())
    while waiting:
        kind = waiting.pop()
        every.add(kind)
        waiting += kind.__subclasses__()
    return {kind for kind in every if kind.__module__.startswith("tl_lab.problems")}


def _imported(nodes: list[ast.AST], classes: set[str]) -> set[str]:
    """Return the names under which a file imports classes of problems."""
    every = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    imports = [node for node in every if str(node.module).startswith("tl_lab.problems")]
    return {alias.asname or alias.name for node in imports for alias in node.names if alias.name in classes}


def _asks(node: ast.AST, names: set[str]) -> bool:
    """Whether code compares a class or a name of a problem with one in particular."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
        return any(getattr(part, "id", getattr(part, "attr", "")) in names for part in ast.walk(node.args[1]))
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is | ast.IsNot | ast.Eq | ast.NotEq):
        sides = [node.left, *node.comparators]
        direct = {getattr(side, "id", "") for side in sides} & names
        by_name = any(
            isinstance(s, ast.Attribute) and s.attr == "name" and getattr(s.value, "id", "") in names for s in sides
        )
        return bool(direct) or by_name
    return False


@pytest.mark.parametrize(
    ("code", "asks"),
    [
        ("isinstance(data.problem, SingleLabel | MultiLabel)", True),
        ("isinstance(x, (int, problems.Regression))", True),
        ("kind is SingleLabel", True),
        ("data.problem.name == SingleLabel.name", True),
        ("isinstance(x, Tensor)", False),
        ("data.problem.numbers_outputs", False),
    ],
)
def test_questions_are_found_where_they_are(code: str, asks: bool) -> None:
    names = {"SingleLabel", "MultiLabel", "Regression"}
    assert any(_asks(node, names) for node in ast.walk(ast.parse(code))) is asks


def test_values_of_the_new_questions() -> None:
    y = torch.tensor([0, 1, 1])
    classes, labels, numbers = SingleLabel(["a", "b"]), MultiLabel(["a", "b"]), Regression(["m"])
    assert classes.targets(y).columns.tolist() == [[0, 1, 1]]
    p, truth = classes.findings(torch.tensor([[0.0, 0.0], [0.0, 50.0], [50.0, 0.0]]), y)["b"]
    assert (p.tolist(), truth.tolist()) == ([0.5, 1.0, pytest.approx(0.0)], [0, 1, 1])
    many = torch.tensor([[1, 0], [0, 1]])
    assert labels.targets(many).columns.tolist() == [[1, 0], [0, 1]]
    assert labels.present(many).tolist() == [[True, False], [False, True]]
    assert labels.truths(many) == ["a", "b"]
    numbers.learn(torch.tensor([[10.0], [30.0]]))
    scaled, are_numbers = numbers.targets(torch.tensor([[30.0], [10.0]]))
    assert (scaled.tolist(), are_numbers) == ([[1.0, -1.0]], True)
    assert classes.read_label(["b"], "row 1").tolist() == 1
    assert labels.read_label(["0", "1"], "row 1").tolist() == [0.0, 1.0]
