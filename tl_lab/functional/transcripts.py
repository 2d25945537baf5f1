"""Transcripts as letters: texts without punctuation, and the loss over all alignments of frames (CTC)."""

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["BLANK", "SILENT", "collapsed", "ctc_losses", "frames_heard", "path_of", "plain_text"]

BLANK = 0
"""The output for the blank, which is no letter."""
SILENT = -1e4
"""The logit of all other outputs at frames after a recording's end (see :class:`~tl_lab.model.heads.FrameHead`)."""
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGITS = {ord(str(digit)): f" {name} " for digit, name in enumerate(_NAMES)}


def plain_text(text: str) -> str:
    """Normalise a text for comparison: lower case, each digit as a word, no punctuation except apostrophes.

    Args:
        text: as ``"Room 12, it's"``, which is ``"room one two it's"``.

    Examples:
        >>> plain_text("Room 12, it's")
        "room one two it's"
    """
    spelt = text.lower().translate(_DIGITS).replace("\u2019", "'")
    kept = "".join(letter if letter.isalpha() or letter == "'" else " " for letter in spelt)
    return " ".join(word for word in kept.split() if word.strip("'"))


def frames_heard(outputs: Tensor) -> Tensor:
    """Find the frames before the end of each recording.

    Args:
        outputs: logits, ``(B, L, C)``.

    Returns:
        True at frames of the recording, ``(B, L)``.

    Examples:
        >>> frames_heard(torch.tensor([[[0.0, 0.0], [0.0, SILENT]]])).tolist()
        [[True, False]]
    """
    return (outputs[..., BLANK + 1 :] > SILENT).any(-1)


def ctc_losses(outputs: Tensor, y: Tensor) -> Tensor:
    """Compute -log of the probability of all paths that collapse to a transcript, divided by its number of letters.

    A path has a letter or a blank at each frame; it collapses by joining repetitions and then removing blanks. A
    transcript that needs more frames than the recording has no path, and its loss is 0.

    Args:
        outputs: logits, ``(B, L, C)``.
        y: letters, ``(B, S)`` in 1 to C - 1, negative after the last one.

    Returns:
        ``(B,)``.

    References:
        A. Graves, S. Fernandez, F. Gomez, J. Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented
        Sequence Data with Recurrent Neural Networks", ICML 2006.

    Examples:
        >>> [round(loss, 3) for loss in ctc_losses(torch.zeros(1, 1, 2), torch.tensor([[1]])).tolist()]
        [0.693]
    """
    letters, frames = (y >= 0).sum(1), frames_heard(outputs).sum(1)
    log_p = outputs.float().log_softmax(-1).transpose(0, 1)  # (B, L, C) -> (L, B, C)
    losses = F.ctc_loss(log_p, y.clamp(min=0), frames, letters, BLANK, reduction="none", zero_infinity=True)
    return losses / letters.clamp(min=1)


def collapsed(path: Sequence[int]) -> list[int]:
    """Join the repetitions in a path, and then remove blanks.

    Args:
        path: the number of an output at each frame.

    Examples:
        >>> collapsed([1, 1, 0, 1, 2])
        [1, 1, 2]
    """
    return [letter for letter, _ in groupby(path) if letter != BLANK]


def path_of(letters: Sequence[int], frames: int) -> Tensor:
    """Construct a path that collapses to given letters, with a blank after each.

    Args:
        letters: numbers of outputs.
        frames: of the path, at least twice as many as letters.

    Examples:
        >>> path_of([3, 4], frames=5).tolist()
        [3, 0, 4, 0, 0]
    """
    path = torch.full((frames,), BLANK)
    path[: 2 * len(letters) : 2] = torch.tensor(letters, dtype=torch.int64)
    return path
