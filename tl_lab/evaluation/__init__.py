"""Metrics of the field, on top of torchmetrics."""

from tl_lab.evaluation.classification import Meter, classification_scores, label_free_scores

__all__ = ["Meter", "classification_scores", "label_free_scores"]
