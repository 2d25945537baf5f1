"""DER++: the stored logits, and its two terms by hand."""

import pytest
import torch
from laboratory import BlobStream, fit, make
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.strategies.continual.der_plus_plus import DerPlusPlus

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Uneven(BlobStream):
    """Three, two and three classes."""

    def read_tasks(self):
        tasks = super().read_tasks()
        self.task_classes[1].pop()
        tasks[1] = {name: own.subset((own.y < 2).nonzero()[:, 0]) for name, own in tasks[1].items()}
        return tasks


def built(scenario="class", kind=BlobStream, size=400, **options):
    data = kind(scenario=scenario, evaluate="last", batch_size=20, epochs_per_task=2)
    return make(DerPlusPlus, data, memory={"size": size}, **options)


STREAMS = pytest.mark.parametrize(
    ("scenario", "kind"),
    [("task", BlobStream), ("task", Uneven), ("domain", BlobStream), ("class", BlobStream), ("class", Uneven)],
    ids=["task", "uneven tasks", "domain", "class", "uneven classes"],
)


@STREAMS
def test_samples_are_kept_with_the_logits_that_they_had_before_their_update(scenario, kind):
    shown = []
    data, model = built(scenario, kind)
    objective = model.objective

    def note(source, *rest, **options):
        with torch.no_grad():
            features = model.network.features(source.x)
            shown.append((model.task, source.index, [block(features) for block in model.head.blocks]))
        return objective(source, *rest, **options)

    model.objective = note
    fit(data, model)
    memory, count = model.memory, 20 * len(shown)
    assert memory.index[:count].tolist() == torch.cat([index for _, index, _ in shown]).tolist()
    width = sum(data.outputs.sizes) if scenario == "class" else 3
    assert memory.logits.shape == (400, width)
    for i, (task, _, scores) in enumerate(shown):
        expected = torch.full((20, width), torch.nan)
        own = torch.cat(scores[task : task + 1] if scenario == "task" else scores, 1)  # of classes to come, too
        expected[:, : own.shape[1]] = own
        kept = memory.logits[20 * i : 20 * i + 20]
        torch.testing.assert_close(kept, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@STREAMS
def test_terms_by_hand(scenario, kind):
    data, model = built(scenario, kind, size=60, replay_batch_size=12, alpha=0.7, beta=0.3)
    fetched, drawn, found = [], [], []
    cut, recall = data.cut, model.recall
    data.cut = lambda *given: (fetched.append(cut(*given)), fetched[-1])[1]
    model.recall = lambda name, *rest: (drawn.append((name, recall(name, *rest))), drawn[-1][1])[1]

    def rows(batch, learned):
        """Each sample's logits, of a class-incremental stream those of so many tasks, and its class among them."""
        features = model.network.features(batch.x)
        scores = [block(features) for block in model.head.blocks]
        for i, (task, y) in enumerate(zip(batch.task.tolist(), batch.y.tolist(), strict=True)):
            if scenario == "task":
                yield scores[task][i], y - data.outputs.offset(task)
            else:
                yield torch.cat([score[i] for score in scores[:learned]]), y

    def watch(terms, features):
        (first, distilled), (second, replayed) = drawn[-2:]
        assert (first, second) == ("distilled", "replay")
        assert set(distilled.tolist()) != set(replayed.tolist())
        with torch.no_grad():
            squares = [
                square
                for slot, (row, _) in zip(distilled, rows(fetched[-2], 3), strict=True)
                for square in (row - model.memory.logits[slot, : len(row)]).square().tolist()
            ]
            losses = [F.cross_entropy(row, torch.tensor(y)).item() for row, y in rows(fetched[-1], model.task + 1)]
        assert len(losses) == 12
        by_hand = {"distillation_loss": 0.7 * sum(squares) / len(squares), "replay_loss": 0.3 * sum(losses) / 12}
        found.append(({name: float(terms[name]) for name in by_hand}, by_hand))
        return {}

    model.watchers.append(watch)
    fit(data, model)
    assert len(found) == 6
    for terms, by_hand in found:
        assert terms == pytest.approx(by_hand, rel=1e-5)


def test_outputs_of_classes_to_come_take_no_part_in_the_cross_entropy():
    active = []
    data, model = built()
    classify = model.classify
    model.classify = lambda *given: (active.append((model.task, model.training, classify(*given))), active[-1][2])[1]
    fit(data, model)
    widths = {(task, logits.shape[1]) for task, training, (logits, _) in active if training}
    assert widths == {(0, 3), (1, 6), (2, 9)}


def test_the_current_batch_counts_in_full():
    _, model = built(alpha=2.0, beta=2.0)
    assert model.current_share == 1.0


@pytest.mark.parametrize(("alpha", "beta", "left"), [(0, 1, "replay_loss"), (1, 0, "distillation_loss")])
def test_a_factor_of_zero_leaves_its_term_out(alpha, beta, left):
    data, model = built(alpha=alpha, beta=beta)
    names = set()
    model.watchers.append(lambda terms, features: names.update(terms) or {})
    fit(data, model)
    assert names == {"task_loss", left}


def test_distillation_has_no_gradient_with_respect_to_the_teacher():
    data, model = built()
    fit(data, model)
    assert not model.memory.logits.requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -0.1}, r"strategy\.alpha must be at least 0, not -0\.1"),
        ({"beta": float("nan")}, r"strategy\.beta must be at least 0, not nan"),
        ({"memory": {"policy": "class_balanced"}}, r"memory\.policy=class_balanced .*; valid: reservoir"),
        ({"memory": {"per_class": 5}}, r"memory has no key 'per_class'"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        make(DerPlusPlus, BlobStream(evaluate="last"), **options)
