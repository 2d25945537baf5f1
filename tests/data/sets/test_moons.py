"""Moons: the shape of the half circles, and an exact rotation."""

import numpy as np
import pytest
import torch

from tl_lab.data.inputs.augmentation import Augmentation
from tl_lab.data.sets.moons import Moons
from tl_lab.errors import UserError


def distance(x, y, angle):
    """How far points lie from their half circle (radius 1, around (0, 0) or (1, .5), moved to the common centre)."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # back
    x = x.double().numpy() @ turn.T + np.array([0.5, 0.25])
    centre = np.where(y.numpy()[:, None] == 0, [0.0, 0.0], [1.0, 0.5])
    from_centre = x - centre
    above = np.where(y.numpy() == 0, from_centre[:, 1], -from_centre[:, 1])
    return np.abs(np.linalg.norm(from_centre, axis=1) - 1), above


@pytest.mark.parametrize("degrees", [0.0, 35.0, 90.0])
def test_without_noise_points_lie_on_rotated_half_circles(degrees):
    sets = Moons(rotation=degrees, count=100, noise=0.0, seed=3).read()
    for name, samples in sets.items():
        gap, above = distance(samples.x, samples.y, np.deg2rad(degrees) if name.startswith("target") else 0.0)
        assert gap.max() < 1e-6, name
        assert above.min() > -1e-6, name
        assert torch.bincount(samples.y).tolist() == [len(samples) // 2] * 2


def test_sizes_and_draws():
    sets = Moons(count=60, seed=0).read()
    assert {name: len(samples) for name, samples in sets.items()} == {
        "source/train": 60, "source/val": 30, "source/test": 30, "target/train": 60, "target/test": 30,
    }  # fmt: skip
    again, other = Moons(count=60, seed=0).read(), Moons(count=60, seed=1).read()
    assert torch.equal(sets["target/train"].x, again["target/train"].x)
    assert not torch.equal(sets["target/train"].x, other["target/train"].x)
    pool = {name: {tuple(point) for point in samples.x.tolist()} for name, samples in sets.items()}
    assert sum(map(len, pool.values())) == len(set().union(*pool.values()))  # no point is in two sets


def test_noise_has_the_deviation_that_is_asked_for():
    samples = Moons(count=4000, noise=0.05, rotation=0.0).read()["source/train"]
    clean = Moons(count=4000, noise=0.0, rotation=0.0).read()["source/train"]
    both = [np.sort(distance(s.x, s.y, 0.0)[0]) for s in (samples, clean)]
    assert both[1].max() < 1e-6
    # |radial noise| has mean s sqrt(2 / pi)
    assert both[0].mean() == pytest.approx(0.05 * np.sqrt(2 / np.pi), rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 10}, r"data\.count"),
        ({"noise": -0.1}, r"data\.noise"),
        ({"augmentation": Augmentation(flip=1.0)}, "moons are points"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Moons(**options)
