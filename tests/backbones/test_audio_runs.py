"""Runs on recordings with tiny saved encoders: cached features, recognition, and adaptation between speakers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from composing import run_in
from scipy.io import wavfile
from test_audio_backbones import tiny_waves, tiny_whisper

from tl_lab.data.inputs.recordings import Recordings, Wave
from tl_lab.data.sets.spoken_digits import SpokenDigits

pytest.importorskip("transformers", reason="tl_lab[speech] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
QUIET = ["logger=none", "figures=false", "health=false", "trainer.max_epochs=1", "data.batch_size=4"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))


def tone(hertz: float, seconds: float = 0.1) -> np.ndarray:
    return (9000 * np.sin(2 * np.pi * hertz * np.arange(int(8000 * seconds)) / 8000)).astype(np.int16)


def test_a_second_run_does_not_execute_a_frozen_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tl_lab.backbones.whisper import Whisper
    from tl_lab.strategies import feature_extraction

    monkeypatch.setattr(feature_extraction, "_LARGE", 1)  # smaller sets are computed as fast as they are read

    for name, hertz in (("low", 300), ("high", 2000)):
        (tmp_path / "tones" / name).mkdir(parents=True)
        for i in range(10):
            wavfile.write(tmp_path / "tones" / name / f"{i}.wav", 8000, tone(hertz + 20 * i))
    calls = []
    forward = Whisper.forward
    monkeypatch.setattr(Whisper, "forward", lambda self, x: calls.append(1) or forward(self, x))
    words = ["data=audio_folder", f"data.path={tmp_path / 'tones'}", "backbone=whisper", "backbone.seconds=0.2"]
    words += [f"backbone.name={tiny_whisper(tmp_path / 'whisper')}", "strategy=feature_extraction", *QUIET]
    first = run_in(tmp_path / "first", *words)
    executed = len(calls)
    assert executed > 0
    second = run_in(tmp_path / "second", *words)
    assert len(calls) == executed
    assert second["metrics"]["test/acc"] == first["metrics"]["test/acc"]


@pytest.mark.parametrize(("kind", "save"), [("whisper", tiny_whisper), ("wav2vec2", tiny_waves)])
def test_encoders_learn_to_transcribe(kind: str, save, tmp_path: Path) -> None:
    rows = [(f"{i}.wav", "ab"[i % 2]) for i in range(12)]
    for i, (name, _) in enumerate(rows):
        wavfile.write(tmp_path / name, 8000, tone(400 + 1200 * (i % 2) + i))
    pd.DataFrame(rows, columns=["path", "transcript"]).to_csv(tmp_path / "speech.csv", index=False)
    seconds = ["backbone.seconds=0.2"] if kind == "whisper" else []
    words = ["data=speech_table", f"data.path={tmp_path / 'speech.csv'}", f"backbone={kind}", *seconds]
    found = run_in(tmp_path / "run", *words, f"backbone.name={save(tmp_path / kind)}", "strategy=fine_tuning", *QUIET)
    assert found["problem"]["name"] == "transcript"
    assert found["parameters"]["trainable"] == found["parameters"]["total"]
    assert 0 <= found["metrics"]["test/wer"] < float("inf")


def test_speakers_are_a_pair_for_dann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [[digit, speaker, str(k)] for digit in "0123456789" for speaker in ("george", "theo") for k in range(9)]
    waves = [Wave(tone(300 + 300 * int(d) + 100 * (s == "theo") + int(k)), 8000) for d, s, k in names]
    monkeypatch.setattr(SpokenDigits, "_recordings", lambda self: (Recordings(waves), names))
    words = [
        "data=spoken_digits",
        "data.source=george",
        "data.target=theo",
        "backbone=audio_cnn",
        "data.val_share=0.25",
    ]
    words += ["backbone.widths=[4,8]", "backbone.bands=8", "domain_adaptation=dann", "strategy=from_scratch", *QUIET]
    found = run_in(tmp_path / "run", *words)
    assert found["sizes"]["target/train"] == found["sizes"]["source/train"] + found["sizes"]["source/val"] == 40
    assert found["sizes"]["target/test"] == found["sizes"]["source/test"] == 50
    assert {"test/source/acc", "test/target/acc"} <= found["metrics"].keys()
    assert all(torch.isfinite(torch.tensor(value)) for value in found["metrics"].values())
