"""Metrics of the field, on top of torchmetrics."""

from tl_lab.evaluation.classification import LABEL_FREE, LABELLED, Meter, classification_scores, label_free_scores

__all__ = ["LABELLED", "LABEL_FREE", "Meter", "classification_scores", "label_free_scores"]
