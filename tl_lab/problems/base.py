"""Interface of a prediction problem: labels, loss, scores and presentation of predictions."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from tl_lab.errors import UserError
from tl_lab.evaluation.meter import Meter
from tl_lab.functional.likelihoods import Likelihood
from tl_lab.problems.metrics import PACKAGED
from tl_lab.results.kinds import Kind, Scores, register, written

if TYPE_CHECKING:
    from tl_lab.results.figures.answers import Answered

__all__ = [
    "Criterion", "Groups", "Prediction", "Problem", "Targets",
    "by_name", "check_class_weights", "check_smoothing", "refuse_option", "refuse_options_of_classifiers",
]  # fmt: skip


class Prediction(NamedTuple):
    """Predictions of a model for N samples.

    Attributes:
        values: classes ``(N,)``, labels ``(N, L)`` of 0 and 1, or numbers ``(N, K)`` in the targets' own units.
        confidence: probability of the prediction, ``(N,)``, in [0, 1]; None if it is not defined.
        probabilities: probabilities of every class or label, ``(N, C)``; None if they are not defined.

    Examples:
        >>> from tl_lab.problems import SingleLabel
        >>> SingleLabel(["cat", "dog"]).predict(torch.tensor([[2.0, 0.0]])).values.tolist()
        [0]
    """

    values: Tensor
    confidence: Tensor | None
    probabilities: Tensor | None


class Groups(NamedTuple):
    """Samples sorted into named groups.

    Attributes:
        number: index of each sample's group, ``(N,)`` int64.
        names: names of the groups.
        word: what the groups are, such as ``class``, ``labels`` or the name of a quantity.

    Examples:
        >>> from tl_lab.problems import Regression
        >>> groups = Regression(["age"]).groups(torch.tensor([[1.0], [2.0], [2.0]]))
        >>> groups.number.tolist(), groups.names, groups.word
        ([0, 1, 1], ['1', '2'], 'age')
    """

    number: Tensor
    names: list[str]
    word: str


class Targets(NamedTuple):
    """Labels in the form of targets for simple models, with one model per column.

    Attributes:
        columns: int64 classes, int64 labels of 0 and 1, or numbers on the scale of the outputs, ``(K, N)``.
        numbers: whether the columns are numbers.
    """

    columns: Tensor
    numbers: bool = False


class Criterion(nn.Module):
    """The training loss, with the class weights and the label smoothing of the run."""

    balanced: bool = False
    """Whether rare classes or labels have larger weights."""
    label_smoothing: float = 0.0

    def forward(self, outputs: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Compute the loss.

        Args:
            outputs: outputs of the head, ``(B, C)``.
            y: labels, as :meth:`Problem.check` accepts them.
            reduction: ``mean`` for a scalar; ``none`` for the loss of each sample, ``(B,)``.
        """
        raise NotImplementedError


class Problem(ABC):
    """A prediction problem.

    Args:
        output_names: names of the outputs: classes, labels or quantities.

    Examples:
        >>> from tl_lab.problems import MultiLabel, Regression, SingleLabel
        >>> [(kind.name, kind.monitor) for kind in (SingleLabel, MultiLabel, Regression)]
        [('single_label', 'acc'), ('multi_label', 'auroc'), ('regression', 'r2')]
    """

    name: ClassVar[str]
    """The name that methods and results use."""
    monitor: ClassVar[str]
    """The main metric: it selects checkpoints and ranks methods; larger is better."""
    labelled: ClassVar[tuple[str, ...]]
    """Scores of a set with labels."""
    label_free: ClassVar[tuple[str, ...]] = ()
    """Scores of a set without labels."""
    likelihood: ClassVar[Likelihood]
    """Distribution of the labels given the outputs, used for the Fisher information."""
    metrics: ClassVar[Mapping[str, Kind]] = {}
    """Name, unit and format of each score in tables, in the order of columns; other scores are plain numbers."""
    units: ClassVar[str] = ""
    """A sentence on the units of the scores, for reports."""
    general: ClassVar[bool] = True
    """Whether methods that support all of this package's problems with one output vector also support this problem."""
    numbers_outputs: ClassVar[bool] = False
    """Whether a label is the index of an output (a class), so that each task may have separate outputs."""
    marks_outputs: ClassVar[bool] = False
    """Whether a label is 0 or 1 for each output."""
    predicts_numbers: ClassVar[bool] = False
    """Whether labels are numbers, so that the options of classifiers do not apply."""
    of_places: ClassVar[bool] = False
    """Whether there are outputs for each position of a sample, instead of one vector per sample."""
    of_words: ClassVar[bool] = False
    """Whether these positions are the words of a given text."""
    writes: ClassVar[bool] = False
    """Whether predictions are free text."""
    tasks: Mapping[str, Any] = {}
    """The tasks (:class:`~tl_lab.problems.several.Task`) that the problem combines, by name; empty for one task."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Register the problem by its name, and its metrics for tables."""
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            return
        known = _CLASSES.get(cls.name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            other = f"{known.__module__}.{known.__qualname__}"
            raise ValueError(f"there is already a problem named {cls.name!r}, {other}")
        if (main := getattr(cls, "monitor", None)) is not None:
            register(cls.name, Scores(main, cls.metrics, cls.units))
        _CLASSES[cls.name] = cls

    def __init__(self, output_names: Sequence[str]) -> None:
        self.output_names = list(output_names)
        if not self.numbers_outputs and len(set(self.output_names)) < len(self.output_names):
            raise UserError(f"labels and quantities must have different names, not {self.output_names}")

    @classmethod
    def fits(cls, names: Collection[str]) -> bool:
        """Whether a method that supports the named problems supports this one.

        A method supports the problems that it names and their subclasses. If it names all problems of this package
        with one output vector per sample, it also supports those of other packages.

        Args:
            names: the method's ``problems``.
        """
        from tl_lab.problems.known import ALL

        own = {str(kind.__dict__["name"]) for kind in cls.__mro__ if "name" in kind.__dict__}
        return not own.isdisjoint(names) or (cls.general and set(names) >= ALL)

    @property
    def num_outputs(self) -> int:
        """Number of outputs of a head."""
        return len(self.output_names)

    @property
    def owners(self) -> list[int]:
        """Index of the task of each output, ``(C,)``; 0 for a single task."""
        return [0] * self.num_outputs

    def described(self) -> dict[str, Any]:
        """Return the name, the main metric, and the metrics of problems from other packages, as plain values."""
        every = [self, *(task.problem for task in self.tasks.values())]
        others = {one.name: Scores(one.monitor, one.metrics, one.units) for one in every if one.name not in PACKAGED}
        scores = {"scores": {name: written(one) for name, one in others.items()}} if others else {}
        return {"name": self.name, "monitor": self.monitor, **scores}

    @abstractmethod
    def check(self, name: str, y: Tensor, num_outputs: int | None = None) -> None:
        """Raise an error for invalid labels.

        Args:
            name: name of the set, for the message.
            y: its labels.
            num_outputs: number of outputs of the set, if it has fewer; None for all outputs.

        Raises:
            UserError: the shape, type or range is wrong.
        """

    def alike(self, y: Tensor) -> str | None:
        """Describe the common label if all samples have the same one; return None otherwise.

        Args:
            y: valid labels of a set with at least one sample.
        """
        return "the same labels" if bool((y == y[:1]).all()) else None

    def learn(self, y: Tensor) -> None:  # noqa: B027  (a hook)
        """Fit parameters of the problem to the training labels (the scale of a regression)."""

    @abstractmethod
    def criterion(
        self, y: Tensor | None, *, class_weights: str | None = None, label_smoothing: float = 0.0
    ) -> Criterion:
        """Build the loss of a run.

        Args:
            y: the training labels, from which ``balanced`` weights are computed.
            class_weights: None, or ``balanced``.
            label_smoothing: share of the target that is spread over all outputs, in [0, 1).

        Raises:
            UserError: an option does not apply to this problem.
        """

    @abstractmethod
    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the loss of each sample without weights or smoothing, as in validation, ``(B,)``."""

    def wrong(self, outputs: Tensor, y: Tensor) -> Tensor | None:
        """Mark the misclassified samples, ``(B,)`` of 0 and 1 on the CPU; None if nothing is classified."""
        return None

    @abstractmethod
    def predict(self, outputs: Tensor) -> Prediction:
        """Convert outputs ``(N, C)`` to predictions."""

    @abstractmethod
    def words(self, values: Tensor) -> list[str]:
        """Format predicted values, one string per sample."""

    def columns(self, prediction: Prediction) -> dict[str, list[str]]:
        """Format predictions as table columns by heading, with one cell per sample."""
        return {"label": self.words(prediction.values), **_confidence(prediction)}

    def truths(self, y: Tensor) -> list[str] | None:
        """Format labels as :meth:`words` formats predictions; None if they cannot be compared with them."""
        return self.words(y)

    def without_padding(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """Exclude the outputs after the last word of each text; outputs of other problems are returned unchanged.

        Args:
            outputs: outputs of each word, ``(N, W, C)``.
            lengths: number of words of each text, ``(N,)``.
        """
        return outputs

    def fields(self, values: Tensor, texts: Sequence[Any]) -> list[str]:
        """Format predictions, with the words of the texts if positions are words.

        Args:
            values: predicted values.
            texts: texts of the samples.
        """
        return self.words(values)

    def answered(self, outputs: Tensor, y: Tensor) -> "list[Answered]":
        """Return questions with their answers, for figures; empty if predictions do not answer questions."""
        return []

    def label_columns(self, column: str) -> list[str]:
        """Return the columns of a table in which labels are read: one per output, or one with classes.

        Args:
            column: name of the column with classes.

        Raises:
            UserError: labels cannot be read from a table.
        """
        return list(self.output_names)

    def read_label(self, cells: Sequence[str], where: str) -> Tensor:
        """Read the label of one sample from the cells of :meth:`label_columns`.

        Args:
            cells: cells of a row.
            where: the row, for the message.

        Raises:
            UserError: the cells are not a valid label.
        """
        try:
            return torch.tensor([float(cell) for cell in cells])
        except (TypeError, ValueError) as error:
            raise UserError(f"{where} has a label that is not a number: {error}") from error

    @abstractmethod
    def meter(self, num_outputs: int | None = None) -> Meter:
        """Build the meter that accumulates the scores of a set.

        Args:
            num_outputs: number of outputs of the set, if it has fewer; None for all.
        """

    @abstractmethod
    def batch_scores(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Compute scores of a training batch for the learning curve.

        Returns:
            By name a scalar, or marks, ``(n,)`` bool, whose share of True is the score; it is computed when the log is
            written.
        """

    def strata(self, y: Tensor) -> Tensor | None:
        """Assign samples to the strata of splits and label budgets, ``(N,)``; None for random draws."""
        return None

    def groups(self, y: Tensor) -> Groups:
        """Assign samples to a few named groups, which figures show in different colours."""
        return Groups(y, self.output_names, "class")

    def counts(self, y: Tensor) -> Tensor | None:
        """Count the samples of each output, ``(C,)`` int64; None if counts are not defined."""
        return None

    def present(self, y: Tensor) -> Tensor | None:
        """Mark the outputs that each sample is known to have, ``(N, C)``; None if labels do not mark outputs."""
        return None

    def findings(self, outputs: Tensor, y: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Split predictions into yes-or-no findings.

        Args:
            outputs: ``(N, C)``, in double precision.
            y: labels.

        Returns:
            By name the probability of the finding and its label, 0 or 1, for the samples whose label is known;
            empty if outputs are not findings.
        """
        return {}

    def targets(self, y: Tensor) -> Targets | None:
        """Return labels as targets of simple models (linear probes, trees); None if such models do not apply.

        Args:
            y: labels.

        Raises:
            UserError: some labels are unknown.
        """
        return None

    def facts(self, y: Tensor) -> dict[str, str]:
        """Return facts about the training labels that must be printed with every result."""
        return {}

    def at_chance(self, scores: Mapping[str, float], where: str, samples: int) -> str:
        """Return a sentence if a set's scores are at chance level; empty if they are not, or if that is unknown.

        Args:
            scores: scores of the set, by name.
            where: description of the set.
            samples: number of samples in the set.
        """
        return ""

    def renumber(self, y: Tensor, by: int) -> Tensor:
        """Shift labels by a number of outputs if they are indices of outputs; leave others unchanged."""
        return y

    def calibrate(self, meter: Meter) -> None:  # noqa: B027  (a hook)
        """Fit the parameters of decisions (thresholds) to the validation set that selects checkpoints."""

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint, as plain values."""
        return {"name": self.name, "output_names": list(self.output_names)}

    def load_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027  (a hook)
        """Restore the parameters that :meth:`learn` and :meth:`calibrate` fitted in another process."""

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild the problem from :meth:`state`."""
        problem = cls(state["output_names"])
        problem.load_state(state)
        return problem


_CLASSES: dict[str, type[Problem]] = {}  # every imported problem, by name


def by_name(name: str) -> type[Problem]:
    """Return the imported problem of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in _CLASSES:
        raise ValueError(f"there is no problem named {name!r}; valid: {', '.join(_CLASSES)}")
    return _CLASSES[name]


def _confidence(prediction: Prediction) -> dict[str, list[str]]:
    if prediction.confidence is None:
        return {}
    return {"confidence": [f"{share:.4f}" for share in prediction.confidence.tolist()]}


def refuse_option(problem: Problem, option: str, value: Any) -> UserError:
    """Build the error for an option that does not apply to a problem."""
    return UserError(f"strategy.{option}={value} does not apply to {problem.name.replace('_', '-')} data: leave it out")


def refuse_options_of_classifiers(problem: Problem, class_weights: str | None, label_smoothing: float) -> None:
    """Raise an error for criterion options that apply only to classes.

    Raises:
        UserError: one of them is set.
    """
    if class_weights is not None:
        raise refuse_option(problem, "class_weights", class_weights)
    if label_smoothing:
        raise refuse_option(problem, "label_smoothing", label_smoothing)


def check_smoothing(label_smoothing: float) -> float:
    """Return a value, after checking that it is in [0, 1).

    Raises:
        UserError: the value is outside.
    """
    if not 0 <= label_smoothing < 1:
        raise UserError(f"strategy.label_smoothing must be in [0, 1), not {label_smoothing}")
    return label_smoothing


def check_class_weights(choice: str | None) -> bool:
    """Return whether weights are balanced.

    Raises:
        UserError: the choice does not exist.
    """
    if choice not in (None, "balanced"):
        raise UserError(f"strategy.class_weights must be null or 'balanced', not {choice!r}")
    return choice is not None
