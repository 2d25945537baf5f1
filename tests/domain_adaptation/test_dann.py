import math
from dataclasses import replace

import pytest
import torch
from laboratory import BlobPair, differing, fit, make, network
from torch.nn import functional as F

from tl_lab.domain_adaptation.adversarial import domain_accuracy
from tl_lab.domain_adaptation.base import DomainOutput, Phase, Update
from tl_lab.domain_adaptation.dann import DANN, domain_loss
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.errors import UserError


def outputs(n=6, m=4, d=5):
    draw = torch.Generator().manual_seed(0)
    features = [torch.randn(k, d, generator=draw, requires_grad=True) for k in (n, m)]
    return [DomainOutput(f, None, None, torch.arange(len(f))) for f in features]


def test_domain_loss_is_the_cross_entropy_of_the_papers_equation():
    u, v = torch.randn(6, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    expected = F.binary_cross_entropy_with_logits(u, torch.zeros(6).double())
    expected = expected + F.binary_cross_entropy_with_logits(v, torch.ones(4).double())
    torch.testing.assert_close(domain_loss(u, v), expected)
    torch.testing.assert_close(domain_loss(u, v, "mean"), expected / 2)


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 2 * math.log(2)), ("mean", math.log(2))])
def test_a_discriminator_at_chance_has_loss_2_ln_2(reduction, expected):
    assert domain_loss(torch.zeros(3), torch.zeros(5), reduction).item() == pytest.approx(expected)
    dann = DANN(reduction=reduction)
    dann.build(network())
    assert dann.adapt(*outputs(), Update(0.5)).terms["domain_loss"].item() == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("lambda_max", [0.0, 0.3, 1.0])
def test_features_get_minus_lambda_times_the_discriminators_gradient(lambda_max):
    progress, weight = 0.25, 0.7
    dann = DANN(weight=weight, lambda_max=lambda_max)
    dann.build(network())
    source, target = outputs()
    result = dann.adapt(source, target, Update(progress))
    got = torch.autograd.grad(result.terms["domain_loss"], [source.features, *dann.parameters()])
    logits = [dann.discriminator(o.features).squeeze(1) for o in (source, target)]
    plain = torch.autograd.grad(weight * domain_loss(*logits), [source.features, *dann.parameters()])
    strength = lambda_max * (2 / (1 + math.exp(-10 * progress)) - 1)
    torch.testing.assert_close(got[0], -strength * plain[0])
    for ours, reference in zip(got[1:], plain[1:], strict=True):
        torch.testing.assert_close(ours, reference)  # the discriminator learns at full weight
    assert result.logs["lambda"] == pytest.approx(strength)


def test_lambda_on_the_loss_also_scales_the_discriminators_gradient():
    progress, weight, lambda_max = 0.25, 0.7, 0.3
    dann = DANN(weight=weight, lambda_max=lambda_max, lambda_on="loss")
    dann.build(network())
    source, target = outputs()
    result = dann.adapt(source, target, Update(progress))
    got = torch.autograd.grad(result.terms["domain_loss"], [source.features, *dann.parameters()])
    logits = [dann.discriminator(o.features).squeeze(1) for o in (source, target)]
    plain = torch.autograd.grad(weight * domain_loss(*logits), [source.features, *dann.parameters()])
    strength = lambda_max * (2 / (1 + math.exp(-10 * progress)) - 1)
    torch.testing.assert_close(got[0], -strength * plain[0])
    for ours, reference in zip(got[1:], plain[1:], strict=True):
        torch.testing.assert_close(ours, strength * reference)
    assert dann.facts()["lambda"] == "on the loss, also for the discriminator"


@pytest.mark.parametrize(("p", "expected"), [(0.1, 0.4621), (0.25, 0.8483), (0.5, 0.9866)])
def test_lambda_rises_over_the_run_or_over_a_number_of_updates(p, expected):
    over_the_run, over_200, constant = DANN(), DANN(progress=200), DANN(gamma=None, lambda_max=0.4)
    for dann in (over_the_run, over_200, constant):
        dann.build(network())

    def strength(dann, progress, number):
        return dann.adapt(*outputs(), Update(progress, number)).logs["lambda"]

    assert strength(over_the_run, p, 3) == pytest.approx(expected, abs=5e-5)
    assert strength(over_200, 0.01, round(200 * p)) == pytest.approx(expected, abs=5e-5)
    assert strength(over_200, 0.01, 5000) == strength(over_the_run, 1.0, 0)  # p stays at 1
    assert strength(constant, p, 3) == strength(constant, 0.0, 0) == 0.4
    assert over_200.facts()["lambda's progress"] == "over 200 updates"


def test_the_discriminator_has_the_configured_width_and_depth():
    dann = DANN(hidden=(64, 32), dropout=0.5)
    dann.build(network(num_features=5))
    shapes = [tuple(p.shape) for p in dann.discriminator.parameters() if p.dim() == 2]
    assert shapes == [(64, 5), (32, 64), (1, 32)]
    assert sum(isinstance(module, torch.nn.Dropout) for module in dann.discriminator) == 3


def _gradients(adaptation, progress):
    """Gradients of backbone and head for one batch of a pair."""
    data, model = make(data=BlobPair(batch_size=20), adaptation=adaptation)
    data.request = replace(data.request, adapts=True)
    batch = next(iter(data.train_dataloader()))
    target = batch.target if adaptation.trains_on_target else None
    model.train()
    model.objective(batch.source, target, Update(progress), Phase()).backward()
    return [p.grad.clone() for p in model.network.parameters()]


@pytest.mark.parametrize("batch_norm", ["separate", "domain_specific"])
@pytest.mark.parametrize("lambda_on", ["features", "loss"])
def test_lambda_zero_does_not_change_the_networks_gradients(batch_norm, lambda_on):
    alone = _gradients(NoAdaptation(), 0.5)
    silent = _gradients(DANN(lambda_max=0.0, batch_norm=batch_norm, lambda_on=lambda_on), 0.5)
    assert all(torch.equal(a, b) for a, b in zip(alone, silent, strict=True))
    heard = _gradients(DANN(lambda_max=1.0, batch_norm=batch_norm, lambda_on=lambda_on), 0.5)
    assert not all(torch.equal(a, b) for a, b in zip(alone, heard, strict=True))


def test_with_joint_statistics_lambda_zero_changes_the_gradients():
    # batch-norm sees the target: the source's features are others, whatever lambda is
    alone, joint = _gradients(NoAdaptation(), 0.5), _gradients(DANN(lambda_max=0.0, batch_norm="joint"), 0.5)
    assert not torch.allclose(alone[0], joint[0], rtol=1e-2)


def _trained(adaptation):
    """Parameters of backbone and head after two epochs; buffers are not compared: each domain may have its own."""
    data, model = make(data=BlobPair(batch_size=20), adaptation=adaptation)
    fit(data, model, epochs=2)
    return {name: p.detach().clone() for name, p in model.network.named_parameters()}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_with_lambda_zero_equals_training_without_adaptation(dropout):
    # dropout is the discriminator's
    alone = _trained(NoAdaptation())
    silent = _trained(DANN(lambda_max=0.0, batch_norm="separate", dropout=dropout))
    assert differing(alone, silent) == set()
    weights = {name for name in alone if name.endswith("weight")}  # batch-norm takes a bias before it out
    assert differing(alone, _trained(DANN(lambda_max=0.1, batch_norm="separate", dropout=dropout))) >= weights
    assert differing(alone, _trained(DANN(lambda_max=0.0, batch_norm="joint", dropout=dropout))) >= weights


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("batch_norm", ["separate", "joint"])
def test_without_batch_norm_lambda_zero_equals_no_adaptation_for_any_choice(batch_norm):
    trained = []
    for adaptation in (NoAdaptation(), DANN(lambda_max=0.0, batch_norm=batch_norm)):
        data, model = make(data=BlobPair(batch_size=20), adaptation=adaptation)
        for layer in (model.network.backbone.conv1, model.network.backbone.conv2):
            layer[1] = torch.nn.Identity()
        fit(data, model, epochs=2)
        trained.append({name: p.detach().clone() for name, p in model.network.named_parameters()})
    alone, silent = trained
    if batch_norm == "separate":
        assert differing(alone, silent) == set()
    for name, value in alone.items():  # joint: one product over both domains may round otherwise
        torch.testing.assert_close(silent[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"weight": -1.0},
        {"lambda_max": -0.1},
        {"reduction": "max"},
        {"batch_norm": "none"},
        {"gamma": 0.0},
        {"hidden": (0,)},
        {"dropout": 1.0},
        {"lambda_on": "discriminator"},
        {"progress": "epoch"},
        {"progress": 0},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(UserError, match=rf"domain_adaptation\.{next(iter(options))}"):
        DANN(**options)


def test_domain_specific_statistics_are_those_of_each_domain_alone():
    data, model = make(data=BlobPair(batch_size=20), adaptation=DANN(batch_norm="domain_specific"))
    _, twin = make(data=BlobPair(batch_size=20))
    data.request = replace(data.request, adapts=True)
    norm, reference = model.network.backbone.conv1[1], twin.network.backbone.conv1[1]
    batch = next(iter(data.train_dataloader()))
    model.train()
    model.objective(batch.source, batch.target, Update(0.5), Phase())
    twin.train()
    for domain, x in (("source", batch.source.x), ("target", batch.target.x)):
        reference.reset_running_stats()
        twin.network.features(x)
        model.network.use(domain)
        torch.testing.assert_close(norm.running_mean, reference.running_mean)
        torch.testing.assert_close(norm.running_var, reference.running_var)
    assert not torch.allclose(norm.source_running_mean, norm.target_running_mean)


def test_domain_specific_statistics_are_saved_for_either_active_domain():
    _, model = make(data=BlobPair(batch_size=20), adaptation=DANN(batch_norm="domain_specific"))
    norm = model.network.backbone.conv1[1]
    norm.source_running_mean.fill_(1.0)
    norm.target_running_mean.fill_(2.0)
    model.network.use("target")
    _, other = make(data=BlobPair(batch_size=20), adaptation=DANN(batch_norm="domain_specific"))
    other.load_state_dict(model.state_dict())
    loaded = other.network.backbone.conv1[1]
    for domain, value in (("source", 1.0), ("target", 2.0)):
        other.network.use(domain)
        assert loaded.running_mean.unique().tolist() == [value]


def test_the_domain_accuracy_is_the_mean_of_both_domains():
    source, target = torch.tensor([-1.0, -2.0, 3.0, 0.0]), torch.tensor([1.0, -1.0, -2.0, -3.0])
    marks = domain_accuracy(source, target)  # 2 of 4 and 1 of 4 are right; a logit of 0 is no decision
    assert marks.float().mean().item() == (2 / 4 + 1 / 4) / 2
    assert domain_accuracy(target, source).float().mean().item() == (3 / 4 + 1 / 4) / 2
    assert domain_accuracy(source, target[:2]).item() == (2 / 4 + 1 / 2) / 2
