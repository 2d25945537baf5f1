"""Full assessments on a small scale: every part answers with numbers, or says in a sentence that it does not apply."""

import functools
import json

import numpy as np
import pytest
from composing import run_in
from encoders_at_hand import tiny
from small_sets import recordings, rows, texts

from tl_lab.assess import running, tuning
from tl_lab.assess.results import NotApplicable, PartResult
from tl_lab.assess.zero_shot import zero_shot

SMALL = ["assess.samples=80", "assess.permutations=19", "assess.folds=2", "assess.seeds=1", "assess.epochs=1"]
ALL = {
    "similarity", "transferability", "data_size", "baselines", "layers", "calibration", "bias", "forgetting", "drift",
    "energy",
}  # fmt: skip
DOMAINS = [("source", "here"), ("target", "there")]


def _digits(place):
    return ["data=digits", "backbone=lenet", "backbone.in_channels=1"]


CASES = {
    # what is assessed, and how the parts that do not apply begin
    "images": (_digits, {"bias": "The data have no column of groups"}),
    "texts": (texts, {"forgetting": "One set of 2 classes makes one task"}),
    "recordings": (
        functools.partial(recordings, tones=(300, 800, 1400, 2200)),
        {"bias": "The data have no column of groups"},
    ),
    "tables": (
        rows,
        {
            "baselines": "Mlp has no learned weights: it would be trained on half of the classes",
            "forgetting": "One set of 2 classes makes one task",
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_part_of_a_full_assessment_ends_with_numbers_or_in_a_sentence(name, tmp_path, monkeypatch):
    for variable in ("TL_LAB_CACHE", "TL_LAB_OUTPUTS", "TL_LAB_DATA"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr(tuning, "_FEWEST", 3)
    made, apart = CASES[name]
    share = [] if name == "images" else ["data.test_share=0.3"]
    found, folder = running.carry_out([*made(tmp_path), *share, "assess=full", *SMALL], tmp_path / "out")
    assert set(found.parts) == ALL
    for part, result in found.parts.items():
        if part in apart:
            assert isinstance(result, NotApplicable)
            assert not result.failed
            assert result.why.startswith(apart[part])
            assert result.why.endswith(".")
            assert "\n" not in result.why
        else:
            assert isinstance(result, PartResult), (part, result)
            assert result.sentence.endswith(".")
            assert any(measure.value == measure.value for measure in result.measures.values())
    stored = json.loads((folder / "assessment.json").read_text(encoding="utf-8"))
    assert {part for part, one in stored["parts"].items() if one["status"] == "not applicable"} == set(apart)
    notes = stored["parts"]["data_size"]["notes"]
    assert any(note.startswith("> No networks are trained for these curves") for note in notes) == (name == "tables")
    if name != "tables":
        shot = zero_shot(found.material)
        measured = found.parts["baselines"].measures.get("zero-shot")
        assert measured == (None if isinstance(shot, str) else shot)
        if measured is None:
            assert f"Zero-shot is not applicable: {shot}." in found.parts["baselines"].notes


@pytest.mark.parametrize("kind", ["recordings", "texts"])
def test_another_folder_is_the_deployment(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "_FEWEST", 3)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    if kind == "recordings":
        network = recordings(tmp_path / "here")[2:]
        recordings(tmp_path / "there", (310, 2010))
        for pitch in ("0310 Hz", "2010 Hz"):
            folder = tmp_path / "there" / "waves" / pitch
            folder.rename(folder.with_name(pitch.replace("1", "0")))
        words = ["data=audio_folder_pair", *(f"data.{one}={tmp_path / place / 'waves'}" for one, place in DOMAINS)]
    else:
        network = ["backbone=hf_text", f"backbone.name={tiny(tmp_path / 'encoder', 'bert')}"]
        for _, place in DOMAINS:
            draw = np.random.default_rng(len(place))
            for label, letters in (("low", "aab"), ("high", "bbc")):
                (tmp_path / place / label).mkdir()
                for number in range(60):
                    written = " ".join(draw.choice(list(letters), 6))
                    (tmp_path / place / label / f"{number}.txt").write_text(written)
        words = ["data=text_folder_pair", *(f"data.{one}={tmp_path / place}" for one, place in DOMAINS)]
    found, _ = running.carry_out([*words, *network, "assess=quick", *SMALL], tmp_path / "out")
    measured = found.parts["calibration"]
    assert isinstance(measured, PartResult), measured
    assert {"source/test/accuracy", "target/test/accuracy", "gap"} <= set(measured.measures)
    gap = measured.measures["gap"]
    expected = measured.measures["target/test/accuracy"].value - measured.measures["source/test/accuracy"].value
    assert gap.value == pytest.approx(expected)
    assert gap.low <= gap.value <= gap.high
    assert all(isinstance(found.parts[part], PartResult) for part in ("similarity", "drift"))


def test_zero_shot_without_a_run_is_that_of_the_strategy(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    words = [*texts(tmp_path), "data.test_share=0.3"]
    results = run_in(tmp_path / "run", *words, "strategy=zero_shot", "domain_adaptation=none", "logger=none")
    asked = running.read([*words, "assess=baselines"])
    found = zero_shot(running.Material(asked.plans, asked.options))
    assert found.value == pytest.approx(results["metrics"]["test/acc"])
    assert found.low < found.value < found.high
