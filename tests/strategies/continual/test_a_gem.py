"""A-GEM: gradients before and after, against the projection by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from laboratory import BlobStream, fit, make
from torch.nn import functional as F

from tl_lab.data.samples import Samples
from tl_lab.domain_adaptation.mcd import MCD
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.strategies.continual.a_gem import AGem

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

BALANCED, RESERVOIR = {"policy": "class_balanced", "per_class": 10}, {"policy": "reservoir", "size": 60}


class Contrary(BlobStream):
    """Tasks that call the same images by other names."""

    def read_tasks(self):
        tasks = super().read_tasks()
        return [
            {name: Samples(own.x, None if own.y is None else (own.y + k) % 3) for name, own in sets.items()}
            for k, sets in enumerate(tasks)
        ]


def gradients(parameters):
    return [None if p.grad is None else p.grad.detach().clone() for p in parameters]


def flat(parts, like):
    """One vector in double precision, zeros where there is no gradient."""
    parts = [torch.zeros_like(p) if part is None else part for part, p in zip(parts, like, strict=True)]
    return np.concatenate([part.detach().double().numpy().ravel() for part in parts])


def traced(scenario, **options):
    """Fit; of each update give the gradients before and after, and the reference by hand."""
    kind = BlobStream if scenario == "class" else Contrary  # so that some gradients are opposed, and some are not
    data = kind(scenario=scenario, evaluate="last", batch_size=20, epochs_per_task=3)
    data, model = make(AGem, data, replay_batch_size=24, **options)
    parameters, found, fetched = list(model.network.parameters()), [], []
    cut, project = data.cut, model.on_gradients
    data.cut = lambda *given: (fetched.append(cut(*given)), fetched[-1])[1]

    def by_hand(batch):
        features = model.network.features(batch.x.double())
        scores = [block(features) for block in model.head.blocks]
        if scenario == "task":
            rows = torch.stack([scores[k][i] for i, k in enumerate(batch.task.tolist())])
            loss = F.cross_entropy(rows, batch.y - 3 * batch.task)
        else:
            loss = F.cross_entropy(torch.cat(scores[: model.task + 1], 1), batch.y)
        learn = [p for p in parameters if p.requires_grad]
        found = dict(zip(map(id, learn), torch.autograd.grad(loss, learn, allow_unused=True), strict=True))
        return [found.get(id(p)) for p in parameters]

    def trace():
        calls, before = len(fetched), gradients(parameters)
        project()
        reference = by_hand(fetched[-1]) if len(fetched) > calls else None
        found.append((model.task, before, gradients(parameters), reference))

    model.on_gradients = trace
    written = []
    model.write = lambda metrics: written.append(dict(metrics))
    fit(data, model, precision="64-true")  # a gradient that nearly vanishes would leave little of single precision
    return found, parameters, written, fetched


@pytest.mark.parametrize("memory", [BALANCED, RESERVOIR], ids=["class_balanced", "reservoir"])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_gradients_that_oppose_the_reference_are_projected(scenario, memory):
    found, parameters, written, fetched = traced(scenario, memory=memory)
    decisions = {1: [], 2: []}
    for task, before, after, reference in found:
        if task == 0:
            assert reference is None
        g, projected = flat(before, parameters), flat(after, parameters)
        if task == 0 or (ref := flat(reference, parameters)) @ g >= 0:
            np.testing.assert_array_equal(projected, g)
        else:
            expected = g - (g @ ref) / (ref @ ref) * ref
            np.testing.assert_allclose(projected, expected, rtol=1e-9, atol=1e-12 * np.abs(g).max())
            assert abs(projected @ ref) < 1e-12 * np.linalg.norm(g) * np.linalg.norm(ref)
        if task:
            decisions[task].append(bool(ref @ g < 0))
    assert {len(taken) for taken in decisions.values()} == {9}
    assert any(decisions[1] + decisions[2])
    assert not all(decisions[1] + decisions[2])
    # the reference is of earlier tasks, whatever the memory holds
    assert {int(k) for batch in fetched[:9] for k in batch.task} == {0}
    assert {int(k) for batch in fetched[9:] for k in batch.task} == {0, 1}
    logged = [row["train/projected"] for row in written if "train/projected" in row]
    epochs = [taken[i : i + 3] for taken in decisions.values() for i in (0, 3, 6)]
    assert logged == pytest.approx([sum(epoch) / 3 for epoch in epochs])


@pytest.mark.parametrize("learning", [1, "none"])
def test_frozen_layers_take_no_part(learning):
    found, parameters, _, _ = traced("class", memory=BALANCED, layers=LayerPolicy(learning))
    learns = {id(p) for p in parameters if p.requires_grad}
    assert len(learns) == {1: 8, "none": 6}[learning]  # weights and biases of the last layer and three blocks
    assert any(reference is not None for *_, reference in found)
    for _, _, after, _ in found:
        assert all(g is None for g, p in zip(after, parameters, strict=True) if id(p) not in learns)


def test_a_reference_may_bring_gradients_to_the_heads_of_earlier_tasks():
    found, *_ = traced("task", memory=BALANCED)
    weights = (-6, -4, -2)  # of the three heads
    changed = [(task, b, a) for task, b, a, _ in found if not torch.equal(b[0], a[0])]
    assert changed
    for task, before, after in changed:
        assert [before[w] is not None for w in weights] == [k == task for k in range(3)]
        assert [after[w] is not None for w in weights] == [k <= task for k in range(3)]  # none of tasks still to come
        assert after[weights[0]].abs().sum() > 0


def test_parts_frozen_by_an_adaptation_do_not_change():
    data = Contrary(pairs=True, evaluate="last", batch_size=20, epochs_per_task=3)
    data, model = make(AGem, data, MCD(generator_steps=1), memory=BALANCED)
    project, taken = model.on_gradients, []

    def check():
        parts = {name: list(part.parameters()) for name, part in model.parts().items()}
        before = {name: gradients(parameters) for name, parameters in parts.items()}
        project()
        after = {name: gradients(parameters) for name, parameters in parts.items()}
        still = {name for name, own in before.items() if all(g is None for g in own)}
        assert {name for name, own in after.items() if all(g is None for g in own)} == still
        projected = flat(before["head"], parts["head"]).tolist() != flat(after["head"], parts["head"]).tolist()
        taken.append((frozenset(still - {"bottleneck"}), projected))

    model.on_gradients = check
    fit(data, model)
    assert {still for still, _ in taken} == {frozenset(), frozenset({"backbone"}), frozenset({"head", "adaptation"})}
    assert (frozenset({"backbone"}), True) in taken  # a projection, and only of what learns


def test_references_are_averaged_over_processes():
    _, model = make(AGem, BlobStream(evaluate="last"))
    like = [torch.zeros(2, 2), torch.zeros(3), torch.zeros(()), torch.zeros(1)]
    ours = [torch.ones(2, 2), None, torch.tensor(4.0), None]
    theirs = [None, torch.tensor([2.0, 4.0, 6.0]), torch.tensor(8.0), None]
    their_flat = torch.cat([torch.zeros(4), theirs[1], theirs[2].view(1), torch.zeros(1)])

    def reduce(tensor, reduce_op):
        if reduce_op == "sum":
            return tensor + torch.tensor([0.0, 1.0, 1.0, 0.0])
        return (tensor + their_flat) / 2

    model._trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(reduce=reduce))
    averaged = model._averaged(ours, like)
    assert averaged[3] is None
    assert [part.tolist() for part in averaged[:3]] == [[[0.5, 0.5], [0.5, 0.5]], [1, 2, 3], 6]
