"""Time to compute inputs from recordings and tables, and accuracy of probes for spoken digits on Whisper's encoder.

python benchmarks/other_inputs.py               # needs TL_LAB_DATA and the package with Whisper's weights
python benchmarks/other_inputs.py --padded 200  # also time and accuracy on recordings padded to 30 s
"""

import argparse
import time
from collections.abc import Iterator
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

SECONDS = 30


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--padded", type=int, default=0)
    padded = parser.parse_args().padded
    torch.set_num_threads(1)
    print(table_epochs())
    net, recordings, y, speaker = Whisper().eval(), *digits()
    start = time.process_time()
    parts = [net.spec.features_of(*recordings.wave(i)) for i in range(len(recordings))]
    print(f"log-mel of {len(parts):,} recordings: {time.process_time() - start:.1f} s of one core")
    start = time.process_time()
    features = torch.cat([net(batch) for batch in batches(net, parts)]).numpy()
    print(f"encoder on their own lengths: {time.process_time() - start:.1f} s; {left_out(features, y, speaker)}")
    if padded:
        chosen = torch.randperm(len(parts), generator=torch.Generator().manual_seed(0))[:padded]
        start = time.process_time()
        silent = np.stack([features_of_thirty_seconds(net, recordings, i) for i in chosen.tolist()])
        seconds = time.process_time() - start
        rest = np.setdiff1d(np.arange(len(parts)), chosen.numpy())
        model = LogisticRegression(max_iter=2000).fit(features[rest], y[rest])
        own, full = (float((model.predict(x) == y[chosen]).mean()) for x in (features[chosen], silent))
        print(f"{padded} recordings padded to {SECONDS} s: {seconds:.0f} s of one core")
        print(f"accuracy on them: {own:.3f} on their own lengths, {full:.3f} padded")


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


@torch.no_grad()
def batches(net: Whisper, parts: list[Tensor], size: int = 64) -> Iterator[dict[str, Tensor]]:
    """Give batches in the order of the recordings."""
    for start in range(0, len(parts), size):
        yield net.spec.joined(parts[start : start + size])


def left_out(features: np.ndarray, y: np.ndarray, speaker: np.ndarray) -> str:
    """Fit a logistic regression on five speakers and test it on the sixth, for each."""
    scores = []
    for number in np.unique(speaker):
        here = speaker == number
        model = LogisticRegression(max_iter=2000).fit(features[~here], y[~here])
        scores.append(float((model.predict(features[here]) == y[here]).mean()))
    return f"leave one speaker out {np.mean(scores):.3f} ({min(scores):.3f} to {max(scores):.3f})"


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


def table_epochs() -> str:
    """Compare an epoch's batches of Adult with those of a Dataset of rows."""
    data = Adult(label_column="income", drop=["fnlwgt"], batch_size=128)
    data.load()
    assert data.columns is not None
    data.use(data.columns)
    start = time.process_time()
    count = sum(1 for _ in data.train_dataloader())
    ours = time.process_time() - start
    samples: Any = data.sets["train"]
    loader = DataLoader(_Rows(samples.x, samples.y), batch_size=128, shuffle=True, drop_last=True)
    start = time.process_time()
    assert sum(1 for _ in loader) == count
    theirs = time.process_time() - start
    return f"{count} batches of Adult: {ours:.3f} s; of a Dataset of rows: {theirs:.3f} s ({theirs / ours:.0f} times)"


if __name__ == "__main__":
    main()
