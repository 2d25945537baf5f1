"""What every backbone promises, for each of them alike."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from tl_lab.backbones.base import Backbone
from tl_lab.backbones.conv4 import Conv4
from tl_lab.backbones.grouping import group_by_structure, partition
from tl_lab.backbones.lenet import LeNet
from tl_lab.backbones.mlp import MLP
from tl_lab.backbones.timm import Timm
from tl_lab.backbones.torchvision import Torchvision
from tl_lab.config.instantiate import class_of
from tl_lab.config.nodes import read_node

CONF = Path(__file__).parents[2] / "conf" / "backbone"

BACKBONES = {
    "mlp": lambda: MLP(hidden=[16, 8], batch_norm=True, dropout=0.1, in_channels=1, input_size=[8, 8]),
    "lenet": lambda: LeNet(batch_norm=True, in_channels=3),
    "conv4": lambda: Conv4(width=8, in_channels=1, input_size=[20, 33]),
    "timm_resnet": lambda: Timm(name="test_resnet", in_channels=1, input_size=[32, 32]),
    "timm_vit": lambda: Timm(name="test_vit", in_channels=3, input_size=[32, 48]),
    "timm_convnext": lambda: Timm(name="test_convnext", input_size=[64, 64]),
    "timm_efficientnet": lambda: Timm(name="test_efficientnet", input_size=[64, 64], drop_path_rate=0.1),
    "timm_mobilenet": lambda: Timm(name="mobilenetv3_small_050", input_size=[32, 32]),
    "timm_merged": lambda: Timm(name="test_vit", input_size=[32, 32], max_groups=3),
    "tv_squeezenet": lambda: Torchvision(name="squeezenet1_0", in_channels=1, input_size=[32, 32]),
    "tv_resnet": lambda: Torchvision(name="resnet18", input_size=[32, 32]),
    "tv_mobilenet": lambda: Torchvision(name="mobilenet_v3_small", input_size=[32, 32]),
    "tv_densenet": lambda: Torchvision(name="densenet121", input_size=[32, 32]),
    "tv_convnext": lambda: Torchvision(name="convnext_tiny", input_size=[32, 32]),
    "tv_vit": lambda: Torchvision(name="vit_b_32", input_size=[32, 32]),
    "tv_shufflenet": lambda: Torchvision(name="shufflenet_v2_x0_5", input_size=[32, 32]),
    "tv_efficientnet": lambda: Torchvision(name="efficientnet_b0", input_size=[32, 32]),
}


@pytest.fixture(params=BACKBONES, scope="module")
def backbone(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    return BACKBONES[request.param]()


def _input(backbone: Backbone, samples: int = 2) -> torch.Tensor:
    wanted = backbone.spec
    return torch.rand(samples, wanted.channels, *wanted.size, generator=torch.Generator().manual_seed(1))


def test_features_have_the_promised_width(backbone: Backbone) -> None:
    backbone.eval()
    out = backbone(_input(backbone, 3))
    assert out.shape == (3, backbone.num_features)
    assert torch.isfinite(out).all()


def test_statistics_are_given_for_each_channel(backbone: Backbone) -> None:
    wanted = backbone.spec
    assert (wanted.mean is None) == (wanted.std is None)
    for values in (wanted.mean, wanted.std):
        assert values is None or len(values) == wanted.channels


def test_groups_hold_every_tensor_once_under_different_names(backbone: Backbone) -> None:
    backbone.check_layer_groups()
    names = [name for name, _ in backbone.layer_groups()]
    assert len(set(names)) == len(names) > 1


def test_groups_hold_every_dropout_and_norm(backbone: Backbone) -> None:
    for _, modules in backbone.layer_groups():
        for module in modules:
            module.eval()
    kinds = nn.Dropout | nn.Dropout2d | nn.modules.batchnorm._BatchNorm
    still = [name for name, module in backbone.named_modules() if isinstance(module, kinds) and module.training]
    backbone.train()
    assert not still


def test_gradient_reaches_every_parameter(backbone: Backbone) -> None:
    backbone.train()
    backbone.zero_grad()
    backbone(_input(backbone, 4)).square().sum().backward()
    # A single token attends to itself alone, whatever its queries and keys say: a zero gradient is one all the same.
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


def test_freezing_a_group_leaves_the_others(backbone: Backbone) -> None:
    groups = backbone.layer_groups()
    for module in groups[0][1]:
        module.requires_grad_(False)
    frozen = {id(p) for module in groups[0][1] for p in module.parameters()}
    learning = {id(p) for p in backbone.parameters() if p.requires_grad}
    backbone.requires_grad_(True)
    assert frozen
    assert learning == {id(p) for p in backbone.parameters()} - frozen


def test_groups_follow_the_network_to_another_precision() -> None:
    backbone = Timm(name="test_vit", input_size=[32, 32]).double()
    backbone.check_layer_groups()
    kinds = {p.dtype for _, modules in backbone.layer_groups() for m in modules for p in m.parameters()}
    assert kinds == {torch.float64}


def test_state_survives_saving_and_loading(backbone: Backbone, request: pytest.FixtureRequest) -> None:
    torch.manual_seed(7)
    twin = BACKBONES[request.node.callspec.params["backbone"]]()
    twin.load_state_dict(backbone.state_dict(), strict=True)
    x = _input(backbone)
    torch.testing.assert_close(twin.eval()(x), backbone.eval()(x))


def test_same_seed_same_weights(backbone: Backbone, request: pytest.FixtureRequest) -> None:
    torch.manual_seed(0)
    twin = BACKBONES[request.node.callspec.params["backbone"]]()
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), backbone.parameters(), strict=True))


class _Forgetful(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.BatchNorm1d(2)

    def layer_groups(self) -> list[tuple[str, list[nn.Module]]]:
        return [("a", [self.first]), ("b", [self.first])]


def test_check_names_missing_and_repeated_tensors() -> None:
    with pytest.raises(RuntimeError, match=r"first\.weight in a and b.*second\.weight in none.*and 2 more"):
        _Forgetful().check_layer_groups()


class _Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(2))
        shared = nn.Linear(2, 2)
        self.blocks = nn.ModuleList(nn.Sequential(shared, nn.Linear(2, 2), nn.Dropout()) for _ in range(2))


def test_a_layer_used_in_two_blocks_belongs_to_the_first() -> None:
    root = _Shared()
    names, group_of = group_by_structure(root)
    groups = partition(root, group_of)
    assert names == ["stem", "blocks.0", "blocks.1"]
    assert [sum(p.numel() for module in group for p in module.parameters()) for group in groups] == [2, 12, 6]
    held = [module for group in groups for part in group for module in part.modules()]
    assert all(block[2] in held for block in root.blocks)


TRAINED = {"squeezenet1_0", *(f"efficientnet_lite{size}" for size in range(3))}  # built in test_imagenet_backbones.py


def test_every_configuration_builds() -> None:
    files = sorted(CONF.glob("*.yaml"))
    # the others, of texts, tables, recordings and pages, have tests of their own; clip has two towers
    of_images = {file.stem for file in files if "image" in class_of(read_node(file)).modalities} - {"clip"}
    assert of_images == {"conv4", "lenet", "mlp", "timm", "torchvision"} | TRAINED
    for file in files:
        assert file.read_text().startswith("# ")
    for file in [file for file in files if file.stem in of_images - TRAINED]:
        config = OmegaConf.merge(OmegaConf.load(file), {"in_channels": 1, "input_size": [28, 28]})
        backbone = instantiate(config, _convert_="all")
        assert isinstance(backbone, Backbone)
        assert backbone.spec.size == (28, 28)
        assert backbone.spec.channels == 1


def test_importing_the_package_imports_no_model_library() -> None:
    heavy = ["timm", "tl_lab.backbones.timm", "tl_lab.backbones.torchvision"]
    code = f"import sys, tl_lab.backbones; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
