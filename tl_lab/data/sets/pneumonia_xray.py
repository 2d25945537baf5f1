"""A class-balanced subset of PneumoniaMNIST: paediatric chest X-rays, normal or with pneumonia."""

import zipfile
from typing import Any

import numpy as np
import torch

from tl_lab.data.base import DataModule
from tl_lab.data.roots import find_root, missing
from tl_lab.data.samples import Samples
from tl_lab.errors import UserError

__all__ = ["PneumoniaXray"]

_PLACE = "pneumonia_xray/pneumoniamnist_balanced.npz"
_HOW_TO_GET = "put pneumonia_xray/pneumoniamnist_balanced.npz there"


class PneumoniaXray(DataModule):
    """X-rays of 28 x 28 grey pixels, half of them with pneumonia: 2,428 training, 270 validation and 468 test images.

    Results are not comparable with published ones on PneumoniaMNIST, whose classes are not balanced.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.

    References:
        J. Yang et al., "MedMNIST v2 - A Large-Scale Lightweight Benchmark for 2D and 3D Biomedical Image
        Classification", Scientific Data 10, 2023. https://doi.org/10.1038/s41597-022-01721-8
        D. S. Kermany et al., "Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep Learning", Cell
        172(5), 2018. https://doi.org/10.1016/j.cell.2018.02.010
    """

    place_options = ("root",)
    screens = True

    def __init__(self, *, root: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.root = root

    def read(self) -> dict[str, Samples]:
        """Read the three parts."""
        path = find_root(self.root, "The chest X-rays", _HOW_TO_GET) / _PLACE
        if not path.is_file():
            raise missing("The chest X-rays", path, _HOW_TO_GET)
        self.class_names = ["normal", "pneumonia"]
        sets = {}
        try:
            with np.load(path, allow_pickle=False) as file:
                for name in ("train", "val", "test"):
                    images = torch.from_numpy(file[f"{name}_images"])[:, None]  # (N, H, W) -> (N, 1, H, W)
                    sets[name] = Samples(images, torch.from_numpy(file[f"{name}_labels"].astype(np.int64)[:, 0]))
        except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} cannot be read ({error}): {_HOW_TO_GET}") from error
        self.contents = [samples.fingerprint() for samples in sets.values()]
        self.notes.append("class-balanced subset of PneumoniaMNIST: scores are not comparable with published ones")
        return sets
