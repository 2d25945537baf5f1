"""Similarity of an answer to the reference answers, by the rules of SQuAD, and the span with the best scores."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Passage", "answer_scores", "best_spans", "normalised", "words_in"]

_WORD = re.compile(r"\w+|[^\w\s]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words_in(text: str) -> list[tuple[int, int]]:
    """Find words and punctuation marks: start and end (exclusive) of each.

    Examples:
        >>> words_in("It is 9.")
        [(0, 2), (3, 5), (6, 7), (7, 8)]
    """
    return [(found.start(), found.end()) for found in _WORD.finditer(text)]


class Passage(NamedTuple):
    """A question about a text.

    Attributes:
        question: its text.
        context: the text.
        answers: the texts of the correct answers.

    Examples:
        >>> passage = Passage("Who wrote it?", "Ada Lovelace wrote it.", ("Ada Lovelace",))
        >>> passage.text(0, 1)
        'Ada Lovelace'
    """

    question: str
    context: str
    answers: tuple[str, ...]

    def text(self, first: int, last: int) -> str:
        """Return the part of the context from one word to another, both included."""
        words = words_in(self.context)
        return self.context[words[min(first, len(words) - 1)][0] : words[min(last, len(words) - 1)][1]]


def normalised(answer: str) -> str:
    """Write an answer in lower case, without punctuation, articles and extra spaces.

    Examples:
        >>> normalised("The Analytical  Engine!")
        'analytical engine'
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def answer_scores(given: str, answers: Sequence[str]) -> tuple[float, float]:
    """Compare an answer with the reference answers, of which the most similar one counts.

    F1 is computed from the multiset of common words.

    Args:
        given: the answer.
        answers: reference answers, at least one.

    Returns:
        Exact match, 0 or 1, and F1.

    References:
        P. Rajpurkar, J. Zhang, K. Lopyrev, P. Liang, "SQuAD: 100,000+ Questions for Machine Comprehension of Text",
        EMNLP 2016. https://arxiv.org/abs/1606.05250

    Examples:
        >>> answer_scores("the poet Ada Lovelace", ["Ada Lovelace", "Lovelace"])
        (0.0, 0.8)
    """
    ours = normalised(given).split()
    exact, best = 0.0, 0.0
    for answer in answers:
        theirs = normalised(answer).split()
        exact = max(exact, float(ours == theirs))
        common = sum((Counter(ours) & Counter(theirs)).values())
        # an empty answer has no words in common: F1 is the exact match
        f1 = 2 * common / (len(ours) + len(theirs)) if ours and theirs else float(ours == theirs)
        best = max(best, f1)
    return exact, best


def best_spans(outputs: Tensor, words: Tensor, longest: int = 30) -> Tensor:
    """Find the span with the largest sum of start and end score.

    Args:
        outputs: scores of each word as the first and as the last one, ``(N, W, 2)``.
        words: number of words of each passage, ``(N,)``.
        longest: largest number of words in a span.

    Returns:
        First and last word, ``(N, 2)``, int64.

    Examples:
        >>> scores = torch.tensor([[[0.0, 0.0], [5.0, 0.0], [0.0, 4.0], [0.0, 0.0]]])
        >>> best_spans(scores, words=torch.tensor([4])).tolist()
        [[1, 2]]
    """
    width = outputs.shape[1]
    place = torch.arange(width, device=outputs.device)
    inside = place < words[:, None]
    apart = place[None, :] - place[:, None]
    allowed = (apart >= 0) & (apart < longest) & inside[:, None, :] & inside[:, :, None]  # (N, W, W)
    sums = outputs[:, :, None, 0] + outputs[:, None, :, 1]
    best = sums.masked_fill(~allowed, -torch.inf).flatten(1).argmax(1)
    return torch.stack([best // width, best % width], 1)
