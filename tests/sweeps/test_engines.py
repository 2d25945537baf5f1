"""Other engines start real jobs: joblib, submitit's local executor, optuna; and the project's own search."""

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from omegaconf import OmegaConf
from small_sweeps import results, sweep

import tl_lab.run.experiment
from tl_lab.config import check, choices, compose
from tl_lab.errors import UserError
from tl_lab.results.tables.collecting import collect
from tl_lab.results.tables.summarising import paired_differences
from tl_lab.sweeps.tuning import Plan, best_trial, draw, space_of

pytestmark = pytest.mark.filterwarnings("ignore")


def _needs(plugin: str, extra: str) -> pytest.MarkDecorator:
    absent = importlib.util.find_spec(f"hydra_plugins.{plugin}") is None
    return pytest.mark.skipif(absent, reason=f"needs the extra {extra}: pip install tl_lab[{extra}]")


joblib, submitit, optuna = (
    _needs(plugin, extra)
    for plugin, extra in (
        ("hydra_joblib_launcher", "joblib"),
        ("hydra_submitit_launcher", "submitit"),
        ("hydra_optuna_sweeper", "optuna"),
    )
)


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forked") / "sweep"
    assert sweep(folder, "optimizer.lr=0.01,1e25") == 1
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(["joblib", "hydra.launcher.n_jobs=2"], marks=joblib, id="joblib"),
        pytest.param(["submitit_local", "hydra.launcher.timeout_min=5"], marks=submitit, id="submitit"),
    ],
)
def test_engines_give_the_same_numbers_and_rows(
    engine: list[str], forked: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, launcher = tmp_path / "sweep", f"hydra/launcher={engine[0]}"
    assert sweep(folder, "optimizer.lr=0.01,1e25", launcher, *engine[1:]) == 1
    assert "1 of 2 jobs failed" in capfd.readouterr().err
    assert results(folder / "0")["metrics"] == results(forked / "0")["metrics"]
    assert results(folder / "1")["error"] == results(forked / "1")["error"]
    assert "epoch 2/2" in (folder / "0" / "output.txt").read_text()  # in a process apart from the engine's
    assert pd.read_csv(folder / "results.csv")["status"].tolist() == ["completed", "failed"]


@optuna
@pytest.mark.parametrize("order", [min, max], ids=["failing last", "failing first"])
def test_optuna_maximises_a_validation_metric_and_tolerates_failures(
    order: Callable[[list[int]], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("optuna.samplers._grid.random", SimpleNamespace(choice=order))  # of the grid that is next
    search = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "optimizer.lr=choice(1e-4,0.01,1e25)"]
    folder = tmp_path / "sweep"
    assert sweep(folder, *search, "hydra.sweeper.n_trials=3", "trainer.max_epochs=5", "sweep.objective=val/loss") == 1
    printed = capsys.readouterr().out
    assert "(3 of 3 done, 1 failed)" in printed
    assert "test/" not in printed.split("setting")[0]  # of a trial its objective is shown
    runs = {float(OmegaConf.load(run / "config.yaml").optimizer.lr): results(run) for run in folder.glob("[0-9]")}
    assert runs[1e25]["status"] == "failed"
    for lr in (1e-4, 0.01):
        assert runs[lr]["objective"] == -runs[lr]["metrics"]["val/loss"]
    found = OmegaConf.load(folder / "optimization_results.yaml")
    best = max((1e-4, 0.01), key=lambda lr: runs[lr]["objective"])
    assert float(found.best_params["optimizer.lr"]) == best
    assert found.best_value == runs[best]["objective"]

    monkeypatch.setattr(tl_lab.run.experiment, "_objective", lambda *_: ("val/not_measured", 1))  # NaN, as it were
    own = ["hydra/sweeper=optuna", "optimizer.lr=choice(1e-4,0.01)", "hydra.sweeper.n_trials=2"]
    assert sweep(tmp_path / "nan", *own) == 1
    assert [results(tmp_path / "nan" / n)["status"] for n in "01"] == ["completed", "completed"]
    assert "no trial has an objective" in capsys.readouterr().err


@optuna
def test_test_metrics_are_not_used_for_selection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for override, message in {
        "sweep.objective=test/acc": ": test metrics cannot be used for selection",
        "sweep.objective=oracle/target/acc": ": test metrics cannot be used for selection",
        "hydra.sweeper.direction=minimize": "objectives are always maximised",
    }.items():
        assert sweep(tmp_path, "hydra/sweeper=optuna", "optimizer.lr=interval(1e-4,1e-2)", override) == 1
        assert message in capsys.readouterr().err
    assert sweep(tmp_path, "search=domain_adaptation/dann", "seed=0,1") == 1
    assert "add hydra/sweeper=optuna" in capsys.readouterr().err
    assert list(tmp_path.glob("*")) == []
    assert sweep(tmp_path / "one", "sweep.objective=val/accc", "seed=0") == 1
    assert "must be a validation metric, not 'val/accc'; did you mean 'val/acc'" in capsys.readouterr().out


def test_every_method_gets_the_same_number_of_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = ["hydra/sweeper=tune", "hydra.sweeper.trials=3", "hydra.sweeper.methods=optimizer", "optimizer=adam,sgd"]
    own = ["optimizer.lr=tag(log,interval(1e-3,1e-1))", "seed=0,1", "hydra.launcher.jobs=2"]
    folder = tmp_path / "sweep"
    assert sweep(folder, *search, *own) == 0
    printed = capsys.readouterr().out
    trials = [OmegaConf.load(folder / "trials" / str(n) / "config.yaml") for n in range(6)]
    assert [trial.optimizer._target_.rpartition(".")[2] for trial in trials] == ["Adam"] * 3 + ["SGD"] * 3
    assert {trial.seed for trial in trials} == {100}
    assert trials[0].optimizer.lr == compose(["optimizer=adam"]).optimizer.lr
    assert len({trial.optimizer.lr for trial in trials[1:3]}) == 2
    for method, group in (("adam", range(3)), ("sgd", range(3, 6))):
        scores = [results(folder / "trials" / str(n))["objective"] for n in group]
        best = trials[group[scores.index(max(scores))]].optimizer.lr
        final = [run for n in range(4) if (run := OmegaConf.load(folder / "final" / str(n) / "config.yaml"))]
        mine = [run for run in final if run.optimizer._target_.lower().endswith(method)]
        assert [(run.optimizer.lr, run.seed) for run in mine] == [(best, 0), (best, 1)]
    chosen = "best of 3 trials by val/acc on seed 100"
    assert results(folder / "final" / "0")["protocol"]["settings"] == chosen
    assert chosen in (folder / "final" / "summary.md").read_text()
    paired = paired_differences(collect(folder / "final"), "test/acc", "optimizer=adam")
    assert [(row.n, row.setting.split()[0]) for row in paired.itertuples()] == [(2, "optimizer=sgd")]
    splits = {OmegaConf.load(file).data.seed for file in folder.rglob("config.yaml") if file.parent.name.isdigit()}
    assert splits == {100}  # one split of the data: what chooses in trials is no test sample of the final runs
    assert f"({chosen})" in printed
    assert sweep(folder, *search, *own, "sweep.resume=true") == 0
    assert capsys.readouterr().out.count("  kept  (") == 10


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["domain_adaptation=none"], "compares the choices of domain_adaptation: list them"),
        (["domain_adaptation=none,dann", "seed=0,100"], "trial_seed=100 is among the seeds that are reported"),
        (["domain_adaptation=none,adda"], "there is no search space for domain_adaptation=adda: write conf/search/"),
        (["domain_adaptation=none,dann", "hydra.sweeper.trials=0"], "trials is at least 1, not 0"),
    ],
)
def test_mistakes_of_a_search(
    overrides: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(tmp_path, "hydra/sweeper=tune", *overrides) == 1
    assert message in capsys.readouterr().err
    assert not tmp_path.exists() or not list(tmp_path.iterdir())


def test_draws_are_uniform_in_the_logarithm_and_fixed_by_their_seed() -> None:
    plan = Plan.of(
        [
            "domain_adaptation=none,mmd",
            "a=tag(log,interval(1e-4,1e-2))",
            "b=int(interval(1,5))",
            "c=range(1,4)",
            "d=7",
            "e=tag(log,int(interval(1,3)))",
        ],
        "domain_adaptation",
    )
    assert (plan.fixed, plan.seeds) == (["d=7"], ["seed=0"])
    assert plan.cells == [["domain_adaptation=none"], ["domain_adaptation=mmd"]]
    assert set(plan.ranges) == {"a", "b", "c", "e"}
    drawn = draw(plan.ranges, 2001, "x")
    assert drawn == draw(plan.ranges, 2001, "x")
    assert drawn[1:] != draw(plan.ranges, 2001, "y")[1:]
    assert drawn[0] == []
    values = {
        key: [float(text.partition("=")[2]) for trial in drawn[1:] for text in trial if text[0] == key]
        for key in "abce"
    }
    assert min(values["a"]) >= 1e-4
    assert max(values["a"]) <= 1e-2
    logs = [math.log10(value) for value in values["a"]]
    assert sum(logs) / 2000 == pytest.approx(-3, abs=4 * 2 / math.sqrt(12 * 2000))  # four standard errors
    assert set(values["b"]) == {1, 2, 3, 4, 5}  # whole limits, whole numbers, the limits as likely as the others
    assert min(values["b"].count(number) for number in range(1, 6)) > 400 - 4 * math.sqrt(2000 * 0.2 * 0.8)
    shares = [values["e"].count(number) / 2000 for number in (1, 2, 3)]
    expected = [math.log((number + 0.5) / (number - 0.5)) / math.log(3.5 / 0.5) for number in (1, 2, 3)]
    assert shares == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(2000))
    assert set(values["c"]) == {1, 2, 3}


def test_the_best_trial_is_the_first_of_the_largest() -> None:
    assert best_trial([0.1, None, 0.7, math.nan, 0.7]) == 2
    assert best_trial([None, math.nan]) is None


def test_every_space_fits_its_method() -> None:
    spaces = choices("search")["search"]
    assert len(spaces) == 17
    for name in spaces:
        group, _, method = name.partition("/")
        space = space_of(method, group, {})
        assert "optimizer.lr" in space
        drawn = draw(space, 2, "x")[1]
        stream = ["data=permuted_digits", "domain_adaptation=none"] if group == "strategy" else []
        assert check(compose([*stream, f"{group}={method}", *drawn])) == []
    with pytest.raises(UserError, match="no search space"):
        space_of("adda", "domain_adaptation", {})
