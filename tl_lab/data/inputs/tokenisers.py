"""Tokenisers of text encoders and of word vectors."""

import functools
import hashlib
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

from tl_lab.errors import UserError

__all__ = ["Encoded", "FastTokeniser", "Text", "Tokeniser", "Words", "tokeniser_from"]

Text = str | tuple[str, str]
"""A text, or a pair of texts (for example a sentence and a hypothesis)."""
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_KINDS: dict[str, type["Tokeniser"]] = {}


class Encoded(NamedTuple):
    """Texts as token ids.

    Attributes:
        ids: ids of the tokens of each text.
        types: for pairs: 0 at tokens of the first text, 1 at those of the second; otherwise empty.
        shortened: whether each text was cut.
        unknown: number of tokens outside the vocabulary.
        tokens: total number of tokens, including special ones.
    """

    ids: list[list[int]]
    types: list[list[int]]
    shortened: list[bool]
    unknown: int
    tokens: int

    @property
    def cut(self) -> int:
        """Number of texts that were cut."""
        return sum(self.shortened)


class Tokeniser(ABC):
    """Converts strings to token ids; checkpoints store it as plain values."""

    kind: ClassVar[str]
    """Name of the class in checkpoints."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _KINDS.setdefault(cls.kind, cls)

    mask_id: int | None = None
    """Id of the mask token, if there is one."""
    unknown_id: int | None = None
    """Id of the unknown token, which replaces parts of a text outside the vocabulary, if there is one."""
    special_ids: frozenset[int] = frozenset()
    """Ids of special tokens, which do not represent a part of a text."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of ids."""

    @abstractmethod
    def encode(self, texts: Sequence[Text], max_length: int) -> Encoded:
        """Tokenise texts, or pairs of texts, into at most ``max_length`` tokens each, including special ones."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return the state for :meth:`from_state`, as plain values, with the ``kind``."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the tokeniser from this state."""

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the state, sixteen hexadecimal digits; equal tokenisers have the same digest."""
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
        raise UserError(f"unknown kind of tokeniser {state['kind']!r}; valid: {', '.join(sorted(_KINDS))}")
    return _KINDS[state["kind"]].from_state(state)


@dataclass(eq=False, repr=False)
class FastTokeniser(Tokeniser):
    """A tokeniser of the library ``tokenizers``, as distributed with encoders.

    Args:
        definition: the content of its ``tokenizer.json``.
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
        """Number of ids, including those of added tokens."""
        return int(self._backend.get_vocab_size())

    @functools.cached_property
    def mask_id(self) -> int | None:  # type: ignore[override]  # a constant elsewhere
        """Id of the mask token, if there is one."""
        found = (self._backend.token_to_id(token) for token in ("[MASK]", "<mask>"))
        return next((number for number in found if number is not None), None)

    @functools.cached_property
    def unknown_id(self) -> int | None:  # type: ignore[override]  # a constant elsewhere
        """Id of the unknown token, which replaces parts of a text outside the vocabulary, if there is one."""
        unknown = getattr(self._backend.model, "unk_token", None)
        return None if unknown is None else self._backend.token_to_id(unknown)

    @functools.cached_property
    def special_ids(self) -> frozenset[int]:  # type: ignore[override]  # a constant elsewhere
        """Ids of special tokens, which do not represent a part of a text."""
        return frozenset(number for number, one in self._backend.get_added_tokens_decoder().items() if one.special)

    def encode(self, texts: Sequence[Text], max_length: int) -> Encoded:
        """Tokenise texts or pairs of texts; if a pair is too long, its longer text is cut first."""
        backend = self._backend
        backend.no_padding()
        backend.enable_truncation(max_length)
        found = backend.encode_batch(list(texts))
        number = self.unknown_id
        ids = [one.ids for one in found]
        pairs = any(not isinstance(text, str) for text in texts)  # tasks may mix texts and pairs
        return Encoded(
            ids,
            [one.type_ids for one in found] if pairs else [],
            [bool(one.overflowing) for one in found],
            sum(row.count(number) for row in ids) if number is not None else 0,
            sum(map(len, ids)),
        )

    def encode_words(self, words: Sequence[str], max_length: int) -> tuple[list[int], list[int | None]]:
        """Tokenise a text that is already split into words.

        Args:
            words: words of one text.
            max_length: largest number of tokens, including special ones.

        Returns:
            Ids, and for each token the number of its word, or None for special tokens.
        """
        backend = self._backend
        backend.no_padding()
        backend.enable_truncation(max_length)
        found = backend.encode(list(words), is_pretokenized=True)
        return found.ids, found.word_ids

    def pieces(self, text: str) -> list[int]:
        """Tokenise a part of a text, without special tokens and without cutting."""
        backend = self._backend
        backend.no_truncation()
        return list(backend.encode(text, add_special_tokens=False).ids)

    def whole(self, text: str) -> list[int]:
        """Tokenise a text of any length, with special tokens (such as a language model's start token)."""
        backend = self._backend
        backend.no_truncation()
        return list(backend.encode(text).ids)

    def text_of(self, ids: Sequence[int]) -> str:
        """Decode tokens to text, without special tokens."""
        return str(self._backend.decode(list(ids)))

    def encode_passage(
        self, question: Sequence[str], words: Sequence[str], max_length: int
    ) -> tuple[list[int], list[int], list[int | None]]:
        """Tokenise a question and a passage that are split into words; a long passage is cut.

        Args:
            question: words of the question, which is cut to ``max_length // 4`` words, and after the last word that
                fits into ``max_length // 2`` tokens; a first word that does not fit is left out with a warning.
            words: words of the passage.
            max_length: largest number of tokens, including special ones.

        Returns:
            Ids, types, and for each token the number of its word in the passage, or None for all other tokens.
        """
        backend = self._backend
        backend.no_padding()
        backend.no_truncation()
        asked = list(question)[: max_length // 4]
        alone = backend.encode(asked, is_pretokenized=True, add_special_tokens=False)
        if len(alone.ids) > max_length // 2:
            asked = asked[: alone.word_ids[max_length // 2]]
            if not asked:
                warnings.warn(f"a question is left out: its first word exceeds {max_length // 2} tokens", stacklevel=2)
        backend.enable_truncation(max_length, strategy="only_second")
        found = backend.encode(asked, list(words), is_pretokenized=True)
        pairs = zip(found.word_ids, found.sequence_ids, strict=True)
        return found.ids, found.type_ids, [word if sequence == 1 else None for word, sequence in pairs]

    def state(self) -> dict[str, Any]:
        """Return the definition."""
        return {"kind": self.kind, "definition": self.definition}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the tokeniser from its definition."""
        return cls(state["definition"])


@dataclass(eq=False, repr=False)
class Words(Tokeniser):
    """Lower-case words and punctuation, numbered by their position in a list.

    Id 0 is the padding, 1 stands for unknown words, and the ids of words start at 2.

    Args:
        words: the list, in the order of the vectors.
    """

    kind: ClassVar[str] = "words"
    RESERVED: ClassVar[int] = 2
    """Number of ids before that of the first word."""
    unknown_id = 1
    special_ids = frozenset({0})

    words: Sequence[str] = field(default_factory=list)

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        # reversed, so that the first of several equal words counts
        return {word: self.RESERVED + i for i, word in reversed(list(enumerate(self.words)))}

    @property
    def size(self) -> int:
        """Number of words and reserved ids."""
        return len(self.words) + self.RESERVED

    def encode(self, texts: Sequence[Text], max_length: int) -> Encoded:
        """Look up every word; a pair is treated as one text, and a text without words as a single unknown word."""
        numbers = self._numbers
        whole = [text if isinstance(text, str) else " ".join(text) for text in texts]
        rows = [[numbers.get(word, 1) for word in _WORD.findall(text.lower())] or [1] for text in whole]
        ids = [row[:max_length] for row in rows]
        shortened = [len(row) > max_length for row in rows]
        return Encoded(ids, [], shortened, sum(row.count(1) for row in ids), sum(map(len, ids)))

    def state(self) -> dict[str, Any]:
        """Return the words as one string."""
        return {"kind": self.kind, "words": "\n".join(self.words)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the tokeniser from its words."""
        return cls(state["words"].split("\n"))
