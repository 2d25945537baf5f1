"""Does each layer group of each architecture hold weights, and is the top one worth unfreezing?

    uv run python benchmarks/layer_groups.py --store

One model of each of timm's modules, a small one by its name, and every classification model of torchvision is built
without memory (shapes alone), and cut into layer groups. Of each it is checked that every group holds a weight matrix,
that every parameter is in one group, that there are at least two groups, and that the top group has at least a
twentieth of the parameters of the median group.

Writes docs/results/layer_groups.json.
"""

import argparse
import functools
import json
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import timm
import torch
import torchvision
from portable import portable
from torch import nn
from torchvision.models.regnet import BlockParams

from tl_lab.backbones.base import Backbone
from tl_lab.backbones.timm import Timm
from tl_lab.backbones.torchvision import Torchvision

STORED = Path(__file__).resolve().parent.parent / "docs" / "results" / "layer_groups.json"
SIZES = ("atto", "femto", "pico", "zepto", "nano", "xx_small", "xxtiny", "xtiny", "x_small", "tiny", "small")
_WIDTHS = BlockParams.from_init_params
LEAST = 0.05  # of the median group's parameters


def main() -> None:
    """Scan both libraries, and print what is wrong."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--store", action="store_true", help="write docs/results/layer_groups.json")
    options.add_argument("--only", default="", help="part of the names of the modules to scan")
    chosen = options.parse_args()
    rows = [*timm_rows(chosen.only), *torchvision_rows(chosen.only)]
    for row in rows:
        if row["wrong"]:
            print(json.dumps(row), flush=True)
    built = [row for row in rows if row["groups"]]
    summary = {
        "models": len(rows),
        "built": len(built),
        "right": sum(not row["wrong"] for row in built),
        "timm": timm.__version__,
        "torchvision": torchvision.__version__.split("+")[0],
    }
    print(json.dumps(summary))
    if chosen.store:
        STORED.write_text(json.dumps(portable({**summary, "rows": rows}), indent=1) + "\n")


def timm_rows(only: str) -> Iterator[dict[str, Any]]:
    """Scan a small model of each of timm's modules."""
    for module in timm.list_modules():
        if only in module and (names := timm.list_models(module=module)):
            name = min(names, key=_size)
            yield _row(f"timm {module}", name, Timm, functools.partial(timm.create_model, name, num_classes=0))


def torchvision_rows(only: str) -> Iterator[dict[str, Any]]:
    """Scan every classification model of torchvision."""
    for name in torchvision.models.list_models(module=torchvision.models):
        if only in name:
            yield _row("torchvision", name, Torchvision, functools.partial(_headless, name))


def _size(name: str) -> tuple[int, list[int], str]:
    """Order names by the size that their words and numbers suggest."""
    word = next((place for place, word in enumerate(SIZES) if word in name), len(SIZES))
    return word, [int(number) for number in re.findall(r"\d+", name)], name


def _block_widths(*arguments: Any, **options: Any) -> BlockParams:
    """Compute a RegNet's widths, whose tensors have values."""
    with torch.device("cpu"):
        return _WIDTHS(*arguments, **options)


def _headless(name: str) -> nn.Module:
    options = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with mock.patch.object(BlockParams, "from_init_params", _block_widths):
        net = torchvision.models.get_model(name, weights=None, **options)
    for head in ("fc", "heads", "head", "classifier"):
        if hasattr(net, head):
            setattr(net, head, nn.Identity())
    return net


def _row(family: str, name: str, kind: type[Backbone], build: Callable[[], nn.Module]) -> dict[str, Any]:
    try:
        with torch.device("meta"):  # nothing is allocated or initialised
            net = build()
    except Exception as error:  # of a library, which may read values of its tensors
        return {"family": family, "name": name, "groups": 0, "wrong": [f"{type(error).__name__}: {error}"[:120]]}
    wrapped: Any = kind.__new__(kind)
    nn.Module.__init__(wrapped)
    wrapped.net, wrapped._max_groups = net, None
    groups = wrapped.layer_groups()
    counts = [_count(modules) for _, modules in groups]
    return {
        "family": family,
        "name": name,
        "groups": len(groups),
        "top": groups[-1][0],
        "top_parameters": counts[-1],
        "median_parameters": int(statistics.median(counts)),
        "wrong": _wrong(wrapped, groups, counts),
    }


def _count(modules: list[nn.Module]) -> int:
    """Count each parameter of a group once."""
    return sum({id(p): p.numel() for module in modules for p in module.parameters()}.values())


def _wrong(wrapped: Backbone, groups: list[Any], counts: list[int]) -> list[str]:
    found = [
        f"{title} holds no weight matrix"
        for title, modules in groups
        if not any(sum(side > 1 for side in p.shape) > 1 for module in modules for p in module.parameters())
    ]
    try:
        wrapped.check_layer_groups()
    except Exception as error:
        found.append(str(error)[:120])
    if len(groups) < 2:
        found.append("there is one group")
    if counts[-1] < LEAST * statistics.median(counts):
        found.append(f"the top group has {counts[-1]:,} parameters, the median one {statistics.median(counts):,.0f}")
    return found


if __name__ == "__main__":
    main()
