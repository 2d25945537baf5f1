"""Text encoders of transformers and word vectors: published values from their packages, tiny nets elsewhere."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders_at_hand import tiny
from torch.nn import functional as F

from tl_lab.backbones.packaged import PACKAGED
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "/no/such/folder"}, "there is no folder"),
        ({"name": "no-such-model"}, r"backbone\.name=no-such-model cannot be read"),
        ({"pooling": "men"}, "did you mean 'mean'"),
    ],
)
def test_a_model_that_is_not_here_ends_in_one_sentence(options: dict, said: str, monkeypatch) -> None:
    pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from tl_lab.backbones.hf_text import HFText

    with pytest.raises(UserError, match=said):
        HFText(**options)


def test_minilm_gives_its_published_embedding() -> None:
    needs("minilm")
    from tl_lab.backbones.hf_text import HFText

    backbone = HFText().eval()
    own, pooler = sum(p.numel() for p in backbone.parameters()), 384 * 384 + 384
    assert (own, own + pooler) == (22_565_376, 22_713_216)
    assert [name for name, _ in backbone.layer_groups()] == ["embeddings", *(f"block{n}" for n in range(1, 7))]
    with torch.no_grad():
        vector = F.normalize(backbone(backbone.spec.fit(["This is an example sentence"])))[0, :5]
    torch.testing.assert_close(vector, torch.tensor([0.0677, 0.0635, 0.0487, 0.0793, 0.0374]), atol=6e-5, rtol=0)


# ---------------------------------------------------------------------- word vectors


def test_glove_gives_its_published_vectors() -> None:
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
    ("content", "said"),
    [("the 1 2\nfilm 3\n", "line 2 .* has 1 numbers, not 2"), ("the 1 x\n", "line 1 .* no word"), ("", "no vectors")],
)
def test_a_file_that_is_none_of_vectors_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text(content)
    with pytest.raises(UserError, match=said):
        read_vectors(tmp_path / "v.txt")
