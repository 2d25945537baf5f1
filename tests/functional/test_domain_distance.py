import math

import numpy as np
import pytest
import torch

from tl_lab.functional import a_distance, linear_domain_accuracy


def _draw(count, shift=0.0, width=5, seed=0):
    x = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    x[:, 0] += shift
    return x


@pytest.mark.parametrize(
    ("accuracy", "distance"), [(1.0, 2.0), (0.75, 1.0), (0.5, 0.0), (0.6, 0.4), (0.4, 0.0), (0.0, 0.0)]
)
def test_the_distance_is_twice_one_minus_two_errors_and_never_negative(accuracy, distance):
    assert a_distance(accuracy) == pytest.approx(distance, abs=1e-12)


def test_equal_domains_are_distinguished_by_chance_only():
    accuracy = linear_domain_accuracy(_draw(2000, seed=1), _draw(2000, seed=2))
    assert abs(accuracy - 0.5) < 3 * 0.5 / math.sqrt(2000)  # three standard errors over 2 x 1,000 scored samples


def test_equal_sets_cannot_be_distinguished():
    x = _draw(500)
    assert a_distance(linear_domain_accuracy(x, x)) < 4 * 3 * 0.5 / math.sqrt(500)


def test_separable_domains_are_two_apart():
    assert a_distance(linear_domain_accuracy(_draw(100), _draw(100, shift=30.0, seed=1))) == 2.0


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_overlapping_gaussians_reach_the_error_of_bayes(shift):
    # of two unit Gaussians d apart no classifier does better than Phi(d / 2)
    bayes = 0.5 * (1 + math.erf(shift / 2 / math.sqrt(2)))
    accuracy = linear_domain_accuracy(_draw(2000, seed=3), _draw(2000, shift, seed=4))
    assert accuracy == pytest.approx(bayes, abs=3 * math.sqrt(bayes * (1 - bayes) / 2000))


def test_the_scale_and_the_place_of_the_features_do_not_matter():
    source, target = _draw(300, seed=5), _draw(300, 1.0, seed=6)
    scale, place = torch.tensor([1e3, 1.0, 1e-3, 1.0, 10.0]), torch.tensor([5.0, -3.0, 0.0, 1.0, 0.0])
    moved = linear_domain_accuracy(source * scale + place, target * scale + place)
    assert moved == pytest.approx(linear_domain_accuracy(source, target), abs=1 / 300)


def test_unequal_sets_weigh_the_same_and_the_draw_is_fixed():
    source, target = _draw(1000, seed=7), _draw(60, seed=8)
    accuracy = linear_domain_accuracy(source, target)
    assert accuracy < 0.8, "a classifier that always says source would reach .94"
    assert accuracy == linear_domain_accuracy(source, target)
    assert np.isclose(accuracy * 60, round(accuracy * 60)), "30 samples of each domain are scored"
    assert (linear_domain_accuracy(source, target, max_samples=20) * 20) % 1 == pytest.approx(0, abs=1e-9)


def test_dead_features_do_no_harm():
    source, target = _draw(100), _draw(100, 30.0, seed=1)
    dead = torch.cat([torch.zeros(100, 2), torch.full((100, 1), 7.0)], dim=1)
    assert linear_domain_accuracy(torch.cat([source, dead], 1), torch.cat([target, dead], 1)) == 1.0


def test_inputs_without_a_distance_are_refused():
    with pytest.raises(ValueError, match="two samples of each domain are needed, not 5 and 1"):
        linear_domain_accuracy(_draw(5), _draw(1))
    with pytest.raises(ValueError, match="features of the target contain NaN"):
        linear_domain_accuracy(_draw(5), _draw(5) * math.nan)
