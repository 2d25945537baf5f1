"""Strategies with an inner loop in a trainer: the frame's update, resuming, and a test."""

import copy

import pytest
import torch
from episodes_at_hand import episode, make, ready
from laboratory import differing, fit, state
from pytorch_lightning.callbacks import ModelCheckpoint

from tl_lab.data.batches import Unlabelled
from tl_lab.domain_adaptation.base import Phase
from tl_lab.strategies.few_shot.anil import ANIL
from tl_lab.strategies.few_shot.fomaml import FOMAML
from tl_lab.strategies.few_shot.maml import MAML
from tl_lab.strategies.few_shot.reptile import Reptile

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

INNER = {"inner_steps": 2, "test_inner_steps": 3, "inner_rate": 0.3}
KINDS = pytest.mark.parametrize("kind", [MAML, FOMAML, ANIL, Reptile])


def single(kind, **options):
    """In single precision, as data come."""
    return make(kind, **INNER, **options).float()


@KINDS
def test_accumulated_batches_are_one_larger_step(kind):
    together, apart = single(kind), single(kind, accumulate_batches=2)
    start = state(together.network)
    fit(ready(episodes_per_step=4), together, epochs=1)
    fit(ready(episodes_per_step=2), apart, epochs=1)
    assert together.updates_done == apart.updates_done == 2
    for name, parameter in together.network.named_parameters():
        moved = parameter - start[name]
        torch.testing.assert_close(apart.network.get_parameter(name) - start[name], moved, rtol=1e-3, atol=1e-6)


@KINDS
def test_the_meta_gradient_is_clipped(kind):
    strategy = single(kind, gradient_clip_norm=1e-3)
    start = state(strategy.network)
    fit(ready(episodes_per_step=8), strategy, epochs=1)  # one update of SGD at 0.1
    moved = torch.cat([(p - start[name]).flatten() for name, p in strategy.network.named_parameters()])
    assert moved.norm().item() == pytest.approx(0.1 * 1e-3, rel=1e-3)


@KINDS
def test_a_resumed_run_ends_as_one_that_was_not_stopped(kind, tmp_path):
    options = {"inner_batch": 4} if kind is Reptile else {}
    whole, first, second = (single(kind, **options) for _ in range(3))
    fit(ready(), whole, epochs=3)
    fit(ready(), first, epochs=1, callbacks=[ModelCheckpoint(tmp_path, save_last=True)], folder=tmp_path)
    fit(ready(), second, epochs=3, ckpt_path=tmp_path / "last.ckpt")
    assert second.updates_done == whole.updates_done
    assert differing(state(whole), state(second)) == set()


@KINDS
def test_an_adaptation_does_not_see_the_inner_passes(kind):
    strategy = make(kind, **INNER)
    strategy.capture(["backbone"])
    strategy._captured = {"backbone": []}
    strategy.outputs_for(episode(), None, Phase())
    assert strategy._captured == {"backbone": []}
    target = Unlabelled(episode().x, episode().index)
    features, of_target, _, _ = strategy.outputs_for(episode(), target, Phase())
    assert torch.equal(torch.cat(strategy._captured["backbone"]), torch.cat([features, of_target]))


@KINDS
@pytest.mark.parametrize("batch_norm", ["transductive", "running"])
def test_a_test_scores_and_changes_nothing(kind, batch_norm):
    data, strategy = ready(), single(kind, batch_norm=batch_norm)
    trainer = fit(data, strategy, epochs=1, inference_mode=False)
    before = copy.deepcopy(strategy.state_dict())
    trainer.test(strategy, datamodule=data, verbose=False)
    assert differing(before, strategy.state_dict()) == set()
    strategy.eval()
    found = [
        (strategy.test_logits(batch).argmax(2) == batch.query.y).float().mean(1) for batch in data.test_dataloader()[0]
    ]
    accuracies = torch.cat(found).double()
    assert len(accuracies) == 10
    assert strategy.last_test["test/acc"] == pytest.approx(accuracies.mean().item())
    assert strategy.last_test["test/acc_ci95"] == pytest.approx(1.96 * accuracies.std().item() / 10**0.5)
    assert all(parameter.grad is None for parameter in strategy.parameters())
