"""The parts of an assessment that train: equal budgets, what is copied and frozen, and negative transfer."""

import copy

import numpy as np
import pytest
import torch

from tl_lab.assess import baselines, forgetting, layers, tuning
from tl_lab.assess.asking import read
from tl_lab.assess.material import Material
from tl_lab.assess.results import Measure, PartResult
from tl_lab.assess.tuning import copied, fresh, halves, tune


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("TL_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    words = ["assess.samples=400", "assess.seeds=1", "assess.epochs=8", "assess.budgets=[200]"]
    asked = read(["data=digits", "backbone=mlp", "backbone.hidden=[32,32]", "assess=full", *words])
    try:
        return Material(asked.plans, asked.options)
    finally:
        patch.undo()


def test_halves_hold_the_classes_once_and_number_them_from_zero(material):
    a, b = halves(material, material.subjects[0])
    y = material.labels("train")
    assert len(a.y_train) + len(b.y_train) == len(y)
    assert torch.equal(y[b.train_index] - 5, b.y_train)
    assert (a.classes, b.classes) == (5, 5)
    few = b.few(20, seed=0)
    assert len(few.y_train) == 20
    assert len(few.y_train.unique()) == 5
    assert torch.equal(y[few.train_index] - 5, few.y_train)


def test_frozen_groups_keep_what_was_copied_and_others_learn(material):
    subject = material.subjects[0]
    source, target = fresh(material, subject, 1), fresh(material, subject, 2)
    before = copy.deepcopy(target.state_dict())
    mixed = copied(source, target, 1)
    names = [name for name, _ in mixed.layer_groups()]
    assert len(names) == 2
    tuned = tune(mixed, halves(material, subject)[1].few(40, 0), frozen=1, epochs=1).backbone
    for n, (ours, theirs) in enumerate(zip(tuned.layer_groups(), source.layer_groups(), strict=True)):
        for one, other in zip(ours[1], theirs[1], strict=True):
            equal = all(torch.equal(x, y) for x, y in zip(one.parameters(), other.parameters(), strict=True))
            assert equal == (n == 0) or not list(one.parameters())
    assert any(not torch.equal(before[name], value) for name, value in tuned.state_dict().items())


def test_a_training_is_repeated_to_the_last_bit(material, monkeypatch):
    monkeypatch.setattr(tuning, "_FEWEST", 5)
    task = halves(material, material.subjects[0])[0].few(40, 0)
    start = fresh(material, material.subjects[0], 0)
    a, b = (tune(start, task, epochs=1, seed=4) for _ in range(2))
    assert a.accuracy == b.accuracy
    assert all(torch.equal(x, y) for x, y in zip(a.backbone.parameters(), b.backbone.parameters(), strict=True))


@pytest.mark.parametrize(
    ("difference", "flagged"),
    [
        (Measure(-0.05, -0.09, -0.01), True),
        (Measure(-0.05, -0.11, 0.01), False),
        (Measure(-0.05), False),
        (Measure(0.05, 0.01, 0.09), False),
    ],
)
def test_negative_transfer_is_an_interval_below_zero(difference, flagged):
    assert baselines.negative(difference) == flagged


def test_a_probe_at_every_layer_and_the_four_ways(material, monkeypatch):
    monkeypatch.setattr(material.options, "epochs", 4)
    monkeypatch.setattr(tuning, "_FEWEST", 60)
    found = layers.assess(material)
    assert isinstance(found, PartResult)
    base = found.measures["base"].value
    assert base > 0.5
    # two groups of a small perceptron: tuned layers recover, frozen ones of the other task do not
    assert found.measures["BnB+/2"].value > base - 0.08
    assert found.measures["AnB/2"].value < found.measures["BnB/2"].value
    probes = [m.value for name, m in found.measures.items() if name.startswith("probe/")]
    assert len(probes) == 2
    assert min(probes) > 0.5


def test_the_activations_of_the_last_group_are_the_features(material):
    subject = material.subjects[0]
    data = material.prepared(subject, ["val"])
    seen = layers.activations(subject.backbone, data, "val")
    assert torch.allclose(
        list(seen.values())[-1].clamp(min=0), material.features(subject, "val").clamp(min=0), atol=1e-5
    )


def test_the_baselines_and_forgetting_say_what_they_measured(material, monkeypatch):
    monkeypatch.setattr(material.options, "seeds", 3)
    monkeypatch.setattr(material.options, "epochs", 3)
    monkeypatch.setattr(tuning, "_FEWEST", 20)
    found = baselines.assess(material)
    assert isinstance(found, PartResult)
    for way in ("frozen", "fine-tuned"):
        difference = found.measures[f"{way} - from scratch"]
        expected = found.measures[way].value - found.measures["from scratch"].value
        assert difference.value == pytest.approx(expected)
        assert difference.low < difference.value < difference.high
    lost = forgetting.assess(material)
    assert isinstance(lost, PartResult)
    for head in ("old head", "new head"):
        expected = lost.measures["before"].value - lost.measures[f"after, {head}"].value
        assert lost.measures[f"forgotten, {head}"].value == pytest.approx(expected)
    assert lost.measures["forgotten, old head"].value > 0  # the old head's features have moved away
    assert np.isfinite(lost.measures["second task"].value)
