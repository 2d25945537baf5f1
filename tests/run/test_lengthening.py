"""``resume=<run> trainer.max_epochs=N``: extending a finished run, which records the extension."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

import tl_lab
from tl_lab.config import config_hash
from tl_lab.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SMALL = ["data=digits", "data.batches_per_epoch=2", "trainer.max_epochs=1", "logger=none", "figures=false"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("runs") / "my run, 1"
    return tl_lab.run([*SMALL, f"hydra.run.dir='{folder}'"])


def test_a_run_in_a_notebook_gives_results_history_and_model(finished) -> None:
    assert finished.results["status"] == "completed"
    assert finished.folder.name == "my run, 1"
    assert finished.metrics == json.loads((finished.folder / "results.json").read_text())["metrics"]
    assert finished.history["step"].max() == 2
    from tl_lab.data.sets.digits import Digits

    data = Digits(seed=0)
    data.load()
    test = data.sets["test"]
    right = (finished.model.predict(test.x).values == test.y).float().mean()
    assert float(right) == pytest.approx(finished.metrics["test/acc"], abs=1e-6)


def test_a_mistake_in_a_notebook_is_an_exception(tmp_path: Path) -> None:
    for overrides, message in (
        (["data=digit"], "digits"),
        (["-m", "seed=0,1"], "use the command line"),
        (["data=digits", "trainer.max_epochs=0", f"hydra.run.dir={tmp_path / 'run'}"], "max_epochs"),
        ("data=digits", "takes a list"),
    ):
        with pytest.raises(UserError, match=message):
            tl_lab.run(overrides)


def test_a_finished_run_is_extended(finished) -> None:
    before = dict(finished.results)
    weights = torch.load(finished.folder / "checkpoints" / "last.ckpt", weights_only=True)
    longer = tl_lab.run([f"resume={finished.folder}", "trainer.max_epochs=3"])
    after = torch.load(finished.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert (weights["updates_done"], after["updates_done"]) == (2, 6)
    assert longer.results["status"] == "completed"
    assert longer.results["protocol"]["lengthened"] == "configured for 1 epoch, extended to 3"
    (earlier,) = longer.results["lengthened"]
    assert (earlier["epochs"], earlier["metrics"]) == (1, before["metrics"])
    rows = pd.read_csv(finished.folder / "metrics.csv")
    assert sorted(rows["epoch"].dropna().unique()) == [0, 1, 2]
    stored = OmegaConf.load(finished.folder / "config.yaml")
    assert (stored.trainer.max_epochs, stored.lengthened_from) == (3, 1)
    plain = {key: value for key, value in stored.items() if key != "lengthened_from"}
    assert config_hash(plain) == config_hash({**plain, "lengthened_from": None})
    assert longer.results["config_hash"] == config_hash(stored) != config_hash(plain)
    with pytest.raises(UserError, match="it can be extended, not shortened"):
        tl_lab.run([f"resume={finished.folder}", "trainer.max_epochs=2"])
    with pytest.raises(UserError, match=r"only trainer\.max_epochs"):
        tl_lab.run([f"resume={finished.folder}", "seed=3"])
