"""Sweeps about speech, documents, films and tables: what is resumed and stored, and what the pages say of it."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parent.parent
FINDING = {"set": "test", "finding": "pneumonia", "auroc": 0.9, "low": 0.85, "high": 0.95, "threshold": 0.3}
FINDING |= {"sensitivity_at_90": 0.75, "sensitivity": 0.8, "specificity": 0.88, "calibration_error": 0.05}


@pytest.fixture(scope="module")
def tables() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "tables.py"))


@pytest.fixture(scope="module")
def sweeps() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "input_runs.py"))


def run_of(folder: Path, seed: int, status: str = "completed") -> None:
    folder.mkdir(parents=True)
    OmegaConf.save({"data": {"labels": 50}, "backbone": {"positions": False}}, folder / "config.yaml")
    metrics = {"test/acc": 0.875, "val/acc": 0.9}
    found = {"status": status, "seed": seed, "choices": {"domain_adaptation": "none"}, "metrics": metrics}
    found |= {"findings": [FINDING], "sizes": {"train": 50, "test": 40}, "duration_s": 3.14159}
    (folder / "results.json").write_text(json.dumps(found))


def test_a_sweep_is_stored_once_all_its_jobs_have_completed(tmp_path: Path, sweeps: dict[str, Any]) -> None:
    folder = tmp_path / "films"
    assert sweeps["progress"](folder) == (0, 1)
    run_of(folder / "0", 0)
    run_of(folder / "1", 1, "running")
    hydra = {"sweeper": {"params": {"seed": "0,1,2"}}, "overrides": {"task": ["backbone.widths=[8,8]", "seed=0,1"]}}
    OmegaConf.save({"hydra": hydra}, folder / "multirun.yaml")
    assert sweeps["progress"](folder) == (1, 2)  # the command line comes last; a list is one value
    assert sweeps["collected"](folder) == {}
    (folder / "1" / "results.json").unlink()
    run_of(folder / "2", 2)
    stored = sweeps["collected"](folder)
    assert [run["seed"] for run in stored["runs"]] == [0, 2]
    first = stored["runs"][0]
    assert first["findings"] == [{name: value for name, value in FINDING.items() if name != "threshold"}]
    assert (first["test/acc"], first["tested"], first["took_s"]) == (0.875, {"test": 40}, 3.1)
    assert (first["backbone.positions"], first["data.labels"]) == (False, 50)
    assert "val/acc" not in first


def page(tables: dict[str, Any], name: str, folder: Path, stored: dict[str, Any], file: str = "input_runs.json") -> str:
    (folder / file).write_text(json.dumps(stored))
    make = tables["TABLES"][name]
    before = make.__globals__["RESULTS"]
    make.__globals__["RESULTS"] = folder
    try:
        return make()
    finally:
        make.__globals__["RESULTS"] = before


def of(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"torch": "2.0", "runs": [{"seed": 0, "took_s": 1.0, **run} for run in runs]}


@pytest.mark.parametrize("name", ["recognition", "boxes", "languages", "films", "shift", "groups", "speakers"])
def test_a_table_names_the_command_while_its_sweep_is_missing(
    name: str, tmp_path: Path, tables: dict[str, Any], sweeps: dict[str, Any]
) -> None:
    table = page(tables, name, tmp_path, {})
    command = table.removeprefix("Not run here: `python benchmarks/input_runs.py <folder> --only ").removesuffix("`")
    assert set(command.split()) <= sweeps["SWEEPS"].keys()


def test_tables_of_stored_runs(tmp_path: Path, tables: dict[str, Any]) -> None:
    heard = {"decoder": of({"test/wer": 0.1, "tested": {"test": 40}})}
    heard["whisper"] = of({"test/wer": 0.2, "data.labelled_seconds": 10, "tested": {"test": 100}})
    table = page(tables, "recognition", tmp_path, heard)
    assert "| tested utterances | 0 s | 10 s |" in table
    assert "| Whisper tiny.en's own decoder | 40 | 10.0 |  |" in table
    assert "| Whisper tiny.en's encoder, fine-tuned | 100 |  | 20.0 |" in table
    assert table.endswith("--only untaught scratch`")

    arms = [(False, False, 0.30), (True, False, 0.40)]
    layout = of(
        *(
            {"seed": seed, "backbone.positions": boxes, "backbone.bias": bias, "test/entity_f1": f1 + seed / 100}
            for boxes, bias, f1 in arms
            for seed in (0, 1, 2)
        )
    )
    table = page(tables, "boxes", tmp_path, {"layout": layout})
    assert "| words and embeddings of their boxes | 40.0 | 41.0 | 42.0 | 41.0 ± 2.5 | +10.0 ± 0.0 | helps |" in table
    assert table.endswith("--only bias`")

    table = page(
        tables, "films", tmp_path, {"films": of({"test/acc": 0.875, "data.labels": 50, "findings": [FINDING]})}
    )
    assert "| `conv4` | 50 | 87.5 | 90.0 | 75.0 | 80.0 | 88.0 | 5.0 |" in table
    tuned = of(*({"strategy": way, "test/acc": 0.75, "findings": [FINDING]} for way in ("from_scratch", "fine_tuning")))
    table = page(tables, "films", tmp_path, {"films_tuned": tuned})
    assert "| `efficientnet_lite0`, ImageNet | all | 75.0 | 90.0 | 75.0 |" in table
    assert table.endswith("--only films`")

    shifted = [("source_only", 0.7), ("importance_weighting", 0.75)]
    runs = [{"domain_adaptation": n, "test/target/acc": a, "test/target trees/acc": 0.8} for n, a in shifted]
    inputs = {"domain_adaptation": "importance_weighting", "test/target/acc": 0.65}
    table = page(tables, "shift", tmp_path, {"shift": of(*runs), "shift_inputs": of(inputs)})
    assert "| `importance_weighting` | 75.0 | +5.0 points |" in table
    assert "| `importance_weighting domain_adaptation.compare=inputs` | 65.0 | -5.0 points |" in table

    voices = [
        ("source_only", "george", 0.5),
        ("source_only", "theo", 0.7),
        ("dann", "george", 0.6),
        ("dann", "theo", 0.9),
    ]
    runs = [{"domain_adaptation": n, "data.target": s, "test/target/acc": a} for n, s, a in voices]
    table = page(tables, "speakers", tmp_path, {"speakers": of(*runs)})
    assert "| `dann` | 60.0 | 90.0 | 75.0 (60.0, 90.0) | +15.0 (+10.0, +20.0) points |" in table


def test_times_of_inputs(tmp_path: Path, tables: dict[str, Any]) -> None:
    speech = {"recordings": 3000, "log_mel_s": 9.87, "encoder_s": 120.0, "left_out": [0.95, 1.0]}
    speech["padded"] = {"recordings": 200, "encoder_s": 300.0, "own_length_acc": 0.99, "padded_acc": 0.985}
    rows = {
        "batches": 200,
        "turns": 7,
        "epoch_s": 0.05,
        "rows_epoch_s": 0.6,
        "ratio": 12.0,
        "ratio_range": [11.0, 13.0],
    }
    found = {"date": "2026-01-01", "torch": "2.0", "speech": speech, "table": rows}
    found["zero_shot"] = {"tested": 120, "right": 115}
    table = page(tables, "other_inputs", tmp_path, found, "other_inputs.json")
    assert "| 9.9 s | 3,000 recordings" in table
    assert "| 97.5 % (95.0 to 100.0) | mean over 2 speakers |" in table
    assert "| 300 s | 200 recordings; at their own lengths about 8.0 s |" in table
    assert "| 12.0 (11.0 to 13.0) | 200 batches, median of 7 turns" in table


def test_verdicts_of_tables_are_corrected_for_their_number(tables):
    """An uncorrected interval that excludes 0 does not suffice: p = .031 doubles to .061."""
    from tl_lab.results.tables.statistics import paired_t

    clear, weak, single = paired_t([-5.0, -5.1, -4.9, -5.0]), paired_t([1.0, 2.0, 2.5, 0.8]), paired_t([1.0, 2.0])
    assert 0.025 < weak.p < 0.05
    assert weak.mean - weak.half > 0
    assert tables["_verdicts"]([weak]) == ["helps"]
    assert tables["_verdicts"]([weak, weak, clear, single]) == [
        "no difference shown",
        "no difference shown",
        "hurts",
        "too few to tell",
    ]
