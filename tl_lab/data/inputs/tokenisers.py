"""From strings to numbers of tokens: the tokenisers of text encoders, and words as word vectors know them."""

import functools
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

from tl_lab.errors import UserError

__all__ = ["Encoded", "FastTokeniser", "Text", "Tokeniser", "Words", "tokeniser_from"]

Text = str | tuple[str, str]
"""A text, or two that belong together (a sentence and a hypothesis about it)."""
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_KINDS: dict[str, type["Tokeniser"]] = {}


class Encoded(NamedTuple):
    """Texts as numbers.

    Attributes:
        ids: of the tokens of each text.
        types: of pairs, 0 for tokens of the first text and 1 for those of the second; else empty.
        cut: how many texts have lost their end.
        unknown: tokens that the vocabulary lacks.
        tokens: tokens in all, special ones included.
    """

    ids: list[list[int]]
    types: list[list[int]]
    cut: int
    unknown: int
    tokens: int


class Tokeniser(ABC):
    """Turns strings into numbers of tokens, and travels in checkpoints as plain values."""

    kind: ClassVar[str]
    """The name in checkpoints."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _KINDS.setdefault(cls.kind, cls)

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of different ids."""

    @abstractmethod
    def encode(self, texts: Sequence[Text], max_length: int) -> Encoded:
        """Tokenise texts, or pairs of texts, into at most ``max_length`` tokens each, special ones included."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Give what :meth:`from_state` needs, as plain values, with the ``kind``."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the tokeniser that gave this state."""

    @functools.cached_property
    def digest(self) -> str:
        """Identify the tokeniser: equal ones have equal digests, sixteen hexadecimal digits."""
        return hashlib.sha256(repr(sorted(self.state().items())).encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokeniser) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size} tokens, {self.digest})"


def tokeniser_from(state: Mapping[str, Any]) -> Tokeniser:
    """Build the tokeniser of a checkpoint.

    Raises:
        UserError: its kind is unknown.
    """
    if state["kind"] not in _KINDS:
        raise UserError(f"there is no tokeniser of the kind {state['kind']!r}; valid: {', '.join(sorted(_KINDS))}")
    return _KINDS[state["kind"]].from_state(state)


@dataclass(eq=False, repr=False)
class FastTokeniser(Tokeniser):
    """A tokeniser of the library ``tokenizers``, as encoders of the hub come with.

    Args:
        definition: its whole definition in JSON, the content of a ``tokenizer.json``.
    """

    kind: ClassVar[str] = "fast"

    definition: str

    @functools.cached_property
    def _backend(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise UserError("text encoders need the library tokenizers: install tl_lab[text]") from error
        return Tokenizer.from_str(self.definition)

    @property
    def size(self) -> int:
        """Number of different ids, those of added tokens included."""
        return int(self._backend.get_vocab_size())

    @property
    def mask_id(self) -> int | None:
        """The id of the mask token, where there is one."""
        found = (self._backend.token_to_id(token) for token in ("[MASK]", "<mask>"))
        return next((number for number in found if number is not None), None)

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of special tokens, which stand for no part of a text."""
        return frozenset(number for number, one in self._backend.get_added_tokens_decoder().items() if one.special)

    def encode(self, texts: Sequence[Text], max_length: int) -> Encoded:
        """Tokenise; of a pair the longer text loses its end first."""
        backend = self._backend
        backend.no_padding()
        backend.enable_truncation(max_length)
        found = backend.encode_batch(list(texts))
        unknown = getattr(backend.model, "unk_token", None)
        number = None if unknown is None else backend.token_to_id(unknown)
        ids = [one.ids for one in found]
        pairs = any(not isinstance(text, str) for text in texts)  # tasks may mix texts and pairs
        return Encoded(
            ids,
            [one.type_ids for one in found] if pairs else [],
            sum(bool(one.overflowing) for one in found),
            sum(row.count(number) for row in ids) if number is not None else 0,
            sum(map(len, ids)),
        )

    def encode_words(self, words: Sequence[str], max_length: int) -> tuple[list[int], list[int | None]]:
        """Tokenise words that are known already.

        Args:
            words: of one text.
            max_length: tokens at most, special ones included.

        Returns:
            Ids, and the number of the word that each token belongs to; None for special ones.
        """
        backend = self._backend
        backend.no_padding()
        backend.enable_truncation(max_length)
        found = backend.encode(list(words), is_pretokenized=True)
        return found.ids, found.word_ids

    def pieces(self, text: str) -> list[int]:
        """Tokenise a part of a text: neither special tokens nor an end that is cut off."""
        backend = self._backend
        backend.no_truncation()
        return list(backend.encode(text, add_special_tokens=False).ids)

    def whole(self, text: str) -> list[int]:
        """Tokenise a text of any length, with the special tokens that stand before it (a language model's start)."""
        backend = self._backend
        backend.no_truncation()
        return list(backend.encode(text).ids)

    def text_of(self, ids: Sequence[int]) -> str:
        """Write tokens as text, special ones left out."""
        return str(self._backend.decode(list(ids)))

    def encode_passage(
        self, question: Sequence[str], words: Sequence[str], max_length: int
    ) -> tuple[list[int], list[int], list[int | None]]:
        """Tokenise a question and a passage in words; the passage loses its end.

        Args:
            question: in words.
            words: of the passage.
            max_length: tokens at most, special ones included; questions are cut to a quarter of it.

        Returns:
            Ids, types, and the number of the passage's word that each token belongs to; None for all other tokens.
        """
        backend = self._backend
        backend.no_padding()
        backend.enable_truncation(max_length, strategy="only_second")
        found = backend.encode(list(question)[: max_length // 4], list(words), is_pretokenized=True)
        pairs = zip(found.word_ids, found.sequence_ids, strict=True)
        return found.ids, found.type_ids, [word if sequence == 1 else None for word, sequence in pairs]

    def state(self) -> dict[str, Any]:
        """Give the definition."""
        return {"kind": self.kind, "definition": self.definition}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build it from its definition."""
        return cls(state["definition"])


@dataclass(eq=False, repr=False)
class Words(Tokeniser):
    """Words in small letters and signs, numbered by their place in a list.

    Id 0 pads shorter texts, 1 is the id of unknown words, and the words follow from 2.

    Args:
        words: the list, in the order of the vectors.
    """

    kind: ClassVar[str] = "words"
    RESERVED: ClassVar[int] = 2
    """Ids before that of the first word."""

    words: Sequence[str] = field(default_factory=list)

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: self.RESERVED + i for i, word in reversed(list(enumerate(self.words)))}  # the first of equals

    @property
    def size(self) -> int:
        """Number of words and reserved ids."""
        return len(self.words) + self.RESERVED

    def encode(self, texts: Sequence[Text], max_length: int) -> Encoded:
        """Look every word up; a pair is one text after the other, and a text without words is one unknown word."""
        numbers = self._numbers
        whole = [text if isinstance(text, str) else " ".join(text) for text in texts]
        rows = [[numbers.get(word, 1) for word in _WORD.findall(text.lower())] or [1] for text in whole]
        ids = [row[:max_length] for row in rows]
        cut = sum(len(row) > max_length for row in rows)
        return Encoded(ids, [], cut, sum(row.count(1) for row in ids), sum(map(len, ids)))

    def state(self) -> dict[str, Any]:
        """Give the words, in one string."""
        return {"kind": self.kind, "words": "\n".join(self.words)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build it from its words."""
        return cls(state["words"].split("\n"))
