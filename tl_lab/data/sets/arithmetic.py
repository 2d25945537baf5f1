"""Generated word problems of one to three steps, for studying when chain-of-thought reasoning helps."""

from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from tl_lab.data.samples import Samples
from tl_lab.data.sets.text import TextSet, samples_of
from tl_lab.data.splits import check_shares, random_split
from tl_lab.errors import UserError
from tl_lab.options import Fraction, Several
from tl_lab.randomness import derive_seed

__all__ = ["Arithmetic", "WordProblem", "word_problem"]

_NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Finn", "Greta", "Henry")
_THINGS = ("apples", "books", "coins", "marbles", "pencils", "shells", "stamps", "stones")
_GAINS = ("finds", "buys", "is given", "gets")
_LOSSES = ("loses", "sells", "gives away", "breaks")


class WordProblem(NamedTuple):
    """A problem with its solution.

    Attributes:
        text: the problem.
        reasoning: one equation per step: ``3 + 4 = 7. 7 - 2 = 5.``
        answer: the solution, an integer.
        steps: number of steps.
    """

    text: str
    reasoning: str
    answer: int
    steps: int


def word_problem(rng: np.random.Generator, steps: int, largest: int) -> WordProblem:
    """Generate a problem in which no number is negative or above ``largest``.

    Args:
        rng: random generator.
        steps: number of steps, at least 1.
        largest: largest number in the problem and its solution, at least 2.
    """
    name, thing = rng.choice(_NAMES), rng.choice(_THINGS)
    now = int(rng.integers(1, largest))
    sentences, equations = [f"{name} has {now} {thing}."], []
    for _ in range(steps):
        gains = now < 2 or (now < largest and bool(rng.integers(2)))
        by = int(rng.integers(1, (largest - now if gains else now) + 1))
        verb = rng.choice(_GAINS if gains else _LOSSES)
        sentences.append(f"Then {name} {verb} {by}{' more' if gains else ''}.")
        equations.append(f"{now} {'+' if gains else '-'} {by} = {now + by if gains else now - by}.")
        now = now + by if gains else now - by
    sentences.append(f"How many {thing} does {name} have now?")
    return WordProblem(" ".join(sentences), " ".join(equations), now, steps)


class Arithmetic(TextSet):
    """Word problems of one to three additions and subtractions; the answer, an integer from 0 on, is the class.

    No problem is in two parts. The demonstrations of ``strategy=prompting`` with reasoning contain the equations.

    Args:
        count: total number of problems.
        largest: largest number in a problem or its solution.
        val_share: share of all problems for validation.
        test_share: share of all problems for test.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.

    Raises:
        UserError: a share is out of range; from :meth:`load`: there are fewer than ``count`` different problems.
    """

    steps: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(
        self,
        *,
        count: Several = 2000,
        largest: Several = 20,
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_shares(val_share, test_share)
        self.count, self.largest, self.val_share, self.test_share = count, largest, val_share, test_share
        self.reasoning: dict[str, str] = {}

    def read(self) -> dict[str, Samples]:
        """Generate the problems, about equally many for each number of steps, and split them."""
        rng = np.random.default_rng(derive_seed(self.seed, "arithmetic"))
        made: dict[str, WordProblem] = {}
        for tried in range(20 * self.count):
            if len(made) == self.count:
                break
            problem = word_problem(rng, self.steps[tried % len(self.steps)], self.largest)
            made.setdefault(problem.text, problem)
        if len(made) < self.count:
            raise UserError(
                f"data.count={self.count} exceeds the number of different problems with numbers up to {self.largest}"
            )
        problems = list(made.values())
        self.class_names = [str(number) for number in range(self.largest + 1)]
        self.reasoning = {problem.text: problem.reasoning for problem in problems}
        samples = samples_of([problem.text for problem in problems], [problem.answer for problem in problems])
        samples = replace(samples, columns={"steps": torch.tensor([problem.steps for problem in problems])})
        rest, test = random_split(self.count, max(1, round(self.test_share * self.count)), self.seed, "test")
        train, val = random_split(len(rest), max(1, round(self.val_share * self.count)), self.seed, "val")
        parts = {"train": rest[train], "val": rest[val], "test": test}
        return {name: samples.subset(index) for name, index in parts.items()}
