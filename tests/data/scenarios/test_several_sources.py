"""Several sources in one batch, with separate scores."""

import pytest
import torch
from laboratory import TinyNet, blobs, fit, make

from tl_lab.data.request import Request
from tl_lab.data.scenarios.several_sources import SeveralSources
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.errors import UserError

SIZES = {"train": 20, "val": 9, "test": 12}


class BlobSources(SeveralSources):
    """Four domains of one task, each brighter than the one before."""

    def __init__(self, names=("a", "b", "c", "d"), **options):
        super().__init__(**options)
        self.names = names

    def read_domains(self):
        self.class_names = ["a", "b", "c"]
        return {
            name: {part: blobs(count, 10 * k + i, 0.1 * k) for i, (part, count) in enumerate(SIZES.items())}
            for k, name in enumerate(self.names)
        }


def loaded(**options):
    data = BlobSources(**{"batch_size": 30, **options})
    data.load()
    data.use(TinyNet().spec)
    return data


def test_a_batch_names_the_domain_of_each_sample():
    data = loaded(held_out="d")
    assert data.domain_names == ["a", "b", "c"]
    domains = data.read_domains()
    batches = list(data.train_dataloader())
    assert {int(d) for batch in batches for d in batch.domain} == {0, 1, 2}
    for batch in batches:
        for i in range(len(batch.y)):
            number, place = divmod(int(batch.index[i]), SIZES["train"])
            assert batch.domain[i] == number
            own = domains[data.domain_names[number]]["train"]
            assert batch.y[i] == own.y[place]
            torch.testing.assert_close(data.spec.restore(batch.x[i : i + 1])[0], own.x[place])


def test_a_held_out_domain_is_tested_alone():
    data = loaded(held_out="b")
    assert data.val_names == ["val", "a/val", "c/val", "d/val"]
    assert data.test_names == ["a/test", "c/test", "d/test", "b/test"]
    assert not any(name.startswith("b/") for name in data.sets if name != "b/test")
    assert len(data.sets["train"]) == 3 * SIZES["train"]
    assert data.facts()["held out"] == "b"


def test_scores_are_those_of_each_domain_and_their_mean():
    data, model = make(data=BlobSources(batch_size=30, held_out="d"))
    trainer = fit(data, model, epochs=3)
    trainer.test(model, datamodule=data, verbose=False)
    accuracies = [model.last_validation[f"val/{name}/acc"] for name in "abc"]
    assert model.last_validation[data.monitor] == pytest.approx(sum(accuracies) / 3)
    assert {f"test/{name}/acc" for name in "abcd"} <= set(model.last_test)
    assert not any(name.startswith("val/d") for name in model.last_validation)


def test_an_adaptation_gets_all_sources_and_the_target_without_labels():
    data = BlobSources(batch_size=30, target="d")
    data.load(Request(adapts=True))
    batch = next(iter(data.train_dataloader()))
    assert {int(d) for d in batch.source.domain} == {0, 1, 2}
    assert not hasattr(batch.target, "y")
    assert len(batch.target.x) == len(batch.source.x)
    data, model = make(data=BlobSources(batch_size=30, target="d"), adaptation=DANN())
    fit(data, model, epochs=1)
    assert {"val/a/acc", "val/b/acc", "val/c/acc", "val/acc"} <= set(model.last_validation)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out": "e"}, "data.held_out=e is not one of the domains"),
        ({"names": ("a", "b"), "held_out": "a"}, "at least two sources, not 1"),
        ({"held_out": "a", "target": "a"}, "are both a"),
        ({"names": ("a", "task1")}, "cannot be named 'task1'"),
        ({"names": ("a", "site.b")}, "cannot be named 'site.b'"),
        ({"names": ("a", "target")}, "cannot be named 'target'"),
    ],
)
def test_domains_that_do_not_exist_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        loaded(**options)


def test_the_configuration_tells_what_is_offered():
    assert BlobSources.traits_for({"target": "d"}) == {"labels", "domains", "target"}
    assert BlobSources.traits_for({}) == {"labels", "domains"}
