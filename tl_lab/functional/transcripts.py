"""Transcripts as letters: texts without punctuation, and the loss over all alignments of frames (CTC)."""

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["BLANK", "SILENT", "collapsed", "ctc_losses", "frames_heard", "path_of", "plain_text"]

BLANK = 0
"""The blank: the output for no letter."""
SILENT = -1e4
"""The logit of every other output at frames behind a recording's end (see :class:`~tl_lab.model.heads.FrameHead`)."""
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGITS = {ord(str(digit)): f" {name} " for digit, name in enumerate(_NAMES)}


def plain_text(text: str) -> str:
    """Write a text as it is compared: small letters, digits as words one by one, no signs but apostrophes.

    Args:
        text: as ``"Room 12, it's"``, which is ``"room one two it's"``.

    Example:
        >>> plain_text("Room 12, it's")
        "room one two it's"
    """
    spelt = text.lower().translate(_DIGITS).replace("\u2019", "'")
    kept = "".join(letter if letter.isalpha() or letter == "'" else " " for letter in spelt)
    return " ".join(word for word in kept.split() if word.strip("'"))


def frames_heard(outputs: Tensor) -> Tensor:
    """Tell frames of a recording from those behind its end.

    Args:
        outputs: logits, ``(B, L, C)``.

    Returns:
        True at frames that were heard, ``(B, L)``.

    Example:
        >>> frames_heard(torch.tensor([[[0.0, 0.0], [0.0, SILENT]]])).tolist()
        [[True, False]]
    """
    return (outputs[..., BLANK + 1 :] > SILENT).any(-1)


def ctc_losses(outputs: Tensor, y: Tensor) -> Tensor:
    """Compute -log of the probability of all paths that collapse to a transcript, divided by its letters.

    A path has a letter or a blank at each frame; it collapses to what is left once repetitions are joined and blanks
    are left out. A transcript that needs more frames than there are has no path, and its loss is 0.

    Args:
        outputs: logits, ``(B, L, C)``.
        y: letters, ``(B, S)`` in 1 to C - 1, negative behind the last.

    Returns:
        ``(B,)``.

    References:
        A. Graves, S. Fernandez, F. Gomez, J. Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented
        Sequence Data with Recurrent Neural Networks", ICML 2006.

    Example:
        >>> [round(loss, 3) for loss in ctc_losses(torch.zeros(1, 1, 2), torch.tensor([[1]])).tolist()]
        [0.693]
    """
    letters, frames = (y >= 0).sum(1), frames_heard(outputs).sum(1)
    log_p = outputs.float().log_softmax(-1).transpose(0, 1)  # (B, L, C) -> (L, B, C)
    losses = F.ctc_loss(log_p, y.clamp(min=0), frames, letters, BLANK, reduction="none", zero_infinity=True)
    return losses / letters.clamp(min=1)


def collapsed(path: Sequence[int]) -> list[int]:
    """Join repetitions of a path, and then leave blanks out.

    Args:
        path: an output's number at each frame.

    Example:
        >>> collapsed([1, 1, 0, 1, 2])
        [1, 1, 2]
    """
    return [letter for letter, _ in groupby(path) if letter != BLANK]


def path_of(letters: Sequence[int], frames: int) -> Tensor:
    """Write a path that collapses to given letters: a blank behind each.

    Args:
        letters: numbers of outputs.
        frames: of the path, at least twice as many as letters.

    Example:
        >>> path_of([3, 4], frames=5).tolist()
        [3, 0, 4, 0, 0]
    """
    path = torch.full((frames,), BLANK)
    path[: 2 * len(letters) : 2] = torch.tensor(letters, dtype=torch.int64)
    return path
