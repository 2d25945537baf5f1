"""Adaptive feature norm: values and gradients of both forms."""

import numpy as np
import pytest
import torch
from laboratory import BlobPair, fit, make

from tl_lab.domain_adaptation.afn import AFN, hard_norm, stepwise_norm
from tl_lab.domain_adaptation.base import DomainOutput, Update
from tl_lab.errors import UserError

FEATURES = np.array([[3.0, 4.0], [6.0, 8.0], [0.0, 2.0]])  # norms 5, 10, 2


def test_the_stepwise_loss_increases_each_norm_by_a_step():
    x = torch.tensor(FEATURES, requires_grad=True)
    value = stepwise_norm(x, 0.3)
    value.backward()
    assert float(value.detach()) == pytest.approx(0.09, rel=1e-12)
    # d/df of (|f| - c)^2 / B at c = |f| + step: -2 step f / (B |f|); without the detachment it would vanish
    norms = np.linalg.norm(FEATURES, axis=1, keepdims=True)
    np.testing.assert_allclose(x.grad.numpy(), -2 * 0.3 * FEATURES / (3 * norms), rtol=1e-12)


def test_the_hard_loss_pulls_the_mean_norm_to_a_radius():
    x = torch.tensor(FEATURES, requires_grad=True)
    value = hard_norm(x, 7.0)
    value.backward()
    mean = 17 / 3
    assert float(value.detach()) == pytest.approx((mean - 7) ** 2, rel=1e-12)
    norms = np.linalg.norm(FEATURES, axis=1, keepdims=True)
    np.testing.assert_allclose(x.grad.numpy(), 2 * (mean - 7) * FEATURES / (3 * norms), rtol=1e-12)


def test_losses_of_both_domains_and_the_entropy_are_added():
    source, target = torch.tensor(FEATURES), torch.tensor(2 * FEATURES)
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]], dtype=torch.double)
    p = logits.softmax(1).numpy()
    entropy = -(p * np.log(p)).sum(1).mean()
    method = AFN(weight=0.05, kind="hard", radius=25.0, entropy_weight=0.1)
    found = method.adapt(DomainOutput(source), DomainOutput(target, logits), Update(0.0))
    assert float(found.terms["norm_loss"]) == pytest.approx(0.05 * ((17 / 3 - 25) ** 2 + (34 / 3 - 25) ** 2), rel=1e-12)
    assert float(found.terms["entropy_loss"]) == pytest.approx(0.1 * entropy, rel=1e-9)
    assert float(found.logs["source_norm"]) == pytest.approx(17 / 3)
    assert float(found.logs["target_norm"]) == pytest.approx(34 / 3)
    assert "entropy_loss" not in AFN().adapt(DomainOutput(source), DomainOutput(target, logits), Update(0.0)).terms


def test_with_weight_0_the_weights_are_those_of_source_only():
    runs = []
    for method in (AFN(weight=0.0), None):
        data, model = make(data=BlobPair(batch_size=20), adaptation=method)
        fit(data, model, epochs=2)
        runs.append(dict(model.network.named_parameters()))
    for name, parameter in runs[1].items():
        assert torch.equal(runs[0][name], parameter), name


@pytest.mark.parametrize("kind", ["stepwise", "hard"])
def test_norms_grow_in_training(kind):
    norms = []
    for weight in (0.0, 0.05):
        data, model = make(data=BlobPair(batch_size=20), adaptation=AFN(weight=weight, kind=kind))
        trainer = fit(data, model, epochs=8)
        trainer.test(model, datamodule=data, verbose=False)
        model.eval()
        with torch.no_grad():
            norms.append(float(model.network.features(data.sets["target/train"].x).norm(dim=1).mean()))
        assert model.last_test["test/source/acc"] > 0.9
    assert norms[1] > 1.2 * norms[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "soft"}, "kind"),
        ({"step": 0.0}, "step"),
        ({"radius": -1.0}, "radius"),
        ({"weight": -1.0}, "weight"),
        ({"entropy_weight": -1.0}, "entropy_weight"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        AFN(**options)
