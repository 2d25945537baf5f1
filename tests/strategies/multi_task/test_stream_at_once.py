"""The tasks of a stream learned at once by the multi-task strategy: the bound of a task-incremental stream."""

import pytest
import torch
from composing import run_in
from laboratory import BlobStream, make

from tl_lab.config import compose
from tl_lab.data.batches import Labelled
from tl_lab.data.scenarios.data_stream import DataStream
from tl_lab.data.scenarios.stream_at_once import StreamAtOnce
from tl_lab.errors import UserError
from tl_lab.run.pairing import check_pairing
from tl_lab.run.plan import Plan
from tl_lab.strategies.continual.joint import Joint
from tl_lab.strategies.multi_task.multi_task import MultiTask

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def test_weighting_by_samples_has_the_objective_of_joint_training():
    stream, joint = make(Joint, BlobStream(scenario="task", batch_size=20))
    joined, several = make(MultiTask, StreamAtOnce(BlobStream(scenario="task", batch_size=20)), weighting="samples")
    several.network.backbone.load_state_dict(joint.network.backbone.state_dict())
    blocks = joint.network.head.blocks
    several.network.head[0].weight.data = torch.cat([block.weight.data for block in blocks])
    several.network.head[0].bias.data = torch.cat([block.bias.data for block in blocks])
    task, index = torch.tensor([0, 2, 1, 2, 0]), torch.tensor([5, 6, 7, 8, 9])
    one = stream.cut(task, index)
    places = task * 60 + index  # each task has 60 training samples
    train = joined.sets["train"]
    torch.testing.assert_close(one.x, train.x[places])
    joint.eval(), several.eval()
    expected = joint.task_loss(*joint.classify(joint.features(one.x), one))
    batch = Labelled(train.x[places], train.y[places], places)
    found = several.task_loss(*several.classify(several.features(batch.x), batch))
    torch.testing.assert_close(found, expected)
    # a sample has labels in its own task alone
    assert joined.several.known(batch.y).int().argmax(1).tolist() == task.tolist()
    assert joined.several.known(batch.y).sum().item() == 5


def test_the_joint_bound_is_reported_with_the_stream(tmp_path):
    results = run_in(
        tmp_path / "run", "strategy=multi_task", "data=split_digits", "data.scenario=task", "backbone=mlp",
        "backbone.hidden=[16]", "trainer.max_epochs=1", "data.batches_per_epoch=3", "logger=none", "figures=false",
        "trainer.enable_progress_bar=false",
    )  # fmt: skip
    metrics = results["metrics"]
    each = [metrics[f"test/task{k}/acc"] for k in range(1, 6)]
    assert metrics["test/acc"] == pytest.approx(sum(each) / 5)
    assert not any("task_mean" in name for name in metrics)  # by which no other strategy is compared
    assert results["objective_metric"] == "val/acc"
    assert results["tested_checkpoint"] == "last (after 15 updates)"  # as many as one task after the other gets
    assert results["protocol"]["scenario"] == "task-incremental, 5 tasks, learned at once"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=split_digits"], "not data.scenario=class: set data.scenario=task"),
        (
            ["data=stream", "data.datasets=[digits,digits_value]", "data.scenario=task"],
            "labels of different kinds, single_label, regression: list sets of one kind, or learn them at once by",
        ),
        (["data=permuted_digits", "data@data.of=printed_to_handwritten", "data.scenario=task"], "takes no target"),
    ],
)
def test_streams_that_are_no_tasks_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        check_pairing(Plan.of(compose(["strategy=multi_task", *overrides])))


def test_tasks_that_differ_by_a_change_are_refused():
    class Changed(BlobStream):
        def change(self, task):
            return None

    with pytest.raises(UserError, match="these tasks transform their inputs differently: use strategy=joint"):
        StreamAtOnce(Changed(scenario="task"))


def test_tasks_of_different_kinds_of_inputs_are_refused():
    with pytest.raises(
        UserError, match=r"data\.datasets have different kinds of inputs, image, text: list sets of one"
    ):
        DataStream.modality_for({"datasets": ["digits", "sst2"]})
