"""Speech recognition: the transcript of a recording, letter by letter."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tl_lab.errors import UserError
from tl_lab.evaluation.meter import Meter
from tl_lab.evaluation.transcript import TRANSCRIPT, TranscriptMeter
from tl_lab.functional.likelihoods import CATEGORICAL
from tl_lab.functional.transcripts import collapsed, ctc_losses, frames_heard, plain_text
from tl_lab.problems.base import Criterion, Prediction, Problem, refuse_options_of_classifiers
from tl_lab.problems.metrics import TRANSCRIPT as STATED

__all__ = ["Transcript"]

_UNKNOWN = 1  # the output of letters that do not occur in training; it is not trained
_PADDING = -100


class ConnectionistLoss(Criterion):
    """Mean CTC loss over recordings (see :func:`~tl_lab.functional.transcripts.ctc_losses`)."""

    def forward(self, outputs: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Compute the loss of logits ``(B, L, C)`` and letters ``(B, S)``."""
        losses = ctc_losses(outputs, y)
        return losses if reduction == "none" else losses.mean()


class Transcript(Problem):
    """Labels are letters, ``(N, S)`` int64, -100 after the last; outputs are logits of each frame, ``(N, L, C)``.

    The outputs are named ``blank``, ``unknown``, and then by the letters of the training transcripts. The most probable
    output of each frame is decoded, without a language model. The main metric is 1 minus the character error
    rate, since few whole words are correct early in training.
    """

    name = "transcript"
    monitor = "letter_acc"
    labelled = TRANSCRIPT
    likelihood = CATEGORICAL
    metrics = STATED.metrics
    units = STATED.units
    general = False
    of_places = True
    writes = True

    @classmethod
    def letters_in(cls, texts: Sequence[str]) -> list[str]:
        """Return the names of the outputs for the given training transcripts."""
        return ["blank", "unknown", *sorted({letter for text in texts for letter in plain_text(text)})]

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode transcripts as labels, ``(N, S)``."""
        known = {letter: number for number, letter in enumerate(self.output_names) if number > _UNKNOWN}
        rows = [[known.get(letter, _UNKNOWN) for letter in plain_text(text)] for text in texts]
        longest = max((len(row) for row in rows), default=0)
        return torch.tensor([[*row, *[_PADDING] * (longest - len(row))] for row in rows], dtype=torch.int64)

    def check(self, name: str, y: Tensor, num_outputs: int | None = None) -> None:
        """Raise an error for invalid transcripts."""
        if y.is_floating_point() or y.dim() != 2:
            raise UserError(
                f"the set {name!r} has labels of {y.dtype}, {tuple(y.shape)}: give letters as whole numbers"
            )
        if bool((empty := (y >= 0).sum(1) == 0).any()):
            raise UserError(f"sample {int(empty.nonzero()[0, 0]) + 1} of the set {name!r} has an empty transcript")
        if int(y.max()) >= self.num_outputs or bool((y == 0).any()):
            raise UserError(f"the set {name!r} has letters outside the known {self.num_outputs - 1}")

    def alike(self, y: Tensor) -> str | None:
        """Report that all transcripts are the same."""
        return f"the transcript {self.texts(y[:1])[0]!r}" if bool((y == y[:1]).all()) else None

    def criterion(
        self, y: Tensor | None, *, class_weights: str | None = None, label_smoothing: float = 0.0
    ) -> Criterion:
        """Build the loss."""
        refuse_options_of_classifiers(self, class_weights, label_smoothing)
        return ConnectionistLoss()

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute each sample's loss, ``(B,)``."""
        return ctc_losses(outputs, y)

    def predict(self, outputs: Tensor) -> Prediction:
        """Return the most probable output of each frame; the confidence is their mean probability."""
        sure, path = outputs.softmax(-1).max(-1)
        heard = frames_heard(outputs).to(sure)
        return Prediction(path, (sure * heard).sum(1) / heard.sum(1).clamp(min=1), None)

    def words(self, values: Tensor) -> list[str]:
        """Decode paths to texts."""
        return [self._written(collapsed(path), "?") for path in values.tolist()]

    def texts(self, y: Tensor) -> list[str]:
        """Decode labels to texts."""
        return [self._written([letter for letter in row if letter >= 0], "\ufffd") for row in y.tolist()]

    def truths(self, y: Tensor) -> list[str]:
        """Return the true texts."""
        return self.texts(y)

    def label_columns(self, column: str) -> list[str]:
        """Raise an error: transcripts are scored in training runs only."""
        raise UserError("transcripts are scored in training runs only: use predict")

    def _written(self, letters: Sequence[int], unknown: str) -> str:
        # an unknown letter never counts as correct: predictions and labels write it differently
        text = "".join(unknown if letter == _UNKNOWN else self.output_names[letter] for letter in letters)
        return " ".join(text.split())

    def meter(self, num_outputs: int | None = None) -> Meter:
        """Build the meter of word and character error rates."""
        return TranscriptMeter(self.words, self.texts)

    def batch_scores(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Compute the share of blank frames, which is close to 1 until the model recognises letters."""
        heard = frames_heard(outputs)
        return {"blanks": ((outputs.argmax(-1) == 0) & heard).sum() / heard.sum().clamp(min=1)}

    def facts(self, y: Tensor) -> dict[str, str]:
        """Return the numbers of words and letters in training."""
        texts = self.texts(y)
        words = [word for text in texts for word in text.split()]
        return {"transcripts": f"{len(words):,} words ({len(set(words)):,} different), {self.num_outputs - 2} letters"}
