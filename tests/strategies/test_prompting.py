"""Prompts: how they are written, what a small random language model makes of them, and whole runs."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from composing import run_in
from encoders_at_hand import tiny

import tl_lab
from tl_lab.backbones.hf_causal import HFCausal
from tl_lab.data.inputs.texts import Texts
from tl_lab.data.request import Request
from tl_lab.data.sets.arithmetic import Arithmetic, word_problem
from tl_lab.errors import UserError
from tl_lab.strategies.prompting.asking import begin, continued, scores_of
from tl_lab.strategies.prompting.prompting import Prompting
from tl_lab.strategies.prompting.prompts import Template, orders_of, prompts_of, template_of
from tl_lab.texts import counted

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def tiny_causal(folder: Path, kind: str = "llama") -> Path:
    """Save a random language model of two blocks, whose tokens are letters, digits and a few signs."""
    transformers = pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
    import tokenizers

    signs = ["[P]", "[U]", *map(chr, range(ord(" "), ord("~"))), "\n"]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({s: i for i, s in enumerate(signs)}, unk_token="[U]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    made.decoder = tokenizers.decoders.Fuse()
    sizes = {"vocab_size": len(signs), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    if kind in ("mpt", "gpt_neo"):
        sizes |= {"mpt": {"d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 512}}.get(
            kind, {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]],
                   "window_size": 8, "max_position_embeddings": 512}
        )  # fmt: skip
    elif kind == "gpt2":
        sizes |= {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 512}
    else:
        sizes |= {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
        sizes |= {"intermediate_size": 16, "max_position_embeddings": 512}
        sizes |= {"sliding_window": 8} if kind == "mistral" else {}
    torch.manual_seed(0)
    net = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **sizes))
    for parameter in net.parameters():  # far from the even answers of a fresh model
        torch.nn.init.normal_(parameter, std=0.6) if parameter.dim() > 1 else None
    net.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[P]", unk_token="[U]").save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module", params=["llama", "gpt2", "mistral", "mpt", "gpt_neo"])
def model(request, tmp_path_factory):
    return HFCausal(name=str(tiny_causal(tmp_path_factory.mktemp(request.param), request.param))).eval()


def test_a_recurrent_language_model_is_refused_in_one_sentence(tmp_path):
    recurrent = HFCausal(name=str(tiny_causal(tmp_path, "mamba"))).eval()
    with pytest.raises(UserError, match="prompting needs a model of attention layers, and mamba has recurrent ones"):
        begin(recurrent, recurrent.tokeniser.pieces("ab c"))
    assert recurrent.states({"ids": torch.tensor([[3, 4]]), "mask": torch.ones(1, 2, dtype=torch.long)}).shape[1] == 2


def by_hand(model, text: str, word: str) -> float:
    """Sum the word's log-probabilities in one reading of everything."""
    ids, own = model.tokeniser.pieces(text + word), model.tokeniser.pieces(word)
    with torch.no_grad():
        log_p = model.net(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    first = len(ids) - len(own)
    return sum(float(log_p[first - 1 + i, token]) for i, token in enumerate(own))


def test_words_are_scored_as_in_one_reading(model):
    start, questions = "ab c\n\n", ["x: 1", "yyy zz: 22", "q"]
    beginning = begin(model, model.tokeniser.pieces(start))
    asked = [model.tokeniser.pieces(question) for question in questions]
    for words in (["+", "-"], ["yes", "n", "ok"]):
        tokens = [model.tokeniser.pieces(word) for word in words]
        expected = torch.tensor([[by_hand(model, start + question, word) for word in words] for question in questions])
        torch.testing.assert_close(
            scores_of(model, beginning, asked, tokens, normalised=False), expected, rtol=1e-4, atol=1e-4
        )
        lengths = torch.tensor([float(len(word)) for word in words])
        found = scores_of(model, beginning, asked, tokens)
        torch.testing.assert_close(found, expected / lengths, rtol=1e-4, atol=1e-4)
        # what was read once is read again unchanged, and without a beginning everything is in the question
        torch.testing.assert_close(scores_of(model, beginning, asked, tokens), found)
        whole = [model.tokeniser.pieces(start + question) for question in questions]
        torch.testing.assert_close(scores_of(model, begin(model, []), whole, tokens), found, rtol=1e-4, atol=1e-4)


def test_a_continuation_is_greedy(model):
    questions = [model.tokeniser.pieces(text) for text in ("go on", "and on with it", "on")]
    start = model.tokeniser.pieces("go: ")
    expected = []
    with torch.no_grad():
        for question in questions:
            ids = [*start, *question]
            for _ in range(6):
                ids.append(int(model.net(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            expected.append(ids[-6:])
    assert continued(model, begin(model, start), questions, 6, frozenset()) == expected
    assert continued(model, begin(model, []), [[*start, *question] for question in questions], 6, frozenset()) == (
        expected
    )
    stop = expected[1][2]
    until = [tokens[: tokens.index(stop)] if stop in tokens else tokens for tokens in expected]
    assert continued(model, begin(model, start), questions, 6, frozenset([stop])) == until


def test_features_are_those_of_the_last_token_or_their_mean(model):
    x = model.spec.fit(["abc", "a"])
    states = [model.net.base_model(input_ids=x["ids"][i : i + 1, :n]).last_hidden_state[0] for i, n in ((0, 3), (1, 1))]
    torch.testing.assert_close(model(x), torch.stack([one[-1] for one in states]), rtol=1e-4, atol=1e-5)
    model.check_layer_groups()


def test_templates_are_filled_in_one_pass():
    template = template_of("{text} / {second}: {label}")
    assert template.fill(("a {second}", "b")) == "a {second} / b:"
    assert template.gap == " "
    assert template_of("{text}\n{label}").gap == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Label: {label}", r"lacks the placeholder \{text\}"),
        ("{text}", r"lacks the placeholder \{label\}"),
        ("{text} {label}!", "does not end with its only"),
    ],
)
def test_templates_without_their_places_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        template_of(text)


def test_prompts_cross_templates_draws_and_orders():
    assert len(orders_of([1, 2, 3], 4, 0, 0)) == 4
    assert orders_of([1, 2, 3], 2, 0, 0)[0] == (1, 2, 3)
    assert sorted(orders_of([1, 2], 5, 0, 0)) == [(1, 2), (2, 1)]  # there are no more
    assert orders_of([], 3, 0, 0) == [()]
    prompts = prompts_of(2, [[4, 5], [6, 7]], 2, 0)
    assert len(prompts) == 8
    assert {(p.template, p.draw, p.order) for p in prompts} == {
        (t, d, o) for t in (0, 1) for d in (0, 1) for o in (0, 1)
    }


def test_problems_state_the_way_to_their_answers(monkeypatch):
    data = Arithmetic(count=60, seed=1)
    data.load()
    assert {name: len(one) for name, one in data.sets.items()} == {"train": 42, "val": 6, "test": 12}
    texts = [text for one in data.sets.values() for text in one.x.items]
    assert len(set(texts)) == 60
    assert set(torch.cat([one.columns["steps"] for one in data.sets.values()]).tolist()) == {1, 2, 3}
    for text, y in zip(data.sets["train"].x.items, data.sets["train"].y.tolist(), strict=True):
        equations = data.reasoning[text].rstrip(".").split(". ")
        assert all(eval(e.partition("=")[0]) == int(e.partition("=")[2]) for e in equations)
        assert int(equations[-1].partition("=")[2]) == y
        assert 0 <= y <= 20
    assert word_problem(np.random.default_rng(0), 3, 20).steps == 3
    monkeypatch.setattr(Arithmetic, "steps", (1,))
    with pytest.raises(UserError, match="count=600 exceeds the number of different problems with numbers up to 2"):
        Arithmetic(count=600, largest=2).load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("causal"))


def ask(place, folder, *overrides):
    return run_in(
        place, "strategy=prompting", "data=arithmetic", "data.count=60", "data.largest=3", "backbone=hf_causal",
        f"backbone.name={folder}", "logger=none", "figures=false", "trainer.enable_progress_bar=false",
        "strategy.templates=['{text}: {label}']", *overrides,
    )  # fmt: skip


def test_a_run_states_the_mean_and_the_spread_of_its_prompts(folder, tmp_path, capsys):
    results = ask(tmp_path / "run", folder, "strategy.shots=1", "strategy.draws=3", "data.test_count=8")
    accuracies = torch.tensor([one["acc"] for one in results["prompts"]], dtype=torch.double)
    assert len(accuracies) == 3
    assert results["metrics"]["test/acc"] == pytest.approx(accuracies.mean().item())
    assert results["metrics"]["test/spread_acc"] == pytest.approx(accuracies.std().item())
    assert results["metrics"]["test/most_acc"] == accuracies.max().item()
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 prompts (1 template x 3 draws of 1 x 1 order) for 8 texts: 24 questions" in printed
    scale, acc = results["scale"], results["metrics"]["test/acc"]
    assert scale["parameters"] == sum(p.numel() for p in HFCausal(name=str(folder)).parameters())
    assert scale["acc"] == pytest.approx(acc)
    assert scale["low"] < acc < scale["high"]
    assert scale["low"] <= scale["chance"] <= scale["high"]  # of a random model
    assert f"At {scale['parameters']:,} parameters: absent at this scale: accuracy {acc:.1%}" in printed
    with pytest.raises(UserError, match="prompted a language model"):
        tl_lab.load(tmp_path / "run")


def test_the_default_template_contains_both_texts_of_a_pair(folder, tmp_path, monkeypatch):
    rows = [f"first {n}\tsecond {n}\t{'yes' if n % 2 else 'no'}" for n in range(20)]
    (tmp_path / "pairs.tsv").write_text("\n".join(["a\tb\tlabel", *rows]))
    questions = []
    fill = Template.fill
    monkeypatch.setattr(Template, "fill", lambda self, text: questions.append(fill(self, text)) or questions[-1])
    place = ["data=text_table", f"data.path={tmp_path / 'pairs.tsv'}", "data.text_column=[a,b]"]
    given = ["strategy=prompting", *place, "backbone=hf_causal", f"backbone.name={folder}", "strategy.shots=0"]
    run = run_in(tmp_path / "run", *given, "logger=none", "figures=false", "trainer.enable_progress_bar=false")
    assert run["templates"] == ["Text 1: {text}\nText 2: {second}\nLabel: {label}"]
    items = [re.fullmatch(r"Text 1: first (\d+)\nText 2: second (\d+)\nLabel:", one) for one in questions]
    assert sum(one is not None and one[1] == one[2] for one in items) >= 4  # the test set
    with pytest.raises(UserError, match=r"'\{text\}:' lacks \{second\}"):
        run_in(tmp_path / "short", *given, "strategy.templates=['{text}: {label}']", "logger=none", "figures=false")


def test_training_texts_are_left_as_they_were_written(folder):
    spec = HFCausal(name=str(folder)).spec
    data = Arithmetic(count=60, largest=3)
    data.load(Request(prepares_training=False))
    data.use(spec)
    assert isinstance(data.sets["train"].x, Texts)
    assert set(data.sets["test"].x) == set(data.sets["val"].x) == {"ids", "mask"}
    assert [len(texts) for texts in data.strings.values()] == [len(samples) for samples in data.sets.values()]


def test_a_model_of_only_the_first_blocks(folder):
    whole, first = HFCausal(name=str(folder)).eval(), HFCausal(name=str(folder), blocks=1).eval()
    ids = torch.tensor([[5, 9, 7]])
    with torch.no_grad():
        hidden = whole.net(input_ids=ids, output_hidden_states=True).hidden_states[1]  # after the first block
        expected = whole.net.model.norm(hidden)
        states, past = first.read(ids[:, :2], torch.ones(1, 2, dtype=torch.int64))
        rest, _ = first.read(ids[:, 2:], torch.ones(1, 3, dtype=torch.int64), past)
    torch.testing.assert_close(torch.cat([states, rest], 1), expected)
    with pytest.raises(UserError, match=r"backbone\.blocks=3 is more than the 2 blocks of the model"):
        HFCausal(name=str(folder), blocks=3)


def test_demonstrations_that_do_not_fit_are_left_out(folder, tmp_path, capsys):
    results = ask(tmp_path / "long", folder, "strategy.shots=6", "strategy.draws=1", "data.test_count=2")
    (prompt,) = results["prompts"]
    assert prompt["shots"] < 6
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        f"Left out {counted(6 - prompt['shots'], 'demonstration')} of 1 prompt: the model reads at most 512 tokens"
        in printed
    )


def test_the_model_reasons_before_it_answers(folder, tmp_path, monkeypatch):
    asked = []
    original = Prompting._reasoned

    def watched(self, beginning, questions):
        found = original(self, beginning, questions)
        text_of = self.model.tokeniser.text_of
        asked.extend((text_of(beginning.ids), text_of(question)) for question in found)
        return found

    monkeypatch.setattr(Prompting, "_reasoned", watched)
    options = ["strategy.shots=1", "strategy.draws=1", "data.test_count=2", "strategy.reasoning_tokens=5"]
    ask(tmp_path / "run", folder, "strategy.calibrated=false", *options)
    assert len(asked) == 2
    beginning, question = asked[0]
    assert " = " in beginning.partition("Reasoning:")[2].partition("Answer:")[0]
    assert 0 <= len(question.partition("Reasoning:")[2].partition("\nAnswer:")[0]) <= 5


def test_invalid_prompts_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="label_words names the class 'x', which the data do not have"):
        ask(tmp_path / "words", folder, "strategy.label_words={x: y}")
    with pytest.raises(UserError, match="label_words: the class '1' has no word"):  # numbers are names of classes, too
        ask(tmp_path / "empty", folder, "strategy.label_words={1: ' '}")
    with pytest.raises(UserError, match="needs texts and a language model, not backbone=MLP"):
        run_in(tmp_path / "mlp", "strategy=prompting", "data=digits", "backbone=mlp", "logger=none")


def test_with_an_encoder_as_backbone_a_separate_language_model_answers(folder, tmp_path):
    encoder = tiny(tmp_path / "encoder", "bert")
    options = ["strategy.shots=1", "strategy.draws=1", "data.test_count=8"]
    other = ["backbone=hf_text", f"backbone.name={encoder}", f"strategy.language_model={folder}"]
    results = ask(tmp_path / "beside", folder, *other, *options)
    assert results["prompts"] == ask(tmp_path / "alone", folder, *options)["prompts"]
    assert results["protocol"]["prompting"].endswith(", not by the backbone")
