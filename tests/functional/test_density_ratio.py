import math
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from tl_lab.functional import classifier_ratio, effective_sample_size, kernel_mean_matching, kliep_ratio
from tl_lab.functional.density_ratio import _kliep_coefficients as kliep_coefficients
from tl_lab.randomness import generator

SHIFT = 0.8


def gaussians(n=600, m=400, d=2, seed=0):
    """N(0, I) and N((SHIFT, 0, ...), I): w(x) = exp(SHIFT x_1 - SHIFT^2 / 2)."""
    draw = torch.Generator().manual_seed(seed)
    source = torch.randn(n, d, generator=draw, dtype=torch.float64)
    target = torch.randn(m, d, generator=draw, dtype=torch.float64)
    target[:, 0] += SHIFT
    return source, target, torch.exp(SHIFT * source[:, 0] - SHIFT**2 / 2)


def estimate(name, source, target):
    if name == "kmm":
        return kernel_mean_matching(source, target, bound=5.0)
    return {"classifier": classifier_ratio, "kliep": kliep_ratio}[name](source, target, source)


@pytest.mark.parametrize("name", ["classifier", "kliep", "kmm"])
def test_the_known_ratio_of_two_gaussians(name):
    source, target, truth = gaussians(n=600, m=450) if name == "kmm" else gaussians(n=2000, m=1500)
    w = estimate(name, source, target)
    assert w.dtype == torch.float64
    assert w.shape == (len(source),)
    assert float(w.min()) >= 0
    correlation = float(torch.corrcoef(torch.stack([w, truth]))[0, 1])
    # matching means in the kernel's space leaves the single weights rough
    assert correlation > {"classifier": 0.95, "kliep": 0.9, "kmm": 0.5}[name]
    # E_t x_1 = SHIFT and E_t x_1^2 = 1 + SHIFT^2; the source's own means are 0 and 1
    share = w / w.sum()
    assert float((share * source[:, 0]).sum()) == pytest.approx(float(target[:, 0].mean()), abs=0.1)
    assert float((share * source[:, 0] ** 2).sum()) == pytest.approx(1 + SHIFT**2, abs=0.2)


def test_the_classifiers_ratio_equals_its_odds_for_any_domain_sizes():
    source, target, _ = gaussians(n=300, m=100)
    both = torch.cat([source, target]).numpy()
    z = (both - both.mean(0)) / both.std(0)
    p = LogisticRegression(C=1 / 0.5, max_iter=1000).fit(z, np.repeat([0, 1], [300, 100])).predict_proba(z[:300])
    expected = torch.from_numpy(3 * p[:, 1] / p[:, 0])
    w = classifier_ratio(source, target, source, regularisation=0.5)
    torch.testing.assert_close(w, expected, rtol=1e-9, atol=1e-12)
    assert float(w.mean()) == pytest.approx(1, abs=0.1)  # without the sizes' correction: 1/3


@pytest.mark.parametrize("ratio", [classifier_ratio, kliep_ratio])
def test_the_ratio_is_defined_at_any_point_and_in_any_unit(ratio):
    source, target, _ = gaussians(n=200, m=150)
    at = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    low, middle, high = ratio(source, target, at)
    assert low < middle < high
    unit = torch.tensor([1000.0, 0.01], dtype=torch.float64)
    scaled = ratio(source * unit + 5, target * unit + 5, at * unit + 5)
    torch.testing.assert_close(scaled, torch.stack([low, middle, high]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ratio", [classifier_ratio, kliep_ratio])
def test_equal_domains_have_the_ratio_1(ratio):
    source, _, _ = gaussians(n=300)
    w = ratio(source, source.clone(), source)
    torch.testing.assert_close(w, torch.ones_like(w), rtol=0, atol=0.1)


def test_kliep_meets_its_constraints_and_maximises_its_objective():
    source, target, _ = gaussians(n=80, m=60)
    w = kliep_ratio(source, target, source, centres=10, widths=[1.0])
    assert float(w.min()) >= 0
    assert float(w.mean()) == pytest.approx(1, abs=1e-12)

    # independently: scipy on the same ten kernels
    both = torch.cat([source, target])
    x_s, x_t = ((part - both.mean(0)) / both.std(0, correction=0) for part in (source, target))
    c = x_t[torch.randperm(60, generator=generator(0, "kliep"))[:10]]
    sigma = float(torch.nn.functional.pdist(c).median())
    k_s, k_t = (np.exp(-((a[:, None] - c[None]) ** 2).sum(-1).numpy() / (2 * sigma**2)) for a in (x_s, x_t))
    best = minimize(
        lambda a: -np.log(k_t @ a).mean(),
        np.full(10, 1 / k_s.mean(0).sum()),
        jac=lambda a: -(k_t / (k_t @ a)[:, None]).mean(0),
        bounds=[(0, None)] * 10,
        constraints=[{"type": "eq", "fun": lambda a: k_s.mean(0) @ a - 1, "jac": lambda a: k_s.mean(0)}],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert best.success
    ours = float(kliep_ratio(source, target, target, centres=10, widths=[1.0]).log().mean())
    assert ours == pytest.approx(-best.fun, abs=1e-5)


def test_kliep_chooses_a_width_that_new_samples_like():
    source, target, _ = gaussians()
    _, new, _ = gaussians(m=2000, seed=1)
    widths = (0.1, 0.25, 0.5, 1.0, 4.0)
    chosen = kliep_ratio(source, target, new, widths=widths)
    candidates = [kliep_ratio(source, target, new, widths=[width]) for width in widths]
    assert sum(torch.equal(chosen, candidate) for candidate in candidates) == 1
    scores = [float(candidate.clamp(min=1e-20).log().mean()) for candidate in candidates]
    assert float(chosen.log().mean()) > max(scores) - 0.05
    assert min(scores) < max(scores) - 0.2  # the widths do differ


@pytest.mark.parametrize(("bound", "epsilon"), [(1000.0, None), (2.0, 0.05), (1.2, 0.0)])
def test_kmm_meets_its_constraints_and_minimises_its_objective(bound, epsilon):
    source, target, _ = gaussians(n=30, m=20)
    b = kernel_mean_matching(source, target, bound, epsilon).numpy()
    slack = (math.sqrt(30) - 1) / math.sqrt(30) if epsilon is None else epsilon
    assert b.min() >= 0
    assert b.max() <= bound
    assert abs(b.sum() - 30) <= 30 * slack + 1e-9

    both = torch.cat([source, target])
    x_s, x_t = ((part - both.mean(0)) / both.std(0, correction=0) for part in (source, target))
    sigma = float(torch.nn.functional.pdist(torch.cat([x_s, x_t])).median())
    k, cross = (np.exp(-((x_s[:, None] - a[None]) ** 2).sum(-1).numpy() / (2 * sigma**2)) for a in (x_s, x_t))
    kappa = 30 / 20 * cross.sum(1)

    def objective(b):
        return 0.5 * b @ k @ b - kappa @ b

    best = minimize(
        objective,
        np.ones(30),
        jac=lambda b: k @ b - kappa,
        bounds=[(0, bound)] * 30,
        constraints=[
            {"type": "ineq", "fun": lambda b: 30 * (1 + slack) - b.sum(), "jac": lambda b: -np.ones(30)},
            {"type": "ineq", "fun": lambda b: b.sum() - 30 * (1 - slack), "jac": lambda b: np.ones(30)},
        ],
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 2000},
    )
    assert best.success
    assert objective(b) == pytest.approx(best.fun, rel=1e-9)
    # no weight is left that the objective would still move: y is the price of the sum
    slope = k @ b - kappa
    free = (b > 1e-6) & (b < bound - 1e-6)
    y = slope[free].mean()
    assert np.abs(slope[free] - y).max() < 1e-4
    assert (slope[b <= 1e-6] > y - 1e-4).all()
    assert (slope[b >= bound - 1e-6] < y + 1e-4).all()


def test_kmm_weights_equal_samples_equally_and_warns_if_it_stops_early():
    source, target, _ = gaussians(n=40, m=30)
    twice = torch.cat([source, source])
    b = kernel_mean_matching(twice, target)
    torch.testing.assert_close(b[:40], b[40:], rtol=0, atol=1e-6)
    with pytest.warns(UserWarning, match="kernel mean matching stopped before it converged"):
        kernel_mean_matching(source, target, steps=2)


def test_kliep_says_when_it_stops_early():
    draw = torch.Generator().manual_seed(0)
    k_s, k_t = (torch.rand(n, 5, generator=draw, dtype=torch.double) ** 4 for n in (30, 20))
    with pytest.warns(UserWarning, match="KLIEP stopped before it converged: its mean log-ratio may lie"):
        kliep_coefficients(k_s, k_t, steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kliep_coefficients(k_s, k_t)


def test_kmm_says_when_no_weights_can_do():
    source, target, _ = gaussians(n=30, m=20)
    with pytest.raises(ValueError, match=r"at most 0\.5"):
        kernel_mean_matching(source, target, bound=0.5, epsilon=0.1)


def test_effective_sample_size():
    assert effective_sample_size(torch.full((7,), 3.0)) == pytest.approx(7)
    assert effective_sample_size(torch.tensor([0.0, 0.0, 5.0])) == pytest.approx(1)
    assert effective_sample_size(torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(36 / 14)


@pytest.mark.parametrize("name", ["classifier", "kliep", "kmm"])
def test_inputs_without_an_estimate_are_refused(name):
    source, target, _ = gaussians(n=20, m=20)
    with pytest.raises(ValueError, match="target has no samples"):
        estimate(name, source, target[:0])
    source[3, 1] = math.nan
    with pytest.raises(ValueError, match="source contain NaN"):
        estimate(name, source, target)


def test_domains_that_do_not_overlap_are_refused_by_kliep():
    source, target = torch.zeros(20, 1), torch.full((20, 1), 1.0)
    with pytest.raises(ValueError, match="do not overlap"):
        kliep_ratio(source + 1e-6 * torch.randn(20, 1), target + 1e-6 * torch.randn(20, 1), source)
