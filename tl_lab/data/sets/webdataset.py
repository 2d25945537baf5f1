"""Images in shards (tar files) in the WebDataset format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.shards import find_samples, split_name
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.roots import places_of
from tl_lab.data.samples import Samples, in_memory
from tl_lab.data.sets.columns import sorted_labels
from tl_lab.data.splits import check_shares, hold_out, split_in_three
from tl_lab.errors import UserError
from tl_lab.options import Count, Fraction

__all__ = ["WebDataset"]


class WebDataset(DataModule):
    """Images and their classes in shards (tar files) in the WebDataset format: ``KEY.jpg`` and ``KEY.cls``.

    Shards are found by their names. If there are no shards for validation or test, these parts are held out from the
    training shards by the seed, stratified by class. A shard is read at random positions, so that samples are shuffled
    in the same way as all other data, and a resumed run continues with the next sample.

    Args:
        root: folder of the shards.
        train_shards: pattern of the training shards' names, such as ``train-*.tar`` or ``train-{000..099}.tar``; if no
            shard matches, the images of all shards are split.
        val_shards: pattern of the validation shards' names.
        test_shards: pattern of the test shards' names.
        label_ending: extension of the files with the class of an image, as a number or a name.
        class_names: names of numbered classes, in order; None to use the numbers as names.
        val_share: share of a class's images for validation, in (0, 1).
        test_share: share of a class's images for test, in (0, 1).
        size: height and width in pixels, for a backbone without a fixed size.
        channels: 1 (grey) or 3 (RGB), for a backbone without a fixed number of channels.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.
    """

    place_options = ("root",)
    decodes_for_backbone = True

    def __init__(
        self,
        *,
        root: str | None = None,
        train_shards: str = "*train*.tar",
        val_shards: str = "*val*.tar",
        test_shards: str = "*test*.tar",
        label_ending: str = "cls",
        class_names: Sequence[str] | None = None,
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        size: Count = 224,
        channels: Literal[1, 3] = 3,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_shares(val_share, test_share)
        split_name("a.jpg")  # fails if the library is missing
        self.root, self.label = root, label_ending.lstrip(".")
        self.patterns = {"train": train_shards, "val": val_shards, "test": test_shards}
        self.given_names = None if class_names is None else list(class_names)
        self.val_share, self.test_share, self.size, self.channels = val_share, test_share, size, channels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width for a backbone without a fixed size."""
        return self.channels, self.size, self.size

    def read(self) -> dict[str, Samples]:
        """Read the index of the shards, and hold out the parts that have no shards."""
        folder = self._folder()
        shards = {part: _matching(folder, pattern) for part, pattern in self.patterns.items()}
        if not shards["train"]:
            shards = {"train": sorted(folder.glob("*.tar")), "val": [], "test": []}
        if not shards["train"]:
            raise UserError(f"data.root: there is no shard (*.tar) in {folder}")
        found = {part: find_samples(files, self.label) for part, files in shards.items() if files}
        every = sorted_labels(found["train"].labels)
        self.class_names = self._names(every)
        number = {label: i for i, label in enumerate(every)}
        sets = {}
        for part, (images, labels) in found.items():
            if unknown := sorted_labels(set(labels) - set(number)):
                raise UserError(f"data.{part}_shards: no training shard in {folder} has the class {unknown[0]!r}")
            sets[part] = Samples(images, torch.tensor([number[label] for label in labels], dtype=torch.int64))
        self.contents = [f"{samples.fingerprint()} {' '.join(self.class_names)}" for samples in sets.values()]
        return self._split(sets)

    def use(self, spec: InputSpec) -> None:
        """Decode the images for the backbone, or leave this to the workers if there are many."""
        super().use(spec)
        assert isinstance(spec, ImageSpec)
        kind = "grey" if spec.channels == 1 else "RGB"
        where = "into memory" if all(in_memory(one.x) for one in self.sets.values()) else "on demand"
        self.notes.append(f"images: decoded {where}, to {spec.size[0]}x{spec.size[1]} {kind}")

    def _folder(self) -> Path:
        if not self.root:
            raise UserError("data.root is not set: give the folder with the shards, data.root=<folder>")
        places = places_of(self.root)
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            elsewhere = "" if places == [Path(self.root)] else f": looked for {' and '.join(map(str, places))}"
            raise UserError(f"data.root={self.root} is not a folder{elsewhere}")
        return folder

    def _names(self, labels: list[str]) -> list[str]:
        if self.given_names is None:
            return labels
        if len(self.given_names) != len(labels):
            raise UserError(
                f"data.class_names has {len(self.given_names)} classes, but the training shards have {len(labels)}"
            )
        return self.given_names

    def _split(self, sets: dict[str, Samples]) -> dict[str, Samples]:
        train, shares = sets["train"], {"val": self.val_share, "test": self.test_share}
        to_make = {part: share for part, share in shares.items() if part not in sets}
        if len(to_make) == 2:
            return split_in_three(train, self.val_share, self.test_share, self.seed, self.class_names)
        if not to_make:
            return sets
        assert train.y is not None
        kept, made = hold_out(train.y, to_make, self.seed, self.class_names)
        self.notes.append(f"{next(iter(to_make))}: held out from the training shards")
        return {**sets, "train": train.subset(kept), **{part: train.subset(index) for part, index in made.items()}}


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Return the shards that match a pattern with wildcards, or with braces as in WebDataset, in order."""
    if "{" not in pattern:
        return sorted(folder.glob(pattern))
    from webdataset.shardlists import expand_urls

    files = [folder / name for name in expand_urls(pattern)]
    if absent := [file for file in files if not file.is_file()]:
        raise UserError(f"{len(absent)} of the shards {pattern} are missing, the first of which is {absent[0]}")
    return files
