"""Time to compute inputs from recordings and tables, and accuracy for spoken digits on Whisper's encoder.

python benchmarks/other_inputs.py               # needs TL_LAB_DATA and the package with Whisper's weights
python benchmarks/other_inputs.py --padded 200  # also time and accuracy on recordings padded to 30 s

Measured are logarithmic mel spectrograms of all spoken digits, Whisper's encoder on them, logistic regression that
leaves one speaker out, zero-shot classification by Whisper's decoder, and an epoch's batches of a table beside those of
a Dataset of rows. Writes docs/results/other_inputs.json, of which docs/tables.py makes the table ``other_inputs``;
what was measured with --padded stays there until it is measured again.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tl_lab.backbones.whisper import Whisper
from tl_lab.data.inputs.recordings import Recordings
from tl_lab.data.sets.spoken_digits import SpokenDigits
from tl_lab.data.sets.table_corpora import Adult
from tl_lab.results.folder.files import write_json

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "docs" / "results" / "other_inputs.json"
SECONDS = 30
TURNS = 7  # epochs of a table, each way
TESTED = 120  # digits that the decoder classifies
ZERO_SHOT = ["data=spoken_digits", "backbone=whisper", "strategy=zero_shot", "strategy.templates=['{}']", "logger=none",
             f"data.test_count={TESTED}", "figures=false", "trainer.enable_progress_bar=false"]  # fmt: skip


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--padded", type=int, default=0)
    padded = parser.parse_args().padded
    torch.set_num_threads(1)
    before = json.loads(STORED.read_text()) if STORED.is_file() else {}
    found: dict[str, Any] = {"date": date.today().isoformat(), "torch": torch.__version__, "table": table_epochs()}
    found |= {"speech": speech(padded), "zero_shot": zero_shot()}
    if not padded and "padded" in before.get("speech", {}):
        found["speech"]["padded"] = before["speech"]["padded"]
    print(json.dumps(found, indent=2))
    write_json(STORED, found)


def speech(padded: int) -> dict[str, Any]:
    """Measure spectrograms and encoder on all spoken digits, in CPU seconds of one core, and probes on the features."""
    net, recordings, y, speaker = Whisper().eval(), *digits()
    start = time.process_time()
    parts = [net.spec.features_of(*recordings.wave(i)) for i in range(len(recordings))]
    found: dict[str, Any] = {"recordings": len(parts), "log_mel_s": round(time.process_time() - start, 2)}
    start = time.process_time()
    with torch.no_grad():
        features = torch.cat([net(batch) for batch in batches(net, parts)]).numpy()
    found |= {"encoder_s": round(time.process_time() - start, 1), "left_out": left_out(features, y, speaker)}
    if padded:
        found["padded"] = beside_padded(net, recordings, features, y, padded)
    return found


def beside_padded(
    net: Whisper, recordings: Recordings, features: np.ndarray, y: np.ndarray, number: int
) -> dict[str, Any]:
    """Compare features of recordings padded to 30 s with those of their own lengths, by one probe of the others."""
    chosen = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))[:number]
    start = time.process_time()
    silent = np.stack([features_of_thirty_seconds(net, recordings, i) for i in chosen.tolist()])
    seconds = time.process_time() - start
    rest = np.setdiff1d(np.arange(len(y)), chosen.numpy())
    model = LogisticRegression(max_iter=2000).fit(features[rest], y[rest])
    own, full = (float((model.predict(x) == y[chosen]).mean()) for x in (features[chosen], silent))
    return {"recordings": number, "encoder_s": round(seconds, 1), "own_length_acc": own, "padded_acc": full}


def zero_shot() -> dict[str, int]:
    """Count the digits that Whisper's decoder classifies correctly, in a run of the program."""
    with tempfile.TemporaryDirectory() as folder:
        where = f"hydra.run.dir={folder}/run"
        subprocess.run([sys.executable, "train.py", *ZERO_SHOT, where], cwd=ROOT, check=True)
        found = json.loads((Path(folder) / "run" / "results.json").read_text())
    return {"tested": TESTED, "right": round(TESTED * found["metrics"]["test/acc"])}


def digits() -> tuple[Recordings, np.ndarray, np.ndarray]:
    """Read all spoken digits, with their classes and speakers."""
    data = SpokenDigits()
    data.load()
    sets = [data.sets[name] for name in ("train", "val", "test")]
    x: list[Any] = [samples.x for samples in sets]
    y, group = (
        torch.cat([part for part in parts if part is not None]).numpy()
        for parts in ([samples.y for samples in sets], [samples.columns["group"] for samples in sets])
    )
    return x[0].concatenate(x), y, group


def batches(net: Whisper, parts: list[Tensor], size: int = 64) -> Iterator[dict[str, Tensor]]:
    """Give batches in the order of the recordings."""
    for start in range(0, len(parts), size):
        yield net.spec.joined(parts[start : start + size])


def left_out(features: np.ndarray, y: np.ndarray, speaker: np.ndarray) -> list[float]:
    """Fit a logistic regression on all speakers but one and test it on that one: the accuracy on each."""
    scores = []
    for number in np.unique(speaker):
        here = speaker == number
        model = LogisticRegression(max_iter=2000).fit(features[~here], y[~here])
        scores.append(round(float((model.predict(features[here]) == y[here]).mean()), 4))
    return scores


@torch.no_grad()
def features_of_thirty_seconds(net: Whisper, recordings: Recordings, i: int) -> np.ndarray:
    """Fill a recording up with silence as the published encoder gets it; average over its own length."""
    samples, rate = recordings.wave(i)
    own = net.spec.features_of(samples, rate).shape[1]
    whole = net.spec.features_of(np.pad(samples, (0, SECONDS * rate - len(samples))), rate)
    states, _ = net.states({"mel": whole[None], "length": torch.tensor([whole.shape[1]])})
    return states[0, : (own + 1) // 2].mean(0).numpy()


class _Rows(Dataset):
    """Rows one by one, as a loop by hand would serve them."""

    def __init__(self, x: dict[str, Tensor], y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> Any:
        return {name: tensor[i] for name, tensor in self.x.items()}, self.y[i]


def table_epochs() -> dict[str, Any]:
    """Compare an epoch's batches of Adult with those of a Dataset of rows, in turn, in CPU seconds."""
    data = Adult(label_column="income", drop=["fnlwgt"], batch_size=128)
    data.load()
    assert data.columns is not None
    data.use(data.columns)
    samples: Any = data.sets["train"]
    loader = DataLoader(_Rows(samples.x, samples.y), batch_size=128, shuffle=True, drop_last=True)
    ours: list[float] = []
    theirs: list[float] = []
    counts: set[int] = set()
    for _ in range(TURNS):
        for batches_of, seconds in ((data.train_dataloader(), ours), (loader, theirs)):
            start = time.process_time()
            counts.add(sum(1 for _ in batches_of))
            seconds.append(time.process_time() - start)
    (count,) = counts  # both ways give the same number of batches
    ratios = sorted(there / here for here, there in zip(ours, theirs, strict=True))
    return {
        "batches": count,
        "turns": TURNS,
        "epoch_s": round(statistics.median(ours), 4),
        "rows_epoch_s": round(statistics.median(theirs), 3),
        "ratio": round(statistics.median(ratios), 1),
        "ratio_range": [round(ratios[0], 1), round(ratios[-1], 1)],
    }


if __name__ == "__main__":
    main()
