"""An adapter for each of several tasks, on one backbone that they share."""

import pytest
import torch
from composing import run_in
from encoders_at_hand import tiny
from laboratory import Blobs, fit, make

import tl_lab
from tl_lab.adapters.lora import LoRA
from tl_lab.adapters.of_each_task import OfEachTask
from tl_lab.adapters.prefix import PrefixTuning
from tl_lab.data.sets.tasks import Tasks
from tl_lab.errors import UserError
from tl_lab.strategies.multi_task.multi_task import MultiTask

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class Others(Blobs):
    """The same kind of images, of which another task asks."""


def two_tasks(adapters="per_task", head=None, **options):
    data = Tasks(datasets=[Blobs(seed=0), Others(seed=5)], batch_size=20, seed=0)
    head = {"hidden": [6]} if head is None else head
    data, model = make(MultiTask, data, adapter=LoRA(rank=2), adapters=adapters, head=head, **options)
    model.freeze_for(0)
    return data, model


def learned_in_backbone(model):
    return model.learned_by_name(model.network.backbone)


@pytest.fixture(scope="module")
def trained():
    data, model = two_tasks()
    fit(data, model, epochs=1)
    return data, model.eval()


def batch_of_both(data):
    """Four samples of each task."""
    index = torch.tensor([0, 1, 2, 3, -1, -2, -3, -4])
    train = data.sets["train"]
    return train.x[index], train.y[index]


def test_no_task_reaches_the_adapter_of_another(trained):
    data, model = trained
    x, y = batch_of_both(data)
    losses, counts = model.criterion.by_task(model(x), y)
    assert counts.tolist() == [4, 4]
    learned = learned_in_backbone(model)
    hidden = model.network.head[0].weight
    for task in (0, 1):
        found = torch.autograd.grad(losses[task], [*learned.values(), hidden], retain_graph=True, allow_unused=True)
        pairs = zip(learned, found, strict=False)
        reached = {name for name, gradient in pairs if gradient is not None and bool((gradient != 0).any())}
        own = {name for name in learned if name.startswith(f"tasks.{task}.")}
        assert own
        assert reached == own
        assert bool((found[-1] != 0).any())  # the head's hidden layer is shared


def test_a_task_uses_the_features_of_its_own_adapter(trained):
    data, model = trained
    x, y = batch_of_both(data)
    network = model.network
    with torch.no_grad():
        rows = [network.head(one(x)) for one in network.backbone.tasks]  # features (B, D) count for every task
        outputs = model(x)
        network.backbone.known = data.several.known(y)
        try:
            of_known = model(x)
        finally:
            network.backbone.known = None
    assert not torch.allclose(rows[0], rows[1])  # the adapters have learned different things
    torch.testing.assert_close(outputs, torch.cat([rows[0][:, :3], rows[1][:, 3:]], 1))
    torch.testing.assert_close(of_known[:4, :3], outputs[:4, :3])
    torch.testing.assert_close(of_known[4:, 3:], outputs[4:, 3:])


def test_the_parameters_are_counted():
    shared, own = (two_tasks(adapters)[1] for adapters in ("shared", "per_task"))
    adapter, adapters = (sum(p.numel() for p in learned_in_backbone(model).values()) for model in (shared, own))
    assert adapters == 2 * adapter > 0
    assert sum(p.numel() for p in own.parameters()) == sum(p.numel() for p in shared.parameters()) + adapter
    assert own.adapter.describe() == f"{shared.adapter.describe()}, one for each of 2 tasks"


def test_parameters_that_tasks_do_not_share_have_no_conflicts():
    data, model = two_tasks(head={}, weighting="pcgrad")
    with pytest.raises(UserError, match="acts on parameters that the tasks share, but none is trained"):
        fit(data, model, epochs=1)


def test_an_adapter_for_each_task_needs_an_adapter():
    with pytest.raises(UserError, match="per_task needs an adapter: set adapter=lora"):
        make(MultiTask, Tasks(datasets=[Blobs(seed=0)], seed=0), adapters="per_task")


@pytest.mark.parametrize("adapter", [LoRA(rank=2), PrefixTuning(tokens=2)], ids=["lora", "prefix"])
def test_text_encoders_share_all_but_the_adapter(adapter, tmp_path):
    from tl_lab.backbones.hf_text import HFText

    whole = OfEachTask(adapter, ["first", "second"], [0, 1, 1])
    backbone = whole.inject(adapter.inject(HFText(name=str(tiny(tmp_path / "bert", "bert"))))).eval()
    first, second = (dict(one.named_parameters()) for one in backbone.tasks)
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] is not second[name]} == {name for name in first if adapter.owns(name)}
    assert any(adapter.owns(name) for name in first)
    x = backbone.spec.fit(["a b", "c", "b"])
    with torch.no_grad():
        features = backbone(x)
        backbone.known = torch.tensor([[True, False], [False, True], [True, True]])
        of_known = backbone(x)
    assert features.shape == (3, 2, 8)
    assert torch.equal(features[:, 0], features[:, 1])  # both start alike
    torch.testing.assert_close(of_known, features * backbone.known[..., None])


def test_a_run_is_loaded_as_it_was_tested(tmp_path):
    given = {"datasets": ["digits", "digits_value"], "test_count": 40}
    results = run_in(
        tmp_path / "run", "strategy=multi_task", "strategy.adapters=per_task", "data=tasks", "adapter=lora",
        "data.datasets=[digits,digits_value]", "data.test_count=40", "backbone=mlp", "backbone.hidden=[16]",
        "trainer.max_epochs=1", "data.batches_per_epoch=20", "logger=none", "figures=false",
        "trainer.enable_progress_bar=false",
    )  # fmt: skip
    data = Tasks(**given, seed=0)
    data.load()
    test = data.sets["test"]
    model = tl_lab.load(tmp_path / "run")
    with torch.no_grad():
        outputs = model(test.x)
    for name, score in (("digits", "acc"), ("digits_value", "r2")):
        of_task, y = data.several.parts(outputs, test.y)[name]
        meter = data.several.tasks[name].problem.meter()
        meter.update(of_task, y)
        assert meter.compute()[score] == pytest.approx(results["metrics"][f"test/{name}/{score}"], abs=1e-6)
    assert "one for each of 2 tasks" in results["protocol"]["adapter"]
    with pytest.raises(UserError, match="cannot be merged into one backbone's weights"):
        model.adapter.merge(model.network.backbone)
    with pytest.raises(UserError, match="learned an adapter for each of its tasks, which make no single backbone"):
        run_in(tmp_path / "next", "backbone=mlp", "backbone.hidden=[16]", f"init_from={tmp_path / 'run'}",
               "strategy=fine_tuning", "data=digits", "trainer.max_epochs=1", "logger=none")  # fmt: skip
