"""MCD: the discrepancy's value, and the three kinds of update with the parts they change."""

import numpy as np
import pytest
import torch
from laboratory import BlobPair, differing, fit, make, network, state

from tl_lab.domain_adaptation.base import DomainOutput, Update
from tl_lab.domain_adaptation.mcd import MCD, discrepancy
from tl_lab.errors import UserError


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def outputs(method, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x, t = torch.randn(6, 5, generator=draw), torch.randn(4, 5, generator=draw)
    logits = torch.randn(4, 3, generator=draw)
    return DomainOutput(x, torch.zeros(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])), DomainOutput(t, logits)


def built(**options):
    torch.manual_seed(3)
    method = MCD(**options)
    method.build(network())
    return method


def test_the_discrepancy_is_the_mean_absolute_difference():
    p, q = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]), torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
    assert float(discrepancy(p, q)) == pytest.approx((0.2 + 0.1 + 0.1 + 0 + 0.5 + 0.5) / 6)
    assert float(discrepancy(p, p)) == 0
    assert float(discrepancy(torch.eye(2), 1 - torch.eye(2))) == 1  # the largest value, 2 / C


def test_each_phase_has_its_objective():
    method = built(weight=0.3)
    source, target = outputs(method)
    w, b = (part.detach().numpy() for part in method.second_head[0].parameters())
    of_source = softmax(source.features.numpy() @ w.T + b)
    task = -np.log(of_source[np.arange(6), source.y.numpy()]).mean()
    gap = np.abs(softmax(target.logits.numpy()) - softmax(target.features.numpy() @ w.T + b)).mean()
    found = {phase: method.adapt(source, target, Update(0.5, phase=phase)) for phase in ("classify", "part", "gather")}
    terms = {phase: {name: float(term.detach()) for name, term in each.terms.items()} for phase, each in found.items()}
    assert terms["classify"] == pytest.approx({"second_task_loss": task}, rel=1e-5)
    assert terms["part"] == pytest.approx({"second_task_loss": task, "parting_loss": -0.3 * gap}, rel=1e-5)
    assert terms["gather"] == pytest.approx({"gathering_loss": 0.3 * gap}, rel=1e-5)
    assert float(found["gather"].logs["discrepancy"]) == pytest.approx(gap, rel=1e-5)


def test_the_order_of_updates_is_that_of_the_paper():
    phases = MCD(generator_steps=3).phases(0.0)
    assert [phase.name for phase in phases] == ["classify", "part", "gather", "gather", "gather"]
    assert [phase.task for phase in phases] == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("phase", "moved"),
    [
        ("classify", {"network.backbone", "network.bottleneck", "network.head", "adaptation.second_head"}),
        ("part", {"network.head", "adaptation.second_head"}),
        ("gather", {"network.backbone", "network.bottleneck"}),
    ],
)
def test_a_phase_changes_only_its_parts(phase, moved):
    method = MCD(generator_steps=1)
    kept = [each for each in method.phases(0.0) if each.name == phase]
    method.phases = lambda progress: tuple(kept)
    data, model = make(data=BlobPair(batch_size=20), adaptation=method, bottleneck=4)
    before = state(model)
    fit(data, model, epochs=1)
    learned = {name for name, _ in model.named_parameters()}
    changed = differing(before, state(model)) & learned
    assert {".".join(name.split(".")[:2]) for name in changed} == moved


def test_the_classifiers_start_from_different_weights():
    _, model = make(data=BlobPair(batch_size=20), adaptation=MCD())
    assert not torch.equal(model.adaptation.second_head[0].weight, model.network.head[0].weight)


def test_it_trains_and_the_first_classifier_predicts():
    data, model = make(data=BlobPair(batch_size=20), adaptation=MCD(generator_steps=2))
    trainer = fit(data, model, epochs=15)
    trainer.test(model, datamodule=data, verbose=False)
    assert model.last_test["test/source/acc"] > 0.9
    x = data.sets["target/test"].x
    model.eval()
    model.network.use("target")
    with torch.no_grad():
        assert torch.equal(model(x), model.network.head(model.network.features(x)))


@pytest.mark.parametrize(
    ("options", "message"), [({"generator_steps": 0}, "generator_steps"), ({"weight": -1.0}, "weight")]
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        MCD(**options)
