"""Text encoders of transformers and word vectors: published values from their packages, tiny nets elsewhere."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders_at_hand import tiny
from torch.nn import functional as F

from tl_lab.backbones.lstm import LSTM
from tl_lab.backbones.packaged import PACKAGED
from tl_lab.backbones.text_cnn import TextCNN
from tl_lab.backbones.word_vectors import WordVectors, read_vectors
from tl_lab.errors import UserError

TEXTS = ["a b c", "b", "c a"]
NAMES = ["bert", "distilbert", "roberta", "gpt2"]


def needs(name: str) -> None:
    if PACKAGED[name].state() == "missing":
        pytest.skip(f"{PACKAGED[name].package} is absent: {PACKAGED[name].how_to_get()}")
    pytest.importorskip("pyarrow" if name == "glove" else "transformers", reason="tl_lab[text] is not installed")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory):
    from tl_lab.backbones.hf_text import HFText

    folders = {kind: tiny(tmp_path_factory.mktemp(kind), kind) for kind in NAMES}
    return {kind: HFText(name=str(folder)).eval() for kind, folder in folders.items()}, folders


@pytest.mark.parametrize("kind", NAMES)
def test_padding_changes_no_feature(encoders, kind: str) -> None:
    backbone = encoders[0][kind]
    together = backbone(backbone.spec.fit(TEXTS))
    assert together.shape == (3, 8)
    for text, features in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(backbone(backbone.spec.fit([text]))[0], features, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", NAMES)
def test_layer_groups_are_embeddings_and_blocks_and_every_parameter_learns(encoders, kind: str) -> None:
    backbone = copy.deepcopy(encoders[0][kind])
    backbone.check_layer_groups()
    assert [name for name, _ in backbone.layer_groups()] == ["embeddings", "block1", "block2"]
    backbone(backbone.spec.fit(TEXTS)).square().sum().backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


def test_roberta_has_fewer_places_than_positions(encoders) -> None:
    assert encoders[0]["roberta"].spec.max_length == 11
    assert encoders[0]["bert"].spec.max_length == 12


def test_random_weights_are_drawn_anew_and_published_ones_read(encoders) -> None:
    from tl_lab.backbones.hf_text import HFText

    backbones, folders = encoders
    read = HFText(name=str(folders["bert"])).state_dict()
    assert all(torch.equal(tensor, read[name]) for name, tensor in backbones["bert"].state_dict().items())
    drawn = HFText(name=str(folders["bert"]), pretrained=False).state_dict()
    assert set(drawn) == set(read)
    assert not torch.equal(
        drawn["net.embeddings.word_embeddings.weight"], read["net.embeddings.word_embeddings.weight"]
    )


def test_a_small_model_of_ones_own_has_the_sizes_given(encoders) -> None:
    from tl_lab.backbones.hf_text import HFText

    folder = str(encoders[1]["bert"])
    d, f = 16, 24
    sizes = {"hidden_size": d, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": f}
    backbone = HFText(name=folder, pretrained=False, sizes=sizes)
    config = backbone.net.config
    block = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 2 * 2 * d  # attention, two layers, two norms
    embeddings = (config.vocab_size + config.max_position_embeddings + config.type_vocab_size + 2) * d
    assert sum(p.numel() for p in backbone.parameters()) == embeddings + 3 * block
    assert backbone(backbone.spec.fit(TEXTS)).shape == (3, d)
    with pytest.raises(UserError, match="bert has no size hiden_size; did you mean 'hidden_size'"):
        HFText(name=folder, pretrained=False, sizes={"hiden_size": 4})
    with pytest.raises(UserError, match=r"backbone\.pretrained=false"):
        HFText(name=folder, sizes=sizes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "/no/such/folder"}, "there is no folder"),
        ({"name": "no-such-model"}, r"backbone\.name=no-such-model cannot be read"),
        ({"pooling": "men"}, "did you mean 'mean'"),
    ],
)
def test_an_unavailable_model_is_refused_in_one_sentence(options: dict, message: str, monkeypatch) -> None:
    pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from tl_lab.backbones.hf_text import HFText

    with pytest.raises(UserError, match=message):
        HFText(**options)


def test_minilm_reproduces_its_published_embedding() -> None:
    needs("minilm")
    from tl_lab.backbones.hf_text import HFText

    backbone = HFText().eval()
    own, pooler = sum(p.numel() for p in backbone.parameters()), 384 * 384 + 384
    assert (own, own + pooler) == (22_565_376, 22_713_216)
    assert [name for name, _ in backbone.layer_groups()] == ["embeddings", *(f"block{n}" for n in range(1, 7))]
    with torch.no_grad():
        vector = F.normalize(backbone(backbone.spec.fit(["This is an example sentence"])))[0, :5]
    torch.testing.assert_close(vector, torch.tensor([0.0677, 0.0635, 0.0487, 0.0793, 0.0374]), atol=6e-5, rtol=0)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_a_mixture_of_layers_begins_as_their_mean_and_learns_which_count(encoders, kind: str) -> None:
    from tl_lab.backbones.hf_text import HFText

    backbone = HFText(name=str(encoders[1][kind]), layers="mixed").eval()
    x = backbone.spec.fit(TEXTS)
    states = backbone.net(input_ids=x["ids"], attention_mask=x["mask"], output_hidden_states=True).hidden_states
    assert len(states) == 3
    mask = x["mask"].unsqueeze(2).float()
    expected = (sum(states) / 3 * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(backbone(x), expected)
    with torch.no_grad():
        backbone.mixture.scores.copy_(torch.tensor([0.0, 0.0, 40.0]))
        backbone.mixture.scale.fill_(2.0)
    torch.testing.assert_close(backbone(x), 2 * (states[-1] * mask).sum(1) / mask.sum(1))
    backbone.check_layer_groups()
    assert [name for name, _ in backbone.layer_groups()] == ["embeddings", "block1", "block2", "mixture"]


# ---------------------------------------------------------------------- word vectors


def test_glove_has_its_published_vectors() -> None:
    needs("glove")
    backbone = WordVectors()
    assert backbone.vectors.weight.shape == (400_002, 50)
    expected = torch.tensor([0.418, 0.24968, -0.41242, 0.1217, 0.34527])
    torch.testing.assert_close(backbone(backbone.spec.fit(["The"]))[0, :5], expected, atol=1e-6, rtol=0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.txt"
    path.write_text("the 1 2\nfilm 3 -4\n")
    return path


def test_a_text_has_the_mean_of_its_known_words(file: Path) -> None:
    backbone = WordVectors(weights=str(file))
    features = backbone(backbone.spec.fit(["The film, film", "unknown", "the xyz"]))
    torch.testing.assert_close(features, torch.tensor([[7 / 3, -2.0], [0.0, 0.0], [1.0, 2.0]]))
    features.sum().backward()
    grad = backbone.vectors.weight.grad
    assert grad is not None
    torch.testing.assert_close(grad[:, 0], torch.tensor([0.0, 0.0, 1 / 3 + 1, 2 / 3]))
    assert [name for name, _ in backbone.layer_groups()] == ["vectors"]
    backbone.check_layer_groups()


def test_files_of_every_kind_give_the_same_vectors(file: Path, tmp_path: Path) -> None:
    expected = read_vectors(file)
    (tmp_path / "counted.vec").write_text("2 2\n" + file.read_text())
    np.save(tmp_path / "array.npy", expected[1])
    (tmp_path / "array.txt").write_text("the\nfilm\n")
    for name in ("counted.vec", "array.npy"):
        words, vectors = read_vectors(tmp_path / name)
        assert words == expected[0] == ["the", "film"]
        np.testing.assert_array_equal(vectors, [[1, 2], [3, -4]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("the 1 2\nfilm 3\n", "line 2 .* has 1 number, not 2"),
        ("the 1 x\n", "line 1 .* not a word"),
        ("", "no vectors"),
    ],
)
def test_a_file_that_is_none_of_vectors_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text(content)
    with pytest.raises(UserError, match=message):
        read_vectors(tmp_path / "v.txt")


# ---------------------------------------------------------------------- networks on word vectors


@pytest.fixture
def words(tmp_path: Path) -> str:
    rows = np.random.default_rng(0).normal(size=(5, 4)).round(2)
    path = tmp_path / "five.txt"
    path.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in zip("abcde", rows, strict=True)))
    return str(path)


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_an_lstm_is_independent_of_other_texts_in_the_batch(words: str, pooling: str) -> None:
    backbone = LSTM(hidden=3, layers=2, pooling=pooling, weights=words).eval()
    texts = ["a b c d", "e", "c a", "unknown"]
    together = backbone(backbone.spec.fit(texts))
    assert together.shape == (4, 6)
    for text, features in zip(texts, together, strict=True):
        torch.testing.assert_close(backbone(backbone.spec.fit([text]))[0], features)
    states, (last, _) = backbone.lstm(backbone.vectors(backbone.spec.fit(["a b c d"])["ids"]))
    expected = {"mean": states[0].mean(0), "max": states[0].amax(0), "last": torch.cat([last[-2, 0], last[-1, 0]])}
    torch.testing.assert_close(together[0], expected[pooling])
    backbone.check_layer_groups()


def test_filters_give_their_largest_answer_within_the_text(words: str) -> None:
    backbone = TextCNN(widths=[1, 3], maps=2, weights=words).eval()
    texts = ["a b c d e", "b", "unknown"]
    together = backbone(backbone.spec.fit(texts))
    assert together.shape == (3, 4)
    for text, features in zip(texts, together, strict=True):
        torch.testing.assert_close(backbone(backbone.spec.fit([text]))[0], features)
    vectors = backbone.vectors(backbone.spec.fit([texts[0]])["ids"])[0].detach().numpy()  # (5, 4)
    filled = np.concatenate([vectors, np.zeros((2, 4), np.float32)])
    for number, (width, layer) in enumerate(zip([1, 3], backbone.filters, strict=True)):
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        answers = [(weight * filled[i : i + width].T).sum((1, 2)) + bias for i in range(5)]
        expected = np.maximum(np.max(answers, 0), 0)
        np.testing.assert_allclose(together[0, 2 * number : 2 * number + 2].detach().numpy(), expected, atol=1e-6)
    backbone.check_layer_groups()


def test_options_of_networks_on_word_vectors_are_checked(words: str) -> None:
    with pytest.raises(UserError, match="did you mean 'max'"):
        LSTM(pooling="maxi", weights=words)
    with pytest.raises(UserError, match=r"backbone\.widths must name different widths"):
        TextCNN(widths=[3, 3], weights=words)
