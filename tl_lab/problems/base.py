"""The contract of a problem: what is predicted, how it is learned, scored and shown."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor, nn

from tl_lab.errors import UserError
from tl_lab.evaluation.meter import Meter
from tl_lab.functional.likelihoods import Likelihood

__all__ = [
    "Criterion", "Groups", "Prediction", "Problem",
    "check_class_weights", "check_smoothing", "refuse_option", "refuse_options_of_classifiers",
]  # fmt: skip


class Prediction(NamedTuple):
    """What a model says of N samples.

    Attributes:
        values: classes ``(N,)``, labels ``(N, L)`` of 0 and 1, or numbers ``(N, K)`` in the targets' own units.
        confidence: probability of the answer, ``(N,)``, in [0, 1]; None where there is none.
        probabilities: of every class or label, ``(N, C)``; None where there are none.

    Example:
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
        number: of each sample's group, ``(N,)`` int64.
        names: of the groups.
        word: what the groups are: classes, combinations of labels, ranges of values.

    Example:
        >>> from tl_lab.problems import Regression
        >>> groups = Regression(["age"]).groups(torch.tensor([[1.0], [2.0], [2.0]]))
        >>> groups.number.tolist(), groups.names, groups.word
        ([0, 1, 1], ['1', '2'], 'age')
    """

    number: Tensor
    names: list[str]
    word: str


class Criterion(nn.Module):
    """The loss that training minimises; it holds what the run has chosen (class weights, label smoothing)."""

    balanced: bool = False
    """Whether rare classes or labels weigh more."""
    label_smoothing: float = 0.0

    def forward(self, outputs: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Compute the loss.

        Args:
            outputs: of the head, ``(B, C)``.
            y: labels, as :meth:`Problem.check` accepts them.
            reduction: ``mean`` for a scalar; ``none`` for the loss of each sample, ``(B,)``.
        """
        raise NotImplementedError


class Problem(ABC):
    """What is predicted from a sample.

    Args:
        output_names: names of the outputs: classes, labels or quantities.

    Example:
        >>> from tl_lab.problems import MultiLabel, Regression, SingleLabel
        >>> [(kind.name, kind.monitor) for kind in (SingleLabel, MultiLabel, Regression)]
        [('single_label', 'acc'), ('multi_label', 'auroc'), ('regression', 'r2')]
    """

    name: ClassVar[str]
    """As methods and results name it."""
    monitor: ClassVar[str]
    """The metric that chooses checkpoints and orders methods; larger is better."""
    labelled: ClassVar[tuple[str, ...]]
    """Scores of a set with labels."""
    label_free: ClassVar[tuple[str, ...]] = ()
    """Scores of a set without labels."""
    likelihood: ClassVar[Likelihood]
    """Distribution of the labels given the outputs, which the Fisher information is taken of."""
    numbers_outputs: ClassVar[bool] = False
    """Whether a label is the number of an output, so that tasks may bring outputs of their own."""

    def __init__(self, output_names: Sequence[str]) -> None:
        self.output_names = list(output_names)
        if not self.numbers_outputs and len(set(self.output_names)) < len(self.output_names):
            raise UserError(f"labels and quantities have names of their own, not {self.output_names}")

    @property
    def num_outputs(self) -> int:
        """Number of outputs of a head."""
        return len(self.output_names)

    @abstractmethod
    def check(self, name: str, y: Tensor, num_outputs: int | None = None) -> None:
        """Refuse labels that cannot be right.

        Args:
            name: of the set, for the message.
            y: its labels.
            num_outputs: where a set has classes of its own; None for all outputs.

        Raises:
            UserError: shape, type or range are wrong.
        """

    def alike(self, y: Tensor) -> str | None:
        """Say what all samples have in common if their labels are all the same; None where they differ.

        Args:
            y: of a set, checked, of at least one sample.
        """
        return "the same labels" if bool((y == y[:1]).all()) else None

    def learn(self, y: Tensor) -> None:  # noqa: B027  (a hook)
        """Take from the training labels what outputs are relative to (the scale of a regression)."""

    @abstractmethod
    def criterion(
        self, y: Tensor | None, *, class_weights: str | None = None, label_smoothing: float = 0.0
    ) -> Criterion:
        """Build the loss of a run.

        Args:
            y: the training labels, which ``balanced`` weights are computed from.
            class_weights: None, or ``balanced``.
            label_smoothing: share of the target that is spread over all outputs, in [0, 1).

        Raises:
            UserError: an option that does not apply to this problem.
        """

    @abstractmethod
    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute each sample's loss as validation reports it, ``(B,)``: without weights or smoothing."""

    def wrong(self, outputs: Tensor, y: Tensor) -> Tensor | None:
        """Tell which samples are classified wrongly, ``(B,)`` of 0 and 1 on the CPU; None where nothing is."""
        return None

    @abstractmethod
    def predict(self, outputs: Tensor) -> Prediction:
        """Turn outputs ``(N, C)`` into an answer."""

    @abstractmethod
    def words(self, values: Tensor) -> list[str]:
        """Write predicted values, one text a sample."""

    def columns(self, prediction: Prediction) -> dict[str, list[str]]:
        """Write predictions as the columns of a table, by their headings; one cell a sample."""
        return {"label": self.words(prediction.values), **_confidence(prediction)}

    @abstractmethod
    def meter(self, num_outputs: int | None = None) -> Meter:
        """Build what collects a set's scores.

        Args:
            num_outputs: where a set has outputs of its own; None for all.
        """

    @abstractmethod
    def batch_scores(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Score a training batch for the learning curve: scalars by name."""

    def strata(self, y: Tensor) -> Tensor | None:
        """Number the groups that splits and label budgets keep in proportion, ``(N,)``; None to draw at random."""
        return None

    def groups(self, y: Tensor) -> Groups:
        """Sort samples into a few named groups, for figures that colour them."""
        return Groups(y, self.output_names, "class")

    def counts(self, y: Tensor) -> Tensor | None:
        """Count the samples that have each output, ``(C,)`` int64; None where that has no meaning."""
        return None

    def facts(self, y: Tensor) -> dict[str, str]:
        """State what of the training labels must be printed beside any number obtained on them."""
        return {}

    def renumber(self, y: Tensor, by: int) -> Tensor:
        """Count labels from another output on, where labels are numbers of outputs; else they stay as they are."""
        return y

    def calibrate(self, meter: Meter) -> None:  # noqa: B027  (a hook)
        """Take from the validation set that chooses what decisions depend on (thresholds)."""

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint keeps: plain values."""
        return {"name": self.name, "output_names": list(self.output_names)}

    def load_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027  (a hook)
        """Take up what :meth:`learn` and :meth:`calibrate` found in another process."""

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the problem again from :meth:`state`."""
        problem = cls(state["output_names"])
        problem.load_state(state)
        return problem


def _confidence(prediction: Prediction) -> dict[str, list[str]]:
    if prediction.confidence is None:
        return {}
    return {"confidence": [f"{share:.4f}" for share in prediction.confidence.tolist()]}


def refuse_option(problem: Problem, option: str, value: Any) -> UserError:
    """Say that an option has no meaning for a problem."""
    return UserError(f"strategy.{option}={value} does not apply to {problem.name.replace('_', '-')} data: leave it out")


def refuse_options_of_classifiers(problem: Problem, class_weights: str | None, label_smoothing: float) -> None:
    """Refuse the options of a criterion that have no meaning without classes.

    Raises:
        UserError: one of them is set.
    """
    if class_weights is not None:
        raise refuse_option(problem, "class_weights", class_weights)
    if label_smoothing:
        raise refuse_option(problem, "label_smoothing", label_smoothing)


def check_smoothing(label_smoothing: float) -> float:
    """Refuse a share outside [0, 1).

    Raises:
        UserError: it lies outside.
    """
    if not 0 <= label_smoothing < 1:
        raise UserError(f"strategy.label_smoothing is in [0, 1), not {label_smoothing}")
    return label_smoothing


def check_class_weights(choice: str | None) -> bool:
    """Tell whether weights are balanced.

    Raises:
        UserError: the choice does not exist.
    """
    if choice not in (None, "balanced"):
        raise UserError(f"strategy.class_weights is null or 'balanced', not {choice!r}")
    return choice is not None
