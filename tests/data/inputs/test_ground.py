"""Drawings on dark and bright backgrounds."""

import pytest
import torch

from tl_lab.data.inputs.ground import bring_to, common_ground, grounds


def drawings(count=6, kind=torch.uint8):
    images = torch.zeros(count, 1, 12, 12)
    images[:, :, 3:9, 5:7] = 0.9
    images += 0.05
    return (255 * images).to(torch.uint8) if kind == torch.uint8 else images


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_strokes_are_distinguished_from_their_background(kind):
    dark = drawings(kind=kind)
    bright = 255 - dark if kind == torch.uint8 else 1 - dark
    assert grounds(dark).tolist() == [-1] * 6
    assert grounds(bright).tolist() == [1] * 6
    assert (common_ground(dark), common_ground(bright)) == ("dark", "bright")
    mixed = torch.cat([dark[:2], bright[2:]])
    assert common_ground(mixed) is None
    brought, inverted = bring_to(mixed, "dark")
    assert inverted == 4
    torch.testing.assert_close(brought, dark)
    assert bring_to(dark, "dark") == (dark, 0)


def test_photographs_and_empty_images_have_no_background():
    noise = torch.rand(5, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    assert grounds(noise).tolist() == [0] * 5
    assert grounds(torch.ones(1, 1, 8, 8)).tolist() == [0]
    assert common_ground(drawings().expand(-1, 3, -1, -1)) is None  # coloured ones are left alone
