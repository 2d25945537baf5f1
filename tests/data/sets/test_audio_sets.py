"""Recordings: read, resampled, refused, split; and the spoken digits as a set and as a pair of speakers."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from composing import run_in
from scipy.io import wavfile

from tl_lab.assess.card import write_card
from tl_lab.assess.monitor import monitor
from tl_lab.cli.main import main
from tl_lab.data.inputs.audio import AudioSpec, resampled
from tl_lab.data.inputs.recordings import Recordings, Wave, read_wave
from tl_lab.data.sets.audio_folder import AudioFolder
from tl_lab.data.sets.spoken_digits import SpokenDigits
from tl_lab.errors import UserError
from tl_lab.run.inference import load, predict_to_csv
from tl_lab.run.scoring import score

ROOT = Path(os.environ.get("TL_LAB_DATA", ""))
real = pytest.mark.skipif(not (ROOT / "fsdd").is_dir(), reason="TL_LAB_DATA with the folder fsdd is not here")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SMALL = AudioSpec(8000, bands=4, window=64, hop=40)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def tone(hertz: float, seconds: float = 0.05, rate: int = 8000) -> np.ndarray:
    return (12000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


def folder_of_tones(place: Path, count: int = 10) -> Path:
    for name, hertz in (("low", 300), ("high", 2000)):
        (place / name).mkdir(parents=True)
        for i in range(count):
            wavfile.write(place / name / f"{i}.wav", 8000, tone(hertz + 20 * i, 0.05 + 0.005 * i))
    return place


# ---------------------------------------------------------------------- waves


@pytest.mark.parametrize("kind", ["int16", "int32", "uint8", "float32"])
def test_a_file_is_read_in_the_range_of_its_kind(kind: str, tmp_path: Path) -> None:
    wave = np.array([0.0, 0.5, -0.5, 0.25])
    scaled = {"int16": wave * 2**15, "int32": wave * 2**31, "uint8": 128 + wave * 128, "float32": wave}[kind]
    wavfile.write(tmp_path / "a.wav", 8000, np.stack([scaled, scaled], 1).astype(kind))  # two channels are averaged
    found = read_wave(tmp_path / "a.wav")
    assert found.rate == 8000
    np.testing.assert_allclose(found.samples, wave, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("empty.wav", None, "contains no sound: it is empty"), ("bad.wav", b"no sound", "cannot be read as sound")],
)
def test_files_without_sound_are_one_sentence(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content) if content else wavfile.write(path, 8000, np.zeros(0, np.int16))
    with pytest.raises(UserError, match=message):
        read_wave(path)


@pytest.mark.parametrize(("ending", "alike"), [("flac", 0.9999), ("ogg", 0.98)])
def test_compressed_files_are_read_and_need_a_library(
    ending: str, alike: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile = pytest.importorskip("soundfile", reason="tl_lab[speech] is not installed")
    wave, path = tone(440, 0.5) / np.float32(32768), tmp_path / f"a.{ending}"
    soundfile.write(str(path), np.stack([wave, wave], 1), 8000)
    found = read_wave(path)
    assert found.rate == 8000
    assert np.corrcoef(found.samples[: len(wave)], wave)[0, 1] > alike
    monkeypatch.setitem(sys.modules, "soundfile", None)  # as if it were not installed
    with pytest.raises(UserError, match=rf"a\.{ending} needs the library soundfile: install tl_lab\[speech\]"):
        read_wave(path)


def test_another_rate_keeps_pitch_and_length() -> None:
    wave = tone(440, 0.5).astype(np.float32)
    up = resampled(wave, 8000, 16000)
    assert len(up) == 2 * len(wave)
    spectrum = np.abs(np.fft.rfft(up))
    assert abs(int(spectrum.argmax()) * 16000 / len(up) - 440) < 3
    np.testing.assert_allclose(up[100:-100:2], wave[50:-50], atol=60)  # of 12,000


def test_features_have_their_own_lengths_and_are_padded_with_0() -> None:
    waves = Recordings([Wave(tone(500, 0.05), 8000), Wave(tone(500, 0.1, 4000), 4000), Wave(tone(500, 9), 8000)])
    spec = AudioSpec(8000, bands=4, window=64, hop=40, seconds=1.0)
    x = waves.load_all(spec)
    assert x["length"].tolist() == [10, 20, 200]
    assert x["mel"].shape == (3, 4, 200)
    assert not bool(x["mel"][0, :, 10:].any())
    assert waves.notes == ["1 of 3 recordings resampled to 8,000 Hz", "1 of 3 recordings cut to 1 s"]
    torch.testing.assert_close(waves.read(1, spec)["mel"], x["mel"][1, :, :20])
    assert spec.shorten({"mel": x["mel"][:2], "length": x["length"][:2]})["mel"].shape == (2, 4, 20)
    raw = AudioSpec(8000, "wave", standardise=True).features_of(*waves.wave(0))
    assert abs(float(raw.mean())) < 1e-6
    assert abs(float(raw.var(unbiased=False)) - 1) < 1e-4


# ---------------------------------------------------------------------- sets


def test_words_are_distinguished_from_a_few_examples_on_frozen_features(tmp_path: Path) -> None:
    for k, hertz in enumerate((200, 350, 600, 1000, 1700, 2900)):
        (tmp_path / "tones" / str(hertz)).mkdir(parents=True)
        for i in range(6):
            wavfile.write(tmp_path / "tones" / str(hertz) / f"{i}.wav", 8000, tone(hertz + 5 * i, 0.1 + 0.01 * k))
    episodes = ["data.class_shares=[0.34,0.33,0.33]", "data.train.way=2", "data.train.shot=2", "data.train.queries=2"]
    episodes += ["data.test.way=2", "data.test.shot=2", "data.test.queries=2", "data.test_episodes=5"]
    episodes += ["data.val_episodes=2", "data.episodes_per_epoch=2", "data.episodes_per_step=1", "trainer.max_epochs=1"]
    words = ["data=episodes_of", "data@data.of=audio_folder", f"data.of.path={tmp_path / 'tones'}"]
    network = ["backbone=audio_cnn", "backbone.widths=[4,8]", "strategy=nearest_centroid"]
    found = run_in(tmp_path / "run", *words, *episodes, *network, "logger=none", "figures=false", "health=false")
    assert found["metrics"]["test/acc"] > 0.9  # tones of different pitch, without any training


def test_a_folder_is_learned_predicted_and_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder_of_tones(tmp_path / "tones")
    small = ["backbone.widths=[4,8]", "backbone.bands=8", "optimizer.lr=0.01", "trainer.max_epochs=8"]
    quiet = ["logger=none", "data.batch_size=4"]
    words = ["data=audio_folder", f"data.path={place}", *small, *quiet]
    found = run_in(tmp_path / "run", *words)
    assert found["metrics"]["test/acc"] == 1.0
    (tmp_path / "run" / ".hydra").mkdir(exist_ok=True)  # which Hydra writes from the command line
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_text(json.dumps(words))
    assert (tmp_path / "run" / "figures" / "spectrograms_test.png").is_file()
    table = pd.read_csv(predict_to_csv(tmp_path / "run", place, tmp_path / "said.csv"))
    assert len(table) == 20
    right = float((table.label == table.input.map(lambda name: Path(name).parent.name)).mean())
    scores = score(tmp_path / "run", place, tmp_path / "scores.json")
    assert scores["metrics"]["test/tones/acc"] == pytest.approx(right)
    new = folder_of_tones(tmp_path / "new")
    (new / "low" / "broken.wav").write_bytes(b"no sound")
    with pytest.raises(UserError, match=r"1 of 21 recordings in .*new cannot be used: low/broken\.wav .*--skip-unread"):
        monitor(tmp_path / "run", [str(new)])
    with pytest.warns(UserWarning, match=r"low/broken\.wav"):
        assert len(monitor(tmp_path / "run", [str(new)], skip_unreadable=True).new.names) == 20
    (command,) = re.findall(r"`[^`]*?(assess [^`]*assess=calibration)`", write_card(tmp_path / "run")[0].read_text())
    monkeypatch.setenv("TL_LAB_OUTPUTS", str(tmp_path / "outputs"))
    main(shlex.split(command))
    assert list(tmp_path.glob("outputs/assessments/**/assessment.json"))
    given = load(tmp_path / "run").predict([(tone(310), 8000), (tone(2050, rate=16000), 16000)])
    assert given.labels == ["low", "high"]


def test_files_that_cannot_be_read_stop_or_are_left_out(tmp_path: Path) -> None:
    place = folder_of_tones(tmp_path)
    (place / "low" / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(
        UserError, match=r"1 of 21 recordings in .* low/bad.wav cannot be read as sound .*unreadable=skip"
    ):
        AudioFolder(path=str(place)).load()
    data = AudioFolder(path=str(place), unreadable="skip")
    data.load()
    assert sum(len(samples) for samples in data.sets.values()) == 20
    assert "skipped: 1 of 21" in data.notes[0]
    with pytest.raises(UserError, match=r"is not a folder$"):
        AudioFolder(path=str(tmp_path / "none")).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "georg"}, "there is no domain 'georg'; did you mean 'george'"),
        ({"source": ["theo", "x"]}, "there is no speaker 'x'; valid: george, .*yweweler"),
        ({"source": "theo", "target": "theo"}, "source and target"),
        ({"target": "theo", "split": "speaker"}, "data.split=speaker cannot be combined"),
    ],
)
def test_speakers_that_do_not_exist(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SpokenDigits(**options)


def test_a_split_by_speaker_tests_one_who_was_never_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [[digit, speaker, str(k)] for digit in "01" for speaker in SpokenDigits.speakers for k in range(10)]
    waves = Recordings([Wave(tone(300.0), 8000) for _ in names])
    monkeypatch.setattr(SpokenDigits, "_recordings", lambda self: (waves, names))
    tested = set()
    for seed in range(4):
        data = SpokenDigits(split="speaker", seed=seed)
        data.load()
        speakers = {name: set(samples.columns["group"].tolist()) for name, samples in data.sets.items()}
        assert {name: len(found) for name, found in speakers.items()} == {"train": 4, "val": 1, "test": 1}
        assert set.union(*speakers.values()) == set(range(6))
        assert {name: len(samples) for name, samples in data.sets.items()} == {"train": 80, "val": 20, "test": 20}
        tested |= speakers["test"]
    assert len(tested) > 1  # the seed draws
    with pytest.raises(UserError, match="2 speakers are too few for training and val, test"):
        SpokenDigits(split="speaker", source=["george", "theo"]).load()


@real
def test_the_published_split_and_a_pair_of_speakers() -> None:
    data = SpokenDigits()
    data.load()
    assert {name: len(samples) for name, samples in data.sets.items()} == {"train": 2430, "val": 270, "test": 300}
    assert torch.bincount(data.sets["test"].y).tolist() == [30] * 10
    assert torch.bincount(data.sets["test"].columns["group"]).tolist() == [50] * 6
    first = data.sets["test"].x.wave(0)  # 0_george_0
    assert (len(first.samples), first.rate, float(first.samples[0])) == (2384, 8000, pytest.approx(-1489 / 32768))
    pair = SpokenDigits(target="yweweler", source=["george", "theo"])
    pair.load()
    assert pair.traits == {"labels", "target"}
    assert {name: len(samples) for name, samples in pair.sets.items()} == {
        "source/train": 810,
        "source/val": 90,
        "source/test": 100,
        "target/train": 450,
        "target/test": 50,
    }
    assert pair.sets["target/train"].y is None
    assert set(pair.sets["source/train"].columns["group"].tolist()) == {0, 4}
