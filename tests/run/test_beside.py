"""Finished runs on one domain pair, drawn side by side."""

from pathlib import Path

import pytest
import torch
from composing import run_in
from matplotlib.figure import Figure

from tl_lab.errors import UserError
from tl_lab.run.beside import draw_beside
from tl_lab.training.figures import features_of_pair

QUIET = ["logger=none", "figures=false", "health=false", "threads=1", "trainer.enable_progress_bar=false"]
PLANE = ["data=moons", "backbone=mlp", "backbone.hidden=[8]", "trainer.max_epochs=1", "data.batches_per_epoch=2"]


def test_the_tested_weights_of_each_run_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [tmp_path / name for name in ("before", "after")]
    values = []
    for run, adaptation in zip(runs, ("none", "coral"), strict=True):
        results = run_in(run, *PLANE, *QUIET, f"domain_adaptation={adaptation}")
        values.append(results["metrics"]["test/target/acc"])
    strategies = []

    def features(strategy, data):
        strategies.append(strategy.network.state_dict())
        return features_of_pair(strategy, data)

    headings: list[str] = []
    monkeypatch.setattr("tl_lab.run.beside.features_of_pair", features)
    monkeypatch.setattr("tl_lab.run.beside.embeddings_beside", lambda found: headings.extend(found) or _empty())
    assert draw_beside(runs) == runs[1] / "figures" / "beside.png"
    assert (runs[1] / "figures" / "beside.png").is_file()
    assert headings == [
        f"{name}: {value:.1%} on the target".replace("%", " %")
        for name, value in zip(("source only", "coral"), values, strict=True)
    ]
    for run, weights in zip(runs, strategies, strict=True):
        stored = load(run)
        assert all(weights[name].equal(value) for name, value in stored.items())


def load(run: Path):
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    return {name.removeprefix("network."): value for name, value in content.items() if name.startswith("network.")}


def _empty():
    return Figure()


def test_one_domain_has_no_two_to_show(tmp_path: Path) -> None:
    run_in(tmp_path / "run", "data=digits", "backbone=mlp", *QUIET, "trainer.max_epochs=1", "data.labels=100")
    with pytest.raises(UserError, match="has a single domain, and the figure needs two"):
        draw_beside([tmp_path / "run", tmp_path / "run"])
