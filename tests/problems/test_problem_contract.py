"""The contract of every problem."""

import math

import pytest
import torch

from tl_lab.errors import UserError
from tl_lab.problems import ALL, PROBLEMS, Findings, MultiLabel, Regression, SingleLabel, restore

DRAW = torch.Generator().manual_seed(1)
COUNT = 40


def labels_of(kind):
    if kind is SingleLabel:
        return torch.arange(COUNT) % 3
    if issubclass(kind, MultiLabel):
        return (torch.rand(COUNT, 3, generator=DRAW) < 0.4).float()
    return torch.rand(COUNT, 3, generator=DRAW) * 5 + 2


@pytest.fixture(params=[*PROBLEMS.values(), Findings], ids=lambda kind: kind.__name__)
def made(request):
    """A problem that has seen its training labels, these labels, and outputs for them."""
    problem, y = request.param(["a", "b", "c"]), labels_of(request.param)
    problem.learn(y)
    return problem, y, torch.randn(COUNT, 3, generator=DRAW)


def test_there_are_three_problems():
    assert {"single_label", "multi_label", "regression"} == ALL


def test_its_own_labels_pass_the_check(made):
    problem, y, _ = made
    problem.check("train", y)


def test_the_loss_is_the_mean_of_the_samples_losses(made):
    problem, y, outputs = made
    criterion = problem.criterion(y)
    each = criterion(outputs, y, reduction="none")
    assert each.shape == (COUNT,)
    torch.testing.assert_close(criterion(outputs, y), each.mean())
    torch.testing.assert_close(problem.losses(outputs, y), each)


def test_every_output_gets_a_gradient(made):
    problem, y, outputs = made
    outputs = outputs.clone().requires_grad_()
    problem.criterion(y)(outputs, y).backward()
    assert bool((outputs.grad.abs().sum(0) > 0).all())


def test_a_meter_returns_the_declared_scores_and_resets(made):
    problem, y, outputs = made
    meter = problem.meter()
    for part in torch.arange(COUNT).split(7):
        meter.update(outputs[part], y[part])
    scores = meter.compute()
    assert set(scores) == set(problem.labelled)
    assert problem.monitor in scores
    assert scores["loss"] == pytest.approx(problem.losses(outputs, y).mean().item(), rel=1e-5)
    meter.update(outputs[:5], y[:5])
    assert meter.compute()["loss"] == pytest.approx(problem.losses(outputs[:5], y[:5]).mean().item(), rel=1e-5)


def test_a_set_without_labels_has_label_free_scores_only(made):
    problem, _, outputs = made
    meter = problem.meter()
    meter.update(outputs, None)
    assert set(meter.compute()) == set(problem.label_free)


def test_predictions_have_one_text_and_one_row_per_sample(made):
    problem, _, outputs = made
    prediction = problem.predict(outputs)
    assert len(problem.words(prediction.values)) == COUNT
    assert {len(column) for column in problem.columns(prediction).values()} == {COUNT}
    if prediction.confidence is not None:
        assert bool(((prediction.confidence >= 0) & (prediction.confidence <= 1)).all())


def test_its_state_is_plain_and_restores_it(made):
    problem, y, outputs = made
    meter = problem.meter()
    meter.update(outputs, y)
    meter.compute()
    problem.calibrate(meter)
    again = restore(problem.state())
    assert type(again) is type(problem)
    assert again.state() == problem.state()
    torch.testing.assert_close(again.predict(outputs).values, problem.predict(outputs).values)


def test_prevalence_is_stated_for_each_label_and_as_a_range_of_many():
    y = torch.tensor([[1, 0], [1, 1], [1, 0], [0, 0]])
    assert MultiLabel(["a", "b"]).facts(y) == {"prevalence": "a 75.0 %, b 25.0 %"}
    many = torch.eye(20, 13)
    assert MultiLabel([str(k) for k in range(13)]).facts(many) == {"prevalence": "5.0 to 5.0 %, median 5.0 %"}


def test_groups_name_combinations_and_ranges():
    labels = torch.tensor([[1, 0], [1, 0], [1, 1], [0, 0]])
    number, names, word = MultiLabel(["a", "b"]).groups(labels)
    assert (number.tolist(), names, word) == ([0, 0, 2, 1], ["a", "none", "a; b"], "labels")
    numbers = torch.arange(20.0)[:, None]
    number, names, word = Regression(["metres"]).groups(numbers)
    assert (number.tolist(), word) == ([k // 2 for k in range(20)], "metres")
    assert names[:2] == ["0 to 1", "2 to 3"]


def test_strata_number_groups_from_zero(made):
    problem, y, _ = made
    strata = problem.strata(y)
    if strata is not None:
        assert strata.shape == (COUNT,)
        assert sorted(strata.unique().tolist()) == list(range(int(strata.max()) + 1))


def test_perfect_outputs_have_the_best_scores(made):
    problem, y, _ = made
    perfect = {
        "single_label": lambda: torch.nn.functional.one_hot(y.long(), 3) * 40.0,
        "multi_label": lambda: (2 * y - 1) * 40.0,
        "regression": lambda: problem.scale(y),
    }[problem.name]()
    meter = problem.meter()
    meter.update(perfect, y)
    scores = meter.compute()
    assert scores[problem.monitor] == pytest.approx(1.0, abs=1e-6)
    assert scores["loss"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("problem", "y", "message"),
    [
        (SingleLabel(["a", "b"]), torch.tensor([0, 2]), "labels from 0 to 2, but the head has 2 classes"),
        (SingleLabel(["a", "b"]), torch.tensor([0.0, 1.0]), "give one class per sample"),
        (MultiLabel(["a", "b"]), torch.tensor([[0, 2]]), "other than 0 and 1"),
        (MultiLabel(["a", "b"]), torch.tensor([0, 1]), "give 2 per sample"),
        (Regression(["v"]), torch.tensor([[math.nan], [1.0]]), "1 of the 2 targets"),
        (Regression(["v"]), torch.tensor([1.0]), "give 1 number per sample"),
    ],
)
def test_wrong_labels_are_refused_by_the_name_of_their_set(problem, y, message):
    with pytest.raises(UserError, match=f"'train'.*{message}|{message}.*'train'"):
        problem.check("train", y)
