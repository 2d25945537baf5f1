"""Ordinary training on the base classes, and a linear classifier fitted to each support."""

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

import torch
from torch import Tensor

from tl_lab.data.batches import Episode, Labelled
from tl_lab.errors import UserError, nearest
from tl_lab.functional import fit_heads, linear_scores, random_heads
from tl_lab.options import Count, NonNegative
from tl_lab.randomness import generator
from tl_lab.strategies.few_shot.base import FewShotStrategy

__all__ = ["Baseline"]

_FIT = ("epochs", "batch_size", "rate", "momentum", "dampening", "weight_decay")


class FitOptions(TypedDict, total=False):
    """Options of the descent on a support."""

    epochs: Count
    batch_size: Count
    rate: NonNegative
    momentum: NonNegative
    dampening: NonNegative
    weight_decay: NonNegative


class Baseline(FewShotStrategy):
    """Train a classifier of the training classes on ordinary batches; at test, fit a linear layer on frozen features.

    For every episode, the layer starts from the same random weights and receives its support in the same order: the
    predictions of an episode depend only on the seed.

    Args:
        fit: ``epochs``, ``batch_size``, ``rate``, ``momentum``, ``dampening``, ``weight_decay`` of the descent on a
            support; defaults are those of the paper (see :func:`~tl_lab.functional.fit_heads`).
        options: keyword arguments of :class:`~tl_lab.strategies.few_shot.base.FewShotStrategy`.

    Raises:
        UserError: for an unknown key of ``fit``, or a value out of its range.

    References:
        Chen et al., A Closer Look at Few-shot Classification, ICLR 2019, section 3.2.
        https://arxiv.org/abs/1904.04232
    """

    trains_on = "classes"
    has_head = True
    learns_at_test = True

    def __init__(self, *, fit: Annotated[Mapping[str, Any], FitOptions] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.fit = dict(fit or {})
        for name, value in self.fit.items():
            if name not in _FIT:
                raise UserError(f"strategy.fit has no key {name!r}; {nearest(name, _FIT)}")
            least, kind = (1, int) if name in ("epochs", "batch_size") else (0, (int, float))
            if isinstance(value, bool) or not isinstance(value, kind):
                raise UserError(f"strategy.fit.{name} must be a {'whole ' if kind is int else ''}number, not {value!r}")
            if value < least:
                raise UserError(f"strategy.fit.{name} must be at least {least}, not {value}")

    def scores(self, features: Tensor, *head: Tensor) -> Tensor:
        """Return the logits ``(E, M, N)`` of heads on features ``(E, M, D)``."""
        return linear_scores(features, *head)

    def start(self, way: int, width: int, draw: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the initial weights of one head, ``(1, ...)``."""
        return random_heads(1, way, width, draw)

    def episode_logits(self, support: Labelled, query: Labelled, way: int) -> Tensor:
        """Fit a head to each support's features, and classify the queries: ``(E, N*Q, N)``."""
        episode = Episode(support, query, way)
        with torch.no_grad():
            features, queries = episode.split(self.features(episode.x))
        draw = generator(self.seed, "support head")
        start = self.start(way, features.shape[2], draw)
        start = tuple(tensor.to(features).expand(len(features), *tensor.shape[1:]) for tensor in start)
        head = fit_heads(self.scores, start, features, support.y, **self.fit, generator=draw)
        return self.scores(queries, *head)
