"""Adapters: exactly which parameters learn, with every kind of strategy."""

import functools

import pytest
import pytorch_lightning as pl
import torch
from laboratory import BlobPair, Blobs, BlobStream, TinyNet, differing, fit, make, state
from torch import nn

from tl_lab.adapters import NoAdapter
from tl_lab.adapters.bitfit import BitFit
from tl_lab.adapters.norm_only import NormOnly
from tl_lab.backbones.lenet import LeNet
from tl_lab.backbones.mlp import MLP
from tl_lab.config import compose, config_hash
from tl_lab.domain_adaptation.adda import ADDA
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.run.pairing import check_pairing
from tl_lab.run.plan import Plan
from tl_lab.strategies.continual.ewc import EWC
from tl_lab.strategies.feature_extraction import FeatureExtraction
from tl_lab.strategies.fine_tuning import FineTuning

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec")

FULL_RATE = LayerPolicy(backbone_lr=1.0)  # fine-tuning has a tenth by itself
HEAD = {"head.0.weight", "head.0.bias"}
BIASES = {"conv1.0.bias", "conv1.1.bias", "conv2.0.bias", "conv2.1.bias", "out.1.bias"}
NORMS = {"conv1.1.weight", "conv1.1.bias", "conv2.1.weight", "conv2.1.bias"}
ADAPTERS = [pytest.param(BitFit, BIASES, id="bitfit"), pytest.param(NormOnly, NORMS, id="norm_only")]


def in_backbone(names):
    return {f"backbone.{name}" for name in names}


@pytest.mark.parametrize(("adapter", "owned"), ADAPTERS)
def test_two_updates_change_what_the_adapter_owns_and_the_head_and_no_buffer(adapter, owned):
    data, model = make(strategy=FineTuning, adapter=adapter(), dropout=0.2)
    before = state(model.network)
    fit(data, model, epochs=1, limit_train_batches=2)
    assert model.updates_done == 2
    assert differing(before, state(model.network)) == in_backbone(owned) | HEAD


@pytest.mark.parametrize(("adapter", "owned"), ADAPTERS)
def test_one_update_is_the_gradient_step_with_batch_norm_in_evaluation_mode(adapter, owned):
    sgd = functools.partial(torch.optim.SGD, lr=0.1)
    data, model = make(
        data=Blobs(batch_size=60), strategy=FineTuning, adapter=adapter(), optimizer=sgd, layers=FULL_RATE
    )
    expected = state(model.network)
    x, y = data.sets["train"].x, data.sets["train"].y
    weights = dict(model.network.named_parameters())
    loss = nn.functional.cross_entropy(model.network.eval()(x), y)
    names = sorted(in_backbone(owned) | HEAD)
    for name, gradient in zip(names, torch.autograd.grad(loss, [weights[name] for name in names]), strict=True):
        expected[name] -= 0.1 * gradient
    fit(data, model, epochs=1)
    for name, tensor in state(model.network).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("adapter", "count"), [(BitFit, 24), (NormOnly, 16), (NoAdapter, 340)])
def test_the_number_of_parameters_that_learn(adapter, count):
    _, model = make(strategy=FineTuning, adapter=adapter())
    assert sum(parameter.numel() for parameter in model.learned_parameters()) == count + 3 * 8 + 3
    held = [id(p) for group in model.configure_optimizers().param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.learned_parameters())


def test_modes_under_an_adapter():
    _, model = make(strategy=FineTuning, adapter=BitFit(), dropout=0.2)
    model.freeze_for(0)
    model.train()
    net = model.network.backbone
    assert [net.conv1[1].training, net.conv2[1].training, net.out[3].training] == [False, False, True]
    _, model = make(strategy=FineTuning, adapter=NormOnly(), dropout=0.2)
    model.freeze_for(0)
    model.train()
    assert not model.network.backbone.out[3].training  # nothing of this group learns
    _, model = make(strategy=FineTuning)
    model.freeze_for(0)
    assert all(module.training for module in model.network.train().modules())


def test_batch_norm_stands_still_where_only_the_other_parameters_of_its_group_learn():
    class Convolutions(NoAdapter):
        def owns(self, parameter):
            return parameter == "conv1.0.weight"

    data, model = make(strategy=FineTuning, adapter=Convolutions())
    before = state(model.network)
    fit(data, model, epochs=1)
    assert differing(before, state(model.network)) == {"backbone.conv1.0.weight"} | HEAD


def test_layer_policies_set_rates_and_epochs_of_what_the_adapter_owns():
    policy = LayerPolicy(unfreeze_every=1, decay=2.0)
    data, model = make(strategy=FineTuning, adapter=NormOnly(), layers=policy)
    groups = {group["name"]: group["lr"] for group in model.configure_optimizers().param_groups}
    assert groups == pytest.approx({"backbone/conv1": 0.00625, "backbone/conv2": 0.0125, "head": 0.05})
    before = state(model.network)
    fit(data, model, epochs=3)  # first the head, then 'out', which has no normalisation, then conv2
    assert differing(before, state(model.network)) == {"backbone.conv2.1.weight", "backbone.conv2.1.bias"} | HEAD
    assert model.describe_layers() == "conv1 x0.125, conv2 x0.25, frozen: out, conv1 from epoch 4, conv2 from epoch 3"


def test_a_policy_that_leaves_nothing_to_the_adapter_is_refused():
    with pytest.raises(UserError, match=r"strategy\.layers\.trainable=none freezes all parameters of BitFit"):
        make(strategy=FineTuning, adapter=BitFit(), layers=LayerPolicy("none"))


def test_l2_sp_ties_what_the_adapter_owns():
    _, model = make(strategy=FineTuning, adapter=BitFit(), l2_sp={"alpha": 0.1})
    starts = {name.removeprefix("start_") for name in dict(model.named_buffers()) if name.startswith("start_")}
    assert starts == {name.replace(".", "_") for name in BIASES}


def test_ewc_computes_its_fisher_for_what_learns_alone():
    strategy = functools.partial(EWC, ewc_lambda=30.0)
    data = BlobStream(batch_size=20, epochs_per_task=1, scenario="domain")
    data, model = make(strategy, data=data, adapter=NormOnly())
    before = state(model.network)
    fit(data, model)
    learned = in_backbone(NORMS) | {"head.blocks.0.weight", "head.blocks.0.bias"}
    assert set(model.protected(1)) == learned
    precisions = {name for name in model.penalty.state_dict() if name.startswith("precision/")}
    assert precisions == {f"precision/{name.replace('.', '/')}" for name in learned}
    assert all(float(model.penalty.precision(name).sum()) > 0 for name in learned)
    assert differing(before, state(model.network)) == learned


def test_dann_reaches_the_backbone_through_the_adapter_alone():
    data, model = make(
        strategy=FineTuning, data=BlobPair(batch_size=20), adaptation=DANN(hidden=[4]), adapter=BitFit(), bottleneck=4
    )
    before, discriminator = state(model.network), state(model.adaptation)
    fit(data, model, epochs=1)
    changed = differing(before, state(model.network))
    assert {name for name in changed if name.startswith("backbone.")} == in_backbone(BIASES)
    assert differing(discriminator, state(model.adaptation))


def test_an_encoder_of_the_targets_own_has_the_adapter_too():
    _, model = make(strategy=FineTuning, data=BlobPair(batch_size=20), adaptation=ADDA(), adapter=NormOnly())
    learned = {name for name in model.mask().learned() if "backbone" in name}
    assert learned == {f"network.{part}backbone.{name}" for name in NORMS for part in ("", "target_encoder.")}


@pytest.mark.parametrize("adapter", [BitFit, NormOnly])
def test_a_resumed_run_equals_an_unbroken_one(adapter, tmp_path):
    def run(name, ckpt_path=None):
        data, model = make(strategy=FineTuning, adapter=adapter(), layers=LayerPolicy(unfreeze_every=1), dropout=0.2)
        saving = pl.callbacks.ModelCheckpoint(tmp_path / name, filename="{epoch}", save_top_k=-1)
        fit(data, model, epochs=4, callbacks=[saving], ckpt_path=ckpt_path)
        return state(model.network)

    assert differing(run("whole"), run("resumed", tmp_path / "whole" / "epoch=1.ckpt")) == set()


def test_names_that_are_biases():
    names = ["bias", "a.bias", "rnn.bias_ih_l0", "attn.in_proj_bias", "attn.q_bias"]
    assert all(map(BitFit().owns, names))
    assert not any(map(BitFit().owns, ["a.weight", "relative_position_bias_table", "bias.weight", "unbiased"]))


def test_normalisation_layers_of_every_kind_are_found():
    class RMSNorm2d(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

    net = TinyNet()
    net.out.append(nn.Sequential(nn.LayerNorm(8), nn.GroupNorm(2, 8), nn.InstanceNorm1d(8), RMSNorm2d()))
    adapter = NormOnly()
    adapter.inject(net)
    found = {name for name, _ in net.named_parameters() if adapter.owns(name)}
    kinds = {"out.4.0.weight", "out.4.0.bias", "out.4.1.weight", "out.4.1.bias", "out.4.3.weight"}
    assert found == NORMS | kinds


def test_backbones_without_anything_to_train_are_refused():
    mlp = MLP(in_channels=1, input_size=(6, 6), hidden=[4])
    with pytest.raises(UserError, match=r"MLP has none with parameters: choose .*backbone\.batch_norm=true"):
        NormOnly().inject(mlp)
    assert BitFit().inject(mlp) is mlp

    class NoBias(TinyNet):
        def named_parameters(self, *args, **options):
            return ((n, p) for n, p in super().named_parameters(*args, **options) if "bias" not in n)

    with pytest.raises(UserError, match="adapter=bitfit trains biases, but NoBias has none"):
        BitFit().inject(NoBias())


def test_none_changes_nothing_and_states_nothing():
    net, adapter = LeNet(in_channels=1, input_size=(28, 28)), NoAdapter()
    before = state(net)
    assert adapter.merge(adapter.inject(net)) is net
    assert differing(before, state(net)) == set()
    assert adapter.facts() == {}
    assert BitFit().facts() == {"adapter": "biases of the backbone; batch-norm keeps its statistics"}


# ---------------------------------------------------------------------- as an axis of the configuration


def test_the_hash_leaves_the_adapter_out_while_it_is_none():
    cfg = compose([])
    assert cfg.adapter._target_ == "tl_lab.adapters.none.NoAdapter"
    without = {name: node for name, node in cfg.items() if name != "adapter"}
    assert config_hash(cfg) == config_hash(without) == config_hash({**without, "adapter": None})
    hashes = {config_hash(compose([f"adapter={name}"])) for name in ("none", "bitfit", "norm_only")}
    assert len(hashes) == 3


@pytest.mark.parametrize("strategy", ["feature_extraction", "from_scratch"])
def test_strategies_that_rule_the_whole_backbone_take_no_adapter(strategy):
    cfg = compose([f"strategy={strategy}", "domain_adaptation=none", "adapter=bitfit"])
    with pytest.raises(UserError, match=r"adapter=\w+ selects single parameters: .*strategy=fine_tuning"):
        check_pairing(Plan.of(cfg))


def test_a_frozen_backbone_takes_no_adapter():
    frozen = ["strategy=fine_tuning", "strategy.layers.trainable=none", "domain_adaptation=none"]
    check_pairing(Plan.of(compose(frozen)))
    with pytest.raises(UserError, match=r"trainable=none freezes all of it: set strategy\.layers\.trainable=all"):
        check_pairing(Plan.of(compose([*frozen, "adapter=bitfit"])))
    with pytest.raises(UserError, match="freezes all parameters of BitFit"):
        make(strategy=FeatureExtraction, adapter=BitFit(), layers=LayerPolicy("none"))
