"""Pretraining without labels: closed forms of the tasks, a small run, and the probe that scores it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders_at_hand import tiny
from laboratory import Blobs, fit, make
from torch.nn import functional as F

from tl_lab.backbones.audio_cnn import AudioCNN
from tl_lab.backbones.lstm import LSTM
from tl_lab.backbones.word_vectors import WordVectors
from tl_lab.data.inputs.augmentation import Augmentation
from tl_lab.errors import UserError
from tl_lab.functional.contrastive import nt_xent
from tl_lab.functional.next_sentence import draw_seconds
from tl_lab.functional.token_masking import mask_tokens
from tl_lab.model.network import Network
from tl_lab.strategies.linear_probe import fit_linear_probe
from tl_lab.strategies.pretexts import Options, Seen
from tl_lab.strategies.pretexts.images import hidden_patches
from tl_lab.strategies.pretexts.recordings import MaskedSpectrogram
from tl_lab.strategies.pretexts.texts import MaskedTokens, NextTokens
from tl_lab.strategies.pretexts.words import BothDirections, SkipGram, word_pairs
from tl_lab.strategies.pretraining import Pretraining

OPTIONS = Options(temperature=0.5, projection=4, mask_share=0.5)


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------- values


def test_equal_views_cost_the_logarithm_of_the_others() -> None:
    same = torch.ones(4, 3)
    loss, _ = nt_xent(same, same, 0.5)
    assert loss.item() == pytest.approx(math.log(7))


def test_contrast_is_that_of_the_papers_equation() -> None:
    left, right = torch.randn(5, 3, generator=_draw()), torch.randn(5, 3, generator=_draw(1))
    z = torch.cat([left, right]).double().numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    scores = np.exp(z @ z.T / 0.2)
    terms = [-np.log(scores[i, (i + 5) % 10] / (scores[i].sum() - scores[i, i])) for i in range(10)]
    loss, found = nt_xent(left, right, 0.2)
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-5)
    others = scores - np.diag(np.diag(scores))
    assert found.item() == pytest.approx(np.mean(others.argmax(1) == (np.arange(10) + 5) % 10))


def test_tokens_are_hidden_as_in_bert() -> None:
    ids = torch.full((400, 50), 7)
    candidates = torch.ones_like(ids, dtype=torch.bool)
    candidates[:, 0] = False
    read, chosen = mask_tokens(ids, candidates, 0.15, 3, 1000, _draw())
    assert not chosen[:, 0].any()
    count = int(chosen.sum())
    assert count / candidates.sum() == pytest.approx(0.15, abs=0.01)
    assert float((read[chosen] == 3).float().mean()) == pytest.approx(0.8, abs=0.02)
    assert float((read[chosen] == 7).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert torch.equal(read[~chosen], ids[~chosen])
    _, at_least = mask_tokens(ids[:, :3], candidates[:, :3], 1e-9, 3, 1000, _draw())
    assert at_least.sum(1).tolist() == [1] * 400


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory):
    from tl_lab.backbones.hf_causal import HFCausal
    from tl_lab.backbones.hf_text import HFText

    folders: dict[str, Path] = {kind: tiny(tmp_path_factory.mktemp(kind), kind, mask=True) for kind in ("bert", "gpt2")}
    return HFText(name=str(folders["bert"])).eval(), HFCausal(name=str(folders["gpt2"])).eval()


def _seen(backbone, texts: list[str]) -> Seen:
    x = backbone.spec.fit(texts)
    return Seen(x, lambda: x, _draw(3))


def test_hidden_tokens_are_restored_from_the_states_at_their_places(encoders) -> None:
    backbone = encoders[0]
    task = MaskedTokens(Network(backbone, 2), OPTIONS).eval()
    seen = _seen(backbone, ["a b c a", "c b", "a"])
    quantities = task(seen)
    special = torch.tensor([0, 1, 5])
    assert task.mask_id == 5
    x = seen.x
    read, chosen = mask_tokens(x["ids"], x["mask"].bool() & ~torch.isin(x["ids"], special), 0.5, 5, 6, _draw(3))
    states = backbone.net(input_ids=read, attention_mask=x["mask"]).last_hidden_state[chosen]
    scores = task.transform(states) @ backbone.net.get_input_embeddings().weight.T + task.bias
    torch.testing.assert_close(quantities["loss"], F.cross_entropy(scores, x["ids"][chosen]))
    quantities["loss"].backward()
    assert all(parameter.grad is not None for parameter in task.parameters())
    assert backbone.net.get_input_embeddings().weight.grad.abs().sum() > 0


def test_following_texts_are_distinguished_from_others(encoders) -> None:
    backbone = encoders[0]
    options = Options(temperature=0.5, projection=4, mask_share=0.5, next_sentence=True)
    task = MaskedTokens(Network(backbone, 2), options).eval()
    ids = backbone.spec.fit(["a b c", "c b", "a", "b a c c"])
    whose, follows = draw_seconds(4, _draw(3))
    assert ((whose == torch.arange(4)) == follows).all()
    pairs, labels, scored = task.with_seconds(ids, _draw(3))
    a, b, c = (int(backbone.spec.fit([word])["ids"][0, 0]) for word in "abc")
    firsts, seconds = [[a, b], [c], [a], [b, a]], [[c], [b], [], [c, c]]
    for i, row in enumerate(pairs["ids"].tolist()):
        expected = firsts[i] + seconds[int(whose[i])]
        assert row[: len(expected)] == expected
        assert pairs["mask"][i].sum() == len(expected)
        assert pairs["types"][i].sum() == len(seconds[int(whose[i])])
    assert torch.equal(labels, follows)
    assert scored.tolist() == [i != 2 and int(whose[i]) != 2 for i in range(4)]
    found = task(Seen(ids, lambda: ids, _draw(3)))
    torch.testing.assert_close(found["loss"], found["masked_loss"] + found["next_sentence_loss"])
    with torch.no_grad():  # one class has the score log 3: the others' probability is 1/4
        task.following[2].weight.zero_()
        task.following[2].bias.copy_(torch.tensor([0.0, math.log(3)]))
    terms = [math.log(4 / 3) if yes else math.log(4) for yes in follows[scored].tolist()]
    loss = task(Seen(ids, lambda: ids, _draw(3)))["next_sentence_loss"]
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-6)
    given = task.with_seconds(backbone.spec.padded([[a, b, c]], [[0, 0, 1]]), _draw())[0]  # pairs keep their parts
    assert (given["ids"].tolist(), given["types"].tolist()) == ([[a, b, c]], [[0, 0, 1]])


def test_the_next_token_is_predicted_from_those_before_it(encoders) -> None:
    backbone = encoders[1]
    task = NextTokens(Network(backbone, 2), OPTIONS)
    texts = ["a b c a", "c b"]
    loss = task(_seen(backbone, texts))["loss"]
    words, terms = backbone.net.get_input_embeddings().weight, []
    for text in texts:
        ids = backbone.spec.fit([text])["ids"]
        states = backbone.states({"ids": ids, "mask": torch.ones_like(ids)})[0]
        terms += [F.cross_entropy(states[t] @ words.T, ids[0, t + 1]) for t in range(ids.shape[1] - 1)]
    torch.testing.assert_close(loss, torch.stack(terms).mean())


def _words(texts: list[str], monkeypatch: pytest.MonkeyPatch, kind: type = WordVectors, **options):
    """Build a backbone on random vectors of five words, and a batch of texts."""
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    monkeypatch.setattr("tl_lab.backbones.word_vectors._glove", lambda: (list("abcde"), vectors))
    backbone = kind(max_length=8, **options)
    return backbone, _seen(backbone, texts)


def test_neighbouring_words_are_distinguished_from_random_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, seen = _words(["a b c", "d", "e a"], monkeypatch)
    options = Options(0.5, 4, 0.5, window=1, negatives=2)
    task = SkipGram(Network(backbone, 2), options)
    assert task(seen)["loss"].item() == pytest.approx(3 * math.log(2)), "contexts of 0: 1 + 2 words, s(0) each"
    with torch.no_grad():
        task.contexts.weight.normal_(generator=_draw(1))
    pairs = [("a", "b"), ("b", "c"), ("b", "a"), ("c", "b"), ("e", "a"), ("a", "e")]
    number = {word: int(backbone.spec.fit([word])["ids"][0, 0]) for word in "abcde"}
    found = set(zip(*(part.tolist() for part in word_pairs(seen.x["ids"], seen.x["mask"].bool(), 1)), strict=True))
    assert found == {(number[one], number[other]) for one, other in pairs}
    v, u = backbone.vectors.weight.detach().numpy(), task.contexts.weight.detach().numpy()
    centres, near = word_pairs(seen.x["ids"], seen.x["mask"].bool(), 1)
    drawn = torch.multinomial(task.chances, 12, replacement=True, generator=_draw(3)).view(6, 2)
    terms = [
        math.log1p(math.exp(-u[o] @ v[c])) + sum(math.log1p(math.exp(u[n] @ v[c])) for n in some)
        for c, o, some in zip(centres.tolist(), near.tolist(), drawn.tolist(), strict=True)
    ]
    seen = Seen(seen.x, seen.again, _draw(3))
    assert task(seen)["loss"].item() == pytest.approx(np.mean(terms), rel=1e-5)


def test_each_direction_predicts_unread_words(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, seen = _words(["a b c d", "e a"], monkeypatch, LSTM, hidden=4, dropout=0.0)
    task = BothDirections(Network(backbone, 2), OPTIONS)
    ids = seen.x["ids"]
    task.words = ids[seen.x["mask"].bool()].unique()
    found = task(seen)
    forwards, backwards = [], []
    for row, length in ((0, 4), (1, 2)):
        alone = {name: tensor[row : row + 1, :length] for name, tensor in seen.x.items()}
        ahead, back = backbone.states(alone)[0].chunk(2, dim=1)
        words = backbone.vectors.weight[task.words]
        place = {int(word): number for number, word in enumerate(task.words)}
        truth = torch.tensor([place[int(word)] for word in ids[row, :length]])
        forwards += [F.cross_entropy(task.transform(ahead[t]) @ words.T, truth[t + 1]) for t in range(length - 1)]
        backwards += [F.cross_entropy(task.transform(back[t]) @ words.T, truth[t - 1]) for t in range(1, length)]
    torch.testing.assert_close(found["forward_loss"], torch.stack(forwards).mean())
    torch.testing.assert_close(found["backward_loss"], torch.stack(backwards).mean())
    torch.testing.assert_close(found["loss"], (found["forward_loss"] + found["backward_loss"]) / 2)
    changed = {**seen.x, "ids": ids.clone()}
    changed["ids"][0, 3] = ids[0, 0]
    before, after = (backbone.states(x)[0].chunk(2, dim=1) for x in (seen.x, changed))
    assert torch.equal(before[0][:3], after[0][:3]), "reading forwards, the last word is not seen before it is there"
    assert not torch.equal(before[1][:3], after[1][:3])


def test_a_batch_without_anything_to_predict_costs_nothing(encoders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of texts of similar lengths may hold texts of one word only."""
    backbone, seen = _words(["a", "e"], monkeypatch, LSTM, hidden=4, dropout=0.0)
    both = BothDirections(Network(backbone, 2), OPTIONS)
    both.words = seen.x["ids"].unique()
    gram = SkipGram(Network(_words(["a"], monkeypatch)[0], 2), OPTIONS)
    read, masked = encoders[1], encoders[0]
    one = {"ids": torch.tensor([[2], [3]]), "mask": torch.ones(2, 1, dtype=torch.long)}
    unknown = {"ids": torch.zeros(2, 3, dtype=torch.long), "mask": torch.ones(2, 3, dtype=torch.long)}
    tried = [
        (both, seen.x),
        (gram, seen.x),
        (NextTokens(Network(read, 2), OPTIONS), one),
        (MaskedTokens(Network(masked, 2), OPTIONS), unknown),
    ]
    for task, x in tried:
        task.zero_grad()
        task.network.zero_grad()
        found = task(Seen(x, lambda x=x: x, _draw()))
        assert all(float(quantity.detach()) == 0 for quantity in found.values()), task.name
        found["loss"].backward()
        gradients = [p.grad for p in (*task.parameters(), *task.network.parameters()) if p.grad is not None]
        assert all(not gradient.any() for gradient in gradients), task.name


def test_turns_are_quarter_turns_against_the_clock_and_their_numbers_the_labels() -> None:
    _, model = make(Pretraining, data=Blobs(batch_size=20))
    task, read = model.pretext, []
    x = torch.randn(3, 1, *model.network.backbone.spec.size, generator=_draw())
    model.network.eval()
    hook = task.head.register_forward_hook(lambda _, given, scores: read.append(scores.detach().double().numpy()))
    seen = model.network.backbone.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    found = task(Seen(x, lambda: x, _draw()))
    hook.remove()
    seen.remove()
    images, scores = read
    turned = np.concatenate([np.rot90(x.numpy(), k, (2, 3)) for k in range(4)])
    assert np.array_equal(images.numpy(), turned)
    assert torch.equal(images[3:6], torch.rot90(x, 1, (2, 3)))
    labels = np.repeat(np.arange(4), 3)
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    assert found["loss"].item() == pytest.approx(-log_p[np.arange(12), labels].mean(), rel=1e-6)
    assert found["turns_told"].item() == pytest.approx(np.mean(scores.argmax(1) == labels))
    alone = task.head(model.network.features(torch.rot90(x[1:2], 3, (2, 3)))).detach()
    np.testing.assert_allclose(alone[0].numpy(), scores[3 * 3 + 1], rtol=1e-5)


def test_hidden_patches_are_scored_and_nothing_else() -> None:
    hidden = hidden_patches((3, 2, 8, 12), 4, 0.5, _draw())
    assert hidden.shape == (3, 1, 8, 12)
    assert hidden.sum((1, 2, 3)).tolist() == [48] * 3
    blocks = hidden.view(3, 2, 4, 3, 4).float().mean((2, 4))
    assert set(blocks.unique().tolist()) == {0.0, 1.0}
    assert hidden_patches((1, 1, 4, 4), 4, 0.1, _draw()).all(), "a single patch is hidden"
    _, model = make(Pretraining, data=Blobs(batch_size=20), pretext="masked_patches", mask_share=0.5, patch=2)
    x = torch.randn(4, *model.network.backbone.spec.state()["size"], generator=_draw())[:, None]
    with torch.no_grad():
        model.pretext.decoder.weight.zero_()
        model.pretext.decoder.bias.fill_(0.5)
    loss = model.pretext(Seen(x, lambda: x, _draw(3)))["loss"]
    chosen = hidden_patches(x.shape, 2, 0.5, _draw(3))
    assert loss.item() == pytest.approx(float((0.5 - x[chosen]).square().mean()), rel=1e-5)


def test_a_stretch_of_each_spectrogram_is_hidden() -> None:
    backbone = AudioCNN(widths=[2], bands=4)
    task = MaskedSpectrogram(Network(backbone, 2), Options(0.5, 4, 0.5, patch=3)).eval()
    mel, length = torch.randn(5, 4, 9, generator=_draw()), torch.tensor([9, 8, 5, 3, 9])
    read = []
    hook = backbone.register_forward_pre_hook(lambda _, given: read.append(given[0]["mel"]))
    with torch.no_grad():
        task.decoder.weight.zero_()
        task.decoder.bias.fill_(0.25)
    loss = task(Seen({"mel": mel, "length": length}, lambda: {}, _draw(1)))["loss"]
    hook.remove()
    hidden = read[0] != mel
    assert hidden.sum(2).unique().tolist() == [3], "three frames of every band"
    frames = hidden[:, 0].nonzero()
    assert all(int(frames[frames[:, 0] == row, 1].max()) < int(length[row]) for row in range(5))
    assert loss.item() == pytest.approx(float((0.25 - mel[hidden]).square().mean()), rel=1e-5)


# ---------------------------------------------------------------------- runs


def test_turns_are_learned_without_labels_and_a_probe_scores_the_features() -> None:
    data, model = make(Pretraining, data=Blobs(batch_size=20))
    note, losses = model.note, []
    model.note = lambda quantities: (losses.append(float(quantities["rotation_loss"].detach())), note(quantities))
    fit(data, model, epochs=12)
    assert losses[0] == pytest.approx(math.log(4), abs=0.5)
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    features, y = model.reader(data).backbone_features("train"), data.training_labels
    weights, _, _ = fit_linear_probe(features, y, features, y, (1.0,))
    (head,) = model.network.head.children()
    torch.testing.assert_close(head.weight.detach().double(), weights, rtol=1e-4, atol=1e-5)


def test_labels_do_not_change_what_the_backbone_learns() -> None:
    weights = []
    for shift in (0, 1):
        data, model = make(Pretraining, data=Blobs(batch_size=20))
        train = data.sets["train"]
        train.y.copy_((train.y + shift) % 3)
        fit(data, model, epochs=1)
        weights.append(torch.cat([parameter.flatten() for parameter in model.network.backbone.parameters()]))
    assert torch.equal(*weights)


def test_views_are_two_draws_of_the_augmentation() -> None:
    still = {"rotation": 0, "translation": 0, "scale": [1, 1], "flip": 0.0, "contrast": 0, "noise": 0.0}
    augmentation = Augmentation(**still, brightness=0.05)
    data, model = make(Pretraining, data=Blobs(batch_size=20, augmentation=augmentation), pretext="views")
    seen = []
    task = model.pretext.forward
    model.pretext.forward = lambda one: (seen.append((one.x, one.again())), task(one))[1]
    fit(data, model, epochs=1)
    first, second = seen[0]
    assert first.shape == second.shape
    assert not torch.equal(first, second)
    assert (first - second).abs().mean() < 0.3 * (first - second.roll(1, 0)).abs().mean()  # of the same samples


def test_tasks_that_do_not_suit_are_refused(encoders) -> None:
    with pytest.raises(UserError, match="set augmentation=photographs"):
        fit(*make(Pretraining, data=Blobs(batch_size=20), pretext="views"))
    with pytest.raises(UserError, match="needs inputs of the kind text"):
        make(Pretraining, data=Blobs(batch_size=20), pretext="masked_tokens")
    with pytest.raises(UserError, match="did you mean 'rotation'"):
        make(Pretraining, data=Blobs(batch_size=20), pretext="rotations")
    with pytest.raises(UserError, match=r"an option of strategy\.pretext=masked_tokens, not of rotation"):
        make(Pretraining, data=Blobs(batch_size=20), next_sentence=True)
    with pytest.raises(UserError, match="reads from left to right"):
        NextTokens(Network(encoders[0], 2), OPTIONS)
    with pytest.raises(UserError, match="whole patches"):
        make(Pretraining, data=Blobs(batch_size=20), pretext="masked_patches", patch=5)
    with pytest.raises(UserError, match="use backbone=word_vectors"):
        SkipGram(Network(encoders[0], 2), OPTIONS)
    with pytest.raises(UserError, match=r"backbone=lstm with backbone\.layers=1"):
        BothDirections(Network(encoders[0], 2), OPTIONS)
    with pytest.raises(UserError, match=r"strategy\.bottleneck=null"):
        make(Pretraining, data=Blobs(batch_size=20), bottleneck=4)
