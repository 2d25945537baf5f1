"""The four estimators of the Fisher information compared: trace, and correlation with the exact one.

    uv run python benchmarks/fisher_estimators.py        (needs TL_LAB_DATA)

A 784-400-400-10 network on MNIST after 100, 500 and 2,000 updates of 128 images, Adam at 1e-3; 1,000 training images,
the same for all, and batches of 128. Writes docs/results/fisher_estimators.json.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.data.sets.mnist import Mnist
from tl_lab.functional import FISHER_ESTIMATORS, fisher_diagonal
from tl_lab.results.folder.files import write_json

BATCH, SAMPLES, UPDATES = 128, 1000, (100, 500, 2000)


def estimates(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Estimate the diagonal by each estimator, as one vector over all weights."""
    found = {}
    for estimator in FISHER_ESTIMATORS:
        draw = torch.Generator().manual_seed(0)
        batches = zip(x.split(BATCH), y.split(BATCH), strict=True)
        values = fisher_diagonal(net, batches, estimator, generator=draw)
        found[estimator] = torch.cat([value.flatten() for value in values.values()]).double()
    return found


def main() -> None:
    """Train, compare, print and store."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = Mnist(seed=0)
    data.load()
    samples = data.sets["train"]
    assert isinstance(samples.x, Tensor)
    assert samples.y is not None
    x, y = samples.x.float().div(255).flatten(1), samples.y
    few = torch.randperm(len(x))[:SAMPLES]
    net = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    rows = []
    for update in range(1, max(UPDATES) + 1):
        index = torch.randint(len(x), (BATCH,))
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x[index]), y[index])
        loss.backward()
        optimizer.step()
        if update not in UPDATES:
            continue
        found = estimates(net, x[few], y[few])
        with torch.no_grad():
            acc = float((net(x[few]).argmax(1) == y[few]).float().mean())
        for estimator, values in found.items():
            both = torch.stack([values, found["exact"]])
            row = {
                "updates": update,
                "train_acc": acc,
                "estimator": estimator,
                "trace": float(values.sum()),
                "correlation": float(torch.corrcoef(both)[0, 1]),
            }
            rows.append(row)
            print(row)
    facts = {"samples": SAMPLES, "batch_size": BATCH, "torch": torch.__version__.split("+")[0]}
    out = Path(__file__).resolve().parent.parent / "docs" / "results" / "fisher_estimators.json"
    write_json(out, {**facts, "rows": rows})


if __name__ == "__main__":
    main()
