"""What a run asks of its data before they are read."""

from dataclasses import dataclass

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """What a run needs from the data; the defaults are those of plain supervised learning.

    Args:
        adapts: training batches carry the target's unlabelled part.
        reveals_target: training uses the target's labels: the run is an oracle and says so.
        tracks_oracle: each validation scores the target's test set, for comparison only.
        serves: what training on episodic data gets: ``episodes``, or ``classes`` for ordinary batches.
        epochs_per_task: epochs of each task of a stream, at least 1.
        jointly: all tasks of a stream are learned at once.
        validation_samples: of a set without labels, scored in each validation; None for all.
        prepares_training: training inputs are brought to the backbone's input; otherwise files and texts among them are
            left as they are.
        keeps_raw: the sets are kept as they were read, too (:attr:`~tl_lab.data.base.DataModule.raw`).
    """

    adapts: bool = False
    reveals_target: bool = False
    tracks_oracle: bool = False
    serves: str = "episodes"
    epochs_per_task: int = 1
    jointly: bool = False
    validation_samples: int | None = None
    prepares_training: bool = True
    keeps_raw: bool = False
