"""Data for few-shot learning: sets with disjoint classes, served as episodes."""

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.form import form_of
from tl_lab.data.inputs.ground import Ground, common_ground
from tl_lab.data.loaders import Batches, BatchOrder, PairLoader
from tl_lab.data.request import Request
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.episodes import ClassIndex, EpisodeLoader, EpisodeOptions, EpisodeSize
from tl_lab.errors import UserError
from tl_lab.evaluation import EPISODIC
from tl_lab.options import Count, Several

__all__ = ["EpisodicData"]


class EpisodicData(DataModule):
    """Sets ``train``, ``val`` and ``test`` with disjoint classes, from which episodes are drawn.

    The labels of each set number its own classes from 0. With a second domain, the sets are ``source/train``,
    ``source/val``, ``source/test``, ``target/train`` (unlabelled samples, which are added to training episodes if a
    run adapts) and ``target/test``, whose classes do not occur in any training set.

    A strategy that trains on ordinary batches gets batches of the training classes, and is scored on episodes.

    A subclass implements :meth:`read`, which sets :attr:`classes`.

    Args:
        train: ``way``, ``shot`` and ``queries`` of a training episode (see
            :class:`~tl_lab.data.scenarios.episodes.EpisodeSize`).
        test: the same for validation and test episodes.
        episodes_per_step: training episodes per step, over all processes.
        episodes_per_epoch: training episodes per epoch, a multiple of ``episodes_per_step``.
        val_episodes: number of episodes of each validation set.
        test_episodes: number of episodes of each test set.
        options: see :class:`~tl_lab.data.base.DataModule`. ``batch_size`` and ``batches_per_epoch`` apply to ordinary
            batches. An evaluation batch contains as many whole episodes as fit into ``eval_batch_size`` samples.

    Attributes:
        classes: class names of each labelled set, in the order of the labels.

    Raises:
        UserError: an option is out of its range; from :meth:`load`: a set is too small for its episodes.
    """

    traits = frozenset({"labels", "episodes"})
    labels_new_samples = False
    every_class = False
    has_bound = "for a pair with the same classes; episodes have none"

    def __init__(
        self,
        *,
        train: Annotated[Mapping[str, int], EpisodeOptions],
        test: Annotated[Mapping[str, int], EpisodeOptions],
        episodes_per_step: Count = 1,
        episodes_per_epoch: Count = 100,
        val_episodes: Several = 200,
        test_episodes: Several = 1000,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.episode = {"train": EpisodeSize.from_node("data.train", train)}
        self.episode["test"] = EpisodeSize.from_node("data.test", test)
        if episodes_per_step < 1 or episodes_per_epoch < 1 or episodes_per_epoch % episodes_per_step:
            raise UserError(
                f"data.episodes_per_epoch must be a multiple of data.episodes_per_step, and both at least 1, not "
                f"{episodes_per_epoch} and {episodes_per_step}"
            )
        if val_episodes < 2 or test_episodes < 2:
            raise UserError(
                f"data.val_episodes and data.test_episodes must be at least 2, so that a confidence interval exists, "
                f"not {val_episodes} and {test_episodes}"
            )
        self.episodes_per_step, self.episodes_per_epoch = episodes_per_step, episodes_per_epoch
        self.val_episodes, self.test_episodes = val_episodes, test_episodes
        self.classes: dict[str, list[str]] = {}
        self._ground: Ground | None = None
        self._form: dict[str, list[float]] = {}
        self._class_indices: dict[str, ClassIndex] = {}

    # ------------------------------------------------------------------ reading

    def _read(self) -> dict[str, Samples]:
        sets = self.read()
        self.primary = "source/train" if "target/train" in sets else "train"
        self.monitored = "val/source" if "target/train" in sets else "val"
        self.class_names = list(self.classes[self.primary])
        if "target/train" in sets:
            sets["target/train"] = sets["target/train"].without_labels()
        return sets

    @classmethod
    def classes_change(cls, node: Mapping[str, Any]) -> str:
        """Explain that each episode has its own classes."""
        return "those of episodes change: use an"

    def limited(self, sets: dict[str, Samples]) -> dict[str, Samples]:
        """Return the sets unchanged; the number of test samples of episodic data cannot be limited.

        Raises:
            UserError: ``test_count`` is set.
        """
        if self.test_count is not None:
            raise UserError(
                f"data.test_count={self.test_count}: episodes are drawn from all test samples; set data.test_episodes"
            )
        return sets

    def load(self, request: Request | None = None) -> None:
        """Read the sets and check that their episodes can be drawn."""
        super().load(request)
        x = self.sets[self.primary].x
        self._ground = common_ground(x) if isinstance(x, Tensor) else None
        self._form = form_of(x) if self._ground and isinstance(x, Tensor) else {}
        for name in [*([self.primary] if self.request.serves == "episodes" else []), *self.val_names, *self.test_names]:
            self.class_index(name).check(name, self.size_of(name))

    @property
    def reading(self) -> dict[str, Any]:
        """Return the reading options, and the background and sizes of training drawings, to convert other drawings."""
        return {**super().reading, **({"ground": self._ground, "form": self._form} if self._ground else {})}

    def _classes_in(self, name: str) -> int:
        return len(self.classes.get(name, ()))

    def _what_else_identifies(self) -> str:
        return "".join(f"{name} {' '.join(names)}" for name, names in self.classes.items())

    def facts(self) -> dict[str, str]:
        """Report the composition of episodes in addition to the facts of all data."""
        counts = ", ".join(f"{name} {len(names):,}" for name, names in self.classes.items())
        learned = f"{self.episode['train']}" if self.request.serves == "episodes" else "ordinary batches"
        return {
            **super().facts(),
            "episodes": f"{self.episode['test']}, {self.test_episodes:,} test episodes; training: {learned}",
            "classes": counts,
        }

    # ------------------------------------------------------------------ names and sizes

    @property
    def has_target(self) -> bool:
        """Whether training may use samples of another domain."""
        return "target/train" in self.sets

    @property
    def val_names(self) -> list[str]:
        """Name of the set that selects checkpoints."""
        return [name for name in ("val", "source/val") if name in self.sets]

    @property
    def test_names(self) -> list[str]:
        """Names of the test sets, that of the target last."""
        return [name for name in ("test", "source/test", "target/test") if name in self.sets]

    @property
    def labelled_scores(self) -> tuple[str, ...]:
        """Names of the episode scores that may select a checkpoint."""
        return EPISODIC

    def head_width(self, fixed_way: bool = False) -> int:
        """Return the number of outputs of a head: the number of training classes, or of classes in an episode."""
        return self.episode["train"].way if fixed_way else self.num_classes

    def size_of(self, name: str) -> EpisodeSize:
        """Return the size of a set's episodes."""
        return self.episode["train" if name == self.primary else "test"]

    def class_index(self, name: str) -> ClassIndex:
        """Return the positions of the samples of each class of a set."""
        if name not in self._class_indices:
            y = self.sets[name].y
            assert y is not None, f"{name} has no labels to draw episodes by"
            self._class_indices[name] = ClassIndex(y, self._classes_in(name))
        return self._class_indices[name]

    # ------------------------------------------------------------------ loaders

    def train_dataloader(self) -> Batches:
        """Return the loader of training episodes, or of ordinary batches for strategies that train on these."""
        target = None
        if self.request.serves == "classes":
            batches = self.train_loader(self.primary)
            if not self.request.adapts:
                return batches
            size = batches.order.size
            return PairLoader(batches, self.train_loader("target/train", num_batches=len(batches), batch_size=size))
        rank, world_size = self._processes()
        if self.episodes_per_step % world_size:
            raise UserError(
                f"data.episodes_per_step={self.episodes_per_step} is not divisible by the {world_size} processes"
            )
        order = BatchOrder(
            self.episodes_per_epoch, self.episodes_per_step, seed=self.seed, rank=rank, world_size=world_size
        )
        if self.request.adapts:
            images = self.episode["train"].images * self.episodes_per_step
            target = self.train_loader("target/train", num_batches=len(order), batch_size=images)
        return EpisodeLoader(self, self.primary, order, training=True, target=target)

    def val_dataloader(self) -> list[Any]:
        """Return a loader of the episodes of each validation set, which are the same in every epoch."""
        return [self.episodes(name, self.val_episodes) for name in self.val_names]

    def test_dataloader(self) -> list[Any]:
        """Return a loader of the episodes of each test set."""
        return [self.episodes(name, self.test_episodes) for name in self.test_names]

    def episodes(self, name: str, count: int) -> EpisodeLoader:
        """Return a loader of the first ``count`` evaluation episodes of a set, without augmentation."""
        rank, world_size = self._processes()
        at_a_time = max(1, self.evaluated_at_once // self.size_of(name).images)
        order = BatchOrder(count, at_a_time, seed=self.seed, rank=rank, world_size=world_size)
        return EpisodeLoader(self, name, order, training=False)
