"""The torchvision wrapper: families, weights from files, real images."""

import os
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from tl_lab.backbones.torchvision import Torchvision
from tl_lab.errors import UserError

FEATURES = {
    "alexnet": 256,
    "vgg11": 512,
    "squeezenet1_0": 512,
    "squeezenet1_1": 512,
    "resnet18": 512,
    "resnet50": 2048,
    "densenet121": 1024,
    "mobilenet_v2": 1280,
    "mobilenet_v3_small": 576,
    "mnasnet0_5": 1280,
    "shufflenet_v2_x0_5": 1024,
    "efficientnet_b0": 1280,
    "regnet_y_400mf": 440,
    "convnext_tiny": 768,
    "swin_t": 768,
    "googlenet": 1024,
    "vit_b_32": 768,
}


@pytest.mark.parametrize("name", FEATURES)
def test_model_families_return_pooled_features(name: str) -> None:
    net = Torchvision(name=name, input_size=[64, 64]).eval()
    net.check_layer_groups()
    assert net.spec.size == (64, 64)
    assert net.spec.mean is None
    assert net(torch.rand(2, 3, 64, 64)).shape == (2, net.num_features) == (2, FEATURES[name])
    linear = [path for path, part in net.named_modules() if isinstance(part, nn.Linear) and part.out_features == 1000]
    assert linear == []


def test_groups_are_the_blocks() -> None:
    def groups(name: str) -> list[str]:
        return [name for name, _ in Torchvision(name=name, input_size=[64, 64]).layer_groups()]

    fires = (3, 4, 5, 7, 8, 9, 10, 12)
    assert groups("squeezenet1_0") == ["stem", *(f"features.{n}" for n in fires)]
    assert groups("resnet18") == ["stem", "layer1", "layer2", "layer3", "layer4"]
    assert groups("vgg11_bn") == [f"stage{n}" for n in range(1, 6)]
    assert groups("densenet121") == ["stem", *(f"features.denseblock{n}" for n in range(1, 5))]
    assert groups("vit_b_32") == ["stem", *(f"encoder.layers.encoder_layer_{n}" for n in range(12))]


def test_a_size_the_architecture_refuses_falls_back_to_its_own() -> None:
    assert Torchvision(name="vit_b_32", input_size=[28, 28]).spec.size == (224, 224)
    with pytest.raises(UserError, match=r"cannot be built \(at 3x3: .*backbone\.resize_to"):
        Torchvision(resize_to=[3, 3])


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5"])
def test_penultimate_layer_of_the_full_model(name: str, tmp_path: Path) -> None:
    full = torchvision.models.get_model(name, weights=None, num_classes=7).eval()
    torch.save(full.state_dict(), tmp_path / "w.pth")
    net = Torchvision(name=name, weights=str(tmp_path / "w.pth"), resize_to=[64, 64]).eval()
    x = torch.rand(2, 3, 64, 64)
    head = full.fc if hasattr(full, "fc") else full.classifier
    torch.testing.assert_close(head(net(x)), full(x))
    assert net.spec.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "efficientnet_b0", "swin_t", "vit_b_32"])
def test_the_classifier_of_the_weights_reproduces_the_full_models_logits(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    size = 224 if name == "vit_b_32" else 64
    full = torchvision.models.get_model(name, weights=None).eval()
    torch.save(full.state_dict(), tmp_path / "w.pth")
    net = Torchvision(name=name, weights=str(tmp_path / "w.pth"), resize_to=[size, size]).eval()
    known, x = net.classifier(), torch.rand(2, 3, size, size)
    assert known is not None
    torch.testing.assert_close(net(x) @ known.weight.T + known.bias, full(x))
    assert known.names[0] == ("tench", "Tinca tinca")
    assert Torchvision(name=name, input_size=[size, size]).classifier() is None


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_1", "mobilenet_v3_small", "resnet18 of 7 classes"])
def test_no_classifier_where_the_features_do_not_determine_the_logits(name: str, tmp_path: Path) -> None:
    name, _, classes = name.partition(" of ")
    full = torchvision.models.get_model(name, weights=None, **({"num_classes": 7} if classes else {}))
    torch.save(full.state_dict(), tmp_path / "w.pth")
    assert Torchvision(name=name, weights=str(tmp_path / "w.pth"), resize_to=[64, 64]).classifier() is None


def test_a_vit_trained_at_another_size_has_its_positions_interpolated(tmp_path: Path) -> None:
    full = torchvision.models.vit_b_32(weights=None, image_size=96)
    torch.save(full.state_dict(), tmp_path / "w.pth")
    net = Torchvision(name="vit_b_32", weights=str(tmp_path / "w.pth"), resize_to=[64, 64])
    assert net.net.encoder.pos_embedding.shape == (1, 5, 768)
    assert torch.equal(net.net.encoder.ln.weight, full.encoder.ln.weight)


def test_old_names_of_densenet_files_are_understood(tmp_path: Path) -> None:
    full = torchvision.models.densenet121(weights=None)
    old = {
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in name else name: tensor
        for name, tensor in full.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(old, tmp_path / "w.pth")
    net = Torchvision(name="densenet121", weights=str(tmp_path / "w.pth"))
    assert torch.equal(
        net.net.features.denseblock1.denselayer1.conv2.weight, full.features.denseblock1.denselayer1.conv2.weight
    )


def test_own_state_can_be_given_as_weights(tmp_path: Path) -> None:
    source = Torchvision(input_size=[32, 32]).eval()
    torch.save(source.state_dict(), tmp_path / "w.pth")
    net = Torchvision(weights=str(tmp_path / "w.pth")).eval()
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(net(x), source(x))


def test_one_channel_answers_as_grey_fed_three_times(tmp_path: Path) -> None:
    full = torchvision.models.squeezenet1_0()
    torch.save(full.state_dict(), tmp_path / "w.pth")
    colour = Torchvision(weights=str(tmp_path / "w.pth")).eval()
    grey = Torchvision(weights=str(tmp_path / "w.pth"), in_channels=1).eval()
    x = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(grey(x), colour(x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


class _Code:
    def __reduce__(self) -> tuple:
        return (print, ("this must not run",))


@pytest.mark.parametrize("content", ["text", "cut", "objects", "list", "number", "safetensors", "missing"])
def test_unusable_files(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / ("w.safetensors" if content == "safetensors" else "w.pth")
    message = "damaged"
    if content in ("text", "safetensors"):
        file.write_text("not weights at all")
    elif content == "cut":
        torch.save(torchvision.models.squeezenet1_0().state_dict(), file)
        file.write_bytes(file.read_bytes()[:20_000])
    elif content == "objects":
        torch.save({"features.0.weight": _Code()}, file)
        message = "contains Python objects, which are not read"
    elif content == "list":
        torch.save([torch.zeros(1)], file)
        message = "contains no named weights"
    elif content == "number":
        torch.save({"features.0.weight": torch.zeros(1), "epoch": 3}, file)
        message = "contains epoch in addition to tensors"
    else:
        message = "there is no file"
    with pytest.raises(UserError, match=message):
        Torchvision(weights=str(file))
    assert "must not run" not in capsys.readouterr().out


def test_weights_of_another_model_are_refused_in_one_sentence(tmp_path: Path) -> None:
    torch.save(torchvision.models.squeezenet1_0().state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError) as caught:
        Torchvision(name="resnet18", weights=str(tmp_path / "w.pth"))
    message = str(caught.value)
    assert "lacks conv1.weight, bn1.weight, bn1.bias and 97 more" in message
    assert "holds the unknown features.0.weight" in message
    assert "\n" not in message
    assert len(message) < 500 + len(str(tmp_path))


def test_misspelt_names_get_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'squeezenet1_0'"):
        Torchvision(name="squeezenet10")


def test_pretrained_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"download\.pytorch\.org, which could not be reached"):
        Torchvision(pretrained=True)
    assert not list(tmp_path.rglob("*.pth"))


def test_pretrained_from_the_cache_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    full = torchvision.models.squeezenet1_0()
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    url = torchvision.models.SqueezeNet1_0_Weights.DEFAULT.url
    torch.save(full.state_dict(), tmp_path / "checkpoints" / url.rpartition("/")[2])
    net = Torchvision(pretrained=True)
    assert torch.equal(net.net.features[0].weight, full.features[0].weight)


# ImageNet's classes for those of Office-Caltech10 that it has too.
_IMAGENET = {
    "backpack": {414},
    "bike": {444, 671},
    "keyboard": {508},
    "laptop": {620, 681},
    "monitor": {664, 782},
    "mouse": {673},
    "mug": {504},
    "projector": {745},
}


@pytest.mark.real_data
def test_trained_squeezenet_recognises_photographs() -> None:
    if "TL_LAB_DATA" not in os.environ:
        pytest.skip("needs the SqueezeNet weights and Office-Caltech10 under TL_LAB_DATA, which is not set")
    root = Path(os.environ["TL_LAB_DATA"])
    weights = root / "weights" / "squeezenet1_0_imagenet.pth"
    images = root / "office_caltech10" / "images" / "amazon"
    if not (weights.is_file() and images.is_dir()):
        pytest.skip(f"needs {weights} and {images}")
    net = Torchvision(weights=str(weights)).eval()
    full = torchvision.models.squeezenet1_0()
    full.load_state_dict(torch.load(weights, weights_only=True))
    full.eval()
    wanted = net.spec
    side = round(wanted.size[0] / wanted.crop_pct)
    prepare = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize(side),
            torchvision.transforms.CenterCrop(wanted.size),
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize(wanted.mean, wanted.std),
        ]
    )
    right = []
    with torch.no_grad():
        for folder, classes in _IMAGENET.items():
            files = sorted((images / folder).glob("*.jpg"))[:8]
            x = torch.stack([prepare(torchvision.datasets.folder.default_loader(str(file))) for file in files])
            maps = full.features(x)
            torch.testing.assert_close(net(x), maps.mean((2, 3)))
            right += [guess.item() in classes for guess in full.classifier(net.net.features(x)).flatten(1).argmax(1)]
    # 60.8 % over all the images of these classes; by chance 0.1 %.
    assert len(right) == 64
    assert 0.48 < sum(right) / len(right) < 0.74
