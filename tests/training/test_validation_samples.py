"""Validation of a set without labels: a fixed part in every epoch, the whole set once at the end."""

import pytest
import torch
from laboratory import BlobPair, fit, make

from tl_lab.data.request import Request
from tl_lab.evaluation.classification import label_free_scores

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def pair(samples: int | None, seed: int = 0) -> BlobPair:
    data = BlobPair(batch_size=20, seed=seed)
    data.request = Request(validation_samples=samples)
    return data


def test_the_part_is_drawn_by_the_seed_and_of_sets_without_labels_only():
    data = pair(20)
    make(data=data)
    part = data.validation_part("target/train")
    assert part.shape == (20,)
    assert torch.equal(part, part.unique())  # different positions, in order
    assert int(part.max()) < 45
    assert torch.equal(part, data.validation_part("target/train"))
    assert data.validation_part("source/val") is None
    other = pair(20, seed=1)
    make(data=other, seed=1)
    assert not torch.equal(part, other.validation_part("target/train"))
    for enough in (45, None):
        every = pair(enough)
        make(data=every)
        assert every.validation_part("target/train") is None


def test_each_epoch_scores_the_part_and_the_end_scores_all():
    data, model = make(data=pair(20))
    trainer = fit(data, model, epochs=1)
    trainer.test(model, datamodule=data, verbose=False)
    x = torch.cat([batch.x for batch in data.loader("target/train")])
    with torch.no_grad():
        p = model.eval()(x).softmax(1)
    expected = {
        "last_validation": label_free_scores(p[data.validation_part("target/train")]),
        "whole_validation": label_free_scores(p),
    }
    for held, scores in expected.items():
        found = {name: value for name, value in getattr(model, held).items() if name.startswith("val/target/")}
        assert found == pytest.approx({f"val/target/{name}": float(value) for name, value in scores.items()}, rel=1e-5)
    assert model.last_validation["val/target/entropy"] != model.whole_validation["val/target/entropy"]


def test_the_part_changes_no_weight():
    weights = []
    for samples in (5, None):
        data, model = make(data=pair(samples))
        fit(data, model, epochs=2)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
        assert model.whole_validation == {}
    assert torch.equal(*weights)
