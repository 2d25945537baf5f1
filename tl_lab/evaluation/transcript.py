"""Evaluation of transcripts: word and letter errors."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from tl_lab.evaluation.meter import Meter
from tl_lab.functional.transcripts import ctc_losses

__all__ = ["TRANSCRIPT", "TranscriptMeter"]

TRANSCRIPT = ("loss", "letter_acc", "wer", "cer")
"""Scores of a set with labels."""

Write = Callable[[Tensor], list[str]]
"""Converts paths or labels, ``(B, L)``, to texts."""


class TranscriptMeter(Meter):
    """Counts wrong words and letters over a whole set: insertions, deletions and substitutions, relative to the truth.

    Args:
        predicted: converts predicted paths to texts.
        true: converts labels to texts.
    """

    def __init__(self, predicted: Write, true: Write) -> None:
        from torchmetrics.text import CharErrorRate, WordErrorRate  # the import takes half a second

        super().__init__()
        self.predicted, self.true = predicted, true
        self.words, self.letters, self.losses = WordErrorRate(), CharErrorRate(), MeanMetric()

    def update(self, outputs: Tensor, y: Tensor | None) -> None:
        """Add logits ``(B, L, C)`` and letters ``(B, S)``; without labels there is nothing to score."""
        if y is None:
            return
        predicted, true = self.predicted(outputs.argmax(-1)), self.true(y)
        self.words.update(predicted, true)
        self.letters.update(predicted, true)
        self.losses.update(ctc_losses(outputs, y).to(torch.float64))

    def compute(self) -> dict[str, float]:
        """Return the scores of all batches, and reset."""
        if not self.words.update_called:
            return {}
        wer, cer, loss = (float(one.compute()) for one in (self.words, self.letters, self.losses))
        for one in (self.words, self.letters, self.losses):
            one.reset()
        return {"loss": loss, "letter_acc": 1 - cer, "wer": wer, "cer": cer}
