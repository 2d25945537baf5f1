"""``update.graph=auto`` replays what a stored result of ``benchmarks/gpu.py`` shows to hold, and nothing else."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tl_lab.config import compose
from tl_lab.run.build import build
from tl_lab.run.plan import Plan
from tl_lab.training.replay import describe, obstacle
from tl_lab.training.seen_replayed import GROUPS, MIXED, STORED, held, not_seen

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "gpu.json"
SEEN = ["strategy=ewc", "domain_adaptation=none", "backbone=mlp", "adapter=none", "optimizer=adam"]
CHOSEN = dict(one.split("=") for one in SEEN)


def test_the_packaged_list_equals_the_stored_measurement() -> None:
    found = json.loads(RESULTS.read_text())
    stored = json.loads(STORED.read_text())
    assert stored == held(found)
    assert {"strategy=from_scratch", "domain_adaptation=dann", "backbone=lenet", "optimizer=sgd", *SEEN} <= set(stored)
    unproved = {name for name, ended in found["choices"].items() if ended.get("replays", 0) < 2}
    assert set(stored) & unproved <= {name for names in found["step_choices"].values() for name in names}


GOOD = {"plain": "completed", "graph": "completed", "replays": 4, "apart": 1e-4}


def test_a_choice_holds_if_both_its_runs_completed_and_their_weights_agree() -> None:
    tried = {
        "strategy=b": GOOD,
        "strategy=a": {**GOOD, "apart": 0.01, "replays": 2},
        "backbone=failed": {**GOOD, "graph": "RuntimeError: no"},
        "backbone=alone": {"plain": "completed"},
        "optimizer=neither": {**GOOD, "plain": "refused", "graph": "refused"},
        "data=digits": GOOD,  # not part of an update
        "adapter=mixed": {**GOOD, "plain": "ValueError: no"},
        "adapter=never": {**GOOD, "replays": 1},
        "strategy=untrained": {"plain": "completed", "graph": "completed", "replays": 4},
        "strategy=other": {**GOOD, "apart": 0.011},
        "strategy=nan": {**GOOD, "apart": float("nan")},
    }
    assert held({"choices": tried}) == ["strategy=a", "strategy=b"]
    assert held({"choices": {MIXED: GOOD, "trainer.precision=16-mixed": GOOD, "trainer=gpu": GOOD}}) == [MIXED]


def test_choices_of_a_timed_step_hold_if_it_was_replayed_and_faster() -> None:
    faster = {"frame": {"ms": 2.0}, "frame_graph": {"ms": 1.0}}
    found = {
        "step_choices": {"steps/a": ["strategy=a"], "steps/b": ["strategy=b"], "steps/c": ["strategy=c"]},
        "steps/a": faster,
        "steps/b": {**faster, "frame_graph": {"ms": 1.0, "not_replayed": "waits"}},
        "steps/c": {"frame": {"ms": 1.0}, "frame_graph": {"ms": 1.0}},
    }
    assert held({**found, "choices": {}}) == ["strategy=a"]


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
    ("precision", "needs"), [("32-true", False), ("bf16-mixed", True), ("bf16", True), ("16-mixed", False)]
)
def test_mixed_precision_needs_a_measurement_of_its_own(precision: str, needs: bool) -> None:
    """Updates of the other mixed precision are never replayed, which is a reason of its own."""
    chosen = {**CHOSEN, "trainer.precision": precision}
    reason = f"not yet verified on a GPU with {MIXED} (update.graph=true replays anyway)"
    assert not_seen(chosen, SEEN) == (reason if needs else None)
    assert not_seen(chosen, [*SEEN, MIXED]) is None


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_built_strategy_knows_what_the_stored_results_say_of_its_precision(precision: str) -> None:
    overrides = ["data=digits", "backbone=mlp", "domain_adaptation=none", f"trainer.precision={precision}"]
    plan = Plan.of(compose(overrides))
    names = {
        "strategy": "from_scratch",
        "adaptation": "none",
        "backbone": "mlp",
        "adapter": "none",
        "optimizer": "adam",
    }
    named = {group: dataclasses.replace(getattr(plan, group), choice=name) for group, name in names.items()}
    strategy = build(dataclasses.replace(plan, **named)).strategy
    verified = precision == "32-true" or MIXED in json.loads(STORED.read_text())
    assert strategy.not_seen == (
        None if verified else f"not yet verified on a GPU with {MIXED} (update.graph=true replays anyway)"
    )


@pytest.mark.parametrize(
    ("overrides", "unseen"),
    [
        ([], None),
        (["strategy=ewc", "backbone=mlp"], None),
        (["strategy=fomaml"], None),
        (["strategy=reptile"], "strategy=reptile"),
        (["strategy=pretraining", "data=digits"], "strategy=pretraining"),
        (["backbone=lstm", "data=trec"], "backbone=lstm"),
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
