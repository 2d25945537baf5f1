"""Streams of tasks: their content, the numbering of labels and outputs, and refusals."""

from dataclasses import replace

import pytest
import torch
from encoders_at_hand import tiny
from laboratory import BlobPair, Blobs, TinyNet

from tl_lab.backbones.hf_text import HFText
from tl_lab.config import compose
from tl_lab.data.scenarios.data_stream import DataStream
from tl_lab.data.scenarios.episodes_of import EpisodesOf
from tl_lab.data.scenarios.permuted_stream import PermutedStream
from tl_lab.data.scenarios.rotated_stream import RotatedStream, rotate
from tl_lab.data.scenarios.split_stream import SplitStream
from tl_lab.data.sets.digits import Digits
from tl_lab.data.sets.text_table import TextTable
from tl_lab.data.task_outputs import Outputs
from tl_lab.errors import UserError
from tl_lab.run.pairing import check_pairing
from tl_lab.run.plan import Plan


def loaded(stream):
    stream.load()
    stream.use(TinyNet().spec)
    return stream


# ---------------------------------------------------------------------- outputs


def test_outputs_in_use():
    task, domain, classes = (Outputs(name, (2, 3, 2)) for name in ("task", "domain", "class"))
    assert (task.blocks, domain.blocks, classes.blocks) == ((2, 3, 2), (2,), (2, 3, 2))
    assert (task.active(1, 2), domain.active(1, 2), classes.active(1, 1)) == ((1,), (0,), (0, 1))
    assert classes.active(0, 2) == (0, 1, 2)  # an old task's samples are told from all classes seen so far
    assert [task.first_active(k) for k in range(3)] == [0, 2, 5]
    assert [classes.first_active(k) for k in range(3)] == [0, 0, 0]
    assert [classes.offset(k) for k in range(3)] == [0, 2, 5]


# ---------------------------------------------------------------------- split


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_split_divides_the_classes(scenario, shuffle):
    whole = Digits()
    sets = whole.read()
    stream = SplitStream(of=Digits(), num_tasks=5, scenario=scenario, shuffle_classes=shuffle)
    stream.load()
    order = [int(name) for names in stream.task_classes for name in names]
    assert sorted(order) == list(range(10))
    assert (order == list(range(10))) is not shuffle
    for part in ("train", "val", "test"):
        assert sum(len(stream.sets[f"task{k}/{part}"]) for k in range(1, 6)) == len(sets[part])
    for k in range(5):
        samples = stream.sets[f"task{k + 1}/train"]
        first = 0 if scenario == "domain" else 2 * k
        for place, digit in enumerate(order[2 * k : 2 * k + 2]):
            of_class = sets["train"].x[sets["train"].y == digit]
            assert torch.equal(samples.x[samples.y == first + place], of_class)
    assert stream.num_classes == (2 if scenario == "domain" else 10)
    if scenario == "domain":
        assert stream.class_names == ["/".join(map(str, order[0::2])), "/".join(map(str, order[1::2]))]
    else:
        assert stream.class_names == [str(digit) for digit in order]


def test_the_order_of_classes_is_fixed_by_the_seed():
    orders = []
    for seed in (0, 0, 1):
        stream = SplitStream(of=Digits(), shuffle_classes=True, seed=seed)
        stream.load()
        orders.append(stream.describe_order())
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_tasks": 11},
            "10 classes cannot be split into 11 .* \\(fewer classes than tasks\\): data.num_tasks must be one of 2, 5",
        ),
        ({"num_tasks": 3}, "10 classes cannot be split into 3 tasks \\(not the same number for each task\\)"),
        ({"num_tasks": 1}, "data.num_tasks must be at least 2, not 1"),
        ({"scenario": "classes"}, "data.scenario must be one of 'task', 'domain', 'class', not 'classes'"),
        ({"evaluate": "best"}, "task_ends_with=best"),
    ],
)
def test_splits_that_cannot_be_made(options, message):
    with pytest.raises(UserError, match=message):
        SplitStream(of=Digits(), **options).load()


def test_a_pairs_classes_cannot_be_split():
    with pytest.raises(UserError, match="its target's labels are withheld"):
        SplitStream(of=BlobPair())


# ---------------------------------------------------------------------- permuted


def test_permutations_differ_between_tasks_and_are_the_same_for_training_and_test():
    stream = loaded(PermutedStream(of=Blobs(), num_tasks=4))
    plain = Blobs()
    plain.load()
    plain.use(TinyNet().spec)
    orders = [stream.order_of(k, 36) for k in range(4)]
    assert all(torch.equal(order.sort().values, torch.arange(36)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 4
    for k in range(4):
        for part in ("train", "val", "test"):
            batch = next(iter(stream.loader(f"task{k + 1}/{part}")))
            expected = plain.sets[part].x[batch.index].flatten(2)[..., orders[k]].view_as(batch.x)
            assert torch.equal(batch.x, expected)


def test_permutations_are_fixed_by_the_seed_and_the_first_may_be_absent():
    first, again, other = (PermutedStream(of=Blobs(), num_tasks=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.order_of(1, 36), again.order_of(1, 36))
    assert not torch.equal(first.order_of(1, 36), other.order_of(1, 36))
    assert not torch.equal(first.order_of(0, 36), torch.arange(36))
    unchanged = PermutedStream(of=Blobs(), num_tasks=2, first_unchanged=True)
    assert torch.equal(unchanged.order_of(0, 36), torch.arange(36))
    assert torch.equal(unchanged.order_of(1, 36), first.order_of(1, 36))


def test_few_places_have_few_permutations():
    stream = PermutedStream(of=Blobs(), num_tasks=7)
    assert len({tuple(stream.order_of(k, 3).tolist()) for k in range(6)}) == 6
    with pytest.raises(UserError, match="inputs of 3 values have too few permutations for 7 tasks"):
        stream.order_of(6, 3)


def test_padding_is_zeros_around_the_image():
    stream = PermutedStream(of=Blobs(), num_tasks=2, pad=2)
    stream.load()
    assert stream.shape == (1, 10, 10)
    x = stream.sets["task1/train"].x
    assert torch.equal(x[:, :, 2:-2, 2:-2], Blobs(seed=0).read()["train"].x)
    assert x.count_nonzero() == x[:, :, 2:-2, 2:-2].count_nonzero() > 0


def test_tasks_share_the_samples_in_memory():
    stream = loaded(PermutedStream(of=Blobs(), num_tasks=3))
    assert stream.sets["task1/train"].x is stream.sets["task3/train"].x


def test_the_fingerprint_knows_the_permutations():
    prints = set()
    for seed, first in ((0, False), (0, True), (1, False)):
        stream = PermutedStream(of=Blobs(seed=0), num_tasks=2, first_unchanged=first, seed=seed)
        stream.load()
        prints.add(stream.fingerprint())
    assert len(prints) == 3


# ---------------------------------------------------------------------- rotated


def test_a_quarter_rotation_is_exact():
    x = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(rotate(x, 90.0), torch.rot90(x, 1, (2, 3)))
    torch.testing.assert_close(rotate(x, 180.0), torch.rot90(x, 2, (2, 3)))


def test_tasks_are_rotated_by_shares_of_the_largest_angle():
    stream = loaded(RotatedStream(of=Blobs(), num_tasks=2, max_angle=180.0))
    assert stream.angles == [0.0, 90.0]
    first, second = (next(iter(stream.loader(f"task{k}/test"))) for k in (1, 2))
    torch.testing.assert_close(second.x, torch.rot90(first.x, 1, (2, 3)))


def test_vectors_cannot_be_rotated():
    from tl_lab.data.sets.moons import Moons

    with pytest.raises(UserError, match="only images can be rotated"):
        RotatedStream(of=Moons(), num_tasks=2).load()


# ---------------------------------------------------------------------- whole sets and pairs


def test_sets_follow_each_other_with_heads_of_their_own():
    stream = loaded(DataStream(datasets=["digits", Blobs()], scenario="task"))
    assert stream.outputs == Outputs("task", (10, 3))
    assert stream.class_names[:2] == ["0", "1"]
    assert stream.class_names[10:] == ["a", "b", "c"]
    assert stream.shape == (1, 8, 8)
    assert int(stream.sets["task2/train"].y.min()) == 10
    assert next(iter(stream.loader("task1/train"))).x.shape[1:] == next(iter(stream.loader("task2/train"))).x.shape[1:]


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        (["digits"], "must list at least two sets"),
        (["digits", "digit"], "there is no data=digit; did you mean 'digits'"),
        ([Blobs(), BlobPair()], "labelled sets or all pairs of domains, not both"),
        ([Blobs(), PermutedStream(of=Blobs())], "not streams"),
    ],
)
def test_sets_that_make_no_stream(datasets, message):
    with pytest.raises(UserError, match=message):
        DataStream(datasets=datasets)


def test_sets_of_different_numbers_of_classes_share_no_head():
    with pytest.raises(UserError, match="domain uses one head for all tasks, but the tasks have 10, 3 classes"):
        DataStream(datasets=["digits", Blobs()], scenario="domain").load()


def test_a_stream_of_pairs_has_a_target_without_labels():
    stream = loaded(PermutedStream(of=BlobPair(), num_tasks=2))
    assert stream.has_target
    assert stream.sets["task2/target/train"].y is None
    assert stream.scored_name(1) == "task2/target/test"
    assert stream.domain_of("task2/target/test") == "target"
    stream.request = replace(stream.request, adapts=True)
    batch = next(iter(stream.train_dataloader()))
    assert len(batch.source.x) == len(batch.target.x)
    assert stream.set_for("target/train") == "task1/target/train"


@pytest.mark.parametrize(("of", "target"), [("printed_to_handwritten", True), ("digits", False)])
def test_the_configuration_tells_whether_there_is_a_target(of, target):
    cfg = compose(["data=permuted_digits", f"data@data.of={of}", "strategy=naive", "domain_adaptation=none"])
    assert ("target" in PermutedStream.traits_for(cfg.data)) is target


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data=split_digits", "domain_adaptation=none"],
            "comes with tasks, which strategy=.* valid: .*strategy=naive",
        ),
        (["data=digits", "domain_adaptation=none", "strategy=naive"], "needs data with tasks.*data=split_digits"),
        (["data=split_digits", "strategy=naive", "domain_adaptation=dann"], "needs a target domain"),
    ],
)
def test_pairings_that_make_no_sense(overrides, message):
    with pytest.raises(UserError, match=message):
        check_pairing(Plan.of(compose(overrides)))


@pytest.mark.parametrize(
    ("adaptation", "scenario", "strategy", "message"),
    [
        ("target_only", "domain", "naive", "is a bound for one pair"),
        ("cdan", "task", "naive", "compares predictions over fixed classes"),
        ("dann", "domain", "joint", "trains on all tasks at once, without target"),
    ],
)
def test_adaptations_that_do_not_suit_a_stream(adaptation, scenario, strategy, message):
    given = ["data=permuted_digits", "data@data.of=printed_to_handwritten", f"domain_adaptation={adaptation}"]
    with pytest.raises(UserError, match=message):
        check_pairing(Plan.of(compose([*given, f"data.scenario={scenario}", f"strategy={strategy}"])))


# ---------------------------------------------------------------------- several tasks in a batch


def test_samples_of_several_tasks_come_in_the_order_asked_for():
    stream = loaded(PermutedStream(of=Blobs(), num_tasks=3, scenario="task"))
    task, index = torch.tensor([2, 0, 2, 1]), torch.tensor([5, 5, 0, 7])
    batch = stream.cut(task, index)
    assert torch.equal(batch.task, task)
    for i in range(4):
        whole = next(iter(stream.loader(f"task{int(task[i]) + 1}/train")))
        assert torch.equal(batch.x[i], whole.x[index[i]])
        assert batch.y[i] == whole.y[index[i]]


def test_joint_training_takes_every_sample_once_and_as_many_batches_as_the_stream():
    stream = loaded(SplitStream(of=Blobs(batch_size=10), num_tasks=3, scenario="class", batch_size=10))
    stream.request = replace(stream.request, jointly=True)
    loader = stream.train_dataloader()
    assert len(loader) * stream.num_tasks == sum(len(stream.sets[f"task{k}/train"]) for k in (1, 2, 3)) // 10
    stream.batches_per_epoch = 6
    seen = [(int(t), int(i)) for b in stream.train_dataloader() for t, i in zip(b.task, b.index, strict=True)]
    assert len(set(seen)) == len(seen) == 60


# ---------------------------------------------------------------------- texts


def texts(tmp_path, name, classes):
    """Write a table of made-up texts, 20 of each class."""
    rows = [f"a b {label} c {'b ' * (k % 3)},{label}" for label in classes for k in range(20)]
    (tmp_path / f"{name}.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    return TextTable(path=str(tmp_path / f"{name}.csv"), seed=0, batch_size=4)


def test_texts_make_streams_and_episodes_as_images_do(tmp_path):
    backbone = HFText(name=str(tiny(tmp_path / "model", "bert")), max_length=8)
    first, second, many = (
        texts(tmp_path, name, classes) for name, classes in (("one", "xy"), ("two", "uvw"), ("all", "defghijklm"))
    )
    stream = DataStream(datasets=[first, second], scenario="class")
    split = SplitStream(of=many, num_tasks=5, scenario="task")
    sizes = {"way": 2, "shot": 2, "queries": 2}
    episodes = EpisodesOf(of=texts(tmp_path, "few", "defghijklm"), train=sizes, test=sizes)
    for data in (stream, split, episodes):
        data.load()
        assert data.shape == ()
        data.use(backbone.spec)
    assert stream.task_classes == [["x", "y"], ["u", "v", "w"]]
    assert len(split.task_classes) == 5
    batch = next(iter(stream.loader("task2/train")))
    assert set(batch.y.tolist()) <= {2, 3, 4}
    assert backbone(batch.x).shape == (len(batch.y), 8)
