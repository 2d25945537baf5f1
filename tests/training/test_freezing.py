"""Trained and frozen parameters over time, to the last bit."""

import functools
import itertools

import pytest
import torch
from laboratory import Blobs, differing, fit, make, state

from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.strategies.feature_extraction import FeatureExtraction
from tl_lab.strategies.fine_tuning import FineTuning

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_a_frozen_backbone_keeps_parameters_and_statistics():
    data, model = make(layers=LayerPolicy("none"))
    before = state(model.network)
    fit(data, model)
    assert differing(before, state(model.network)) == {"head.0.weight", "head.0.bias"}


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_frozen_group_is_not_decayed_either(decay):
    adamw = functools.partial(torch.optim.AdamW, lr=0.01, weight_decay=decay)
    data, model = make(layers=LayerPolicy(1, unfreeze_every=2), optimizer=adamw)
    before = state(model.network.backbone)
    fit(data, model, epochs=2)
    assert differing(before, state(model.network.backbone)) == set()


def test_gradual_unfreezing_adds_one_group_per_epoch():
    data, model = make(strategy=FineTuning, layers=LayerPolicy(unfreeze_every=1))
    snapshots = [state(model.network.backbone)]
    inner = model.on_validation_epoch_end

    def note():
        snapshots.append(state(model.network.backbone))
        inner()

    model.on_validation_epoch_end = note
    fit(data, model, epochs=4)
    moved = [{name.split(".")[0] for name in differing(a, b)} for a, b in itertools.pairwise(snapshots)]
    assert moved == [set(), {"out"}, {"conv2", "out"}, {"conv1", "conv2", "out"}]


def test_rates_per_group_are_those_of_the_policy():
    _, model = make(strategy=FineTuning, layers=LayerPolicy(backbone_lr=0.5, decay=2.6))
    rates = {group["name"]: group["lr"] for group in model.configure_optimizers().param_groups}
    assert rates == pytest.approx(
        {
            "backbone/out": 0.025,
            "backbone/conv2": 0.025 / 2.6,
            "backbone/conv1": 0.025 / 2.6**2,
            "head": 0.05,
        }
    )


@pytest.mark.parametrize("layers", [LayerPolicy("all"), LayerPolicy(2), LayerPolicy(["conv1"])])
def test_the_optimizer_contains_every_trained_parameter_once(layers):
    _, model = make(layers=layers, bottleneck=4)
    held = [id(p) for group in model.configure_optimizers().param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in model.learned_parameters()}


def test_cached_features_give_the_same_training_as_running_the_backbone():
    options = {"strategy": FeatureExtraction, "layers": LayerPolicy("none")}
    results = []
    for cache in (True, False):
        data, model = make(data=Blobs(batch_size=20), cache=cache, **options)
        trainer = fit(data, model, epochs=3)
        scores = trainer.test(model, datamodule=data, verbose=False)
        assert scores is not None
        results.append((state(model.network), model.last_validation, model.last_test))
    (cached, cached_val, cached_test), (plain, plain_val, plain_test) = results
    for name in cached:
        torch.testing.assert_close(cached[name], plain[name], rtol=1e-5, atol=1e-6)
    assert cached_val == pytest.approx(plain_val, abs=1e-5)
    assert cached_test == pytest.approx(plain_test, abs=1e-5)


def test_cached_features_cannot_be_augmented():
    from tl_lab.data.inputs.augmentation import Augmentation
    from tl_lab.errors import UserError

    data, model = make(
        data=Blobs(batch_size=20, augmentation=Augmentation(flip=0.5)),
        strategy=FeatureExtraction,
        layers=LayerPolicy("none"),
    )
    with pytest.raises(UserError, match=r"strategy\.cache=false"):
        fit(data, model)
    with pytest.raises(UserError, match="strategy=fine_tuning"):
        make(strategy=FeatureExtraction, layers=LayerPolicy(1))


def test_weight_decay_can_leave_out_biases_and_norms():
    _, model = make(
        optimizer=functools.partial(torch.optim.AdamW, lr=0.05, weight_decay=0.5), weight_decay_on="matrices"
    )
    groups = model.configure_optimizers().param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decays = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert decays == {name: 0.5 if p.ndim > 1 else 0.0 for name, p in model.named_parameters()}
    assert {group["lr"] for group in groups} == {0.05}
    with pytest.raises(UserError, match=r"update\.weight_decay_on must be 'all' or 'matrices'"):
        make(weight_decay_on="weights")
