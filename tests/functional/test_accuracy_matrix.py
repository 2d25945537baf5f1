import math
from fractions import Fraction

import pytest
import torch

from tl_lab.functional import average_accuracy, backward_transfer, forgetting, forward_transfer

NAN = math.nan
R = torch.tensor([[0.80, 0.20, 0.10], [0.90, 0.70, 0.30], [0.60, 0.75, 0.85]], dtype=torch.float64)
BASELINE = torch.full((3,), 0.1, dtype=torch.float64)


def test_three_tasks_by_hand():
    assert average_accuracy(R) == pytest.approx(0.7333, abs=5e-5)
    assert backward_transfer(R) == pytest.approx(-0.075, abs=1e-12)
    assert forward_transfer(R, BASELINE) == pytest.approx(0.15, abs=1e-12)
    assert forgetting(R) == pytest.approx(0.125, abs=1e-12)


@pytest.mark.parametrize("tasks", [2, 3, 7])
def test_definitions_in_exact_fractions(tasks):
    """Written with the papers' indices, from 1 to T, on thousandths."""
    draw = torch.Generator().manual_seed(tasks)
    thousandths = torch.randint(1001, (tasks, tasks), generator=draw)
    baseline = torch.randint(1001, (tasks,), generator=draw)

    def r(i, j):
        return Fraction(int(thousandths[i - 1, j - 1]), 1000)

    t, old = tasks, range(1, tasks)
    acc = sum(r(t, i) for i in range(1, t + 1)) / t
    bwt = sum(r(t, i) - r(i, i) for i in old) / (t - 1)
    fwt = sum(r(i - 1, i) - Fraction(int(baseline[i - 1]), 1000) for i in range(2, t + 1)) / (t - 1)
    f = sum(max(r(k, j) for k in range(j, t)) - r(t, j) for j in old) / (t - 1)
    matrix = thousandths.double() / 1000
    assert average_accuracy(matrix) == pytest.approx(float(acc), abs=1e-14)
    assert backward_transfer(matrix) == pytest.approx(float(bwt), abs=1e-14)
    assert forward_transfer(matrix, baseline.double() / 1000) == pytest.approx(float(fwt), abs=1e-14)
    assert forgetting(matrix) == pytest.approx(float(f), abs=1e-14)


def test_forgetting_is_negative_if_earlier_tasks_only_improve():
    gaining = torch.tensor([[0.5, 0.0], [0.7, 0.6]])
    assert forgetting(gaining) == pytest.approx(-0.2, abs=1e-7)
    assert backward_transfer(gaining) == pytest.approx(0.2, abs=1e-7)


def test_forgetting_counts_no_row_before_the_task_was_learned():
    # Chaudhry et al. define a[l, j] for j <= l: task 1 falls from max(.8, .7) to .6, task 2 from .3 to .25;
    # with the row before task 2 was learned, which the definition does not have, it would be .225
    matrix = torch.tensor([[0.8, 0.5, 0.1], [0.7, 0.3, 0.9], [0.6, 0.25, 0.85]], dtype=torch.float64)
    assert forgetting(matrix) == pytest.approx(0.125, abs=1e-12)
    # task 2 was best before it was learned, and lost nothing since
    matrix = torch.tensor([[1.0, 0.9, 0.0], [1.0, 0.5, 0.0], [1.0, 0.5, 1.0]], dtype=torch.float64)
    assert forgetting(matrix) == 0.0


def test_unmeasured_accuracies_before_learning_are_ignored():
    lower = torch.where(torch.ones(3, 3).tril() > 0, R, NAN)
    assert average_accuracy(lower) == average_accuracy(R)
    assert backward_transfer(lower) == backward_transfer(R)
    assert forgetting(lower) == forgetting(R)
    assert math.isnan(forward_transfer(lower, BASELINE))


def test_baseline_of_the_first_task_is_not_used():
    assert forward_transfer(R, torch.tensor([NAN, 0.1, 0.1])) == pytest.approx(0.15, abs=1e-7)


def test_missing_measurement_makes_the_result_missing():
    for i, j in ((2, 0), (1, 1)):
        broken = R.clone()
        broken[i, j] = NAN
        assert math.isnan(backward_transfer(broken))
    broken = R.clone()
    broken[2, 1] = NAN
    assert math.isnan(average_accuracy(broken))
    assert math.isnan(forgetting(broken))
    broken = R.clone()
    broken[:2, 0] = NAN  # no accuracy on task 1 to fall from
    assert math.isnan(forgetting(broken))


def test_one_task_has_an_accuracy_and_no_transfer():
    one = torch.tensor([[0.9]], dtype=torch.float64)
    assert average_accuracy(one) == 0.9
    assert math.isnan(backward_transfer(one))
    assert math.isnan(forward_transfer(one, torch.zeros(1)))
    assert math.isnan(forgetting(one))


def test_leading_block_is_the_stream_up_to_then():
    assert average_accuracy(R[:2, :2]) == pytest.approx(0.8, abs=1e-12)
    assert forgetting(R[:2, :2]) == pytest.approx(-0.1, abs=1e-12)
