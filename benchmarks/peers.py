"""A DANN step of other libraries beside this project's: the same networks and batch size, in processes in turn.

    uv venv <env> && uv pip install --python <env>/bin/python pytorch-adapt skada skorch "setuptools<81"
    uv run python benchmarks/peers.py <env>/bin/python

The other libraries live in an environment of their own, whose interpreter is the argument. Each process makes its
networks and reports the CPU time of a step, one thread. By hand and pytorch-adapt see one batch again and again; skada
and this project train an epoch, their own way of serving data included. Writes docs/results/peers.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

_COMMON = """
import json, time, torch
from torch import nn
torch.set_num_threads(1); torch.manual_seed(0)
B, STEPS = 64, {steps}
G = nn.Sequential(nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 48, 5), nn.ReLU(), nn.MaxPool2d(2),
                  nn.Flatten())
C = nn.Sequential(nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
D = nn.Sequential(nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 1))
x, t, y = torch.rand(B, 1, 28, 28), torch.rand(B, 1, 28, 28), torch.randint(10, (B,))
def timed(step):
    for i in range(10): step()
    began = time.process_time()
    for i in range(STEPS): step()
    return 1000 * (time.process_time() - began) / STEPS
"""
SIDES = {
    "by hand": """
from torch.nn import functional as F
optimizer = torch.optim.Adam([*G.parameters(), *C.parameters(), *D.parameters()])
class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, f): return f.view_as(f)
    @staticmethod
    def backward(ctx, g): return -g
def step():
    f = G(torch.cat([x, t]))
    d = D(Reverse.apply(f))[:, 0]
    loss = F.cross_entropy(C(f[:B]), y) + F.softplus(d[:B]).mean() + F.softplus(-d[B:]).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
print(json.dumps({"ms": timed(step), "version": torch.__version__}))
""",
    "pytorch-adapt": """
import warnings; warnings.filterwarnings("ignore")
import pytorch_adapt
from pytorch_adapt.hooks import DANNHook
optimizers = [torch.optim.Adam(part.parameters()) for part in (G, C, D)]
hook = DANNHook(optimizers)
zeros, ones = torch.zeros(B), torch.ones(B)
def step():
    hook({"G": G, "C": C, "D": nn.Sequential(D, nn.Flatten(0)), "src_imgs": x, "target_imgs": t, "src_labels": y,
          "src_domain": zeros, "target_domain": ones})
print(json.dumps({"ms": timed(step), "version": pytorch_adapt.__version__}))
""",
    "skada": """
import warnings; warnings.filterwarnings("ignore")
import numpy as np, skada
from skada.deep import DANN
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.feature, self.head = G, C
    def forward(self, x, sample_weight=None): return self.head(self.feature(x))
n = B * STEPS
images = torch.rand(2 * n, 1, 28, 28).numpy()
labels = np.concatenate([np.random.randint(0, 10, n), np.full(n, -1)])  # -1: the target's, unknown
domains = np.concatenate([np.full(n, 1), np.full(n, -2)])
model = DANN(Net(), reg=1.0, layer_name="feature", domain_classifier=nn.Sequential(D, nn.Sigmoid(), nn.Flatten(0)),
             num_features=768, batch_size=B, max_epochs=1, train_split=None, verbose=0, optimizer=torch.optim.Adam)
began = time.process_time()
model.fit(images, labels, sample_domain=domains)
print(json.dumps({"ms": 1000 * (time.process_time() - began) / STEPS, "version": skada.__version__}))
""",
}
FRAME = """
import json, logging, sys, warnings
sys.path.insert(0, {folder!r}); warnings.filterwarnings("ignore"); logging.disable(logging.WARNING)
import torch; torch.set_num_threads(1)
from step_overhead import build, through_the_frame
import tl_lab
data, strategy = build({steps} + 10, 64)
print(json.dumps({{"ms": 1000 * through_the_frame(data, strategy) / ({steps} + 10), "version": torch.__version__}}))
"""


def measured(python: str, code: str) -> dict[str, object]:
    """Run code in a process of its own; what it reports, or the last line of its error."""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Measure and print."""
    from tl_lab.results.folder.files import write_json

    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("python", help="interpreter of the environment with the other library")
    options.add_argument("--steps", type=int, default=100)
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    folder = str(Path(__file__).resolve().parent)
    runs: dict[str, list[dict[str, object]]] = {name: [] for name in ("tl_lab", *SIDES)}
    for _ in range(given.repeats):
        for name, code in SIDES.items():
            python = sys.executable if name == "by hand" else given.python
            runs[name].append(measured(python, _COMMON.format(steps=given.steps) + code))
        runs["tl_lab"].append(measured(sys.executable, FRAME.format(steps=given.steps, folder=folder)))
    hand = [float(run["ms"]) for run in runs["by hand"]]  # type: ignore[arg-type]
    result: dict[str, object] = {"steps": given.steps, "repeats": given.repeats}
    for name, found in runs.items():
        if "error" in found[0]:
            result[name] = found[0]
        else:
            times = [float(run["ms"]) for run in found]  # type: ignore[arg-type]
            ratios = [a / b for a, b in zip(times, hand, strict=True)]
            result[name] = {
                "ms": statistics.median(times),
                "ratio_median": statistics.median(ratios),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
                "version": found[0]["version"],
            }
        print(name, result[name])
    write_json(Path(folder).parent / "docs" / "results" / "peers.json", result)


if __name__ == "__main__":
    main()
