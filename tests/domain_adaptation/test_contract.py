"""The contract of the training step with every method: hooks, phases, and refusals."""

from dataclasses import replace

import pytest
import torch
from laboratory import BlobPair, differing, fit, make, state

from tl_lab.data.batches import DomainBatch, Labelled, Unlabelled
from tl_lab.domain_adaptation.adda import ADDA
from tl_lab.domain_adaptation.base import Adaptation, DomainAdaptation, Phase, Update
from tl_lab.domain_adaptation.mcd import MCD
from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.strategies.feature_extraction import FeatureExtraction

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Pull(DomainAdaptation):
    """Pulls the target's features to 0, and can be told everything that the contract allows."""

    batch_norm = "separate"

    def __init__(self, phases=None, layers=(), **attributes):
        super().__init__()
        self.chosen, self.layers, self.seen, self.fitted = phases or (Phase(),), layers, [], []
        for name, value in attributes.items():
            setattr(self, name, value)

    def build(self, network):
        self.scale = torch.nn.Parameter(torch.ones(network.num_features))

    def phases(self, progress):
        return self.chosen

    def before_training(self, domains):
        self.fitted.append({name: domains.features(name) for name in ("source/train", "target/train")})
        self.inputs = domains.inputs("target/train")

    def adapt(self, source, target, update):
        self.seen.append((source, target, update))
        return Adaptation({"pull": (self.scale * target.features).square().mean()}, {"told": update.progress})


def pair(adaptation, **options):
    return make(data=BlobPair(batch_size=20), adaptation=adaptation, **options)


def test_a_phase_changes_exactly_the_parts_that_it_names():
    for learns in ({"head", "adaptation"}, {"backbone", "bottleneck"}, {"adaptation"}):
        data, model = pair(Pull(phases=(Phase("only", frozenset(learns)),)), bottleneck=4)
        before = state(model)
        fit(data, model, epochs=1)
        changed = differing(before, state(model))
        parts = {name.split(".")[1] if name.startswith("network") else name.split(".")[0] for name in changed}
        moved_by_batches = {name for name in changed if "running_" in name or "num_batches" in name}
        if "backbone" not in learns:
            assert {name for name in changed if name.startswith("network.backbone")} == moved_by_batches
        assert parts - {"backbone"} == learns - {"backbone"}


def test_phases_are_made_in_order_with_and_without_the_task_loss():
    phases = (Phase("first"), Phase("second", frozenset({"adaptation"}), task=False))
    adaptation = Pull(phases)
    data, model = pair(adaptation)
    rows = []
    model.write = lambda metrics: rows.append(dict(metrics))
    fit(data, model, epochs=1)
    assert [update.phase for _, _, update in adaptation.seen] == ["first", "second"] * 3
    assert [update.number for _, _, update in adaptation.seen] == [0, 0, 1, 1, 2, 2]
    assert [update.progress for _, _, update in adaptation.seen] == pytest.approx([0, 0, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    logged = next(row for row in rows if "train/pull" in row)
    # the mean over the first phases of (task + pull) and the second of pull: half the task loss beside the pull
    assert logged["train/loss"] == pytest.approx(logged["train/task_loss"] / 2 + logged["train/pull"], rel=1e-5)
    assert model.updates_done == 3


def test_a_phase_without_an_encoder_costs_no_gradient_through_it():
    adaptation = Pull((Phase("head", frozenset({"head", "adaptation"})),))
    data, model = pair(adaptation)
    fit(data, model, epochs=1)
    source, target, _ = adaptation.seen[0]
    assert not source.features.requires_grad
    assert not target.features.requires_grad
    assert source.logits.requires_grad


@pytest.mark.parametrize("batch_norm", ["joint", "separate"])
def test_named_layers_are_those_of_each_domain(batch_norm):
    adaptation = Pull(layers=("backbone.conv2", "bottleneck"), batch_norm=batch_norm)
    data, model = pair(adaptation, bottleneck=4)
    fit(data, model, epochs=1, limit_train_batches=1)
    source, target, _ = adaptation.seen[0]
    assert source.layers["backbone.conv2"].shape == target.layers["backbone.conv2"].shape == (20, 4, 2, 2)
    assert torch.equal(source.layers["bottleneck"], source.features)
    assert torch.equal(target.layers["bottleneck"], target.features)
    assert source.x.shape == target.x.shape == (20, 1, 6, 6)
    assert target.y is None


def test_a_layer_that_does_not_exist_is_named():
    with pytest.raises(UserError, match=r"no module 'backbone\.conv3'"):
        pair(Pull(layers=("backbone.conv3",)))


def test_whole_sets_are_given_once_and_in_order():
    adaptation = Pull()
    data, model = pair(adaptation)
    fit(data, model, epochs=1)
    assert len(adaptation.fitted) == 1
    assert torch.equal(adaptation.inputs, data.sets["target/train"].x)
    assert adaptation.fitted[0]["source/train"].shape == (60, 8)


class Brighter(Pull):
    changes_inputs = True

    def source_input(self, x):
        assert x.min() >= 0
        assert x.max() <= 1
        return torch.zeros_like(x)

    def target_input(self, x):
        return x + 0.1 * torch.rand_like(x)


def test_inputs_are_changed_in_0_1_with_a_separate_random_stream():
    adaptation = Brighter()
    data, model = pair(adaptation)
    data.request = replace(data.request, adapts=True)
    batch = next(iter(data.train_dataloader()))
    before = torch.random.get_rng_state()
    first, second = model._inputs(batch.source, batch.target), model._inputs(batch.source, batch.target)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first[1], second[1])  # the phases of one update see the same
    model.updates_done = 1
    assert not torch.equal(first[1], model._inputs(batch.source, batch.target)[1])
    assert torch.allclose(first[0], torch.full_like(first[0], -0.4 / 0.25))  # black, as the backbone gets it
    assert ((first[1] - batch.target.x) * 0.25).max() <= 0.1 + 1e-5


def test_changed_inputs_are_refused_with_cached_features():
    data, model = pair(Brighter(), strategy=FeatureExtraction, layers=LayerPolicy("none"), bottleneck=4)
    with pytest.raises(UserError, match=r"strategy\.cache=false"):
        fit(data, model, epochs=1)


def test_a_batch_without_one_of_the_domains_is_refused():
    _, model = pair(Pull())
    x, index = torch.rand(4, 1, 6, 6), torch.arange(4)
    none = index[:0]
    empty = DomainBatch(Labelled(x, index % 3, index), Unlabelled(x[:0], none))
    with pytest.raises(UserError, match="4 samples of the source and 0 of the target"):
        model.objective(empty.source, empty.target, Update(0.0), Phase())


class OwnEncoder(Pull):
    target_encoder = True


def test_a_target_encoder_is_trained_on_the_target_only():
    learns = frozenset({"target_encoder"})
    data, model = pair(OwnEncoder((Phase("target", learns, task=False),)), bottleneck=4)
    before = state(model)
    source = before["network.backbone.conv1.0.weight"]
    assert torch.equal(source, before["network.target_encoder.backbone.conv1.0.weight"])
    fit(data, model, epochs=1)
    changed = differing(before, state(model))
    learned = {name for name in changed if "running_" not in name and "num_batches" not in name}
    assert learned
    assert all(name.startswith("network.target_encoder.") for name in learned)
    x = data.sets["target/test"].x[:5]
    model.eval()
    model.network.use("source")
    of_source = model(x)
    model.network.use("target")
    assert not torch.equal(of_source, model(x))
    names = [group["name"] for group in model.parameter_groups()]
    assert names.count("target_encoder") == 1
    counted = sum(len(group["params"]) for group in model.parameter_groups())
    assert counted == len(list(model.parameters()))


def test_watchers_receive_terms_and_features_without_side_effects():
    seen = []

    def watch(terms, features):
        norms = {}
        for name, term in terms.items():
            gradients = torch.autograd.grad(term, features, retain_graph=True, allow_unused=True)
            norms[f"norm_{name}"] = sum(float(g.norm()) for g in gradients if g is not None)
        seen.append(norms)
        return norms

    data, model = pair(Pull())
    twin_data, twin = pair(Pull())
    model.watchers.append(watch)
    fit(data, model, epochs=2)
    fit(twin_data, twin, epochs=2)
    assert len(seen) == 2  # once an epoch
    assert all(norms["norm_task_loss"] > 0 and norms["norm_pull"] > 0 for norms in seen)
    assert not differing(state(model), state(twin))


def test_parameters_that_are_fixed_are_not_given_to_the_optimizer():
    _, model = pair(Pull())
    model.adaptation.scale.requires_grad_(False)
    assert all(p.requires_grad for group in model.parameter_groups() for p in group["params"])
    assert id(model.adaptation.scale) not in {id(p) for p in model.learned_parameters()}


@pytest.mark.parametrize(("needed", "other"), [("source", "target"), ("target", "source")])
def test_a_domain_that_a_phase_does_not_need_is_not_computed(needed, other):
    data, model = pair(Pull())
    batch = next(iter(data.train_dataloader()))
    phase = Phase("one", frozenset({"backbone", "head"}), task=needed == "source", needs=frozenset({needed}))
    passed, adapted = [], []
    model.network.backbone.register_forward_hook(lambda module, inputs, output: passed.append(inputs[0]))
    model.adaptation.adapt = lambda *outputs: adapted.append(outputs) or Adaptation({"none": torch.zeros(())})
    model.train()
    model.objective(batch.source, batch.target, Update(0.0), phase)
    assert len(passed) == 1
    assert torch.equal(passed[0], getattr(batch, needed).x)
    outputs = dict(zip(("source", "target"), adapted[0], strict=False))
    assert outputs[needed].features.shape == (20, model.network.num_features)
    with pytest.raises(RuntimeError, match=f"phase 'one' does not list the {other} in needs, but reads its features"):
        _ = outputs[other].features


def test_domains_with_joint_statistics_are_always_computed_together():
    data, model = pair(Pull(batch_norm="joint"))
    batch = next(iter(data.train_dataloader()))
    passed = []
    model.network.backbone.register_forward_hook(lambda module, inputs, output: passed.append(len(inputs[0])))
    model.objective(batch.source, batch.target, Update(0.0), Phase(needs=frozenset({"source"})))
    assert passed == [40]


@pytest.mark.parametrize(("method", "passes"), [(MCD(generator_steps=4), 7), (ADDA(pretrain=0.1), 3), (Pull(), 2)])
def test_an_update_computes_only_needed_passes(method, passes):
    data, model = pair(method)
    batch = next(iter(data.train_dataloader()))
    counted = []
    for part in (model.network.backbone, (model.network.target_encoder or {"backbone": None})["backbone"]):
        if part is not None:
            part.register_forward_hook(lambda module, inputs, output: counted.append(len(output)))
    for phase in method.phases(0.9):
        model.objective(batch.source, batch.target, Update(0.9, phase=phase.name), phase)
    assert len(counted) == passes
