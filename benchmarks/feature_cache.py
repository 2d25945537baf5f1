"""A head on a frozen backbone: features computed once against the backbone at every step.

    TL_LAB_DATA=<data sets> uv run python benchmarks/feature_cache.py data=image_folder \
        data.root=<folder of class folders> backbone=torchvision backbone.weights=<weights file>

Arguments are a run's overrides. Both sides train the same epochs on the same batches; CPU time of one thread,
features included. Writes docs/results/feature_cache.json.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from quiet import quiet_trainer

from tl_lab.config import compose
from tl_lab.data.cache import CACHE_VARIABLE
from tl_lab.results.folder.files import write_json
from tl_lab.run.build import build
from tl_lab.run.plan import Plan

EPOCHS = 10


def train(overrides: list[str], cache: bool) -> tuple[float, float, dict[str, float]]:
    """Train and test; CPU seconds of the training, its last validation accuracy, test scores."""
    cfg = compose(
        ["strategy=feature_extraction", "domain_adaptation=none", *overrides, f"strategy.cache={str(cache).lower()}"]
    )
    parts = build(Plan.of(cfg))
    trainer = quiet_trainer(EPOCHS)
    began = time.process_time()
    trainer.fit(parts.strategy, datamodule=parts.data)
    seconds = time.process_time() - began
    trainer.test(parts.strategy, datamodule=parts.data, verbose=False)
    return seconds, parts.strategy.last_validation[parts.data.monitor], parts.strategy.last_test


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    os.environ[CACHE_VARIABLE] = tempfile.mkdtemp()  # features kept by an earlier run would make this a file's reading
    overrides = sys.argv[1:] or ["data=digits", "backbone=torchvision", "backbone.resize_to=[48,48]"]
    (cached, cached_val, cached_test), (plain, plain_val, plain_test) = (train(overrides, c) for c in (True, False))
    print(" ".join(overrides))
    print(f"{EPOCHS} epochs: {cached:.1f} s with features computed once, {plain:.1f} s without")
    print(f"ratio {plain / cached:.1f}")
    print(f"validation accuracy {cached_val:.4f} and {plain_val:.4f}")
    for name in cached_test:
        print(f"{name} {cached_test[name]:.6f} and {plain_test[name]:.6f}")
    result = {
        # folders are the machine's own
        "overrides": " ".join(part if "/" not in part else f"{part.split('=')[0]}=..." for part in overrides),
        "epochs": EPOCHS,
        "cached_s": cached,
        "plain_s": plain,
        "ratio": plain / cached,
        "cached_test": cached_test,
        "plain_test": plain_test,
        "torch": torch.__version__.split("+")[0],
    }
    write_json(Path(__file__).resolve().parent.parent / "docs" / "results" / "feature_cache.json", result)


if __name__ == "__main__":
    main()
