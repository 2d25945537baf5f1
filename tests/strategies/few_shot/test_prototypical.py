"""Prototypical networks: logits of fixed embeddings, of one batch, independent of other episodes."""

import copy

import pytest
import torch
from episodes_at_hand import QUERIES, WAY, episode, gradients, make, objective

from tl_lab.data.batches import Episode, Labelled
from tl_lab.errors import UserError
from tl_lab.strategies.few_shot.batch_norm import batch_statistics
from tl_lab.strategies.few_shot.prototypical import Prototypical

SUPPORT = torch.tensor([[[0.0, 0], [2, 0], [4, 2], [4, 4]]], dtype=torch.float64)  # means (1, 0) and (4, 3)
LABELS = torch.tensor([[0, 0, 1, 1]])
QUERY = torch.tensor([[[1.0, 4], [4, 0]]], dtype=torch.float64)


def test_logits_of_fixed_embeddings():
    euclidean, cosine = make(Prototypical), make(Prototypical, distance="cosine", scale=5.0)
    assert euclidean.compare(SUPPORT, LABELS, QUERY, 2).tolist() == [[[-16.0, -10.0], [-9.0, -9.0]]]
    found = cosine.compare(SUPPORT, LABELS, QUERY, 2)
    expected = [[5 / 17**0.5, 5 * 16 / (5 * 17**0.5)], [5.0, 4.0]]
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float64))


def test_loss_is_the_papers():
    """Equation 2 and algorithm 1, one query after the other, of embeddings from one batch."""
    prototypical, batch = make(Prototypical), episode(2)
    with torch.no_grad():
        support, query = batch.split(prototypical.network.features(batch.x))
    losses = []
    for e in range(2):
        means = torch.stack([support[e][batch.support.y[e] == k].mean(0) for k in range(WAY)])
        for i in range(WAY * QUERIES):
            distances = (query[e, i] - means).square().sum(1)
            losses.append(distances[batch.query.y[e, i]] + (-distances).exp().sum().log())
    assert objective(prototypical, batch).item() == pytest.approx(float(torch.stack(losses).mean()), rel=1e-12)


def test_the_whole_embedding_learns():
    found = gradients(make(Prototypical), episode(2))
    assert set(found) == {name for name, _ in make(Prototypical).network.named_parameters()}
    assert all(gradient.abs().max() > 0 for name, gradient in found.items() if "0.bias" not in name)


def test_an_embedding_of_which_nothing_learns_is_refused():
    with pytest.raises(UserError, match=r"nothing is trainable: .* strategy=nearest_centroid"):
        make(Prototypical, "none").configure_optimizers()


@pytest.mark.parametrize("batch_norm", ["running", "transductive"])
def test_episodes_at_once_equal_one_by_one_and_no_buffer_moves(batch_norm):
    prototypical, batch = make(Prototypical, batch_norm=batch_norm), episode(3)
    prototypical.network(batch.x)  # running statistics that differ from the batch's
    prototypical.eval()
    before, modes = copy.deepcopy(prototypical.state_dict()), [m.training for m in prototypical.modules()]
    together = prototypical.test_logits(batch)
    for e in range(3):
        parts = (Labelled(part.x[e, None], part.y[e, None], part.index[e, None]) for part in batch[:2])
        torch.testing.assert_close(
            prototypical.test_logits(Episode(*parts, WAY))[0], together[e], rtol=1e-12, atol=1e-12
        )
    torch.testing.assert_close(prototypical.state_dict(), before, rtol=0, atol=0)
    assert [m.training for m in prototypical.modules()] == modes


def test_transductive_statistics_are_those_of_the_episode():
    prototypical, batch = make(Prototypical, batch_norm="transductive").eval(), episode(1)
    found = prototypical.test_logits(batch)
    running = make(Prototypical).eval().test_logits(batch)
    assert not torch.allclose(found, running)
    training = make(Prototypical).train()
    torch.testing.assert_close(found, training.episode_logits(batch.support, batch.query, WAY).detach())


def test_batch_statistics_are_taken_back_after_an_error():
    network = make(Prototypical).eval().network

    def fail() -> None:
        with batch_statistics(network):
            assert network.backbone.one[1].training
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not network.backbone.one[1].training
    assert network.backbone.one[1].track_running_stats


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": "manhattan"}, "'euclidean' or 'cosine', not 'manhattan'"),
        ({"scale": 0.0}, "strategy.scale must be above 0"),
        ({"batch_norm": "none"}, "'running' or 'transductive', not 'none'"),
        ({"head": {"hidden": [3]}}, "has no head"),
        ({"class_weights": "balanced"}, "class_weights must be null with episodes"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make(Prototypical, **options)
