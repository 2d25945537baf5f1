"""Recordings with transcripts: splits by speakers, seconds of labels, refusals, and a run from sound to text."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from composing import run_in
from finished_runs import is_assessed, is_monitored_and_described
from scipy.io import wavfile

from tl_lab.data.sets.speech_table import SpeechTable, drawn_seconds
from tl_lab.errors import UserError
from tl_lab.run.inference import predict_to_csv

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
HERTZ = {"a": 400, "b": 1600}


def utterances(folder: Path, count: int = 40, **further: list) -> Path:
    """Write tones of 80 ms, low for a and high for b, with pauses: "a b" is two words."""
    rows = []
    for i in range(count):
        word = "ab"[i % 2] + "ab"[i // 2 % 2] * (i % 3 > 0)
        sound = [np.zeros(400)]
        for letter in word:
            sound += [np.sin(2 * np.pi * (HERTZ[letter] + i) * np.arange(640) / 8000), np.zeros(400)]
        wavfile.write(folder / f"{i}.wav", 8000, (9000 * np.concatenate(sound)).astype(np.int16))
        rows.append((f"{i}.wav", word.upper() + "."))
    table = pd.DataFrame(rows, columns=["path", "transcript"]).assign(**further)
    table.to_csv(folder / "speech.csv", index=False)
    return folder / "speech.csv"


def test_a_draw_of_seconds_holds_smaller_ones() -> None:
    seconds = [1.0, 2.0, 0.5, 3.0, 1.5]
    few, total = drawn_seconds(seconds, 2.0, seed=0)
    more, _ = drawn_seconds(seconds, 5.0, seed=0)
    assert set(few.tolist()) <= set(more.tolist())
    assert total == sum(seconds[i] for i in few) >= 2.0
    assert drawn_seconds(seconds, 100.0, seed=0)[1] == 8.0


def test_speakers_are_in_one_part_each(tmp_path: Path) -> None:
    speakers = [f"s{i % 8}" for i in range(40)]
    data = SpeechTable(path=str(utterances(tmp_path, speaker=speakers)), speaker_column="speaker", labelled_seconds=1)
    data.load()
    parts = [set(data.sets[name].columns["group"].tolist()) for name in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert data.class_names == ["blank", "unknown", "a", "b"]
    assert "s of labelled speech" in " ".join(data.notes)
    table = utterances(tmp_path, speaker=speakers, part=["train"] * 20 + ["test"] * 20)
    with pytest.raises(UserError, match="8 speakers are in train and in test"):
        SpeechTable(path=str(table), speaker_column="speaker", split_column="part").load()


def test_tables_that_are_refused(tmp_path: Path) -> None:
    table = utterances(tmp_path, 4)
    with pytest.raises(UserError, match="has no column 'text'"):
        SpeechTable(path=str(table), transcript_column="text").load()
    table.write_text("path,transcript\n0.wav,a\n1.wav,?!\n")
    with pytest.raises(UserError, match=r"is empty in 1 row \(2\)"):
        SpeechTable(path=str(table)).load()
    table.write_text("path,transcript\n0.wav,a\nnone.wav,b\n")
    with pytest.raises(UserError, match=r"1 of 2 recordings in .* cannot be used: none\.wav"):
        SpeechTable(path=str(table)).load()
    with pytest.raises(UserError, match=r"labels and data\.labelled_seconds both limit"):
        SpeechTable(path=str(table), labels=2, labelled_seconds=2)


def test_a_run_writes_down_what_it_hears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    options = ["data=speech_table", f"data.path={utterances(tmp_path)}", "backbone=audio_cnn", "logger=none"]
    options += [
        "backbone.widths=[8,8]",
        "backbone.bands=16",
        "data.batch_size=8",
        "optimizer=adam",
        "optimizer.lr=0.02",
    ]
    found = run_in(tmp_path / "run", *options, "trainer.max_epochs=15", "scheduler=constant", "strategy=from_scratch")
    assert found["metrics"]["test/wer"] == 0.0
    assert found["metrics"]["test/letter_acc"] == 1.0
    assert (tmp_path / "run" / "figures" / "spectrograms_test.png").is_file()
    table = pd.read_csv(
        predict_to_csv(tmp_path / "run", [tmp_path / "0.wav", tmp_path / "2.wav"], tmp_path / "said.csv")
    )
    truth = pd.read_csv(tmp_path / "speech.csv").transcript.str.strip(".").str.lower()
    assert table.label.tolist() == [truth[0], truth[2]]
    is_monitored_and_described(tmp_path / "run", *options[:2])
    is_assessed(tmp_path / "assessed", *options[:3], *options[4:6])
