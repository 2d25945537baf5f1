"""Gradients and optimizers are called without Lightning's hooks only where none of them acts."""

import pytest
import pytorch_lightning as pl
import torch
from laboratory import Blobs, differing, fit, make, state
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.profilers import SimpleProfiler

from tl_lab.strategies.from_scratch import FromScratch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_a_plain_run_calls_directly_and_counts_as_lightning_does(monkeypatch) -> None:
    weights, counts, direct = [], [], []
    for hooks in (False, True):
        data, model = make(data=Blobs(batch_size=20))
        callbacks = [LambdaCallback(on_before_optimizer_step=lambda *given: None)] if hooks else []
        trainer = fit(data, model, epochs=2, callbacks=callbacks)
        weights.append(state(model.network))
        counts.append((trainer.global_step, trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress))
        direct.append(model.calls_directly)
    assert direct == [True, False]
    assert differing(*weights) == set()
    assert counts[0] == counts[1]
    assert counts[0][0] > 2


def test_hooks_of_a_callback_that_are_its_own_are_called() -> None:
    called = []
    data, model = make(data=Blobs(batch_size=20))
    own = LambdaCallback(on_after_backward=lambda *given: called.append(1))
    trainer = fit(data, model, epochs=1, callbacks=[own])
    assert len(called) == trainer.global_step > 0


@pytest.mark.parametrize("hook", ["on_before_backward", "on_after_backward"])
def test_hooks_of_a_strategy_are_called(hook: str) -> None:
    called = []

    class Hooked(FromScratch):
        pass

    setattr(Hooked, hook, lambda self, *given: called.append(1))
    data, model = make(Hooked, data=Blobs(batch_size=20))
    trainer = fit(data, model, epochs=1)
    assert not model.calls_directly
    assert len(called) == trainer.global_step > 0


def test_a_profiler_sees_the_steps_of_the_optimizer() -> None:
    data, model = make(data=Blobs(batch_size=20))
    profiler = SimpleProfiler()
    fit(data, model, epochs=1, profiler=profiler)
    assert not model.calls_directly
    assert any("optimizer_step" in name for name in profiler.recorded_durations)


def test_reduced_precision_of_the_gradients_goes_through_lightning() -> None:
    data, model = make(data=Blobs(batch_size=20))
    fit(data, model, epochs=1, precision="64-true")
    assert not model.calls_directly
    assert all(p.dtype == torch.float64 for p in model.parameters())
    assert isinstance(model, pl.LightningModule)
