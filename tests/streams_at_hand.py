"""Streams of sets of any inputs: a short run, and what it keeps of the importance of each weight."""

from collections.abc import Sequence
from pathlib import Path

import torch
from composing import run_in
from torch import Tensor


def stream_is_learned(folder: Path, sets: Sequence[str], strategy: str, *words: str) -> dict[str, Tensor]:
    """Learn two sets one after the other, and check that both are scored.

    Args:
        folder: of the run.
        sets: nodes of the data, in YAML's flow style.
        strategy: continual.
        words: further overrides.

    Returns:
        The precisions in the last checkpoint, by name; none for strategies without.
    """
    data = ["data=stream", f"data.datasets=[{','.join(sets)}]", "data.batch_size=8", "domain_adaptation=none"]
    found = run_in(folder, *data, f"strategy={strategy}", "figures=false", *words)
    assert all(0 <= found["metrics"][f"test/task{k}/acc"] <= 1 for k in (1, 2))
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    precision = {name: value for name, value in content.items() if "precision" in name}
    assert all(bool(torch.isfinite(value).all() and (value >= 0).all()) for value in precision.values())
    return precision
