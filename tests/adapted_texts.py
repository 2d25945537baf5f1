"""Short runs on a few texts with a tiny encoder and an adapter, whose networks are kept for comparison."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from composing import run_in
from encoders_at_hand import tiny
from laboratory import state
from torch import Tensor, nn

from tl_lab.config import compose
from tl_lab.config.instantiate import build_node
from tl_lab.data.sets.text_table import TextTable
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.model.base_weights import Base, hash_of
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.model.network import weights_stream
from tl_lab.run import experiment
from tl_lab.strategies.base import Strategy
from tl_lab.strategies.fine_tuning import FineTuning
from tl_lab.training.schedules import Constant

__all__ = ["BEFORE", "BESIDE", "TOKENS", "Trained", "options_of", "place_of_texts", "trained", "tuned"]

BESIDE = ["lora", "dora", "ia3"]
BEFORE = ["prefix", "prompt", "p_tuning"]
TOKENS = {
    "ids": torch.tensor([[2, 3, 4, 2], [4, 4, 0, 0], [3, 2, 2, 0]]),
    "mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]),
}
"""Three prepared texts for the tiny encoder."""
_QUIET = ["logger=none", "figures=false", "trainer.enable_progress_bar=false", "threads=1", "health=false"]
_QUIET += ["trainer.max_updates=2", "evaluate=last", "domain_adaptation=none"]


class Trained(NamedTuple):
    """A finished run, and its network as it was in memory.

    Attributes:
        folder: of the run.
        network: after the last update, in evaluation mode.
        start: its parameters and buffers before the first one, by name.
        results: content of ``results.json``.
    """

    folder: Path
    network: nn.Module
    start: dict[str, Tensor]
    results: dict[str, Any]


def place_of_texts(folder: Path) -> Path:
    """Write 24 texts of two classes, and an encoder of two blocks whose tokeniser has a mask; return the folder."""
    rows = [f"{'a a b' if i % 2 else 'c c b'}{' a' * (i % 3)},{i % 2}" for i in range(24)]
    (folder / "table.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    tiny(folder / "bert", "bert", mask=True)
    return folder


def options_of(place: Path) -> list[str]:
    """Return the overrides of data and backbone for the texts of :func:`place_of_texts`."""
    words = [f"data.path={place / 'table.csv'}", "data.batch_size=4", f"backbone.name={place / 'bert'}"]
    return ["data=text_table", "backbone=hf_text", *words, "optimizer.lr=0.05"]


def trained(folder: Path, *words: str) -> Trained:
    """Run for two updates, and keep the network that was trained."""
    kept: list[Any] = []
    fitting = experiment._fit

    def fit_and_keep(plan: Any, trainer: Any, parts: Any, checkpoint: Any) -> None:
        kept.append(state(parts.strategy.network))
        fitting(plan, trainer, parts, checkpoint)
        kept.append(parts.strategy)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "_fit", fit_and_keep)
        results = run_in(folder, *_QUIET, *words)
    start, strategy = kept
    assert strategy.updates_done == 2
    return Trained(folder, strategy.network.eval(), start, results)


def tuned(place: Path, name: str, **options: Any) -> tuple[TextTable, Strategy]:
    """Build data and a strategy under an adapter the way a run does, from published weights.

    Args:
        place: as returned by :func:`place_of_texts`.
        name: of the adapter.
        options: keyword arguments of :class:`FineTuning`.
    """
    from tl_lab.backbones.hf_text import HFText

    data = TextTable(path=str(place / "table.csv"), batch_size=4, seed=0)
    size: dict[str, Any] = {"tokens": 2} if name in BEFORE else {}
    adapter = build_node(compose([f"adapter={name}"]).adapter, **size)
    backbone = HFText(name=str(place / "bert"))
    base = Base("a folder", hash_of(backbone))
    with weights_stream(0, "adapter"):
        backbone = adapter.inject(backbone)
    data.load(replace(data.request))
    data.use(backbone.spec)
    given = {"optimizer": functools.partial(torch.optim.Adam, lr=0.05), **options}
    model = FineTuning(
        backbone=backbone,
        adapter=adapter,
        adaptation=NoAdaptation(),
        problem=data.problem,
        num_outputs=data.num_classes,
        scheduler=Constant(),
        layers=LayerPolicy(backbone_lr=1.0),
        labels=data.training_labels,
        seed=0,
        outputs=None,
        **given,
    )
    model.base = base
    return data, model
