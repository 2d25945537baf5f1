"""Answers to questions by SQuAD's rules, and the best span, from small cases."""

import pytest
import torch

from tl_lab.functional.answers import Passage, answer_scores, best_spans, normalised, words_in


def test_answers_are_compared_without_case_signs_and_articles() -> None:
    assert normalised("The  Cat, a dog!") == "cat dog"
    assert answer_scores("the cat", ["Cat."]) == (1.0, 1.0)
    assert answer_scores("black cat", ["cat", "a dog"]) == (0.0, pytest.approx(2 / 3))
    assert answer_scores("the the", ["cat"]) == (0.0, 0.0)  # nothing is left of it
    assert answer_scores("a", ["the"]) == (1.0, 1.0)
    assert answer_scores("cat cat", ["cat"])[1] == pytest.approx(2 / 3)  # a word counts as often as both have it


def test_the_best_span_ends_after_its_start() -> None:
    start = torch.tensor([[0.0, 1.0, 5.0, 0.0], [0.0, 0.0, 9.0, 9.0]])
    end = torch.tensor([[0.0, 6.0, 1.0, 3.0], [2.0, 1.0, 9.0, 9.0]])
    outputs = torch.stack([start, end], -1)
    assert best_spans(outputs, torch.tensor([4, 2])).tolist() == [[2, 3], [0, 0]]  # 5 + 3; and within two words
    assert best_spans(outputs[:1], torch.tensor([4]), longest=1).tolist() == [[1, 1]]  # 1 + 6


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_best_span_is_that_of_a_search(seed: int) -> None:
    outputs = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(seed))
    words = torch.tensor([7, 4, 1])
    for row, count in enumerate(words.tolist()):
        spans = [(a, b) for a in range(count) for b in range(a, min(a + 3, count))]
        best = max(spans, key=lambda span: float(outputs[row, span[0], 0] + outputs[row, span[1], 1]))
        assert tuple(best_spans(outputs, words, 3)[row].tolist()) == best


def test_words_and_signs_have_their_places() -> None:
    text = "Ö-a, 5½."
    assert [text[a:b] for a, b in words_in(text)] == ["Ö", "-", "a", ",", "5½", "."]
    assert Passage("?", text, ()).text(2, 4) == "a, 5½"
