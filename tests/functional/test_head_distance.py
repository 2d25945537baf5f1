"""Distances of two domains at a head's outputs: values by hand, and the extremes."""

import pytest
import torch

from tl_lab.functional import (
    class_mean_gap,
    disparity_discrepancy,
    gaussian_kernel,
    mmd_unbiased,
    output_discrepancy,
)


def outputs(n, shift=0.0, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)) + shift


def test_the_gap_of_class_means_by_hand():
    # class 0: means (3, 0) and (5, 0), variances 2 and 2; class 1: means (0, 4) and (0, 4), variances 2 and 8
    source = torch.tensor([[2.0, 0], [4, 0], [0, 3], [0, 5]])
    target = torch.tensor([[4.0, 0], [6, 0], [0, 2], [0, 6]])
    assert class_mean_gap(source, target) == pytest.approx((2 / 2**0.5 + 0) / 2)
    # a class that one domain is never predicted to be is left out
    assert class_mean_gap(source, target[:2]) == pytest.approx(2 / 2**0.5)
    assert class_mean_gap(source, target[:1]) is None


def test_the_discrepancy_of_outputs_is_the_unbiased_mmd_in_double():
    source, target = outputs(30), outputs(20, 0.5, seed=1)
    kernel = gaussian_kernel(torch.cat([source, target]).double())
    assert output_discrepancy(source, target) == pytest.approx(float(mmd_unbiased(kernel, 30)), rel=1e-12)
    fewer = output_discrepancy(source, target, max_samples=10)
    assert fewer == pytest.approx(output_discrepancy(source[:10], target[:10]), rel=1e-12)


def test_a_second_head_cannot_disagree_on_equal_outputs():
    assert disparity_discrepancy(outputs(400), outputs(400, seed=1)) < 0.1


def test_a_second_head_disagrees_completely_on_separate_domains():
    draw = torch.Generator().manual_seed(0)
    source = 3 * torch.eye(2).repeat(75, 1) + 0.1 * torch.randn(150, 2, generator=draw)
    first = source[::2]  # of one class: a line divides it, shifted along both outputs, from its place on the source
    assert disparity_discrepancy(source, first + 10) == pytest.approx(1, abs=0.02)
    assert disparity_discrepancy(source, torch.cat([first, first + 10])) == pytest.approx(1 / 2, abs=0.1)


def test_the_disparity_may_be_measured_within_inference_and_repeats():
    with torch.inference_mode():
        source, target = outputs(40), outputs(40, 1.0, seed=1)
        once = disparity_discrepancy(source, target)
    assert once == disparity_discrepancy(source.clone(), target.clone())
    with pytest.raises(ValueError, match="two samples of each domain"):
        disparity_discrepancy(outputs(40), outputs(1))
