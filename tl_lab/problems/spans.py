"""Extractive question answering: the span of a passage that answers a question."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tl_lab.errors import UserError
from tl_lab.evaluation.meter import Meter
from tl_lab.evaluation.spans import SPANS, SpanMeter, span_losses
from tl_lab.functional.answers import Passage, answer_scores, best_spans, words_in
from tl_lab.functional.likelihoods import CATEGORICAL
from tl_lab.problems.base import Criterion, Prediction, Problem, check_smoothing, refuse_option
from tl_lab.problems.metrics import SPANS as STATED

if TYPE_CHECKING:
    from tl_lab.results.figures.answers import Answered

__all__ = ["Spans"]


class SpanCrossEntropy(Criterion):
    """Mean cross-entropy of an answer's first and last words.

    Args:
        label_smoothing: share of the target that is spread over the words of the passage, in [0, 1).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, outputs: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Compute the loss of scores ``(B, W, 2)`` and labels ``(B, 4)``."""
        return span_losses(outputs, y, reduction, self.label_smoothing)


class Spans(Problem):
    """Labels are ``(N, 4)`` int64: first and last word of the answer, length of the passage, index of the passage.

    The outputs are scores of each word as the first and as the last word, ``(N, W, 2)``. Answers are compared by the
    rules of SQuAD; the main metric is the mean F1.

    Attributes:
        passages: passages by index, set by the data module.

    Examples:
        >>> problem = Spans(["first", "last"])
        >>> problem.passages = [Passage("Who wrote it?", "Ada Lovelace wrote it.", ("Ada Lovelace",))]
        >>> problem.compare(torch.tensor([[0, 1]]), numbers=torch.tensor([0])).tolist()
        [[1.0, 1.0]]
    """

    name = "spans"
    monitor = "span_f1"
    labelled = SPANS
    likelihood = CATEGORICAL
    metrics = STATED.metrics
    units = STATED.units
    general = False
    of_places = True
    of_words = True

    def __init__(self, output_names: Sequence[str]) -> None:
        super().__init__(output_names)
        self.passages: list[Passage] = []

    def check(self, name: str, y: Tensor, num_outputs: int | None = None) -> None:
        """Raise an error for spans outside their passages."""
        if y.is_floating_point() or y.dim() != 2 or y.shape[1] != 4:
            raise UserError(
                f"the set {name!r} has labels of {y.dtype}, {tuple(y.shape)}: give four whole numbers per sample"
            )
        wrong = (y[:, 0] < 0) | (y[:, 0] > y[:, 1]) | (y[:, 1] >= y[:, 2])
        if bool(wrong.any()):
            raise UserError(f"sample {int(wrong.nonzero()[0, 0]) + 1} of the set {name!r} has no answer in its passage")

    def criterion(
        self, y: Tensor | None, *, class_weights: str | None = None, label_smoothing: float = 0.0
    ) -> Criterion:
        """Build the loss."""
        if class_weights is not None:
            raise refuse_option(self, "class_weights", class_weights)
        return SpanCrossEntropy(check_smoothing(label_smoothing))

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute each sample's loss, ``(B,)``."""
        return span_losses(outputs, y)

    def predict(self, outputs: Tensor) -> Prediction:
        """Return the first and last word of the best span; the confidence is the product of their probabilities.

        Examples:
            >>> scores = torch.tensor([[[0.0, 0.0], [5.0, 0.0], [0.0, 4.0]]])
            >>> problem = Spans(["first", "last"])
            >>> problem.words(problem.predict(scores).values)
            ['words 1 to 2']
        """
        spans = best_spans(outputs, torch.full((len(outputs),), outputs.shape[1], device=outputs.device))
        p = outputs.softmax(1).gather(1, spans[:, None])[:, 0]
        return Prediction(spans, p.prod(1), None)

    def words(self, values: Tensor) -> list[str]:
        """Format the positions of the answers."""
        return [f"words {first} to {last}" for first, last in values.tolist()]

    def without_padding(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """Set the scores after a passage's last word to minus infinity.

        Args:
            outputs: scores, ``(N, W, 2)``.
            lengths: number of words of each passage, ``(N,)``.
        """
        padding = torch.arange(outputs.shape[1]) >= lengths[:, None]
        return outputs.masked_fill(padding[..., None], -torch.inf)

    def fields(self, values: Tensor, texts: Sequence[Passage]) -> list[str]:
        """Format the answers as they are written in their passages.

        Args:
            values: first and last words, ``(N, 2)``.
            texts: the passages.

        Examples:
            >>> problem = Spans(["first", "last"])
            >>> problem.fields(torch.tensor([[0, 1]]), [Passage("Who?", "Ada Lovelace wrote it.", ())])
            ['Ada Lovelace']
        """
        return [passage.text(first, last) for (first, last), passage in zip(values.tolist(), texts, strict=True)]

    def answered(self, outputs: Tensor, y: Tensor) -> "list[Answered]":
        """Return the questions, the words of their passages, and the predicted and true answers."""
        from tl_lab.results.figures.answers import Answered  # imports matplotlib

        spans = self.predict(self.without_padding(outputs, y[:, 2])).values.tolist()
        found = []
        for (first, last, _, number), (ours_first, ours_last) in zip(y.tolist(), spans, strict=True):
            passage = self.passages[number]
            words = [passage.context[a:b] for a, b in words_in(passage.context)]
            found.append(Answered(passage.question, words, (ours_first, ours_last), (first, last)))
        return found

    def label_columns(self, column: str) -> list[str]:
        """Raise an error: a table has no passages."""
        raise UserError(
            "answers are scored in training runs only: give the file as data.test_path of data=squad, or use predict"
        )

    def compare(self, spans: Tensor, numbers: Tensor) -> Tensor:
        """Compare spans ``(N, 2)`` with the answers to passages ``(N,)``: exact match and F1, ``(N, 2)``."""
        rows = []
        for (first, last), number in zip(spans.tolist(), numbers.tolist(), strict=True):
            passage = self.passages[number]
            rows.append(answer_scores(passage.text(first, last), passage.answers))
        return torch.tensor(rows, dtype=torch.double)

    def meter(self, num_outputs: int | None = None) -> Meter:
        """Build the meter of exact match and F1."""
        return SpanMeter(self.compare)

    def batch_scores(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Mark the answers whose first and last words are correct."""
        return {"span_acc": (best_spans(outputs, y[:, 2]) == y[:, :2]).all(1)}
