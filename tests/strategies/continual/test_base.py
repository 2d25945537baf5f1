"""The contract of continual strategies: tasks, heads, accuracies, and resuming after a kill."""

import functools

import pytest
import torch
from composing import strategy_class
from laboratory import Blobs, BlobStream, differing, fit, make, state
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch.nn import functional as F

from tl_lab.config import choices
from tl_lab.data.scenarios.split_stream import SplitStream
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.errors import UserError
from tl_lab.strategies.continual.base import ContinualStrategy
from tl_lab.strategies.continual.joint import Joint
from tl_lab.strategies.continual.naive import Naive

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*orders of magnitude:UserWarning")

STRATEGIES = {
    name: cls
    for name in choices("strategy")["strategy"]
    if "/" not in name and issubclass(cls := strategy_class(name), ContinualStrategy)
}


def stream(**options):
    return BlobStream(batch_size=20, epochs_per_task=2, **options)


def test_all_strategies_are_tried():
    assert len(STRATEGIES) == 10


# ---------------------------------------------------------------------- a stream that goes on


class Stop(Exception):
    pass


class StopAt(Callback):
    """End training hard in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, *_):
        if trainer.current_epoch == self.epoch:
            raise Stop


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_stream_resumes_to_the_same_result(name, scenario, tmp_path):
    """Ended inside the second task's second epoch, and in the third task's first, right after a task's end."""
    optimizer = functools.partial(torch.optim.AdamW, lr=1e-2)
    whole_data, whole = make(STRATEGIES[name], data=stream(scenario=scenario), optimizer=optimizer, dropout=0.2)
    fit(whole_data, whole)
    for ended in (3, 4):
        data, model = make(STRATEGIES[name], data=stream(scenario=scenario), optimizer=optimizer, dropout=0.2)
        kept = ModelCheckpoint(tmp_path / str(ended), "last", every_n_epochs=1, save_on_train_epoch_end=True)
        with pytest.raises(Stop):
            fit(data, model, callbacks=[kept, StopAt(ended)], folder=tmp_path)
        data, model = make(STRATEGIES[name], data=stream(scenario=scenario), optimizer=optimizer, dropout=0.2)
        fit(data, model, ckpt_path=tmp_path / str(ended) / "last.ckpt", folder=tmp_path)
        one, other = state(whole), state(model)
        for n in one:
            torch.testing.assert_close(one[n], other[n], rtol=0, atol=0, equal_nan=True)
        assert model.updates_done == whole.updates_done == 18
        assert model.facts() == whole.facts()


def test_another_order_of_tasks_is_refused(tmp_path):
    def split(seed):
        return SplitStream(of=Blobs(), num_tasks=3, shuffle_classes=True, seed=seed, batch_size=10, scenario="class")

    data, model = make(Naive, data=split(0))
    fit(data, model, callbacks=[ModelCheckpoint(tmp_path, "last")], folder=tmp_path)
    data, model = make(Naive, data=split(1))
    with pytest.raises(
        UserError, match=r"another stream of tasks: it was trained on '. \| . \| .', but this run has '"
    ):
        fit(data, model, ckpt_path=tmp_path / "last.ckpt", folder=tmp_path)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_streams_learn_in_double_precision(name):
    data, model = make(STRATEGIES[name], data=stream(scenario="class"))
    fit(data, model, precision="64-true")
    assert next(model.parameters()).dtype == torch.float64
    assert bool(model.accuracy_matrix[-1].isfinite().all())


# ---------------------------------------------------------------------- heads


@pytest.mark.parametrize("scenario", ["task", "class"])
@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"joint"}))
def test_outputs_not_in_use_do_not_move(name, scenario):
    """Neither by weight decay nor by momentum: their gradient is None."""
    optimizer = functools.partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1)
    data, model = make(STRATEGIES[name], data=stream(scenario=scenario), optimizer=optimizer)
    rehearses = name in ("replay", "der_plus_plus", "a_gem", "lwf")  # these move old heads on purpose
    seen = []

    def note(task):
        seen.append({f"{k}.{n}": t for k in range(3) for n, t in state(model.head.blocks[k]).items()})
        type(model).end_task(model, task)

    model.end_task = note
    before = {f"{k}.{n}": t for k in range(3) for n, t in state(model.head.blocks[k]).items()}
    fit(data, model)
    distils_all = (name, scenario) == ("der_plus_plus", "class")  # outputs of classes still to come, too
    for task, now in enumerate(seen):
        later = set() if distils_all else {n for n in now if int(n[0]) > task}
        assert not differing({n: before[n] for n in later}, now)
        assert differing({n: before[n] for n in now if int(n[0]) == task}, now)
    idle = {n for n in seen[0] if int(n[0]) == 0}
    if scenario == "task" and not rehearses:
        assert not differing({n: seen[0][n] for n in idle}, seen[2])
        assert differing({n: seen[0][n] for n in idle}, before) == idle


def test_a_batch_of_several_tasks_is_answered_by_each_samples_own_head():
    data, model = make(Naive, data=stream(scenario="task"))
    batch = data.cut(torch.tensor([2, 0, 1, 0]), torch.tensor([1, 2, 3, 4]))
    model.eval()
    features = model.features(batch.x)
    logits, y = model.classify(features, batch)
    for i, task in enumerate(batch.task.tolist()):
        model.view(task)
        alone, alone_y = model.classify(features[i : i + 1], batch._replace(x=None, y=batch.y[i : i + 1], task=None))
        torch.testing.assert_close(logits[i], alone[0])
        assert y[i] == alone_y[0]


class UnequalStream(BlobStream):
    """Tasks of three, two and three classes."""

    def read_tasks(self):
        tasks = super().read_tasks()
        self.task_classes[1] = self.task_classes[1][:2]
        tasks[1] = {name: samples.subset((samples.y < 2).nonzero()[:, 0]) for name, samples in tasks[1].items()}
        return tasks


def test_labels_are_smoothed_over_a_samples_own_outputs():
    """Minus infinity stands for the output that the second task lacks."""
    data, model = make(functools.partial(Naive, label_smoothing=0.3), data=UnequalStream(scenario="task"))
    assert data.outputs.sizes == (3, 2, 3)
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.5, 0.3, -torch.inf], [0.2, 0.1, 3.0]], requires_grad=True)
    y = torch.tensor([1, 0, 0])
    losses = model.criterion(logits, y, reduction="none")
    alone = [
        F.cross_entropy(logits[i : i + 1, :size], y[i : i + 1], label_smoothing=0.3) for i, size in enumerate([3, 2, 3])
    ]
    torch.testing.assert_close(losses, torch.stack(alone))
    torch.testing.assert_close(model.task_loss(logits, y), torch.stack(alone).mean())
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("name", ["joint", "replay"])
def test_mixed_batches_of_unequal_tasks_are_learned_with_smoothing(name):
    data = UnequalStream(scenario="task", batch_size=20)
    data, model = make(functools.partial(STRATEGIES[name], label_smoothing=0.1), data=data)
    fit(data, model)
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


# ---------------------------------------------------------------------- tasks


def test_tasks_start_and_end_in_order_and_learn_from_their_own_data():
    data, model = make(Naive, data=stream(scenario="domain"))
    events = []
    model.start_task = lambda task: events.append(("start", task, model.updates_done))
    model.end_task = lambda task: events.append(("end", task, model.updates_done))
    original = model.training_step

    def step(batch, batch_idx):
        events.append((float(batch.x.mean()), model.task))
        return original(batch, batch_idx)

    model.training_step = step
    fit(data, model)
    borders = [event for event in events if event[0] in ("start", "end")]
    assert borders == [
        ("start", 0, 0),
        ("end", 0, 6),
        ("start", 1, 6),
        ("end", 1, 12),
        ("start", 2, 12),
        ("end", 2, 18),
    ]
    brightness = [[seen for seen, task in (e for e in events if len(e) == 2) if task == k] for k in range(3)]
    assert max(brightness[0]) < min(brightness[1]) < max(brightness[1]) < min(brightness[2])


def test_progress_runs_over_each_task():
    data, model = make(Naive, data=stream())
    seen = []
    original = model.training_step

    def step(batch, batch_idx):
        seen.append(model.progress)
        return original(batch, batch_idx)

    model.training_step = step
    fit(data, model)
    assert seen == pytest.approx([k / 6 for k in range(6)] * 3)


@pytest.mark.parametrize("choice", ["keep", "reset"])
def test_the_optimizers_state_at_a_tasks_start(choice):
    optimizer = functools.partial(torch.optim.Adam, lr=1e-3)
    data, model = make(functools.partial(Naive, optimizer_state=choice), data=stream(), optimizer=optimizer)
    steps = []

    def note(task):
        found = model.optimizers().state.values()
        steps.append(max((int(one["step"]) for one in found), default=0))

    model.start_task = note
    fit(data, model)
    assert steps == ([0, 6, 12] if choice == "keep" else [0, 0, 0])


def test_a_task_may_end_with_its_best_weights():
    data, model = make(functools.partial(Naive, task_ends_with="best"), data=stream(scenario="task"))
    accuracies, ended = [], {}
    original = model.on_validation_epoch_end

    def note():
        original()
        accuracies.append((model.task, model.last_validation[f"val/task{model.task + 1}/acc"], state(model.network)))

    model.on_validation_epoch_end = note
    model.end_task = lambda task: ended.update({task: state(model.network)})
    fit(data, model)
    for task in range(3):
        own = [(acc, weights) for k, acc, weights in accuracies if k == task]
        best = max(own, key=lambda pair: pair[0])[1]  # the first of equals
        assert not differing(best, ended[task])


# ---------------------------------------------------------------------- accuracies


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_the_accuracy_matrix_equals_the_test_scores(scenario):
    data, model = make(Naive, data=stream(scenario=scenario))
    trainer = fit(data, model)
    trainer.test(model, datamodule=data, verbose=False)
    last = [model.last_test[f"test/task{k}/acc"] for k in (1, 2, 3)]
    assert model.accuracy_matrix[3].tolist() == pytest.approx(last)
    defined = ~model.accuracy_matrix.isnan()
    if scenario == "class":
        assert torch.equal(defined, torch.ones(4, 3).tril(-1).bool())
        assert "test/fwt" not in model.last_test
        assert model.last_test["test/within_task_acc"] == pytest.approx(float(model.within_task_matrix[3].mean()))
        assert (model.within_task_matrix[3] >= model.accuracy_matrix[3]).all()
    else:
        assert defined.all()
        r, b = model.accuracy_matrix[1:], model.accuracy_matrix[0]
        expected = float((r[0, 1] - b[1] + r[1, 2] - b[2]) / 2)
        assert model.last_test["test/fwt"] == pytest.approx(expected)
    r = model.accuracy_matrix[1:]
    assert model.last_test["test/acc"] == pytest.approx(float(r[2].mean()))
    assert model.last_test["test/bwt"] == pytest.approx(float((r[2, 0] - r[0, 0] + r[2, 1] - r[1, 1]) / 2))


def test_measuring_does_not_affect_training():
    data, model = make(Naive, data=stream())
    fit(data, model)
    twin_data, twin = make(Naive, data=stream())
    twin._measure_row = lambda row: None
    fit(twin_data, twin)
    assert not differing(state(model.network), state(twin.network))


def test_joint_learns_all_tasks_at_once():
    data, model = make(Joint, data=stream(scenario="class"))
    trainer = fit(data, model)
    assert model.accuracy_matrix[:3].isnan().all()
    assert model.accuracy_matrix[3].isfinite().all()
    assert model.updates_done == 18
    trainer.test(model, datamodule=data, verbose=False)
    assert "test/bwt" not in model.last_test


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer_state": "clear"}, "strategy.optimizer_state must be 'keep' or 'reset', not 'clear'"),
        ({"task_ends_with": "first"}, "strategy.task_ends_with must be 'last' or 'best', not 'first'"),
        ({"class_weights": "balanced"}, "strategy.class_weights must be null for a stream"),
    ],
)
def test_options_that_do_not_exist(options, message):
    with pytest.raises(UserError, match=message):
        make(functools.partial(Naive, **options), data=stream())


# ---------------------------------------------------------------------- adapting along a stream


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"joint"}))
def test_every_strategy_adapts_along_a_stream_of_pairs(name):
    data, model = make(STRATEGIES[name], data=stream(pairs=True, scenario="domain"), adaptation=DANN(hidden=[4]))
    trainer = fit(data, model)
    trainer.test(model, datamodule=data, verbose=False)
    assert {f"test/task{k}/{domain}/acc" for k in (1, 2, 3) for domain in ("source", "target")} <= set(model.last_test)
    assert model.accuracy_matrix[3, 0].item() == pytest.approx(model.last_test["test/task1/target/acc"])
