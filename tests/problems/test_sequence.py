"""Tags of words: loss and scores without padding, entities that choose, and predictions in words."""

import math

import pytest
import torch

from tl_lab.errors import UserError
from tl_lab.evaluation.sequence import PADDING
from tl_lab.problems import Sequence, restore

TAGS = ["O", "B-a", "I-a", "B-b", "I-b"]
Y = torch.tensor([[1, 2, 0], [3, PADDING, PADDING]])


def logits(rows: list[list[int]]) -> torch.Tensor:
    return 5.0 * torch.nn.functional.one_hot(torch.tensor(rows), 5).float()


def test_the_loss_is_a_mean_over_words() -> None:
    outputs, problem = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)), Sequence(TAGS)
    log_p = outputs.log_softmax(-1)
    words = [-log_p[0, 0, 1], -log_p[0, 1, 2], -log_p[0, 2, 0], -log_p[1, 0, 3]]
    loss = problem.criterion(Y)
    assert float(loss(outputs, Y)) == pytest.approx(float(torch.stack(words).mean()), rel=1e-6)
    each = torch.stack([torch.stack(words[:3]).mean(), words[3]])
    torch.testing.assert_close(loss(outputs, Y, "none"), each)
    torch.testing.assert_close(problem.losses(outputs, Y), each)
    longer = torch.cat([Y, torch.full((2, 4), PADDING)], 1)  # batches are shorter than the set
    torch.testing.assert_close(loss(outputs, longer), loss(outputs, Y))
    assert problem.counts(Y).tolist() == [1, 1, 1, 1, 0]
    assert problem.criterion(Y, class_weights="balanced").weight.tolist() == pytest.approx([0.8, 0.8, 0.8, 0.8, 0.8])


def test_scores_over_batches() -> None:
    meter = Sequence(TAGS).meter()
    meter.update(logits([[1, 2, 0]]), Y[:1])  # right
    meter.update(logits([[1, 4, 4]]), Y[1:])  # another kind; behind the last word nothing counts
    scores = meter.compute()
    assert scores["entity_f1"] == pytest.approx(0.5)
    assert (scores["entity_precision"], scores["entity_recall"]) == (0.5, 0.5)
    assert scores["token_acc"] == 0.75
    right, wrong = -math.log(math.exp(5) / (math.exp(5) + 4)), -math.log(1 / (math.exp(5) + 4))
    assert scores["loss"] == pytest.approx((3 * right + wrong) / 4, rel=1e-6)
    assert meter.compute() == {}
    meter.update(logits([[1, 2, 0]]), None)
    assert meter.compute() == {}


def test_predictions_name_the_words() -> None:
    problem = restore(Sequence(TAGS).state())
    outputs = problem.without_padding(logits([[1, 2, 3], [3, 4, 4]]), torch.tensor([3, 1]))
    prediction = problem.predict(outputs)
    assert prediction.values.tolist() == [[1, 2, 3], [3, 0, 0]]
    sure = math.exp(5) / (math.exp(5) + 4)
    torch.testing.assert_close(prediction.confidence, torch.tensor([sure, sure]))
    assert problem.words(prediction.values) == ["a 0-1; b 2", "b 0"]
    assert problem.fields(prediction.values, [["ACME", "LTD", "9.00"], ["x"]]) == ["a ACME LTD; b 9.00", "b x"]
    assert problem.facts(Y) == {"entities": "a 1, b 1"}


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.tensor([[5, 0]]), "has tags outside the known 5, or no tags"),
        (torch.tensor([[0, 1], [PADDING, PADDING]]), "sample 2 of the set 'train' has no word"),
        (torch.tensor([0, 1]), "give one tag per word"),
    ],
)
def test_invalid_tags_are_refused(y: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Sequence(TAGS).check("train", y)
    assert Sequence(TAGS).alike(torch.tensor([[0, 0], [0, PADDING]])) == "the tag 'O'"
    assert Sequence(TAGS).alike(Y) is None
