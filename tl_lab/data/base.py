"""Base class of data modules: their interface to the run, the strategies and Lightning."""

import copy
import hashlib
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import pytorch_lightning as pl
import torch
from torch import Tensor

from tl_lab.data.duplicates import Shared, shared_samples
from tl_lab.data.inputs.augmentation import RandomChange
from tl_lab.data.inputs.operations import Inputs, apply, join, move, numel, sample_shape, take, tensors
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.loaders import Batches, BatchOrder, Cutter, Loader, Transform
from tl_lab.data.names import SetName
from tl_lab.data.request import Request
from tl_lab.data.roots import absolute_places
from tl_lab.data.samples import LazyInputs, Samples, in_memory
from tl_lab.data.splits import few_in_strata, few_labels
from tl_lab.data.task_outputs import Outputs
from tl_lab.data.variety import one_class_refused
from tl_lab.data.waiting import Waiting
from tl_lab.errors import UserError
from tl_lab.options import Count, Natural, Similarity
from tl_lab.problems import Problem, SingleLabel
from tl_lab.randomness import generator
from tl_lab.texts import listed

__all__ = ["DataModule"]

_READY_BYTES = 2**30  # sets that would be larger as normalised floats are converted batch by batch
_AT_ONCE = 20_000_000  # largest number of values of enlarged images in a validation or test batch


class DataModule(pl.LightningDataModule):
    """Named sets of samples, served as batches.

    A subclass implements :meth:`read`. The run calls :meth:`load`, then :meth:`use` with the backbone's spec, and then
    passes the module to Lightning.

    Args:
        batch_size: samples in a training batch, over all processes (for a pair, of each domain).
        eval_batch_size: largest number of samples in a validation or test batch. If the backbone enlarges images, a
            batch has at most 20 million values, because activations need about thirty times their memory.
        seed: determines splits, order and augmentation.
        evaluate: the checkpoint that is tested, ``best`` (on validation) or ``last``.
        augmentation: random changes to training images or texts; None for none.
        workers: number of processes that read data on disk during training.
        lazy: whether samples are read during training instead of before it: ``true``, ``false``, or ``auto``, which
            reads them during training if they would need more than 2 GiB of memory.
        batches_per_epoch: training batches in an epoch; None for one pass over the (source's) training set.
        labels: number of labelled samples in the training set, for a pair in the source's (see
            :func:`~tl_lab.data.splits.few_labels`); None for all.
        test_count: number of samples of each test set that are scored, drawn by the seed; None for all.
        near_duplicates: smallest similarity, in (0, 1], at which images or texts in different parts of the data
            count as duplicates (see :func:`~tl_lab.data.duplicates.shared_samples`); None for equal samples only.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"labels"})
    """Traits of the data: ``labels``, ``domains`` (several labelled ones), ``several tasks``
    (at once), ``target``, ``tasks`` (one after the other), ``episodes``."""
    paired: ClassVar[bool] = False
    """Whether there are two domains, as distances and some validators require."""
    keeps_best: ClassVar[bool] = True
    """Whether the checkpoint of the best epoch can be selected."""
    labels_new_samples: ClassVar[bool] = True
    """Whether a model trained on these data can label new samples."""
    in_tasks: ClassVar[bool] = False
    """Whether tasks are trained one after the other."""
    every_class: ClassVar[bool] = True
    """Whether each set has samples of all classes, so that constant labels and chance-level scores are suspicious."""
    has_bound: ClassVar[str] = ""
    """For which data training on the target's labels gives an upper bound, if not for these; otherwise empty."""
    decodes_for_backbone: ClassVar[bool] = False
    """Whether files are decoded to the backbone's size, so that the options ``size`` and ``channels`` only apply to a
    backbone that does not define them."""
    changes_by_epoch: ClassVar[bool] = False
    """Whether the training set changes between epochs."""
    screens: ClassVar[bool] = False
    """Whether each class or label is a medical finding, reported with intervals and an operating point."""
    modality: ClassVar[str] = "image"
    """Modality: ``image``, ``vector``, ``table``, ``text``, ``audio``, ``tokens_with_boxes`` or ``passage``."""
    problem_kind: type[Problem] = SingleLabel
    """Kind of prediction."""
    monitored: str = "val"
    """Prefix of the scores of the validation set that selects the best checkpoint."""
    primary: str = "train"
    """Name of the labelled training set."""
    place_options: ClassVar[tuple[str, ...]] = ()
    """Names of the options that are folders or files of data."""

    def __init__(
        self,
        *,
        batch_size: Count = 64,
        eval_batch_size: Count = 512,
        seed: Natural = 0,
        evaluate: Literal["best", "last"] = "best",
        augmentation: RandomChange | None = None,
        workers: Natural = 0,
        lazy: bool | Literal["auto"] = "auto",
        batches_per_epoch: Count | None = None,
        labels: Count | None = None,
        test_count: Count | None = None,
        near_duplicates: Similarity | None = None,
    ) -> None:
        super().__init__()
        if evaluate not in ("best", "last"):
            raise UserError(f"data.evaluate must be 'best' or 'last', not {evaluate!r}")
        if batches_per_epoch is not None and batches_per_epoch < 1:
            raise UserError(f"data.batches_per_epoch must be null or at least 1, not {batches_per_epoch}")
        if batch_size < 1 or eval_batch_size < 1:
            raise UserError(f"data.batch_size, eval_batch_size must be at least 1, not {batch_size}, {eval_batch_size}")
        if near_duplicates is not None and not 0 < near_duplicates <= 1:
            raise UserError(f"data.near_duplicates must be null or a similarity up to 1, not {near_duplicates}")
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self._enlarged_at_once: int | None = None
        self.evaluate, self.augmentation, self.workers = evaluate, augmentation, workers
        self.lazy, self.waiting = lazy, Waiting()
        self.read_as_needed = False  # whether a set remains on disk
        self.batches_per_epoch, self.labels = batches_per_epoch, labels
        self.near_duplicates, self.duplicates = near_duplicates, list[Shared]()
        self.test_count = test_count
        self.sets: dict[str, Samples] = {}
        self.raw: dict[str, Samples] = {}  # sets before conversion for the backbone, if the run requests them
        self.outputs: Outputs | None = None  # for a stream: which outputs belong to which task
        self.class_names: list[str] = []  # names of the outputs: of classes, labels or quantities
        self.problem: Problem = self.problem_kind(())  # before load()
        self.request = Request()
        self.notes: list[str] = []  # changes to the data, for the banner
        self.spec: InputSpec | None = None
        self.device = torch.device("cpu")
        self.domain_names: list[str] = []  # names of the domains in the order of their numbers
        self._features: dict[str, Tensor] = {}
        self._cutters: dict[tuple[str, bool, bool], Cutter] = {}  # of earlier loaders of training batches
        self._fingerprint = ""
        self.contents: list[str] = []  # hashes of the content read from disk, before the split by the seed
        self._shape: tuple[int, ...] | None = None

    # ------------------------------------------------------------------ implemented by subclasses

    @classmethod
    def traits_for(cls, node: Mapping[str, Any]) -> frozenset[str]:
        """Derive the traits of the data from their configuration node, before anything is built."""
        return cls.traits

    @classmethod
    def target_for(cls, node: Mapping[str, Any]) -> bool:
        """Derive from the configuration node whether there is a target domain, before anything is built."""
        return "target" in cls.traits_for(node)

    @classmethod
    def classes_change(cls, node: Mapping[str, Any]) -> str:
        """Explain why predictions have different classes at different times, as the beginning of a message.

        Args:
            node: configuration node of these data.

        Returns:
            A phrase that ends in "use an", to be completed with a method; empty if classes are fixed.
        """
        return ""

    @classmethod
    def problem_for(cls, node: Mapping[str, Any]) -> type[Problem]:
        """Derive the kind of prediction from the configuration node, before anything is built."""
        return cls.problem_kind

    @classmethod
    def modality_for(cls, node: Mapping[str, Any]) -> str:
        """Derive the modality from the configuration node, before anything is built."""
        return cls.modality

    @classmethod
    def places_for(cls, node: Mapping[str, Any]) -> dict[str, Any]:
        """Find the folders and files named in a configuration node, without reading them.

        Args:
            node: configuration node of these data.

        Returns:
            An absolute path, or a list of paths, for each of :attr:`place_options` that is set there or in the
            environment.
        """
        found = {option: absolute_places(node.get(option)) for option in cls.place_options}
        return {option: places for option, places in found.items() if places}

    @abstractmethod
    def read(self) -> dict[str, Samples]:
        """Read the sets (``train``, ``val``, ``test``; for a pair ``source/train`` ...), and set ``class_names``.

        Raises:
            UserError: files are missing, or there are too few samples for the split.
        """

    def _read(self) -> dict[str, Samples]:
        return self.read()

    def _make_problem(self) -> Problem:
        return self.problem_kind(self.class_names)

    def _what_else_identifies(self) -> str:
        return ""  # processing that the fingerprint includes, in addition to the samples

    def _made_of(self) -> "DataModule | None":
        return None  # the data of which these are a part, and which determine the shape of data on disk and of texts

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an unconverted sample, for which a backbone may be built.

        ``(C, H, W)`` for images, ``(D, 1, 1)`` for vectors of length D, and ``()`` for named tensors.
        """
        if self._shape is None and (whole := self._made_of()) is not None:
            return whole.shape
        assert self._shape is not None, "load() comes first; a module with images on disk sets the shape itself"
        return self._shape

    @property
    def reading(self) -> dict[str, Any]:
        """Return the options with which files were read, as plain values, so that predictions read files alike."""
        return {}

    @property
    def for_backbone(self) -> dict[str, Any]:
        """Return the arguments that a backbone needs if its input is not a single tensor, by name."""
        return {}

    def baselines(self) -> dict[str, float]:
        """Return the scores of a baseline without a network, by the names of metrics; empty if there is none."""
        return {}

    # ------------------------------------------------------------------ interface to the run

    def load(self, request: Request | None = None) -> None:
        """Read the sets and check them.

        Args:
            request: requirements of the run; None leaves :attr:`request` unchanged.

        Raises:
            UserError: files are missing, or the data fail a check.
        """
        self.sets = self.read_for(request or self.request)
        self.problem = self._make_problem()
        if self.labels is not None:
            self._keep_few(self.labels)
        x = self.sets[self.primary].x
        if in_memory(x):
            shape = sample_shape(x)
            self._shape = (*shape, 1, 1)[:3] if shape else ()  # vectors (N, D) are D channels of one pixel
        for name, samples in self.sets.items():
            _check(name, samples)
            if samples.y is not None:
                self.problem.check(name, samples.y, self._classes_in(name))
                self._check_variety(name, samples.y)
        self._look_for_untrained_classes()
        self.problem.learn(self.training_labels)
        if len(self.sets[self.primary]) < self.batch_size and self.batches_per_epoch is None:
            self.notes.append(f"batches of {len(self.sets[self.primary])}: {self.primary} has no more samples")
        self._look_for_duplicates()
        prints: dict[tuple[int, int], str] = {}  # sets may share their samples
        for samples in self.sets.values():
            prints.setdefault((id(samples.x), id(samples.y)), samples.fingerprint())
        parts = "".join(name + prints[id(one.x), id(one.y)] for name, one in sorted(self.sets.items()))
        parts += self._what_else_identifies()
        self._fingerprint = hashlib.sha256(parts.encode()).hexdigest()[:16]

    def read_for(self, request: Request) -> dict[str, Samples]:
        """Read the sets for a request without checking them, for :meth:`load` and for data derived from these."""
        self.request = request
        return self.limited(self._read())

    def limited(self, sets: dict[str, Samples]) -> dict[str, Samples]:
        """Reduce test sets to ``test_count`` samples, and record it in ``notes``.

        Raises:
            UserError: a test set has fewer samples.
        """
        count = self.test_count
        if count is None:
            return sets
        for name, test in [(name, one) for name, one in sets.items() if SetName.parse(name).part == "test"]:
            if count > len(test):
                raise UserError(f"data.test_count={count} is more than the {len(test):,} samples of {name}")
            sets[name] = test.subset(few_in_strata(None, len(test), count, self.seed))
            self.notes.append(f"{name}: {count:,} of {len(test):,} samples")
        return sets

    def _check_variety(self, name: str, y: Tensor) -> None:
        """Reject constant training labels, and warn about constant labels in scored sets."""
        if not self.every_class or (alike := self.problem.alike(y)) is None:
            return
        if name == self.primary and one_class_refused():
            raise UserError(f"the set {name!r} has {alike} in every sample, so there is nothing to learn")
        if SetName.parse(name).part != "train":
            warnings.warn(
                f"the set {name!r} has {alike} in every sample: a constant prediction would score as high as any",
                stacklevel=2,
            )

    def _look_for_untrained_classes(self) -> None:
        """Warn about classes or labels that occur in a scored set but not in the training set."""
        primary = "target/train" if self.request.reveals_target else self.primary
        y = self.sets[primary].y if self.request.reveals_target else self.training_labels
        trained = self.problem.counts(y) if self.every_class and y is not None else None
        if trained is None:
            return
        task, absent, where = SetName.parse(primary).task, torch.zeros_like(trained, dtype=torch.bool), list[str]()
        for name, samples in self.sets.items():
            if samples.y is None or SetName.parse(name).part == "train" or SetName.parse(name).task != task:
                continue
            scored = self.problem.counts(samples.y)
            assert scored is not None
            here = (scored > 0) & (trained == 0)
            if bool(here.any()):
                absent |= here
                where.append(name)
        if where:
            names = [self.problem.output_names[number] for number in absent.nonzero()[:, 0].tolist()]
            warnings.warn(
                f"{primary} has no sample of {listed(names)}, which occur in {' and '.join(where)}: they cannot be "
                "learned from it",
                stacklevel=2,
            )

    def _look_for_duplicates(self) -> None:
        """Warn about validation and test samples that also occur in training or selection data."""
        self.duplicates = shared_samples(self.sets, None, self._shares_on_purpose)
        near = self.near_duplicates
        if near is not None:
            self.duplicates = shared_samples(self.sets, near, self._shares_on_purpose)
        if self.duplicates:
            warnings.warn(f"{self._describe_duplicates()}: scores on them may be too high", stacklevel=2)

    def _describe_duplicates(self) -> str:
        kind = "" if self.near_duplicates is None else f"nearly (similarity {self.near_duplicates:g} or more) "
        return kind + listed(map(str, self.duplicates))

    def _shares_on_purpose(self, name: str, other: str) -> bool:
        return False  # whether the configuration makes two sets share samples

    def _keep_few(self, labels: int) -> None:
        if not self.traits <= {"labels", "several tasks", "target"}:
            raise UserError(
                f"data.labels={labels} limits the training set of supervised data, or the source's; "
                f"{type(self).__name__} offers more ({', '.join(sorted(self.traits))}): leave it out"
            )
        train = self.sets[self.primary]
        assert train.y is not None
        strata = self.problem.strata(train.y)
        if strata is None or not self.problem.numbers_outputs:
            index = few_in_strata(strata, len(train), labels, self.seed)
        else:
            index = few_labels(strata, labels, self.seed, self.class_names)
        self.sets[self.primary] = train.subset(index)
        self.notes.append(f"{self.primary}: {labels:,} of {len(train):,} labelled samples")

    def use(self, spec: InputSpec) -> None:
        """Convert every set to the backbone's input format, and record the conversion in ``notes``.

        Args:
            spec: input specification of the backbone.

        Raises:
            UserError: the data do not fit the specification, or ``lazy=true`` for data in memory.
        """
        if self.augmentation is not None:
            self.augmentation.use(spec)
        self.spec = spec
        self.read_as_needed = False
        changed: dict[str, list[str]] = {}
        ready: dict[tuple[int, bool], Inputs] = {}  # sets may share their inputs (a transductive target)
        read = dict(self.sets)  # keeps the inputs alive, so that ids remain unique
        self.raw = read if self.request.keeps_raw else {}
        scored = {*self.val_names, *self.test_names} if not self.request.prepares_training else set()
        for name, samples in read.items():
            x, use = samples.x, (id(samples.x), self._augments(name))
            if not in_memory(x):
                if not (self.request.prepares_training or name in scored):
                    continue
                if self._stays_on_disk(x, spec):
                    self.read_as_needed = True
                    if hasattr(x, "prepare"):
                        x.prepare(spec)
                    _add_notes(changed, x, name)
                    continue
                raw, x = x, ready[use] if use in ready else x.load_all(spec, self.workers)
                _add_notes(changed, raw, name)
            elif changes := spec.changes(sample_shape(x)):
                changed.setdefault(", ".join(changes), []).append(name)
                if spec.bytes_of(1) > numel(x) // max(1, len(samples)):
                    self._enlarged_at_once = max(1, _AT_ONCE // spec.bytes_of(1))
            if use not in ready:
                ready[use] = self._prepare(name, x, spec)
            self.sets[name] = replace(samples, x=ready[use])
        if self.lazy is True and not self.read_as_needed:
            raise UserError("data.lazy=true: these data are always in memory: leave it out")
        if (self._enlarged_at_once or self.eval_batch_size) < self.eval_batch_size:
            self.notes.append(
                f"validation and test in batches of {self._enlarged_at_once}, because images are enlarged"
            )
        for change, names in changed.items():
            self.notes.append(f"{'all sets' if len(names) == len(self.sets) else ', '.join(names)}: {change}")

    @property
    def evaluated_at_once(self) -> int:
        """Number of samples in a validation or test batch.

        This is ``eval_batch_size``, or less if images are enlarged or the run requests less.
        """
        return min(filter(None, (self.eval_batch_size, self._enlarged_at_once, self.request.at_most)))

    def _stays_on_disk(self, x: LazyInputs, spec: InputSpec) -> bool:
        return x.bytes_for(spec) > 2 * _READY_BYTES if self.lazy == "auto" else bool(self.lazy)

    def _prepare(self, name: str, x: Inputs, spec: InputSpec) -> Inputs:
        if spec.is_raw(x) and 4 * max(numel(x), spec.bytes_of(len(x))) > _READY_BYTES:
            return x  # converted batch by batch
        x = spec.fit(x)
        return x if self._augments(name) else spec.normalise(x)

    def serving(
        self, sets: Mapping[str, Samples], spec: InputSpec | None = None, request: Request | None = None
    ) -> Self:
        """Return a copy of these loaded data that serves other sets; these data do not change.

        Args:
            sets: the sets to serve, under the names of sets of these data.
            spec: input specification of a backbone, for which the sets are converted; None if they already are.
            request: requirements of a run; None for the request of these data.
        """
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, list | dict):
                setattr(other, name, copy.copy(value))
        other.sets, other.request, other.trainer = dict(sets), request or self.request, None
        other.augmentation, other.waiting = copy.copy(self.augmentation), Waiting()
        other.forget_features()
        if spec is not None:
            other.use(spec)
        return other

    @contextmanager
    def rehearsing(self, **changes: Any) -> Iterator[None]:
        """Change the request within a block; features computed and waiting time recorded in it are discarded.

        Args:
            changes: fields of :class:`~tl_lab.data.request.Request`.
        """
        request, self.request = self.request, replace(self.request, **changes)
        try:
            yield
        finally:
            self.request, self.waiting = request, Waiting()
            self.forget_features()

    def score_instead(self, name: str, samples: Samples) -> None:
        """Replace the samples of a set that is scored.

        Args:
            name: name of a validation or test set.
            samples: samples already converted to the backbone's input format.
        """
        self.sets[name] = samples

    def keep_features(self, features: Mapping[str, Tensor]) -> None:
        """Use precomputed features, ``(N, D)`` per set, instead of inputs (see :meth:`forget_features`)."""
        self._features = dict(features)

    def forget_features(self) -> None:
        """Use inputs instead of features again."""
        self._features, self._cutters = {}, {}

    def has_features(self, name: str) -> bool:
        """Whether a set's features are used instead of its inputs (see :meth:`keep_features`)."""
        return name in self._features

    def facts(self) -> dict[str, str]:
        """Return the facts that must be reported with any result on these data, as text by name."""
        inputs = {"inputs": "; ".join(self.notes)} if self.notes else {}
        duplicates = {"duplicates": self._describe_duplicates()} if self.duplicates else {}
        return {**inputs, **duplicates, **self.problem.facts(self.training_labels)}

    def fingerprint(self) -> str:
        """Return a hash of all unconverted sets, as sixteen hexadecimal digits."""
        return self._fingerprint

    @property
    def content_hash(self) -> str:
        """Hash of the content read from disk, independent of the seed; empty for computed data."""
        contents = [text for module in (self, *self._inner_modules()) for text in module.contents]
        return hashlib.sha256("".join(contents).encode()).hexdigest()[:16] if contents else ""

    def _inner_modules(self) -> "list[DataModule]":
        """List the data modules from which these data are derived."""
        values = [one for value in vars(self).values() for one in (value if isinstance(value, list) else [value])]
        inner = {id(one): one for one in values if isinstance(one, DataModule)}
        return [module for one in inner.values() for module in (one, *one._inner_modules())]

    @property
    def num_classes(self) -> int:
        """Number of classes of the head."""
        return len(self.class_names)

    def _classes_in(self, name: str) -> int:
        return self.num_classes  # sets may have classes of their own

    @property
    def training_labels(self) -> Tensor:
        """Labels of all training data, ``(N, ...)``."""
        y = self.sets[self.primary].y
        assert y is not None
        return y

    @property
    def class_counts(self) -> Tensor | None:
        """Number of training samples of each class or with each label, ``(C,)``; None for regression."""
        return self.problem.counts(self.training_labels)

    @property
    def monitor(self) -> str:
        """The validation metric that selects the best checkpoint."""
        return f"{self.monitored}/{self.problem.monitor}"

    @property
    def labelled_scores(self) -> tuple[str, ...]:
        """Names of the scores that require a validation set with labels."""
        return self.problem.labelled

    def head_width(self, fixed_way: bool = False) -> int:
        """Return the number of outputs of a head.

        Args:
            fixed_way: for episodic data, whether the head has one output per way of an episode.
        """
        return self.num_classes

    def total_epochs_for(self, epochs: int) -> int:
        """Return the total number of epochs of a run that is configured for ``epochs``."""
        return epochs

    def describe_sizes(self) -> list[str]:
        """Describe the sizes of the sets, for the banner."""
        return [f"{name} {len(samples):,}" for name, samples in self.sets.items()]

    # ------------------------------------------------------------------ names of the evaluated sets

    @property
    def val_names(self) -> list[str]:
        """Names of the validation sets, in the order of their loaders; unlabelled sets get label-free scores only."""
        return ["val"]

    @property
    def test_names(self) -> list[str]:
        """Names of the test sets, in the order of their loaders."""
        return ["test"]

    @property
    def has_target(self) -> bool:
        """Whether there is a target domain."""
        return "target" in self.traits

    def domain_of(self, name: str) -> str | None:
        """Return the domain whose statistics and encoder are used to evaluate a set; None if there are no domains."""
        return SetName.parse(name).domain

    def set_for(self, name: str) -> str:
        """Return the name of the set that corresponds to a set of a pair, such as ``target/train``."""
        return name

    # ------------------------------------------------------------------ interface to Lightning

    def setup(self, stage: str) -> None:
        """Move the sets in memory to the device chosen by Lightning."""
        if self.trainer is not None:
            self.device = self.trainer.strategy.root_device
        moved = {id(x): move(x, self.device) for samples in self.sets.values() if in_memory(x := samples.x)}
        for name, samples in list(self.sets.items()):
            self.sets[name] = samples.to(self.device, moved.get(id(samples.x), samples.x))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch unchanged, because loaders create it on the device."""
        return batch

    def train_dataloader(self) -> Batches:
        """Return the loader of shuffled training batches."""
        return self.train_loader(self.primary)

    def val_dataloader(self) -> list[Loader]:
        """Return the loaders of the validation sets."""
        parts = {name: self.validation_part(name) for name in self.val_names}
        return [self.loader(name) if index is None else self.loader(name, index=index) for name, index in parts.items()]

    def validation_part(self, name: str) -> Tensor | None:
        """Draw the positions of the samples that are scored in each validation, for a set without labels.

        They are the same in every epoch of a run; after training, all samples are scored once.

        Args:
            name: name of the set.

        Returns:
            Positions in ascending order, ``(M,)``; None if all are scored.
        """
        most = self.request.validation_samples
        if self.sets[name].y is not None or most is None or len(self.sets[name]) <= most:
            return None
        return torch.randperm(len(self.sets[name]), generator=generator(self.seed, "validation", name))[:most].sort()[0]

    def test_dataloader(self) -> list[Loader]:
        """Return the loaders of the test sets."""
        return [self.loader(name) for name in self.test_names]

    # ------------------------------------------------------------------ loaders

    def train_loader(self, name: str, num_batches: int | None = None, batch_size: int | None = None) -> Loader:
        """Return a loader of shuffled, augmented batches of one set, all of the same size.

        Args:
            name: name of the set.
            num_batches: batches per epoch; None for ``batches_per_epoch``.
            batch_size: samples per batch; None for the module's ``batch_size``.

        Raises:
            UserError: the batch size is not divisible by the number of processes.
        """
        if num_batches is None:
            num_batches = self.batches_per_epoch
        rank, world_size = self._processes()
        if self.batch_size % world_size:
            raise UserError(f"data.batch_size={self.batch_size} is not divisible by the {world_size} processes")
        size = batch_size or self.batch_size
        lengths = None if self.has_features(name) else self.lengths(name)
        order = BatchOrder(len(self.sets[name]), size, True, self.seed, name, num_batches, rank, world_size, lengths)
        return self._serve(name, order, training=True)

    def loader(self, name: str, cached: bool = True, shared: bool = True, index: Tensor | None = None) -> Loader:
        """Return a loader that yields each sample of a set once, in order, without augmentation.

        Args:
            name: name of the set.
            cached: whether to use features instead of inputs if they were computed (see :meth:`keep_features`).
            shared: whether to divide the set among processes or to load all of it in each.
            index: positions of the samples to load, ``(M,)``; None for all. Batches number them from 0.
        """
        rank, world_size = self._processes() if shared else (0, 1)
        count = len(self.sets[name]) if index is None else len(index)
        at_once = self.eval_batch_size if cached and name in self._features else self.evaluated_at_once
        order = BatchOrder(count, at_once, rank=rank, world_size=world_size)
        return self._serve(name, order, training=False, cached=cached, index=index)

    def _serve(
        self, name: str, order: BatchOrder, training: bool, cached: bool = True, index: Tensor | None = None
    ) -> Loader:
        samples, transform = self.sets[name], self._transform(name, training)
        if cached and name in self._features:
            samples, transform = replace(samples, x=self._features[name].to(self.device)), None
        if index is not None:
            samples = samples.subset(index.to(self.device) if in_memory(samples.x) else index)
        augments = training and transform is not None and self._augments(name)
        if not training or index is not None:
            return Loader(samples, order, self.device, transform, self.spec, self.workers, augments)
        key = (name, cached and name in self._features, augments)
        loader = Loader(
            samples,
            order,
            self.device,
            transform,
            self.spec,
            self.workers,
            augments,
            self.waiting,
            self._cutters.get(key),
        )
        self._cutters[key] = loader.at
        return loader

    def lengths(self, name: str) -> Tensor | None:
        """Return the length of each sample, ``(N,)``, on the CPU, if batches of similar lengths save padding."""
        return None

    def inputs_at(self, name: str, index: Tensor, draw: torch.Generator | None = None) -> Inputs:
        """Return inputs of a set, converted to the backbone's input format.

        Args:
            name: name of the set.
            index: positions of the samples, ``(B,)``.
            draw: random generator for augmentation; None for no augmentation.

        Returns:
            The inputs, ``(B, ...)``, on the device.
        """
        inputs = self.sets[name].x
        if in_memory(inputs):
            x = take(inputs, index)
        else:
            assert self.spec is not None
            read = [apply(inputs.read(i, self.spec), lambda tensor: tensor[None]) for i in index.tolist()]
            x = move(join(read, self.padding), self.device)
        transform = self._transform(name, training=draw is not None)
        return x if transform is None else transform(x, draw or torch.Generator())

    @property
    def padding(self) -> Mapping[str, float]:
        """Padding value of each named tensor, for samples of different lengths."""
        return {} if self.spec is None else self.spec.padding

    def _transform(self, name: str, training: bool) -> Transform | None:
        spec, x = self.spec, self.sets[name].x
        augmentation = self.augmentation if training and self._augments(name) else None
        if spec is None or not (self._augments(name) or not in_memory(x) or spec.is_raw(x)):
            return _shortened(spec) if spec is not None and spec.shortens else None

        def transform(batch: Any, draw: torch.Generator) -> Inputs:
            batch = spec.shorten(spec.fit(batch))
            if augmentation is not None:
                batch = augmentation(batch, draw)
            return spec.normalise(batch)

        return transform

    def _augments(self, name: str) -> bool:
        return self.augmentation is not None and self.augmentation.active and SetName.parse(name).part == "train"

    def _processes(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


def _shortened(spec: InputSpec) -> Transform:
    return lambda batch, draw: spec.shorten(batch)


def _add_notes(changed: dict[str, list[str]], x: LazyInputs, name: str) -> None:
    for note in getattr(x, "notes", ()):
        changed.setdefault(note, []).append(name)


def _check(name: str, samples: Samples) -> None:
    if len(samples) == 0:
        raise UserError(f"the set {name!r} is empty: check the data and its split")
    for x in tensors(samples.x) if in_memory(samples.x) else []:
        if x.is_floating_point() and (bad := int((~x.isfinite()).flatten(1).any(1).sum())):
            raise UserError(f"{bad} of the {len(samples)} samples of the set {name!r} contain NaN or infinity")
