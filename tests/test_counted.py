"""Numbers and the nouns that they count."""

import pytest

from tl_lab.data.scenarios.episodes import EpisodeSize
from tl_lab.texts import counted


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("row",), "0 rows"),
        (1, ("row",), "1 row"),
        (1_200, ("row",), "1,200 rows"),
        (1, ("class", "classes"), "1 class"),
        (2, ("class", "classes"), "2 classes"),
    ],
)
def test_the_noun_agrees_with_the_number(number: int, words: tuple[str, ...], text: str) -> None:
    assert counted(number, *words) == text


def test_the_size_of_an_episode() -> None:
    assert str(EpisodeSize(5, 1, 1)) == "5-way 1-shot, 1 query a class"
    assert str(EpisodeSize(5, 5, 15)) == "5-way 5-shot, 15 queries a class"
