"""Metrics of the field, on top of torchmetrics."""

from tl_lab.evaluation.classification import LABEL_FREE, LABELLED, Meter, classification_scores, label_free_scores
from tl_lab.evaluation.episodes import EPISODIC, EpisodeMeter, episode_scores

__all__ = [
    "EPISODIC",
    "LABELLED",
    "LABEL_FREE",
    "EpisodeMeter",
    "Meter",
    "classification_scores",
    "episode_scores",
    "label_free_scores",
]
