import math

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from tl_lab.errors import UserError
from tl_lab.results.folder.metrics_csv import MetricsCsv


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.csv"


def test_values_of_one_step_share_a_row(path):
    logger = MetricsCsv(path)
    logger.log_metrics({"val/acc": 0.5, "epoch": 0}, step=9)
    logger.log_metrics({"train/loss": 2.0, "epoch": 0}, step=4)
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=9)
    logger.finalize("success")
    assert path.read_text(encoding="utf-8") == "epoch,step,train/loss,val/acc\n0,4,2.0,\n0,9,1.0,0.5\n"


def test_a_later_value_wins_and_numbers_survive_to_the_last_bit(path):
    logger = MetricsCsv(path)
    logger.log_metrics({"train/loss": 1.0}, step=0)
    logger.log_metrics({"train/loss": 0.1 + 0.2}, step=0)
    logger.finalize("success")
    assert path.read_text(encoding="utf-8").splitlines()[1] == f",0,{0.1 + 0.2!r}"


def test_nan_and_infinity_are_kept(path):
    logger = MetricsCsv(path)
    logger.log_metrics({"a": math.nan, "b": math.inf}, step=0)
    logger.log_metrics({"a": 1.0}, step=None)
    logger.log_metrics({"b": -math.inf}, step=1)
    logger.flush()
    again = MetricsCsv(path, resume_step=1)
    assert again.rows == [{"step": 0, "a": 1.0, "b": math.inf}, {"step": 1, "b": -math.inf}]


def test_between_writes_some_seconds_pass(path):
    logger = MetricsCsv(path, every_s=3600)
    for step in range(3):
        logger.log_metrics({"a": step}, step)
        logger.save()
    assert len(pd.read_csv(path)) == 1
    logger.finalize("success")
    assert len(pd.read_csv(path)) == 3


def test_a_checkpoint_writes_the_file_and_what_is_logged_just_after_it(path):
    logger = MetricsCsv(path, every_s=3600)
    logger.log_metrics({"a": 0}, 0)
    logger.save()
    logger.log_metrics({"a": 1}, 1)
    logger.after_save_checkpoint(None)
    assert len(pd.read_csv(path)) == 2
    logger.log_metrics({"b": 1}, 1)
    logger.save()
    assert pd.read_csv(path)["b"].tolist()[1] == 1


def test_resuming_keeps_what_the_checkpoint_knows(path):
    first = MetricsCsv(path)
    for step in range(5):
        first.log_metrics({"train/loss": float(step), "epoch": step // 2}, step)
    first.log_metrics({"only/late": 1.0}, 4)
    first.finalize("failed")
    resumed = MetricsCsv(path, resume_step=2)
    resumed.log_metrics({"train/loss": 30.0, "epoch": 1}, 3)
    resumed.finalize("success")
    frame = pd.read_csv(path)
    assert frame.columns.tolist() == ["epoch", "step", "train/loss"]
    assert frame["step"].tolist() == [0, 1, 2, 3]
    assert frame["train/loss"].tolist() == [0, 1, 2, 30]


def test_an_earlier_run_is_not_overwritten(path):
    path.write_text("epoch,step\n", encoding="utf-8")
    with pytest.raises(UserError, match="belongs to an earlier run"):
        MetricsCsv(path)


def test_a_damaged_file_is_named(path):
    path.write_text("epoch,step,a\n0,zero,1\n", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read"):
        MetricsCsv(path, resume_step=3)


def test_only_the_first_process_writes(path, monkeypatch):
    from pytorch_lightning.utilities.rank_zero import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = MetricsCsv(path)
    logger.log_metrics({"a": 1.0}, 0)
    logger.finalize("success")
    assert not path.exists()


class _Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, _):
        loss = (self.layer(batch[0]) ** 2).mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _):
        self.log("val/loss", self.layer(batch[0]).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def test_under_lightning_an_epoch_is_one_row(path):
    data = DataLoader(TensorDataset(torch.ones(8, 1)), batch_size=2)
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=MetricsCsv(path),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(_Line(), data, data)
    frame = pd.read_csv(path)
    assert frame["epoch"].tolist() == [0, 1, 2]
    assert frame["step"].tolist() == [3, 7, 11]
    assert frame[["train/loss", "val/loss"]].notna().all(axis=None)
