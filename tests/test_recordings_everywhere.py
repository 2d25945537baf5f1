"""Recordings under streams, episodes, distillation and alignment, as images have them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from composing import run_in
from scipy.io import wavfile
from streams_at_hand import stream_is_learned

from tl_lab.data.inputs.recordings import Recordings, Wave
from tl_lab.data.sets.spoken_digits import SpokenDigits

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
QUIET = ["logger=none", "figures=false", "health=false", "forgetting=false", "trainer.max_epochs=2"]
NETWORK = ["backbone=audio_cnn", "backbone.widths=[4,8]", "backbone.bands=8", "optimizer.lr=0.01"]
FOLDER = "tl_lab.data.sets.audio_folder.AudioFolder"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def tone(hertz: float, seconds: float = 0.06) -> np.ndarray:
    return (9000 * np.sin(2 * np.pi * hertz * np.arange(int(8000 * seconds)) / 8000)).astype(np.int16)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of recordings, each with classes of their own pitch and unequal lengths."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, pitches in (
        ("first", (300, 2500)),
        ("second", (700, 3500)),
        ("many", (300, 700, 1200, 1900, 2700, 3500)),
    ):
        for hertz in pitches:
            (folder / name / f"pitch_{hertz}").mkdir(parents=True)
            for k in range(16):
                wavfile.write(
                    folder / name / f"pitch_{hertz}" / f"{k}.wav", 8000, tone(hertz + 10 * k, 0.05 + 0.002 * k)
                )
    return folder


@pytest.fixture
def speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spoken digits are replaced by tones: a digit has its pitch, a speaker an offset."""
    names = [[digit, speaker, str(k)] for digit in "0123456789" for speaker in ("george", "theo") for k in range(9)]
    waves = [Wave(tone(300 + 300 * int(d) + 100 * (s == "theo") + int(k)), 8000) for d, s, k in names]
    monkeypatch.setattr(SpokenDigits, "_recordings", lambda self: (Recordings(waves), names))


@pytest.mark.parametrize("strategy", ["ewc", "lwf", "replay", "der_plus_plus", "joint"])
def test_a_stream_of_recordings(place: Path, tmp_path: Path, strategy: str) -> None:
    sets = [f"{{_target_:{FOLDER},path:{place / name}}}" for name in ("first", "second")]
    precision = stream_is_learned(tmp_path / "run", sets, strategy, *NETWORK, *QUIET)
    if strategy == "ewc":
        assert any(float(value.sum()) > 0 for value in precision.values())


@pytest.mark.parametrize("strategy", ["prototypical", "matching", "maml", "nearest_centroid"])
def test_episodes_of_recordings(place: Path, tmp_path: Path, strategy: str) -> None:
    found = run_in(
        tmp_path / "run", "data=episodes_of", "data@data.of=audio_folder", f"data.of.path={place / 'many'}",
        "data.train.way=2", "data.test.way=2", "data.train.shot=2", "data.test.shot=2", "data.test.queries=2",
        f"strategy={strategy}", *NETWORK, "domain_adaptation=none", *QUIET,
    )  # fmt: skip
    assert 0 <= found["metrics"]["test/acc"] <= 1


@pytest.mark.parametrize("method", ["mmd", "coral", "cdan", "mcd", "importance_weighting", "self_training"])
@pytest.mark.usefixtures("speakers")
def test_speakers_are_aligned(tmp_path: Path, method: str) -> None:
    plain = ["domain_adaptation.strong=null"] if method == "self_training" else []  # augments images alone
    found = run_in(
        tmp_path / "run", "data=spoken_digits", "data.source=george", "data.target=theo", "data.val_share=0.25",
        f"domain_adaptation={method}", "strategy=from_scratch", *plain, *NETWORK, *QUIET,
    )  # fmt: skip
    assert {"test/source/acc", "test/target/acc"} <= found["metrics"].keys()
    assert all(torch.isfinite(torch.tensor(value)) for value in found["metrics"].values())


@pytest.mark.usefixtures("speakers")
def test_a_network_of_recordings_teaches_a_smaller_one(tmp_path: Path) -> None:
    data = ["data=spoken_digits", "data.source=[george,theo]", "data.val_share=0.25"]
    run_in(tmp_path / "teacher", *data, "strategy=from_scratch", *NETWORK, *QUIET)
    found = run_in(
        tmp_path / "student", *data, "strategy=distillation", f"strategy.teacher={tmp_path / 'teacher'}",
        *NETWORK, "backbone.widths=[4]", *QUIET,
    )  # fmt: skip
    assert 0 <= found["metrics"]["test/acc"] <= 1
    assert found["parameters"]["total"] < 10_000
