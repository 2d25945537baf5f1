"""Requirements of a run, passed to its data before loading."""

from dataclasses import dataclass

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """Requirements of a run; the defaults suit plain supervised training.

    Args:
        adapts: whether training batches contain the target's unlabelled part.
        reveals_target: whether training uses the target's labels, which marks the run as an oracle.
        tracks_oracle: whether each validation scores the target's test set, for comparison only.
        serves: kind of training batches of episodic data: ``episodes``, or ``classes`` for ordinary batches.
        epochs_per_task: epochs of each task of a stream, at least 1.
        jointly: whether all tasks of a stream are trained at once.
        validation_samples: number of samples of a set without labels scored in each validation; None for all.
        prepares_training: whether training inputs are converted to the backbone's input format; otherwise files and
            texts stay unconverted.
        at_most: largest number of samples in a validation or test batch, in addition to ``eval_batch_size``; None for
            no further limit.
        keeps_raw: whether the unconverted sets are also kept (:attr:`~tl_lab.data.base.DataModule.raw`).
    """

    adapts: bool = False
    reveals_target: bool = False
    tracks_oracle: bool = False
    serves: str = "episodes"
    epochs_per_task: int = 1
    jointly: bool = False
    validation_samples: int | None = None
    prepares_training: bool = True
    at_most: int | None = None
    keeps_raw: bool = False
