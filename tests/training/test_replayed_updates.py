"""Replayed updates: the same code without a recording equals the step that launches kernels one by one."""

import dataclasses
import functools
import json
import random
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from laboratory import BlobPair, Blobs, BlobStream, differing, fit, make, state

from tl_lab.config import compose
from tl_lab.data.batches import Deferred, DomainBatch
from tl_lab.data.inputs.augmentation import Augmentation
from tl_lab.data.loaders import Cutter
from tl_lab.domain_adaptation.adda import ADDA
from tl_lab.domain_adaptation.base import Adaptation, DomainAdaptation, Update
from tl_lab.domain_adaptation.cdan import CDAN
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.mcd import MCD
from tl_lab.domain_adaptation.mdd import MDD
from tl_lab.domain_adaptation.mmd import MMD
from tl_lab.domain_adaptation.self_training import SelfTraining
from tl_lab.errors import UserError
from tl_lab.strategies.continual.ewc import EWC
from tl_lab.strategies.continual.lwf import LwF
from tl_lab.strategies.continual.si import SI
from tl_lab.strategies.from_scratch import FromScratch
from tl_lab.training import replay
from tl_lab.training.means import Means, as_scalar
from tl_lab.training.replay import LiveUpdate, Recording, Replayer, _state_on_the_cpu
from tl_lab.training.schedules import InverseDecay

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Replaying(pl.Callback):
    """Lets a run on the CPU make its updates as a GPU would replay them; notes what was logged."""

    def __init__(self, replays: bool) -> None:
        self.replays, self.rows = replays, []

    def on_train_start(self, trainer, pl_module):
        write = type(pl_module).write
        pl_module.write = lambda *given: self.rows.append(given) or write(pl_module, *given)

    def on_train_epoch_start(self, trainer, pl_module):
        pl_module.takes_several = self.replays
        pl_module.graph = True  # batches are cut within updates
        if self.replays and pl_module.replayer is None and trainer.precision == "32-true":
            pl_module.said = []
            optimizer = pl_module.optimizers().optimizer
            pl_module.replayer = Replayer(pl_module, optimizer, records=False, say=pl_module.said.append)


def both_ways(adaptation=None, data=BlobPair, strategy=FromScratch, epochs=3, precision="32-true", **options):
    """Train with and without replaying; return each way's weights, log and model."""
    found = []
    for replays in (False, True):
        seen = Replaying(replays)
        given, model = make(
            strategy,
            data=data(batch_size=20),
            adaptation=None if adaptation is None else adaptation(),
            scheduler=InverseDecay(),
            **options,
        )
        trainer = fit(given, model, epochs=epochs, callbacks=[seen], log_every_n_steps=2, precision=precision)
        found.append((state(model.network), seen.rows, model, trainer))
    return found


def assert_equal(found):
    """Weights to the last bit, and the log as far as sums of float32 and of Python's numbers agree."""
    (weights, rows, _, trainer), (replayed, replayed_rows, model, other) = found
    assert differing(weights, replayed) == set()
    assert trainer.global_step == other.global_step
    done, also_done = (one.fit_loop.epoch_loop.batch_progress.total for one in (trainer, other))
    assert done == also_done
    assert len(rows) == len(replayed_rows) > 3
    for (metrics, *where), (own, *own_where) in zip(rows, replayed_rows, strict=True):
        assert where == own_where
        assert own == pytest.approx(metrics, rel=1e-5, abs=1e-6, nan_ok=True)
    assert any(isinstance(one, Recording) and one.graph is None for one in model.replayer._recordings.values())


def deferred(model):
    """Return for each recording whether the batch is cut in it."""
    recordings = [one for one in model.replayer._recordings.values() if isinstance(one, Recording)]
    return [isinstance(one.batch[0], Deferred) for one in recordings]


@pytest.mark.parametrize(
    "adaptation",
    [
        functools.partial(DANN, dropout=0.5, hidden=(8,)),
        functools.partial(CDAN, hidden=(8,)),
        functools.partial(MCD, generator_steps=2),
        functools.partial(ADDA, hidden=(8,)),
        functools.partial(SelfTraining, strong=Augmentation(noise=0.1), threshold=0.0),
        MDD,
        MMD,
    ],
    ids=["dann", "cdan", "mcd", "adda", "self_training", "mdd", "mmd"],
)
def test_a_replayed_adaptation_trains_to_the_same_bits(adaptation):
    found = both_ways(adaptation, dropout=0.5)
    assert_equal(found)
    model = found[1][2]
    assert set(deferred(model)) == {not model.adaptation.changes_inputs}


@pytest.mark.parametrize("strategy", [EWC, LwF, SI])
def test_a_replayed_stream_trains_to_the_same_bits(strategy):
    stream = functools.partial(BlobStream, scenario="domain", epochs_per_task=2)
    found = both_ways(data=stream, strategy=strategy)
    assert_equal(found)
    assert all(deferred(found[1][2]))
    assert found[0][2].facts() == found[1][2].facts()  # how large a penalty became is gathered in each update


def test_batches_that_are_cut_in_a_way_that_cannot_be_replayed_are_cut_before(monkeypatch):
    cuts = Cutter.__call__
    models = []

    def reads_a_number(self, index):
        for model in models:
            if model.recording is not None:
                model.recording.object_to("cutting cannot be replayed")
        return cuts(self, index)

    monkeypatch.setattr(Cutter, "__call__", reads_a_number)
    on_fit_start = FromScratch.on_fit_start
    monkeypatch.setattr(FromScratch, "on_fit_start", lambda self: models.append(self) or on_fit_start(self))
    found = both_ways(DANN)
    assert_equal(found)
    assert set(deferred(found[1][2])) == {False}
    assert found[1][2].replayer.reasons == []


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: torch.rand(1)])
def test_draws_on_the_cpu_are_noticed(draw):
    """A recorded update would repeat them: Wav2Vec2 masks what NumPy draws."""
    before = _state_on_the_cpu()
    assert _state_on_the_cpu() == before
    draw()
    assert _state_on_the_cpu() != before


def test_loaders_defer_what_can_be_cut_later_and_give_the_same_batches():
    data, model = make(data=BlobPair(batch_size=20), adaptation=DANN())
    data.use(model.network.backbone.spec)
    loader = data.train_dataloader()
    plain = list(loader)
    loader.defers = True
    assert all(isinstance(part, Deferred) for batch in loader for part in batch)
    later = [DomainBatch(*map(Deferred.cut, batch)) for batch in loader]
    assert len(plain) == len(later)
    for one, other in zip(plain, later, strict=True):
        for a, b in zip([*one.source[:3], *one.target[:2]], [*other.source[:3], *other.target[:2]], strict=True):
            assert torch.equal(a, b)
    again = data.train_dataloader()
    assert again.source.at == loader.source.at  # a recording of the last epoch holds for the next one
    samples = data.sets["source/train"]
    data.sets["source/train"] = dataclasses.replace(samples, x=samples.x + 1)
    changed = data.train_dataloader()
    assert changed.source.at != loader.source.at
    assert changed.target.at == loader.target.at
    index = torch.arange(3)
    assert not torch.equal(changed.source.at(index).x, loader.source.at(index).x)
    data.augmentation = Augmentation(noise=0.1)
    augmented = data.train_dataloader()
    augmented.defers = True
    assert not any(isinstance(part, Deferred) for batch in augmented for part in batch)
    assert augmented.source.at != loader.source.at


def test_an_update_that_is_watched_uses_its_own_rates():
    """The last update of an epoch is not replayed if the health check observes it; its rates are those of its place."""
    watched = []

    class Watched(FromScratch):
        def on_train_start(self):
            super().on_train_start()
            self.watchers = [lambda terms, seen: watched.append(sorted(terms)) or {}]

    assert_equal(both_ways(strategy=Watched))
    assert len(watched) == 2 * 3


def test_clipping_and_unfreezing_create_separate_kinds():
    from tl_lab.model.layer_policy import LayerPolicy

    found = both_ways(data=Blobs, layers=LayerPolicy(unfreeze_every=1), gradient_clip_norm=0.1, epochs=4)
    assert_equal(found)
    assert len(found[1][2].replayer._recordings) == 4


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_a_step_over_several_batches_gives_the_same_bits(precision):
    found = both_ways(data=Blobs, epochs=2, precision=precision)
    (weights, rows, _, trainer), (own, own_rows, _, other) = found
    assert differing(weights, own) == set()
    assert [where for _, *where in rows] == [where for _, *where in own_rows]
    assert trainer.fit_loop.epoch_loop.batch_progress.total == other.fit_loop.epoch_loop.batch_progress.total


@pytest.mark.parametrize("replays", [False, True])
def test_a_broken_run_resumes_replaying_to_the_same_bits(replays, tmp_path):
    """A checkpoint holds what replays need, and fits a run whose updates were not replayed."""

    def parts():
        # with rates as tensors, AdamW rounds differently from the same with numbers
        optimizer = functools.partial(torch.optim.AdamW, lr=0.01) if replays else None
        adaptation = DANN(dropout=0.2, hidden=(8,))
        return make(data=BlobPair(batch_size=20), adaptation=adaptation, optimizer=optimizer, scheduler=InverseDecay())

    def callbacks(name, replaying):
        saving = pl.callbacks.ModelCheckpoint(tmp_path / name, filename="{epoch}", save_top_k=-1)
        return [Replaying(replaying), saving]

    data, unbroken = parts()
    fit(data, unbroken, epochs=4, callbacks=callbacks("a", replays))
    data, resumed = parts()
    torch.manual_seed(99)  # another process would have another state, too
    fit(data, resumed, epochs=4, callbacks=callbacks("b", True), ckpt_path=tmp_path / "a" / "epoch=1.ckpt")
    assert differing(state(unbroken), state(resumed)) == set()
    assert resumed.replayer is not None
    assert resumed.updates_done == unbroken.updates_done == 12


class _ReadsProgress(DomainAdaptation):
    def adapt(self, source, target, update):
        return Adaptation({"own": source.features.mean() * (1 + update.progress)})


def test_a_method_that_reads_progress_itself_is_not_replayed():
    found = both_ways(_ReadsProgress)
    (weights, *_), (replayed, _, model, _) = found
    assert differing(weights, replayed) == set()
    assert model.replayer.reasons == ["update.progress is read as a number; use update.live(...) instead"]


class _OfEachEpoch(FromScratch):
    """Each epoch has a kind of updates of its own, and the kind of its last update is the only one replayed."""

    def replay_key(self):
        return self._updates_done // 3


def test_kinds_that_rarely_recur_are_no_longer_recorded():
    """As of texts whose batches all have other lengths; recording each of them would take longer than it saves."""
    found = both_ways(strategy=_OfEachEpoch, epochs=20)
    assert_equal(found)
    model = found[1][2]
    assert [kind[2] for kind in model.replayer._recordings] == [12, 13, 14, 15]
    reason = "updates are of too many kinds, most of which recur fewer than 10 times"
    assert model.replayer.reasons == [reason]
    assert model.said == [f"update.graph: these updates are not replayed: {reason}"]


def test_kinds_that_recur_are_recorded_however_many_there_are(monkeypatch):
    """As of a stream of many tasks."""
    monkeypatch.setattr(replay, "_WORTH", 1)
    model = both_ways(strategy=_OfEachEpoch, epochs=20)[1][2]
    assert [kind[2] for kind in model.replayer._recordings] == [16, 17, 18, 19]
    assert (model.replayer.reasons, model.said) == ([], [])


def test_a_reason_is_stated_once_for_all_kinds_of_updates():
    model = both_ways(_ReadsProgress, strategy=_OfEachEpoch, epochs=6)[1][2]
    assert len(model.replayer.reasons) == len(model.said) == 1


def test_numbers_follow_training():
    recording = Recording((), (), torch.zeros(8), first=1)
    update = LiveUpdate(Update(0.25, 5), recording).in_phase("second")
    number = update.live(lambda now: now.progress + now.number + (now.phase == "second"))
    assert number.item() == pytest.approx(6.25)
    recording.fill([], [0.5], Update(0.5, 7), seed=lambda use: 0)
    assert (recording.numbers[0].item(), number.item()) == pytest.approx((0.5, 8.5))
    assert recording.objections == []
    assert update.number == 5
    assert len(recording.objections) == 1


def test_means_of_tensors_and_numbers():
    means = Means()
    means.add({"a": torch.tensor(1.0), "b": 3.0})
    means.add({"a": torch.tensor(5.0)}, count=2)
    assert means.read().means() == pytest.approx({"a": 2.0, "b": 3.0})
    assert not means


def test_sums_of_logged_values_equal_those_of_an_addition_after_each_update():
    means, draw = Means(), torch.Generator().manual_seed(0)
    total = None
    for _ in range(2500):
        value = torch.rand((), generator=draw)
        means.add({"loss": value})
        total = value if total is None else total + value
    assert means.read().means() == {"loss": (total / 2500).item()}


def test_marks_are_logged_as_their_share_of_true():
    """The same as the mean of each vector, bit for bit, among scalars and beyond the number that is kept."""
    draw, given, direct = torch.Generator().manual_seed(0), Means(), Means()
    for _ in range(1203):
        marks = torch.rand(int(torch.randint(1, 40, (), generator=draw)), generator=draw) < 0.7
        loss = torch.rand((), generator=draw)
        given.add({"acc": marks, "loss": loss})
        direct.add({"acc": marks.float().mean(), "loss": loss})
    assert given.read().means() == direct.read().means()
    assert as_scalar(torch.tensor([True, False, True])).item() == torch.tensor(2.0).div(3).item()


def test_a_logged_value_is_a_scalar_or_marks():
    with pytest.raises(UserError, match=r"'loss' has the shape \(2,\): log its mean"):
        Means().add({"loss": torch.zeros(2)})
    recording = Recording((), (), torch.zeros(4), 0)
    recording.note({"loss": torch.zeros(2)})
    with pytest.raises(UserError, match=r"'loss' has the shape \(2,\)"):
        recording.sum_up()
    recording = Recording((), (), torch.zeros(4), 0)
    recording.note({"acc": torch.tensor([True, False, True, True]), "loss": torch.tensor(2.0)})
    recording.sum_up()
    assert recording.sums.tolist() == [0.75, 2.0]


def test_a_logged_tensor_must_not_change_afterwards():
    means, counter = Means(), torch.zeros(())
    means.add({"share": counter})
    counter += 1
    with pytest.raises(UserError, match="'share' was changed in place"):
        means.read()


def test_auto_replays_because_the_stored_measurement_holds():
    """Never slower than one kernel after the other, and nothing fails that does not fail without graphs."""
    found = json.loads((Path(__file__).resolve().parents[2] / "docs" / "results" / "gpu.json").read_text())
    steps = {name: sides for name, sides in found.items() if name.startswith("steps/")}
    pairs = [
        (sides[f"{side}_graph"]["ms"], sides[side]["ms"])
        for sides in steps.values()
        for side in ("frame", "loop", "vmap")
        if side in sides
    ]
    assert len(pairs) == 6
    assert all(replayed < plain for replayed, plain in pairs)
    ended = [one for one in found["choices"].values() if one["plain"] == "completed"]
    assert len(ended) > 100
    assert all(one["graph"] == "completed" for one in ended if "graph" in one)
    assert compose([])["update"]["graph"] == "auto"
