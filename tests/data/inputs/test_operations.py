"""Operations on inputs."""

import torch

from tl_lab.data.inputs.operations import constant


def test_a_constant_is_kept_and_can_be_used_in_training() -> None:
    like = torch.zeros(2, dtype=torch.float64)
    with torch.inference_mode():
        first = constant((0.25, 3.0), like)
    assert first.tolist() == [0.25, 3.0]
    assert first.dtype == torch.float64
    assert constant([0.25, 3.0], like) is first
    assert constant((0.25, 3.0), like.float()).dtype == torch.float32
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    (x * first).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.25, 3.0]
