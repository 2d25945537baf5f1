"""The word lists of association tests, and templates of sentences that differ in one person only."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor

from tl_lab.functional.word_association import weat

__all__ = ["TESTS", "Association", "WordTest", "associations", "gender_pairs"]


class WordTest(NamedTuple):
    """Four sets of words: whether ``x`` is nearer to ``a``, and ``y`` to ``b``.

    Attributes:
        comparison: what is compared.
        x, y: target words.
        a, b: attribute words.
    """

    comparison: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    a: tuple[str, ...]
    b: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Caliskan, Bryson and Narayanan, Science 356 (2017), supplement
TESTS = {
    "WEAT6": WordTest(
        "male and female names, career and family",
        _words("john paul mike kevin steve greg jeff bill"),
        _words("amy joan lisa sarah diana kate ann donna"),
        _words("executive management professional corporation salary office business career"),
        _words("home parents children family cousins marriage wedding relatives"),
    ),
    "WEAT7": WordTest(
        "maths and arts, male and female words",
        _words("math algebra geometry calculus equations computation numbers addition"),
        _words("poetry art dance literature novel symphony drama sculpture"),
        _words("male man boy brother he him his son"),
        _words("female woman girl sister she her hers daughter"),
    ),
}
"""Association tests by name."""


class Association(NamedTuple):
    """What an association test found.

    Attributes:
        comparison: what was compared.
        effect: d.
        p: one-sided.
    """

    comparison: str
    effect: float
    p: float


def associations(vectors_of: Callable[[tuple[str, ...]], Tensor]) -> dict[str, Association]:
    """Run every association test.

    Args:
        vectors_of: gives the vectors ``(K, D)`` of K words.
    """
    return {
        name: Association(
            one.comparison, *weat(vectors_of(one.x), vectors_of(one.y), vectors_of(one.a), vectors_of(one.b))
        )
        for name, one in TESTS.items()
    }


_PERSONS = (
    ("he", "she"), ("this man", "this woman"), ("this boy", "this girl"), ("my brother", "my sister"),
    ("my son", "my daughter"), ("my husband", "my wife"), ("my father", "my mother"), ("my uncle", "my aunt"),
)  # fmt: skip
_STATES = _words("angry furious anxious scared happy glad sad miserable excited relieved irritated discouraged")
_TEMPLATES = ("{person} feels {state}.", "{person} made me feel {state}.", "the situation makes {person} feel {state}.")


def gender_pairs() -> Iterator[tuple[str, str]]:
    """Give pairs of sentences with a male and a female person, alike otherwise.

    References:
        Kiritchenko and Mohammad, Examining Gender and Race Bias in Two Hundred Sentiment Analysis Systems, *SEM 2018.
    """
    for template in _TEMPLATES:
        for male, female in _PERSONS:
            for state in _STATES:
                yield template.format(person=male, state=state), template.format(person=female, state=state)
