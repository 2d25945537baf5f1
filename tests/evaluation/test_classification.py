import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, log_loss

from tl_lab.evaluation import ClassificationMeter, classification_scores


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("absent", [False, True])
def test_scores_equal_scikit_learns(absent):
    rng = np.random.default_rng(0)
    true = rng.choice(4 if absent else 5, 300, p=None if not absent else [0.7, 0.1, 0.1, 0.1])
    predicted = np.where(rng.random(300) < 0.6, true, rng.choice(5, 300))
    scores = classification_scores(torch.from_numpy(confusion_matrix(true, predicted, labels=range(6))))
    assert scores["acc"].item() == pytest.approx(accuracy_score(true, predicted))
    assert scores["balanced_acc"].item() == pytest.approx(balanced_accuracy_score(true, predicted))
    assert scores["f1_macro"].item() == pytest.approx(f1_score(true, predicted, average="macro"))


def test_meter_over_uneven_batches_equals_one_pass():
    logits, y = torch.randn(50, 3), torch.randint(0, 3, (50,))
    meter = ClassificationMeter(3)
    for part in torch.arange(50).tensor_split([7, 30]):
        meter.update(logits[part], y[part])
    scores = meter.compute()
    assert scores["acc"] == pytest.approx(accuracy_score(y, logits.argmax(1)))
    assert scores["loss"] == pytest.approx(log_loss(y, logits.double().softmax(1), labels=[0, 1, 2]), rel=1e-5)
    meter.update(logits[:5], y[:5])  # forgotten after compute
    assert meter.compute()["acc"] == pytest.approx(accuracy_score(y[:5], logits[:5].argmax(1)))


def test_meter_without_labels_gives_no_accuracy():
    meter = ClassificationMeter(3)
    meter.update(torch.randn(20, 3), None)
    assert set(meter.compute()) == {"entropy", "info_max", "snd"}


@pytest.mark.parametrize("row", [[torch.nan, 0.0, 0.0], [torch.inf, 0.0, 0.0], [-torch.inf] * 3])
@pytest.mark.parametrize("y", [0, 2])
def test_nan_logits_have_no_score(row, y):
    meter = ClassificationMeter(3)
    meter.update(torch.randn(20, 3), torch.zeros(20, dtype=torch.long))
    meter.update(torch.tensor([row]), torch.tensor([y]))
    assert all(np.isnan(score) for score in meter.compute().values())
    meter.update(torch.eye(3), torch.arange(3))  # forgotten after compute
    assert meter.compute()["acc"] == 1


def test_an_excluded_class_is_not_an_error():
    """Streams hide the classes of later tasks by -inf."""
    meter = ClassificationMeter(3)
    meter.update(torch.tensor([[2.0, 0.0, -torch.inf], [0.0, 3.0, -torch.inf]]), torch.tensor([0, 0]))
    scores = meter.compute()
    assert scores["acc"] == 0.5
    assert np.isfinite(scores["loss"])
