"""Queries to a language model: probabilities of words after a prompt, and greedy continuations."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Beginning", "Reader", "begin", "continued", "scores_of"]


class Reader(Protocol):
    """A language model, such as :class:`~tl_lab.backbones.hf_causal.HFCausal`."""

    @property
    def skips_padding(self) -> bool: ...

    def read(self, ids: Tensor, mask: Tensor, past: Any = None) -> tuple[Tensor, Any]: ...

    def next_token(self, states: Tensor) -> Tensor: ...


class Beginning(NamedTuple):
    """The common beginning of all questions of a prompt, which is read once.

    Attributes:
        ids: its tokens.
        past: the model's cache after them; None without tokens.
    """

    ids: list[int]
    past: Any


def begin(model: Reader, ids: Sequence[int], device: torch.device | str = "cpu") -> Beginning:
    """Read the tokens that several questions share.

    Args:
        model: the language model.
        ids: the shared tokens; may be empty.
        device: of the model.
    """
    if not ids:
        return Beginning([], None)
    row = torch.tensor([list(ids)], device=device)
    return Beginning(list(ids), model.read(row, torch.ones_like(row))[1])


def scores_of(
    model: Reader,
    beginning: Beginning,
    questions: Sequence[Sequence[int]],
    words: Sequence[Sequence[int]],
    normalised: bool = True,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Score words as continuations of questions: log p(word | beginning, question), over its tokens.

    Args:
        model: the language model.
        beginning: of all questions.
        questions: tokens of each, at least one.
        words: tokens of each, at least one.
        normalised: divide by the number of tokens of the word.
        device: of the model.

    Returns:
        ``(N, C)``.
    """
    states, past, mask = _read(model, beginning, questions, device)
    rows = torch.arange(len(questions), device=device)
    last = torch.tensor([len(question) - 1 for question in questions], device=device)
    first = model.next_token(states[rows, last])
    columns = []
    for word in words:
        total = first[:, word[0]]
        if len(word) > 1 and (model.skips_padding or bool(mask.all())):  # only the rest of the word is read again
            rest = torch.tensor([list(word[:-1])] * len(questions), device=device)
            after, _ = model.read(rest, torch.cat([mask, torch.ones_like(rest)], 1), copy.deepcopy(past))
            for place, token in enumerate(word[1:]):
                total = total + model.next_token(after[:, place])[:, token]
        elif len(word) > 1:  # the whole question again, so that padding is at the end
            after, _, _ = _read(model, beginning, [[*question, *word[:-1]] for question in questions], device)
            for place, token in enumerate(word[1:], 1):
                total = total + model.next_token(after[rows, last + place])[:, token]
        columns.append(total / len(word) if normalised else total)
    return torch.stack(columns, 1)


def continued(
    model: Reader,
    beginning: Beginning,
    questions: Sequence[Sequence[int]],
    most: int,
    stop: frozenset[int],
    device: torch.device | str = "cpu",
) -> list[list[int]]:
    """Continue questions greedily, each with the most probable token at each step.

    Args:
        model: the language model.
        beginning: of the questions.
        questions: tokens of each, at least one.
        most: largest number of tokens of a continuation.
        stop: tokens that end a continuation and are not part of it.
        device: of the model.

    Returns:
        The tokens of each continuation.
    """
    if len(set(map(len, questions))) > 1 and not model.skips_padding:
        return [continued(model, beginning, [question], most, stop, device)[0] for question in questions]
    found: list[list[int]] = [[] for _ in questions]
    going = set(range(len(questions)))
    states, past, mask = _read(model, beginning, questions, device)
    last = states[torch.arange(len(questions), device=device), [len(question) - 1 for question in questions]]
    for _ in range(most):
        tokens = model.next_token(last).argmax(-1)
        numbers = tokens.tolist()
        going = {row for row in going if numbers[row] not in stop}
        if not going:
            break
        for row in going:
            found[row].append(numbers[row])
        mask = torch.cat([mask, mask.new_ones(len(questions), 1)], 1)
        states, past = model.read(tokens[:, None], mask, past)
        last = states[:, -1]
    return found


def _read(
    model: Reader, beginning: Beginning, rows: Sequence[Sequence[int]], device: torch.device | str
) -> tuple[Tensor, Any, Tensor]:
    """Read rows after the beginning, of which each row receives a copy; return states, cache and mask."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    own = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    past = None
    if beginning.past is not None:
        past = copy.deepcopy(beginning.past)  # which reading changes
        past.batch_repeat_interleave(len(rows))
    mask = torch.cat([own.new_ones(len(rows), len(beginning.ids)), own], 1)
    return *model.read(ids, mask, past), mask
