"""Audits of texts: sentence pairs scored by a language model, and sentences that differ in one person."""

from pathlib import Path

import pytest
import torch
from composing import run_in
from small_sets import texts

from tl_lab.assess import bias, equity, sentence_pairs, text_bias
from tl_lab.assess.asking import read
from tl_lab.assess.material import Material
from tl_lab.assess.results import PartResult, mean_with_interval
from tl_lab.assess.sentence_pairs import Pair, log_likelihoods, preferences
from tl_lab.errors import UserError
from tl_lab.run.inference import load_classifier

WORDS = ["[start]", "he", "she", "cooks", "drives"]


class Bigrams:
    """A language model whose next word depends on the last one alone."""

    class tokeniser:
        @staticmethod
        def pieces(text):
            return [WORDS.index(word) for word in text.split()]

    def __init__(self, seed=0):
        self.table = torch.randn(5, 5, generator=torch.Generator().manual_seed(seed)).log_softmax(1)

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
    sentences = sentence_pairs.add_preferences(model, 0, 200, 0, result)
    prefers_he = float(log_likelihoods(model, ["he drives"], 0)) > float(log_likelihoods(model, ["she drives"], 0))
    assert result.measures["winobias/all"].value == float(prefers_he)
    assert result.measures["crows_pairs/all"].low < result.measures["crows_pairs/all"].high
    assert "On 3 of 3 pairs of CrowS-Pairs" in sentences[0]
    both = [Bigrams(seed) for seed in (0, 1)]
    sentence_pairs.add_preferences(both[0], 0, 200, 0, result, both[1])
    pairs = sentence_pairs.crows_pairs(tmp_path / "crows_pairs" / "crows_pairs_anonymized.csv")
    wins = [
        [float(one[0] > one[1]) for one in (log_likelihoods(model, pair[:2], 0) for pair in pairs)] for model in both
    ]
    assert result.measures["base/crows_pairs/all"].value == pytest.approx(sum(wins[1]) / 3)
    differences = [after - before for after, before in zip(*wins, strict=True)]
    assert any(differences)  # the seeds prefer different ones
    expected = mean_with_interval(differences)
    assert result.measures["amplification/crows_pairs/all"].plain() == pytest.approx(expected.plain())
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


def _of_women(share):
    """A classifier that gives the second class so much more where a woman is named, and a little where a word has e."""
    women = {"she", "woman", "girl", "sister", "daughter", "wife", "mother", "aunt", "her"}

    def classify(texts):
        named = torch.tensor([bool(women & set(text.rstrip(".").split())) for text in texts], dtype=torch.float64)
        p = 0.2 + share * named + 0.01 * torch.tensor(["glad" in text for text in texts]) * named
        return torch.stack([1 - p, p], 1)

    return classify


def test_templates_are_scored_before_and_after_tuning_and_amplification_is_the_difference():
    result = PartResult("", "")
    sentence = text_bias.add_templates(_of_women(0.3), ["no", "yes"], "the run", result, _of_women(0.1))
    found = {
        kind: result.measures[f"{kind}/yes"] for kind in ("templates", "base/templates", "amplification/templates")
    }
    glad = 0.01 / 12  # one of twelve states
    assert [one.value for one in found.values()] == pytest.approx([0.3 + glad, 0.1 + glad, 0.2])
    one = found["amplification/templates"]
    assert (one.low, one.high) == (pytest.approx(0.2), pytest.approx(0.2))  # the same in every pair
    assert found["templates"].low < 0.3 + glad < found["templates"].high
    assert result.measures["amplification/templates/no"].value == pytest.approx(-0.2)
    assert result.tables[0].head == ["class", "gap (95 %)", "base (95 %)", "tuned - base (95 %)"]
    assert sentence.startswith("The run gives no 0.301 (")
    alone = PartResult("", "")
    text_bias.add_templates(_of_women(0.3), ["no", "yes"], "a probe", alone)
    assert set(alone.measures) == {"templates/no", "templates/yes"}


def test_the_equity_corpus_is_scored_before_and_after_tuning(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path))
    path = tmp_path / equity.PLACE
    path.parent.mkdir()
    rows = [
        f"{k},{who} feels {word}.,t,{who},{gender},{race},joy,{word}"
        for k, word in enumerate(("sad", "glad", "angry"))
        for who, gender, race in (
            ("he", "male", ""),
            ("she", "female", ""),
            ("Ebony", "", "African-American"),
            ("Amanda", "", "European"),
        )
    ]
    path.write_text(
        "\n".join(["ID,Sentence,Template,Person,Gender,Race,Emotion,Emotion word", *rows]), encoding="utf-8"
    )
    result = PartResult("", "")
    equity.add_equity(_of_women(0.3), ["no", "yes"], 5, 0, result, _of_women(0.1))
    found = [result.measures[f"{kind}equity/female - male/yes"] for kind in ("", "base/", "amplification/")]
    assert [one.value for one in found] == pytest.approx([0.3 + 0.01 / 3, 0.1 + 0.01 / 3, 0.2])
    assert found[2].high - found[2].low == pytest.approx(0, abs=1e-12)
    assert result.tables[0].head[3:] == ["base (95 %)", "tuned - base (95 %)"]


def test_the_base_of_a_run_on_texts_is_a_probe_on_its_encoder_before(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path / "none"))
    pairs = [("a b", "a c"), ("b b a", "c b a"), ("c a b c", "c a c c")]  # the encoder knows these words alone
    monkeypatch.setattr(text_bias, "gender_pairs", lambda: pairs)
    words = [*texts(tmp_path), "data.test_share=0.3"]
    tuning = ["strategy=fine_tuning", "domain_adaptation=none", "trainer.max_epochs=2", "optimizer.lr=0.01"]
    run_in(tmp_path / "run", *words, *tuning, "logger=none", "figures=false", "health=false")

    def of(*more):
        asked = read([*words, *more, "assess=bias", "assess.samples=60"])
        return Material(asked.plans, asked.options)

    material, untuned, result = of(f"init_from={tmp_path / 'run'}"), of(), PartResult("", "")
    assert len(bias._of_texts(material, result)) == 1
    subject = untuned.subjects[0]
    sentences = [text for pair in pairs for text in pair]
    with torch.no_grad():
        seen = subject.backbone(subject.backbone.spec.prepare(sentences))
        before = untuned.probe(subject.name).logits(seen, 2).softmax(1)[:, 1].view(-1, 2)
        after = load_classifier(tmp_path / "run")(sentences).double().softmax(1)[:, 1].view(-1, 2)
    expected = [float((p[:, 1] - p[:, 0]).mean()) for p in (after, before)]
    expected.append(expected[0] - expected[1])
    name = material.class_names[1]
    found = [result.measures[f"{kind}templates/{name}"].value for kind in ("", "base/", "amplification/")]
    assert found == pytest.approx(expected, abs=1e-6)
    assert abs(found[2]) > 1e-4
    # all words of the association tests are unknown to the encoder
    assert not any("WEAT" in key for key in result.measures)
    assert any(note.startswith("> Word associations are left out") for note in result.notes)
