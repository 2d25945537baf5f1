"""The three networks written here: published sizes and parameter counts, and refusals."""

import pytest
import torch
from torch import nn

from tl_lab.backbones.conv4 import Conv4
from tl_lab.backbones.lenet import LeNet
from tl_lab.backbones.mlp import MLP
from tl_lab.errors import UserError


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_lenet_is_the_papers() -> None:
    net = LeNet(in_channels=1, input_size=[16, 16])
    assert _count(net) == 1 * 32 * 25 + 32 + 32 * 48 * 25 + 48
    assert net.num_features == 768
    assert net.spec.size == (28, 28)
    assert [name for name, _ in net.layer_groups()] == ["conv1", "conv2"]


def test_lenet_options_add_their_layers() -> None:
    assert _count(LeNet(batch_norm=True)) == _count(LeNet()) + 2 * (32 + 48)
    torch.manual_seed(0)
    out = LeNet(dropout=0.5)(torch.rand(8, 1, 28, 28) + 1)
    assert LeNet(dropout=0.5).eval().dropout.training is False
    assert 0.4 < (out == 0).float().mean() < 1


def test_lenet_equals_the_layers_written_out() -> None:
    net = LeNet().eval()
    x = torch.rand(2, 1, 28, 28)
    (one, two) = (net.conv1[0], net.conv2[0])
    by_hand = torch.max_pool2d(torch.relu(torch.conv2d(x, one.weight, one.bias)), 2)
    by_hand = torch.max_pool2d(torch.relu(torch.conv2d(by_hand, two.weight, two.bias)), 2).flatten(1)
    torch.testing.assert_close(net(x), by_hand)


def test_conv4_is_the_literatures() -> None:
    # 113,088 parameters on RGB: 1,792 + 3 * 36,928 in convolutions, 4 * 128 in norms.
    assert _count(Conv4(in_channels=3, input_size=[84, 84])) == 113_088
    assert Conv4(in_channels=3, input_size=[84, 84]).num_features == 1600
    assert Conv4(in_channels=1, input_size=[28, 28]).num_features == 64
    assert Conv4(width=32, in_channels=1, input_size=[16, 47]).num_features == 64


def test_conv4_with_strides_averages_its_last_maps() -> None:
    strided = Conv4(halving="stride", in_channels=1, input_size=[28, 28])
    assert _count(strided) == _count(Conv4(in_channels=1, input_size=[28, 28]))
    assert strided.num_features == 64
    maps = strided.eval().blocks(torch.rand(2, 1, 28, 28))
    assert maps.shape == (2, 64, 2, 2)  # 28 -> 14 -> 7 -> 4 -> 2
    torch.testing.assert_close(strided(images := torch.rand(2, 1, 28, 28)), strided.blocks(images).mean((2, 3)))


def test_conv4_refuses_images_that_vanish() -> None:
    with pytest.raises(UserError, match=r"at least 16x16 pixels, got 28x15"):
        Conv4(resize_to=[28, 15])


def test_conv4_enlarges_images_below_its_least_size() -> None:
    assert Conv4(in_channels=1, input_size=[8, 8]).spec.size == (28, 28)
    assert Conv4(in_channels=1, input_size=[8, 8], resize_to=[32, 32]).num_features == 256


@pytest.mark.parametrize(("hidden", "features", "parameters"), [([], 48, 0), ([5], 5, 245), ([5, 3], 3, 263)])
def test_mlp_widths(hidden: list[int], features: int, parameters: int) -> None:
    net = MLP(hidden=hidden, in_channels=3, input_size=[4, 4])
    assert net.num_features == features
    assert _count(net) == parameters
    assert net(torch.rand(2, 3, 4, 4)).shape == (2, features)
    net.check_layer_groups()


def test_mlp_supports_vectors() -> None:
    net = MLP(hidden=[7], in_channels=20)
    assert net(torch.rand(3, 20)).shape == (3, 7)


def test_mlp_layer_equals_its_formula() -> None:
    net = MLP(hidden=[4], activation="tanh", in_channels=6).eval()
    x = torch.rand(2, 6)
    linear = net.layers[0][0]
    torch.testing.assert_close(net(x), torch.tanh(x @ linear.weight.T + linear.bias))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MLP(), "needs the size of its input"),
        (lambda: MLP(in_channels=4, activation="rely"), "did you mean 'relu'"),
        (lambda: MLP(in_channels=4, hidden=[8, 0]), "backbone.hidden must be a positive whole number, got 0"),
        (lambda: MLP(in_channels=4, dropout=1), "backbone.dropout must be at least 0 and below 1"),
        (lambda: MLP(in_channels=4, input_size=[4]), "two positive whole numbers"),
        (lambda: LeNet(dropout=-0.1), "backbone.dropout"),
        (lambda: LeNet(in_channels=0), "backbone.in_channels"),
        (lambda: Conv4(width=0), "backbone.width"),
        (lambda: Conv4(halving="pool"), "backbone.halving"),
    ],
)
def test_arguments_out_of_range(build, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()


def test_lenet_subtracts_a_given_mean():
    images = torch.rand(2, 3, 28, 28)
    assert torch.equal(LeNet(in_channels=3).spec.normalise(images), images)
    subtracted = LeNet(in_channels=3, mean=[0.1, 0.2, 0.3]).spec.normalise(images)
    torch.testing.assert_close(subtracted, images - torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1))
    torch.testing.assert_close(LeNet(in_channels=3, mean=0.5).spec.normalise(images), images - 0.5)


@pytest.mark.parametrize("mean", [[0.1], 1.5, [0.1, 0.2, -0.3]])
def test_lenet_refuses_a_mean_that_fits_no_image(mean):
    with pytest.raises(UserError, match=r"backbone\.mean"):
        LeNet(in_channels=3, mean=mean)
