"""MNIST and Fashion-MNIST: grey images of 28 x 28 pixels, 60,000 for training and 10,000 for test."""

from pathlib import Path
from typing import ClassVar

from torch import Tensor

from tl_lab.data.sets.published import PublishedSet, read_published

__all__ = ["FashionMnist", "Mnist"]


class Mnist(PublishedSet):
    """Handwritten digits: 60,000 for training and 10,000 for test, ``(1, 28, 28)``, ten classes.

    References:
        Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-Based Learning Applied to Document Recognition.
        Proceedings of the IEEE 86(11), 1998. https://doi.org/10.1109/5.726791
    """

    title = "MNIST"
    how_to_get = "set data.download=true once, or put the four uncompressed IDX files there"
    names: ClassVar[tuple[str, ...]] = tuple("0123456789")

    def read_part(self, root: Path, train: bool) -> tuple[Tensor, Tensor]:
        """Read one part from ``root/MNIST/raw``."""
        from torchvision.datasets import MNIST

        part = "train" if train else "t10k"
        place = f"MNIST/raw/{part}-images-idx3-ubyte"
        return read_published(MNIST, root, train, self.download, place, self.title, self.how_to_get)


class FashionMnist(PublishedSet):
    """Articles of clothing: 60,000 for training and 10,000 for test, ``(1, 28, 28)``, ten classes.

    References:
        H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
        Algorithms. 2017. https://arxiv.org/abs/1708.07747
    """

    title = "Fashion-MNIST"
    how_to_get = Mnist.how_to_get
    names = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip

    def read_part(self, root: Path, train: bool) -> tuple[Tensor, Tensor]:
        """Read one part from ``root/FashionMNIST/raw``."""
        from torchvision.datasets import FashionMNIST

        part = "train" if train else "t10k"
        place = f"FashionMNIST/raw/{part}-images-idx3-ubyte"
        return read_published(FashionMNIST, root, train, self.download, place, self.title, self.how_to_get)
