"""Findings: unknown labels are ignored, uncertain ones are replaced by the network's prediction."""

import math

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from tl_lab.errors import UserError
from tl_lab.problems import Findings, MultiLabel
from tl_lab.problems.findings import UNCERTAIN, UNKNOWN

Z = torch.tensor([[2.0, -1.0], [0.5, 3.0], [-0.5, 0.2]])
Y = torch.tensor([[1.0, UNKNOWN], [UNCERTAIN, 0.0], [UNCERTAIN, 1.0]])


def _loss(z: float, y: float) -> float:
    return math.log(1 + math.exp(-z if y else z))


def test_the_loss_is_a_mean_over_known_labels() -> None:
    loss = Findings(["a", "b"]).criterion(None)
    first, second = (_loss(0.5, 1), _loss(3.0, 0)), (_loss(-0.5, 0), _loss(0.2, 1))  # uncertain ones: the logit's sign
    each = [_loss(2.0, 1), sum(first) / 2, sum(second) / 2]
    torch.testing.assert_close(loss(Z, Y, "none"), torch.tensor(each))
    total = (_loss(2.0, 1) + sum(first) + sum(second)) / 5
    assert float(loss(Z, Y)) == pytest.approx(total, rel=1e-6)
    z = Z.clone().requires_grad_()
    loss(z, Y).backward()
    assert float(z.grad[0, 1]) == 0.0  # an unknown label teaches nothing
    assert float(z.grad[1, 0]) < 0  # an uncertain one draws towards the decision


def test_known_labels_alone_are_those_of_a_multi_label_problem() -> None:
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    ours, other = Findings(["a", "b"]), MultiLabel(["a", "b"])
    torch.testing.assert_close(ours.criterion(y)(Z, y), other.criterion(y)(Z, y))
    torch.testing.assert_close(ours.losses(Z, y), other.losses(Z, y))
    scores = []
    for problem in (ours, other):
        meter = problem.meter()
        meter.update(Z, y)
        problem.calibrate(meter)
        scores.append(meter.compute())
    assert scores[0] == pytest.approx(scores[1])
    assert ours.thresholds.tolist() == other.thresholds.tolist()


def test_scores_of_a_finding_are_of_the_samples_that_are_known() -> None:
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(40, 2, generator=draw)
    y = (torch.rand(40, 2, generator=draw) < 0.4).float()
    y[::3, 0], y[1::4, 1] = UNKNOWN, UNKNOWN
    meter = Findings(["a", "b"]).meter()
    meter.update(z, y)
    found = meter.compute()
    kept = [(z[y[:, k] >= 0, k].numpy(), y[y[:, k] >= 0, k].numpy()) for k in range(2)]
    assert found["auroc"] == pytest.approx(sum(roc_auc_score(t, s) for s, t in kept) / 2, abs=1e-6)
    assert found["map"] == pytest.approx(sum(average_precision_score(t, s) for s, t in kept) / 2, abs=1e-6)


def test_counts_weights_and_facts_leave_unknown_labels_out() -> None:
    problem = Findings(["a", "b"])
    y = torch.tensor([[1.0, UNKNOWN], [0.0, UNCERTAIN], [0.0, 1.0], [0.0, 0.0]])
    assert problem.counts(y).tolist() == [1, 1]
    assert problem.criterion(y, class_weights="balanced").positive_weight.tolist() == [3.0, 1.0]
    assert problem.facts(y) == {"prevalence": "a 25.0 %, b 50.0 %", "unknown labels": "25.0 %"}
    with pytest.raises(UserError, match="labels other than 0, 1, -1"):
        problem.check("train", torch.tensor([[2.0, 0.0]]))
