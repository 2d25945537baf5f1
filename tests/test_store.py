"""Only an experiment's own, whole runs become stored numbers."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from tl_lab.errors import UserError
from tl_lab.results.files import write_json

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENT = "dann/mnist_to_mnistm_reduced"


@pytest.fixture
def store():
    spec = importlib.util.spec_from_file_location("store", ROOT / "docs" / "store.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_a_row_a_run(store, tmp_path):
    _run(tmp_path / "0", [f"experiment={EXPERIMENT}", "domain_adaptation=none", "seed=0"], 0.5)
    _run(tmp_path / "1", [f"experiment={EXPERIMENT}", "domain_adaptation=dann_paper", "seed=0"], 0.7)
    table = store.stored(EXPERIMENT, [str(tmp_path)])
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
def test_other_runs_are_refused(store, tmp_path, overrides, facts, said):
    _run(tmp_path / "0", overrides, **facts)
    with pytest.raises(UserError, match=said):
        store.stored(EXPERIMENT, [str(tmp_path)])


def test_a_repeated_run_is_refused(store, tmp_path):
    for name in ("a", "b"):
        _run(tmp_path / name, ["domain_adaptation=none", "seed=0"])
    with pytest.raises(UserError, match="same method, task and seed"):
        store.stored(EXPERIMENT, [str(tmp_path)])


def test_further_runs_are_added_and_earlier_ones_keep_every_digit(store, tmp_path):
    place = tmp_path / "stored.csv"
    for seed, acc in ((0, 0.8933731938216243), (10, 0.1 + 0.2)):
        _run(tmp_path / "early" / str(seed), ["domain_adaptation=none", f"seed={seed}"], acc, seed=seed)
    store.stored(EXPERIMENT, [str(tmp_path / "early")]).to_csv(place, index=False)
    before = place.read_text().splitlines()
    _run(tmp_path / "late" / "0", ["domain_adaptation=none", "seed=2"], 1 / 3, seed=2)
    late = store.stored(EXPERIMENT, [str(tmp_path / "late")])
    store.with_earlier(late, place).to_csv(place, index=False)
    after = place.read_text().splitlines()
    assert after[:2] + after[3:] == before  # seeds 0, 2, 10
    assert after[2].split(",")[1] == "2"
    with pytest.raises(UserError, match="same method, task and seed"):
        store.with_earlier(late, place)
    with pytest.raises(UserError, match=r"other columns than these runs: \['new'\]"):
        store.with_earlier(late.assign(new=1), place)
    with pytest.raises(UserError, match=r"nothing is stored in none\.csv yet"):
        store.with_earlier(late, tmp_path / "none.csv")


def test_an_experiment_that_expects_nothing_is_refused(store, tmp_path):
    with pytest.raises(UserError, match="states nothing to reproduce"):
        store.stored("embedded_pair", [str(tmp_path)])


@pytest.mark.parametrize(
    "file", sorted((ROOT / "docs" / "results" / "reproductions").rglob("*.csv")), ids=lambda file: file.stem
)
def test_what_is_stored_belongs_to_an_experiment(file):
    rows = pd.read_csv(file)
    name = file.relative_to(ROOT / "docs" / "results" / "reproductions").with_suffix("")
    experiment = OmegaConf.load((ROOT / "conf" / "experiment" / name).with_suffix(".yaml"))
    assert rows[experiment.reproduces.get("metric", "test/target/acc")].between(0, 1).all()
    assert not rows["git_commit"].str.contains("changes").any()  # of committed code
