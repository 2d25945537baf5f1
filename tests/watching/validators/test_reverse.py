"""Reverse validation: roles exchanged, and a whole run of it."""

import json

import pytest
import torch
from laboratory import BlobPair, TinyNet, fit, make, state

from tl_lab.cli.train import main
from tl_lab.data.inputs.augmentation import Augmentation
from tl_lab.domain_adaptation.adda import ADDA
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.errors import UserError
from tl_lab.watching.validators.reverse import ReverseValidation, exchanged, exchanged_weights, pseudo_labels

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def trained(adaptation, **options):
    data, model = make(data=BlobPair(batch_size=20, **options), adaptation=adaptation)
    fit(data, model, epochs=1)
    return data, model


def test_labels_are_those_that_an_evaluation_would_predict():
    data, model = trained(DANN(batch_norm="domain_specific"))
    labels = pseudo_labels(model, data)
    model.eval()
    model.network.use("target")
    with torch.no_grad():
        expected = model.network(data.sets["target/train"].x).argmax(1)
    assert torch.equal(labels, expected)
    model.network.use("source")
    with torch.no_grad():
        assert not torch.equal(labels, model.network(data.sets["target/train"].x).argmax(1))


def test_roles_are_exchanged_and_no_label_passes_but_the_predicted_ones():
    data, _ = trained(DANN())
    labels = torch.arange(45) % 2
    back = exchanged(data, labels, held_out=0.2)
    assert {name: len(samples) for name, samples in back.sets.items()} == {
        "source/train": 36,
        "source/val": 9,
        "target/train": 60,
        "target/test": 30,
    }
    both = torch.cat([back.sets["source/train"].x, back.sets["source/val"].x])
    given = torch.cat([back.sets["source/train"].y, back.sets["source/val"].y])
    target = data.sets["target/train"].x
    for x, y in zip(both, given, strict=True):
        position = (target == x).flatten(1).all(1).nonzero().item()
        assert y == labels[position]
    assert len({tuple(x.flatten().tolist()) for x in both}) == 45
    assert torch.equal(back.sets["target/train"].x, data.sets["source/train"].x)
    assert back.sets["target/train"].y is None
    assert torch.equal(back.sets["target/test"].y, data.sets["source/val"].y)
    assert back.val_names == ["source/val", "target/train"]
    assert back.test_names == ["target/test"]
    assert data.sets["target/train"].y is None
    assert len(data.sets["source/train"]) == 60
    assert data.val_names == back.val_names


def test_a_part_held_out_of_an_augmented_set_is_normalised():
    data, _ = make(data=BlobPair(batch_size=20, augmentation=Augmentation(flip=0.5)), adaptation=DANN())
    plain, _ = make(data=BlobPair(batch_size=20), adaptation=DANN())
    labels = torch.zeros(45, dtype=torch.long)
    held, expected = (exchanged(pair, labels, 0.2).sets["source/val"].x for pair in (data, plain))
    torch.testing.assert_close(held, expected)


def test_a_target_that_is_too_small_is_refused():
    data, _ = trained(DANN())
    with pytest.raises(UserError, match="has only 1 sample"):
        exchanged(data, torch.zeros(1, dtype=torch.long), 0.1)


def test_statistics_and_encoders_change_sides():
    for adaptation in (DANN(batch_norm="domain_specific"), ADDA(pretrain=0.3)):
        data, model = trained(adaptation)
        weights = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
        _, other = make(data=data, adaptation=type(adaptation)())
        if isinstance(adaptation, DANN):
            _, other = make(data=data, adaptation=DANN(batch_norm="domain_specific"))
        other.network.load_state_dict(exchanged_weights(weights))
        x = data.sets["source/val"].x
        with torch.no_grad():
            seen = {}
            for name, network in (("first", model.network.eval()), ("back", other.network.eval())):
                for domain in ("source", "target"):
                    network.use(domain)
                    seen[name, domain] = network(x)
        assert torch.equal(seen["first", "source"], seen["back", "target"])
        assert torch.equal(seen["first", "target"], seen["back", "source"])
        assert not torch.equal(seen["first", "source"], seen["first", "target"])


def test_one_network_for_both_stays_as_it_is():
    _, model = trained(NoAdaptation())
    weights = model.network.state_dict()
    assert exchanged_weights(weights).keys() == weights.keys()
    assert isinstance(model.network.backbone, TinyNet)


def test_the_reverse_run_starts_from_the_configured_weights():
    data, model = trained(DANN())
    before = state(model)
    asked = []

    def train(pair, weights):
        asked.append((pair, weights))
        return 0.25

    assert ReverseValidation().score_run(model, data, train) == 0.25
    assert ReverseValidation(start="fresh").score_run(model, data, train) == 0.25
    assert asked[1][1] is None
    assert all(torch.equal(asked[0][1][name], tensor) for name, tensor in model.network.state_dict().items())
    assert torch.equal(asked[0][0].sets["source/train"].y, asked[1][0].sets["source/train"].y)
    assert all(torch.equal(before[name], tensor) for name, tensor in state(model).items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "cold"}, "validator.reverse.start must be 'learned' or 'fresh', not 'cold'"),
        ({"held_out": 1.0}, r"validator.reverse.held_out must be in \(0, 1\), not 1.0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ReverseValidation(**options)


TINY = [
    "trainer.max_epochs=2", "trainer.limit_train_batches=20", "data.source_count=600", "data.source_test_count=50",
    "data.target_test_count=1000", "data.batch_size=16", "logger=none", "health=false", "figures=false",
]  # fmt: skip


def run(folder, *overrides):
    main([*TINY, *overrides, f"hydra.run.dir={folder}"])
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("adaptation", ["dann", "importance_weighting"])
def test_a_run_has_its_score_and_the_same_numbers_otherwise(adaptation, tmp_path, capsys):
    given = [f"domain_adaptation={adaptation}", "data.evaluate=best"]
    plain = run(tmp_path / "a", *given, "validator=[snd]")
    scored = run(tmp_path / "b", *given, "validator=[snd,reverse]")
    again = run(tmp_path / "c", *given, "validator=[reverse]", "validator.reverse.start=fresh")
    score = scored["metrics"].pop("val/reverse_acc")
    assert scored["metrics"] == plain["metrics"]
    assert scored["selection"] == plain["selection"]
    assert 0 < score <= 1
    assert score != again["metrics"]["val/reverse_acc"]
    assert f"Reverse validation: accuracy {100 * score:.1f} %" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "b").iterdir()} == {path.name for path in (tmp_path / "a").iterdir()}
    assert (tmp_path / "b" / "metrics.csv").read_text() == (tmp_path / "a" / "metrics.csv").read_text()


def test_it_needs_two_domains_and_one_process(tmp_path, capsys):
    for name, given in {
        "has no target": ["data=digits", "domain_adaptation=none"],
        "in one process": ["trainer=ddp_cpu", "data.batch_size=32"],
    }.items():
        with pytest.raises(SystemExit):
            main([*given, "validator=[reverse]", "logger=none", f"hydra.run.dir={tmp_path / name.replace(' ', '_')}"])
        assert name in capsys.readouterr().err
