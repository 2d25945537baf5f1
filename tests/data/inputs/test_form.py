"""Sizes of drawings and of their strokes."""

import math

import pytest
import torch

from tl_lab.data.inputs.form import bring_to_form, form_of, sizes_of


def bars(length, width, count=4, side=40, bright=False):
    """Upright bars, each a few pixels further to the right."""
    images = torch.zeros(count, 1, side, side)
    for k in range(count):
        images[k, 0, 5 : 5 + length, 6 + 3 * k : 6 + 3 * k + width] = 0.9
    return 1 - images if bright else images


@pytest.mark.parametrize("bright", [False, True])
def test_sizes_of_bars_by_hand(bright):
    images = bars(20, 4, bright=bright)
    found = sizes_of(images)
    outline = 2 * 20 + 2 * 4 - 2 + math.sqrt(2)  # at one corner both differences fall on one pixel
    assert found.box.tolist() == pytest.approx([20 / 40] * 4)
    assert found.stroke.tolist() == pytest.approx([2 * 20 * 4 / outline / 20] * 4)
    as_bytes = sizes_of((255 * images).round().to(torch.uint8))
    torch.testing.assert_close(as_bytes.stroke, found.stroke, rtol=1e-3, atol=0)
    assert sizes_of(torch.ones(1, 1, 8, 8)).box.isnan().all()


@pytest.mark.parametrize("bright", [False, True])
@pytest.mark.parametrize(("length", "width"), [(12, 2), (34, 8)])
def test_drawings_of_another_size_are_scaled(length, width, bright):
    usual = bars(24, 5, bright=bright)
    form = form_of(usual)
    brought, changed = bring_to_form(bars(length, width, bright=bright), "bright" if bright else "dark", form)
    assert "box" in changed
    assert changed["box"] == pytest.approx((length / 40, 24 / 40))
    found, wanted = sizes_of(brought), sizes_of(usual)
    torch.testing.assert_close(found.box, wanted.box, rtol=0.1, atol=0)
    torch.testing.assert_close(found.stroke, wanted.stroke, rtol=0.1, atol=0)


@pytest.mark.parametrize("width", [2, 8])
def test_other_strokes_are_thickened_and_thinned(width):
    usual = bars(24, 5)
    brought, changed = bring_to_form(bars(24, width), "dark", form_of(usual))
    assert "stroke" in changed
    torch.testing.assert_close(sizes_of(brought).stroke, sizes_of(usual).stroke, rtol=0.1, atol=0)


def test_what_is_alike_or_no_drawing_is_left_as_it_is():
    usual = torch.cat([bars(24, 5), bars(22, 4)])
    form = form_of(usual)
    assert bring_to_form(usual, "dark", form) == (usual, {})
    noise = torch.rand(3, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    assert bring_to_form(noise, "dark", form) == (noise, {})
    assert bring_to_form(bars(12, 2), "bright", form)[1] == {}  # they have the other ground
