"""Where samples come from, and in which scenario: one file a data set."""

from tl_lab.data.augmentation import Augmentation
from tl_lab.data.base import DataModule, DomainPair
from tl_lab.data.batches import DomainBatch, Labelled, Unlabelled
from tl_lab.data.cifar10 import Cifar10
from tl_lab.data.digits import Digits
from tl_lab.data.glyphs import Glyphs
from tl_lab.data.image_folder import ImageFolder, ImageFolderPair
from tl_lab.data.mnist import FashionMnist, Mnist
from tl_lab.data.preprocessing import Preprocessing
from tl_lab.data.printed_to_handwritten import PrintedToHandwritten
from tl_lab.data.samples import Samples
from tl_lab.data.usps import Usps

__all__ = [
    "Augmentation",
    "Cifar10",
    "DataModule",
    "Digits",
    "DomainBatch",
    "DomainPair",
    "FashionMnist",
    "Glyphs",
    "ImageFolder",
    "ImageFolderPair",
    "Labelled",
    "Mnist",
    "Preprocessing",
    "PrintedToHandwritten",
    "Samples",
    "Unlabelled",
    "Usps",
]
