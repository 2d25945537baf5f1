"""Features of whole sets: order, subsets, positions, modes, domains; with a trainer and without."""

import pytest
import torch
from laboratory import BlobPair, Blobs, TinyNet, fit, make

from tl_lab.domain_adaptation.adabn import AdaBN
from tl_lab.domain_adaptation.adda import ADDA
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.model.network import Network
from tl_lab.strategies.feature_extraction import FeatureExtraction
from tl_lab.training.feature_reader import FeatureReader, evaluating

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec")


def without_trainer(**options):
    """A network with batch-norm and dropout, and data in batches of 7, which divide no set."""
    torch.manual_seed(0)
    data = Blobs(batch_size=20, eval_batch_size=7)
    data.load()
    network = Network(TinyNet(dropout=0.5), 3, bottleneck=4)
    data.use(network.backbone.spec)
    return network, data, FeatureReader(network, data, **options)


@torch.no_grad()
def expected(network, x):
    """What the network makes of inputs at once, in evaluation mode, by place."""
    with evaluating(network):
        features = network.backbone(x)
        head = network.bottleneck(features)
        return {"backbone": features, "head": head, "outputs": network.head(head)}


@pytest.mark.parametrize(("place", "width"), [("backbone", 8), ("head", 4), ("outputs", 3)])
def test_a_set_is_read_in_its_order_at_every_place(place, width):
    network, data, reader = without_trainer()
    found = reader.read("test", place)
    assert found.shape == (30, width)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected(network, data.sets["test"].x)[place], rtol=1e-5, atol=1e-6)


def test_a_part_of_a_set_is_read_in_the_order_of_its_index():
    _, _, reader = without_trainer()
    index = torch.tensor([29, 3, 3, 0, 17, 5, 8, 11, 2])
    torch.testing.assert_close(reader.read("test", index=index), reader.read("test")[index], rtol=1e-5, atol=1e-6)
    seen = torch.cat([part.index for part in reader.stream("test", index=index)])
    assert seen.tolist() == list(range(9))


def test_backbone_features_are_in_the_order_of_their_samples():
    network, data, reader = without_trainer()
    found = reader.backbone_features("train")
    assert found.shape == (60, 8)
    torch.testing.assert_close(found, expected(network, data.sets["train"].x)["backbone"], rtol=1e-5, atol=1e-6)
    assert torch.equal(reader.features("train"), found)
    doubled = FeatureReader(network, data, reduce=lambda tensor: 2 * tensor)
    assert torch.equal(doubled.backbone_features("train"), 2 * found)


def test_inputs_are_those_of_the_network_in_the_sets_order():
    _, data, reader = without_trainer()
    assert torch.equal(reader.inputs("val"), data.sets["val"].x)
    assert [len(x) for x in reader.batches("val")] == [6] * 5


def test_outputs_follow_from_the_heads_inputs():
    _, _, reader = without_trainer()
    torch.testing.assert_close(reader.classify(reader.read("test")), reader.read("test", "outputs"))


def test_each_module_returns_to_its_own_mode_also_when_reading_ends_early():
    network, _, reader = without_trainer()
    network.train()
    network.backbone.conv1.eval()
    modes = {name: module.training for name, module in network.named_modules()}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    next(reader.stream("train"))
    assert {name: module.training for name, module in network.named_modules()} == modes
    reader.backbone_features("train")
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_each_domain_is_read_with_its_own_encoder():
    data, model = make(data=BlobPair(batch_size=20), adaptation=ADDA())
    with torch.no_grad():
        for parameter in model.network.target_encoder.parameters():
            parameter.mul_(2)
    reader = FeatureReader(model.network, data)
    for name, backbone in (
        ("source/test", model.network.backbone),
        ("target/test", model.network.target_encoder["backbone"]),
    ):
        with torch.no_grad(), evaluating(backbone):
            wanted = backbone(data.sets[name].x)
        torch.testing.assert_close(reader.read(name, "backbone"), wanted, rtol=1e-5, atol=1e-6)


def test_preparing_a_domain_measures_its_statistics():
    data, model = make(data=BlobPair(batch_size=20), adaptation=AdaBN())
    reader = FeatureReader(model.network, data, adaptation=model.adaptation)
    reader.prepare("target")
    with torch.no_grad():
        wanted = model.network.backbone.conv1[0](data.sets["target/train"].x).mean((0, 2, 3))
    torch.testing.assert_close(model.network.backbone.conv1[1].running_mean, wanted, rtol=1e-5, atol=1e-6)


def test_reading_starts_from_cached_features():
    data, model = make(data=Blobs(batch_size=20), strategy=FeatureExtraction, layers=LayerPolicy("none"), bottleneck=4)
    fit(data, model, epochs=1)
    reader = FeatureReader(model.network, data)
    assert data.has_features("val")
    torch.testing.assert_close(reader.read("val"), reader.read("val", cached=False), rtol=1e-5, atol=1e-6)
    data.keep_features({"val": torch.ones(30, 8)})
    assert torch.equal(reader.read("val", "backbone"), torch.ones(30, 8))
    torch.testing.assert_close(reader.read("val"), model.network.bottleneck(torch.ones(30, 8)).detach())


def test_the_trainers_precision_and_device_are_used():
    data, model = make()
    fit(data, model, epochs=1, precision="bf16-mixed")
    found = model.reader(data).read("test", "backbone")
    assert found.dtype == torch.bfloat16
    assert model.reader(data).backbone_features("test").dtype == torch.float32
    torch.testing.assert_close(
        found.float(), FeatureReader(model.network, data).read("test", "backbone"), rtol=0.05, atol=0.05
    )
