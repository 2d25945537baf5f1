"""Printed and handwritten digits: balanced, deterministic, complete, and digitised alike."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from tl_lab.data.sets.fonts import draw_text, text_faces
from tl_lab.data.sets.printed_digits import handwritten_digits, render_printed_digits
from tl_lab.errors import UserError


def test_sixteen_text_faces_and_no_mathematical_ones():
    names = [face.stem for face in text_faces()]
    assert len(names) == len(set(names)) == 16
    assert names == sorted(names)
    assert not any(name.startswith(("cm", "LastResort", "STIXSiz", "STIXNonUni")) for name in names)


def test_a_string_is_cut_to_its_ink():
    face = text_faces()[0]
    ink = draw_text("8", face, 64)
    assert ink.dtype == np.uint8
    assert all(edge.any() for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))
    assert draw_text("88", face, 64).shape[1] > 1.5 * ink.shape[1]
    assert draw_text(" ", face, 64).shape == (0, 0)


def test_shapes_types_and_joint_balance():
    images, labels, faces = render_printed_digits(320, seed=0)
    assert images.shape == (320, 1, 8, 8)
    assert images.dtype == torch.uint8
    assert labels.dtype == faces.dtype == torch.int64
    assert torch.bincount(labels * 16 + faces).tolist() == [2] * 160
    assert (images.flatten(1).sum(1) > 0).all()
    assert (labels[:-1] <= labels[1:]).float().mean() < 0.9  # shuffled


def test_the_seed_fixes_every_image():
    first, again, other = (render_printed_digits(50, seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_pixels_are_counts_of_sixteen():
    printed, _, _ = render_printed_digits(500, seed=0)
    handwritten, _ = handwritten_digits()
    counts = (torch.arange(17) * 255 / 16).round().to(torch.uint8)
    assert torch.equal(printed.unique(), counts)
    assert torch.equal(handwritten.unique(), counts)


def test_upright_digits_of_full_height_touch_top_and_bottom():
    images, _, _ = render_printed_digits(160, seed=0, size=16, height=(1.0, 1.0), rotation=0.0)
    rows = images.amax(3)[:, 0]
    assert (rows[:, [0, -1]] > 0).all()


def test_digits_of_half_height_fill_half_the_rows():
    images, _, _ = render_printed_digits(160, seed=0, size=16, height=(0.5, 0.5), rotation=0.0)
    occupied = (images.amax(3)[:, 0] > 0).sum(1)
    assert occupied.min() >= 8
    assert occupied.max() <= 9
    tops = (images.amax(3)[:, 0] > 0).float().argmax(1)
    assert tops.min() == 0  # positions span the room that is left
    assert tops.max() >= 7


def test_rotation_turns_to_both_sides_about_the_middle():
    still, _, _ = render_printed_digits(64, seed=0, size=16, height=(0.5, 0.5), rotation=0.0)
    half_turn = render_printed_digits(64, seed=0, size=16, height=(0.5, 0.5), rotation=180.0)[0]
    ink, turned_ink = still.float().mean().item(), half_turn.float().mean().item()
    assert turned_ink == pytest.approx(ink, rel=0.03)
    assert not torch.equal(still, half_turn)


def test_handwritten_digits_are_scikit_learns():
    images, labels = handwritten_digits()
    reference = load_digits()
    assert images.shape == (1797, 1, 8, 8)
    np.testing.assert_allclose(images[:, 0].double().numpy() * 16 / 255, reference.images, atol=0.04)
    np.testing.assert_array_equal(labels.numpy(), reference.target)


@pytest.mark.parametrize(
    "wrong",
    [{"count": 0}, {"size": 1}, {"height": (0.0, 1.0)}, {"height": (0.9, 0.5)}, {"rotation": -1.0}],
)
def test_arguments_out_of_range_are_named(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        render_printed_digits(**{"count": 10, "seed": 0, **wrong})
