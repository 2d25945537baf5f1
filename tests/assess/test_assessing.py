"""An assessment from its command line to its files; invalid input disables one part, not the others."""

import copy
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from small_sets import recordings, rows, texts
from torch import nn

from tl_lab.assess import calibration, detectors, drift, running, transferability, verdict
from tl_lab.assess.asking import read
from tl_lab.assess.bias import audit
from tl_lab.assess.calibration import lowest
from tl_lab.assess.data_size import rule_of_thumb
from tl_lab.assess.detectors import (
    BY_DEFAULT,
    DETECTORS,
    Reference,
    detect,
    enough_permutations,
    moved_most,
    reference_of,
)
from tl_lab.assess.fairness import by_group
from tl_lab.assess.footprint import FootprintMeter, emissions, shares
from tl_lab.assess.moved import moved_pictures, moved_table
from tl_lab.assess.results import Measure, NotApplicable, PartResult, wilson
from tl_lab.assess.transferability import agreement, tau_text
from tl_lab.assess.untrained import untrained
from tl_lab.assess.writing import plain, sections
from tl_lab.data.inputs.texts import Texts
from tl_lab.data.samples import Samples
from tl_lab.errors import UserError
from tl_lab.functional.group_rates import cell_counts, rates
from tl_lab.functional.rank_agreement import weighted_tau
from tl_lab.functional.two_samples import detectable_shift, enough_samples, ks_features
from tl_lab.results.report.blocks import Picture

Y = np.array([0, 1, 1, 1, 1, 0, 1, 0, 0, 1])
ANSWER = np.array([0, 1, 1, 1, 0, 0, 1, 1, 0, 0])
GROUP = np.repeat([0, 1], 5)
QUICK = ["similarity", "transferability", "data_size", "calibration", "bias", "drift"]


@pytest.fixture(scope="module")
def assessed(tmp_path_factory):
    """Assess moons -> moons by a multilayer perceptron: seconds, and every quick part has something to say of it."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TL_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("TL_LAB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
    try:
        return running.carry_out(["data=moons", "assess=quick", "assess.samples=120", "assess.permutations=50"])
    finally:
        patch.undo()


def test_every_part_of_a_quick_assessment_answers_with_a_sentence_numbers_and_a_picture(assessed):
    found, _ = assessed
    assert list(found.parts) == QUICK
    for name, part in found.parts.items():
        if name == "bias":
            assert part == NotApplicable(
                "Bias audit", "The data have no column of groups: set `data.group_column` if the data have this option."
            )
            continue
        assert isinstance(part, PartResult), part
        assert part.sentence.endswith(".")
        assert part.measures
        assert part.figures
        assert part.confidence in ("high", "moderate", "low")
    assert len(found.verdict) == 3
    assert all("(confidence: " in sentence for sentence in found.verdict)


def test_the_files_hold_what_was_found(assessed):
    found, folder = assessed
    stored = json.loads((folder / "assessment.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(plain(found)))
    distance = stored["parts"]["similarity"]["measures"]["mlp/a_distance"]
    assert distance["low"] <= distance["value"] <= distance["high"]
    assert stored["parts"]["bias"]["status"] == "not applicable"
    page = (folder / "assessment.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http://www.w3.org", "")  # needs nothing else
    pictures = [part for section in sections(found) for part in section.parts if isinstance(part, Picture)]
    assert page.count("<svg") == len(pictures) > 6
    assert all(sentence.split("**")[1] in page for sentence in found.verdict)


def test_target_labels_choose_nothing(assessed):
    material = assessed[0].material
    assert material.whole["target/train"].y is None
    assert (material.train, material.validation) == ("source/train", "source/val")


def test_a_part_that_fails_is_one_sentence_and_the_others_still_run(assessed):
    material = assessed[0].material
    labels = {name: samples.y for name, samples in material.drawn.items()}
    probes, material._probes = material._probes, {}
    train = material.drawn["source/train"]
    material.drawn["source/train"] = type(train)(train.x, torch.zeros_like(labels["source/train"]))
    try:
        found = running.run_parts(material, {})
    finally:
        material.drawn["source/train"], material._probes = train, probes
    assert isinstance(found["similarity"], PartResult)
    for name in ("transferability", "data_size", "calibration", "drift"):
        assert isinstance(found[name], NotApplicable)
        assert found[name].failed
        assert "the labels have only one" in found[name].why
        assert "\n" not in found[name].why


def _three_samples(material):
    name = "source/train"
    return {name: material.drawn[name].subset(torch.arange(3))}


def _constant(material):
    name = "source/train"
    train = material.drawn[name]
    return {name: type(train)(torch.ones_like(train.x), train.y)}


def _not_finite(material):
    name = "source/train"
    train = material.drawn[name]
    return {name: type(train)(torch.full_like(train.x, torch.nan), train.y)}


@pytest.mark.parametrize("broken", [_three_samples, _constant, _not_finite])
def test_bad_inputs_of_some_parts_are_a_sentence_each_and_the_others_still_run(assessed, broken, monkeypatch):
    material = assessed[0].material
    kept = material.drawn, material._features, material._raw, material._probes
    monkeypatch.setenv("TL_LAB_CACHE", str(Path(assessed[1]) / "broken"))
    material.drawn, material._features, material._raw, material._probes = material.drawn | broken(material), {}, {}, {}
    try:
        found = running.run_parts(material, {})
    finally:
        material.drawn, material._features, material._raw, material._probes = kept
    failed = [part.why for part in found.values() if isinstance(part, NotApplicable) and part.failed]
    assert all(why and "\n" not in why for why in failed)
    if broken is not _constant:  # constant features carry nothing, and every part can say so
        assert failed
    if broken is not _not_finite:  # every part looks at the training set
        assert any(isinstance(part, PartResult) for part in found.values())


def test_the_verdict_of_one_part_begins_with_what_it_says(assessed):
    material, parts = assessed[0].material, assessed[0].parts
    (sentence,) = verdict.verdict(material, {"drift": parts["drift"]})
    assert sentence.startswith("**Trust**: the data have drifted")  # the target's test set
    for name, said in {
        "no drift": "no drift is detected",
        "undecided": "there are too few samples to detect drift",
    }.items():
        undecided = PartResult("Drift", "", facts={"verdicts": {"target/test": name}})
        assert verdict.verdict(material, {"drift": undecided}) == [f"**Trust**: {said}. (confidence: moderate)"]


def test_random_weights_are_never_advised_as_frozen_features(assessed):
    found = assessed[0]
    assert found.verdict[0].startswith("**Nothing is transferred yet**: mlp has random weights")
    assert found.verdict[1].startswith(
        "**How**: train from scratch (`strategy=from_scratch`), or give trained weights ("
    )
    said = " ".join([*found.verdict, *(part.sentence for part in found.parts.values() if isinstance(part, PartResult))])
    assert "frozen" not in said
    assert found.parts["data_size"].sentence.startswith(
        "The rule of thumb is for pretrained weights, and these are random"
    )


def _advised(gains, ranking, learned=True, rule="train a head on frozen features"):
    """Advise on backbones by the gains of their probes over the raw inputs, ranked by LogME."""
    names = [name for name in ranking if name != "raw inputs"]
    material = SimpleNamespace(subjects=[SimpleNamespace(name=name, learned=learned) for name in names], paired=False)
    measures = {f"{name}/gain": one for name, one in gains.items()}
    parts = {
        "transferability": PartResult("", "", "high", measures, facts={"ranking": ranking}),
        "data_size": PartResult("", "", measures={"labels": Measure(180)}, facts={"rule": rule}),
    }
    return verdict.verdict(material, parts)


def test_the_advice_follows_the_finding_on_transfer():
    better, worse, level = Measure(0.1, 0.05, 0.15), Measure(-0.1, -0.15, -0.05), Measure(0.0, -0.05, 0.05)
    frozen = "train a head on frozen features (the rule of thumb for 180 labels)"
    whether, how = _advised({"a": better, "b": level}, ["b", "raw inputs", "a"])
    assert whether.startswith("**Transfer helps**: a probe on a is better")
    assert how == f"**How**: take a, {frozen}. (confidence: high)"  # b is first by LogME, and is no better
    assert _advised({"a": better}, ["a", "raw inputs"])[1] == f"**How**: with a, {frozen}. (confidence: high)"
    whether, how = _advised({"a": worse}, ["a", "raw inputs"])
    assert whether.startswith("**Transfer does not help**")
    assert how == (
        "**How**: train from scratch (`strategy=from_scratch`), or choose another backbone. (confidence: moderate)"
    )
    whether, how = _advised({"a": level}, ["a", "raw inputs"])
    assert whether.startswith("**It is undecided whether transfer helps**")
    assert how == (
        f"**How**: compare two runs: train from scratch (`strategy=from_scratch`); and take a and {frozen}. "
        "(confidence: low)"
    )
    assert _advised({}, ["a"])[-1] == f"**How**: with a, {frozen}. (confidence: high)"  # no raw inputs to compare with
    assert "frozen" not in " ".join(_advised({}, ["a", "raw inputs"], learned=False, rule=""))


def test_a_disagreement_of_logme_and_the_probe_is_stated_first():
    found = {
        "mlp": {"logme": Measure(-0.5, -0.6, -0.4), "probe": wilson(60, 100)},
        "raw inputs": {"logme": Measure(-0.6, -0.7, -0.5), "probe": wilson(70, 100)},
    }
    sentence, confidence = transferability._sentence(found, ["mlp", "raw inputs"], Measure(0.1, 0.05, 0.15))
    assert sentence.startswith(
        "LogME and the linear probe disagree: LogME ranks mlp first (-0.500 (-0.600 to -0.400)), "
    )
    assert (
        "; the probe is most accurate on raw inputs (70.0 % (60.4 to 78.1), on mlp 60.0 % (50.2 to 69.1))." in sentence
    )
    assert confidence == "moderate"


def test_tables_are_compared_with_trees_and_class_names_are_quoted(tmp_path, monkeypatch):
    """The label is the sign of a product, which trees find and a linear probe on an untrained network less well."""
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    x = np.random.default_rng(0).normal(size=(400, 3))
    table = pd.DataFrame(x, columns=["x", "z", "w"])
    table["label"] = np.where(x[:, 0] * x[:, 1] > 0, "yes", "no")
    table.to_csv(tmp_path / "table.csv", index=False)
    words = ["data=table", f"data.path={tmp_path / 'table.csv'}", "backbone=mlp", "assess=quick", "assess.folds=3"]
    found, _ = running.carry_out([*words, "assess.permutations=20"], tmp_path / "out")
    part = found.parts["transferability"]
    trees, probe = part.measures["trees"], part.measures["raw inputs/probe"]
    assert trees.value > 0.8 > probe.value
    (ranked, *_) = part.tables
    assert ranked.rows[-1] == ["-", "gradient-boosted trees (baseline)", "-", trees.text(percent=True)]
    said = (
        f"Gradient-boosted trees, the baseline on tables, reach {trees.text(percent=True)} on validation data; the best"
    )
    assert said in found.verdict[1]
    assert "τ" not in "".join(table.caption for table in part.tables)  # of mlp and raw inputs there is none
    worst = found.parts["calibration"].tables[0].rows[0][6]
    assert worst.startswith(("'no': ", "'yes': "))


@pytest.fixture
def dated(tmp_path):
    """A table of 200 rows, one of them with a time that is none."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=200)
    table = pd.DataFrame({"x": x, "z": draw.normal(size=200), "when": np.arange(200).astype(str)})
    table["label"] = np.where(x > 0, "yes", "no")
    table.loc[7, "when"] = "soon"
    table.to_csv(tmp_path / "table.csv", index=False)
    words = ["data=table", f"data.path={tmp_path / 'table.csv'}", "data.time_column=when", "data.trees=false"]
    return [*words, "assess=calibration"]


def test_times_that_do_not_parse_are_left_out_with_a_note(dated, tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    found, folder = running.carry_out(dated, tmp_path / "out")
    assert isinstance(found.parts["calibration"], PartResult)
    assert found.parts["calibration"].measures["test/accuracy"].value > 0.9
    (note,) = found.notes
    assert note.startswith("The times of the data are left out: data.time_column=when has 'soon'")
    assert set(found.material.data.columns.numbers) == {"x", "z"}  # and the times are no input
    assert json.loads((folder / "assessment.json").read_text(encoding="utf-8"))["notes"] == [note]
    assert "The times of the data are left out" in (folder / "assessment.html").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="'soon', which is neither a number nor a date"):
        running.carry_out([*dated, "data.split=time"], tmp_path / "none")


def test_an_error_of_the_energy_meter_ends_nothing(monkeypatch):
    class Broken:
        def __init__(self, **options):
            self.options = options

        def start(self):
            raise RuntimeError("no counters")

    for failing in ("start", "stop"):
        tracker = type("Tracker", (Broken,), {} if failing == "start" else {"start": lambda self: None})
        monkeypatch.setitem(sys.modules, "codecarbon", SimpleNamespace(OfflineEmissionsTracker=tracker))
        meter = FootprintMeter("FRA")
        meter.start()
        found = meter.stop()
        assert found.source == "estimated: processor time at 15 W a core"
        assert found.kg == pytest.approx(found.kwh * 0.056039)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=moons", "assess=similarty"], "did you mean 'similarity'"),
        (["data=moons", "backbone=[lenet,mpl]"], "did you mean 'mlp'"),
        (["data=moons", "assess.folds=1"], "assess.folds"),
        (["data=moons", "backbone=[]"], "names no backbone"),
        (["data=split_digits"], "assess the data of one task"),
    ],
)
def test_a_mistake_is_one_sentence(overrides, message, tmp_path):
    with pytest.raises(UserError, match=message):
        running.carry_out(overrides, tmp_path)


def test_several_backbones_share_everything_else():
    asked = read(["data=digits", "backbone=[lenet,mlp]", "assess=transferability", "seed=3"])
    assert [plan.backbone.choice for plan in asked.plans] == ["lenet", "mlp"]
    assert {plan.data.choice for plan in asked.plans} == {"digits"}
    assert {plan.seed for plan in asked.plans} == {3}
    assert asked.options.parts == ("transferability",)
    assert "assess" not in asked.plans[0].config


@pytest.mark.parametrize(("labels", "rule"), [(499, "head"), (500, "upper"), (5000, "upper"), (5001, "all layers")])
def test_the_rule_of_thumb(labels, rule):
    assert rule in rule_of_thumb(labels)


def test_agreement_weighs_the_top_of_the_ranking_most():
    accuracies = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}
    assert agreement(accuracies, accuracies).value == pytest.approx(1)
    assert agreement({name: -value for name, value in accuracies.items()}, accuracies).value == pytest.approx(-1)
    top = agreement({"a": 2, "b": 3, "c": 1, "d": 0}, accuracies)
    bottom = agreement({"a": 3, "b": 2, "c": 0, "d": 1}, accuracies)
    assert top.value < bottom.value < 1
    assert agreement({"a": 1.0}, accuracies) is None
    assert agreement({"a": 1.0, "b": 2.0}, accuracies) is None  # -1 or 1 by a single comparison
    assert agreement(dict.fromkeys(accuracies, 1.0), accuracies) is None  # no ranking at all
    assert tau_text(bottom) == f"{bottom.value:+.2f} (too few)"  # of four names


def test_the_interval_of_an_agreement_covers_the_one_expected_of_as_many_names():
    """Eight names whose scores and accuracies are normal with a correlation of .7."""
    draw = np.random.default_rng(0)

    def sets(count):
        x = draw.normal(size=(count, 8))
        return x, 0.7 * x + np.sqrt(1 - 0.49) * draw.normal(size=(count, 8))

    truth = weighted_tau(*sets(20_000)).mean()
    found = [agreement(dict(enumerate(y)), dict(enumerate(x))) for x, y in zip(*sets(100), strict=True)]
    found = [one for one in found if one.low < one.high]
    assert len(found) >= 97  # all but rankings without a mistake
    assert sum(one.low <= truth <= one.high for one in found) >= 88  # 95 % are 95; it covered 93 % of 300
    assert np.mean([one.high - one.low for one in found]) < 1.3  # and not by its width alone
    perfect = agreement({k: k for k in range(8)}, {k: k for k in range(8)})
    assert (perfect.value, perfect.low, perfect.high) == pytest.approx((1, 1, 1))
    assert tau_text(perfect) == "+1.00 (no mistake)"


def test_wilsons_interval_by_hand():
    # Wilson 1927: 8 of 10
    found = wilson(8, 10)
    assert (found.low, found.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(10, 10).high == pytest.approx(1)


def test_the_worst_of_several_groups_has_an_interval_for_their_number():
    right = np.arange(100) < 70  # the last 30 are wrong
    members = {name: np.isin(np.arange(100) // 25, parts) for name, parts in {"a": [0], "b": [1, 2], "c": [3]}.items()}
    few = {**members, "nine": np.arange(100) > 90}
    assert lowest(few, right) == ("c", wilson(0, 25, NormalDist().inv_cdf(1 - 0.05 / 6)))
    assert lowest({"b": members["b"]}, right) == ("b", wilson(45, 50, NormalDist().inv_cdf(0.975)))
    assert lowest({"nine": few["nine"]}, right) is None


def test_the_worst_group_is_found_by_the_columns_of_the_data(assessed):
    material = assessed[0].material
    test = material.drawn["source/test"]
    columns = {"site": torch.arange(len(test)) % 3, "time": torch.arange(len(test)), "constant": torch.zeros(len(test))}
    whole, grouped = material.whole, replace(test, columns=columns)
    material.drawn["source/test"], material.whole = grouped, {"source/test": grouped}
    try:
        found = calibration.assess(material)
    finally:
        material.drawn["source/test"], material.whole = test, whole
    (name,) = [key for key in found.measures if key.startswith("source/test/worst_group/")]
    answers = material.logits("mlp", "source/test").argmax(1) == test.y
    worst = min(range(3), key=lambda k: float(answers[k::3].double().mean()))
    assert name == f"source/test/worst_group/site {worst}"
    assert found.measures[name].value == pytest.approx(float(answers[worst::3].double().mean()))
    assert not any("target/test/worst_group" in key for key in found.measures)
    assert found.tables[0].head[-1] == "worst group"


# ---------------------------------------------------------------------- bias


def test_fairlearns_rates_are_those_of_the_counts():
    pytest.importorskip("fairlearn")
    found, expected = by_group(Y, ANSWER, GROUP, ["a", "b"]), rates(cell_counts(Y, ANSWER, GROUP, 2))
    for name, values in expected.items():
        assert found[name] == pytest.approx(values), name


def test_the_audit_of_a_small_table():
    pytest.importorskip("fairlearn")
    found = audit(Y, ANSWER, GROUP, ["a", "b", "nobody"])
    assert found.counts == [5, 5, 0]
    assert found.differences["selection_rate"].value == pytest.approx(0.2)
    assert found.ratios["selection_rate"].value == pytest.approx(2 / 3)
    assert max(found.differences[name].value for name in ("tpr", "fpr")) == pytest.approx(1 / 3)
    assert [m.value for m in found.rates["accuracy"][:2]] == pytest.approx([0.8, 0.6])
    assert np.isnan(found.rates["accuracy"][2].value)
    for one in found.differences.values():
        assert one.low <= one.value <= one.high


@pytest.mark.real_data
def test_the_published_rates_of_compas():
    pytest.importorskip("fairlearn")
    folder = Path(os.environ.get("TL_LAB_DATA", "")) / "compas" / "compas-scores-two-years.csv"
    if not folder.is_file():
        pytest.skip("compas lies not below TL_LAB_DATA")
    table = pd.read_csv(folder)
    names = ["African-American", "Caucasian"]
    group = table["race"].map({name: i for i, name in enumerate(names)}).fillna(-1).astype(int).to_numpy()
    found = audit(table["two_year_recid"].to_numpy() == 1, table["decile_score"].to_numpy() >= 5, group, names)
    assert [100 * one.value for one in found.rates["fpr"]] == pytest.approx([44.85, 23.45], abs=0.005)
    assert [100 * one.value for one in found.rates["fnr"]] == pytest.approx([27.99, 47.72], abs=0.005)
    assert 0.17 < found.differences["fpr"].low < 0.214 < found.differences["fpr"].high < 0.26


def test_small_groups_count_in_no_difference():
    pytest.importorskip("fairlearn")
    y, answer = np.tile(Y, 20), np.tile(ANSWER, 20)
    group = np.repeat([0, 1, 2], [100, 99, 1])
    found = audit(y, answer, group, ["a", "b", "one"], least=30)
    two = audit(y[:199], answer[:199], group[:199], ["a", "b"])
    assert found.differences["accuracy"].value == pytest.approx(two.differences["accuracy"].value)


def test_one_group_alone_is_refused():
    with pytest.raises(ValueError, match="fewer than two of them have samples"):
        audit(Y, ANSWER, np.zeros(10, int), ["a", "b"])


# ---------------------------------------------------------------------- drift


def _reference(n, draw):
    logits, features = torch.randn(n, 3, generator=draw), torch.randn(n, 8, generator=draw)
    labels = torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]
    blank = features @ torch.ones(8, 5)
    return reference_of(logits.softmax(1), features, labels, untrained=blank), logits, features


def _detected(reference, logits, features, **options):
    """By all detectors; the untrained encoder sums the features."""
    given = {"features": features.numpy(), "untrained": (features @ torch.ones(8, 5)).numpy()}
    return detect(reference, logits.softmax(1).numpy(), reference.project(features), **given, **options)


def test_false_alarms_over_200_null_draws_are_no_more_frequent_than_the_level(monkeypatch):
    monkeypatch.setattr(detectors, "_estimates", lambda *given: (None, {}))  # take half the time, and raise no alarm
    draw = torch.Generator().manual_seed(20)
    alarms = 0
    for _ in range(200):
        reference = _reference(60, draw)[0]
        _, logits, features = _reference(60, draw)
        found = _detected(reference, logits, features)
        alarms += found.drifted
    assert set(found.detections) == set(BY_DEFAULT)
    assert alarms / 200 <= 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5  # .081


@pytest.mark.parametrize(("n", "m", "alpha"), [(60, 120, 0.05 / 14), (180, 51, 0.05 / 70), (400, 400, 0.05)])
def test_the_detectable_shift_is_found_in_80_percent_of_draws(n, m, alpha):
    shift, draw = detectable_shift(n, m, alpha), torch.Generator().manual_seed(0)
    found = [
        ks_features(torch.randn(n, 1, generator=draw), torch.randn(m, 1, generator=draw) + shift).p < alpha
        for _ in range(200)
    ]
    assert 0.75 < np.mean(found) <= 1
    found = [
        ks_features(torch.randn(n, 1, generator=draw), torch.randn(m, 1, generator=draw) + shift / 2).p < alpha
        for _ in range(200)
    ]
    assert np.mean(found) < 0.5  # it is no loose bound
    assert detectable_shift(n, enough_samples(n, shift, alpha), alpha) <= shift
    assert abs(enough_samples(n, shift, alpha) - m) <= 1


def test_the_reference_limits_what_any_number_of_new_samples_shows():
    assert enough_samples(30, 1.0, 0.05 / 70) is None
    assert detectable_shift(30, 10**9, 0.05 / 70) > 1
    draw = torch.Generator().manual_seed(0)
    reference = _reference(30, draw)[0]
    _, logits, features = _reference(500, draw)
    found = _detected(reference, logits, features)
    assert (found.verdict, found.power.reference, found.power.new, found.power.enough) == ("undecided", 30, 500, None)
    # seven detectors, each of three probabilities: the components have half of the reference
    assert found.power.shift == pytest.approx(detectable_shift(30, 500, 0.05 / 21))
    counted = _detected(reference, logits, features, detectors=("classes_chi2",))
    assert counted.power.shift == pytest.approx(detectable_shift(30, 500, 0.05))
    with pytest.raises(ValueError, match="pca_mmd cannot compare a single sample"):
        _detected(reference, logits[:1], features[:1], detectors=("pca_mmd",))


@pytest.mark.parametrize(("alpha", "tests"), [(0.05, 1), (0.05, 7), (0.01, 7), (0.3, 4)])
def test_the_permutations_suffice_for_the_corrected_level(alpha, tests):
    smallest = tests / (enough_permutations(alpha, tests) + 1)
    assert alpha / 2 - alpha / 50 < smallest <= alpha / 2 + 1e-12


def test_what_only_one_mmd_sees_is_drift():
    draw = torch.Generator().manual_seed(3)
    reference, logits, features = _reference(60, draw)
    same = {"answers": logits.softmax(1).numpy(), "components": reference.components}
    sums = reference.untrained
    found = detect(reference, **same, features=features.numpy() + 3, untrained=sums, permutations=1)
    assert found.drifted
    assert found.detections["features_mmd"].p == pytest.approx(1 / 280)  # not with one permutation
    assert found.p == pytest.approx(7 / 280)
    found = detect(reference, **same, features=features.numpy(), untrained=sums + 3, permutations=1)
    assert {name for name, one in found.detections.items() if one.p < 0.05} == {"untrained_ks", "untrained_mmd"}
    named = ("softmax_mmd", "features_ks")
    assert set(DETECTORS) == {*BY_DEFAULT, *named}
    found = detect(reference, **same, features=features.numpy() + 3, detectors=named)
    assert found.detections["features_ks"].dimensions == 8
    assert found.detections["features_ks"].p < 1e-6
    assert found.detections["softmax_mmd"].p > 0.05  # the answers are the reference's own
    without = detect(reference, **same)
    assert set(without.detections) == {"softmax_ks", "classes_chi2", "pca_ks", "pca_mmd"}
    with pytest.raises(ValueError, match="nothing to compare by untrained_mmd"):
        detect(reference, **same, detectors=("untrained_mmd",))


def test_an_untrained_encoder_depends_on_its_architecture_and_seed_alone():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6)]
    one, x = nn.Sequential(*layers), torch.rand(5, 1, 6, 6)
    one.register_parameter("positions", nn.Parameter(torch.ones(2, 3)))
    one(x)  # the norm keeps statistics
    other = copy.deepcopy(one)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(3)
    before = torch.get_rng_state()
    blank = untrained(one, 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert blank.state_dict().keys() == one.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(blank.parameters(), untrained(other, 1).parameters(), strict=True))
    assert blank[1].running_mean.tolist() == [0] * 4
    assert not torch.equal(blank[0].weight, one[0].weight)
    assert not torch.equal(blank[0].weight, untrained(one, 2)[0].weight)
    assert 0 < float(blank.positions.detach().abs().max()) < 0.1


def test_the_untrained_encoder_reads_few_samples_and_changes_no_other_features(assessed, monkeypatch):
    material = assessed[0].material
    before = material.features(material.subjects[0], "target/test").clone()
    monkeypatch.setattr(drift, "_UNTRAINED", 50)
    found = drift._untrained_features(material, ["source/val", "target/test"])
    assert {name: len(x) for name, x in found.items()} == {"source/val": 50, "target/test": 50}
    assert len(material.drawn["target/test"]) == 120
    assert torch.equal(material.features(material.subjects[0], "target/test"), before)
    network = untrained(material.subjects[0].backbone, material.plan.seed)
    whole = network(material.drawn["target/test"].x).detach()
    nearest = torch.cdist(found["target/test"].double(), whole.double()).amin(1)
    assert nearest.max() < 1e-5  # each is a sample of the set, by the random weights


def test_samples_that_moved_most_are_shown_by_their_places_words_and_pictures(assessed):
    part, material = assessed[0].parts["drift"], assessed[0].material
    (table,) = [one for one in part.tables if one.caption.startswith("Samples of target test that moved most")]
    shown = [int(row[0].partition("[")[2].rstrip("]")) for row in table.rows]
    assert len(set(shown)) == 10
    drawn = material.whole["target/test"].x[material.places("target/test")]
    assert torch.equal(drawn, material.drawn["target/test"].x)
    assert set(shown) <= set(material.places("target/test").tolist())
    texts = Samples(Texts(["one", "two", "x" * 300]), None)
    images = Samples(torch.full((3, 1, 6, 6), 255, dtype=torch.uint8), None)
    for samples, modality in ((texts, "text"), (images, "image")):
        fake = SimpleNamespace(
            places=lambda name: torch.tensor([4, 5, 9]), display_name=str, drawn={"test": samples},
            plan=SimpleNamespace(data=SimpleNamespace(node={})),
            data=SimpleNamespace(modality_for=lambda node, modality=modality: modality),
        )  # fmt: skip
        rows = moved_table(fake, "test", [(2, 7.0), (0, 3.0)]).rows
        assert [row[0] for row in rows] == ["test[9]", "test[4]"]
        picture = moved_pictures(fake, "test", [(2, 7.0), (0, 3.0)])
        if modality == "text":
            assert [row[1] for row in rows] == ["x" * 99 + "…", "one"]
            assert picture is None
        else:
            assert [ax.get_title("left") for ax in picture.axes] == ["7.0", "3.0", "", "", ""]
            assert float(picture.axes[0].images[0].get_array().max()) == 1


def test_features_wider_than_the_reference_raise_no_more_false_alarms():
    draw, alarms, count = torch.Generator().manual_seed(0), 0, 40
    for _ in range(count):
        x = torch.randn(200, 256, generator=draw) * torch.linspace(2, 0.1, 256)
        reference = reference_of(torch.full((100, 2), 0.5), x[:100], torch.zeros(100, dtype=torch.int64))
        even, new = np.full((100, 2), 0.5), reference.project(x[100:])
        alarms += detect(reference, even, new, detectors=("pca_ks", "pca_mmd"), permutations=99).drifted
    assert alarms / count <= 0.05 + 2 * (0.05 * 0.95 / count) ** 0.5


def test_a_shift_is_found_and_its_samples_are_named():
    draw = torch.Generator().manual_seed(0)
    reference, _, features = _reference(200, draw)
    features[:5] += 30
    _, logits, _ = _reference(200, draw)
    found = detect(reference, (3 * logits).softmax(1).numpy(), reference.project(features))
    assert found.drifted
    assert found.detections["softmax_ks"].p < 0.01
    assert {i for i, _ in moved_most(reference, reference.project(features), 5)} == set(range(5))


def test_a_reference_survives_its_file(tmp_path):
    reference = _reference(20, torch.Generator().manual_seed(1))[0]
    np.savez(tmp_path / "reference.npz", **reference.arrays())
    with np.load(tmp_path / "reference.npz") as arrays:
        again = Reference.from_arrays(arrays)
    for name, value in reference.arrays().items():
        assert np.array_equal(again.arrays()[name], value), name


# ---------------------------------------------------------------------- energy


def test_emissions_are_electricity_times_the_countrys_factor():
    assert emissions(2.0, "FRA") == pytest.approx(0.112078)
    assert emissions(2.0, "USA") == pytest.approx(0.738946)
    with pytest.raises(UserError, match="country=XYZ"):
        emissions(1.0, "XYZ")


def test_shares_sum_to_the_total():
    found = shares(3.0, {"a": 1.0, "b": 2.5, "c": 0.0})
    assert sum(found.values()) == pytest.approx(3.0)
    assert found["b"] == pytest.approx(2.5 * found["a"])


# ---------------------------------------------------------------------- other inputs than images


@pytest.mark.slow
@pytest.mark.parametrize("made", [texts, recordings, rows])
def test_every_part_answers_for_texts_recordings_and_tables(made, tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path / "none"))
    words = ["assess=quick", "assess.samples=80", "assess.permutations=20", "assess.folds=3"]
    found, folder = running.carry_out([*made(tmp_path), "data.test_share=0.3", *words], tmp_path / "out")
    assert list(found.parts) == QUICK
    for name, part in found.parts.items():
        if name == "bias" and made is recordings:
            assert part.why.startswith("The data have no column of groups")
        else:
            assert isinstance(part, PartResult), part
            assert part.sentence.endswith(".")
            assert part.measures
    worst = [key for key in found.parts["calibration"].measures if "worst_group" in key]
    assert len(worst) == (made is not recordings)
    heads = [table.head for table in found.parts["drift"].tables if "moved most" in table.caption]
    if found.parts["drift"].facts["verdicts"]["test"] == "drift":
        assert heads == [["sample", "text", "distance"] if made is texts else ["sample", "distance"]]
    else:
        assert heads == []
    assert (folder / "assessment.html").is_file()
