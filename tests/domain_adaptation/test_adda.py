"""ADDA: its losses, the parts frozen after the switch, and a resume across it."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from laboratory import BlobPair, differing, fit, make, network, state

from tl_lab.domain_adaptation.adda import ADDA
from tl_lab.domain_adaptation.base import DomainOutput, Update
from tl_lab.errors import UserError


class Watched(ADDA):
    """Keeps the network's state at each update."""

    def before_update(self, network, update):
        super().before_update(network, update)
        self.states = [*getattr(self, "states", []), (update.progress, state(network))]


def built(**options):
    torch.manual_seed(0)
    method = ADDA(**options)
    method.build(network())
    return method


def test_the_losses_are_those_of_the_paper():
    method = built(hidden=[4])
    x, t = torch.randn(6, 5), torch.randn(3, 5)
    with torch.no_grad():
        of_source, of_target = (1 / (1 + np.exp(-method.discriminator(z).numpy()[:, 0])) for z in (x, t))
    apart = method.adapt(DomainOutput(x), DomainOutput(t), Update(0.9, phase="discriminator"))
    # label 1 is the target: the discriminator tells them apart, the encoder is taught the inverted label
    expected = -np.log(1 - of_source).mean() - np.log(of_target).mean()
    assert float(apart.terms["domain_loss"].detach()) == pytest.approx(expected, rel=1e-5)
    right = (np.mean(of_source < 0.5) + np.mean(of_target > 0.5)) / 2
    assert float(apart.logs["domain_acc"]) == pytest.approx(right)
    fooled = method.adapt(DomainOutput(x), DomainOutput(t), Update(0.9, phase="encoder"))
    assert float(fooled.terms["encoder_loss"].detach()) == pytest.approx(-np.log(1 - of_target).mean(), rel=1e-5)
    assert method.adapt(DomainOutput(x), DomainOutput(t), Update(0.1, phase="source")).terms == {}


def test_after_pretraining_the_source_is_frozen_and_the_target_encoder_is_its_copy():
    method = Watched(pretrain=0.5, hidden=[8])
    data, model = make(data=BlobPair(batch_size=20), adaptation=method, bottleneck=4, dropout=0.2)
    fit(data, model, epochs=4)
    switch = next(i for i, (progress, _) in enumerate(method.states) if progress >= 0.5)
    assert switch == 6  # of 12 updates
    at_switch, end = method.states[switch][1], state(model.network)
    for name in at_switch:
        if name.startswith("target_encoder."):
            assert torch.equal(at_switch[name], at_switch[name.removeprefix("target_encoder.")]), name
    changed = differing(at_switch, end)
    assert changed
    assert all(name.startswith("target_encoder.") for name in changed)  # batch-norm's statistics included
    learned = {name for name, _ in model.network.named_parameters()}
    # a bias before batch-norm has no effect, and so no gradient
    effective = {name for name in learned if not name.endswith((".conv1.0.bias", ".conv2.0.bias"))}
    assert {name for name in effective if name.startswith("target_encoder.")} <= changed


@pytest.mark.parametrize(
    ("phase", "moved"), [("discriminator", {"adaptation.discriminator"}), ("encoder", {"network.target_encoder"})]
)
def test_a_phase_changes_only_its_parts(phase, moved):
    method = ADDA(hidden=[8])
    kept = tuple(each for each in method.phases(0.9) if each.name == phase)
    method.phases = lambda progress: kept
    method.pretrain = 0.0  # from the first update on
    data, model = make(data=BlobPair(batch_size=20), adaptation=method)
    before = state(model)
    fit(data, model, epochs=1)
    learned = {name for name, _ in model.named_parameters()}
    changed = differing(before, state(model)) & learned
    assert {".".join(name.split(".")[:2]) for name in changed} == moved


def test_before_the_switch_the_target_uses_the_source_encoder():
    data, model = make(data=BlobPair(batch_size=20), adaptation=ADDA(pretrain=0.99, hidden=[8]))
    fit(data, model, epochs=1, limit_train_batches=2)
    model.eval()
    x = data.sets["target/test"].x
    with torch.no_grad():
        seen = {}
        for domain in ("source", "target"):
            model.network.use(domain)
            seen[domain] = model(x)
    assert torch.equal(seen["source"], seen["target"])


def test_a_run_resumed_across_the_switch_gives_identical_weights(tmp_path):
    def parts():
        return make(data=BlobPair(batch_size=20), adaptation=ADDA(pretrain=0.4, hidden=[8]), dropout=0.2)

    def checkpoints(name):
        return [pl.callbacks.ModelCheckpoint(tmp_path / name, filename="{epoch}", save_top_k=-1)]

    data, unbroken = parts()
    fit(data, unbroken, epochs=4, callbacks=checkpoints("a"))
    for epoch in (0, 2):  # before the switch and after it
        data, resumed = parts()
        fit(
            data,
            resumed,
            epochs=4,
            callbacks=checkpoints(f"b{epoch}"),
            ckpt_path=tmp_path / "a" / f"epoch={epoch}.ckpt",
        )
        assert differing(state(unbroken), state(resumed)) == set()
    assert bool(resumed.adaptation.started)


def test_it_trains_and_each_domain_has_its_encoder():
    data, model = make(data=BlobPair(batch_size=20), adaptation=ADDA(hidden=[8]))
    trainer = fit(data, model, epochs=15)
    trainer.test(model, datamodule=data, verbose=False)
    assert model.last_test["test/source/acc"] > 0.9
    model.eval()
    target = data.sets["target/test"]
    model.network.use("target")
    with torch.no_grad():
        own = model.network.target_encoder
        logits = model.network.head(own["bottleneck"](own["backbone"](target.x)))
        assert torch.equal(model(target.x), logits)
    accuracy = float((logits.argmax(1) == target.y).float().mean())
    assert model.last_test["test/target/acc"] == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"pretrain": 1.0}, "pretrain"), ({"dropout": 1.0}, "dropout"), ({"hidden": [0]}, "hidden")],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        ADDA(**options)
