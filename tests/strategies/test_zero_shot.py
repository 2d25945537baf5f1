"""Classes described by their names, or found among those of a pretraining task."""

import json

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from composing import run_in
from encoders_at_hand import tiny
from laboratory import Blobs, TinyNet, fit, make
from torch import nn

import tl_lab
from tl_lab.backbones.base import Classifier
from tl_lab.errors import UserError
from tl_lab.model.heads import GroupedHead
from tl_lab.strategies.zero_shot import ZeroShot, check_templates, label_groups

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
KNOWN = Classifier(torch.eye(4), torch.zeros(4), [["tabby", "tabby cat"], ["tiger cat"], ["beagle"], ["mountain bike"]])


def test_classes_are_found_by_name_and_by_a_map():
    assert label_groups(["Beagle", "car"], KNOWN, {}) == [[2], []]
    assert label_groups(["cat", "dog"], KNOWN, {"cat": ["tabby cat", "tiger cat"], "dog": ["beagle"]}) == [[0, 1], [2]]
    assert label_groups(["mountain_bike"], KNOWN, {}) == [[3]]


@pytest.mark.parametrize(
    ("names", "label_map", "message"),
    [
        (["cat"], {"cat": ["tabi cat"]}, "no class .* is called 'tabi cat'; did you mean 'tabby cat'"),
        (["cat", "tabby"], {"cat": ["tabby"]}, "'tabby' belongs to both 'cat' and 'tabby'"),
        (["car", "bus"], {}, "set strategy.label_map"),
    ],
)
def test_an_invalid_label_map_is_refused(names, label_map, message):
    with pytest.raises(UserError, match=message):
        label_groups(names, KNOWN, label_map)


def test_a_template_without_its_placeholder_is_refused():
    assert check_templates("strategy.templates", ["a {}"], "{}") == ["a {}"]
    with pytest.raises(UserError, match=r"strategy.templates: 'It was good\.' lacks the placeholder \{\}"):
        check_templates("strategy.templates", ["{}", "It was good."], "{}")
    with pytest.raises(UserError, match="needs at least one template"):
        check_templates("strategy.templates", [], "{}")


def test_groups_answer_by_the_sum_of_their_probabilities():
    head = GroupedHead(4, [[0, 1], [], [3]])
    head.linear = nn.Linear(4, 4)
    x = torch.randn(5, 4)
    p = head.linear(x).softmax(1)
    expected = torch.stack([p[:, 0] + p[:, 1], torch.zeros(5), p[:, 3]], 1)
    torch.testing.assert_close(head(x).softmax(1), expected / expected.sum(1, keepdim=True))


def test_a_backbone_without_classes_is_not_applicable(tmp_path):
    results = run_in(
        tmp_path / "run", "strategy=zero_shot", "data=digits", "backbone=mlp", "logger=none", "figures=false",
        "trainer.enable_progress_bar=false",
    )  # fmt: skip
    assert results["metrics"] == {"val/chance": 0.1, "test/chance": 0.1}
    assert results["protocol"]["zero-shot"].startswith("not applicable: MLP encodes no texts")
    assert "guessing is correct in 10.0%" in results["protocol"]["zero-shot"]


def test_images_of_other_classes_than_the_pretraining_task_are_not_applicable(monkeypatch):
    monkeypatch.setattr(TinyNet, "classifier", lambda self: KNOWN)
    _, model = make(ZeroShot, Blobs(batch_size=20, seed=0))
    assert model.facts()["zero-shot"].startswith("not applicable: no class of the data (a, b, c) is named like one of")
    with pytest.raises(UserError, match="no class of the pretraining task is called 'x'"):
        make(ZeroShot, Blobs(batch_size=20, seed=0), label_map={"a": "x"})


def test_images_are_answered_by_the_pretraining_task(monkeypatch):
    data, trained = make(data=Blobs(batch_size=20, seed=0))
    fit(data, trained, epochs=12)
    linear = trained.network.head[0]
    weight, bias = torch.zeros(6, 8), torch.full((6,), -50.0)
    weight[[5, 3, 0]], bias[[5, 3, 0]] = linear.weight.detach(), linear.bias.detach()
    known = Classifier(weight, bias, [["c"], ["x"], ["y"], ["bee"], ["z"], ["a"]])
    monkeypatch.setattr(TinyNet, "classifier", lambda self: known)
    data, model = make(ZeroShot, Blobs(batch_size=20, seed=0), label_map={"b": []})
    model.network.backbone.load_state_dict(trained.network.backbone.state_dict())
    samples = data.sets["test"]
    trained.eval()
    outputs = trained.network(samples.x).detach()[samples.y != 1]
    y = samples.y[samples.y != 1]
    own = outputs[:, [0, 2]].argmax(1) * 2
    pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu").test(
        model, datamodule=data, verbose=False
    )
    assert model.left_out == {"test": 10}
    assert model.last_test["test/acc"] == pytest.approx((own == y).double().mean().item())
    assert model.last_test["test/open_acc"] == pytest.approx((outputs.argmax(1) == y).double().mean().item())
    assert "2 of 3 classes mapped; left out: b" in model.facts()["zero-shot"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    rows = [(word, word) for word in "abc"] * 10
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(folder / "table.csv", index=False)
    return folder, tiny(folder / "encoder", "bert")


def test_texts_get_the_class_whose_description_is_nearest(texts, tmp_path):
    folder, encoder = texts
    given = [
        "strategy=zero_shot", "data=text_table", f"data.path={folder / 'table.csv'}", "backbone=hf_text",
        f"backbone.name={encoder}", "logger=none", "figures=false", "trainer.enable_progress_bar=false",
        "strategy.templates=['{}']", "strategy.neutral=[]",
    ]  # fmt: skip
    results = run_in(tmp_path / "run", *given)
    assert results["metrics"]["test/acc"] == 1  # a text that is the class's own name has cosine 1
    model = tl_lab.load(tmp_path / "run")
    answers = model.predict(["c", "a"])
    assert answers.labels == ["c", "a"]
    # described by each other's names, a and b change places
    swapped = "strategy.descriptions={a: b, b: a}"
    results = run_in(tmp_path / "swapped", *given, swapped)
    assert results["metrics"]["test/acc"] == pytest.approx(1 / 3, abs=0.2)
    assert json.loads((tmp_path / "swapped" / "results.json").read_text())["protocol"]["zero-shot"].startswith("1 temp")
    with pytest.raises(UserError, match=r"label_map maps to .* which HFText does not use: set strategy\.descriptions"):
        run_in(tmp_path / "map", *given, "strategy.label_map={a: b}")
    with pytest.raises(UserError, match="descriptions names the class 'd', which the data do not have"):
        run_in(tmp_path / "wrong", *given, "strategy.descriptions={d: b}")


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        (["backbone=hf_text", "backbone.name={encoder}", "backbone.pretrained=false"], "HFText"),
        (["backbone=lstm"], "LSTM"),
    ],
)
def test_an_encoder_with_random_weights_is_not_applicable(backbone, name, texts, tmp_path):
    folder, encoder = texts
    results = run_in(
        tmp_path / "run", "strategy=zero_shot", "data=text_table", f"data.path={folder / 'table.csv'}", "logger=none",
        "figures=false", "trainer.enable_progress_bar=false", *(text.format(encoder=encoder) for text in backbone),
    )  # fmt: skip
    assert results["metrics"] == {"val/chance": 1 / 3, "test/chance": 1 / 3}
    assert results["protocol"]["zero-shot"].startswith(f"not applicable: the weights of {name} are random")
    with pytest.raises(UserError, match=f"no zero-shot classifier: the weights of {name} are random"):
        tl_lab.load(tmp_path / "run")
