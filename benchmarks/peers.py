"""A DANN step of other libraries beside this project's: the same networks, batch and optimizer, in processes in turn.

    uv venv <env> && uv pip install --python <env>/bin/python pytorch-adapt skada skorch "setuptools<81"
    uv run python benchmarks/peers.py <env>/bin/python

The other libraries live in an environment of their own, whose interpreter is the argument. Each process makes its
networks and reports the CPU time of a step, one thread. By hand and pytorch-adapt see one batch again and again; skada
and this project train an epoch, their own way of serving data included. Every side runs as its users run it; this
project then keeps freed memory for the next tensor and orders the weights of convolutions by ``channels_last``. To
show which of these makes a difference, it is also measured with each of them switched off, and the loop by hand with
each of them switched on. Writes docs/results/peers.json.
"""

import argparse
import functools
import json
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import torch

COMPARED = ("by hand", "pytorch-adapt")

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
import functools, torch; torch.set_num_threads(1)
from step_overhead import build, through_the_frame
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.run.allocator import keep_freed_memory
if {kept}: assert keep_freed_memory()
data, strategy = build(DANN(), {steps} + 10, 64, functools.partial(torch.optim.Adam, lr=1e-3))
if {channels_last}: strategy.network.to(memory_format=torch.channels_last)
print(json.dumps({{"ms": 1000 * through_the_frame(data, strategy) / ({steps} + 10), "version": torch.__version__}}))
"""
KEPT = """
import sys; sys.path.insert(0, {root!r})
from tl_lab.run.allocator import keep_freed_memory
assert keep_freed_memory()
"""
LAST = """
for part in (G, C, D): part.to(memory_format=torch.channels_last)
x, t = (images.contiguous(memory_format=torch.channels_last) for images in (x, t))
"""


def sides(peer: str, steps: int) -> dict[str, tuple[str, str]]:
    """Map each side to the interpreter and the code of its process."""
    folder = Path(__file__).resolve().parent
    common, kept = _COMMON.format(steps=steps), KEPT.format(root=str(folder.parent))
    frame = functools.partial(FRAME.format, steps=steps, folder=str(folder))
    return {
        "tl_lab": (sys.executable, frame(kept=True, channels_last=True)),
        "tl_lab, freed memory returned": (sys.executable, frame(kept=False, channels_last=True)),
        "tl_lab, channels_last off": (sys.executable, frame(kept=True, channels_last=False)),
        "tl_lab, both off": (sys.executable, frame(kept=False, channels_last=False)),
        "by hand": (sys.executable, common + SIDES["by hand"]),
        "by hand, freed memory kept": (sys.executable, kept + common + SIDES["by hand"]),
        "by hand, channels_last": (sys.executable, common + LAST + SIDES["by hand"]),
        "pytorch-adapt": (peer, common + SIDES["pytorch-adapt"]),
        "skada": (peer, common + SIDES["skada"]),
    }


def measured(python: str, code: str) -> dict[str, Any]:
    """Run code in a process of its own; what it reports, or the last line of its error."""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Measure, print and store."""
    from tl_lab.results.folder.files import write_json

    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("python", help="interpreter of the environment with the other libraries")
    options.add_argument("--steps", type=int, default=100)
    options.add_argument("--repeats", type=int, default=7)
    given = options.parse_args()
    codes = sides(given.python, given.steps)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in codes}
    for _ in range(given.repeats):
        for name, (python, code) in codes.items():
            runs[name].append(measured(python, code))
            print(name, runs[name][-1], flush=True)
    if failed := {name: found["error"] for name, of in runs.items() for found in of if "error" in found}:
        raise SystemExit(f"nothing stored: {failed}")
    times = {name: [float(found["ms"]) for found in of] for name, of in runs.items()}
    result: dict[str, Any] = {
        "steps": given.steps,
        "repeats": given.repeats,
        "torch": torch.__version__.split("+")[0],
        "date": date.today().isoformat(),
        "sides": {
            name: {
                "version": of[0]["version"],
                "ms": times[name],
                **{f"ratio to {of_whom}": ratios(times[name], times[of_whom]) for of_whom in COMPARED},
            }
            for name, of in runs.items()
        },
    }
    for name, side in result["sides"].items():
        print(name, {key: statistics.median(value) for key, value in side.items() if isinstance(value, list)})
    write_json(Path(__file__).resolve().parent.parent / "docs" / "results" / "peers.json", result)


def ratios(times: list[float], others: list[float]) -> list[float]:
    """Divide the times of each repetition."""
    return [a / b for a, b in zip(times, others, strict=True)]


if __name__ == "__main__":
    main()
