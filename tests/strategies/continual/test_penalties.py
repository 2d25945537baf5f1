"""Penalties of EWC, online EWC, SI and MAS against closed forms."""

import functools
import math
import re
import warnings

import numpy as np
import pytest
import torch
from laboratory import Blobs, BlobStream, fit, make, state
from torch import nn

from tl_lab.data.scenarios.permuted_stream import PermutedStream
from tl_lab.errors import UserError
from tl_lab.strategies.continual.ewc import EWC
from tl_lab.strategies.continual.mas import MAS
from tl_lab.strategies.continual.naive import Naive
from tl_lab.strategies.continual.online_ewc import OnlineEWC
from tl_lab.strategies.continual.quadratic import QuadraticPenalty
from tl_lab.strategies.continual.si import SI

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*of the task loss:UserWarning")

METHODS = {
    "ewc": functools.partial(EWC, ewc_lambda=30.0),
    "online_ewc": functools.partial(OnlineEWC, ewc_lambda=30.0, gamma=0.9),
    "si": functools.partial(SI, si_c=1.0),
    "mas": functools.partial(MAS, mas_lambda=0.1),
}


def stream(**options):
    return BlobStream(batch_size=20, epochs_per_task=2, **options)


# ---------------------------------------------------------------------- the penalty itself


def test_penalty_of_two_weights_is_19():
    theta = {"w": torch.tensor([1.0, 2.0], requires_grad=True)}
    penalty = QuadraticPenalty({"w": torch.zeros(2)})
    penalty.add({"w": torch.tensor([3.0, 4.0])}, {"w": torch.zeros(2)})
    value = 2.0 * penalty(theta)  # lambda = 2
    assert value.item() == 19.0
    value.backward()
    assert theta["w"].grad.tolist() == [6.0, 16.0]
    assert penalty.gradient("w", theta["w"]).tolist() == [3.0, 8.0]


def test_ten_tasks_penalties_collapse_into_one_of_the_same_value():
    draw = torch.Generator().manual_seed(0)
    shapes = {"a": (40, 30), "b": (30,)}
    penalty = QuadraticPenalty({name: torch.zeros(shape) for name, shape in shapes.items()})
    parts = []
    for _ in range(10):
        precision = {name: torch.rand(shape, generator=draw) ** 4 for name, shape in shapes.items()}
        precision["a"][:5] = 0  # weights that a task does not depend on
        centre = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
        penalty.add(precision, centre)
        parts.append((precision, centre))
    theta = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    plain = sum(
        0.5 * float((f[name].double() * (theta[name].double() - c[name].double()).square()).sum())
        for f, c in parts
        for name in shapes
    )
    assert penalty(theta).item() == pytest.approx(plain, rel=1e-6)
    assert sum(tensor.numel() for tensor in penalty.buffers()) == 2 * (40 * 30 + 30) + 1  # whatever the number of tasks


def test_one_tensor_of_all_numbers_has_the_same_penalty_and_follows_changes(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    shapes = {"a": (6, 3, 2, 2), "b": (6,)}
    theta = {name: torch.randn(shape, generator=draw, requires_grad=True) for name, shape in shapes.items()}
    theta["a"].data = theta["a"].data.contiguous(memory_format=torch.channels_last)
    apart, joined = (QuadraticPenalty(theta) for _ in range(2))
    assert not joined.joins(list(theta.values()))  # on the CPU
    monkeypatch.setattr(joined, "joins", lambda parameters: True)

    def same() -> None:
        values = [penalty(theta) for penalty in (apart, joined)]
        torch.testing.assert_close(values[1], values[0], rtol=1e-6, atol=0)
        gradients = [torch.autograd.grad(value, list(theta.values())) for value in values]
        assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))

    same()
    for change in ("add", "add", "replace"):
        precision, centre = ({name: torch.rand(shape, generator=draw) for name, shape in shapes.items()} for _ in "fc")
        for penalty in (apart, joined):
            getattr(penalty, change)(precision, centre)
        same()
    other = QuadraticPenalty(theta)
    other.add({name: torch.ones(shape) for name, shape in shapes.items()}, {k: v.detach() for k, v in theta.items()})
    for penalty in (apart, joined):
        penalty.load_state_dict(other.state_dict())
    same()
    assert float(joined({"b": theta["b"]})) == float(apart({"b": theta["b"]}))  # a part of the parameters
    assert joined.double().precision("a").dtype == torch.float64
    assert not joined._joined


# ---------------------------------------------------------------------- EWC where the answer is known


def test_ewc_equals_joint_least_squares_for_orthogonal_inputs():
    """y = x w + noise of variance 1, summed losses: F = sum x^2, and lambda = 1 is the joint solution, exactly."""
    rng = np.random.default_rng(0)
    xa = np.linalg.qr(rng.normal(size=(50, 4)))[0] * np.array([3.0, 1.0, 0.5, 2.0])  # orthogonal columns
    xb, w = rng.normal(size=(30, 4)), rng.normal(size=4)
    ya, yb = xa @ w + rng.normal(size=50), xb @ (w + 0.3) + rng.normal(size=30)
    alone = np.linalg.lstsq(xa, ya, rcond=None)[0]
    fisher = (xa**2).sum(0)  # of the Gaussian likelihood with unit variance, summed over samples
    joint = np.linalg.lstsq(np.vstack([xa, xb]), np.concatenate([ya, yb]), rcond=None)[0]

    theta = torch.from_numpy(alone.copy()).requires_grad_()
    penalty = QuadraticPenalty({"w": theta})
    penalty.add({"w": torch.from_numpy(fisher)}, {"w": torch.from_numpy(alone)})
    inputs, targets = torch.from_numpy(xb), torch.from_numpy(yb)
    optimizer = torch.optim.LBFGS([theta], max_iter=200, tolerance_grad=1e-13, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = (inputs @ theta - targets).square().sum() / 2 + 1.0 * penalty({"w": theta})
        value.backward()
        return value

    optimizer.step(loss)
    np.testing.assert_allclose(theta.detach().numpy(), joint, rtol=1e-6)
    assert abs(joint - np.linalg.lstsq(xb, yb, rcond=None)[0]).max() > 0.01  # the first task matters


@pytest.mark.parametrize("estimator", ["exact", "empirical", "batched"])
def test_fisher_of_a_task_is_that_of_softmax_regression(estimator):
    """The head on fixed features f: F = mean p_k (1 - p_k) f_j^2 and its kin, in numpy."""
    data = stream(scenario="domain")
    options = {"fisher": {"estimator": estimator, "samples": None, "batch_size": 15}}
    data, model = make(functools.partial(EWC, **options), data=data)
    found = {}

    def keep(task):
        if task == 0:
            found.update(model.fisher_of(task))
            found["weights"] = state(model.network)

    model.end_task = keep
    fit(data, model, limit_val_batches=0)
    model.network.load_state_dict(found["weights"])
    model.eval()
    samples = data.sets["task1/train"]
    # samples come in the seed's order, in batches of 15
    from tl_lab.randomness import generator

    order = torch.randperm(60, generator=generator(0, "importance", 0))
    with torch.no_grad():
        f = model.network.features(samples.x)[order].double().numpy()
        p = model.network(samples.x)[order].double().softmax(1).numpy()
    hot = np.eye(3)[samples.y[order].numpy()]
    if estimator == "exact":
        expected = (p * (1 - p)).T @ f**2 / 60
    elif estimator == "empirical":
        expected = ((p - hot) ** 2).T @ f**2 / 60
    else:
        means = [(p[i : i + 15] - hot[i : i + 15]).T @ f[i : i + 15] / 15 for i in range(0, 60, 15)]
        expected = np.mean(np.square(means), axis=0)
    np.testing.assert_allclose(found["head.blocks.0.weight"].numpy(), expected, rtol=2e-4, atol=1e-9)


def test_the_fisher_pass_does_not_change_buffers():
    data, model = make(EWC, data=stream(scenario="domain"))
    seen = []

    def watch(task):
        before = state(model.network)
        EWC.end_task(model, task)
        after = state(model.network)
        seen.append(all(torch.equal(before[name], after[name]) for name in before))

    model.end_task = watch
    fit(data, model)
    assert seen == [True] * 3
    assert any("running_mean" in name for name in state(model.network))


def test_ewc_adds_a_penalty_a_task():
    """In each update, and at the end: lambda/2 times the sum over earlier tasks of F_k (theta - theta*_k)^2."""
    data, model = make(functools.partial(EWC, ewc_lambda=50.0), data=stream(scenario="domain"))
    fisher_of, penalties, tasks, seen = model.fisher_of, model.penalties, [], []

    def kept(task):
        tasks.append((fisher_of(task), model.learned_weights(task)))
        return tasks[-1][0]

    def by_hand():
        now = model.learned_weights(model.task)
        terms = [f[name] * (now[name] - centre[name]).square() for f, centre in tasks for name in now]
        return 50 / 2 * sum(float(term.double().sum()) for term in terms)

    def checked():
        found = penalties()
        seen.append(len(tasks))
        assert (found["ewc"].item() if tasks else 0) == pytest.approx(by_hand(), rel=1e-4, abs=1e-9)
        return found

    model.fisher_of, model.penalties = kept, checked
    fit(data, model)
    assert seen == [0] * 6 + [1] * 6 + [2] * 6
    assert len(tasks) == 3
    value = 50 * model.penalty(dict(model.protected(2))).item()
    assert value == pytest.approx(by_hand(), rel=1e-4)


def test_online_ewc_fades():
    data, model = make(METHODS["online_ewc"], data=stream(scenario="domain"))
    found = []
    original = model.fisher_of
    model.fisher_of = lambda task: found.append(original(task)) or found[-1]
    fit(data, model)
    name = "head.blocks.0.weight"
    expected = 0.9 * (0.9 * found[0][name] + found[1][name]) + found[2][name]
    torch.testing.assert_close(model.penalty.precision(name), expected)
    assert torch.equal(model.penalty.centre(name), dict(model.network.named_parameters())[name])
    model._tied = {name: model.penalty.centre(name) + 1}
    (value,) = model.penalties().values()
    assert value.item() == pytest.approx(30.0 * 0.9 / 2 * expected.sum().item(), rel=1e-5)


# ---------------------------------------------------------------------- SI


@pytest.mark.parametrize("eta", [0.5, 0.1, 1e-3])
def test_sis_path_integral_over_the_drop_of_a_quadratic(eta):
    """L = h/2 theta^2, plain gradient steps: sum omega / drop = 1 / (1 - eta h / 2), 1 in the limit."""
    h, theta = 1.7, torch.tensor([2.0], dtype=torch.float64)
    from tl_lab.functional import add_path_contributions

    sums, start = [torch.zeros(1, dtype=torch.float64)], theta.clone()
    for _ in range(25):
        gradient = h * theta
        change = -eta * gradient
        theta = theta + change
        add_path_contributions(sums, [gradient], [change])
    drop = h / 2 * (start.square() - theta.square())
    assert (sums[0] / drop).item() == pytest.approx(1 / (1 - eta * h / 2), rel=1e-12)


def test_si_follows_the_gradient_without_the_penalty():
    """A run's own path sums equal those recomputed from its gradients less the penalty's, step by step."""
    data, model = make(
        METHODS["si"], data=stream(scenario="domain"), optimizer=functools.partial(torch.optim.SGD, lr=0.05)
    )
    name, sums, recorded = "head.blocks.0.weight", torch.zeros(3, 8), []
    weight = dict(model.network.named_parameters())[name]
    original = model.on_gradients, model.on_update, model.end_task
    start = weight.detach().clone()  # where the task began

    def on_gradients():
        original[0]()
        pull = 0
        if model.task > 0:  # d/dtheta of c Omega (theta - theta*)^2
            pull = 2 * 1.0 * model.penalty.precision(name) * (weight - model.penalty.centre(name))
        recorded.append((weight.grad - pull).detach().clone())
        recorded.append(weight.detach().clone())

    def on_update():
        original[1]()
        gradient, before = recorded[-2:]
        sums.add_(-gradient * (weight.detach() - before))

    def end_task(task):
        kept = model._kept(model.path, [name])[0]
        torch.testing.assert_close(kept, sums, rtol=1e-4, atol=1e-7)
        earlier = model.penalty.precision(name).clone()
        original[2](task)
        expected = earlier + sums / ((weight.detach() - start).square() + 0.1)
        torch.testing.assert_close(model.penalty.precision(name), expected, rtol=1e-4, atol=1e-7)
        sums.zero_()
        start.copy_(weight.detach())
        recorded.append(task)

    model.on_gradients, model.on_update, model.end_task = on_gradients, on_update, end_task
    fit(data, model)
    assert [one for one in recorded if isinstance(one, int)] == [0, 1, 2]


# ---------------------------------------------------------------------- what is protected


def names(model, learned):
    return set(model.protected(learned))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_protected_parameters_in_each_scenario(method):
    blocks = {}
    for scenario in ("task", "domain", "class"):
        _, model = make(METHODS[method], data=stream(scenario=scenario))
        everything = {name for name, _ in model.network.named_parameters()}
        blocks[scenario] = [{n for n in names(model, k) if n.startswith("head.")} for k in range(3)]
        heads = {n for n in everything if n.startswith("head.")}
        assert all(everything - names(model, k) == heads - blocks[scenario][k] for k in range(3))
    assert blocks["task"] == [set()] * 3  # other tasks' heads stand still by themselves
    assert blocks["domain"] == [{"head.blocks.0.weight", "head.blocks.0.bias"}] * 3
    assert blocks["class"] == [
        {f"head.blocks.{i}.{part}" for i in range(k + 1) for part in ("weight", "bias")} for k in range(3)
    ]


def test_frozen_layers_are_not_protected():
    from tl_lab.model.layer_policy import LayerPolicy

    _, model = make(METHODS["ewc"], data=stream(scenario="domain"), layers=LayerPolicy(trainable=1))
    assert {n.split(".")[1] for n in names(model, 0) if n.startswith("backbone")} == {"out"}


def test_nothing_to_protect_is_refused():
    from tl_lab.model.layer_policy import LayerPolicy

    with pytest.raises(UserError, match="there is nothing to protect"):
        make(METHODS["ewc"], data=stream(scenario="task"), layers=LayerPolicy(trainable="none"))


# ---------------------------------------------------------------------- in training


@pytest.mark.parametrize("method", sorted(METHODS))
def test_without_strength_it_is_plain_fine_tuning(method):
    nothing = {
        "ewc": {"ewc_lambda": 0.0},
        "online_ewc": {"ewc_lambda": 0.0},
        "si": {"si_c": 0.0},
        "mas": {"mas_lambda": 0.0},
    }
    _, plain = trained = make(Naive, data=stream(scenario="domain"))
    fit(*trained)
    kind = METHODS[method].func
    data, model = make(functools.partial(kind, **nothing[method]), data=stream(scenario="domain"))
    fit(data, model)
    for (name, one), other in zip(plain.network.named_parameters(), model.network.parameters(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_large_strength_keeps_the_weights(method):
    kind = METHODS[method].func
    option = {"ewc": "ewc_lambda", "online_ewc": "ewc_lambda", "si": "si_c", "mas": "mas_lambda"}[method]
    moved = []
    for strength in (0.0, 1000.0):
        data = stream(scenario="domain")
        optimizer = functools.partial(torch.optim.SGD, lr=1e-3)
        data, model = make(functools.partial(kind, **{option: strength}), data=data, optimizer=optimizer)
        after_first = {}
        model.start_task = functools.partial(_note, model, after_first, model.start_task)
        fit(data, model)
        weights = dict(model.network.named_parameters())
        precision = {n: model.penalty.precision(n) for n in after_first}
        moved.append(
            sum(float((precision[n] * (weights[n].detach() - after_first[n]).square()).sum()) for n in after_first)
        )
    assert 0 < moved[1] < moved[0]


def _note(model, found, original, task):
    original(task)
    if task == 1:
        found.update({name: p.detach().clone() for name, p in model.protected(0).items()})


def test_a_negligible_penalty_is_reported():
    many = BlobStream(batch_size=6, epochs_per_task=2, scenario="domain")
    data, model = make(functools.partial(EWC, ewc_lambda=1e-9), data=many)
    with pytest.warns(UserWarning, match=r"task2: strategy\.ewc_lambda=1e-09 is orders of magnitude too small"):
        fit(data, model)
    assert model.facts()["largest ewc penalty / task loss"].startswith("task2 ")


@pytest.mark.parametrize(("epochs", "batch", "updates"), [(1, 60, "1 update"), (2, 20, "6 updates")])
@pytest.mark.parametrize("method", ["ewc", "online_ewc", "si", "mas"])
def test_tasks_of_few_updates_do_not_blame_the_strength(method, epochs, batch, updates):
    """Before the first update of a task the weights are those that are protected, and the penalty is 0."""
    kind = METHODS[method].func
    option = {"ewc": "ewc_lambda", "online_ewc": "ewc_lambda", "si": "si_c", "mas": "mas_lambda"}[method]
    strength = 1000.0 if epochs == 1 else 1e-9
    data = BlobStream(batch_size=batch, epochs_per_task=epochs, scenario="domain")
    data, model = make(functools.partial(kind, **{option: strength}), data=data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(data, model)
    said = [str(one.message) for one in caught if "of the task loss" in str(one.message)]
    assert f" of the task loss during the {updates} of task2, which began at the weights that the penalty" in said[0]
    end = rf"trainer\.max_epochs, or lower data\.batch_size, before changing strategy\.{option}={strength:g}"
    assert all(re.search(end + "$", text) for text in said)
    if epochs == 1:
        assert model.facts()[f"largest {model.term} penalty / task loss"].startswith("task2 0, task3 ")


def test_a_penalty_that_matters_is_not(recwarn):
    data, model = make(functools.partial(EWC, ewc_lambda=100.0), data=stream(scenario="domain"))
    fit(data, model)
    assert not [w for w in recwarn if "orders of magnitude" in str(w.message)]
    assert model.facts()["Fisher information"].startswith("exact, 1000 samples of each task, traces ")


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (EWC, {"ewc_lambda": -1.0}, "strategy.ewc_lambda must be at least 0, not -1.0"),
        (EWC, {"ewc_lambda": math.nan}, "strategy.ewc_lambda must be at least 0, not nan"),
        (EWC, {"fisher": {"estimator": "exat"}}, "estimator=exat is unknown; did you mean 'exact'"),
        (EWC, {"fisher": {"sample": 3}}, "strategy.fisher has no key 'sample'; did you mean 'samples'"),
        (EWC, {"fisher": {"samples": 0}}, "strategy.fisher.samples must be null"),
        (OnlineEWC, {"gamma": 1.5}, r"strategy.gamma must be in \[0, 1\], not 1.5"),
        (OnlineEWC, {"gamma": -0.1}, r"strategy.gamma must be in \[0, 1\], not -0.1"),
        (SI, {"si_c": -1.0}, "strategy.si_c must be at least 0, not -1.0"),
        (SI, {"damping": 0.0}, "strategy.damping must be above 0, not 0.0"),
        (MAS, {"samples": 0}, "strategy.samples must be null"),
    ],
)
def test_options_out_of_range(method, options, message):
    with pytest.raises(UserError, match=message):
        make(functools.partial(method, **options), data=stream())


def test_a_convolutional_network_with_batch_norm_learns_under_every_method():
    for method in METHODS.values():
        data, model = make(method, data=PermutedStream(of=Blobs(), num_tasks=2, batch_size=20))
        fit(data, model)
        assert all(bool(p.isfinite().all()) for p in model.parameters())
        assert isinstance(model.penalty, nn.Module)
