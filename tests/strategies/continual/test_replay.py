"""Replay's loss, by hand in every scenario."""

import pytest
import torch
from laboratory import BlobStream, fit, make

from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.domain_randomisation import DomainRandomisation
from tl_lab.errors import UserError
from tl_lab.strategies.continual.replay import Replay

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

BALANCED = {"policy": "class_balanced", "per_class": 5}
RESERVOIR = {"policy": "reservoir", "size": 30}


def losses_by_hand(model, batch, task):
    """Cross-entropy of each sample, whose task is given, over the outputs that its scenario leaves in use."""
    features = model.network.features(batch.x)
    scores = [block(features) for block in model.head.blocks]
    losses = []
    for i, y in enumerate(batch.y.tolist()):
        if model.outputs.scenario == "task":
            row, y = scores[task[i]][i], y - 3 * int(task[i])
        else:
            row = torch.cat([score[i] for score in scores[: model.task + 1]])
        losses.append(row.exp().sum().log() - row[y])
    return torch.stack(losses)


def watched(scenario="class", pairs=False, adaptation=None, **options):
    """Fit; of each task's last update give its terms, and the losses by hand of its batch and of what it replayed."""
    data = BlobStream(scenario=scenario, pairs=pairs, evaluate="last", batch_size=20)
    data, model = make(Replay, data, adaptation, **options)
    fetched, found = [], []
    cut = data.cut
    data.cut = lambda *given: (fetched.append(cut(*given)), fetched[-1])[1]

    def watch(terms, features):
        model.network.use("source")
        with torch.no_grad():
            losses = losses_by_hand(model, model._batch, torch.full((20,), model.task))
            replayed = losses_by_hand(model, fetched[-1], fetched[-1].task) if "replay_loss" in terms else None
        found.append(({name: term.detach() for name, term in terms.items()}, losses, replayed))
        return {}

    model.watchers.append(watch)
    fit(data, model)
    return found, fetched


@pytest.mark.parametrize("memory", [BALANCED, RESERVOIR], ids=["class_balanced", "reservoir"])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_each_task_counts_equally(scenario, memory):
    found, fetched = watched(scenario, memory=memory, replay_batch_size=12)
    first, *later = found
    assert set(first[0]) == {"task_loss"}
    torch.testing.assert_close(first[0]["task_loss"], first[1].mean())
    for n, (terms, losses, replayed) in enumerate(later, 2):
        assert set(terms) == {"task_loss", "replay_loss"}
        torch.testing.assert_close(terms["task_loss"], losses.mean() / n)
        torch.testing.assert_close(terms["replay_loss"], (1 - 1 / n) * replayed.mean())
    assert len(fetched) == 6  # three updates in each of two tasks
    assert {int(batch.task.max()) for batch in fetched[:3]} == {0}
    assert {int(k) for batch in fetched[3:] for k in batch.task} == {0, 1}


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_each_sample_counts_equally(scenario):
    found, fetched = watched(scenario, memory=RESERVOIR, weighting="equal", replay_batch_size=12)
    assert len(fetched) == 8  # nothing is there before the first update alone
    for terms, losses, replayed in found:
        union = torch.cat([losses, replayed])
        assert union.shape == (32,)
        torch.testing.assert_close(terms["task_loss"] + terms["replay_loss"], union.mean())
        torch.testing.assert_close(terms["task_loss"], losses.sum() / 32)
    assert any((batch.task == 2).any() for batch in fetched[-2:])  # of the current task, too


def test_as_many_samples_are_replayed_as_batch_and_memory_allow():
    _, fetched = watched(memory={"policy": "class_balanced", "per_class": 3})
    assert [len(batch.y) for batch in fetched] == [9, 9, 9, 18, 18, 18]
    _, fetched = watched(memory=BALANCED)
    assert [len(batch.y) for batch in fetched] == [15, 15, 15, 20, 20, 20]


def test_replay_reaches_the_heads_of_earlier_tasks():
    # nothing else would, in a task-incremental stream
    heads = []
    data = BlobStream(scenario="task", evaluate="last", batch_size=20)
    data, model = make(Replay, data, memory=BALANCED)
    model.on_gradients = lambda: heads.append([block.weight.grad is not None for block in model.head.blocks])
    fit(data, model)
    assert heads == [[True, False, False]] * 3 + [[True, True, False]] * 3 + [[True, True, True]] * 3


def test_source_samples_are_replayed_with_an_adaptation():
    adaptation = DANN(batch_norm="domain_specific")
    found, fetched = watched("domain", True, adaptation, memory=BALANCED)
    assert set(found[0][0]) == {"task_loss", "domain_loss"}
    for n, (terms, _, replayed) in enumerate(found[1:], 2):
        assert set(terms) == {"task_loss", "domain_loss", "replay_loss"}
        torch.testing.assert_close(terms["replay_loss"], (1 - 1 / n) * replayed.mean())
    assert fetched[-1].task.unique().tolist() == [0, 1]


def test_replayed_samples_pass_as_samples_of_the_source():
    data = BlobStream(pairs=True, evaluate="last", batch_size=20)
    data, model = make(Replay, data, DANN(batch_norm="domain_specific"), memory=BALANCED)
    features, passed = model.features, []

    def note(x):
        if model.training:
            passed.append((model.task, model.network._domain))
        return features(x)

    model.features = note
    fit(data, model)
    each = ["source", "target"]  # of the batch; then comes what is replayed
    expected = [(k, domain) for k in range(3) for _ in range(3) for domain in (each if k == 0 else [*each, "source"])]
    assert passed == expected


def test_an_adaptation_changes_replayed_inputs_like_all_others():
    options = dict.fromkeys(("colour", "background", "texture", "blur", "noise"), 0.0)
    data = BlobStream(evaluate="last", batch_size=20)
    data, model = make(Replay, data, DomainRandomisation(invert=1.0, **options), memory=BALANCED)
    fetched, passed, cut, features = [], [], data.cut, model.features
    data.cut = lambda *given: (fetched.append(cut(*given)), fetched[-1])[1]
    model.features = lambda x: (passed.append(x), features(x))[1]
    fit(data, model)
    images = data.spec
    replayed = {len(x): x for x in passed}[15]  # the only batches of this size
    batch = [batch for batch in fetched if len(batch.y) == 15][-1]
    torch.testing.assert_close(images.restore(replayed), 1 - images.restore(batch.x).clamp(0, 1), rtol=0, atol=1e-5)


def test_wrong_weightings_are_named():
    with pytest.raises(UserError, match=r"weighting=task does not exist; did you mean 'tasks'"):
        make(Replay, BlobStream(evaluate="last"), weighting="task")
