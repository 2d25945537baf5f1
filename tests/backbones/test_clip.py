"""Two-tower models, tiny and random: their features, and images classified by descriptions of the classes."""

import json

import pytest
import torch
from composing import run_in
from PIL import Image
from torch.nn import functional as F

import tl_lab
from tl_lab.backbones.clip import Clip, _check_tokeniser
from tl_lab.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
SIZES = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def of_transformers(folder):
    """Save a random CLIP whose tokens are words."""
    transformers = pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
    import tokenizers

    words = ["[P]", "[U]", "[E]", "a", "photo", "of", "red", "blue", "."]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[U]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="$A [E]", special_tokens=[("[E]", 2)])
    special = {"pad_token": "[P]", "unk_token": "[U]", "eos_token": "[E]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)
    texts = SIZES | {"vocab_size": len(words), "max_position_embeddings": 8, "eos_token_id": 2, "pad_token_id": 0}
    vision = SIZES | {"image_size": 16, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=texts, vision_config=vision, projection_dim=6)
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))


def of_open_clip(folder):
    """Save a random model as open_clip does."""
    open_clip = pytest.importorskip("open_clip", reason="tl_lab[clip] is not installed")
    from safetensors.torch import save_file

    texts = {"context_length": 10, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 2}
    vision = {"image_size": 16, "patch_size": 8, "width": 8, "layers": 2, "head_width": 4}
    model = {"embed_dim": 6, "vision_cfg": vision, "text_cfg": texts}
    about = {"model_cfg": model, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    torch.manual_seed(0)
    net = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(
        {name: one.contiguous() for name, one in net.state_dict().items()}, folder / "open_clip_model.safetensors"
    )


@pytest.fixture(scope="module", params=[of_transformers, of_open_clip])
def folder(request, tmp_path_factory):
    place = tmp_path_factory.mktemp("clip") / "model"
    request.param(place)
    return place


def both_towers(folder, x, texts):
    """Compute features of images and texts by the libraries' own models."""
    if (folder / "open_clip_config.json").is_file():
        import open_clip

        model = open_clip.create_model(f"local-dir:{folder}").eval()
        return model.encode_image(x), model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(texts))
    import transformers

    model = transformers.CLIPModel.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    tokens = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    found = model(pixel_values=x, **tokens)
    return found.image_embeds, found.text_embeds  # of length 1


def test_both_towers_reproduce_their_librarys_features(folder):
    backbone, texts = Clip(name=str(folder)).eval(), ["a photo of a red .", "blue"]
    assert (backbone.num_features, backbone.spec.size, backbone.spec.mean) == (6, (16, 16), (0.5, 0.5, 0.5))
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    tower = backbone.text_tower()
    with torch.no_grad():
        images, described = both_towers(folder, x, texts)
        torch.testing.assert_close(F.normalize(backbone(x)), F.normalize(images))
    torch.testing.assert_close(F.normalize(tower.embed(texts)), F.normalize(described))
    assert tower.scale == pytest.approx(1 / 0.07, rel=1e-3)
    backbone.check_layer_groups()
    assert [name for name, _ in backbone.layer_groups()] == ["embeddings", "block1", "block2"]
    with pytest.raises(UserError, match=r"is longer than the .* tokens that the text tower reads: shorten it"):
        tower.embed(["red " * 20])


@pytest.mark.parametrize("folder", [of_transformers], indirect=True)
def test_images_get_the_class_whose_description_is_nearest(folder, tmp_path):
    for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        (tmp_path / "images" / name).mkdir(parents=True)
        for k in range(10):
            Image.new("RGB", (16, 16), tuple(max(0, c - 12 * k) for c in colour)).save(
                tmp_path / "images" / name / f"{k}.png"
            )
    results = run_in(
        tmp_path / "run", "strategy=zero_shot", "data=image_folder", f"data.root={tmp_path / 'images'}", "logger=none",
        "backbone=clip", f"backbone.name={folder}", "strategy.scores=all", "figures=false", "trainer=cpu",
        "domain_adaptation=none", "trainer.enable_progress_bar=false",
    )  # fmt: skip
    assert results["protocol"]["zero-shot"].startswith("1 template x names, by the model's text tower")
    backbone = Clip(name=str(folder)).eval()
    pictures = [tmp_path / "images" / name / f"{k}.png" for name in ("blue", "red") for k in range(10)]
    x = torch.stack([torch.tensor(Image.open(path).getpixel((0, 0))) for path in pictures]).float() / 255
    tower = backbone.text_tower()
    with torch.no_grad():
        features = F.normalize(backbone(((x - 0.5) / 0.25)[:, :, None, None].expand(-1, -1, 16, 16)))
    expected = features @ F.normalize(tower.embed(["a photo of a blue.", "a photo of a red."])).T * tower.scale
    right = (expected.argmax(1) == torch.tensor([0] * 10 + [1] * 10)).float().mean()
    assert results["metrics"]["test/acc"] == pytest.approx(float(right))
    answers = tl_lab.load(tmp_path / "run").predict(pictures, logits=True)
    torch.testing.assert_close(answers.logits, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("content", ["{}", '{"model_type": "bert"}'])
def test_a_model_without_two_towers_is_refused_in_one_sentence(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"cannot be read as a two-tower model .* give a folder") as refused:
        Clip(name=str(tmp_path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("option", ["trust_remote_code", "auto_map", "code_revision"])
def test_a_folder_cannot_make_its_tokenizer_run_code(option):
    texts = {"hf_tokenizer_name": "x", "tokenizer_kwargs": {option: True}}
    with pytest.raises(UserError, match=f"sets the option '{option}' of its tokenizer, which files must not set"):
        _check_tokeniser({"model_cfg": {"text_cfg": texts}})
    usual = {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"strip_sep_token": True}}
    assert _check_tokeniser({"model_cfg": {"text_cfg": usual}}) == {"trust_remote_code": False}
    assert _check_tokeniser({"model_cfg": {}}) == {}
