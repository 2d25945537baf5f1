"""Base class of the strategies that are tested on episodes."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from tl_lab.data.base import DataModule
from tl_lab.data.batches import Episode, Labelled, Unlabelled
from tl_lab.data.inputs.operations import apply
from tl_lab.data.scenarios.episodic import EpisodicData
from tl_lab.domain_adaptation.base import Phase
from tl_lab.errors import UserError
from tl_lab.evaluation import EpisodeMeter
from tl_lab.results.folder.episodes_csv import write_episodes
from tl_lab.strategies.base import Strategy
from tl_lab.strategies.few_shot.batch_norm import batch_statistics, check_test_statistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EmbeddingStrategy", "FewShotStrategy"]


class FewShotStrategy(Strategy):
    """Classify from a few examples per class. Subclasses implement :meth:`episode_logits`.

    It is called in validation and test and, for strategies that train on episodes, in training. In validation and test
    the network is in evaluation mode and its buffers do not change. Terms of a domain adaptation act on the embeddings
    of all images of the step's episodes and of as many target images.

    Args:
        batch_norm: statistics of batch normalisation in validation and test: ``running``, collected in training, or
            ``transductive``, computed from the images of each episode, queries included.
        options: keyword arguments of :class:`~tl_lab.strategies.base.Strategy`.
    """

    needs = frozenset({"labels", "episodes"})
    handles = frozenset({"labels", "episodes", "target"})
    problems = frozenset({"single_label"})
    answers_by_head = False
    inference_mode = False  # some strategies train on an episode's support before its queries are classified
    trains_on: ClassVar[str] = "episodes"
    """Training data: ``episodes``, or ``classes``, ordinary batches of the training classes."""
    fixed_way: ClassVar[bool] = False
    """Whether the head has one output per way, so that training and test need the same number of ways."""
    has_head: ClassVar[bool] = False
    """Whether the network has a head; otherwise only the embedding is trained."""
    learns_at_test: ClassVar[bool] = False
    """Whether :meth:`episode_logits` computes gradients in validation and test, too."""

    def __init__(self, *, batch_norm: Literal["running", "transductive"] = "running", **options: Any) -> None:
        if self.trains_on == "episodes" and options.get("class_weights") is not None:
            raise UserError("strategy.class_weights must be null with episodes, whose classes all have the same size")
        if not self.has_head and options.get("head"):
            raise UserError(f"{type(self).__name__} compares embeddings and has no head: leave strategy.head out")
        super().__init__(**options)
        self.batch_norm = check_test_statistics(batch_norm)
        if not self.has_head:
            self.network.head = nn.Identity()

    # ------------------------------------------------------------------ implemented by subclasses

    def episode_logits(self, support: Labelled, query: Labelled, way: int) -> Tensor:
        """Classify the queries of E episodes, each from its own support.

        Args:
            support: ``x`` is ``(E, N*K, ...)``; ``y``, 0 to N - 1 in rising order, and ``index``, ``(E, N*K)``.
            query: likewise, ``N*Q`` samples an episode.
            way: number of classes N.

        Returns:
            Logits, ``(E, N*Q, N)``. The logits of an episode do not depend on the other episodes.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, str]:
        """Report the choices that change the numbers of episodes."""
        whose = "of each episode, queries included" if self.batch_norm == "transductive" else "running, of training"
        return {
            **super().facts(),
            "batch-norm statistics at test": whose,
            "intervals": "of one run (acc_ci95) over its test episodes; of several seeds over their models",
        }

    # ------------------------------------------------------------------ training

    def outputs_for(
        self, source: Labelled | Episode, target: Unlabelled | None, phase: Phase
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Compute the logits of all queries ``(E*N*Q, N)`` and, for an adaptation, the embeddings of both domains."""
        if not isinstance(source, Episode):
            return super().outputs_for(source, target, phase)
        features, of_target = (None, None) if target is None else self.features_of_both(source, target, phase)
        self.network.use("source")  # the domain of the episodes, after a forward pass on the target
        captured, self._captured = self._captured, None  # an adaptation sees only the embeddings it compares
        logits = self.episode_logits(source.support, source.query, source.way)
        self._captured = captured
        return features, of_target, logits.flatten(0, 1), source.query.y.flatten()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Mark the weights as unable to name the classes of new images."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["model"]["episodes"] = True

    # ------------------------------------------------------------------ measuring

    @property
    def data(self) -> EpisodicData:
        """The running trainer's data."""
        data = super().data
        assert isinstance(data, EpisodicData)
        return data

    def setup(self, stage: str) -> None:
        """Create the metrics of the sets of this stage."""
        for name in self.data.test_names if stage == "test" else self.data.val_names:
            self.meters[name] = EpisodeMeter()

    def _measure(self, name: str, batch: Episode, batch_idx: int) -> None:
        if batch_idx == 0:
            self._prepare_evaluation(self.data.domain_of(name))
        self.meters[name].update(self.test_logits(batch), batch.query.y, batch.number)  # type: ignore[operator]

    def episode_accuracies(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the accuracy of each episode of the last measured sets, ``(n,)``, in the order of the episodes."""
        return {name: cast(EpisodeMeter, self.meters[name]).last_accuracies for name in names}

    def artifacts(self, folder: Path, data: DataModule) -> dict[str, Any]:
        """Write the accuracy of every test episode, for paired comparisons of methods."""
        write_episodes(folder / "episodes.csv", self.episode_accuracies(data.test_names))
        return {}

    def figures(self, data: DataModule) -> "dict[str, Figure]":
        """Draw the first test episode of each test set."""
        from tl_lab.strategies.few_shot.figures import figures_of_episodes

        assert isinstance(data, EpisodicData)
        return figures_of_episodes(self, data)

    def test_logits(self, batch: Episode) -> Tensor:
        """Classify the queries of E episodes as in a test: ``(E, N*Q, N)``. The network's buffers do not change."""
        own = self.batch_norm == "transductive"
        with torch.set_grad_enabled(self.learns_at_test), batch_statistics(self.network) if own else nullcontext():
            parts = _one_by_one(batch) if own else iter([batch])
            return torch.cat([self.episode_logits(part.support, part.query, part.way).detach() for part in parts])


class EmbeddingStrategy(FewShotStrategy):
    """Compare the embeddings of queries and support. Subclasses implement :meth:`compare`.

    The encoder embeds support and queries as one batch.
    """

    def compare(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Classify embedded queries of E episodes.

        Args:
            support: embeddings, ``(E, N*K, D)``.
            labels: their classes, ``(E, N*K)``, 0 to N - 1 in rising order.
            query: embeddings, ``(E, N*Q, D)``.
            way: number of classes N.

        Returns:
            Logits, ``(E, N*Q, N)``.
        """
        raise NotImplementedError

    def episode_logits(self, support: Labelled, query: Labelled, way: int) -> Tensor:
        """Embed support and queries in one batch, and compare."""
        episode = Episode(support, query, way)
        return self.compare(*self._embedded(episode, self.features(episode.x)), way)

    def outputs_for(
        self, source: Labelled | Episode, target: Unlabelled | None, phase: Phase
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Compute the queries' logits from the same embeddings that an adaptation uses."""
        if not isinstance(source, Episode):
            return super().outputs_for(source, target, phase)
        features, of_target = self.features_of_both(source, target, phase)
        logits = self.compare(*self._embedded(source, features), source.way)
        return features, of_target, logits.flatten(0, 1), source.query.y.flatten()

    @staticmethod
    def _embedded(episode: Episode, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        support, query = episode.split(features)
        return support, episode.support.y, query


def _one_by_one(batch: Episode) -> Iterator[Episode]:
    for e in range(len(batch.support.y)):
        yield Episode(_episode(batch.support, e), _episode(batch.query, e), batch.way)


def _episode(part: Labelled, e: int) -> Labelled:
    return Labelled(apply(part.x, lambda x: x[e, None]), part.y[e, None], part.index[e, None])
