"""Validators against numpy, and that asking them changes nothing."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from laboratory import BlobPair, differing, fit, make, state
from omegaconf import OmegaConf

from tl_lab.cli.train import main
from tl_lab.config import choices, compose, config_hash
from tl_lab.domain_adaptation.adabn import AdaBN
from tl_lab.domain_adaptation.adda import ADDA
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.strategies.feature_extraction import FeatureExtraction
from tl_lab.watching.validators.base import Evidence, Validator
from tl_lab.watching.validators.dev import DeepEmbeddedValidation
from tl_lab.watching.validators.importance_weighted import ImportanceWeightedValidation
from tl_lab.watching.validators.measuring import Measuring, gather

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


# ---------------------------------------------------------------------- scores


def evidence(weights=None):
    """Outputs written by hand: the target lies half a deviation beside the source."""
    draw = torch.Generator().manual_seed(0)
    source, val = torch.randn(200, 3, generator=draw), torch.randn(80, 3, generator=draw)
    target = torch.randn(150, 3, generator=draw) + 0.5
    losses = torch.rand(80, generator=draw).double()
    made = Evidence(source, val, target, losses, (losses > 0.6).double())
    if weights is not None:
        made._ratios[2000, 1.0] = weights
    return made


def ratios_by_hand(made, samples=2000, strength=1.0):
    """Logistic regression between the domains by Newton's method, on standardised features."""
    source, target, val = (x.double().numpy() for x in (made.source_train, made.target_train, made.source_val))
    source, target = source[:samples], target[:samples]
    both = np.concatenate([source, target])
    scaled = (both - both.mean(0)) / both.std(0)
    x = np.column_stack([scaled, np.ones(len(both))])
    y = np.repeat([0.0, 1.0], [len(source), len(target)])
    v, ridge = np.zeros(x.shape[1]), strength * np.diag([1.0] * (x.shape[1] - 1) + [0.0])  # the offset is free
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ v))
        v -= np.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]) + ridge, x.T @ (p - y) + ridge @ v)
    odds = np.column_stack([(val - both.mean(0)) / both.std(0), np.ones(len(val))]) @ v
    return np.exp(odds) * len(source) / len(target)


@pytest.mark.parametrize(("samples", "strength"), [(2000, 1.0), (100, 30.0)])
def test_scores_from_features_against_numpy(samples, strength):
    made = evidence()
    w, losses, wrong = ratios_by_hand(made, samples, strength), made.losses.numpy(), made.wrong.numpy()
    assert 0.01 < w.std() < 10
    covariance = np.cov(w * losses, w)
    eta = -covariance[0, 1] / covariance[1, 1]
    options = {"samples": samples, "regularisation": strength}
    dev = DeepEmbeddedValidation(**options).score(made)
    assert dev == pytest.approx(np.mean(w * losses) + eta * np.mean(w) - eta, rel=1e-3)
    weighted = ImportanceWeightedValidation(**options).score(made)
    assert weighted == pytest.approx(1 - np.sum(w * wrong) / np.sum(w), rel=1e-3)
    published = ImportanceWeightedValidation(normalise=False, **options).score(made)
    assert published == pytest.approx(1 - np.mean(w * wrong), rel=1e-3)


def test_equal_weights_give_the_sources_own_scores():
    made = evidence(weights=torch.ones(80, dtype=torch.double))
    assert DeepEmbeddedValidation().score(made) == pytest.approx(float(made.losses.mean()), rel=1e-12)
    accuracy = 1 - float(made.wrong.mean())
    assert DeepEmbeddedValidation(loss="zero_one").score(made) == pytest.approx(1 - accuracy, rel=1e-12)
    assert ImportanceWeightedValidation().score(made) == pytest.approx(accuracy, rel=1e-12)


def test_known_weights():
    weights = torch.zeros(80, dtype=torch.double)
    weights[:2] = torch.tensor([1.0, 3.0])
    made = evidence(weights)
    made.wrong[:2] = torch.tensor([1.0, 0.0])
    assert ImportanceWeightedValidation().score(made) == pytest.approx(0.75)
    assert ImportanceWeightedValidation(normalise=False).score(made) == pytest.approx(1 - 1 / 80)


def test_features_that_are_not_finite_have_no_score():
    made = evidence()
    made.source_train[0, 0] = float("inf")
    assert np.isnan(DeepEmbeddedValidation().score(made))
    assert np.isnan(ImportanceWeightedValidation().score(made))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (DeepEmbeddedValidation, {"regularisation": 0.0}, "validator.dev.regularisation must be above 0, not 0.0"),
        (DeepEmbeddedValidation, {"samples": 1}, "validator.dev.samples must be at least 2, not 1"),
        (
            DeepEmbeddedValidation,
            {"loss": "hinge"},
            "validator.dev.loss must be 'cross_entropy' or 'zero_one', not 'hinge'",
        ),
        (ImportanceWeightedValidation, {"regularisation": float("nan")}, "validator.importance_weighted.regularis"),
        (
            ImportanceWeightedValidation,
            {"samples": 0},
            "validator.importance_weighted.samples must be at least 2, not 0",
        ),
    ],
)
def test_wrong_options_are_refused(kind, options, message):
    with pytest.raises(UserError, match=message):
        kind(**options)


def test_every_choice_builds_a_validator_with_a_metric_of_its_own():
    names = sorted(choices("validator")["validator"])
    assert {"source_accuracy", "entropy", "information_maximisation", "snd", "dev", "importance_weighted"} <= set(names)
    built = instantiate(OmegaConf.to_container(compose([f"validator=[{','.join(names)}]"]).validator))
    assert sorted(built) == names
    assert all(isinstance(validator, Validator) for validator in built.values())
    assert len({validator.metric for validator in built.values()}) == len(names)
    assert {validator.mode for validator in built.values()} == {"min", "max"}
    assert all(validator.metric.startswith("val/") for validator in built.values())


# ---------------------------------------------------------------------- in training


class Recorded(BlobPair):
    """Notes which sets are served."""

    def loader(self, name, **options):
        self.served = [*getattr(self, "served", []), name]
        return super().loader(name, **options)


def trained(adaptation, asks=True, epochs=2, **options):
    data, model = make(data=Recorded(batch_size=20), adaptation=adaptation, dropout=0.3, **options)
    data.request = replace(data.request, tracks_oracle=asks)
    kept = []
    if asks:
        model.scorers.append(Measuring([DeepEmbeddedValidation(samples=40), ImportanceWeightedValidation(samples=50)]))
        model.scorers.append(lambda strategy, data: kept.append(gather(strategy, data, 10**6)) or {})
    fit(data, model, epochs=epochs)
    return data, model, kept


FROZEN = {"strategy": FeatureExtraction, "layers": LayerPolicy("none"), "bottleneck": 4}


@pytest.mark.parametrize(
    ("adaptation", "options"),
    [
        (lambda: DANN(batch_norm="joint", dropout=0.2), {}),
        (lambda: DANN(batch_norm="domain_specific"), {"bottleneck": 4}),
        (AdaBN, {}),
        (lambda: ADDA(pretrain=0.4), {}),
        (lambda: DANN(), FROZEN),
        (AdaBN, FROZEN),
        (NoAdaptation, {}),
    ],
    ids=["joint", "domain_specific", "adabn", "own_encoder", "cached", "cached_adabn", "none"],
)
def test_a_run_trains_to_the_same_bits_with_validators(adaptation, options):
    _, plain, _ = trained(adaptation(), asks=False, **options)
    _, asked, kept = trained(adaptation(), **options)
    assert differing(state(plain), state(asked)) == set()
    assert {name: asked.last_validation[name] for name in plain.last_validation} == plain.last_validation
    further = set(asked.last_validation) - set(plain.last_validation)
    assert {"val/dev", "val/importance_weighted_acc", "oracle/target/acc"} <= further
    assert all(np.isfinite(asked.last_validation[name]) for name in further)
    # what is measured is the network as it is evaluated: its losses are those of the validation itself
    last = kept[-1]
    assert len(last.source_train) == 60
    assert len(last.target_train) == 45
    assert float(last.losses.mean()) == pytest.approx(asked.last_validation["val/source/loss"], rel=1e-5)
    assert 1 - float(last.wrong.mean()) == pytest.approx(asked.last_validation["val/source/acc"])


def test_features_are_those_of_each_domain():
    data, model, kept = trained(DANN(batch_norm="domain_specific"), epochs=1)
    for name in ("source/train", "target/train"):
        model.network.use(name.split("/")[0])
        model.eval()
        with torch.no_grad():
            expected = model.network.features(data.sets[name].x)
        found = getattr(kept[-1], name.replace("/", "_"))
        torch.testing.assert_close(found.sort(0).values, expected.sort(0).values, rtol=1e-5, atol=1e-6)
    model.network.use("source")
    with torch.no_grad():
        torch.testing.assert_close(
            kept[-1].source_val, model.network.features(data.sets["source/val"].x), rtol=1e-5, atol=1e-6
        )


def test_without_validators_the_targets_test_set_is_not_touched_in_training():
    data, model, _ = trained(DANN(), asks=False)
    assert set(data.served) == {"source/val", "target/train"}
    assert not any(name.startswith("oracle") for name in model.last_validation)
    data, _, _ = trained(DANN())
    assert "target/test" in data.served


def test_a_nan_oracle_loss_does_not_stop_training():
    data, model = make(data=BlobPair(batch_size=20), adaptation=NoAdaptation())
    data.request = replace(data.request, tracks_oracle=True)
    data.sets["target/test"].x[0] = float("nan")
    fit(data, model, epochs=1)
    assert np.isnan(model.last_validation["oracle/target/loss"])


# ---------------------------------------------------------------------- whole runs

TINY = [
    "trainer.max_epochs=3", "trainer.limit_train_batches=3", "data.source_count=300", "data.source_test_count=50",
    "data.target_test_count=1500", "data.batch_size=8", "logger=none", "figures=false", "health=false",
    "backbone=mlp", "backbone.hidden=[32]",
]  # fmt: skip


def run(folder, *overrides):
    main([*TINY, *overrides, f"hydra.run.dir={folder}"])
    return json.loads((folder / "results.json").read_text())


def test_a_run_stores_what_each_would_have_chosen_and_may_be_chosen_by_them(tmp_path):
    found = run(tmp_path / "a", "validator=[dev,snd]", "callbacks.checkpoint.monitor=val/dev", "data.evaluate=best")
    rows = {row["chooser"]: row for row in found["selection"]}
    assert list(rows) == ["dev", "snd", "last epoch", "oracle (target test labels)"]
    metrics = pd.read_csv(tmp_path / "a" / "metrics.csv").dropna(subset=["val/dev"])
    best = metrics.loc[metrics["val/dev"].idxmin()]
    assert rows["dev"]["value"] == best["val/dev"] == found["metrics"]["val/dev"]
    assert rows["dev"]["epoch"] == best["epoch"] + 1
    # the checkpoint that it chose was tested: the oracle's curve holds the same number
    assert rows["dev"]["target_acc"] == best["oracle/target/acc"] == found["metrics"]["test/target/acc"]
    assert rows["oracle (target test labels)"]["target_acc"] == metrics["oracle/target/acc"].max()
    assert [row["oracle"] for row in rows.values()] == [False, False, False, True]
    assert not any(name.startswith("oracle") for name in found["metrics"])


def test_validators_change_no_number_and_no_hash(tmp_path):
    with_all = run(tmp_path / "a", "validator=[source_accuracy,entropy,information_maximisation,snd,dev]")
    without = run(tmp_path / "b", "validator=[]")
    assert without["selection"] == []
    assert {name: with_all["metrics"][name] for name in without["metrics"]} == without["metrics"]
    assert with_all["config_hash"] == without["config_hash"]
    assert with_all["comparison_key"] == without["comparison_key"]
    header = (tmp_path / "b" / "metrics.csv").read_text().splitlines()[0]
    assert "oracle" not in header


def test_a_run_that_uses_a_validator_has_another_hash():
    by_dev = ["callbacks.checkpoint.monitor=val/dev"]
    hashes = {
        config_hash(compose([*by_dev, *rest]))
        for rest in (["+validator=dev"], ["+validator=dev", "validator.dev.loss=zero_one"])
    }
    assert len(hashes) == 2
    assert config_hash(compose(["+validator=dev"])) == config_hash(compose(["validator=[]"]))


def test_a_resumed_run_has_the_whole_table(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole", "+validator=dev")

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tl_lab.strategies.base.Strategy.on_train_epoch_start", _after(1, stop))
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(tmp_path / "cut", "+validator=dev")
    main([f"resume={tmp_path / 'cut'}"])
    resumed = json.loads((tmp_path / "cut" / "results.json").read_text())
    assert resumed["selection"] == whole["selection"]
    assert resumed["metrics"] == whole["metrics"]


def _after(epoch, then):
    from tl_lab.strategies.base import Strategy

    original = Strategy.on_train_epoch_start

    def start(self):
        if self.current_epoch > epoch:
            then()
        original(self)

    return start


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["validator=[dve]"], "'dve' is not among the choices; did you mean 'dev'?"),
        (["validator=none"], "'validator=none' is not among the choices"),
        (["validator=null"], "write validator=[]"),
        (["backbone=[mlp,lenet]"], "backbone takes one choice, not a list"),
        (["callbacks.checkpoint.monitor=oracle/target/acc"], "may monitor a validation metric only"),
        (["callbacks.checkpoint.monitor=val/dev"], "may monitor a validation metric only"),
        (["+validator.dev=3"], "validator.dev is not a validator; valid: dev"),
        (["data=digits", "domain_adaptation=none", "validator=[dev]"], "data=digits has no target"),
    ],
)
def test_mistakes_are_reported_in_one_sentence(overrides, says, tmp_path, capsys):
    given = [text for text in TINY if not (overrides[0] == "data=digits" and text.startswith("data."))]
    with pytest.raises(SystemExit):
        main([*given, *overrides, f"hydra.run.dir={tmp_path / 'a'}"])
    assert says in capsys.readouterr().err


def test_oracle_and_supervised_runs_have_no_validator_table(tmp_path):
    found = run(tmp_path / "a", "domain_adaptation=target_only", "+validator=dev")
    assert found["selection"] == []
