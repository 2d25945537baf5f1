"""Transcripts: the loss against all paths written out, collapsing, and texts as they are compared."""

import itertools

import pytest
import torch

from tl_lab.functional.transcripts import SILENT, collapsed, ctc_losses, frames_heard, path_of, plain_text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Room 12, it's", "room one two it's"),
        (" Zero. ", "zero"),
        ("\u2018Don\u2019t!", "don't"),
        ("a-b", "a b"),
        ("?! '", ""),
        ("Grüße", "grüße"),
    ],
)
def test_texts_are_compared_without_signs(text: str, plain: str) -> None:
    assert plain_text(text) == plain


def test_paths_collapse() -> None:
    assert collapsed([0, 1, 1, 0, 1, 2, 2, 0]) == [1, 1, 2]
    assert collapsed([0, 0]) == []
    assert collapsed(path_of([3, 3, 1], 7).tolist()) == [3, 3, 1]


@pytest.mark.parametrize("letters", [[1], [1, 2], [2, 2]])
def test_the_loss_sums_all_paths(letters: list[int]) -> None:
    outputs = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(len(letters)))
    p = outputs.double().softmax(-1)[0]
    paths = [path for path in itertools.product(range(3), repeat=4) if collapsed(path) == letters]
    whole = sum(float(torch.stack([p[t, k] for t, k in enumerate(path)]).prod()) for path in paths)
    y = torch.tensor([[*letters, -100, -100]])
    expected = -torch.tensor([whole]).log() / len(letters)
    torch.testing.assert_close(ctc_losses(outputs, y).double(), expected.double(), rtol=1e-5, atol=1e-6)


def test_silence_after_a_recording_has_no_effect() -> None:
    outputs = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = torch.tensor([[1, 2], [2, -100]])
    silent = torch.full((2, 3, 3), SILENT)
    silent[..., 0] = 0.0
    longer = torch.cat([outputs, silent], 1)
    torch.testing.assert_close(ctc_losses(longer, y), ctc_losses(outputs, y))
    assert frames_heard(longer).sum(1).tolist() == [5, 5]
    short = ctc_losses(outputs[:, :1], torch.tensor([[1, 1], [2, -100]]))  # no path: two frames are one too few
    assert short[0] == 0
    torch.testing.assert_close(short[1], -outputs[1, 0].log_softmax(-1)[2])
    ctc_losses(longer, y).sum().backward()
    assert bool(outputs.grad.isfinite().all())
