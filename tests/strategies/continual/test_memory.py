"""The memory of replay, DER++ and A-GEM: stored and drawn samples, and resuming a killed stream."""

import functools
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from laboratory import BlobStream, fit, make, state

from tl_lab.data.inputs.augmentation import Augmentation
from tl_lab.data.loaders import BatchOrder
from tl_lab.errors import UserError
from tl_lab.randomness import generator
from tl_lab.strategies.continual.a_gem import AGem
from tl_lab.strategies.continual.der_plus_plus import DerPlusPlus
from tl_lab.strategies.continual.memory import Memory, MemoryStrategy
from tl_lab.strategies.continual.replay import Replay

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

RESERVOIR, BALANCED = {"policy": "reservoir", "size": 25}, {"policy": "class_balanced", "per_class": 4}


def stream(scenario="class", **options):
    return BlobStream(scenario=scenario, **{"batch_size": 20, "evaluate": "last", **options})


def labels_held(data, memory):
    slots = memory.filled()
    return torch.stack([memory.task[slots], data.cut(memory.task[slots], memory.index[slots]).y])


# ---------------------------------------------------------------------- filling


def test_a_reservoir_is_a_uniform_sample_of_the_stream():
    counts = torch.zeros(30)
    for seed in range(2000):
        memory, draw = Memory(10), generator(seed)
        for batch in torch.arange(30).split(7):
            memory.add(0, batch, draw)
        assert memory.seen == 30
        counts += torch.bincount(memory.index, minlength=30)
    # each of 30 is held with probability 1/3; five standard deviations of the binomial
    assert (counts - 2000 / 3).abs().max() < 5 * (2000 * 1 / 3 * 2 / 3) ** 0.5


def test_stored_properties_of_a_sample_stay_together():
    memory, draw = Memory(20, width=3), generator(0)
    for task in range(3):
        for batch in torch.arange(60).split(8):
            kept = torch.stack([1000.0 * task + batch, *[-batch.float()] * task], 1)
            memory.add(task, batch, draw, kept)
    assert len(memory.filled()) == 20
    assert memory.task.unique().tolist() == [0, 1, 2]
    expected = torch.full((20, 3), torch.nan)
    expected[:, 0] = 1000.0 * memory.task + memory.index
    for column in (1, 2):
        known = memory.task >= column
        expected[known, column] = -memory.index[known].float()
    torch.testing.assert_close(memory.logits, expected, rtol=0, atol=0, equal_nan=True)


def test_a_large_reservoir_contains_the_whole_stream():
    shown = []
    data, model = make(Replay, stream(epochs_per_task=2), memory={"policy": "reservoir", "size": 1000})
    terms = model.further_terms
    model.further_terms = lambda batch, *rest: (shown.append((model.task, batch.index)), terms(batch, *rest))[1]
    fit(data, model)
    memory = model.memory
    assert memory.index[:360].tolist() == torch.cat([index for _, index in shown]).tolist()
    assert memory.task[:360].tolist() == [task for task, index in shown for _ in index]
    assert memory.task[360:].unique().tolist() == [-1]
    assert memory.seen == 360
    for k in range(3):  # an epoch shows each sample once, the next one again
        assert torch.bincount(memory.index[memory.task == k]).tolist() == [2] * 60


def test_a_full_reservoir_keeps_of_every_task():
    data, model = make(Replay, stream(batches_per_epoch=30), memory=RESERVOIR)
    fit(data, model)
    held = torch.bincount(model.memory.task, minlength=3)
    assert held.sum() == 25
    assert (held > 0).all()  # that one of three is missing has a probability of 1e-4


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_class_balanced_keeps_the_same_number_of_each_class_of_each_task(scenario):
    after = []
    data, model = make(Replay, stream(scenario), memory=BALANCED)
    end = model.end_task
    model.end_task = lambda task: (end(task), after.append(len(model.memory.filled())))[0]
    fit(data, model)
    assert after == [12, 24, 36]
    classes = 3 if scenario == "domain" else 9
    pairs, counts = labels_held(data, model.memory).unique(dim=1, return_counts=True)
    assert counts.tolist() == [4] * 9
    assert pairs[1].tolist() == [c % classes for c in range(9)]
    places = [frozenset(model.memory.index[model.memory.task == k].tolist()) for k in range(3)]
    assert {len(own) for own in places} == {12}
    assert len(set(places)) == 3  # each task draws for itself


def test_who_is_kept_follows_the_seed():
    held = []
    for seed in (0, 0, 1):
        data, model = make(Replay, stream(seed=5), seed=seed, memory=BALANCED)
        fit(data, model)
        held.append(model.memory.index.tolist())
    assert held[0] == held[1] != held[2]


def test_class_balanced_takes_all_of_a_small_class():
    memory = Memory(9)
    memory.add_of_each_class(1, torch.tensor([5, 7, 5, 5, 5, 7]), 3, generator(0))
    assert memory.filled().tolist() == [0, 1, 2, 3, 4]
    assert set(memory.index[3:5].tolist()) == {1, 5}
    assert set(memory.index[:3].tolist()) < {0, 2, 3, 4}
    drawn = set()
    for seed in range(50):
        other = Memory(9)
        other.add_of_each_class(1, torch.tensor([5, 7, 5, 5, 5, 7]), 3, generator(seed))
        drawn.add(frozenset(other.index[:3].tolist()))
    assert len(drawn) == 4  # every choice of three among four


# ---------------------------------------------------------------------- drawing


def recalling(model, epoch=0, batch_idx=0, rank=0, processes=1):
    """Put a strategy at a place of a run."""
    model._trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank, world_size=processes)
    model._batch_idx = batch_idx
    return model


@pytest.fixture
def filled(monkeypatch):
    data, model = make(Replay, stream(), memory={"policy": "reservoir", "size": 60}, replay_batch_size=9)
    monkeypatch.setattr(type(model), "stream", data)
    for task in range(3):
        model.memory.add(task, torch.arange(10), generator(task))
    return model


def test_draws_are_without_replacement_and_from_earlier_tasks_on_request(filled):
    assert len(recalling(filled).recall("a").unique()) == 9
    assert filled.memory.filled(1).tolist() == list(range(10))
    drawn = [recalling(filled, batch_idx=i).recall("a", before=2) for i in range(200)]
    counts = torch.bincount(torch.cat(drawn), minlength=30)
    assert counts[20:].sum() == 0
    # each of 20 is among 9 with probability 9/20; five standard deviations
    assert (counts[:20] - 90).abs().max() < 5 * (200 * 9 / 20 * 11 / 20) ** 0.5
    assert recalling(filled).recall("a", before=0).tolist() == []


def test_draws_follow_name_epoch_and_batch(filled):
    drawn = {
        place: tuple(recalling(filled, place[1], place[2]).recall(place[0]).tolist())
        for place in [("a", 0, 0), ("b", 0, 0), ("a", 1, 0), ("a", 0, 1)]
    }
    assert len(set(drawn.values())) == 4
    assert tuple(recalling(filled).recall("a").tolist()) == drawn["a", 0, 0]


def test_processes_share_a_draw(filled):
    whole = recalling(filled).recall("a")
    for processes in (2, 3, 4, 10):
        parts = [recalling(filled, rank=r, processes=processes).recall("a") for r in range(processes)]
        assert {len(part) for part in parts} == {9 // processes}
        together = torch.stack(parts, 1).flatten()
        assert together.tolist() == whole[: len(together)].tolist()


def test_processes_put_their_batches_together_in_the_order_of_one(filled):
    def order(rank, processes):
        return next(BatchOrder(60, 12, True, 0, "train", rank=rank, world_size=processes).epoch(0))

    shares = torch.stack([order(rank, 3) for rank in range(3)])
    model = recalling(filled, processes=3)
    model.all_gather = lambda share: shares
    assert model._whole(shares[1]).tolist() == order(0, 1).tolist()


def test_samples_are_fetched_as_training_shows_them_and_augmented_anew():
    seen = []
    data, model = make(Replay, stream(augmentation=Augmentation(noise=0.1)), memory=BALANCED)
    cut = data.cut
    data.cut = lambda *given: (seen.append((given[:2], cut(*given))), seen[-1][1])[1]
    fit(data, model)
    (task, index), batch = seen[-1]
    plain = cut(task, index)
    assert batch.y.tolist() == plain.y.tolist()
    noise = (batch.x - plain.x)[:, 0].flatten(1)
    assert (noise.std(1) > 0).all()
    assert len(noise.unique(dim=0)) == len(noise)
    firsts = [(int(task[0]), int(index[0])) for (task, index), _ in seen]
    assert len(set(firsts)) > 1


# ---------------------------------------------------------------------- resuming


@pytest.mark.parametrize("last", [1, 2], ids=["between tasks", "within a task"])
@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        (Replay, {"memory": BALANCED}),
        (Replay, {"memory": RESERVOIR, "weighting": "equal"}),
        (DerPlusPlus, {"memory": RESERVOIR}),
        (AGem, {"memory": BALANCED}),
        (AGem, {"memory": RESERVOIR}),
    ],
)
def test_an_interrupted_stream_resumes_to_the_same_bits(strategy, options, last, tmp_path):
    def run(name, ckpt_path=None):
        data = stream(epochs_per_task=2, augmentation=Augmentation(rotation=20, noise=0.1))
        adam = functools.partial(torch.optim.AdamW, lr=0.01)
        _, model = make(strategy, data, optimizer=adam, dropout=0.3, **options)
        saving = pl.callbacks.ModelCheckpoint(
            tmp_path / name, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True
        )
        fit(data, model, callbacks=[saving], ckpt_path=ckpt_path)
        return model

    unbroken = run("a")
    torch.manual_seed(99)
    resumed = run("b", tmp_path / "a" / f"epoch={last}.ckpt")
    torch.testing.assert_close(state(resumed), state(unbroken), rtol=0, atol=0, equal_nan=True)
    assert len(resumed.memory.filled()) == len(resumed.memory)
    assert resumed.updates_done == unbroken.updates_done == 18


# ---------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": {"policy": "reservoir", "size": 0}}, r"memory\.size must be a whole number of at least 1, not 0"),
        ({"memory": {"per_class": 2.5}}, r"memory\.per_class must be a whole number of at least 1, not 2\.5"),
        ({"memory": {"policy": "resevoir"}}, r"memory\.policy=resevoir .* did you mean 'reservoir'"),
        ({"memory": {"sise": 3}}, r"memory has no key 'sise'; did you mean 'size'"),
        ({"replay_batch_size": 0}, r"replay_batch_size must be null or at least 1, not 0"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        make(Replay, stream(), **options)


def test_batches_that_processes_cannot_share_are_refused(monkeypatch):
    data, model = make(AGem, stream(), replay_batch_size=9)
    recalling(model, processes=2)
    with pytest.raises(UserError, match="replay_batch_size=9 cannot be shared among 2 processes"):
        model.prepare(data)
    data, model = make(Replay, stream(batch_size=100), memory=RESERVOIR)  # the tasks hold 60
    monkeypatch.setattr(type(model), "stream", data)
    with pytest.raises(UserError, match="task1 has batches of 60, no multiple of 8 processes"):
        recalling(model, processes=8).prepare(data)


def test_the_budget_is_stated():
    _, model = make(MemoryStrategy, stream(), memory=RESERVOIR)
    assert model.facts()["memory"] == "25 samples (reservoir)"
    _, model = make(MemoryStrategy, stream("domain"), memory=BALANCED)
    assert model.facts()["memory"] == "36 samples, 4 of each class of each task (class_balanced)"
