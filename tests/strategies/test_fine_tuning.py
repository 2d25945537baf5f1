import functools

import numpy as np
import pytest
import torch
from laboratory import Blobs, fit, make, state
from sklearn.linear_model import LogisticRegression

from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.strategies.fine_tuning import FineTuning
from tl_lab.strategies.linear_probe import fit_linear_probe

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("classes", [2, 4])
def test_the_folded_probe_equals_scikit_learn_on_standardised_features(classes):
    rng = np.random.default_rng(0)
    y = np.arange(200) % classes
    f = rng.normal(size=(200, 5)) * [1, 10, 0.1, 3, 1] + np.eye(5)[y] * 2 + [0, 100, 0, -5, 0]
    mu, sigma = f.mean(0), f.std(0)
    reference = LogisticRegression(C=1.0, max_iter=1000).fit((f - mu) / sigma, y)
    features, labels = torch.from_numpy(f), torch.from_numpy(y)
    weights, offsets, acc = fit_linear_probe(features, labels, features, labels, (1.0,))
    ours = (features @ weights.T + offsets).softmax(1).numpy()
    np.testing.assert_allclose(ours, reference.predict_proba((f - mu) / sigma), atol=1e-6)
    assert acc == pytest.approx(reference.score((f - mu) / sigma, y))


def test_fine_tuning_starts_from_the_probes_logits():
    data, model = make(
        strategy=FineTuning, linear_probe={"enabled": True, "inverse_penalty": [1.0]}, layers=LayerPolicy("none")
    )
    # a rate too small to move anything shows the head as the probe left it
    model.make_optimizer = functools.partial(torch.optim.SGD, lr=1e-30)
    trainer = fit(data, model, epochs=1)
    assert float(trainer.callback_metrics["val/acc"]) == pytest.approx(model.probe_score)
    assert model.probe_score > 0.9


def test_a_probe_needs_a_linear_head():
    with pytest.raises(UserError, match=r"strategy\.linear_probe"):
        make(strategy=FineTuning, linear_probe={"enabled": True, "inverse_penalty": [1.0]}, head={"hidden": [4]})


def test_l2_sp_has_its_value_and_gradient():
    _, model = make(strategy=FineTuning, l2_sp={"alpha": 0.1, "beta": 0.01})
    head = sum(p.detach().square().sum() for p in model.network.head.parameters())
    assert model.penalties()["l2_sp"].item() == pytest.approx(0.005 * head.item(), rel=1e-6)
    weight = model.network.backbone.conv1[0].weight
    with torch.no_grad():
        weight += 2.0
    expected = 0.05 * 4.0 * weight.numel() + 0.005 * head.item()
    assert model.penalties()["l2_sp"].item() == pytest.approx(expected, rel=1e-5)
    (gradient,) = torch.autograd.grad(model.penalties()["l2_sp"], weight)
    torch.testing.assert_close(gradient, torch.full_like(weight, 0.1 * 2.0))


def test_l2_sp_disables_weight_decay_on_its_parameters():
    sgd = functools.partial(torch.optim.SGD, lr=0.1, weight_decay=0.5)
    _, model = make(strategy=FineTuning, l2_sp={"alpha": 0.1}, optimizer=sgd)
    decay = {group["name"]: group["weight_decay"] for group in model.configure_optimizers().param_groups}
    assert decay == {"backbone/conv1": 0.0, "backbone/conv2": 0.0, "backbone/out": 0.0, "head": 0.5}


def test_a_strong_pull_keeps_the_backbone_at_its_start():
    moved = []
    for alpha in (0.0, 10.0):
        data, model = make(
            data=Blobs(batch_size=20), strategy=FineTuning, l2_sp={"alpha": alpha}, layers=LayerPolicy(backbone_lr=1.0)
        )
        start = state(model.network.backbone)
        fit(data, model, epochs=4)
        now = dict(model.network.backbone.named_parameters())
        moved.append(sum((p - start[n]).square().sum().item() for n, p in now.items()))
    assert moved[1] < 0.1 * moved[0]


def test_negative_penalties_are_refused():
    with pytest.raises(UserError, match=r"strategy\.l2_sp"):
        make(strategy=FineTuning, l2_sp={"alpha": -1.0})
