"""Texts: stored as strings, tokenised once per tokeniser, length and list, padded batch by batch."""

from pathlib import Path

import pytest
import torch

from tl_lab.data.duplicates import shared_samples
from tl_lab.data.inputs.spec import spec_from
from tl_lab.data.inputs.texts import Texts
from tl_lab.data.inputs.tokenisers import FastTokeniser, Words, tokeniser_from
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.data.samples import Samples
from tl_lab.errors import UserError

WORDS = Words(["the", "film", "is", "good", "don't"])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))


def spec(max_length: int = 8) -> TokenSpec:
    return TokenSpec(WORDS.size, max_length, 0, WORDS)


def fast() -> FastTokeniser:
    """Make a tokeniser of the library, of whole words, which puts [C] before a text and [S] after it."""
    tokenizers = pytest.importorskip("tokenizers", reason="tl_lab[text] is not installed")
    words = {word: i for i, word in enumerate(["[P]", "[U]", "[C]", "[S]", "a", "b", "c"])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[U]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[C] $A [S]", pair="[C] $A [S] $B:1 [S]:1", special_tokens=[("[C]", 2), ("[S]", 3)]
    )
    made.enable_padding(length=20)  # as published tokenisers come
    return FastTokeniser(made.to_str())


def test_words_are_numbered_by_their_place_after_padding_and_unknown() -> None:
    encoded = WORDS.encode(["The film is GOOD!", "don't", "", "the the the"], max_length=2)
    assert encoded.ids == [[2, 3], [6], [1], [2, 2]]
    assert (encoded.cut, encoded.unknown, encoded.tokens) == (2, 1, 6)


def test_the_librarys_tokeniser_adds_its_own_signs_cuts_and_counts() -> None:
    encoded = fast().encode(["a b", "a b c a", "x"], max_length=4)
    assert encoded.ids == [[2, 4, 5, 3], [2, 4, 5, 3], [2, 1, 3]]
    assert (encoded.cut, encoded.unknown, encoded.tokens, encoded.types) == (1, 1, 11, [])
    pairs = fast().encode([("a", "b c")], max_length=8)
    assert (pairs.ids, pairs.types) == ([[2, 4, 3, 5, 6, 3]], [[0, 0, 0, 1, 1, 1]])


@pytest.mark.parametrize("make", [lambda: WORDS, fast], ids=["words", "fast"])
def test_a_tokeniser_survives_its_state(make) -> None:
    one = make()
    again = tokeniser_from(one.state())
    assert again == one
    assert again.encode(["a film"], 9) == one.encode(["a film"], 9)
    assert Words(["other"]) != one


def test_a_spec_travels_with_its_tokeniser() -> None:
    again = spec_from(spec().state())
    assert again == spec()
    assert torch.equal(again.fit(["the film"])["ids"], torch.tensor([[2, 3]]))


def test_an_unknown_tokeniser_is_refused() -> None:
    with pytest.raises(UserError, match="unknown kind of tokeniser 'w'"):
        tokeniser_from({"kind": "w"})


def test_sets_are_padded_to_their_longest_text_and_batches_to_theirs() -> None:
    x = Texts(["the film is good", "good", "is good"]).load_all(spec())
    assert x["ids"].tolist() == [[2, 3, 4, 5], [5, 0, 0, 0], [4, 5, 0, 0]]
    assert x["mask"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]]
    batch = spec().shorten({name: tensor[1:] for name, tensor in x.items()})
    assert batch["ids"].tolist() == [[5, 0], [4, 5]]
    episodes = spec().shorten({name: tensor[None, 1:] for name, tensor in x.items()})
    assert episodes["ids"].shape == (1, 2, 2)


def test_pairs_have_types() -> None:
    made = fast()
    x = Texts([("a", "b"), ("a b", "c")]).load_all(TokenSpec(made.size, 9, 0, made))
    assert x["types"].tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1]]
    assert x["mask"].sum(1).tolist() == [5, 6]


def test_a_list_is_tokenised_once_for_each_tokeniser_and_length(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    encode = Words.encode
    monkeypatch.setattr(Words, "encode", lambda self, *given: (calls.append(given[1]), encode(self, *given))[1])
    texts = Texts(["the film", "is good"])
    first = texts.load_all(spec())
    assert torch.equal(texts.load_all(spec())["ids"], first["ids"])
    texts.load_all(spec(1))
    Texts(["is good", "the film"]).load_all(spec())
    assert calls == [8, 1, 8]


def test_what_is_cut_or_unknown_is_reported_also_from_the_cache() -> None:
    for _ in range(2):
        texts = Texts(["the film is good", "x", "the"])
        texts.load_all(spec(2))
        assert texts.notes == ["1 of 3 texts cut to 2 tokens", "25.0% of tokens unknown"]


def test_texts_without_a_tokeniser_are_refused() -> None:
    with pytest.raises(UserError, match="but the backbone has no tokeniser"):
        Texts(["a"]).load_all(TokenSpec(9, 4))


def test_equal_texts_of_two_parts_are_found() -> None:
    sets = {"train": Samples(Texts(["a", "b"]), None), "test": Samples(Texts(["c", "b "]), None)}
    (shared,) = shared_samples(sets)
    assert (shared.found, shared.of) == (1, 2)


def test_texts_are_cut_by_index_and_joined() -> None:
    texts = Texts(["a", "b", "c"])
    assert texts.subset(torch.tensor([2, 0])).items == ["c", "a"]
    assert texts.subset(torch.tensor([True, False, True])).items == ["a", "c"]
    assert texts.concatenate([texts, Texts(["d"])]).items == ["a", "b", "c", "d"]
    assert texts.fingerprint() != Texts(["a", "c", "b"]).fingerprint()


def test_a_question_of_many_tokens_leaves_room_for_the_passage() -> None:
    long = "a-a-a-a-a"  # one word of nine tokens
    for question, asked in (([long], []), (["b", long], [5]), (["b", "c"], [5, 6])):
        ids, types, words = fast().encode_passage(question, ["c", "a", "b", "c"], 8)
        assert ids == [2, *asked, 3, *[6, 4, 5, 6][: 8 - 3 - len(asked)], 3]
        assert types == [0] * (len(asked) + 2) + [1] * (len(ids) - len(asked) - 2)
        assert [word for word in words if word is not None] == list(range(len(ids) - len(asked) - 3))
