"""Where samples come from, and in which scenario: one file a data set."""

from tl_lab.data.augmentation import Augmentation
from tl_lab.data.base import DataModule, DomainPair
from tl_lab.data.batches import DomainBatch, Labelled, Unlabelled
from tl_lab.data.preprocessing import Preprocessing
from tl_lab.data.printed_to_handwritten import PrintedToHandwritten
from tl_lab.data.samples import Samples

__all__ = [
    "Augmentation",
    "DataModule",
    "DomainBatch",
    "DomainPair",
    "Labelled",
    "Preprocessing",
    "PrintedToHandwritten",
    "Samples",
    "Unlabelled",
]
