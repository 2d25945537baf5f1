"""Bures, Frechet, OTDD, two-sample tests, A-distance over folds, CKA."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from tl_lab.assess import similarity
from tl_lab.assess.asking import read
from tl_lab.assess.material import Material
from tl_lab.assess.pretraining import features_of
from tl_lab.functional.domain_folds import folded_a_distance
from tl_lab.functional.gaussian_distance import bures, frechet_distance, otdd
from tl_lab.functional.representation_similarity import linear_cka
from tl_lab.functional.two_samples import chi2_counts, ks_features, mmd_test


def _draw(n, width, seed, shift=0.0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_the_bures_distance_of_two_round_gaussians():
    assert bures(torch.zeros(2), torch.eye(2), torch.ones(2), 2 * torch.eye(2)) == pytest.approx(2 + 2)


@pytest.mark.parametrize("count", [50, 4])  # more samples than features, and fewer
def test_the_frechet_distance_is_that_of_matrix_roots(count):
    from scipy.linalg import sqrtm

    a, b = _draw(count, 6, 0), _draw(count + 3, 6, 1) * 1.5 + 0.3
    s, t = torch.cov(a.T).numpy(), torch.cov(b.T).numpy()
    root = np.real(sqrtm(sqrtm(s) @ t @ sqrtm(s)))
    expected = float((a.mean(0) - b.mean(0)).square().sum()) + np.trace(s + t - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


@settings(max_examples=6, derandomize=True, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(4, 30))
def test_otdd_is_zero_to_itself_and_after_relabelling_and_symmetric(seed, n):
    x, z = _draw(n, 3, seed), _draw(n, 3, seed + 1, 0.5)
    y, w = torch.arange(n) % 3, torch.arange(n) % 2
    assert otdd(x, y, x, y) == pytest.approx(0, abs=1e-10)
    assert otdd(x, y, x, (y + 1) % 3 + 7) == pytest.approx(0, abs=1e-10)
    assert otdd(x, y, z, w) == pytest.approx(otdd(z, w, x, y), rel=1e-9)
    assert otdd(x, y, z, w) > 0


def test_otdd_of_shifted_points_is_the_shift_of_points_and_of_classes():
    x, y = _draw(12, 2, 0), torch.arange(12) % 2
    assert otdd(x, y, x + 10.0, y) == pytest.approx(200 + 200)  # |shift|^2 for the points, and for their classes


def test_otdd_refuses_unequal_sizes():
    with pytest.raises(ValueError, match="sets of equal size, not 3 and 4"):
        otdd(_draw(3, 2, 0), torch.zeros(3), _draw(4, 2, 0), torch.zeros(4))


def test_ks_of_two_shifted_grids():
    found = ks_features(torch.arange(100).double() / 100, torch.arange(50, 150).double() / 100)
    assert found.statistic[0] == pytest.approx(0.5)
    assert found.p == pytest.approx(1.0024645e-11, rel=1e-6)


def test_the_two_halves_of_the_digits_differ_and_random_halves_do_not():
    x = torch.from_numpy(load_digits().data)
    half = len(x) // 2
    found = ks_features(x[:half], x[half:])
    assert (found.p, found.rejected) == (pytest.approx(7.2e-7, rel=5e-3), 8)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    assert ks_features(x[order[:half]], x[order[half:]]).p == 1
    assert ks_features(x[:half], x[half:], "fdr").p <= found.p


def test_chi2_leaves_empty_classes_out():
    a, b = torch.tensor([0] * 30 + [2] * 10), torch.tensor([0] * 20 + [2] * 20)
    statistic, p = chi2_counts(a, b, 5)
    assert statistic == pytest.approx(80 * (30 * 20 - 10 * 20) ** 2 / (40 * 40 * 50 * 30))
    assert p == pytest.approx(0.0209213, abs=1e-6)
    assert chi2_counts(a[:30], b[:20], 5) == (0.0, 1.0)


def test_the_permuted_mmd_is_that_of_permuted_samples():
    x, y = _draw(12, 2, 0), _draw(9, 2, 1, 0.4)
    found, p = mmd_test(x, y, permutations=400)
    kernel = np.exp(-torch.cdist(torch.cat([x, y]), torch.cat([x, y])).square().numpy() / _median_of_pairs(x, y))
    draw = np.random.default_rng(0)

    def estimate(i):
        a, b = kernel[np.ix_(i[:12], i[:12])], kernel[np.ix_(i[12:], i[12:])]
        return (a.sum() - 12) / 132 + (b.sum() - 9) / 72 - 2 * kernel[np.ix_(i[:12], i[12:])].mean()

    assert found == pytest.approx(estimate(np.arange(21)), abs=1e-6)
    expected = np.mean([estimate(draw.permutation(21)) >= found for _ in range(400)])
    assert p == pytest.approx(expected, abs=0.08)  # three standard errors of two draws of 400


def _median_of_pairs(x, y):
    return float(np.median(torch.pdist(torch.cat([x, y])).square().numpy()))


def test_mmd_tells_far_sets_apart_and_not_equal_ones():
    assert mmd_test(_draw(60, 3, 0), _draw(40, 3, 1, 3.0))[1] == pytest.approx(1 / 201)
    assert mmd_test(_draw(60, 3, 0), _draw(40, 3, 1))[1] > 0.05


def test_the_interval_of_the_a_distance_covers_what_is_known():
    same = folded_a_distance(_draw(300, 4, 0), _draw(300, 4, 1))
    far = folded_a_distance(_draw(100, 4, 0), _draw(100, 4, 1, 20.0))
    assert same.low == 0
    assert same.high < 0.5
    assert far.distance == 2
    assert far.low > 1.8
    # one feature, shifted by one deviation: the best linear rule has the error Phi(-1/2) = .3085
    known = folded_a_distance(_draw(1000, 1, 2), _draw(1000, 1, 3, 1.0))
    assert known.low < 2 * (1 - 2 * 0.30854) < known.high


def test_fewer_samples_than_folds_are_refused():
    with pytest.raises(ValueError, match="5 folds need as many samples of each domain, and one has 3"):
        folded_a_distance(_draw(3, 2, 0), _draw(30, 2, 1))


@pytest.mark.parametrize("width", [5, 60])  # by features, and by samples
def test_cka_is_one_up_to_rotation_and_scale_and_matches_its_kernels(width):
    x, y = _draw(30, width, 0), _draw(30, 8, 1)
    rotation = torch.linalg.qr(_draw(width, width, 2))[0]
    assert linear_cka(x, 3 * x @ rotation + 1) == pytest.approx(1)
    centre = torch.eye(30, dtype=torch.float64) - 1 / 30
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    assert linear_cka(x, y) == pytest.approx(float((k * m).sum() / (k.norm() * m.norm())))
    assert linear_cka(x, torch.ones(30, 2)) == 0


def test_the_pretraining_task_is_compared_by_every_distance(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    words = ["assess=similarity", "assess.samples=60", "assess.permutations=19", "assess.folds=2"]
    asked = read(["data=digits", "backbone=mlp", *words, "assess.pretraining=digits"])  # the same task
    material = Material(asked.plans, asked.options)
    found = similarity.assess(material)
    kinds = {key.partition("/")[2] for key in found.measures if "pretraining" not in key}
    assert kinds == {"a_distance", "mmd2", "frechet", "frechet_over_halves", "otdd", "otdd_over_halves"}
    assert {key for key in found.measures if "pretraining" in key} == {f"mlp/pretraining_{kind}" for kind in kinds}
    assert len(found.tables) == 2
    assert "digits (pretraining) and test on the features of mlp" in found.figures
    (x, y), z = features_of(material, material.subjects[0], "digits"), material.features(material.subjects[0], "test")
    assert len(x) == len(y) == len(z) == 60
    estimate, p = mmd_test(x, z, 500)
    assert found.measures["mlp/pretraining_mmd2"].value == pytest.approx(estimate, abs=1e-6)  # whatever the order
    assert p > 0.05
    assert found.measures["mlp/pretraining_mmd2"].p == pytest.approx(p, abs=0.3)  # three standard errors of 19
    assert found.measures["mlp/pretraining_a_distance"].low == 0
    # the target is as far from the pretraining data as these are from themselves
    assert 0.7 < found.measures["mlp/pretraining_otdd_over_halves"].value < 1.4
