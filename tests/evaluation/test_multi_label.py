"""Scores of multi-label predictions against scikit-learn and by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from tl_lab.evaluation import multi_label_scores
from tl_lab.evaluation.multi_label import best_thresholds, f1_by_label, scores_by_label
from tl_lab.problems import MultiLabel

DRAW = torch.Generator().manual_seed(0)
P = torch.rand(60, 4, generator=DRAW)
Y = (torch.rand(60, 4, generator=DRAW) < P).float()  # the probabilities are right


def test_scores_are_those_of_scikit_learn():
    scores = multi_label_scores(P, Y, torch.full((4,), 0.5))
    assert float(scores["auroc"]) == pytest.approx(roc_auc_score(Y, P, average="macro"), abs=1e-6)
    assert float(scores["map"]) == pytest.approx(average_precision_score(Y, P, average="macro"), abs=1e-6)
    assert float(scores["f1_macro"]) == pytest.approx(f1_score(Y, P >= 0.5, average="macro"))
    assert float(scores["f1_tuned"]) == float(scores["f1_macro"])
    assert float(scores["subset_acc"]) == pytest.approx(((P >= 0.5).float() == Y).all(1).float().mean().item())


def test_constant_labels_are_excluded_from_means():
    y = Y.clone()
    y[:, 1], y[:, 2] = 0, 1
    found = scores_by_label(P, y)
    assert found["auroc"].isnan().tolist() == [False, True, True, False]
    assert found["prevalence"][1:3].tolist() == [0, 1]
    kept = [0, 3]
    scores = multi_label_scores(P, y, torch.full((4,), 0.5))
    assert float(scores["auroc"]) == pytest.approx(roc_auc_score(y[:, kept], P[:, kept], average="macro"), abs=1e-6)


def test_thresholds_maximise_f1_over_all_thresholds():
    thresholds = best_thresholds(P, Y)
    for label in range(4):
        tried = np.concatenate([[0.0], np.sort(P[:, label].numpy()), [1.0]])
        best = max(f1_score(Y[:, label], P[:, label] >= t, zero_division=0) for t in tried)
        reached = f1_by_label(P[:, [label]].double() >= thresholds[label], Y[:, [label]].bool())
        assert float(reached) == pytest.approx(best)


def test_equal_probabilities_stay_together_and_an_absent_label_keeps_a_half():
    p = torch.tensor([[0.7, 0.2], [0.7, 0.3], [0.1, 0.4]])
    y = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    thresholds = best_thresholds(p, y)
    assert thresholds.tolist() == pytest.approx([0.4, 0.5])  # between .7 and .1; nobody has the second label


def test_confident_predictions_keep_their_order():
    problem = MultiLabel(["a", "b"])
    meter = problem.meter()
    logits = torch.tensor([20.0, 30.0, 40.0, -5.0, 18.0])
    y = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0])
    meter.update(torch.stack([logits, logits], 1), torch.stack([y, y], 1))
    scores = meter.compute()
    assert (scores["auroc"], scores["map"]) == (1.0, 1.0)


def test_one_label_and_one_that_varies_are_scored():
    p, y = torch.tensor([[0.2], [0.9], [0.4]]), torch.tensor([[0.0], [1.0], [1.0]])
    assert float(scores_by_label(p, y)["auroc"]) == 1.0
    both = scores_by_label(p.expand(3, 2), torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]))
    assert both["auroc"].isnan().tolist() == [False, True]


def test_nan_outputs_have_no_score():
    meter = MultiLabel(["a", "b"]).meter()
    meter.update(torch.tensor([[0.1, torch.nan], [0.3, 0.2]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert all(math.isnan(value) for value in meter.compute().values())


def test_thresholds_are_tuned_on_the_scored_validation_set():
    problem = MultiLabel(["a", "b", "c", "d"])
    meter = problem.meter()
    meter.update(P.logit() - 2, Y)  # far too cautious at .5
    problem.calibrate(meter)
    scores = meter.compute()
    assert scores["f1_tuned"] > scores["f1_macro"] + 0.1
