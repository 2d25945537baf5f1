"""Fixed lists of support and query images, as in published one-shot protocols or made by the user."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import torch
from torch import Tensor

from tl_lab.data.inputs.ground import bring_to
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.image_files import ImageFiles
from tl_lab.data.loaders import BatchOrder
from tl_lab.data.request import Request
from tl_lab.data.roots import places_of
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.episodes import EpisodeLoader, EpisodeOptions
from tl_lab.data.scenarios.episodic import EpisodicData
from tl_lab.data.sets.table_files import read_table
from tl_lab.errors import UserError, no_column
from tl_lab.options import Count
from tl_lab.texts import counted

__all__ = ["FixedEpisodes", "SupportQuery"]

_COLUMNS = ("path", "label", "role", "episode")
_ROLES = ("support", "query")


class FixedEpisodes(EpisodeLoader):
    """Loads episodes from a fixed list.

    Args:
        data: the data module.
        name: name of the set.
        order: assignment of episodes to steps and processes.
        index: positions of the images of each episode, support first, ``(E, N, K + Q)``.
    """

    def __init__(self, data: "SupportQuery", name: str, order: BatchOrder, index: Tensor) -> None:
        super().__init__(data, name, order, training=False)
        self.index = index

    def indices(self) -> Iterator[Tensor]:
        """Yield the positions of the images of each step's episodes, ``(E, N, K + Q)``, on the device."""
        for numbers in self.order.epoch(0):
            yield self.index[numbers].to(self.data.device)


class SupportQuery(EpisodicData):
    """Episodes from a table: one row per image, with its class, its role and its episode.

    All episodes have the same way, shot and number of queries, which ``data.test`` states. Nothing is drawn at random.
    The episodes are used for scoring strategies without training, such as ``strategy=nearest_centroid`` with
    ``init_from`` or a pretrained backbone; the training set consists of the support images.

    Args:
        path: a table (csv, tsv, jsonl, parquet) with the columns ``path`` (relative to the table), ``label``, ``role``
            (``support`` or ``query``) and, for several episodes, ``episode``.
        size: height and width in pixels to which images are resized.
        channels: 1 (grey) or 3 (RGB).
        ground: background, ``dark`` or ``bright``, to which drawings are converted by inversion; None for no change.
        options: keyword arguments of :class:`~tl_lab.data.scenarios.episodic.EpisodicData`.

    Raises:
        UserError: ``path`` is not set; from :meth:`load`: a column is missing, or an episode does not have the way,
            shot and queries of ``data.test``.
    """

    place_options = ("path",)

    def __init__(
        self,
        *,
        path: str | None = None,
        size: Count = 28,
        channels: Literal[1, 3] = 1,
        ground: Literal["dark", "bright"] | None = None,
        train: Annotated[Mapping[str, int], EpisodeOptions],
        test: Annotated[Mapping[str, int], EpisodeOptions],
        **options: Any,
    ) -> None:
        super().__init__(train=train, test=test, **options)
        if path is None:
            raise UserError("data.path is not set: give the table of support and query images")
        self.path, self.size, self.channels, self.ground = path, size, channels, ground
        self.index = torch.empty(0)

    def load(self, request: Request | None = None) -> None:
        """Read the list.

        Raises:
            UserError: the run trains on episodes, which these data do not support, because they are the test set.
        """
        if (request or self.request).serves == "episodes":
            raise UserError(
                "data=support_query contains episodes for scoring and no training classes: use "
                "strategy=nearest_centroid with init_from=<run>, or predict with --support"
            )
        super().load(request)

    def read(self) -> dict[str, Samples]:
        """Read the table and its images."""
        table, folder = self._table()
        images = ImageFiles(folder, table["path"].tolist()).load_all(
            ImageSpec((self.size, self.size), self.channels), self.workers
        )
        if self.ground is not None:
            images, inverted = bring_to(images, self.ground)
            self.notes += [f"{inverted:,} of {len(images):,} drawings were inverted"] if inverted else []
        classes = list(dict.fromkeys(zip(table["episode"], table["label"], strict=True)))
        numbers = {name: k for k, name in enumerate(classes)}
        y = torch.tensor([numbers[pair] for pair in zip(table["episode"], table["label"], strict=True)])
        self.index = self._episodes_of(table, classes)
        whole = Samples(images, y)
        self.contents = [whole.fingerprint()]
        support = torch.tensor((table["role"] == "support").to_numpy()).nonzero()[:, 0]
        names = [f"{episode}/{label}" if episode else str(label) for episode, label in classes]
        self.classes = {"train": names, "val": names, "test": names}
        self.test_episodes = self.val_episodes = len(self.index)
        return {"train": whole.subset(support), "val": whole, "test": whole}

    def _table(self) -> tuple[pd.DataFrame, Path]:
        path = next((place for place in places_of(self.path) if place.is_file()), None)
        if path is None:
            raise UserError(f"data.path: there is no file {' or '.join(map(str, places_of(self.path)))}")
        table = read_table(path, option=None)
        if "episode" not in table:
            table["episode"] = ""
        for name in _COLUMNS:
            if name not in table:
                raise no_column(f"data.path: {path}", name, table.columns)
        table = table.astype(dict.fromkeys(_COLUMNS, str))
        if wrong := sorted(set(table["role"]) - set(_ROLES)):
            raise UserError(f"{path} has the role {wrong[0]!r}: roles are {' and '.join(_ROLES)}")
        return table, path.parent

    def _episodes_of(self, table: pd.DataFrame, classes: list[tuple[str, str]]) -> Tensor:
        """Return the rows of each episode, ``(E, N, K + Q)``, after checking how many there are."""
        size, rows = self.episode["test"], table.reset_index(drop=True)
        by_class: dict[tuple[str, str], dict[str, list[int]]] = {
            pair: {role: [] for role in _ROLES} for pair in classes
        }
        for i, (episode, label, role) in enumerate(zip(rows["episode"], rows["label"], rows["role"], strict=True)):
            by_class[episode, label][role].append(i)
        for (episode, label), found in by_class.items():
            counts = len(found["support"]), len(found["query"])
            if counts != (size.shot, size.queries):
                where = f" of episode {episode}" if episode else ""
                raise UserError(
                    f"the class {label!r}{where} has {counts[0]} support and {counts[1]} query images, but data.test "
                    f"requires {size.shot} and {size.queries}: set data.test.shot and queries, or correct the table"
                )
        episodes: dict[str, list[list[int]]] = {}
        for (episode, _), found in by_class.items():
            episodes.setdefault(episode, []).append([*found["support"], *found["query"]])
        for episode, of_classes in episodes.items():
            if len(of_classes) != size.way:
                where = f"episode {episode}" if episode else "the table"
                raise UserError(
                    f"{where} has {counted(len(of_classes), 'class', 'classes')}, but data.test.way is {size.way}: "
                    f"make them equal"
                )
        return torch.tensor(list(episodes.values()))

    def _shares_on_purpose(self, name: str, other: str) -> bool:
        return True  # the support images also serve as training set

    def episodes(self, name: str, count: int) -> EpisodeLoader:
        """Return the loader of the listed episodes."""
        rank, world_size = self._processes()
        at_a_time = max(1, self.evaluated_at_once // self.size_of(name).images)
        order = BatchOrder(len(self.index), at_a_time, seed=self.seed, rank=rank, world_size=world_size)
        return FixedEpisodes(self, name, order, self.index)
