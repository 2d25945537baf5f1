"""MDD: both terms at known logits, the growth of the reversal, and the trained parts."""

import functools

import numpy as np
import pytest
import torch
from laboratory import BlobPair, fit, make, network
from torch.nn import functional as F

from tl_lab.domain_adaptation.base import DomainOutput, Update
from tl_lab.domain_adaptation.mdd import MDD, disagreement, margin_disparity
from tl_lab.errors import UserError

LOGITS = np.array([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]])


def test_the_targets_term_is_minus_log_of_one_minus_the_probability():
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    expected = -np.log(1 - p[[0, 1], [0, 1]]).mean()
    got = disagreement(torch.tensor(LOGITS), torch.tensor([0, 1]))
    assert float(got) == pytest.approx(expected, rel=1e-12)


def test_it_is_finite_where_the_naive_form_is_not():
    logits = torch.tensor([[80.0, 0.0, -80.0]], requires_grad=True)
    assert torch.isinf(-(1 - logits.softmax(1)[0, 0]).log())
    value = disagreement(logits, torch.tensor([0]))
    value.backward()
    assert float(value.detach()) == pytest.approx(80, rel=1e-6)  # log(e^80 / (e^0 + e^-80))
    assert logits.grad.tolist()[0] == pytest.approx([1, -1, 0], abs=1e-6)


def test_the_objective_is_the_margin_times_agreement_plus_disagreement():
    source, target = torch.tensor(LOGITS), torch.tensor(LOGITS[::-1].copy())
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    agree = -np.log(p[[0, 1], [2, 1]]).mean()
    differ = -np.log(1 - p[[1, 0], [1, 2]]).mean()
    got = margin_disparity(source, torch.tensor([2, 1]), target, torch.tensor([1, 2]), margin=3.0)
    assert float(got) == pytest.approx(3 * agree + differ, rel=1e-12)


def test_the_encoder_gets_minus_lambda_times_the_adversarys_gradient():
    torch.manual_seed(0)
    method = MDD(weight=0.7, margin=2.0, lambda_max=0.1)
    method.build(network())
    draw = torch.Generator().manual_seed(1)
    x, t = (torch.randn(n, 5, generator=draw).requires_grad_() for n in (4, 3))
    outputs = torch.randn(4, 3, generator=draw), torch.randn(3, 3, generator=draw)
    for progress in (0.0, 0.1, 0.5):
        found = method.adapt(DomainOutput(x, outputs[0]), DomainOutput(t, outputs[1]), Update(progress))
        got = torch.autograd.grad(found.terms["mdd_loss"], [x, t, *method.adversarial_head.parameters()])
        plain = 0.7 * margin_disparity(
            method.adversarial_head(x), outputs[0].argmax(1), method.adversarial_head(t), outputs[1].argmax(1), 2.0
        )
        expected = torch.autograd.grad(plain, [x, t, *method.adversarial_head.parameters()])
        strength = 0.1 * (2 / (1 + np.exp(-10 * progress)) - 1)
        assert float(found.logs["lambda"]) == pytest.approx(strength, rel=1e-9)
        for own, other in zip(got[:2], expected[:2], strict=True):
            torch.testing.assert_close(own, -strength * other)
        for own, other in zip(got[2:], expected[2:], strict=True):
            torch.testing.assert_close(own, other)


def test_compared_predictions_get_no_gradient():
    torch.manual_seed(0)
    method = MDD()
    method.build(network())
    logits = torch.randn(4, 3, requires_grad=True)
    found = method.adapt(DomainOutput(torch.randn(4, 5), logits), DomainOutput(torch.randn(4, 5), logits), Update(0.5))
    assert torch.autograd.grad(found.terms["mdd_loss"], logits, allow_unused=True) == (None,)


def test_with_lambda_0_the_network_is_that_of_source_only():
    runs = []
    for method in (MDD(lambda_max=0.0), None):
        data, model = make(data=BlobPair(batch_size=20), adaptation=method)
        fit(data, model, epochs=2)
        runs.append(dict(model.network.named_parameters()))
    for name, parameter in runs[1].items():
        assert torch.equal(runs[0][name], parameter), name


def test_the_adversary_may_have_other_widths():
    method = MDD(hidden=[7])
    method.build(network())
    assert [tuple(p.shape) for p in method.adversarial_head.parameters()] == [(7, 5), (7,), (3, 7), (3,)]


def test_it_trains_and_the_adversary_agrees_with_the_head_on_the_source():
    slow = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9)
    data, model = make(data=BlobPair(batch_size=20), adaptation=MDD(), optimizer=slow)
    trainer = fit(data, model, epochs=60)
    trainer.test(model, datamodule=data, verbose=False)
    assert model.last_test["test/source/acc"] > 0.9
    model.eval()
    with torch.no_grad():
        features = model.network.features(data.sets["source/test"].x)
        of_head, of_adversary = model.network.head(features), model.adaptation.adversarial_head(features)
    assert float((of_head.argmax(1) == of_adversary.argmax(1)).float().mean()) > 0.9
    assert torch.isfinite(F.cross_entropy(of_adversary, of_head.argmax(1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0.0}, "margin"),
        ({"weight": -1.0}, "weight"),
        ({"lambda_max": -0.1}, "lambda_max"),
        ({"hidden": [0]}, "hidden"),
        ({"batch_norm": "both"}, "batch_norm"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        MDD(**options)
