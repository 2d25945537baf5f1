"""What every strategy shares that is tested on episodes."""

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
    """Learn classes from a few examples each. Subclasses fill :meth:`episode_logits`.

    It is called in training, where a strategy learns from episodes, and in every validation and test. There the
    network is in evaluation mode and its buffers stay as they are. Terms of a domain adaptation act on the embeddings
    of all images of the step's episodes, and on those of as many images of the target.

    Args:
        batch_norm: statistics by which batch-norm normalises in validation and test: ``running``, those gathered in
            training, or ``transductive``, those of each episode's own images, queries included.
        options: those of :class:`~tl_lab.strategies.base.Strategy`.
    """

    needs = frozenset({"labels", "episodes"})
    handles = frozenset({"labels", "episodes", "target"})
    problems = frozenset({"single_label"})
    inference_mode = False  # some learn from an episode's support before they are tested on its queries
    trains_on: ClassVar[str] = "episodes"
    """What training learns from: ``episodes``, or ``classes``, ordinary batches of the training classes."""
    fixed_way: ClassVar[bool] = False
    """Whether a head with an output for each way is learned, so that training and test need the same number of ways."""
    has_head: ClassVar[bool] = False
    """Whether the network's head takes part; without one, what is learned is the embedding."""
    learns_at_test: ClassVar[bool] = False
    """Whether :meth:`episode_logits` computes gradients in validation and test, too."""

    def __init__(self, *, batch_norm: Literal["running", "transductive"] = "running", **options: Any) -> None:
        if self.trains_on == "episodes" and options.get("class_weights") is not None:
            raise UserError("strategy.class_weights is null with episodes, whose classes all have the same size")
        if not self.has_head and options.get("head"):
            raise UserError(f"{type(self).__name__} compares embeddings and has no head: leave strategy.head out")
        super().__init__(**options)
        self.batch_norm = check_test_statistics(batch_norm)
        if not self.has_head:
            self.network.head = nn.Identity()

    # ------------------------------------------------------------------ what a subclass provides

    def episode_logits(self, support: Labelled, query: Labelled, way: int) -> Tensor:
        """Classify the queries of E episodes, each with its own support.

        Args:
            support: ``x`` is ``(E, N*K, ...)``; ``y``, 0 to N - 1 in rising order, and ``index``, ``(E, N*K)``.
            query: likewise, ``N*Q`` samples an episode.
            way: number of classes N.

        Returns:
            Logits, ``(E, N*Q, N)``. An episode's are the same whatever other episodes are beside it.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, str]:
        """State what changes the numbers of episodes."""
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
        """Compute the logits of all queries ``(E*N*Q, N)`` and, where a run adapts, embeddings of both domains."""
        if not isinstance(source, Episode):
            return super().outputs_for(source, target, phase)
        features, of_target = (None, None) if target is None else self.features_of_both(source, target, phase)
        self.network.use("source")  # whose the episodes are, after a pass over the target
        captured, self._captured = self._captured, None  # an adaptation looks at what it compares alone
        logits = self.episode_logits(source.support, source.query, source.way)
        self._captured = captured
        return features, of_target, logits.flatten(0, 1), source.query.y.flatten()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say beside the weights that they name no classes of new images."""
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
        """Make the meters of the sets that this stage measures."""
        for name in self.data.test_names if stage == "test" else self.data.val_names:
            self.meters[name] = EpisodeMeter()

    def _measure(self, name: str, batch: Episode, batch_idx: int) -> None:
        if batch_idx == 0:
            self._prepare_evaluation(self.data.domain_of(name))
        self.meters[name].update(self.test_logits(batch), batch.query.y, batch.number)  # type: ignore[operator]

    def episode_accuracies(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Give the accuracy of each episode of the sets that were last measured, ``(n,)``, in the episodes' order."""
        return {name: cast(EpisodeMeter, self.meters[name]).last_accuracies for name in names}

    def artifacts(self, folder: Path, data: DataModule) -> dict[str, Any]:
        """Write the accuracy of every test episode, by which methods can be paired."""
        write_episodes(folder / "episodes.csv", self.episode_accuracies(data.test_names))
        return {}

    def figures(self, data: DataModule) -> "dict[str, Figure]":
        """Draw the first test episode of each test set."""
        from tl_lab.strategies.few_shot.figures import figures_of_episodes

        assert isinstance(data, EpisodicData)
        return figures_of_episodes(self, data)

    def test_logits(self, batch: Episode) -> Tensor:
        """Classify the queries of E episodes as in a test: ``(E, N*Q, N)``. The network's buffers stay as they are."""
        own = self.batch_norm == "transductive"
        with torch.set_grad_enabled(self.learns_at_test), batch_statistics(self.network) if own else nullcontext():
            parts = _one_by_one(batch) if own else iter([batch])
            return torch.cat([self.episode_logits(part.support, part.query, part.way).detach() for part in parts])


class EmbeddingStrategy(FewShotStrategy):
    """Compare the queries' embeddings with the support's. Subclasses fill :meth:`compare`.

    Support and queries pass the encoder as one batch.
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
        """Compute the queries' logits from the same embeddings that an adaptation sees."""
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
