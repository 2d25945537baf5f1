"""Sets of texts, recordings and rows that are written in a moment, each with the options of a run on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from encoders_at_hand import tiny
from scipy.io import wavfile

__all__ = ["recordings", "rows", "texts"]


def texts(place: Path) -> list[str]:
    """Write sentences of two classes with a column of groups; give the options with a random encoder."""
    draw = np.random.default_rng(0)
    rows = [
        " ".join(draw.choice(["a", "b", "c"], 6, p=p)) for p in ([0.8, 0.1, 0.1], [0.1, 0.8, 0.1]) for _ in range(60)
    ]
    table = pd.DataFrame({"text": rows, "label": np.repeat(["low", "high"], 60), "site": np.tile(["x", "y"], 60)})
    table.to_csv(place / "table.csv", index=False)
    folder = tiny(place / "encoder", "bert")
    words = [f"data.path={place / 'table.csv'}", "data.group_column=site"]
    return ["data=text_table", *words, "backbone=hf_text", f"backbone.name={folder}"]


def recordings(place: Path, tones: Sequence[int] = (300, 2000)) -> list[str]:
    """Write tones, a class for each frequency; give the options with a small random network."""
    draw = np.random.default_rng(0)
    time = np.arange(400) / 8000
    for hertz in tones:
        name = f"{hertz:04} Hz"
        (place / "waves" / name).mkdir(parents=True)
        for i in range(60):
            wave = np.sin(2 * np.pi * (hertz + 5 * i) * time) + draw.normal(scale=0.3, size=400)
            wavfile.write(place / "waves" / name / f"{i}.wav", 8000, (8000 * wave).astype(np.int16))
    sizes = ["backbone.widths=[4,6]", "backbone.bands=8"]
    return ["data=audio_folder", f"data.path={place / 'waves'}", "backbone=audio_cnn", *sizes]


def rows(place: Path) -> list[str]:
    """Write a table of two classes with a column of groups; give the options with a perceptron."""
    draw = np.random.default_rng(0)
    high = np.repeat([0, 1], 60)
    table = pd.DataFrame({"height": draw.normal(2 * high), "weight": draw.normal(size=120)})
    table["kind"] = draw.choice(["a", "b", "c"], 120)
    table["site"], table["label"] = np.tile(["x", "y"], 60), np.array(["low", "high"])[high]
    table.to_csv(place / "rows.csv", index=False)
    words = [f"data.path={place / 'rows.csv'}", "data.label_column=label", "data.group_column=site"]
    return ["data=table", *words, "backbone=mlp", "backbone.hidden=[8]"]
