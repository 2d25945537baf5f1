"""A student learns from what a trained run answers."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from composing import run_in
from encoders_at_hand import tiny
from laboratory import Blobs, make

from tl_lab.data.batches import Labelled
from tl_lab.data.samples import Samples
from tl_lab.errors import UserError
from tl_lab.run.inference import load_classifier
from tl_lab.run.teachers import order_of, teacher_of
from tl_lab.strategies.distillation import Distillation
from tl_lab.strategies.linear_probe import fit_linear_probe

QUICK = [
    "data=digits",
    "figures=false",
    "health=false",
    "logger=none",
    "threads=1",
    "trainer.enable_progress_bar=false",
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    run_in(folder, *QUICK, "backbone=mlp", "backbone.hidden=[64]", "trainer.max_epochs=4")
    return folder


def test_the_objective_is_hintons(teacher: Path, tmp_path: Path, monkeypatch) -> None:
    seen = []

    def keep(self, batch: Labelled, features, outputs):
        terms = further(self, batch, features, outputs)
        seen.append((batch, outputs.detach(), float(terms["distillation"].detach()), self._answers))
        return terms

    further = Distillation.further_terms
    monkeypatch.setattr(Distillation, "further_terms", keep)
    student = ["backbone=lenet", "strategy=distillation", f"strategy.teacher={teacher}", "strategy.temperature=3"]
    results = run_in(
        tmp_path / "student",
        *QUICK,
        *student,
        "strategy.weight=0.75",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=2",
    )
    assert results["status"] == "completed"
    batch, outputs, term, answers = seen[0]
    logits = answers[batch.index].double().numpy() / 3
    q = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    z = outputs.double().numpy() / 3
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    assert term == pytest.approx(0.75 * 9 * -(q * log_p).sum(1).mean(), rel=1e-5)
    # the teacher reads 8 x 8 pixels, the student larger ones: both see the same digits
    agreement = (answers[batch.index].argmax(1) == batch.y).float().mean()
    assert agreement > 0.5  # by chance 0.1


def test_answers_are_those_of_predict(teacher: Path) -> None:
    from tl_lab.data.sets.digits import Digits

    data, model = make(
        Distillation, data=_loaded(Digits(batch_size=20)), teacher="x", teacher_model=load_classifier(teacher)
    )
    model.prepare(data)
    images = data.raw["train"].x[:20]
    logits = load_classifier(teacher).predict(images, logits=True).logits
    torch.testing.assert_close(model._answers[:20], logits)


def test_features_come_near_to_the_teachers(teacher: Path) -> None:
    from laboratory import fit

    from tl_lab.data.sets.digits import Digits

    given = {"teacher": "x", "teacher_model": load_classifier(teacher), "features": 0.5}
    data, model = make(Distillation, data=_loaded(Digits(batch_size=200)), **given)
    model.prepare(data)
    assert model._features.shape == (len(data.sets["train"]), given["teacher_model"].network.num_features)
    batch = Labelled(data.sets["train"].x[:5], data.sets["train"].y[:5], torch.arange(5))
    features = torch.randn(5, model.network.num_features)
    with torch.no_grad():
        term = model.further_terms(batch, features, torch.zeros(5, 10))["hint"]
        mapped = features @ model.hint.weight.T + model.hint.bias
    expected = 0.5 * 0.5 * np.square(mapped.numpy() - model._features[:5].numpy()).mean()
    assert float(term) == pytest.approx(float(expected), rel=1e-5)
    before = model.hint.weight.detach().clone()
    fit(data, model, epochs=1)
    assert not torch.equal(before, model.hint.weight), "the layer between both learns"


def _loaded(data):
    from dataclasses import replace

    from laboratory import TinyNet

    data.load(replace(data.request, keeps_raw=True))
    data.use(TinyNet().spec)
    return data


def test_a_teacher_is_needed_and_knows_the_same_classes(teacher: Path) -> None:
    with pytest.raises(UserError, match=r"set strategy\.teacher=<its folder>"):
        make(Distillation)
    with pytest.raises(UserError, match=r"strategy\.teacher: the run there has the classes 0, 1, 2"):
        make(Distillation, data=Blobs(batch_size=20), teacher="there", teacher_model=load_classifier(teacher))


# ---------------------------------------------------------------------- published teachers


def _reviews(folder: Path, name: Path):
    """Read a table of texts, and give what a distillation asks of the teacher about them."""
    from dataclasses import replace

    from tl_lab.data.sets.text_table import TextTable

    rows = [f"{'ab'[i % 2]} c{' a' * (i % 3)},{('bad', 'good')[i % 2]}" for i in range(30)]
    (folder / "t.csv").write_text("\n".join(["text,label", *rows]))
    data = TextTable(path=str(folder / "t.csv"), batch_size=10)
    data.load(replace(data.request, keeps_raw=True))
    model = teacher_of(str(name), data)
    data.use(model.spec)
    return data, model


def test_a_published_classifier_answers_with_its_own_head(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tiny(tmp_path / "model", "bert", mask=True)
    names = {0: "GOOD", 1: "BAD"}  # in another order than the data's
    config = transformers.AutoConfig.from_pretrained(folder, id2label=names, label2id={"GOOD": 0, "BAD": 1})
    net = transformers.AutoModelForSequenceClassification.from_pretrained(folder, config=config).eval()
    net.save_pretrained(folder)
    data, model = _reviews(tmp_path, folder)
    _, student = make(Distillation, data=data, teacher="x", teacher_model=model, features=1.0)
    student.prepare(data)
    x = data.sets["train"].x
    with torch.no_grad():
        logits = net(input_ids=x["ids"], attention_mask=x["mask"]).logits
    torch.testing.assert_close(student._answers, logits[:, [1, 0]])
    torch.testing.assert_close(net.classifier(student._features)[:, [1, 0]].detach(), logits[:, [1, 0]])
    assert order_of(["LABEL_0", "LABEL_1"], ["bad", "good"], "m") == [0, 1]
    with pytest.raises(UserError, match="the model m has the classes happy, sad, but the data have bad, good"):
        order_of(["happy", "sad"], ["bad", "good"], "m")


def test_of_a_published_encoder_a_probe_answers(tmp_path: Path) -> None:
    data, model = _reviews(tmp_path, tiny(tmp_path / "model", "bert"))
    _, student = make(Distillation, data=data, teacher="x", teacher_model=model)
    student.prepare(data)
    features, y = model.network.features(data.sets["train"].x).detach(), data.training_labels
    weights, offsets, _ = fit_linear_probe(features, y, features, y, (1.0,))
    torch.testing.assert_close(student._answers.double(), features.double() @ weights.T + offsets, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match=r"strategy\.teacher: there is no folder runs/of/nobody"):
        teacher_of("runs/of/nobody", data)


class _Coloured(Blobs):
    """The images of three classes, in three channels."""

    def read(self):
        sets = super().read()
        shift = torch.tensor([0.0, 0.1, -0.1])[:, None, None]
        return {name: Samples(one.x + shift, one.y) for name, one in sets.items()}


def test_of_a_published_image_network_a_probe_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    torch.manual_seed(3)
    net = timm.create_model("test_resnet", num_classes=7).eval()
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    monkeypatch.setattr("tl_lab.backbones.timm._cached", lambda cfg: str(tmp_path / "weights.pth"))
    data = _loaded_raw(_Coloured(batch_size=20))
    model = teacher_of("test_resnet", data)
    data.use(model.spec)
    _, student = make(Distillation, data=data, teacher="x", teacher_model=model, features=1.0)
    student.prepare(data)
    x = model.spec.prepare(data.raw["train"].x)
    net.reset_classifier(0)
    with torch.no_grad():
        features = torch.cat([net(part) for part in x.split(20)])
    torch.testing.assert_close(student._features, features)
    y = data.training_labels
    weights, offsets, _ = fit_linear_probe(features, y, features, y, (1.0,))
    torch.testing.assert_close(student._answers.double(), features.double() @ weights.T + offsets, rtol=1e-4, atol=1e-5)
    assert (student._answers.argmax(1) == y).float().mean() > 0.5  # by chance 1/3
    with pytest.raises(UserError, match=r"strategy\.teacher=x: published teachers support texts and images only"):
        teacher_of("x", SimpleNamespace(modality="audio"))


def _loaded_raw(data):
    from dataclasses import replace

    data.load(replace(data.request, keeps_raw=True))
    return data
