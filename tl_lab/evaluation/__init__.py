"""Evaluation metrics, based on torchmetrics."""

from tl_lab.evaluation.classification import (
    LABEL_FREE,
    LABELLED,
    ClassificationMeter,
    classification_scores,
    label_free_scores,
)
from tl_lab.evaluation.episodes import EPISODIC, EpisodeMeter, episode_scores
from tl_lab.evaluation.meter import Meter
from tl_lab.evaluation.multi_label import MULTI_LABEL, MultiLabelMeter, multi_label_scores
from tl_lab.evaluation.regression import REGRESSION, RegressionMeter, regression_scores
from tl_lab.evaluation.several import TASK_MEAN, SeveralMeter

__all__ = [
    "EPISODIC",
    "LABELLED",
    "LABEL_FREE",
    "MULTI_LABEL",
    "REGRESSION",
    "TASK_MEAN",
    "ClassificationMeter",
    "EpisodeMeter",
    "Meter",
    "MultiLabelMeter",
    "RegressionMeter",
    "SeveralMeter",
    "classification_scores",
    "episode_scores",
    "label_free_scores",
    "multi_label_scores",
    "regression_scores",
]
