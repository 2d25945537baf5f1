"""Screening metrics of each finding on the test sets: area under the curve, an operating point, calibration."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tl_lab.functional.screening import auroc_interval, calibration_error, rates_at, threshold_at
from tl_lab.training.feature_reader import FeatureReader

if TYPE_CHECKING:
    from tl_lab.data.base import DataModule
    from tl_lab.training.measuring import Measuring

__all__ = ["screening_rows"]

_SPECIFICITY = 0.9


def screening_rows(strategy: "Measuring", data: "DataModule") -> list[dict[str, Any]]:
    """Compute the metrics of every finding on every test set.

    The operating point is the lowest threshold with a specificity of 90 % on the validation set that selects the
    checkpoint; test data are never used for selection.

    Args:
        strategy: the tested strategy, on its device.
        data: the data on which it was tested.

    Returns:
        One row per finding and test set: ``set``, ``finding``, ``samples`` with a known label, ``positive`` of them,
        ``auroc`` with ``low`` and ``high`` (DeLong, 95 %), ``sensitivity_at_90``, the sensitivity at the point of the
        set's own ROC curve with a specificity of 90 %, ``threshold``, ``sensitivity`` and ``specificity`` there,
        ``calibration_error``.
    """
    reader = FeatureReader(strategy.network, data, device=strategy.device, adaptation=strategy.adaptation)
    chooser = next(name for name in data.val_names if strategy.calibrates_on(name))
    known = _findings(reader, data, chooser)
    rows = []
    for name in data.test_names:
        for finding, (p, y) in _findings(reader, data, name).items():
            threshold = threshold_at(*known[finding], _SPECIFICITY)
            area, low, high = auroc_interval(p, y)
            sensitivity, specificity = rates_at(p, y, threshold)
            row = {"set": name, "finding": finding, "samples": len(y), "positive": int(y.sum())}
            at_90, _ = rates_at(p, y, threshold_at(p, y, _SPECIFICITY))
            row |= {"auroc": area, "low": low, "high": high, "sensitivity_at_90": at_90, "threshold": threshold}
            row |= {"sensitivity": sensitivity, "specificity": specificity}
            rows.append({**row, "calibration_error": calibration_error(p, y)})
    return rows


def _findings(reader: FeatureReader, data: "DataModule", name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each finding with the probabilities and labels of the samples whose label is known."""
    reader.prepare(data.domain_of(name))
    values, index = zip(*reader.stream(name, "outputs"), strict=True)
    outputs, order = torch.cat(values).double().cpu(), torch.cat(index).cpu()
    y = data.sets[name].y
    assert y is not None
    return data.problem.findings(outputs, y.cpu()[order])
