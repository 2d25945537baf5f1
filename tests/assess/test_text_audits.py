"""Audits of texts: sentence pairs scored by a language model, and sentences that differ in one person."""

from pathlib import Path

import pytest
import torch

from tl_lab.assess import equity, sentence_pairs
from tl_lab.assess.results import PartResult
from tl_lab.assess.sentence_pairs import Pair, log_likelihoods, preferences
from tl_lab.errors import UserError

WORDS = ["[start]", "he", "she", "cooks", "drives"]


class Bigrams:
    """A language model whose next word depends on the last one alone."""

    class tokeniser:
        @staticmethod
        def pieces(text):
            return [WORDS.index(word) for word in text.split()]

    def __init__(self):
        self.table = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).log_softmax(1)

    def read(self, ids, mask, past=None):
        return torch.nn.functional.one_hot(ids, 5).float(), None

    def next_token(self, states):
        return states @ self.table


def write(folder: Path) -> None:
    (folder / "crows_pairs").mkdir()
    rows = ["she cooks,he cooks,gender", "he drives,she drives,gender", "he cooks,she drives,other"]
    text = "\n".join(["sent_more,sent_less,bias_type", *rows])
    (folder / "crows_pairs" / "crows_pairs_anonymized.csv").write_text(text, encoding="utf-8")
    (folder / "winobias").mkdir()
    for part in ("type1", "type2"):
        for side, word in (("pro", "he"), ("anti", "she")):
            path = folder / "winobias" / f"{side}_stereotyped_{part}.txt.test"
            path.write_text(f"1 [{word}] drives\n", encoding="utf-8")


def test_a_text_is_as_likely_as_its_words_one_after_the_other():
    model = Bigrams()
    found = log_likelihoods(model, ["he drives", "she"], 0)
    expected = [model.table[0, 1] + model.table[1, 4], model.table[0, 2]]
    torch.testing.assert_close(found, torch.stack(expected).double())


def test_preferences_are_shares_of_pairs_and_equal_scores_count_half():
    pairs = [Pair("", "", kind) for kind in ("a", "a", "b", "b")]
    scores = torch.tensor([[-1.0, -2.0], [-2.0, -1.0], [-1.0, -1.0], [-1.0, -3.0]])
    found = {kind: one.value for kind, one in preferences(pairs, scores).items()}
    assert found == {"all": 2.5 / 4, "a": 0.5, "b": 0.75}


def test_the_published_files_are_read_and_scored(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path))
    write(tmp_path)
    assert sentence_pairs.winobias(tmp_path / "winobias")[0] == Pair("he drives", "she drives", "type1")
    model, result = Bigrams(), PartResult("", "")
    said = sentence_pairs.add_preferences(model, 0, 200, 0, result)
    prefers_he = float(log_likelihoods(model, ["he drives"], 0)) > float(log_likelihoods(model, ["she drives"], 0))
    assert result.measures["winobias/all"].value == float(prefers_he)
    assert result.measures["crows_pairs/all"].low < result.measures["crows_pairs/all"].high
    assert "On 3 of 3 pairs of CrowS-Pairs" in said[0]
    (tmp_path / "winobias" / "pro_stereotyped_type2.txt.test").write_text("1 a\n2 b\n", encoding="utf-8")
    with pytest.raises(UserError, match="have 2 and 1 lines"):
        sentence_pairs.winobias(tmp_path / "winobias")


def test_sets_that_are_not_here_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path))
    result = PartResult("", "")
    assert sentence_pairs.add_preferences(Bigrams(), 0, 10, 0, result) == []
    assert equity.add_equity(lambda texts: torch.zeros(len(texts), 2), ["no", "yes"], 5, 0, result) == ""
    assert [note.split(" was not found")[0] for note in result.notes] == [
        "CrowS-Pairs", "WinoBias, pro against anti", "The Equity Evaluation Corpus",
    ]  # fmt: skip


def test_gaps_of_the_equity_corpus_by_hand(tmp_path):
    head = "ID,Sentence,Template,Person,Gender,Race,Emotion,Emotion word"
    rows = [
        f"{k},{who} feels {word}.,t,{who},{gender},,{emotion},{word}"
        for k, (word, emotion) in enumerate((("sad", "sadness"), ("glad", "joy"), ("angry", "anger")))
        for who, gender in (("he", "male"), ("she", "female"), ("my aunt", "female"))
    ]
    path = tmp_path / "corpus.csv"
    path.write_text("\n".join([head, *rows]), encoding="utf-8")
    parts = equity.contexts(path)
    assert [len(one) for one in parts] == [3, 3, 3]
    scores = [0.1, 0.2, 0.4, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1]
    found = equity.gaps(parts, scores, "Gender", "female", "male")
    assert found.value == pytest.approx((0.2 + 0.0 - 0.15) / 3)
    assert found.low < found.value < found.high
