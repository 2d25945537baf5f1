"""The figures of few-shot learning: the first test episode of each test set."""

from typing import TYPE_CHECKING, cast

import torch
from matplotlib.figure import Figure
from torch import Tensor

from tl_lab.data.inputs.operations import take
from tl_lab.data.names import SetName
from tl_lab.results.figures.episodes import episode_answers, episode_embedding

if TYPE_CHECKING:
    from tl_lab.data.scenarios.episodic import EpisodicData
    from tl_lab.strategies.few_shot.base import FewShotStrategy

__all__ = ["figures_of_episodes"]


@torch.no_grad()
def figures_of_episodes(strategy: "FewShotStrategy", data: "EpisodicData") -> dict[str, Figure]:
    """Draw the first test episode of each test set: images with their predictions, and the embedding.

    Args:
        strategy: after its test, on its device.
        data: its episodes.

    Returns:
        Figures by name.
    """
    strategy.eval()
    figures = {}
    for name in data.test_names:
        strategy.network.use(data.domain_of(name))
        batch, size = next(iter(data.episodes(name, 1))), data.size_of(name)
        predicted = strategy.test_logits(batch).argmax(2).view(size.way, size.queries)
        embedded = batch.split(strategy.features(batch.x))
        assert data.spec is not None
        images = [cast(Tensor, data.spec.restore(take(part.x, 0))) for part in batch[:2]]
        y = data.sets[name].y
        assert y is not None
        chosen = y[batch.support.index[0]].view(size.way, size.shot)[:, 0]
        classes = [data.classes[name][c] for c in chosen.tolist()]
        shots, asked = (part.unflatten(0, (size.way, -1)) for part in images)
        points, asked_points = (part[0].unflatten(0, (size.way, -1)) for part in embedded)
        where = SetName.parse(name).file
        caption = f"{size.way}-way {size.shot}-shot, {name.replace('/', ' ')}"
        figures[f"episode_{where}"] = episode_answers(shots, asked, predicted, classes, f"One episode, {caption}")
        figures[f"embedding_{where}"] = episode_embedding(
            points, asked_points, predicted, classes, f"One episode, {caption}"
        )
    return figures
