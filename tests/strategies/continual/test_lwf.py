"""Learning without forgetting: its terms by hand in each scenario, and a frozen teacher."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from laboratory import BlobStream, differing, fit, make, state
from torch.nn import functional as F

from tl_lab.domain_adaptation.base import Phase, Update
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.domain_randomisation import DomainRandomisation
from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.strategies.continual.lwf import LwF
from tl_lab.strategies.continual.naive import Naive

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

# softened by T = 2: 1/2, 1/4, 1/4
TEACHER = [2 * math.log(2), 0.0, 0.0]
# softened by T = 2: 1/6, 1/3, 1/2
STUDENT = [0.0, 2 * math.log(2), 2 * math.log(3)]
KD = -(0.5 * math.log(1 / 6) + 0.25 * math.log(1 / 3) + 0.25 * math.log(1 / 2))


def stream(scenario="task", adaptation=None, seed=0, strategy=LwF, **options):
    data = BlobStream(
        scenario=scenario, pairs=isinstance(adaptation, DANN), epochs_per_task=2, batch_size=20, seed=seed,
        evaluate="last",
    )  # fmt: skip
    return make(strategy, data=data, adaptation=adaptation, seed=seed, **options)


def at_task(scenario, task=2, **options):
    """A strategy in its third task whose outputs are constants: each block's biases."""
    _, model = stream(scenario, **options)
    model.task = task
    model.view(task)
    for network, biases in ((model.teacher, TEACHER), (model.network, STUDENT)):
        for block in network.head.blocks:
            torch.nn.init.zeros_(block.weight)
            block.bias.data = torch.tensor(biases)
    return model


def terms_of(model, batch=None):
    batch = batch or next(iter(model_data(model)))
    features = model.network.features(batch.x)
    logits, _ = model.classify(features, batch)
    return model.further_terms(batch, features, logits)


def model_data(model):
    data = BlobStream(scenario=model.outputs.scenario, batch_size=20, evaluate="last")
    data.load()
    data.use(model.network.backbone.spec)
    return data.train_loader(data.train_name(model.task))


@pytest.mark.parametrize(
    ("scenario", "over_tasks", "expected"),
    [
        ("task", "sum", 2 * KD),  # a head for each of the two earlier tasks
        ("task", "mean", KD),
        ("domain", "sum", 2 * KD),  # the shared outputs, for each of them
        ("domain", "mean", KD),
        ("class", "sum", KD + math.log(2)),  # six classes at once: both blocks alike, so that all probabilities halve
        ("class", "mean", KD + math.log(2)),
    ],
)
def test_the_term_by_hand(scenario, over_tasks, expected):
    model = at_task(scenario, over_tasks=over_tasks)
    assert terms_of(model)["distillation_loss"].item() == pytest.approx(expected, rel=1e-6)


def test_new_classes_may_have_a_target_of_zero():
    # nine classes for the network, of which the last three answer nothing in the targets
    model = at_task("class", new_classes="zero")
    assert terms_of(model)["distillation_loss"].item() == pytest.approx(KD + math.log(3), rel=1e-6)
    same = at_task("domain", new_classes="zero", over_tasks="mean")
    assert terms_of(same)["distillation_loss"].item() == pytest.approx(KD, rel=1e-6)


def test_weight_temperature_and_scale():
    model = at_task("domain", task=1, weight=0.3, scaled=True)
    assert terms_of(model)["distillation_loss"].item() == pytest.approx(0.3 * 4 * KD, rel=1e-6)
    model = at_task("domain", task=1, temperature=1.0)
    p, q = (np.exp(z) / np.exp(z).sum() for z in (TEACHER, STUDENT))
    assert terms_of(model)["distillation_loss"].item() == pytest.approx(-(p * np.log(q)).sum(), rel=1e-6)


@pytest.mark.parametrize("task", [0, 1, 2])
def test_logged_terms_sum_to_the_objective(task):
    """In the n-th task 1/n and 1 - 1/n, the logged terms included."""
    model = at_task("domain", task=task, weighting="tasks", over_tasks="mean", scaled=True)
    batch = next(iter(model_data(model)))
    loss = model.objective(batch, None, Update(0.0), Phase())
    ce = -sum(F.log_softmax(torch.tensor(STUDENT), 0)[y].item() for y in batch.y) / len(batch.y)
    n = task + 1
    logged = model.means.read().means()
    assert logged["task_loss"] == pytest.approx(ce / n, rel=1e-5)
    if task:
        assert logged["distillation_loss"] == pytest.approx((1 - 1 / n) * 4 * KD, rel=1e-5)
    assert ("distillation_loss" in logged) == (task > 0)
    assert loss.item() == pytest.approx(ce / n + (1 - 1 / n) * 4 * KD, rel=1e-5)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_the_first_task_is_the_naive_ones(scenario):
    data, model = stream(scenario)
    naive_data, naive = stream(scenario, strategy=Naive)
    firsts = []

    def keep(strategy):
        original = strategy.end_task

        def end_task(task):
            if task == 0:
                firsts.append(state(strategy.network))
            original(task)

        strategy.end_task = end_task

    keep(model)
    keep(naive)
    fit(data, model)
    fit(naive_data, naive)
    assert differing(*firsts) == set()
    assert differing(state(naive.network), state(model.network))


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_the_teacher_is_the_network_at_the_end_of_the_task_and_is_frozen_within_it(scenario):
    data, model = stream(scenario, dropout=0.3)
    at_start, at_update, at_end = [], [], []
    model.start_task = lambda task: at_start.append((state(model.teacher), state(model.network)))
    model.on_update = lambda: at_update.append((model.task, model.teacher.training, state(model.teacher)))
    original = model.end_task

    def end_task(task):
        original(task)
        at_end.append((state(model.teacher), state(model.network)))

    model.end_task = end_task
    fit(data, model)
    assert len(at_start) == len(at_end) == 3
    assert len(at_update) == 3 * 2 * 3
    for teacher, network in at_start + at_end:  # what a task ends with is what the next one begins with
        assert differing(teacher, network) == set()
        assert any(name.endswith("running_mean") for name in teacher)
    for task, training, teacher in at_update:
        assert not training
        assert differing(teacher, at_start[task][0]) == set()
    for end, start in zip(at_end, at_start[1:], strict=False):
        assert differing(end[0], start[0]) == set()
    assert {name for name in differing(at_start[0][0], at_end[0][0]) if "running_mean" in name}


def test_the_teacher_learns_nothing_and_is_in_the_checkpoint():
    _, model = stream()
    teacher = {id(p) for p in model.teacher.parameters()}
    assert not any(p.requires_grad for p in model.teacher.parameters())
    assert not teacher & {id(p) for group in model.configure_optimizers().param_groups for p in group["params"]}
    assert not teacher & {id(p) for p in model.learned_parameters()}
    model.train()
    assert model.network.training
    assert not any(module.training for module in model.teacher.modules())
    names = {name.removeprefix("teacher.") for name in model.state_dict() if name.startswith("teacher.")}
    assert names == set(model.network.state_dict())


def test_old_heads_are_trained_only_by_the_teacher():
    data, model = stream("task")
    fit(data, model)
    model.train()
    batch = next(iter(model_data(model)))
    model.objective(batch, None, Update(0.0), Phase()).backward()
    gradients = [block.weight.grad for block in model.head.blocks]
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    assert model.head.active == (2,)
    assert all(p.grad is None for p in model.teacher.parameters())


def test_the_larger_the_weight_the_nearer_the_old_outputs_stay():
    distances = []
    for weight in (0.0, 1.0, 10.0):
        slow = functools.partial(torch.optim.SGD, lr=0.005, momentum=0.9)
        # a frozen backbone and a layer that learns: batch-norm moves nothing
        data, model = stream("task", weight=weight, optimizer=slow, layers=LayerPolicy("none"), bottleneck=8)
        data.request = replace(data.request, epochs_per_task=8)
        original = model.end_task

        def end_task(task, data=data, model=model, original=original):
            if task == 1:
                model.eval()
                model.teacher.head.active = model.head.active = (0,)
                x = data.sets["task2/train"].x
                with torch.no_grad():
                    before, now = (F.log_softmax(network(x), 1) for network in (model.teacher, model.network))
                distances.append(F.kl_div(now, before, log_target=True, reduction="batchmean").item())
            original(task)

        model.end_task = end_task
        fit(data, model)
    assert distances[0] > distances[1] > 2 * distances[2] > 0, distances


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("broken_after", [1, 2])  # the end of the first task, and the midst of the second
def test_a_stream_resumes_to_the_same_bits(tmp_path, scenario, broken_after):
    def checkpoints(name):
        return [pl.callbacks.ModelCheckpoint(tmp_path / name, filename="{epoch}", save_top_k=-1)]

    data, unbroken = stream(scenario, dropout=0.3, weighting="tasks")
    fit(data, unbroken, callbacks=checkpoints("a"))
    data, resumed = stream(scenario, dropout=0.3, weighting="tasks")
    torch.manual_seed(99)  # another process would have another state, too
    fit(data, resumed, callbacks=checkpoints("b"), ckpt_path=tmp_path / "a" / f"epoch={broken_after}.ckpt")
    assert not {name for name in differing(state(unbroken), state(resumed)) if "matrix" not in name}
    for name in ("accuracy_matrix", "within_task_matrix"):  # NaN differs from itself
        np.testing.assert_array_equal(getattr(unbroken, name), getattr(resumed, name))


def test_only_the_source_of_a_pair_is_distilled():
    data, model = stream("domain", DANN())
    seen = []
    model.teacher.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    wanted = []
    original = model.objective

    def objective(source, target, *rest, **options):
        assert target is not None
        if model.task:
            wanted.append(source.x)
        return original(source, target, *rest, **options)

    model.objective = objective
    fit(data, model)
    assert len(seen) == len(wanted) == 12
    assert all(torch.equal(a, b) for a, b in zip(seen, wanted, strict=True))


def test_the_teacher_sees_the_inputs_that_the_network_sees():
    _, model = stream("domain", DomainRandomisation())
    model.task = 1
    batch = next(iter(model_data(model)))
    seen = []
    for network in (model.teacher, model.network):
        network.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.objective(batch, None, Update(0.0), Phase())
    assert len(seen) == 2
    assert torch.equal(*seen)
    assert not torch.equal(seen[0], batch.x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, r"strategy\.temperature must be above 0, not 0\.0"),
        ({"weight": -1.0}, r"strategy\.weight must be at least 0, not -1\.0"),
        ({"weight": math.nan}, r"strategy\.weight must be at least 0, not nan"),
        ({"weighting": "tasls"}, r"strategy\.weighting must be 'sum' or 'tasks', not 'tasls'"),
        ({"over_tasks": "max"}, r"strategy\.over_tasks must be 'sum' or 'mean', not 'max'"),
        ({"new_classes": "one"}, r"strategy\.new_classes must be 'apart' or 'zero', not 'one'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        stream(**options)
