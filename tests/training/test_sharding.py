"""Sharded training: one process, over gloo on the CPU, gives the same bits as a plain run."""

import functools

import pytest
import pytorch_lightning as pl
import torch
from laboratory import BlobPair, differing, make, state

from tl_lab.domain_adaptation.mcd import MCD
from tl_lab.training.sharding import FullySharded, is_sharded, load_weights, local, unshard

pytestmark = pytest.mark.filterwarnings("ignore")


def trained(strategy):
    data, model = make(
        data=BlobPair(batch_size=20),
        adaptation=MCD(generator_steps=1),
        optimizer=functools.partial(torch.optim.Adam, lr=1e-3),
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        strategy=strategy,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=data)
    return trainer, data, model


@pytest.fixture
def _group():
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("_group")
def test_one_process_trains_to_the_same_bits(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as a run sets it: Lightning would take more threads for the second one
    plain, _, model = trained("auto")
    expected = state(model)
    sharded, data, spread = trained(FullySharded(process_group_backend="gloo"))
    assert (is_sharded(plain.strategy), is_sharded(sharded.strategy)) == (False, True)
    whole = {name: tensor.clone() for name, tensor in sharded.strategy.lightning_module_state_dict().items()}
    assert differing(expected, whole) == set()
    load_weights(spread, {name: torch.zeros_like(tensor) for name, tensor in whole.items()})
    assert all(hasattr(parameter, "to_local") for parameter in spread.network.parameters())
    assert not any(local(parameter).any() for parameter in spread.parameters())
    load_weights(spread, whole)
    assert differing(expected, sharded.strategy.lightning_module_state_dict()) == set()
    sharded.test(spread, datamodule=data, verbose=False)
    unshard(spread)
    assert not any(hasattr(parameter, "to_local") for parameter in spread.network.parameters())
