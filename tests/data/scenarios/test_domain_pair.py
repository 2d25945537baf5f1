"""The contract of a domain pair: withheld labels, the protocol, and matching inputs."""

from dataclasses import replace

import pytest
import torch
from laboratory import BlobPair, blobs, differing, fit, make, state

from tl_lab.data.samples import Samples
from tl_lab.domain_adaptation.bounds import SourceOnly, TargetOnly
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Shuffled(BlobPair):
    """The same pair with the target's training labels in another order."""

    def read(self):
        sets = super().read()
        train = sets["target/train"]
        sets["target/train"] = Samples(train.x, train.y.flip(0).roll(1))
        return sets


def test_labels_of_the_targets_training_part_are_withheld():
    data = BlobPair(batch_size=20)
    data.load()
    assert data.read()["target/train"].y is not None
    assert data.sets["target/train"].y is None
    assert data.sets["target/test"].y is not None


def test_shuffling_the_targets_training_labels_changes_nothing_to_the_last_bit():
    runs = []
    for kind in (BlobPair, Shuffled):
        data, model = make(data=kind(batch_size=20), adaptation=DANN(lambda_max=0.5, batch_norm="domain_specific"))
        data.request = replace(data.request, tracks_oracle=True)
        fit(data, model, epochs=2)
        runs.append((data.fingerprint(), model.last_validation, state(model)))
    (hash_a, scores_a, weights_a), (hash_b, scores_b, weights_b) = runs
    assert hash_a == hash_b
    assert scores_a == scores_b
    assert not differing(weights_a, weights_b)


def test_inductive_scores_what_training_does_not_see_and_transductive_all():
    inductive, transductive = BlobPair(batch_size=20), BlobPair(batch_size=20, protocol="transductive")
    for data in (inductive, transductive):
        data.load()
        assert data.facts()["protocol"] == data.protocol
    assert (len(inductive.sets["target/train"]), len(inductive.sets["target/test"])) == (45, 30)
    train, test = (transductive.sets[f"target/{part}"] for part in ("train", "test"))
    assert torch.equal(train.x, test.x)
    assert len(train) == 75
    assert train.y is None
    assert torch.equal(test.y, torch.cat([blobs(45, 10).y, blobs(30, 11).y]))


def test_the_oracle_alone_learns_from_target_labels_and_keeps_a_part_to_choose_on():
    data, model = make(data=BlobPair(batch_size=20), adaptation=TargetOnly())
    assert data.primary == "target/train"
    assert data.sets["target/train"].y is not None
    assert len(data.sets["target/train"]) + len(data.sets["target/val"]) == 45
    assert data.val_names == ["source/val", "target/val"]
    assert data.monitor == "val/target/acc"
    fit(data, model, epochs=3)
    assert model.last_validation["val/target/acc"] > 0.3
    assert "oracle" in model.adaptation.facts()


def test_source_only_is_no_adaptation_on_a_pair():
    weights = []
    for adaptation in (SourceOnly(), NoAdaptation()):
        data, model = make(data=BlobPair(batch_size=20), adaptation=adaptation)
        fit(data, model, epochs=2)
        weights.append(state(model))
    assert not differing(*weights)


def test_target_test_accuracy_during_training_is_marked_as_oracle():
    data, model = make(data=BlobPair(batch_size=20))
    fit(data, model, epochs=1)
    assert not any("oracle" in name for name in model.last_validation)
    data, model = make(data=BlobPair(batch_size=20))
    data.request = replace(data.request, tracks_oracle=True)
    fit(data, model, epochs=1)
    assert 0 <= model.last_validation["oracle/target/acc"] <= 1
    assert "val/target/acc" not in model.last_validation


class Large(BlobPair):
    """A target of another size and with three channels."""

    def read(self):
        sets = super().read()
        for name in ("target/train", "target/test"):
            x = sets[name].x.repeat(1, 3, 2, 2)
            sets[name] = Samples(x, sets[name].y)
        return sets


class Vectors(BlobPair):
    """A source of vectors, a target of images."""

    def read(self):
        sets = super().read()
        return sets | {n: Samples(s.x.flatten(1), s.y) for n, s in sets.items() if n.startswith("source")}


def test_other_sizes_and_channels_are_brought_together_or_refused():
    data, _ = make(data=Large(batch_size=20), adaptation=DANN())
    assert data.sets["target/train"].x.shape[1:] == data.sets["source/train"].x.shape[1:] == (1, 6, 6)
    assert any("3 -> 1 channel" in note and "12x12 -> 6x6" in note for note in data.notes)
    with pytest.raises(UserError, match="6x6 pixels with 1 channel, the target's are images of 12x12 pixels with 3"):
        Large(batch_size=20, match=False).load()
    with pytest.raises(UserError, match="vectors of length 36, the target's are images of 6x6"):
        Vectors(batch_size=20).load()


def test_wrong_options_are_refused():
    with pytest.raises(UserError, match=r"data\.protocol"):
        BlobPair(protocol="both")


def test_joined_sets_keep_order_and_withhold_labels_that_one_lacks():
    a, b = blobs(5, 0), blobs(4, 1)
    both = Samples.concatenate([a, b])
    assert torch.equal(both.x[5:], b.x)
    assert torch.equal(both.y, torch.cat([a.y, b.y]))
    assert Samples.concatenate([a, b.without_labels()]).y is None


def test_vectors_are_samples_of_one_pixel_with_as_many_channels():
    class Only(BlobPair):
        def read(self):
            return {name: Samples(s.x.flatten(1), s.y) for name, s in super().read().items()}

    data = Only(batch_size=20)
    data.load()
    assert data.shape == (36, 1, 1)
