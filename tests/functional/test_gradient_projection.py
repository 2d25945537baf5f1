import numpy as np
import pytest
import torch

from tl_lab.functional import project_gradient


def test_projection_by_hand():
    # g = (1, -1), g_ref = (0, 2): the part of g against g_ref goes
    projected, changed = project_gradient([torch.tensor([1.0, -1.0])], [torch.tensor([0.0, 2.0])])
    assert changed is True
    assert projected[0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("reference", [[0.0, 2.0], [-3.0, 3.0], [0.0, 0.0]])
def test_agreeing_orthogonal_and_zero_references_change_nothing(reference):
    gradient = torch.tensor([1.0, 1.0])
    projected, changed = project_gradient([gradient], [torch.tensor(reference)])
    assert changed is False
    assert projected[0] is gradient


@pytest.mark.parametrize("seed", range(5))
def test_parts_are_projected_as_one_vector(seed):
    rng = np.random.default_rng(seed)
    shapes = [(20, 30), (20,), (5, 20), ()]
    g, ref = ([rng.normal(size=shape) for shape in shapes] for _ in range(2))
    flat, flat_ref = (np.concatenate([np.ravel(x) for x in xs]) for xs in (g, ref))
    if flat @ flat_ref > 0:
        ref, flat_ref = [-x for x in ref], -flat_ref
    expected = flat - (flat @ flat_ref) / (flat_ref @ flat_ref) * flat_ref

    projected, changed = project_gradient([torch.tensor(x) for x in g], [torch.tensor(x) for x in ref])
    assert changed
    ours = np.concatenate([x.numpy().ravel() for x in projected])
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)
    assert [x.shape for x in projected] == [x.shape for x in map(np.asarray, g)]


def test_single_precision_result_is_orthogonal_to_the_reference():
    draw = torch.Generator().manual_seed(0)
    g, noise = torch.randn(2, 1_000_000, generator=draw)
    ref = noise - 0.5 * g
    (projected,), changed = project_gradient([g], [ref])
    assert changed
    cosine = torch.nn.functional.cosine_similarity(projected.double(), ref.double(), dim=0)
    assert abs(cosine.item()) < 1e-7
    # by Pythagoras nothing else was taken away
    before, after = g.double().norm() ** 2, projected.double().norm() ** 2
    taken = (g.double() @ ref.double()) ** 2 / ref.double().norm() ** 2
    assert after.item() == pytest.approx((before - taken).item(), rel=1e-7)


def test_missing_gradients_count_as_zero():
    gradient = [torch.tensor([1.0, -1.0]), None, torch.tensor([4.0]), None]
    reference = [torch.tensor([0.0, 1.0]), torch.tensor([1.0]), None, None]
    full = [torch.tensor([1.0, -1.0]), torch.zeros(1), torch.tensor([4.0])]
    full_reference = [*reference[:2], torch.zeros(1)]
    projected, changed = project_gradient(gradient, reference)
    expected, _ = project_gradient(full, full_reference)
    assert changed
    assert projected[3] is None
    assert [x.tolist() for x in projected[:3]] == [x.tolist() for x in expected] == [[1.0, -0.5], [0.5], [4.0]]


def test_missing_gradients_stay_missing_without_projection():
    gradient = [torch.tensor([1.0]), None]
    projected, changed = project_gradient(gradient, [torch.tensor([1.0]), torch.tensor([5.0])])
    assert not changed
    assert projected[1] is None


def test_no_common_parameter_and_nothing_at_all():
    g, ref = torch.tensor([1.0]), torch.tensor([-1.0])
    assert project_gradient([g, None], [None, ref]) == ([g, None], False)
    assert project_gradient([], []) == ([], False)


def test_tiny_reference():
    # its square is 0 in single precision
    (projected,), changed = project_gradient([torch.tensor([1.0, -1.0])], [torch.tensor([0.0, 1e-25])])
    assert changed
    assert projected.tolist() == pytest.approx([1.0, 0.0], abs=1e-7)


def test_inputs_stay():
    gradient, reference = torch.tensor([1.0, -1.0]), torch.tensor([0.0, 2.0])
    project_gradient([gradient], [reference])
    assert gradient.tolist() == [1.0, -1.0]
    assert reference.tolist() == [0.0, 2.0]
