"""The interval over episodes."""

import numpy as np
import pytest
import torch
from scipy import stats

from tl_lab.evaluation import EpisodeMeter, episode_scores


def test_the_interval_is_that_of_the_mean():
    accuracies = torch.rand(800, generator=torch.Generator().manual_seed(0))
    scores = episode_scores(accuracies)
    x = accuracies.double().numpy()
    low, high = stats.norm.interval(0.95, x.mean(), x.std(ddof=1) / np.sqrt(800))
    assert scores["acc"] == pytest.approx(x.mean(), rel=1e-12)
    assert scores["acc_ci95"] == pytest.approx((high - low) / 2, rel=1e-4)  # 1.96 for 1.95996


def test_a_diverged_episode_is_counted():
    meter, y = EpisodeMeter(), torch.zeros(3, 4, dtype=torch.long)
    logits = torch.zeros(3, 4, 2)
    logits[..., 0], logits[1] = 1.0, float("nan")
    meter.update(logits, y, torch.arange(3))
    scores = meter.compute()
    assert np.isnan(scores["loss"])
    assert meter.last_accuracies.tolist() == [1, 0, 1]  # and not right because class 0 was


def test_episodes_have_equal_weight_in_any_batches():
    meter, draw = EpisodeMeter(), torch.Generator().manual_seed(1)
    logits, y = torch.randn(7, 6, 3, generator=draw), torch.randint(3, (7, 6), generator=draw)
    meter.update(logits, y, torch.arange(7))
    whole = meter.compute()
    for part in (5, 0, 3, 1, 6, 2, 4):
        meter.update(logits[part : part + 1], y[part : part + 1], torch.tensor([part]))
    apart = meter.compute()
    hits = (logits.argmax(2) == y).double().mean(1)
    assert whole["acc"] == pytest.approx(float(hits.mean()))
    assert whole["acc_ci95"] == pytest.approx(1.96 * float(hits.std()) / 7**0.5, rel=1e-6)
    assert whole["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())))
    assert apart == pytest.approx(whole)
    assert torch.equal(meter.last_accuracies.double(), hits.float().double())
