"""Classification by the user's own examples, with the few-shot method of a run."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.data.batches import Episode, Labelled
from tl_lab.data.inputs.finding import class_folders
from tl_lab.data.inputs.form import bring_to_form
from tl_lab.data.inputs.ground import bring_to
from tl_lab.data.inputs.operations import Inputs, apply, count, join, move
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.errors import UserError
from tl_lab.functional import prototypes
from tl_lab.functional.prototypes import squared_distances
from tl_lab.run.given import Given, Named, read_given, read_rows, rows_of
from tl_lab.strategies.few_shot.base import FewShotStrategy

__all__ = ["Answers", "FewShotModel", "GivenSupport", "NearestMean", "Support", "Supported", "read_support"]

GivenSupport: TypeAlias = "str | Path | Mapping[str, Given]"
"""A folder with a folder of examples for each class, a table with the column ``label``, or examples by class."""


class Model(Protocol):
    """The attributes of a model that reading inputs requires."""

    spec: InputSpec
    shape: tuple[int, ...]
    reading: dict[str, Any]


@dataclass(frozen=True)
class Support:
    """Labelled examples, prepared for a backbone.

    Attributes:
        class_names: the classes, N of them, in alphabetical order.
        names: of the examples: their files, or the class and the number within it (``cat/0``).
        x: inputs, ``(M, ...)``, sorted by class.
        y: class of each, ``(M,)``, 0 to N - 1.
    """

    class_names: list[str]
    names: list[str]
    x: Inputs
    y: Tensor


class Answers(NamedTuple):
    """Predictions of a model with a support set.

    Attributes:
        labels: names of classes; empty where the confidence is below the threshold.
        confidence: probability of the most probable class, ``(N,)``, in [0, 1].
        probabilities: of all classes, ``(N, C)``.
        values: the most probable classes, ``(N,)``, including rejected ones.
        names: of the samples: their files, or numbers from 0.
        nearest: for each sample, the example with the most similar features.
    """

    labels: list[str]
    confidence: Tensor
    probabilities: Tensor
    values: Tensor
    names: list[str]
    nearest: list[str]


class FewShotModel(nn.Module):
    """A run that was trained on episodes: it has no classes of its own, and uses those of a support set.

    Args:
        strategy: with the weights of the run.
        shape: see :class:`~tl_lab.run.inference.TrainedModel`.
        reading: likewise.
        folder: of the run, for messages.
    """

    def __init__(
        self, strategy: FewShotStrategy, shape: tuple[int, ...], reading: Mapping[str, Any] | None, folder: Path
    ) -> None:
        super().__init__()
        self.strategy, self.shape, self.reading, self.folder = strategy, tuple(shape), dict(reading or {}), folder
        self.spec = strategy.network.backbone.spec
        self.eval()

    def to(self, *args: Any, **options: Any) -> Self:
        """Move the model; the strategy is moved by its own method, which records its device."""
        self.strategy.to(*args, **options)
        return super().to(*args, **options)

    def with_support(self, support: GivenSupport, *, skip_unreadable: bool = False) -> "Supported":
        """Use the classes of a support set.

        Args:
            support: a folder with a folder of examples for each class, a table with the column ``label`` and the
                columns of the inputs (``path`` for files), or a mapping from each class's name to its examples
                (paths, images, arrays or texts).
            skip_unreadable: skip unreadable files with a warning that names them, instead of stopping.

        Returns:
            A model that predicts these classes.

        Raises:
            UserError: a class has no example, there are fewer than two classes, or the run was trained for another
                number of classes and cannot change it.
        """
        read = read_support(support, self, skip_unreadable)
        learned, way = self.strategy.num_outputs, len(read.class_names)
        if self.strategy.fixed_way and way != learned:
            raise UserError(
                f"{self.folder} was trained with a head for {learned} classes, which cannot be changed: give a "
                f"support of {learned} classes, not {way}"
            )
        return Supported(self, self, read)

    def predict(self, *_: Any, **__: Any) -> Any:
        """Raise an error: without a support set there are no classes to predict.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{self.folder} was trained on episodes, and has no classes of its own: give a few examples of each of "
            "yours, --support <folder of class folders> (in Python: load(run).with_support(folder).predict(...))"
        )

    def embed(self, x: Inputs) -> Tensor:
        """Compute features, ``(B, D)``, of prepared inputs."""
        with torch.no_grad():
            return self.strategy.network.features(x).flatten(1)

    def logits(self, support: Support, x: Inputs) -> Tensor:
        """Classify prepared inputs ``(B, ...)`` as the run's test classifies queries: ``(B, C)``."""
        n, device = count(x), support.y.device
        episode = Episode(
            Labelled(_one(support.x), support.y[None], torch.arange(len(support.y), device=device)[None]),
            Labelled(_one(x), torch.zeros(1, n, dtype=torch.long, device=device), torch.arange(n, device=device)[None]),
            len(support.class_names),
        )
        return self.strategy.test_logits(episode)[0]


class NearestMean:
    """Classify by the nearest mean of a class's features, each scaled to length 1; nothing is trained.

    Args:
        network: provides the features.

    References:
        Wang, Chao, Weinberger and van der Maaten, SimpleShot, 2019, section 3 (L2N). https://arxiv.org/abs/1911.04623
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @torch.no_grad()
    def embed(self, x: Inputs) -> Tensor:
        """Compute features of length 1, ``(B, D)``, of prepared inputs."""
        return F.normalize(cast(Any, self.network).features(x).flatten(1))

    def logits(self, support: Support, x: Inputs) -> Tensor:
        """Return the negative squared distance to each class's mean, ``(B, C)``."""
        means = prototypes(self.embed(support.x)[None], support.y[None], len(support.class_names))
        return -squared_distances(self.embed(x)[None], means)[0]


class Supported:
    """A model with the examples by which it classifies.

    Args:
        model: determines how inputs are read and prepared.
        learner: classifies by a support set (:class:`FewShotModel` or :class:`NearestMean`).
        support: the examples.
    """

    def __init__(self, model: Model, learner: "FewShotModel | NearestMean", support: Support) -> None:
        self.device = next(cast(nn.Module, model).parameters()).device
        support = replace(support, x=move(support.x, self.device), y=support.y.to(self.device))
        self.model, self.learner, self.support = model, learner, support
        self._embedded = learner.embed(support.x)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes."""
        return self.support.class_names

    def predict(
        self, inputs: Given, batch_size: int = 256, *, skip_unreadable: bool = False, reject_below: float = 0.0
    ) -> Answers:
        """Classify one or more samples.

        Args:
            inputs: as in :meth:`tl_lab.run.inference.TrainedModel.predict`.
            batch_size: samples per batch. A ``transductive`` strategy uses the batch-norm statistics of the batch, so
                that its predictions depend on the other samples in it.
            skip_unreadable: skip unreadable images with a warning that names them, instead of stopping.
            reject_below: confidence below which no label is returned, in [0, 1].

        Raises:
            UserError: there are no inputs, or the threshold is out of range.
        """
        parts = list(
            self.predict_batches(inputs, batch_size, skip_unreadable=skip_unreadable, reject_below=reject_below)
        )
        if not parts:
            raise UserError("there is nothing to predict: no image is readable, or the array is empty")
        return Answers(
            *(
                torch.cat(column) if isinstance(column[0], Tensor) else [one for part in column for one in part]
                for column in zip(*parts, strict=True)
            )  # type: ignore[arg-type]
        )

    def predict_batches(
        self, inputs: Given, batch_size: int = 256, *, skip_unreadable: bool = False, reject_below: float = 0.0
    ) -> Iterator[Answers]:
        """Classify batch by batch, for more samples than fit in memory; arguments as in :meth:`predict`."""
        if not 0 <= reject_below <= 1:
            raise UserError(f"the confidence for rejecting predictions must be in [0, 1], not {reject_below}")
        for batch in read_given(inputs, cast(Any, self.model), batch_size, skip_unreadable):
            (brought,) = _in_form([[batch]], self.model, "query")[0]
            x = move(self.model.spec.prepare(brought.x), self.device)
            yield self._answer(brought.names, x, reject_below)

    def _answer(self, names: list[str], x: Inputs, reject_below: float) -> Answers:
        probabilities = self.learner.logits(self.support, x).softmax(1).cpu()
        confidence, values = probabilities.max(1)
        # by differences: the expansion that torch takes for many points is imprecise far from the origin
        away = torch.cdist(self.learner.embed(x), self._embedded, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = away.argmin(1).tolist()
        labels = [
            self.class_names[value] if sure >= reject_below else ""
            for value, sure in zip(values.tolist(), confidence.tolist(), strict=True)
        ]
        return Answers(labels, confidence, probabilities, values, names, [self.support.names[i] for i in nearest])


def read_support(given: GivenSupport, model: Model, skip_unreadable: bool = False) -> Support:
    """Read a support set and prepare it for a model.

    Args:
        given: see :data:`GivenSupport`.
        model: determines how inputs are read and prepared.
        skip_unreadable: see :meth:`FewShotModel.with_support`.

    Raises:
        UserError: the path does not exist, a class has no example, or there are fewer than two classes.
    """
    parts = _named(given, model, skip_unreadable)
    if empty := [name for name, of in parts.items() if not sum(len(part.names) for part in of)]:
        raise UserError(f"the class {empty[0]!r} of the support set has no example")
    if len(parts) < 2:
        raise UserError(f"a support set needs at least two classes, not {len(parts)} ({', '.join(parts) or 'none'})")
    device = torch.device("cpu")
    parts = dict(zip(parts, _in_form(list(parts.values()), model, "support"), strict=True))
    prepared = {name: [model.spec.prepare(move(part.x, device)) for part in of] for name, of in parts.items()}
    sizes = [sum(map(count, of)) for of in prepared.values()]
    return Support(
        list(parts),
        [name for of in parts.values() for part in of for name in part.names],
        join([x for of in prepared.values() for x in of]),
        torch.repeat_interleave(torch.arange(len(parts)), torch.tensor(sizes)),
    )


def _in_form(parts: list[list[Named]], model: Model, what: str) -> list[list[Named]]:
    """Convert drawings to the background, size and strokes of the training drawings where they differ, with a warning.

    Args:
        parts: batches, by class.
        model: provides the background of the training images.
        what: the kind of images, for the warning.
    """
    ground = model.reading.get("ground")
    if ground is None or model.spec.modality != "image":
        return parts
    brought, inverted, total = [], 0, 0
    for of in parts:
        changed = []
        for batch in of:
            images, count_of = bring_to(cast(Tensor, batch.x), ground)
            inverted, total = inverted + count_of, total + len(batch.names)
            changed.append(batch._replace(x=images))
        brought.append(changed)
    if inverted:
        was = "bright" if ground == "dark" else "dark"
        warnings.warn(
            f"{inverted:,} of {total:,} {what} images have a {was} background, but the run was trained on drawings on "
            f"a {ground} one: they were inverted",
            stacklevel=2,
        )
    return _in_size(brought, model, what)


def _in_size(parts: list[list[Named]], model: Model, what: str) -> list[list[Named]]:
    """Convert drawings to the size and strokes of the run's training drawings, which earlier runs did not record."""
    form, images = model.reading.get("form"), [cast(Tensor, batch.x) for of in parts for batch in of]
    if not form:
        return parts
    alike = torch.cat([cast(Any, model.spec).fit(x) for x in images])
    brought, changed = bring_to_form(alike, model.reading["ground"], form)
    if not changed:
        return parts
    words = {"box": "covers {:.0%} of the image's side", "stroke": "has strokes of {:.0%} of its own size"}
    changes = " and ".join(
        f"{words[name].format(now)} where it was {usual:.0%} in the run" for name, (now, usual) in changed.items()
    )
    done = {"box": "scaled", "stroke": "drawn with other strokes"}
    warnings.warn(
        f"a drawing among the {len(alike):,} {what} images {changes}: they were "
        f"{' and '.join(done[name] for name in changed)}",
        stacklevel=2,
    )
    rest = iter(brought.split([len(x) for x in images]))
    return [[batch._replace(x=next(rest)) for batch in of] for of in parts]


def _named(given: GivenSupport, model: Model, skip: bool) -> dict[str, list[Named]]:
    """Read the examples of each class, in the order of the classes' names."""
    reader = cast(Any, model)
    if isinstance(given, Mapping):
        examples = {str(name): of for name, of in given.items()}
        if len(examples) < len(given):
            raise UserError(f"two classes of the support set have the same name: {', '.join(map(repr, given))}")
        empty = [name for name, of in examples.items() if isinstance(of, list | tuple) and not len(of)]
        if empty:
            raise UserError(f"the class {empty[0]!r} of the support set has no example")
        return {name: _within(list(read_given(examples[name], reader, skip=skip)), name) for name in sorted(examples)}
    if not isinstance(given, str | Path):
        raise UserError(
            "a support set is a folder, a table or a mapping from each class's name to its examples, not "
            f"{type(given).__name__}"
        )
    place = Path(given)
    if place.is_dir():
        folders = class_folders(place)
        if not folders:
            raise UserError(f"{place} has no folders of classes: put the examples of each class into a separate folder")
        return {
            name: _within(list(read_given(folder, reader, skip=skip)), folder.name, folder)
            for name, folder in folders.items()
        }
    if not place.is_file():
        raise UserError(f"there is no folder or table {place} with a support set")
    return _of_table(place, rows_of(place), reader, skip)


def _of_table(place: Path, rows: list[dict[str, str]], reader: Any, skip: bool) -> dict[str, list[Named]]:
    """Read the rows of each class: the column ``path`` if there is one, or all columns of the inputs."""
    rows = [{name.strip(): cell for name, cell in row.items()} for row in rows]
    if "label" not in rows[0]:
        raise UserError(
            f"{place} has no column 'label': a support set's table has the column label and those of the inputs, such "
            "as path"
        )
    if lacking := [number for number, row in enumerate(rows, 1) if not (row["label"] or "").strip()]:
        raise UserError(f"{place}: row {lacking[0]} has no label")
    rows = [{**row, "label": row["label"].strip()} for row in rows]
    names = ["path"] if "path" in rows[0] and reader.spec.modality not in ("text", "table") else None
    parts = {}
    for label in sorted({row["label"] for row in rows}):
        of_class = [row for row in rows if row["label"] == label]
        cells = [{name: row[name] for name in names or row if name != "label"} for row in of_class]
        read = list(read_rows(place, cells, reader, skip=skip))
        parts[label] = read if names else _within(read, label)
    return parts


def _within(parts: list[Named], name: str, folder: Path | None = None) -> list[Named]:
    """Put the class's name before names in its folder and before those without a folder; other paths stay as given."""

    def named(one: str) -> str:
        if folder is not None:
            return f"{name}/{one.removeprefix(f'{folder}/')}"
        return one if "/" in one else f"{name}/{one}"

    return [part._replace(names=[named(one) for one in part.names]) for part in parts]


def _one(x: Inputs) -> Inputs:
    """Convert a batch to one episode."""
    return apply(x, lambda tensor: tensor[None])
