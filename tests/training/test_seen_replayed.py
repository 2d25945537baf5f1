"""``update.graph=auto`` replays what a stored result of ``benchmarks/gpu.py`` shows to hold, and nothing else."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tl_lab.config import compose
from tl_lab.run.plan import Plan
from tl_lab.training.replay import describe, obstacle
from tl_lab.training.seen_replayed import GROUPS, STORED, held, not_seen

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "gpu.json"
SEEN = ["strategy=ewc", "domain_adaptation=none", "backbone=mlp", "adapter=none", "optimizer=adam"]
CHOSEN = dict(one.split("=") for one in SEEN)


def test_the_packaged_list_equals_the_stored_measurement() -> None:
    stored = json.loads(STORED.read_text())
    assert stored == held(json.loads(RESULTS.read_text())["choices"])
    assert {"strategy=from_scratch", "domain_adaptation=dann", "backbone=lenet", "optimizer=adam"} < set(stored)
    assert not {"strategy=maml", "strategy=fomaml", "strategy=reptile"} & set(stored), "replayed, their losses differ"
    assert {"strategy=distillation", "backbone=hf_text", "adapter=lora"} < set(stored)


def test_a_choice_holds_if_both_its_runs_completed() -> None:
    both = {"plain": "completed", "graph": "completed"}
    tried = {
        "strategy=b": both,
        "strategy=a": both,
        "backbone=failed": {"plain": "completed", "graph": "RuntimeError: no"},
        "backbone=alone": {"plain": "completed"},
        "optimizer=neither": {"plain": "refused", "graph": "refused"},
        "data=digits": both,  # not part of an update
        "adapter=mixed": {**both, "plain": "ValueError: no"},
    }
    assert held(tried) == ["strategy=a", "strategy=b"]


@pytest.mark.parametrize(
    ("losses", "holds"),
    [
        ({"loss": 2.0, "graph_loss": 2.019}, True),
        ({"loss": 2.0, "graph_loss": 1.981}, True),
        ({"loss": 2.0, "graph_loss": 2.021}, False),
        ({"loss": -2.0, "graph_loss": -2.019}, True),
        ({"loss": 2.0, "graph_loss": None}, False),
        ({"loss": None, "graph_loss": None}, True),
        ({"loss": float("nan"), "graph_loss": float("nan")}, False),
    ],
)
def test_a_choice_whose_replayed_loss_is_another_does_not_hold(losses: dict, holds: bool) -> None:
    found = held({"strategy=a": {"plain": "completed", "graph": "completed", **losses}})
    assert found == (["strategy=a"] if holds else [])


def test_the_reason_names_unverified_choices() -> None:
    assert not_seen(CHOSEN, SEEN) is None
    assert not_seen({**CHOSEN, "data": "anything"}, SEEN) is None
    reason = not_seen({**CHOSEN, "adapter": "lora", "backbone": "hf_text"}, SEEN)
    assert reason == (
        "not yet verified on a GPU with backbone=hf_text and adapter=lora (update.graph=true replays anyway)"
    )
    for group in GROUPS:
        assert f"{group}=other" in str(not_seen({**CHOSEN, group: "other"}, SEEN))


@pytest.mark.parametrize(
    ("overrides", "unseen"),
    [
        ([], None),
        (["strategy=anil"], None),
        (["strategy=fomaml"], "strategy=fomaml"),
        (["strategy=maml"], "strategy=maml"),
        (["strategy=pretraining", "data=digits"], None),
        (["backbone=lstm", "data=trec"], None),
    ],
)
def test_a_run_knows_whether_its_choices_were_seen(overrides: list[str], unseen: str | None) -> None:
    names = {group: name for group, _, name in (one.partition("=") for one in overrides)}
    plan = Plan.of(compose(overrides))
    usual = {"strategy": "from_scratch", "domain_adaptation": "dann", "backbone": "lenet", "adapter": "none"}
    chosen = {**{group: usual.get(group, "adam") for group in plan.chosen}, **names}
    reason = not_seen(chosen)
    assert set(plan.chosen) == set(GROUPS)
    assert reason is None if unseen is None else f"with {unseen} (" in str(reason)


def _on_a_gpu(graph: bool | str, reason: str | None) -> tuple[SimpleNamespace, SimpleNamespace]:
    step = SimpleNamespace(graph=graph, not_seen=reason, accumulate_batches=1)
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device("cuda")), world_size=1, precision="32-true",
        _detect_anomaly=False, optimizers=[], callbacks=[],
    )  # fmt: skip
    return step, trainer


def test_auto_skips_unverified_choices_and_true_does_not() -> None:
    reason = "not yet verified on a GPU with adapter=lora (update.graph=true replays anyway)"
    assert obstacle(*_on_a_gpu("auto", reason)) == reason
    assert describe(*_on_a_gpu("auto", reason)) == f"one kernel after the other: {reason}"
    for graph, unseen in (("auto", None), (True, reason), (True, None)):
        assert obstacle(*_on_a_gpu(graph, unseen)) is None
        assert describe(*_on_a_gpu(graph, unseen)).startswith("replayed as graphs")
    assert describe(*_on_a_gpu(False, None)) == "one kernel after the other (update.graph=false)"
