"""What prompts are made of: templates, demonstrations and their orders, written as text."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tl_lab.data.inputs.tokenisers import Text
from tl_lab.errors import UserError
from tl_lab.randomness import derive_seed

__all__ = ["CONTENT_FREE", "Demonstration", "Prompt", "Template", "orders_of", "prompts_of", "template_of"]

CONTENT_FREE = ("N/A", "[MASK]", "")
"""Inputs without content, by which probabilities are calibrated (Zhao et al. 2021, section 5)."""
_LABEL = "{label}"


class Template(NamedTuple):
    """How an example is written.

    Attributes:
        before: everything before the label, with ``{text}`` (of pairs also ``{second}``), no space at its end.
        gap: the characters between that and the label: a space, or none.
    """

    before: str
    gap: str

    def fill(self, text: Text) -> str:
        """Write an example up to its label."""
        first, second = (text, "") if isinstance(text, str) else text
        # in one pass: a text may hold braces
        parts = self.before.split("{text}")
        return first.join(part.replace("{second}", second) for part in parts)


class Demonstration(NamedTuple):
    """A labelled example in a prompt.

    Attributes:
        text: of the example.
        label: its label in words.
        reasoning: the steps that lead to it; empty where there are none.
    """

    text: Text
    label: str
    reasoning: str = ""


class Prompt(NamedTuple):
    """One way of asking.

    Attributes:
        template: its number, from 0.
        draw: number of the draw of demonstrations, from 0.
        order: number of their order, from 0.
        demonstrations: places in the training set, in this order.
    """

    template: int
    draw: int
    order: int
    demonstrations: tuple[int, ...]


def template_of(text: str) -> Template:
    """Read a template.

    Args:
        text: with ``{text}``, of pairs also ``{second}``, and ``{label}`` at its end.

    Raises:
        UserError: a placeholder is missing, or something follows the label.
    """
    for place in ("{text}", _LABEL):
        if place not in text:
            raise UserError(f"strategy.templates: {text!r} lacks the placeholder {place}")
    if not text.endswith(_LABEL) or text.count(_LABEL) != 1:
        raise UserError(f"strategy.templates: {text!r} does not end with its only {_LABEL}, whose words are scored")
    before = text.removesuffix(_LABEL)
    stripped = before.rstrip(" ")
    return Template(stripped, " " if len(stripped) < len(before) else "")


def orders_of(draw: Sequence[int], count: int, seed: int, number: int) -> list[tuple[int, ...]]:
    """Draw orders of demonstrations that differ, the first as drawn.

    Args:
        draw: places of the demonstrations.
        count: of orders wanted.
        seed: of the run.
        number: of the draw.

    Returns:
        At most ``count`` of them: fewer demonstrations have fewer orders.
    """
    rng = np.random.default_rng(derive_seed(seed, "orders", number))
    found = [tuple(draw)]
    for _ in range(20 * count):
        if len(found) >= count:
            break
        order = tuple(draw[i] for i in rng.permutation(len(draw)))
        if order not in found:
            found.append(order)
    return found[:count]


def prompts_of(templates: int, draws: Sequence[Sequence[int]], orders: int, seed: int) -> list[Prompt]:
    """Cross templates, draws and orders.

    Args:
        templates: how many.
        draws: places of the demonstrations of each draw; one empty draw for none.
        orders: of each draw's demonstrations.
        seed: of the run.
    """
    ordered = [orders_of(draw, orders, seed, number) for number, draw in enumerate(draws)]
    return [
        Prompt(template, number, place, order)
        for template in range(templates)
        for number, of_draw in enumerate(ordered)
        for place, order in enumerate(of_draw)
    ]
