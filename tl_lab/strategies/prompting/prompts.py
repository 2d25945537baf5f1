"""Parts of prompts: templates, demonstrations and their orders."""

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
    """Template of an example.

    Attributes:
        before: the text before the label, with ``{text}`` (for pairs also ``{second}``), without a space at its end.
        gap: the characters between this text and the label: a space, or none.
    """

    before: str
    gap: str

    def fill(self, text: Text) -> str:
        """Fill in an example up to its label."""
        first, second = (text, "") if isinstance(text, str) else text
        # in one pass, because a text may contain braces
        parts = self.before.split("{text}")
        return first.join(part.replace("{second}", second) for part in parts)


class Demonstration(NamedTuple):
    """A labelled example in a prompt.

    Attributes:
        text: of the example.
        label: its label in words.
        reasoning: the steps that lead to it; may be empty.
    """

    text: Text
    label: str
    reasoning: str = ""


class Prompt(NamedTuple):
    """One combination of template, demonstrations and order.

    Attributes:
        template: its number, from 0.
        draw: number of the draw of demonstrations, from 0.
        order: number of their order, from 0.
        demonstrations: positions in the training set, in this order.
    """

    template: int
    draw: int
    order: int
    demonstrations: tuple[int, ...]


def template_of(text: str) -> Template:
    """Read a template.

    Args:
        text: with ``{text}``, for pairs also ``{second}``, and ending in ``{label}``.

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
    """Draw different orders of demonstrations; the first one is that of the draw.

    Args:
        draw: positions of the demonstrations.
        count: number of orders.
        seed: of the run.
        number: of the draw.

    Returns:
        ``count`` orders, or all of them if there are fewer.
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
    """Combine templates, draws and orders.

    Args:
        templates: number of templates.
        draws: positions of the demonstrations of each draw; one empty draw for none.
        orders: number of orders of each draw.
        seed: of the run.
    """
    ordered = [orders_of(draw, orders, seed, number) for number, draw in enumerate(draws)]
    return [
        Prompt(template, number, place, order)
        for template in range(templates)
        for number, of_draw in enumerate(ordered)
        for place, order in enumerate(of_draw)
    ]
