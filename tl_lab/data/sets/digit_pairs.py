"""Domain pairs of published sets of digits: MNIST and MNIST-M, MNIST and USPS."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from tl_lab.data.roots import find_root
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.sets.mnist import Mnist
from tl_lab.data.sets.mnist_m import mnist_m
from tl_lab.data.sets.pairs import name_pair
from tl_lab.data.sets.published import PublishedSet
from tl_lab.data.sets.usps import Usps
from tl_lab.data.splits import hold_out, random_split
from tl_lab.errors import UserError
from tl_lab.options import Count, Fraction, Natural

__all__ = ["MnistToMnistM", "MnistUsps"]


class _DigitPair(DomainPair):
    """Two published sets; both training parts are used for training, and both test parts for scoring.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        download: whether to download the files if they are missing.
        val_share: share of the source's training part for validation, in (0, 1).
        source_count: number of samples drawn at random from the source's training part; None for all.
        target_count: number of samples drawn at random from the target's training part, independent of labels; None
            for all.
        options: keyword arguments of :class:`~tl_lab.data.base.DomainPair`.
    """

    place_options = ("root",)

    def __init__(
        self,
        *,
        root: str | None = None,
        download: bool = False,
        val_share: Fraction = 0.1,
        source_count: Count | None = None,
        target_count: Count | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 0 < val_share < 1:
            raise UserError(f"data.val_share must be between 0 and 1, not {val_share}")
        for name, count in (("source_count", source_count), ("target_count", target_count)):
            if count is not None and count < 1:
                raise UserError(f"data.{name} must be null or at least 1, not {count}")
        self.root, self.download, self.val_share = root, download, val_share
        self.source_count, self.target_count = source_count, target_count

    def read_parts(self) -> dict[str, Samples]:
        """Read the published sets ``source/train``, ``source/test``, ``target/train`` and ``target/test``."""
        raise NotImplementedError(f"{type(self).__name__} does not read its sets")

    def read(self) -> dict[str, Samples]:
        """Read both sets, draw the requested numbers of samples, and hold out the source's validation part."""
        self.class_names = [str(digit) for digit in range(10)]
        sets = self.read_parts()
        self.contents = [sets[name].fingerprint() for name in sorted(sets)]
        for domain, count in (("source", self.source_count), ("target", self.target_count)):
            name = f"{domain}/train"
            if count is not None and count < len(sets[name]):
                _, taken = random_split(len(sets[name]), count, self.seed, f"{name}/count")
                sets[name] = sets[name].subset(taken)
        source = sets["source/train"]
        assert source.y is not None
        kept, held_out = hold_out(source.y, {"val": self.val_share}, self.seed, self.class_names)
        sets["source/train"], sets["source/val"] = source.subset(kept), source.subset(held_out["val"])
        return sets


class MnistToMnistM(_DigitPair):
    """MNIST (source, grey) and MNIST-M (target: the same digits blended into photographs, in colour).

    Each MNIST image is blended into one patch, so that the training parts of source and target show the same digits,
    as in the paper. The target is scored on the test part of MNIST-M, whose digits are in no training part.

    Args:
        mnistm_seed: seed of the MNIST-M patches; the run's seed does not change them.
        options: options of the pair (root, download, val_share, source_count, target_count, batch_size ...).

    References:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17 (2016), section 5.2.4.
    """

    def __init__(self, *, mnistm_seed: Natural = 0, **options: Any) -> None:
        super().__init__(**options)
        self.mnistm_seed = mnistm_seed

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the target's images, because a network for both domains needs colour."""
        return 3, 28, 28

    def read_parts(self) -> dict[str, Samples]:
        """Read MNIST, and build MNIST-M or read it from the cache."""
        root = find_root(self.root, "MNIST", Mnist.how_to_get, create=self.download)
        reader = Mnist(root=self.root, download=self.download)
        sets = {}
        for part in ("train", "test"):
            x, y = reader.read_part(root, part == "train")
            sets[f"source/{part}"] = Samples(x, y)
            sets[f"target/{part}"] = Samples(mnist_m(x, root, self.mnistm_seed, part), y)
        return sets


class MnistUsps(_DigitPair):
    """MNIST and USPS, in either direction.

    Args:
        pair: ``mnist_to_usps`` or ``usps_to_mnist``, for a sweep over both; None to use the next two options.
        source: ``mnist`` or ``usps``.
        target: the other set.
        options: options of the pair (root, download, val_share, source_count, target_count, batch_size ...).

    Raises:
        UserError: a set is unknown, or both are the same.
    """

    _readers: ClassVar[dict[str, type[PublishedSet]]] = {"mnist": Mnist, "usps": Usps}

    def __init__(self, *, pair: str | None = None, source: str = "mnist", target: str = "usps", **options: Any) -> None:
        super().__init__(**options)
        (self.source,), self.target = name_pair(pair, source, target, self._readers)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the larger images, to which the smaller ones are enlarged."""
        return 1, 28, 28

    def read_parts(self) -> dict[str, Samples]:
        """Read both sets."""
        sets = {}
        for domain, name in (("source", self.source), ("target", self.target)):
            reader = self._readers[name](root=self.root, download=self.download)
            root = find_root(self.root, reader.title, reader.how_to_get, create=self.download)
            for part in ("train", "test"):
                sets[f"{domain}/{part}"] = Samples(*_read(reader, root, part == "train"))
        return sets


def _read(reader: PublishedSet, root: Path, train: bool) -> tuple[Tensor, Tensor]:
    x, y = reader.read_part(root, train)
    return x.to(torch.uint8), y
