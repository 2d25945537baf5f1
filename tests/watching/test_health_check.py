import functools
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from laboratory import BlobPair, differing, fit, make, state
from torch import nn

from tl_lab.backbones.mlp import MLP
from tl_lab.cli.train import main
from tl_lab.data.request import Request
from tl_lab.data.samples import Samples
from tl_lab.domain_adaptation.base import Adaptation, DomainAdaptation, Phase
from tl_lab.domain_adaptation.bounds import SourceOnly, TargetOnly
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.functional import class_mean_gap, linear_domain_accuracy, reverse_gradient
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.problems import SingleLabel
from tl_lab.strategies.feature_extraction import FeatureExtraction
from tl_lab.strategies.from_scratch import FromScratch
from tl_lab.training.schedules import Constant
from tl_lab.watching.health_check import (
    HealthCheck,
    _acts,
    _until_tested,
    domain_features,
    gradient_norms,
    head_distances,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


# ---------------------------------------------------------------------- gradients at the features


def test_norms_are_those_of_the_closed_form():
    x = torch.tensor([[3.0, 4.0]], requires_grad=True)
    y = torch.tensor([[0.0, 2.0]], requires_grad=True)
    w = torch.ones(2, requires_grad=True)
    terms = {
        "square": x.square().sum() / 2,  # gradient x
        "both": x.square().sum() / 2 + y.square().sum(),  # x and 2y
        "reversed": reverse_gradient(x, 0.1).square().sum() / 2,  # -0.1 x
        "penalty": w.square().sum(),
        "constant": torch.tensor(3.0),
    }
    norms = gradient_norms(terms, [x, y])
    expected = {"square": 5.0, "both": (25 + 16) ** 0.5, "reversed": 0.5, "penalty": 0.0, "constant": 0.0}
    assert norms == pytest.approx({f"grad_norm_{name}": norm for name, norm in expected.items()})
    assert x.grad is None
    assert w.grad is None
    sum(terms.values()).backward()  # the graph is still there


def test_slices_of_a_joint_batch_use_the_gradient_of_the_whole():
    both = torch.tensor([[3.0], [4.0]], requires_grad=True) * 1.0
    norms = gradient_norms({"halves": both[:1].sum() - both[1:].sum(), "whole": 2 * both.sum()}, [both[:1], both[1:]])
    assert norms == pytest.approx({"grad_norm_halves": 2**0.5, "grad_norm_whole": 2 * 2**0.5})


def test_features_without_gradient_give_nothing():
    w = torch.ones(3, requires_grad=True)
    assert gradient_norms({"task_loss": (w * torch.ones(2, 3)).sum()}, [torch.ones(2, 3)]) == {}


def test_a_gradient_that_is_not_finite_is_written_as_a_huge_number():
    x = torch.zeros(1, requires_grad=True)
    norms = gradient_norms({"root": x.sqrt().sum(), "none": (x.sqrt() * 0).sum()}, [x])
    assert norms == {"grad_norm_root": 1e30, "grad_norm_none": 1e30}


# ---------------------------------------------------------------------- in training


class Phased(DomainAdaptation):
    batch_norm = "separate"

    def build(self, network):
        self.scale = nn.Parameter(torch.ones(network.num_features))

    def phases(self, progress):
        return (Phase("joint"), Phase("own", frozenset({"adaptation"}), task=False))

    def adapt(self, source, target, update):
        return Adaptation({f"{update.phase}_loss": (self.scale * target.features).square().mean()})


class OwnEncoder(DomainAdaptation):
    target_encoder = True

    def adapt(self, source, target, update):
        return Adaptation({"pull": target.features.square().mean()})


def trained(adaptation, check=True, epochs=2, **options):
    kept = []
    health = HealthCheck(keep=lambda found: kept.append(dict(found)))
    data, model = make(data=BlobPair(batch_size=20), adaptation=adaptation, dropout=0.3, **options)
    rows = []
    model.write = lambda metrics: rows.append({"step": model.updates_done, "epoch": model.current_epoch, **metrics})
    trainer = fit(data, model, epochs=epochs, callbacks=[health] if check else [])
    weights = state(model)
    trainer.test(model, datamodule=data, verbose=False)
    return data, model, health, rows, weights, kept


FROZEN = {"strategy": FeatureExtraction, "layers": LayerPolicy("none"), "bottleneck": 4}


@pytest.mark.parametrize(
    ("adaptation", "options"),
    [
        (lambda: DANN(batch_norm="joint", dropout=0.2), {}),
        (lambda: DANN(batch_norm="domain_specific"), {"bottleneck": 4}),
        (lambda: DANN(), FROZEN),
        (Phased, {}),
        (OwnEncoder, {}),
        (NoAdaptation, {}),
        (TargetOnly, {}),
    ],
    ids=["joint", "domain_specific", "cached", "phases", "own_encoder", "none", "oracle"],
)
def test_a_run_trains_to_the_same_bits_with_it_and_is_measured(adaptation, options):
    _, _, health, rows, weights, kept = trained(adaptation(), **options)
    twin = trained(adaptation(), check=False, **options)
    assert not differing(weights, twin[4])
    assert [len(found) for found in kept] == [5, 8]
    assert set(kept[1]["head"]) == {"linear_acc", "mmd", "disparity", "class_gap"}
    for name in ("a_distance_start", "a_distance"):
        assert 0 <= health.measured[name] <= 2
    assert health.measured["sets"] == ["source/train", "target/train"], "30 validation samples are too few"
    norms = [row for row in rows if "train/grad_norm_task_loss" in row]
    assert [row["epoch"] for row in norms] == [0, 1], "once an epoch"
    assert all(row["train/grad_norm_task_loss"] > 0 for row in norms)


def test_phases_without_an_encoder_do_not_count():
    _, _, _, rows, _, _ = trained(Phased())
    assert any("train/grad_norm_joint_loss" in row for row in rows)
    assert not any("train/grad_norm_own_loss" in row for row in rows)


def test_the_logged_norm_is_that_of_the_last_batch():
    seen = []

    def keep(terms, features):
        (gradient,) = torch.autograd.grad(terms["task_loss"], features[:1], retain_graph=True)
        seen.append(float(gradient.norm()))
        return {}

    data, model = make(data=BlobPair(batch_size=20), adaptation=DANN(batch_norm="separate"))
    rows = []
    model.write = rows.append
    model.watchers.append(keep)
    fit(data, model, epochs=1, callbacks=[HealthCheck(keep=lambda found: None)])
    (logged,) = [row["train/grad_norm_task_loss"] for row in rows if "train/grad_norm_task_loss" in row]
    assert logged == pytest.approx(seen[-1], rel=1e-5)


def test_features_are_those_of_each_domain():
    data, model, _, _, _, _ = trained(OwnEncoder())
    count = len(data.sets["target/train"])
    drawn = domain_features(model, data, "target/train", count)
    model.eval()
    model.network.use("target")
    with torch.no_grad():
        own = model.network.features(data.sets["target/train"].x)
        model.network.use("source")
        others = model.network.features(data.sets["target/train"].x)
    order = torch.argsort(drawn[:, 0]), torch.argsort(own[:, 0])
    assert torch.allclose(drawn[order[0]], own[order[1]], atol=1e-6)
    assert not torch.allclose(own, others, atol=1e-3)
    assert domain_features(model, data, "target/train", 7).shape == (7, 8)


def test_statistics_of_each_domain_bring_brightness_together():
    # the target is brighter by a constant: statistics of its own take that away, whatever the weights are
    shared = trained(DANN(batch_norm="separate", lambda_max=0.0), epochs=4)[2].measured
    own = trained(DANN(batch_norm="domain_specific", lambda_max=0.0), epochs=4)[2].measured
    assert own["a_distance"] < shared["a_distance"]


class Prepares(DomainAdaptation):
    trains_on_target = False

    def __init__(self):
        super().__init__()
        self.prepared = []

    def before_evaluation(self, network, domain, domains):
        self.prepared.append((domain, network.training))


def test_evaluation_is_prepared_for_each_domain():
    _, model, _, _, _, _ = trained(Prepares())
    assert model.adaptation.prepared[-2:] == [("source", False), ("target", False)]


def test_the_head_is_measured_on_its_outputs_with_and_without_classes():
    draw = torch.Generator().manual_seed(0)
    source, target = torch.randn(60, 3, generator=draw), torch.randn(40, 3, generator=draw) + 1
    found = head_distances(source, target)
    assert found["linear_acc"] == linear_domain_accuracy(source, target)
    assert found["class_gap"] == class_mean_gap(source, target)
    assert set(head_distances(source, target, classes=False)) == {"linear_acc", "mmd"}
    assert head_distances(source, target * torch.nan) == {}


class VectorPair(BlobPair):
    def read(self):
        return {name: Samples(samples.x.flatten(1), samples.y) for name, samples in super().read().items()}


def test_vectors_are_also_measured():
    data = VectorPair(batch_size=20)
    data.load(Request(adapts=True))
    backbone = MLP(in_channels=36, input_size=(1, 1))
    data.use(backbone.spec)
    model = FromScratch(
        backbone=backbone,
        adaptation=DANN(),
        problem=SingleLabel([str(c) for c in range(3)]),
        optimizer=functools.partial(torch.optim.SGD, lr=0.01),
        scheduler=Constant(),
        layers=LayerPolicy(),
    )
    health = HealthCheck(keep=lambda found: None)
    fit(data, model, epochs=1, callbacks=[health])
    assert health.measured["a_distance_start"] > 1, "the target is brighter by .2 in every pixel"


# ---------------------------------------------------------------------- what is put together


def test_numbers_are_those_of_the_tested_epoch():
    check = HealthCheck(keep=lambda found: None, known={"a_distance_start": 1.5, "a_distance": 0.5, "scored": 60})
    rows = [
        {"step": 1, "epoch": 0, "train/domain_acc": 0.9, "train/lambda": 0.1},
        {"step": 2, "epoch": 0, "train/domain_acc": 0.7, "train/lambda": 0.2, "train/grad_norm_task_loss": 2.0,
         "val/source/acc": 0.9, "val/source/loss": 0.3},
        {"step": 4, "epoch": 1, "train/domain_acc": 0.5, "train/lambda": 0.4, "train/grad_norm_task_loss": 1.0,
         "val/source/acc": 0.8, "val/source/loss": 0.4},
    ]  # fmt: skip
    best = check.health(DANN(), rows, {"val/source/acc": 0.9, "val/source/loss": 0.3})
    assert best.discriminator_acc == pytest.approx(0.8)
    assert (best.lambda_end, best.source_score, best.best_source_score) == (0.2, 0.9, 0.9)
    assert best.gradient_norms == {"task_loss": 2.0}
    last = check.health(DANN(), rows, {"val/source/acc": 0.8, "val/source/loss": 0.4})
    assert (last.discriminator_acc, last.lambda_end, last.source_score, last.best_source_score) == (0.5, 0.4, 0.8, 0.9)
    assert last.gradient_norms == {"task_loss": 1.5}
    assert (last.a_distance_start, last.a_distance, last.scored, last.linear_acc) == (1.5, 0.5, 60, None)
    unknown, epoch = _until_tested(rows, {})
    assert (len(unknown), epoch) == (3, 1)


def test_bounds_do_not_adapt():
    assert not any(_acts(bound) for bound in (NoAdaptation(), SourceOnly(), TargetOnly()))
    assert all(_acts(method) for method in (DANN(), Phased(), Prepares()))


# ---------------------------------------------------------------------- whole runs

SMALL = [
    "data.source_count=400", "data.source_test_count=100", "data.target_test_count=1500", "data.batches_per_epoch=5",
    "trainer.max_epochs=2", "logger=none", "figures=false",
]  # fmt: skip


def run(folder: Path, *overrides: str) -> dict:
    main([*SMALL, *overrides, f"hydra.run.dir={folder}"])
    return json.loads((folder / "results.json").read_text())


def test_a_run_prints_and_stores_its_diagnosis_which_is_optional(tmp_path, capsys):
    results = run(tmp_path / "with")
    text = " ".join(capsys.readouterr().out.split())
    health = results["health"]
    assert f"health: {health['reading']}" in text
    assert "linear domain accuracy" in health["reading"]
    assert "A-distance" not in health["reading"]  # a number without a verdict
    assert health["sets"] == ["source/train", "target/train"]
    assert 0 < health["discriminator_acc"] < 1
    assert set(health["gradient_norms"]) == {"task_loss", "domain_loss"}
    for metric, name in {"val/a_distance_start": "a_distance_start", "val/domain_acc": "linear_acc"}.items():
        assert results["metrics"][metric] == health[name]
    assert "train/grad_norm_domain_loss" in pd.read_csv(tmp_path / "with" / "metrics.csv").columns

    without = run(tmp_path / "without", "health=false")
    assert "health:" not in capsys.readouterr().out
    assert "health" not in without
    assert without["config_hash"] == results["config_hash"]
    assert without["comparison_key"] == results["comparison_key"]
    kept = {name: value for name, value in results["metrics"].items() if name in without["metrics"]}
    assert kept == without["metrics"]
    assert set(results["metrics"]) - set(kept) == {"val/a_distance_start", "val/a_distance", "val/domain_acc"}


def test_a_resumed_run_knows_the_distance_before_training(tmp_path, capsys):
    whole = run(tmp_path / "run")
    (tmp_path / "run" / "results.json").write_text(json.dumps({**whole, "status": "running", "metrics": {}}))
    main([f"resume={tmp_path / 'run'}"])
    resumed = json.loads((tmp_path / "run" / "results.json").read_text())
    assert resumed["metrics"] == whole["metrics"]
    assert resumed["health"]["reading"] == whole["health"]["reading"]
    capsys.readouterr()
    main([f"resume={tmp_path / 'run'}"])
    assert f"health: {whole['health']['reading']}" in " ".join(capsys.readouterr().out.split())
