"""MMD, JMMD, CORAL, MCC and CDAN: values on a batch, and one small training each."""

import math

import pytest
import torch
from laboratory import BlobPair, differing, fit, make, network, state

from tl_lab.domain_adaptation.base import DomainOutput, Update
from tl_lab.domain_adaptation.cdan import CDAN
from tl_lab.domain_adaptation.coral import CORAL
from tl_lab.domain_adaptation.jmmd import JMMD
from tl_lab.domain_adaptation.mcc import MCC
from tl_lab.domain_adaptation.mmd import MMD
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.errors import UserError
from tl_lab.functional import coral, gaussian_kernel, minimum_class_confusion, mmd_linear, mmd_unbiased

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
METHODS = [CDAN, CORAL, JMMD, MCC, MMD]


def outputs(n=6, m=4, d=5, c=3):
    draw = torch.Generator().manual_seed(0)
    return [
        DomainOutput(
            torch.randn(k, d, generator=draw, dtype=torch.float64).requires_grad_(),
            torch.randn(k, c, generator=draw, dtype=torch.float64).requires_grad_(),
            layers={"backbone.conv2": torch.randn(k, 2, 2, generator=draw, dtype=torch.float64)},
        )
        for k in (n, m)
    ]


def test_mmd_adds_up_over_what_is_aligned():
    source, target = outputs()
    expected = sum(
        mmd_unbiased(gaussian_kernel(torch.cat([x, y]), (1.0, 2.0)), 6)
        for x, y in (
            (source.features, target.features),
            (source.logits.softmax(1), target.logits.softmax(1)),
            (source.layers["backbone.conv2"].flatten(1), target.layers["backbone.conv2"].flatten(1)),
        )
    )
    method = MMD(weight=0.3, align=["features", "probabilities", "backbone.conv2"], factors=[1.0, 2.0])
    assert method.layers == ("backbone.conv2",)
    torch.testing.assert_close(method.adapt(source, target, Update(0.5)).terms["mmd_loss"], 0.3 * expected)


def test_jmmd_multiplies_the_kernels_of_its_layers():
    source, target = outputs(n=4)
    kernels = [
        gaussian_kernel(torch.cat(pair), (0.5, 1.0))
        for pair in ((source.features, target.features), (source.logits.softmax(1), target.logits.softmax(1)))
    ]
    for estimator, estimate in (("unbiased", mmd_unbiased), ("linear", mmd_linear)):
        got = JMMD(weight=2.0, factors=[0.5, 1.0], estimator=estimator).adapt(source, target, Update(0.0))
        torch.testing.assert_close(got.terms["jmmd_loss"], 2 * estimate(kernels[0] * kernels[1], 4))


def test_coral_and_mcc_are_their_functions():
    source, target = outputs()
    got = CORAL(weight=0.5, align="logits").adapt(source, target, Update(0.0)).terms["coral_loss"]
    torch.testing.assert_close(got, 0.5 * coral(source.logits, target.logits))
    got = MCC(weight=0.5, temperature=2.0).adapt(source, target, Update(0.0)).terms["mcc_loss"]
    torch.testing.assert_close(got, 0.5 * minimum_class_confusion(target.logits, 2.0))


def build_cdan(**options):
    torch.manual_seed(0)
    method = CDAN(hidden=(4,), dropout=0.0, **options)
    method.build(network())
    return method.double()


def test_cdans_discriminator_sees_the_outer_product():
    source, target = outputs()
    method = build_cdan(entropy=False)
    seen = [torch.einsum("bd,bc->bdc", o.features, o.logits.softmax(1)).flatten(1) for o in (source, target)]
    u, v = (method.adversary.discriminator(t).squeeze(1) for t in seen)
    expected = -(1 - u.sigmoid()).log().mean() - v.sigmoid().log().mean()
    torch.testing.assert_close(method.adapt(source, target, Update(0.5)).terms["domain_loss"], expected)


def test_entropy_conditioning_weighs_each_domain_to_mean_1():
    source, target = outputs()
    method = build_cdan(entropy=True)
    plain = [method.adversary.discriminator(method.joint(o)).squeeze(1) for o in (source, target)]
    total = 0.0
    for sign, o, logits in zip((1, -1), (source, target), plain, strict=True):
        p = o.logits.softmax(1)
        w = 1 + torch.exp((p * p.log()).sum(1))
        total = total + (w / w.mean() * torch.nn.functional.softplus(sign * logits)).mean()
    torch.testing.assert_close(method.adapt(source, target, Update(0.5)).terms["domain_loss"], total)


@pytest.mark.parametrize("detach", [True, False])
def test_detached_predictions_get_no_gradient_through_the_map(detach):
    source, target = outputs()
    term = build_cdan(entropy=False, detach=detach).adapt(source, target, Update(0.5)).terms["domain_loss"]
    features, logits = torch.autograd.grad(term, [source.features, source.logits], allow_unused=True)
    assert features.norm() > 0
    assert (logits is None) == detach


def test_random_maps_are_kept_in_the_checkpoint():
    first, second = build_cdan(randomised=True, map_size=7), CDAN(hidden=(4,), dropout=0.0, map_size=7, randomised=True)
    torch.manual_seed(1)
    second.build(network())
    assert first.map_f.shape == (7, 5)
    assert not torch.equal(first.map_f, second.map_f.double())
    second.double().load_state_dict(first.state_dict())
    assert torch.equal(first.map_f, second.map_f)
    assert torch.equal(first.map_g, second.map_g)
    assert build_cdan(map_size=15).map_f is None  # 5 x 3 is not wider than that
    assert build_cdan(map_size=14).map_f is not None


@pytest.mark.parametrize("method", METHODS)
def test_a_short_training_logs_its_term_and_moves_the_network(method):
    data, model = make(data=BlobPair(batch_size=20), adaptation=method())
    rows = []
    model.write = lambda metrics: rows.append(dict(metrics))
    fit(data, model, epochs=2)
    losses = [value for row in rows for name, value in row.items() if name.endswith("_loss") and "task" not in name]
    assert losses
    assert all(math.isfinite(value) for value in losses)
    twin_data, twin = make(data=BlobPair(batch_size=20), adaptation=NoAdaptation())
    fit(twin_data, twin, epochs=2)
    assert differing(state(model.network.head), state(twin.network.head))


@pytest.mark.parametrize("method", METHODS)
def test_weight_0_leaves_the_weights_to_the_last_bit(method):
    weights = []
    for adaptation in (method(weight=0.0, batch_norm="separate"), NoAdaptation()):
        data, model = make(data=BlobPair(batch_size=20), adaptation=adaptation)
        fit(data, model, epochs=2)
        weights.append({name: tensor for name, tensor in state(model.network).items() if "running" not in name})
    names = {name for name in differing(*weights) if "num_batches" not in name}
    assert not names


@pytest.mark.parametrize(
    ("method", "options"),
    [(method, {"weight": -1.0}) for method in METHODS]
    + [(method, {"batch_norm": "both"}) for method in METHODS]
    + [(MMD, {"factors": [0.0]}), (MMD, {"bandwidth": "max"}), (MMD, {"estimator": "biased"}), (MMD, {"align": []})]
    + [(JMMD, {"align": ["features"]}), (JMMD, {"estimator": "biased"}), (MCC, {"temperature": 0.0})]
    + [(CDAN, {"randomised": "maybe"}), (CDAN, {"map_size": 0}), (CDAN, {"lambda_max": -1.0})],
)
def test_wrong_options_are_refused(method, options):
    with pytest.raises(UserError, match=next(iter(options))):
        method(**options)


def test_a_layer_to_align_that_does_not_exist_is_named():
    with pytest.raises(UserError, match=r"backbone\.conv9"):
        make(data=BlobPair(batch_size=20), adaptation=MMD(align=["backbone.conv9"]))


def test_probabilities_of_a_softmax_are_those_of_single_label_problems():
    single = frozenset({"single_label"})
    assert MMD(align=["features", "probabilities"]).problems == CORAL(align="probabilities").problems == single
    assert "regression" in MMD(align=["features", "logits"]).problems & CORAL(align="logits").problems
