"""Several problems side by side, with labels that may be missing."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.problems import MultiLabel, Regression, Several, SingleLabel, restore

ROOT = Path(__file__).resolve().parents[2]
NAN = math.nan
Y = torch.tensor(
    [
        [0, 2.0, NAN, NAN],
        [2, NAN, 1, 0],
        [NAN, 4.0, 1, NAN],  # lacks one of two labels, and with it the task
        [NAN, NAN, 0, 1],
    ]
)


@pytest.fixture
def several():
    problem = Several(
        tasks={"kind": SingleLabel(["a", "b", "c"]), "size": Regression(["m"]), "tone": MultiLabel(["x", "y"])}
    )
    problem.learn(Y)
    return problem


def test_outputs_and_columns_are_concatenated(several):
    assert several.output_names == ["kind: a", "kind: b", "kind: c", "size: m", "tone: x", "tone: y"]
    assert several.known(Y).int().tolist() == [[1, 1, 0], [1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert several.tasks["size"].problem.mean.item() == 3.0  # of the labels that are there
    wide = several.widened("kind", torch.tensor([1, 2]))
    assert wide[:, 0].tolist() == [1, 2]
    assert bool(wide[:, 1:].isnan().all())


def test_the_documented_columns_are_those_of_predictions():
    classes = {"rte": SingleLabel(["entailment", "not_entailment"]), "mrpc": SingleLabel(["other", "paraphrase"])}
    problem = Several(tasks={**classes, "stsb": Regression(["similarity"])})
    columns = ["input", *problem.columns(problem.predict(torch.zeros(2, 5)))]
    assert f"`{','.join(columns)}`" in (ROOT / "docs" / "multi_task.md").read_text(encoding="utf-8")


def test_each_tasks_loss_is_that_of_the_samples_with_its_labels(several):
    outputs = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    means, counts = several.criterion(Y).by_task(outputs, Y)
    assert counts.tolist() == [2, 2, 2]
    expected = [
        F.cross_entropy(outputs[:2, :3], torch.tensor([0, 2])),
        (outputs[[0, 2], 3] - torch.tensor([-1.0, 1.0])).square().mean(),
        F.binary_cross_entropy_with_logits(outputs[[1, 3], 4:], Y[[1, 3], 2:]),
    ]
    torch.testing.assert_close(means, torch.stack(expected))


def test_missing_labels_have_exactly_no_gradient(several):
    outputs = torch.randn(2, 6, requires_grad=True)
    y = torch.tensor([[1, NAN, NAN, NAN], [0, NAN, NAN, 1]])
    losses, counts = several.criterion(Y).by_task(outputs, y)
    assert counts.tolist() == [2, 0, 0]
    assert losses[1:].tolist() == [0, 0]
    losses.sum().backward()
    assert bool((outputs.grad[:, 3:] == 0).all())
    assert bool((outputs.grad[:, :3] != 0).all())


def test_scores_are_the_tasks_own_and_their_mean(several):
    outputs = torch.tensor([[9.0, 0, 0, -1, 0, 0], [9.0, 0, 0, 0, 3, -3], [0.0, 0, 0, 0, 0, 0], [0.0, 0, 0, 0, -3, 3]])
    meter = several.meter()
    for part in (slice(0, 1), slice(1, 4)):
        meter.update(outputs[part], Y[part])
    scores = meter.compute()
    assert scores["kind/acc"] == 0.5
    assert scores["size/r2"] == pytest.approx(0.5)  # predicted 2 and 3 of 2 and 4
    assert scores["tone/auroc"] == 1
    assert scores["task_mean"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert set(scores) == set(several.labelled)
    meter.update(outputs[3:], Y[3:])  # one task alone
    assert set(meter.compute()) == {"loss", "task_mean", *(f"tone/{name}" for name in MultiLabel.labelled)}


def test_answers_have_the_columns_of_every_task(several):
    outputs = torch.tensor([[0.0, 5, 0, 1, 2, -2]])
    answer = several.predict(outputs)
    assert several.words(answer.values) == ["kind: b; size: 4; tone: x"]
    columns = several.columns(answer)
    assert columns["kind: label"] == ["b"]
    assert columns["size: m"] == ["4"]
    assert float(columns["tone: confidence"][0]) == pytest.approx(torch.tensor(2.0).sigmoid().item(), abs=1e-4)
    again = restore(several.state())
    assert again.state() == several.state()
    torch.testing.assert_close(again.predict(outputs).values, answer.values)


def test_a_task_without_training_labels_is_refused(several):
    with pytest.raises(UserError, match="no sample of the set 'train' has a label of the task size"):
        several.check("train", Y[[1, 3]])
    several.check("test", Y[[1, 3]])
    with pytest.raises(UserError, match="'train of kind' has labels from 0 to 7, but the head has 3 classes"):
        several.check("train", torch.tensor([[0, 1.0, 1, 0], [7, 1.0, 1, 0]]))
    with pytest.raises(UserError, match="a task cannot be named 'a/b'"):
        Several(tasks={"a/b": SingleLabel(["a", "b"])})
    assert several.alike(Y) is None
    assert several.alike(Y[[0, 3]]) == "the class 'a' of the task kind"
