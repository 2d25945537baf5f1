"""Chest X-rays with several findings, in the table formats of CheXpert and ChestX-ray14."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from tl_lab.data.sets.columns import check_columns
from tl_lab.data.sets.image_table import ImageTable
from tl_lab.errors import UserError

__all__ = ["ChestXray"]

_CHEXPERT = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
_NIH = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip


class ChestXray(ImageTable):
    """Chest radiographs with fourteen findings each.

    Args:
        style: format of the table: ``nih`` for ChestX-ray14, with the columns Image Index, Finding Labels, Patient ID
            and View Position; ``chexpert`` for CheXpert, with the columns Path (which contains the patient) and
            Frontal/Lateral, and one column for each finding.
        findings: findings to use; None for all findings of the format.
        image_column: name of the column with the files; None for that of the format. The same holds for the other
            columns.
        options: keyword arguments of :class:`~tl_lab.data.sets.image_table.ImageTable`.

    References:
        X. Wang et al., "ChestX-ray8: Hospital-Scale Chest X-Ray Database and Benchmarks on Weakly-Supervised
        Classification and Localization of Common Thorax Diseases", CVPR 2017. https://arxiv.org/abs/1705.02315
        J. Irvin et al., "CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and Expert Comparison",
        AAAI 2019. https://arxiv.org/abs/1901.07031
    """

    def __init__(
        self,
        *,
        style: Literal["nih", "chexpert"] = "nih",
        findings: Sequence[str] | None = None,
        image_column: str | None = None,
        **options: Any,
    ) -> None:
        nih = style == "nih"
        columns = {
            "image_column": "Image Index" if nih else "Path",
            "finding_column": "Finding Labels" if nih else None,
            "patient_column": "Patient ID" if nih else "patient",
            "view_column": "View Position" if nih else "Frontal/Lateral",
        }
        options["image_column"] = image_column
        chosen = {name: value for name, value in options.items() if value is not None or name not in columns}
        super().__init__(findings=findings or (_NIH if nih else _CHEXPERT), **{**columns, **chosen})
        self.style = style

    def prepared(self, table: pd.DataFrame, place: Path) -> pd.DataFrame:
        """Extract the patient from CheXpert's paths (``.../patient00001/study1/view1_frontal.jpg``)."""
        if self.style == "nih" or self.patient_column != "patient" or "patient" in table.columns:
            return table
        check_columns(table, "image_column", [self.image_column], place)
        patient = table[self.image_column].str.extract(r"(patient\d+)", expand=False)
        if bool(patient.isna().any()):
            wrong = table[self.image_column].iloc[int(patient.isna().to_numpy().argmax())]
            raise UserError(f"{place}: the path {wrong!r} contains no patient: set data.patient_column")
        return table.assign(patient=patient)
