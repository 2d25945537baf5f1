import json
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from laboratory import BlobPair, differing, fit, make, network, state
from torch.nn import functional as F

from tl_lab.cli.train import main
from tl_lab.domain_adaptation.base import Phase, Update
from tl_lab.domain_adaptation.importance_weighting import ImportanceWeighting
from tl_lab.errors import UserError
from tl_lab.functional import classifier_ratio, kernel_mean_matching, kliep_ratio
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.strategies.feature_extraction import FeatureExtraction

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Sets:
    """Two domains of vectors, served as the frame serves whole sets."""

    def __init__(self, n=300, m=200):
        draw = torch.Generator().manual_seed(0)
        self.sets = {
            "source/train": torch.randn(n, 5, generator=draw),
            "target/train": torch.randn(m, 5, generator=draw),
        }
        self.sets["target/train"] += 0.3

    def inputs(self, name):
        return self.sets[name]

    def features(self, name):
        return 2 * self.sets[name][:, :2]


def weigh(sets, **options):
    adaptation = ImportanceWeighting(**options)
    adaptation.build(network())
    adaptation.before_training(sets)
    return adaptation


def test_rows_of_tables_are_compared_by_numbers_and_one_hot_categories():
    """A source of one category in four and a target of one in two: the ratio of the categories' shares."""
    codes = {"source": [1, 1, 1, 2] * 50, "target": [1, 2] * 100}
    rows = {
        name: {
            "numbers": torch.zeros(200, 1),
            "known": torch.ones(200, 1),
            "categories": torch.tensor(of)[:, None],
        }
        for name, of in codes.items()
    }
    adaptation = ImportanceWeighting(compare="inputs", regularisation=1e-6)
    adaptation.seed = 0
    adaptation.before_training(SimpleNamespace(inputs=lambda name: rows[name.partition("/")[0]]))
    assert adaptation.weights is not None
    expected = torch.tensor([2 / 3, 2 / 3, 2 / 3, 2.0])  # (1/2) / (3/4) and (1/2) / (1/4), whose mean is 1
    torch.testing.assert_close(adaptation.weights[:4], expected, atol=1e-3, rtol=0)
    tokens = SimpleNamespace(inputs=lambda name: {"ids": torch.zeros(4, 2)})
    with pytest.raises(UserError, match="named tensors, such as tokens"):
        adaptation.before_training(tokens)


@pytest.mark.parametrize("compare", ["features", "inputs"])
def test_weights_are_the_estimated_ratio_with_mean_1(compare):
    sets = Sets()
    source, target = (getattr(sets, compare)(f"{domain}/train") for domain in ("source", "target"))
    index = torch.tensor([7, 0, 299])
    for estimator, ratio in (
        ("classifier", classifier_ratio(source, target, source, 2.0)),
        ("kmm", kernel_mean_matching(source, target, 5.0, 0.1)),
    ):
        options = {"regularisation": 2.0, "bound": 5.0, "epsilon": 0.1, "compare": compare}
        adaptation = weigh(sets, estimator=estimator, **options)
        torch.testing.assert_close(adaptation.sample_weights(index), (ratio / ratio.mean())[index].float())
    adaptation = weigh(sets, estimator="kliep", centres=20, compare=compare)
    ratio = kliep_ratio(source, target, source, 20, seed=adaptation.seed)
    torch.testing.assert_close(adaptation.sample_weights(index), ratio[index].float())
    assert float(adaptation.weights.mean()) == pytest.approx(1, abs=1e-5)


def test_clip_and_exponent():
    sets = Sets()
    ratio = classifier_ratio(*(sets.features(f"{d}/train") for d in ("source", "target", "source"))).float()
    assert float(ratio.max()) > 1.5
    clipped = ratio.clamp(max=1.5)
    everything = torch.arange(300)
    expected = {1.0: clipped / clipped.mean(), 0.5: clipped.sqrt() / clipped.sqrt().mean(), 0.0: torch.ones(300)}
    for exponent, weights in expected.items():
        found = weigh(sets, clip=1.5, exponent=exponent).sample_weights(everything)
        torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-6)


def test_the_effective_sample_size_is_printed_beside_the_numbers():
    adaptation = ImportanceWeighting()
    assert adaptation.facts() == {"importance weights": "classifier on features"}
    adaptation.weights = torch.tensor([1.0, 2.0, 3.0])
    assert adaptation.facts()["effective sample size"] == "2.6 of 3"  # 36 / 14
    options = {"estimator": "kmm", "compare": "inputs", "clip": 10.0, "exponent": 0.5}
    fact = ImportanceWeighting(**options).facts()["importance weights"]
    assert fact == "kmm on inputs, ratio at most 10, to the power of 0.5"


def test_the_task_loss_is_the_weighted_mean_and_its_effective_share_is_logged():
    data, model = make(data=BlobPair(batch_size=20), adaptation=ImportanceWeighting())
    model.adaptation.weights = torch.rand(60) + 0.1
    batch = next(iter(data.train_dataloader()))
    model.eval()
    loss = model.objective(batch, None, Update(0.0), Phase())
    w = model.adaptation.weights[batch.index]
    each = F.cross_entropy(model.network(batch.x), batch.y, reduction="none")
    torch.testing.assert_close(loss, (w * each).sum() / 20)
    share = w.sum() ** 2 / (20 * (w**2).sum())
    assert model.means.read().means()["effective_share"] == pytest.approx(share.item(), rel=1e-6)


@pytest.mark.parametrize("estimator", ["classifier", "kliep", "kmm"])
def test_training(estimator):
    data, model = make(data=BlobPair(batch_size=20), adaptation=ImportanceWeighting(estimator, clip=10.0))
    rows = []
    model.write = lambda metrics: rows.append(dict(metrics))
    fit(data, model, epochs=1)
    weights = model.adaptation.weights
    assert weights.shape == (60,)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-5)
    logged = next(row["train/effective_share"] for row in rows if "train/effective_share" in row)
    assert 0 < logged <= 1


def test_equal_weights_train_as_without():
    data, model = make(data=BlobPair(batch_size=20), adaptation=ImportanceWeighting(exponent=0.0))
    plain_data, plain = make(data=BlobPair(batch_size=20))
    fit(data, model, epochs=2)
    fit(plain_data, plain, epochs=2)
    for name, tensor in state(plain.network).items():
        torch.testing.assert_close(state(model.network)[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_resumed_run_keeps_its_weights(tmp_path):
    def parts():
        return make(data=BlobPair(batch_size=20), adaptation=ImportanceWeighting(clip=5.0))

    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == 0

    data, whole = parts()
    fit(data, whole, epochs=2)
    data, first = parts()
    saving = pl.callbacks.ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    fit(data, first, epochs=2, callbacks=[saving, Stop()])
    data, second = parts()
    fit(data, second, epochs=2, ckpt_path=tmp_path / "last.ckpt")  # features are others now: it may not fit anew
    assert torch.equal(second.adaptation.weights, whole.adaptation.weights)
    assert differing(state(whole.network), state(second.network)) == set()
    assert differing(state(whole.network), state(first.network))


def test_it_works_on_features_computed_once_and_in_double_precision():
    options = {"strategy": FeatureExtraction, "layers": LayerPolicy("none"), "bottleneck": 4}
    data, model = make(data=BlobPair(batch_size=20), adaptation=ImportanceWeighting(), **options)
    fit(data, model, epochs=1)
    model.eval()
    with torch.no_grad():
        source, target = (model.network.backbone(data.sets[f"{domain}/train"].x) for domain in ("source", "target"))
    ratio = classifier_ratio(source, target, source)
    torch.testing.assert_close(model.adaptation.weights, (ratio / ratio.mean()).float(), rtol=1e-4, atol=1e-5)
    data, model = make(data=BlobPair(batch_size=20), adaptation=ImportanceWeighting())
    fit(data, model, epochs=1, precision="64-true")
    assert model.network.head[0].weight.dtype == torch.float64


def test_a_run_prints_the_effective_sample_size(tmp_path):
    options = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "threads=1", "logger=none", "figures=false"]
    sizes = ["data.source_count=200", "data.source_test_count=50", "data.target_test_count=1600", "health=false"]
    main(["domain_adaptation=importance_weighting", *options, *sizes, f"hydra.run.dir={tmp_path / 'run'}"])
    protocol = json.loads((tmp_path / "run" / "results.json").read_text())["protocol"]
    assert protocol["importance weights"] == "classifier on features"
    size, count = protocol["effective sample size"].split(" of ")
    assert 1 <= float(size) <= float(count) == 180
    assert protocol["protocol"] == "inductive"


def test_kmm_refuses_more_samples_than_fit():
    sets = Sets()
    sets.sets["source/train"] = torch.zeros(10_001, 5)
    with pytest.raises(UserError, match=r"up to 10,000 of them, not 10,001.*kliep"):
        weigh(sets, estimator="kmm")


def test_a_small_effective_sample_size_produces_a_warning():
    sets = Sets()
    sets.sets["target/train"][:, 0] += 4
    with pytest.warns(UserWarning, match=r"an effective sample size of \d+ of the source's 300"):
        weigh(sets, regularisation=0.01)


def test_domains_that_cannot_be_weighted_are_refused_in_one_sentence():
    sets = Sets()
    sets.sets["target/train"] = torch.full((20, 5), float("nan"))
    with pytest.raises(UserError, match="cannot weight the source: features of the target contain NaN"):
        weigh(sets)


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": "classifer"},
        {"compare": "logits"},
        {"exponent": 1.5},
        {"clip": 0.0},
        {"regularisation": -1.0},
        {"centres": 0},
        {"bound": float("nan")},
        {"epsilon": -0.1},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(UserError, match=rf"domain_adaptation\.{next(iter(options))}"):
        ImportanceWeighting(**options)
