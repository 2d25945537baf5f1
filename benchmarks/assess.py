"""How long do the parts of an assessment take on one core, and does layer transferability behave as published?

    uv run python benchmarks/assess.py [--layers]

Speed: LogME of 5,000 x 512 features with 10 classes, OTDD of 1,000 against 1,000 samples, and similarity, ranking of
four backbones on features that were read, and calibration, all on 5,000 samples. With --layers: base, AnB, BnB, AnB+
and BnB+ of a perceptron on the digits 0 to 4 and 5 to 9, with 400 and with 50 labels, over three seeds (minutes).
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tl_lab.assess.asking import read
from tl_lab.assess.layers import transferred
from tl_lab.assess.material import Material
from tl_lab.assess.probes import fit_probe
from tl_lab.assess.transferability import SCORES
from tl_lab.functional.calibration import calibration, temperature
from tl_lab.functional.domain_folds import folded_a_distance
from tl_lab.functional.gaussian_distance import frechet_distance, otdd
from tl_lab.functional.log_evidence import logme
from tl_lab.functional.two_samples import mmd_test
from tl_lab.randomness import generator

SAMPLES, WIDTH, CLASSES, BACKBONES, FOLDS = 5000, 512, 10, 4, 5


def main() -> None:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", action="store_true", help="train the networks of layer transferability, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    x, y = _features(0)
    z, w = _features(1)
    _timed(f"LogME, {SAMPLES:,} x {WIDTH}, {CLASSES} classes (limit 2 s)", lambda: logme(x, y))
    _timed("OTDD, 1,000 against 1,000 (limit 30 s)", lambda: otdd(x[:1000], y[:1000], z[:1000], w[:1000]))
    _timed(f"similarity, ranking of {BACKBONES}, calibration, {SAMPLES:,} samples (limit 60 s)", _parts)
    if options.layers:
        for labels in (400, 50):
            _layers(labels)


def _timed(said: str, work: Callable[[], Any]) -> None:
    began = time.process_time()
    work()
    print(f"{said}: {time.process_time() - began:.1f} s of CPU time", flush=True)


def _features(seed: int) -> tuple[Tensor, Tensor]:
    draw = generator(seed, "benchmark of assess")
    y = torch.randint(CLASSES, (SAMPLES,), generator=draw)
    return torch.randn(SAMPLES, WIDTH, generator=draw) + 0.3 * torch.randn(CLASSES, WIDTH, generator=draw)[y], y


def _parts() -> None:
    for k in range(BACKBONES):
        (x, y), (z, w) = _features(2 * k), _features(2 * k + 1)
        folded_a_distance(x, z, FOLDS, 1000)
        mmd_test(x[:500], z[:500])
        frechet_distance(x[:2500], x[2500:])
        frechet_distance(x[:2500], z[:2500])
        otdd(x[:500], y[:500], z[:500], w[:500])
        otdd(x[:500], y[:500], x[500:1000], y[500:1000])
        fold = torch.arange(SAMPLES) % FOLDS
        for _, score in SCORES.values():
            score(x, y, True)
            for one in range(FOLDS):
                score(x[fold != one], y[fold != one], False)
    logits = fit_probe(x, y).logits(z, CLASSES)
    calibration((logits / temperature(logits, w)).softmax(1), w)


def _layers(labels: int) -> None:
    words = ["data=digits", "backbone=mlp", "backbone.hidden=[64,64,64]", "assess=layers", "assess.samples=2000"]
    asked = read([*words, "assess.seeds=3", "assess.epochs=40", f"assess.budgets=[{labels}]"])
    material = Material(asked.plans, asked.options)
    base, ways = transferred(material, material.subjects[0])
    print(f"{labels} labels: base {np.mean(base):.3f}")
    for way, by_layer in ways.items():
        print(f"  {way:5}", *(f"{np.mean(values):.3f}" for values in by_layer.values()))


if __name__ == "__main__":
    main()
