"""Multi-label and regression data through strategies, adaptations, streams and predictions; one small run each."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from tl_lab.data.scenarios.permuted_stream import PermutedStream
from tl_lab.data.sets.digits_properties import (
    PROPERTIES,
    DigitsProperties,
    PrintedToHandwrittenProperties,
    properties_of,
)
from tl_lab.data.sets.digits_value import DigitsValue, PrintedToHandwrittenValue
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.importance_weighting import ImportanceWeighting
from tl_lab.domain_adaptation.mmd import MMD
from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.problems import MultiLabel, Regression
from tl_lab.strategies.continual.ewc import EWC
from tl_lab.strategies.continual.mas import MAS
from tl_lab.strategies.continual.replay import Replay
from tl_lab.strategies.feature_extraction import FeatureExtraction
from tl_lab.strategies.fine_tuning import FineTuning
from tl_lab.strategies.from_scratch import FromScratch
from tl_lab.strategies.linear_probe import fit_label_probe, fit_value_probe

SETS = {"properties": DigitsProperties, "value": DigitsValue}
PAIRS = {"properties": PrintedToHandwrittenProperties, "value": PrintedToHandwrittenValue}
SMALL = {"source_count": 300, "source_test_count": 100, "batch_size": 30, "batches_per_epoch": 4}


@pytest.fixture(params=["properties", "value"])
def kind(request) -> str:
    """Which labels the digits have."""
    return request.param


def trained(strategy, data, epochs=1, **options):
    """Train on digits of 6 x 6 pixels, test, and give trainer, data and model."""
    from laboratory import fit, make

    data, model = make(strategy, data, **options)
    trainer = fit(data, model, epochs)
    trainer.test(model, datamodule=data, verbose=False)
    return trainer, data, model


def test_properties_of_digits_are_right():
    expected = {
        "even": [d % 2 == 0 for d in range(10)],
        "prime": [d > 1 and all(d % k for k in range(2, d)) for d in range(10)],
        "above 4": [d > 4 for d in range(10)],
        "has a loop": [d in (0, 6, 8, 9) for d in range(10)],
    }
    assert list(PROPERTIES) == list(expected)
    assert properties_of(torch.arange(10)).T.bool().tolist() == list(expected.values())


@pytest.mark.parametrize("strategy", [FromScratch, FineTuning, FeatureExtraction])
def test_a_strategy_trains_on_it(kind, strategy):
    frozen = LayerPolicy("none") if strategy is FeatureExtraction else None
    _, data, model = trained(strategy, SETS[kind](batch_size=50, labels=400), epochs=2, layers=frozen)
    assert data.problem.name == {"properties": "multi_label", "value": "regression"}[kind]
    assert {name.split("/")[1] for name in model.last_test} == set(data.problem.labelled)
    assert data.monitor in model.last_validation
    assert all(np.isfinite(value) for value in model.last_test.values())


def test_more_training_lowers_the_loss(kind):
    losses = [trained(FromScratch, SETS[kind](batch_size=50), epochs)[2].last_test["test/loss"] for epochs in (1, 6)]
    assert losses[1] < losses[0]


@pytest.mark.parametrize("adaptation", [DANN, MMD, ImportanceWeighting])
def test_a_pair_is_adapted(kind, adaptation):
    _, data, model = trained(FromScratch, PAIRS[kind](**SMALL), adaptation=adaptation())
    assert data.sets["target/train"].y is None
    assert f"test/target/{data.problem.monitor}" in model.last_test
    assert data.monitor == f"val/source/{data.problem.monitor}"


@pytest.mark.parametrize("strategy", [EWC, MAS, Replay])
def test_a_stream_of_them_is_learned(kind, strategy):
    from laboratory import fit, make

    stream = PermutedStream(of=SETS[kind](seed=0), num_tasks=2, batch_size=50, batches_per_epoch=5)
    data, model = make(strategy, stream)
    fit(data, model, 1)
    assert model.accuracy_matrix.isfinite().all()
    assert f"val/{data.problem.monitor}" in model.last_validation
    if strategy is EWC:
        assert float(model.penalty.precision("head.blocks.0.weight").sum()) > 0


def test_tasks_with_outputs_of_their_own_are_refused(kind):
    stream = PermutedStream(of=SETS[kind](seed=0), num_tasks=2, scenario="task")
    with pytest.raises(UserError, match=r"data\.scenario=task requires separate outputs for each task"):
        stream.load()


def test_label_budgets_are_nested_and_have_the_requested_size(kind):
    def images(labels):
        data = SETS[kind](labels=labels)
        data.load()
        return {image.numpy().tobytes() for image in data.sets["train"].x}

    small, large = images(50), images(200)
    assert (len(small), len(large)) == (50, 200)
    assert small < large


def test_a_budget_of_numbers_covers_their_range():
    data = DigitsValue(labels=20)
    data.load()
    assert sorted(data.sets["train"].y[:, 0].unique().tolist()) == list(range(10))


def test_thresholds_follow_the_validation_set_and_the_checkpoint():
    _, data, _ = trained(FromScratch, DigitsProperties(batch_size=50), epochs=2)
    assert isinstance(data.problem, MultiLabel)
    assert data.problem.thresholds.tolist() != [0.5] * 4
    again = DigitsProperties()
    again.load()
    again.problem.load_state(data.problem.state())
    assert again.problem.thresholds.tolist() == data.problem.thresholds.tolist()


def test_predictions_of_numbers_are_in_their_units():
    _, data, model = trained(FromScratch, DigitsValue(batch_size=50), epochs=4)
    model.eval()
    assert isinstance(data.problem, Regression)
    assert data.problem.mean.item() == pytest.approx(data.sets["train"].y.mean().item(), abs=1e-4)
    predicted = data.problem.predict(model(data.sets["test"].x)).values
    assert (predicted - data.sets["test"].y).abs().mean().item() == pytest.approx(model.last_test["test/mae"], rel=1e-3)


def test_a_probe_of_labels_is_scikit_learns_one_by_one():
    draw = torch.Generator().manual_seed(0)
    features, val = torch.randn(80, 5, generator=draw) * 3 + 1, torch.randn(30, 5, generator=draw) * 3 + 1
    y, val_y = ((f @ torch.ones(5, 2) + torch.tensor([0.0, 2.0]) > 5).float() for f in (features, val))
    weights, offsets, score = fit_label_probe(features, y, val, val_y, (1.0,))
    mu, sigma = features.mean(0), features.std(0, unbiased=False)
    for k in range(2):
        by_hand = LogisticRegression(C=1.0, max_iter=1000).fit(((features - mu) / sigma).double().numpy(), y[:, k])
        expected = by_hand.decision_function(((val - mu) / sigma).double().numpy())
        np.testing.assert_allclose((val.double() @ weights.T + offsets)[:, k], expected, atol=1e-6)
    assert score == pytest.approx((((val.double() @ weights.T + offsets) >= 0) == val_y).float().mean().item())


def test_a_probe_of_numbers_is_scikit_learns_ridge():
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(50, 4, generator=draw) * 2 - 1
    y = features @ torch.randn(4, 1, generator=draw) + 0.1 * torch.randn(50, 1, generator=draw)
    weights, offsets, _ = fit_value_probe(features, y, features, y, (0.1, 10.0))
    mu, sigma = features.mean(0), features.std(0, unbiased=False)
    by_hand = Ridge(alpha=0.1).fit(((features - mu) / sigma).double().numpy(), y.double().numpy())
    expected = by_hand.predict(((features - mu) / sigma).double().numpy()).reshape(50, 1)
    np.testing.assert_allclose(features.double() @ weights.T + offsets, expected, atol=1e-6)


def test_a_probed_head_starts_where_the_probe_ended(kind):
    from laboratory import fit, make

    data, model = make(FineTuning, SETS[kind](batch_size=50), linear_probe={"enabled": True, "inverse_penalty": [1.0]})
    trained_from = model.network.head[-1].weight.detach().clone()
    fit(data, model, 1, limit_train_batches=1)
    assert model.probe_score is not None
    assert not torch.equal(model.network.head[-1].weight, trained_from)


def test_thresholds_of_a_stream_are_tuned_on_the_task_that_is_learned():
    from laboratory import fit, make

    stream = PermutedStream(of=DigitsProperties(seed=0), num_tasks=2, batch_size=50, batches_per_epoch=5)
    data, model = make(Replay, stream)
    fit(data, model, 1)
    assert data.problem.thresholds.tolist() != [0.5] * 4
    assert model.last_validation["val/task2/f1_tuned"] >= model.last_validation["val/task2/f1_macro"]
