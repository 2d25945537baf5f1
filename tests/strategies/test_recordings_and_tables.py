"""Recordings and tables with the strategies for plain data, and with two adaptations: each pairing once, not all."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from composing import run_in
from scipy.io import wavfile

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
QUIET = ["logger=none", "figures=false", "health=false", "trainer.max_epochs=1", "data.batch_size=8"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones of two pitches in two folders, and a table of two groups."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, hertz in (("low", 300), ("high", 2000)):
        (folder / "tones" / name).mkdir(parents=True)
        for i in range(12):
            wave = 9000 * np.sin(2 * np.pi * (hertz + 20 * i) * np.arange(600) / 8000)
            wavfile.write(folder / "tones" / name / f"{i}.wav", 8000, wave.astype(np.int16))
    draw = np.random.default_rng(0)
    rows = pd.DataFrame({"size": draw.normal(size=120).round(3), "colour": draw.choice(["red", "blue"], 120)})
    rows["group"] = np.where(np.arange(120) % 2, "old", "new")
    rows["label"] = np.where((rows["size"] > 0) ^ (rows["colour"] == "red"), "yes", "no")
    rows.to_csv(folder / "rows.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("kind", "strategy", "adaptation"),
    [
        ("audio", "from_scratch", None),
        ("audio", "fine_tuning", None),
        ("audio", "feature_extraction", None),
        ("table", "feature_extraction", None),
        ("table", "from_scratch", "dann"),
        ("table", "fine_tuning", "importance_weighting"),
    ],
)
def test_each_strategy_completes(
    kind: str, strategy: str, adaptation: str | None, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(place / "cache"))
    if kind == "audio":
        words = ["data=audio_folder", f"data.path={place / 'tones'}", "backbone=audio_cnn", "backbone.widths=[4,8]"]
    else:
        words = [f"data={'table_pair' if adaptation else 'table'}", f"data.path={place / 'rows.csv'}", "backbone=mlp"]
        words += ["data.label_column=label", "data.trees=false"]
    if adaptation:
        words += ["data.domain_column=group", "data.source=old", "data.target=new", f"domain_adaptation={adaptation}"]
    found = run_in(tmp_path / "run", *words, f"strategy={strategy}", *QUIET)
    assert found["status"] == "completed"
    assert 0 <= found["metrics"]["test/target/acc" if adaptation else "test/acc"] <= 1
    assert (found["parameters"]["trainable"] < found["parameters"]["total"]) == (strategy == "feature_extraction")
