"""Pages with boxes: prepared, padded without consequence, and read by an encoder that starts from the text alone."""

from pathlib import Path

import pytest
import torch
from encoders_at_hand import tiny

from tl_lab.data.inputs.layout import Page, Pages, page_of
from tl_lab.data.inputs.spec import spec_from
from tl_lab.errors import UserError

transformers = pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
PAGES = [
    Page(("a", "b", "c"), ((0, 0, 100, 50), (150, 0, 300, 50), (0, 900, 1000, 1000))),
    Page(("c",), ((10, 20, 30, 40),)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("encoder"), "bert")


def layout(folder: Path, **options):
    from tl_lab.backbones.layout_text import LayoutText

    torch.manual_seed(0)
    return LayoutText(name=str(folder), max_length=8, **options).eval()


def test_pages_become_tensors(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path))
    spec = layout(folder).spec
    x = Pages(PAGES).load_all(spec)
    assert x["ids"].tolist() == [[2, 3, 4], [4, 0, 0]]
    assert x["boxes"][0].tolist() == [list(box) for box in PAGES[0].boxes]
    assert x["first"].tolist() == [[0, 1, 2], [0, -1, -1]]
    assert x["words"].tolist() == [3, 1]
    short = spec.shorten({name: tensor[1:] for name, tensor in x.items()})
    assert {name: tuple(tensor.shape) for name, tensor in short.items()} == {
        "ids": (1, 1),
        "mask": (1, 1),
        "boxes": (1, 1, 4),
        "first": (1, 1),
        "words": (1,),
    }
    assert spec_from(spec.state()) == spec
    cut = type(spec)(spec.vocabulary, 2, spec.padding_id, spec.tokeniser)
    pages = Pages(PAGES)
    assert pages.load_all(cut)["first"].tolist() == [[0, 1, -1], [0, -1, -1]]
    assert pages.notes == ["1 word beyond the limit of 2 tokens"]


@pytest.mark.parametrize(
    ("boxes", "size", "message"),
    [
        ([(0, 0, 11, 5)], (10, 10), "the box of word 1 .'w'., 0 0 11 5, is outside of its page of 10 x 10"),
        ([(5, 0, 3, 5)], None, "or has a negative width or height"),
        ([(-1, 0, 3, 5)], None, "-1 0 3 5, is outside"),
        ([], None, "page 7 contains no words"),
    ],
)
def test_boxes_out_of_the_page_are_refused(boxes: list, size: tuple | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        page_of(["w"] * len(boxes), boxes, size, "page 7")


def test_boxes_are_shares_of_the_page() -> None:
    assert page_of(["w"], [(1, 2, 3, 4)], (10, 8), "").boxes == ((100, 250, 300, 500),)
    assert page_of(["v", "w"], [(0, 0, 2, 2), (2, 0, 4, 1)], None, "").boxes == ((0, 0, 500, 1000), (500, 0, 1000, 500))


def test_training_starts_from_the_unchanged_text_encoder(folder: Path) -> None:
    plain = transformers.AutoModel.from_pretrained(folder).eval()
    net = layout(folder)
    x = net.spec.fit(PAGES)
    with torch.no_grad():
        states = plain(input_ids=x["ids"], attention_mask=x["mask"]).last_hidden_state
        torch.testing.assert_close(net(x)[0], states[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(net(x)[1, 0], states[1, 0], atol=1e-5, rtol=1e-5)
    assert not bool(net(x)[1, 1:].any())
    net.check_layer_groups()
    assert [name for name, _ in net.layer_groups()] == ["embeddings", "block1", "block2"]


@pytest.mark.parametrize("part", ["positions", "bias"])
def test_embeddings_and_bias_depend_on_word_positions(folder: Path, part: str) -> None:
    net = layout(folder, **{other: other == part for other in ("positions", "bias")})
    tables = net.places if part == "positions" else net.distances
    for table in tables.values():
        torch.nn.init.normal_(table.weight, std=5.0)
    moved = [PAGES[0]._replace(boxes=((0, 0, 100, 50), (700, 500, 900, 600), (0, 900, 1000, 1000)))]
    with torch.no_grad():
        both = net(net.spec.fit(PAGES))
        alone = net(net.spec.fit(PAGES[1:]))
        torch.testing.assert_close(both[1, :1], alone[0], atol=1e-5, rtol=1e-5)  # padding changes nothing
        assert float((net(net.spec.fit(moved))[0] - both[0]).abs().max()) > 1e-4
    net(net.spec.fit(PAGES)).square().sum().backward()
    assert all(bool(table.weight.grad.any()) for table in tables.values())


def test_layoutlm_gets_its_own_boxes(folder: Path, tmp_path: Path) -> None:
    sizes = {"vocab_size": 5, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {
        "intermediate_size": 16,
        "max_position_embeddings": 12,
        "pad_token_id": 0,
        "max_2d_position_embeddings": 1024,
    }
    torch.manual_seed(0)
    model = transformers.LayoutLMModel(transformers.LayoutLMConfig(**sizes)).eval()
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    net = layout(tmp_path, bias=False)
    x = net.spec.fit(PAGES[:1])
    with torch.no_grad():
        expected = model(input_ids=x["ids"], attention_mask=x["mask"], bbox=x["boxes"]).last_hidden_state
        torch.testing.assert_close(net(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["layoutlmv2", "layoutlmv3"])
def test_versions_that_take_images_are_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(f'{{"model_type": "{kind}"}}')
    with pytest.raises(UserError, match=rf"contains {kind}, which takes images of pages: give a folder with LayoutLM"):
        layout(tmp_path)
