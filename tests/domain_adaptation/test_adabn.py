import json

import pytest
import pytorch_lightning as pl
import torch
from laboratory import BlobPair, TinyNet, differing, fit, make, network, state
from torch import nn

from tl_lab.cli.train import main
from tl_lab.data.sets.printed_to_handwritten import PrintedToHandwritten
from tl_lab.domain_adaptation.adabn import AdaBN, adapt_statistics
from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.model.network import Network
from tl_lab.run.inference import load
from tl_lab.strategies.feature_extraction import FeatureExtraction

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def pair(adaptation=None, **options):
    return make(data=BlobPair(batch_size=20, **options), adaptation=adaptation or AdaBN())


def norms(network):
    return [network.backbone.conv1[1], network.backbone.conv2[1]]


def by_hand(backbone, x):
    """Both layers' statistics of ``x``, each behind layers that normalise by theirs, in plain arithmetic."""
    found = []
    for convolution, norm, activation in (backbone.conv1, backbone.conv2):
        x = convolution(x)
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        found.append((mean.flatten(), variance.flatten()))
        scale, shift = norm.weight.view(1, -1, 1, 1), norm.bias.view(1, -1, 1, 1)
        x = activation(scale * (x - mean) / (variance + norm.eps).sqrt() + shift)
    return found, backbone.out(x)


def test_statistics_equal_those_of_each_layers_inputs():
    data, model = pair(eval_batch_size=7)
    fit(data, model, epochs=1)
    x = data.sets["target/train"].x
    model.eval()
    with torch.no_grad():
        expected, features = by_hand(model.network.backbone, x)
    for norm, (mean, variance) in zip(norms(model.network), expected, strict=True):
        torch.testing.assert_close(norm.target_running_mean, mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm.target_running_var, variance, rtol=1e-5, atol=1e-6)
    model.network.use("target")
    with torch.no_grad():
        torch.testing.assert_close(model.network.features(x), features, rtol=1e-4, atol=1e-5)


def test_one_pass_equals_layer_by_layer_for_a_single_batch():
    _, model = pair()
    x = torch.rand(40, 1, 6, 6)
    model.network.use("target")
    found = []
    for exact, batches in ((True, [x]), (False, [x]), (False, x.split(8)), (True, x.split(8))):
        adapt_statistics(model.network, lambda batches=batches: batches, exact)
        found.append([norm.running_var.clone() for norm in norms(model.network)])
    exactly, at_once, batchwise, exactly_batchwise = found
    torch.testing.assert_close(at_once, exactly)
    torch.testing.assert_close(exactly_batchwise, exactly)
    torch.testing.assert_close(batchwise[0], exactly[0])  # nothing is normalised before the first layer
    assert not torch.allclose(batchwise[1], exactly[1], rtol=1e-5)
    torch.testing.assert_close(batchwise[1], exactly[1], rtol=0.5, atol=0)
    assert all(norm.num_batches_tracked == 0 for norm in norms(model.network))


class Turned(TinyNet):
    """Uses its layers in another order than that in which they were registered."""

    def forward(self, x):
        return self.out(self.conv1(self.conv2(x.expand(-1, 4, -1, -1))[:, :1]))


def test_layers_are_measured_in_the_order_of_their_use():
    net = Network(Turned(), 3)
    net.separate_statistics()
    net.use("target")
    x = torch.rand(30, 1, 6, 6)
    adapt_statistics(net, lambda: x.split(10))
    net.eval()
    with torch.no_grad():
        reaching = net.backbone.conv1[0](net.backbone.conv2(x.expand(-1, 4, -1, -1))[:, :1])
    torch.testing.assert_close(net.backbone.conv1[1].running_mean, reaching.mean((0, 2, 3)))
    torch.testing.assert_close(net.backbone.conv1[1].running_var, reaching.var((0, 2, 3), correction=0))


def test_the_source_keeps_its_weights_and_statistics():
    data, model = pair()
    plain_data, plain = make(data=BlobPair(batch_size=20))
    fit(data, model, epochs=2)
    fit(plain_data, plain, epochs=2)
    model.network.use("source")
    for ours, theirs in zip(norms(model.network), norms(plain.network), strict=True):
        assert torch.equal(ours.running_mean, theirs.running_mean)
        assert torch.equal(ours.running_var, theirs.running_var)
        assert not torch.allclose(ours.target_running_mean, theirs.running_mean)
    for ours, theirs in zip(model.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_each_domain_is_scored_with_its_own_statistics():
    data, model = pair()
    trainer = fit(data, model, epochs=2)
    trainer.test(model, data, verbose=False)
    expected = {}
    model.eval()
    for domain in ("source", "target"):
        samples = data.sets[f"{domain}/test"]
        model.network.use(domain)
        with torch.no_grad():
            logits = model.network(samples.x)
        expected[domain] = nn.functional.cross_entropy(logits, samples.y).item()
    assert model.last_test["test/source/loss"] == pytest.approx(expected["source"], rel=1e-5)
    assert model.last_test["test/target/loss"] == pytest.approx(expected["target"], rel=1e-5)


@pytest.mark.parametrize("validates", [True, False])
def test_checkpoints_hold_the_targets_statistics_at_their_weights(tmp_path, validates):
    data, model = pair()
    saving = pl.callbacks.ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    fit(data, model, epochs=1, callbacks=[saving], limit_val_batches=None if validates else 0)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    with torch.no_grad():
        expected, _ = by_hand(model.network.backbone.eval(), data.sets["target/train"].x)
    for name, (mean, _) in zip(("conv1", "conv2"), expected, strict=True):
        kept = stored[f"network.backbone.{name}.1.target_running_mean"]
        torch.testing.assert_close(kept, mean, rtol=1e-5, atol=1e-6)


def test_features_computed_once_are_those_of_the_adapted_network():
    results = []
    for cache in (True, False):
        options = {"strategy": FeatureExtraction, "layers": LayerPolicy("none"), "bottleneck": 4, "cache": cache}
        data, model = make(data=BlobPair(batch_size=20), adaptation=AdaBN(), **options)
        fit(data, model, epochs=2)
        results.append((state(model.network), dict(model.last_validation)))
    assert differing(results[0][0], results[1][0]) == set()
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-5)


def test_training_in_double_precision():
    data, model = pair()
    fit(data, model, epochs=1, precision="64-true")
    assert norms(model.network)[0].target_running_mean.dtype == torch.float64


def test_a_network_without_batch_norm_is_refused():
    with pytest.raises(UserError, match="this network has no batch normalisation"):
        AdaBN().build(network())


def test_a_stored_run_predicts_with_the_targets_statistics(tmp_path):
    options = ["trainer.max_epochs=1", "trainer.limit_train_batches=20", "threads=1", "logger=none", "figures=false"]
    sizes = {"source_count": 300, "source_test_count": 50, "target_test_count": 1500}
    options += [f"data.{name}={size}" for name, size in sizes.items()]
    main(["domain_adaptation=adabn", *options, "health=false", f"hydra.run.dir={tmp_path / 'run'}"])
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    data = PrintedToHandwritten(seed=0, **sizes)
    test = data.read()["target/test"]
    model = load(tmp_path / "run")
    predicted = model.predict(test.x)
    right = sum(label == str(int(y)) for label, y in zip(predicted.labels, test.y, strict=True))
    assert metrics["test/target/acc"] == pytest.approx(right / 1500, abs=1e-6)
    model.network.use("source")
    assert not torch.equal(model.predict(test.x).probabilities, predicted.probabilities)
