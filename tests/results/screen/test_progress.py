import re
import sys

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from torch.utils.data import DataLoader, TensorDataset

from tl_lab.results.screen.progress import EpochLines, _metrics, duration, progress_callback


class _Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, _):
        loss = (self.layer(batch[0]) ** 2).mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _):
        self.log("val/source/loss", self.layer(batch[0]).square().mean())
        self.log("val/source/acc", torch.tensor(0.5))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def _fit(capsys, module=None, callbacks=(), **limits):
    data = DataLoader(TensorDataset(torch.ones(8, 1)), batch_size=2)
    bar = progress_callback(True)
    quiet = {"logger": False, "enable_model_summary": False, "enable_checkpointing": bool(callbacks)}
    trainer = pl.Trainer(accelerator="cpu", callbacks=[*callbacks, bar], **quiet, **limits)
    capsys.readouterr()
    trainer.fit(module or _Line(), data, data)
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]


def test_a_log_gets_one_line_per_epoch(capsys, monkeypatch):
    monkeypatch.setattr("tl_lab.results.screen.progress._WIDTH", 200)
    lines = _fit(capsys, max_epochs=3)
    assert len(lines) == 3
    number = r"[0-9.e+-]+"
    pattern = rf"epoch 1/3  train/loss {number}  val/source/acc 50\.0 %  val/source/loss {number}  .* s  .* left"
    assert re.fullmatch(pattern, lines[0])
    assert lines[2].startswith("epoch 3/3")
    assert "left" not in lines[2]


def test_a_line_leaves_out_what_does_not_fit(capsys, monkeypatch):
    monkeypatch.setattr("tl_lab.results.screen.progress._WIDTH", 50)
    for line in _fit(capsys, max_epochs=2):
        assert len(line) <= 50
        assert "train/loss" in line
        assert "val/source/loss" not in line


@pytest.mark.parametrize(
    ("validation", "shown"),
    [
        ({"val/rte/acc": 0.5, "val/task_mean": 0.25, "val/rte/loss": 1.0, "val/loss": 2.0}, ["task_mean", "loss"]),
        ({"val/task1/acc": 0.9, "val/acc": 0.5, "val/task1/loss": 1.0}, ["acc"]),
        ({"val/source/acc": 0.9, "val/source/loss": 1.0}, ["source/acc", "source/loss"]),
    ],
)
def test_a_mean_over_tasks_replaces_the_scores_of_the_tasks(validation, shown):
    assert [text.split()[0] for text in _metrics(validation)] == [f"val/{name}" for name in shown]


class _Entropy(_Line):
    def validation_step(self, batch, index):
        super().validation_step(batch, index)
        self.log("val/target/entropy", torch.tensor(0.25))


def test_the_monitored_metric_follows_the_training_loss(tmp_path, capsys):
    best = ModelCheckpoint(tmp_path, monitor="val/target/entropy")
    (line,) = _fit(capsys, _Entropy(), [best], max_epochs=1)
    assert [word for word in line.split() if "/" in word][:4] == [
        "1/1", "train/loss", "val/target/entropy", "val/source/acc",
    ]  # fmt: skip


def test_steps_may_end_a_run_too(capsys):
    lines = _fit(capsys, max_steps=6, max_epochs=-1)
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]


def test_no_progress_when_not_enabled():
    assert progress_callback(False) is None


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines(monkeypatch):
    for terminal, kind in ((True, RichProgressBar), (False, EpochLines)):
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal, raising=False)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        assert isinstance(progress_callback(True), kind)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (9.96, "10 s"), (59.7, "1 min 0 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations_are_written_for_a_person(seconds, text):
    assert duration(seconds) == text
