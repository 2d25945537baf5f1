"""What the parts look at: data drawn once, and each backbone's features of them, read once and kept."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.assess.options import Assessment
from tl_lab.assess.probes import Probe, ProbeOfFindings, fit_probe, fit_probe_of_findings
from tl_lab.backbones.base import Backbone
from tl_lab.data.base import DataModule
from tl_lab.data.cache import cached_arrays
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.table import columns_joined
from tl_lab.data.names import SetName
from tl_lab.data.request import Request
from tl_lab.data.samples import Samples, in_memory
from tl_lab.data.variety import one_class_allowed
from tl_lab.errors import UserError
from tl_lab.model.base_weights import hash_of
from tl_lab.model.network import Network
from tl_lab.randomness import generator
from tl_lab.run.allocator import keep_freed_memory
from tl_lab.run.build import build_backbone, check_inputs
from tl_lab.run.pairing import check_modality
from tl_lab.run.plan import Plan, Recipe
from tl_lab.run.weights import start_from
from tl_lab.training.feature_reader import FeatureReader

__all__ = ["RAW", "Material", "Subject"]

RAW = "raw inputs"
"""The baseline of backbones: the inputs themselves, with images reduced to at most 16 x 16 pixels."""
_RAW_SIDE = 16
_BATCH = 32
_LARGE = 128 * 128  # pixels of images from which on several threads read features faster
_MOST_THREADS = 4


@dataclass(frozen=True)
class Subject:
    """A backbone that is assessed.

    Args:
        name: its choice.
        plan: of a run with it.
        backbone: with its weights.
        learned: whether these were learned, and are not random.
    """

    name: str
    plan: Plan
    backbone: Backbone
    learned: bool


class Material:
    """Data and features of an assessment.

    Args:
        plans: one a backbone, on the same data.
        options: of the assessment.

    Raises:
        UserError: the data cannot be read, have tasks or episodes, or do not fit a backbone.
    """

    def __init__(self, plans: Sequence[Plan], options: Assessment) -> None:
        self.options, self.plan = options, plans[0]
        for plan in plans:
            check_modality(plan)
        self.data: DataModule = self.plan.data.build()
        if not self.data.every_class:
            raise UserError(
                f"assess compares sets of labelled samples, and data={self.plan.data.choice} has "
                f"{'tasks' if self.data.in_tasks else 'episodes'}: assess the data of one task"
            )
        torch.set_num_threads(self.plan.threads)
        self._threads_given = any(text.lstrip("+").startswith("threads=") for text in self.plan.overrides)
        keep_freed_memory()
        # large batches of large images allocate more than they compute
        with one_class_allowed():  # parts that compare classes report it; others only need inputs
            self.data.load(Request(at_most=_BATCH))
        self.whole = dict(self.data.sets)  # as they were read
        self.sizes = {name: len(samples) for name, samples in self.data.sets.items()}
        self.drawn = {name: self.draw(name, samples) for name, samples in self.data.sets.items()}
        self.subjects = tuple(self._subject(plan) for plan in plans)
        self._features: dict[tuple[str, str], Tensor] = {}
        self._raw: dict[str, Tensor | None] = {}
        self._probes: dict[str, Probe | ProbeOfFindings] = {}

    # ------------------------------------------------------------------ names of sets

    @property
    def paired(self) -> bool:
        """Whether there are a source and a target."""
        return self.data.target_for(self.plan.data.node)

    @property
    def train(self) -> str:
        """The labelled training set."""
        return self.data.primary

    @property
    def validation(self) -> str:
        """Held-out labelled data that may choose: the only ones that rankings look at."""
        return "source/val" if self.paired else "val"

    @property
    def test(self) -> str | None:
        """Held-out labelled data of the training domain, for scoring."""
        return self._known("source/test", "test")

    @property
    def deployment(self) -> str | None:
        """Labelled data of the domain that the model is for, for scoring: the target's test set."""
        return self._known("target/test")

    @property
    def other(self) -> str | None:
        """What the training set is compared with: the unlabelled target, or else the test set."""
        return self._known("target/train") if self.paired else self._known("test")

    def _known(self, *names: str) -> str | None:
        return next((name for name in names if name in self.drawn), None)

    @property
    def classifies(self) -> bool:
        """Whether one class of several is predicted."""
        return self.data.problem.numbers_outputs

    @property
    def finds(self) -> bool:
        """Whether several labels are predicted, each present or absent."""
        return self.data.problem.marks_outputs

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, or of the labels."""
        return self.data.class_names

    def display_name(self, name: str) -> str:
        """Name a set for readers: the domain's own name where the data have one."""
        part = SetName.parse(name)
        own = {"source": self.plan.data.option("source"), "target": self.plan.data.option("target")}
        domain = own.get(part.domain or "") if isinstance(own.get(part.domain or ""), str) else part.domain
        return " ".join(filter(None, [domain, {"train": "training", "val": "validation"}.get(part.part, part.part)]))

    # ------------------------------------------------------------------ samples

    def draw(self, name: str, samples: Samples) -> Samples:
        """Draw as many samples of a set as are assessed, by the seed and the set's name."""
        index = self._drawn_places(name, len(samples))
        return samples if index is None else samples.subset(index)

    def _drawn_places(self, name: str, count: int) -> Tensor | None:
        most = self.options.samples
        if count <= most:
            return None
        return torch.randperm(count, generator=generator(self.plan.seed, "assess", name))[:most].sort()[0]

    def places(self, name: str) -> Tensor:
        """Give the positions of the drawn samples of a set in the whole set, ``(N,)``, int64."""
        index = self._drawn_places(name, self.sizes[name])
        return torch.arange(self.sizes[name]) if index is None else index

    def labels(self, name: str) -> Tensor:
        """Labels of the drawn samples of a set, ``(N,)``.

        Raises:
            ValueError: there is no such set, or it has none.
        """
        if name not in self.drawn:
            raise ValueError(f"the data have no {self.display_name(name)} set")
        y = self.drawn[name].y
        if y is None:
            raise ValueError(f"the {self.display_name(name)} set has no labels")
        return y

    def raw(self, name: str) -> Tensor | None:
        """Inputs of the drawn samples as vectors, made once, ``(N, D)``; None where they are named tensors."""
        if name not in self._raw:
            self._raw[name] = self._vectors(name)
        return self._raw[name]

    def _vectors(self, name: str) -> Tensor | None:
        x = self.drawn[name].x
        if not in_memory(x):
            return self._small(name) if self.data.modality_for(self.plan.data.node) == "image" else None
        if not isinstance(x, Tensor):
            return self._table(x)
        x = x.float()
        if x.dim() == 4 and max(x.shape[2:]) > _RAW_SIDE:
            x = F.adaptive_avg_pool2d(x, _RAW_SIDE)
        return x.flatten(1)

    def _table(self, x: Any) -> Tensor | None:
        """Put numbers and one-hot categories of a table's rows side by side; None for other named tensors."""
        known = "categories" in x
        codes = torch.cat([one.x["categories"] for one in self.whole.values()]) if known else torch.zeros(1, 0)
        return columns_joined(x, [int(code) + 1 for code in codes.amax(0)])

    def _small(self, name: str) -> Tensor:
        """Decode images on disk at the small size, once."""
        x: Any = self.drawn[name].x
        spec = ImageSpec((_RAW_SIDE, _RAW_SIDE), 3, (0.0,) * 3, (1.0,) * 3)
        identity = {"set": self.drawn[name].fingerprint(), "inputs": repr(spec)}
        kept = cached_arrays("small", identity, lambda: {"x": x.load_all(spec, 0).numpy()})
        return torch.from_numpy(kept["x"]).float().flatten(1)

    # ------------------------------------------------------------------ features

    def _subject(self, plan: Plan) -> Subject:
        def build(node: dict[str, Any]) -> Backbone:
            return build_backbone(Recipe("backbone", node), plan.seed, self.data.shape, self.data.for_backbone)

        backbone = build_backbone(plan.backbone, plan.seed, self.data.shape, self.data.for_backbone)
        given = plan.backbone.kind.weights_in(plan.backbone.node)
        learned = bool(plan.init_from or given or backbone.source)
        if plan.init_from is not None:
            backbone = start_from(Path(plan.init_from), backbone, build)
        check_inputs(plan, backbone, self.data)
        if plan.channels_last:  # as in a run; a network of convolutions reads images a third faster
            backbone = backbone.to(memory_format=torch.channels_last)
        return Subject(plan.backbone.choice, plan, backbone.eval(), learned)

    def features(self, subject: Subject, name: str) -> Tensor:
        """Read a backbone's features of the drawn samples of a set, once, ``(N, D)``."""
        key = (subject.name, name)
        if key not in self._features:
            identity = {
                "set": self.drawn[name].fingerprint(),
                "backbone": hash_of(subject.backbone),
                "options": subject.plan.backbone.node,  # what the weights do not say, such as how tokens are pooled
                "inputs": repr(subject.backbone.spec),
            }
            kept = cached_arrays("features", identity, lambda: {"features": self._read(subject, name).numpy()})
            self._features[key] = torch.from_numpy(kept["features"])
        return self._features[key]

    def _read(self, subject: Subject, name: str) -> Tensor:
        data = self.prepared(subject, [name])
        network = Network(subject.backbone, max(1, len(data.class_names)), seed=self.plan.seed)
        large = isinstance(subject.backbone.spec, ImageSpec) and prod(subject.backbone.spec.size) >= _LARGE
        with _threads(_cores() if large and not self._threads_given else self.plan.threads):
            return FeatureReader(network, data).read(name, "backbone", cached=False).cpu().float()

    def prepared(self, subject: Subject, names: Sequence[str]) -> DataModule:
        """Return data with the drawn samples of some sets, converted to a backbone's input."""
        return self.data.serving({name: self.drawn[name] for name in names}, subject.backbone.spec)

    def representation(self, name: str, set_name: str) -> Tensor:
        """Give the features of a backbone by its name, or the raw inputs.

        Raises:
            ValueError: the inputs are no vectors.
        """
        if name == RAW:
            raw = self.raw(set_name)
            if raw is None:
                raise ValueError("these inputs are not vectors, so raw inputs cannot be compared with the backbones")
            return raw
        return self.features(next(one for one in self.subjects if one.name == name), set_name)

    @property
    def representations(self) -> list[str]:
        """Names of the backbones, and of the raw inputs where they are vectors."""
        return [*(one.name for one in self.subjects), *([RAW] if self.raw(self.train) is not None else [])]

    def probe(self, name: str) -> Probe | ProbeOfFindings:
        """Fit a linear probe to a representation of the training set, once."""
        if name not in self._probes:
            fit = fit_probe_of_findings if self.finds else fit_probe
            self._probes[name] = fit(self.representation(name, self.train), self.labels(self.train))
        return self._probes[name]

    def logits(self, name: str, set_name: str) -> Tensor:
        """Compute a probe's logits on a set for all classes or labels, ``(N, C)``; those not learned get -30."""
        return self.probe(name).logits(self.representation(name, set_name), len(self.class_names))


def _cores() -> int:
    """Count the cores that this process may use, and no more than pay."""
    return min(_MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let PyTorch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
