"""Transcripts as a problem: letters, error rates by hand, and refusals."""

import pytest
import torch

from tl_lab.errors import UserError
from tl_lab.functional.transcripts import path_of
from tl_lab.model.heads import FrameHead, mlp
from tl_lab.problems import Transcript, restore

PROBLEM = Transcript(Transcript.letters_in(["One two", "on"]))


def logits(*texts: str, frames: int = 24) -> torch.Tensor:
    paths = [path_of([k for k in row if k >= 0], frames) for row in PROBLEM.encode(texts).tolist()]
    return 20.0 * torch.nn.functional.one_hot(torch.stack(paths), PROBLEM.num_outputs).float()


def test_letters_are_those_of_training() -> None:
    assert PROBLEM.output_names == ["blank", "unknown", " ", "e", "n", "o", "t", "w"]
    y = PROBLEM.encode(["ONE", "six"])
    assert y.tolist() == [[5, 4, 3], [1, 1, 1]]
    assert PROBLEM.texts(y) == ["one", "\ufffd\ufffd\ufffd"]
    restored = restore(PROBLEM.state())
    assert restored.words(logits("two one").argmax(-1)) == ["two one"]
    assert PROBLEM.facts(PROBLEM.encode(["one two", "two"])) == {"transcripts": "3 words (2 different), 6 letters"}


def test_error_rates_by_hand() -> None:
    meter = PROBLEM.meter()
    meter.update(logits("one two"), PROBLEM.encode(["one two"]))
    meter.update(logits("two", "on"), PROBLEM.encode(["two two", "one"]))  # a word less; a letter less
    meter.update(logits("one"), None)
    scores = meter.compute()
    assert scores["wer"] == pytest.approx(2 / 5)
    assert scores["cer"] == pytest.approx((4 + 1) / (7 + 7 + 3))
    assert scores["letter_acc"] == pytest.approx(1 - 5 / 17)
    assert meter.compute() == {}
    meter.update(logits("one"), PROBLEM.encode(["six"]))
    assert meter.compute()["cer"] == 1.0  # what training has not seen is never right


def test_answers_and_their_confidence() -> None:
    outputs = logits("one", "two")
    prediction = PROBLEM.predict(outputs)
    assert PROBLEM.words(prediction.values) == ["one", "two"]
    assert float(prediction.confidence.min()) > 0.999
    assert float(PROBLEM.batch_scores(outputs, PROBLEM.encode(["one", "two"]))["blanks"]) == pytest.approx(21 / 24)
    assert PROBLEM.alike(PROBLEM.encode(["one", "one"])) == "the transcript 'one'"
    assert PROBLEM.alike(PROBLEM.encode(["one", "two"])) is None


def test_a_head_predicts_blank_after_the_end() -> None:
    head = FrameHead(*mlp(3, [], 4))
    features = torch.randn(1, 4, 3)
    features[:, 2:] = 0
    outputs = head(features)
    assert outputs[0, 2:].softmax(-1).tolist() == [[1, 0, 0, 0]] * 2
    torch.testing.assert_close(outputs[:, :2], features[:, :2] @ head[0].weight.T + head[0].bias)
    assert set(head.state_dict()) == set(mlp(3, [], 4).state_dict())


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.tensor([[2, -100], [-100, -100]]), "sample 2 of the set 'train' has an empty transcript"),
        (torch.tensor([[8]]), "letters outside the known 7"),
        (torch.tensor([1.0]), "give letters as whole numbers"),
    ],
)
def test_invalid_labels_are_refused(y: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PROBLEM.check("train", y)
    with pytest.raises(UserError, match=r"label_smoothing=0\.1 does not apply to transcript data"):
        PROBLEM.criterion(None, label_smoothing=0.1)
