import math

import pytest

from tl_lab.domain_adaptation.reversal_ramp import ReversalRamp
from tl_lab.errors import UserError
from tl_lab.training.schedules import Constant, Cosine, InverseDecay, Linear, SlantedTriangular, Step


@pytest.mark.parametrize(("p", "expected"), [(0.0, 0.0), (0.1, 0.4621), (0.25, 0.8483), (0.5, 0.9866)])
def test_reversal_ramp_has_the_papers_values(p, expected):
    assert ReversalRamp()(p) == pytest.approx(expected, abs=5e-5)
    assert ReversalRamp()(p) == pytest.approx(2 / (1 + math.exp(-10 * p)) - 1, abs=1e-12)


def test_inverse_decay_has_the_papers_values():
    assert InverseDecay()(0.0) == 1
    assert InverseDecay()(1.0) == pytest.approx(11**-0.75)
    assert InverseDecay()(0.5) == pytest.approx(6**-0.75)


@pytest.mark.parametrize(("t", "expected"), [(0, 3.125e-4), (10, 0.01), (55, 5.15625e-3), (100, 3.125e-4)])
def test_slanted_triangular_has_the_papers_values(t, expected):
    assert 0.01 * SlantedTriangular(cut=0.1, ratio=32)(t / 100) == pytest.approx(expected, rel=1e-9)


def test_cosine_linear_step_constant():
    assert [Cosine()(p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert Cosine(warmup=0.2, final=0.1)(0.1) == pytest.approx(0.5)
    assert Cosine(warmup=0.2, final=0.1)(1.0) == pytest.approx(0.1)
    assert [Linear(warmup=0.5)(p) for p in (0.25, 0.5, 0.75, 1)] == pytest.approx([0.5, 1, 0.5, 0])
    assert [Step((0.5, 0.75), 0.1)(p) for p in (0.49, 0.5, 0.8)] == pytest.approx([1, 0.1, 0.01])
    assert Constant()(0.3) == 1


@pytest.mark.parametrize("wrong", [lambda: Cosine(warmup=1.0), lambda: Linear(-0.1), lambda: SlantedTriangular(cut=0)])
def test_wrong_values_are_refused(wrong):
    with pytest.raises(UserError, match=r"scheduler\.(warmup|cut)"):
        wrong()
