"""Grad-CAM, compared with gradients by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tl_lab.training.explaining import activation_maps, last_maps


def test_maps_are_weighted_by_mean_gradients() -> None:
    pytest.importorskip("captum", reason="tl_lab[explain] is not installed")
    torch.manual_seed(0)
    first, last = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3)
    net = nn.Sequential(first, nn.ReLU(), last, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 4, 2)).eval()
    assert last_maps(net) is last
    assert last_maps(nn.Linear(1, 1)) is None
    x, outputs = torch.randn(2, 1, 8, 8), torch.tensor([1, 0])
    found = activation_maps(net, last, x, outputs)
    maps = net[:3](x).detach().requires_grad_()
    gradient = torch.autograd.grad(net[3:](maps).gather(1, outputs[:, None]).sum(), maps)[0]
    expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    expected = F.interpolate(expected, (8, 8), mode="bilinear")[:, 0].detach()
    expected = expected / expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(found, expected)
    assert all(parameter.grad is None for parameter in net.parameters())
