"""Find the value of a field among the words of a page; transcribed values rarely match the words exactly."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise

__all__ = ["find_amount", "find_lines", "find_text", "plain"]

_LEAST = 0.8  # smallest similarity at which lines are accepted as a value
_LINES = 7  # largest number of lines in a value
_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")


def plain(text: str) -> str:
    """Remove everything but letters and digits, and convert to upper case."""
    return "".join(sign for sign in text.upper() if sign.isalnum())


def find_text(value: str, words: Sequence[str]) -> tuple[int, int] | None:
    """Find the shortest sequence of words that contains a whole value.

    Args:
        value: value of a field, such as a date.
        words: words of the page.

    Returns:
        Positions of the first word and of the word after the last; None if the value is not found.
    """
    wanted = plain(value)
    if not wanted:
        return None
    for length in range(1, len(value.split()) + 2):
        for first in range(len(words) - length + 1):
            if wanted in plain("".join(words[first : first + length])):
                return first, first + length
    return None


def find_lines(value: str, lines: Sequence[tuple[int, int]], words: Sequence[str]) -> tuple[int, int] | None:
    """Find the consecutive lines that are most similar to a value.

    Args:
        value: value of a field, such as an address.
        lines: for each line, the positions of its first word and of the word after its last.
        words: words of the page.

    Returns:
        Positions of the first word and of the word after the last; None if no lines are similar enough.
    """
    wanted, best, found = plain(value), _LEAST, None
    if not wanted:
        return None
    texts = [plain("".join(words[first:end])) for first, end in lines]
    for start in range(len(lines)):
        text = ""
        for stop in range(start, min(start + _LINES, len(lines))):
            text += texts[stop]
            if len(text) > len(wanted) / _LEAST * 1.3:
                break
            matcher = SequenceMatcher(None, text, wanted, autojunk=False)
            if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best and (ratio := matcher.ratio()) > best:
                best, found = ratio, (lines[start][0], lines[stop][1])
    return found


def find_amount(
    value: str, lines: Sequence[tuple[int, int]], words: Sequence[str], tops: Sequence[float]
) -> int | None:
    """Find the word that contains an amount; of several such words, the first one beside TOTAL, or else the last one.

    Args:
        value: the amount, such as ``60.30``.
        lines: for each line, the positions of its first word and of the word after its last.
        words: words of the page.
        tops: vertical middle of each word's box.

    Returns:
        Position of the word; None if the amount is not found.
    """
    wanted = "".join(_DIGITS.findall(value)).replace(",", "")
    hits = [i for i, word in enumerate(words) if "".join(_DIGITS.findall(word)).replace(",", "") == wanted]
    hits = [i for i in hits if "." in words[i] or "." not in value]
    if not hits:
        return None
    height = sorted(abs(b - a) for a, b in pairwise(tops) if a != b) or [1.0]
    near = height[len(height) // 2] / 2
    for first, end in lines:
        text = plain("".join(words[first:end]))
        if "TOTAL" in text and "SUBTOTAL" not in text:
            beside = [i for i in hits if abs(tops[i] - tops[first]) <= near]
            if beside:
                return beside[0]
    return hits[-1]
