"""Runs on episodes: the same test for every method, unchanged statistics, resuming, and refusals."""

import json

import pandas as pd
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from program_starts import two_processes

from tl_lab.cli.train import main
from tl_lab.config import choices, compose
from tl_lab.data.scenarios.episodes_of import EpisodesOf
from tl_lab.errors import UserError
from tl_lab.run.checkpoints import read_checkpoint
from tl_lab.run.inference import load
from tl_lab.run.pairing import check_pairing
from tl_lab.run.plan import Plan
from tl_lab.strategies.base import Strategy
from tl_lab.strategies.few_shot.prototypical import Prototypical

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SMALL = ["data=episodes_of", "data.train.way=3", "data.episodes_per_epoch=4", "data.val_episodes=4"]
SMALL += ["data.test_episodes=20", "trainer.max_epochs=2", "backbone=conv4", "backbone.width=8", "optimizer=adam"]
QUIET = ["logger=none", "threads=1", "figures=false", "trainer.enable_progress_bar=false"]
NONE = "domain_adaptation=none"


def run(folder, *overrides: str) -> dict:
    main([*SMALL, *QUIET, *overrides, f"hydra.run.dir={folder}"])
    return json.loads((folder / "results.json").read_text())


def running_statistics(folder) -> dict[str, torch.Tensor]:
    weights = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    return {name: tensor for name, tensor in weights.items() if "running" in name or "batches" in name}


def test_a_run_reports_its_episodes_and_both_intervals(tmp_path):
    results = run(tmp_path / "run", "strategy=prototypical", NONE, "figures=true")
    assert set(results["metrics"]) == {f"{s}/{m}" for s in ("val", "test") for m in ("acc", "acc_ci95", "loss")}
    assert results["protocol"]["episodes"].startswith("3-way 5-shot, 10 queries a class, 20 test episodes")
    assert "over its test episodes" in results["protocol"]["intervals"]
    assert "of several seeds over their models" in results["protocol"]["intervals"]
    assert results["protocol"]["batch-norm statistics at test"] == "running, of training"
    figures = {file.stem for file in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"learning_curves", "episode_test", "embedding_test"}
    with pytest.raises(UserError, match="trained on episodes, and has no classes of its own"):
        load(tmp_path / "run").predict(tmp_path)


@pytest.mark.parametrize("strategy", ["prototypical", "baseline", "nearest_centroid"])
def test_a_test_changes_no_buffer(strategy, tmp_path, monkeypatch):
    """The strategy after the test holds what the checkpoint before it held."""
    seen = {}

    def keep(folder, strategy, data, chosen=()):
        seen.update({name: tensor.clone() for name, tensor in strategy.state_dict().items()})
        return {}

    monkeypatch.setattr("tl_lab.run.experiment.draw_figures", keep)
    run(tmp_path / "run", f"strategy={strategy}", NONE, "evaluate=last", "figures=true")
    before = running_statistics(tmp_path / "run")
    assert len(before) >= 12
    for name, tensor in before.items():
        assert torch.equal(seen[name], tensor), name


def test_every_method_meets_the_same_test_episodes(tmp_path, monkeypatch):
    met = {}
    cut = EpisodesOf.inputs_at

    def note(self, name, index, draw=None):
        if name == "test":
            met.setdefault(strategy, []).append(index.clone())
        return cut(self, name, index, draw)

    monkeypatch.setattr(EpisodesOf, "inputs_at", note)
    for strategy, options in (
        ("prototypical", ["data.episodes_per_step=2"]),
        ("baseline", []),
        ("nearest_centroid", []),
    ):
        run(tmp_path / strategy, f"strategy={strategy}", NONE, *options)
    first, *others = (torch.cat(indices) for indices in met.values())
    assert len(first) == 20 * 3 * 15
    assert all(torch.equal(first, other) for other in others)


def test_each_episodes_accuracy_is_in_a_file(tmp_path):
    """Two methods' files are of the same episodes, so that they pair."""
    for name, options in (("one", []), ("many", ["data.eval_batch_size=400"])):
        results = run(tmp_path / name, "strategy=prototypical", NONE, "data.eval_batch_size=1", *options)
        rows = pd.read_csv(tmp_path / name / "episodes.csv")
        assert rows["set"].unique().tolist() == ["test"]
        assert rows["episode"].tolist() == list(range(20))
        assert rows["acc"].mean() == pytest.approx(results["metrics"]["test/acc"], abs=1e-7)
        half = 1.96 * rows["acc"].std() / 20**0.5
        assert half == pytest.approx(results["metrics"]["test/acc_ci95"], rel=1e-5)
    assert (tmp_path / "one" / "episodes.csv").read_text() == (tmp_path / "many" / "episodes.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["prototypical", "maml", "baseline"])
def test_two_processes_learn_and_are_scored_as_one(strategy, tmp_path):
    # batch-norm would see half a step's episodes in each process
    options = [f"strategy={strategy}", "data.episodes_per_step=2", "backbone=mlp", "data.test.way=3"]
    small = [text for text in SMALL if not text.startswith("backbone")]
    given = [*small, *QUIET, NONE, *options]
    main([*given, "trainer=cpu", f"hydra.run.dir={tmp_path / 'cpu'}"])
    two_processes(*given, folder=tmp_path / "ddp_cpu")
    one, two = (json.loads((tmp_path / name / "results.json").read_text())["metrics"] for name in ("cpu", "ddp_cpu"))
    assert two == pytest.approx(one, abs=2e-3)
    tables = [pd.read_csv(tmp_path / name / "episodes.csv") for name in ("cpu", "ddp_cpu")]
    pd.testing.assert_frame_equal(*tables, atol=0.05)  # a query of 30 may fall on the other side


def test_a_resumed_run_ends_like_an_unbroken_one(tmp_path):
    epochs, options = ["trainer.max_epochs=3"], ["strategy=prototypical", NONE, "evaluate=last"]
    whole = run(tmp_path / "whole", *options, *epochs)
    broken = tmp_path / "broken"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prototypical, "on_train_epoch_start", _stop_in_the_last_epoch)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            main([*SMALL, *QUIET, *options, *epochs, f"hydra.run.dir={broken}"])
    assert read_checkpoint(broken / "checkpoints" / "last.ckpt")["updates_done"] == 2 * 4
    main([f"resume={broken}"])
    resumed = json.loads((broken / "results.json").read_text())
    assert resumed["metrics"] == whole["metrics"]
    left, right = (
        read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"] for name in ("whole", "broken")
    )
    assert all(torch.equal(left[name], right[name]) for name in left)


def _stop_in_the_last_epoch(strategy) -> None:
    if strategy.current_epoch == 2:
        raise KeyboardInterrupt
    Strategy.on_train_epoch_start(strategy)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["strategy=maml", "data.train.way=4", "data.test.way=3"], "data.train.way=4 is not data.test.way=3"),
        (["strategy=prototypical", "data=digits"], "needs data with episodes, which data=Digits does not have"),
        (["strategy=from_scratch"], "comes with episodes, which strategy=FromScratch does not support"),
        (["strategy=prototypical", "domain_adaptation=dann"], "needs a target domain"),
        (["strategy=nearest_centroid", "data=glyphs_to_digits", "domain_adaptation=dann"], "trains nothing"),
    ],
)
def test_pairings_that_make_no_sense_are_refused(overrides, message, monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # of a run before this test
    given = [NONE, "data=episodes_of", *overrides]
    last = {text.split("=")[0]: text for text in given}
    with pytest.raises(UserError, match=message):
        check_pairing(Plan.of(compose(list(last.values()))))


@pytest.mark.parametrize("adaptation", sorted(choices("domain_adaptation")["domain_adaptation"]))
def test_adaptations_that_need_fixed_classes_are_refused(adaptation):
    cfg = compose(["strategy=prototypical", "data=glyphs_to_digits", f"domain_adaptation={adaptation}"])
    refused = {"cdan", "mcc", "mcd", "mdd", "jmmd", "self_training", "coral", "target_only"}
    if adaptation not in refused:
        check_pairing(Plan.of(cfg))
        return
    with pytest.raises(UserError, match=r"fixed classes.*coral with domain_adaptation.align=features|bound for a pair"):
        check_pairing(Plan.of(cfg))


def test_coral_on_features_is_allowed():
    overrides = ["strategy=prototypical", "data=glyphs_to_digits", "domain_adaptation=coral"]
    check_pairing(Plan.of(compose([*overrides, "domain_adaptation.align=features"])))
