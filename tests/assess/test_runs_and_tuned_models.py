"""What assessments make of earlier runs: rankings checked by them, a tuned model beside its base; and prices."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tl_lab.assess import bias, data_size, energy, layers, source_classes
from tl_lab.assess.answering import answerer_of, base_of
from tl_lab.assess.asking import read
from tl_lab.assess.data_size import Curve
from tl_lab.assess.material import Material
from tl_lab.assess.measured_runs import finished, measured
from tl_lab.assess.results import Measure, PartResult, wilson
from tl_lab.assess.transferability import agreement
from tl_lab.assess.tuning import WAYS
from tl_lab.assess.zero_shot import zero_shot
from tl_lab.functional.power_law import PowerLaw

STORED = Path(__file__).resolve().parents[1] / "golden" / "stored" / "supervised"

# ---------------------------------------------------------------------- finished runs


def _run(folder, backbone, accuracy, **changes):
    """Write a results.json by hand."""
    choices = {"data": "digits", "strategy": "fine_tuning", "backbone": backbone, "adapter": "none"}
    results = {
        "schema": 1, "status": "completed", "choices": choices | changes.pop("choices", {}),
        "metrics": {"test/acc": accuracy}, "sizes": {"train": 1258, "test": 359},
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results | changes))


def _asked(runs, *backbones):
    subjects = [SimpleNamespace(name=name) for name in backbones]
    plan = SimpleNamespace(data=SimpleNamespace(choice="digits"))
    return SimpleNamespace(options=SimpleNamespace(runs=str(runs)), plan=plan, subjects=subjects)


@pytest.fixture
def runs(tmp_path):
    _run(tmp_path / "a", "lenet", 0.90)
    _run(tmp_path / "deeper" / "b", "lenet", 0.94)
    _run(tmp_path / "c", "mlp", 0.80)
    return tmp_path


def test_a_ranking_is_checked_by_the_runs_of_its_backbones(runs):
    found = measured(_asked(runs, "lenet", "mlp", "conv4"))
    assert found == {"lenet": (pytest.approx(0.92), 2), "mlp": (0.80, 1)}
    by_runs = {name: mean for name, (mean, _) in found.items()}
    assert agreement({"lenet": 2.0, "mlp": 1.0, "conv4": 3.0}, by_runs) is None  # two have runs: one comparison
    by_runs |= {"conv4": 0.7}
    assert agreement({"lenet": 3.0, "mlp": 2.0, "conv4": 1.0}, by_runs).value == pytest.approx(1)
    assert agreement({"lenet": 1.0, "mlp": 2.0, "conv4": 3.0}, by_runs).value == pytest.approx(-1)


@pytest.mark.parametrize(
    "changes",
    [
        {"choices": {"data": "mnist"}},
        {"status": "failed"},
        {"choices": {"strategy": "from_scratch"}},
        {"choices": {"adapter": "lora"}},  # another protocol
        {"sizes": {"train": 100, "test": 359}},  # fewer labels
        {"metrics": {}},
    ],
)
def test_runs_that_compare_nothing_change_nothing(runs, changes):
    _run(runs / "d", "mlp", 0.99, **changes)
    assert measured(_asked(runs, "lenet", "mlp"))["mlp"] == (0.80, 1)


def test_files_of_other_programs_and_missing_folders_are_no_runs(runs):
    (runs / "e").mkdir()
    (runs / "e" / "results.json").write_text("no JSON")
    assert [path.name for path, _ in finished(_asked(runs, "lenet"))] == ["a", "c", "b"]
    assert measured(_asked(runs / "nowhere", "lenet")) == {}


def test_the_target_is_what_a_run_of_a_pair_is_judged_by(tmp_path):
    _run(tmp_path / "a", "lenet", 0.0, metrics={"test/source/acc": 0.9, "test/target/acc": 0.4})
    assert measured(_asked(tmp_path, "lenet")) == {"lenet": (0.4, 1)}


# ---------------------------------------------------------------------- a tuned model and its base


def _digits(*words):
    asked = read(["data=digits", "backbone=mlp", "backbone.hidden=[8]", "assess=bias", "assess.samples=200", *words])
    found = Material(asked.plans, asked.options)
    for name, samples in found.drawn.items():  # groups that differ in their images
        dark = samples.x.float().flatten(1).mean(1)
        found.drawn[name] = replace(samples, columns={"group": (dark > dark.median()).long()})
    found.whole = found.drawn
    return found


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("TL_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    folder = tmp_path_factory.mktemp("runs") / "digits"
    shutil.copytree(STORED, folder)
    try:
        yield _digits(f"init_from={folder}"), _digits()
    finally:
        patch.undo()


def test_the_base_of_a_run_is_a_probe_on_the_backbone_before_it(tuned):
    after, before = tuned
    answers = answerer_of(after)
    assert answers.name == "the run digits"
    y = after.labels("test")
    assert float((answers.logits("test").argmax(1) == y).double().mean()) == pytest.approx(0.7465, abs=0.08)
    assert torch.equal(base_of(after, "test"), before.logits("mlp", "test").double())


def test_zero_shot_is_the_run_as_it_stands_and_has_reasons_where_it_is_not_applicable(tuned, monkeypatch):
    after, before = tuned
    right = int((answerer_of(after).logits("test").argmax(1) == after.labels("test")).sum())
    assert zero_shot(after) == wilson(right, len(after.labels("test")))
    assert zero_shot(before) == "mlp has random weights"
    monkeypatch.setattr(after.data, "class_names", list("abcdefghij"))
    assert zero_shot(after) == "the run digits has other classes than these data"


def test_layers_are_compared_with_those_before_the_run(tuned):
    after, before = tuned
    x, z = (one.features(one.subjects[0], "val").double() for one in tuned)
    centring = torch.eye(len(x), dtype=torch.float64) - 1 / len(x)
    k, m = (centring @ (one @ one.T) @ centring for one in (x, z))
    expected = float((k * m).sum() / (k.norm() * m.norm()))  # of the kernels' Hilbert-Schmidt criterion
    (found,) = layers._alike(after, after.subjects[0]).values()
    assert found.value == pytest.approx(expected, rel=1e-5)
    assert 0 < found.low < found.value < found.high <= 1
    assert found.value < 0.999
    assert layers._alike(before, before.subjects[0]) == {}


def _true_positives(y, answer, group):
    return [float(answer[(group == g) & y].mean()) for g in (0, 1)]


def test_amplification_is_the_tuned_models_difference_less_that_of_its_base(tuned, monkeypatch):
    pytest.importorskip("fairlearn")
    monkeypatch.setattr(bias, "_MOST_CLASSES", 2)
    after, before = tuned
    found = bias.assess(after)
    assert isinstance(found, PartResult)
    group = after.drawn["test"].columns["group"].numpy()
    answers = [one.argmax(1).numpy() for one in (answerer_of(after).logits("test"), before.logits("mlp", "test"))]
    for c in (0, 1):
        y = (after.labels("test") == c).numpy()
        rates = [_true_positives(y, answer == c, group) for answer in answers]
        expected = [abs(a - b) for a, b in rates]
        title = f"group/the run digits, {c} against the rest"
        assert found.measures[f"{title}/difference/tpr"].value == pytest.approx(expected[0])
        assert found.measures[f"group/base, {c} against the rest/difference/tpr"].value == pytest.approx(expected[1])
        amplified = found.measures[f"{title}/amplification/tpr"]
        assert amplified.value == pytest.approx(expected[0] - expected[1])
        assert amplified.low <= amplified.high


def test_each_of_several_classes_is_calibrated_by_group(tuned, monkeypatch):
    pytest.importorskip("fairlearn")
    monkeypatch.setattr(bias, "_MOST_CLASSES", 2)
    after, _ = tuned
    result = PartResult("", "")
    answerer = answerer_of(after)
    p, group, y = answerer.probabilities("test"), after.drawn["test"].columns["group"], after.labels("test")
    decided = bias._decisions(after, answerer, "test")
    assert [one.name for one in decided] == ["0", "1"]
    bias._calibration(after, group.numpy(), "group", ["light", "dark", "nobody"], decided, result)
    assert len(result.measures) == 8
    before = base_of(after, "test").softmax(1)
    for start, shares in (("", p), ("base/", before)):
        for c in (0, 1):
            for g, name in enumerate(("light", "dark")):
                one = result.measures[f"{start}group/{c} against the rest/calibration/{name}"]
                observed = float((y[group == g] == c).double().mean())
                assert one.value == pytest.approx(float(shares[group == g, c].mean()) - observed)
                assert one.low < one.value < one.high
    (table,) = result.tables
    assert [row[:2] for row in table.rows] == [["0", "light"], ["0", "dark"], ["1", "light"], ["1", "dark"]]
    assert table.head[2:] == [
        "stated",
        "less observed (95 %)",
        "stated by the base",
        "less observed (95 %)",
        "observed (95 %)",
    ]
    apart = [result.measures[f"{start}group/0 against the rest/calibration/light"].points() for start in ("", "base/")]
    assert table.rows[0][3:6:2] == apart


# ---------------------------------------------------------------------- prices


def test_labels_and_computing_have_prices():
    law = PowerLaw(scale=1.0, exponent=0.5, floor=0.0, residual=0.0)
    fitted = Measure(1.0), Measure(0.5), Measure(0.0)
    curves = {
        "frozen": Curve({100: [0.1]}, law, *fitted, Measure(120, 100, 150), seconds=Measure(90.0, 80.0, 100.0)),
        "fine-tuned": Curve({100: [0.1]}, law, *fitted, Measure(np.inf), seconds=Measure(900.0)),
    }
    options = SimpleNamespace(cost_per_label=0.5, cost_per_hour=36.0)
    table = data_size._costs(SimpleNamespace(options=options), curves, 100)
    assert [row[2:] for row in table.rows] == [
        ["60.00 (50.00 to 75.00)", "90.0 (80.0 to 100.0)", "0.9000 (0.8000 to 1.0000)"],
        ["-", "900.0", "9.0000"],
    ]
    sentence, _ = data_size._sentence(SimpleNamespace(options=options), 100, "train", "mlp", curves["frozen"])
    assert "120 (100 to 150) more labels would lower its error by one point, 60 (50 to 75) at 0.5 a label." in sentence
    open_ended = Curve({100: [0.1]}, law, *fitted, Measure(103, 53, np.inf))
    sentence, confidence = data_size._sentence(SimpleNamespace(options=options), 100, "train", "mlp", open_ended)
    assert "103 more labels (at least 53; the 95 % interval has no upper end) would lower its error by one " in sentence
    assert confidence == "low"
    numbers = [(103, 53, np.inf), (np.inf, 53, np.inf), (np.inf, np.inf, np.inf)]
    assert [data_size._format_labels(Measure(*one)) for one in numbers] == [
        "103 (53 or more)",
        "no number suffices (53 or more)",
        "no number suffices",
    ]
    options = SimpleNamespace(cost_per_label=None, cost_per_hour=0.0)
    table = data_size._costs(SimpleNamespace(options=options), curves, 100)
    assert [row[2] + row[4] for row in table.rows] == ["--", "--"]


def test_an_exponent_at_the_bound_of_the_fit_is_marked_and_its_prediction_unreliable():
    sizes = [10, 20, 40, 80]
    steep = data_size.curve_of({n: [5.0 * n**-3.0 + 0.1] * 3 for n in sizes}, 80, 0)
    assert steep.law.at_bound
    assert steep.law.exponent == 2.0
    assert data_size._exponent(steep.exponent) == "≥ 2.00 (≥ 2.00 to ≥ 2.00)"
    assert data_size._exponent(Measure(0.5, 0.05, 2.0)) == "0.50 (≤ 0.05 to ≥ 2.00)"
    law = PowerLaw(scale=50.0, exponent=2.0, floor=0.0, residual=0.0)
    fitted = Measure(1.0), Measure(2.0), Measure(0.0)
    curve = Curve({100: [0.1]}, law, *fitted, Measure(120, 100, 150))
    options = SimpleNamespace(options=SimpleNamespace(cost_per_label=None))
    sentence, confidence = data_size._sentence(options, 100, "train", "mlp", curve)
    assert sentence.endswith("The fitted exponent is at the bound of the fit (2): this is unreliable.")
    assert confidence == "low"
    assert not PowerLaw(1.0, 0.5, 0.0, 0.0).at_bound


def test_energy_of_each_way_and_the_multiple_of_training_from_scratch():
    alike, none = [4.0, 4.0, 4.0], [0.0, 0.0, 0.0]
    seconds = {"from scratch": [8.0, 8.0, 8.0], "frozen": [1.0, 2.0, 4.0], "upper layers": alike, "fine-tuned": none}
    baselines = PartResult("", "", measures={way: Measure(0.5) for way in WAYS}, facts={"seconds": seconds})
    result = PartResult("", "")
    energy._add_ways(baselines, 2e-6, result)
    found = {way: (result.measures[f"{way}/kwh"], result.measures[f"{way}/from_scratch_multiple"]) for way in WAYS}
    kwh, multiple = found["frozen"]
    half = 4.30265 * np.std([1, 2, 4], ddof=1) / 3**0.5  # Student's t of two degrees
    assert (kwh.value, kwh.high - kwh.value) == (pytest.approx(2e-6 * 7 / 3), pytest.approx(2e-6 * half, rel=1e-5))
    # ratios 8, 4, 2: their logarithms are one log 2 apart
    assert multiple.value == pytest.approx(4)
    assert multiple.high / 4 == pytest.approx(4 / multiple.low) == pytest.approx(2 ** (4.30265 / 3**0.5), rel=1e-5)
    assert found["upper layers"][1].value == pytest.approx(2)
    assert found["from scratch"][1].value == 1
    assert found["fine-tuned"][1].value == np.inf
    assert [row[0] for row in result.tables[0].rows] == list(WAYS)
    assert result.tables[0].rows[1][3].startswith("4.00 (")


def test_energy_of_runs_and_of_their_sweep(monkeypatch, tmp_path):
    sweep = tmp_path / "experiment" / "today"
    sweep.mkdir(parents=True)
    (sweep / "multirun.yaml").write_text("")
    alike = {
        "status": "completed",
        "choices": {"backbone": "mlp", "strategy": "fine_tuning"},
        "metrics": {"test/acc": 0.5},
    }
    runs = [(sweep / str(k), alike | {"energy": {"kwh": 0.001 * (k + 1), "source": "measured"}}) for k in range(2)]
    runs.append((tmp_path / "single" / "today", alike | {"energy": {"kwh": 0.004, "source": "measured"}}))
    monkeypatch.setattr(energy, "finished", lambda material: iter(runs))
    result = PartResult("", "")
    energy._add_runs(SimpleNamespace(options=SimpleNamespace(country="FRA")), result)
    found = {name: one.value for name, one in result.measures.items()}
    assert found["sweeps/experiment/today/kwh_in_all"] == pytest.approx(0.003)
    assert found["sweeps/experiment/today/kg_in_all"] == pytest.approx(0.003 * 0.056039)
    assert found["runs/mlp, fine_tuning/kwh_in_all"] == pytest.approx(0.007)
    each = result.measures["runs/mlp, fine_tuning/kwh"]  # of 1, 2 and 4 Wh
    half = 4.30265 * np.std([1, 2, 4], ddof=1) / 3**0.5 / 1000
    assert (each.value, each.high - each.value) == (pytest.approx(0.007 / 3), pytest.approx(half, rel=1e-5))
    assert result.tables[0].rows[0][3] == each.times(1000).text()
    assert [table.caption for table in result.tables] == ["Finished runs (measured)", "Sweeps (measured)"]


def test_leep_uses_the_classifier_of_the_weights_where_it_is_known():
    x, weight = torch.randn(5, 3), torch.randn(4, 3)
    known = SimpleNamespace(weight=weight, bias=torch.ones(4), names=list("abcd"))
    subject = SimpleNamespace(
        name="net", plan=SimpleNamespace(init_from=None), backbone=SimpleNamespace(classifier=lambda: known)
    )
    material = SimpleNamespace(subjects=[subject], class_names=["x", "y"], plan=SimpleNamespace(seed=0))
    found = source_classes.probabilities(material, "net", x)
    torch.testing.assert_close(found, (x.double() @ weight.double().T + 1).softmax(1))
    known = None
    x = torch.randn(40, 3)
    assert source_classes.probabilities(material, "net", x).shape == (40, 8)  # parts of a mixture
