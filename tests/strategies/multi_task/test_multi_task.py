"""Several tasks on one backbone: what an update is made of, and whole runs on small data."""

import functools
import math
import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from composing import run_in
from laboratory import SIZES, BlobPair, Blobs, blobs, fit, make
from omegaconf import OmegaConf
from PIL import Image

import tl_lab
from tl_lab.config import choices
from tl_lab.config.nodes import read_node
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.data_stream import DataStream
from tl_lab.data.scenarios.episodes_of import EpisodesOf
from tl_lab.data.scenarios.inner import expand, name_of
from tl_lab.data.sets.image_folder import ImageFolder
from tl_lab.data.sets.tasks import Tasks, TasksInBatches
from tl_lab.data.sets.tasks_of_table import TasksOfTable
from tl_lab.data.sets.text_corpora import StsB
from tl_lab.data.sets.text_table import TextTable
from tl_lab.domain_adaptation.mmd import MMD
from tl_lab.errors import UserError
from tl_lab.functional import dynamic_weights
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.problems import MultiLabel, Regression, Several, SingleLabel
from tl_lab.strategies.multi_task.multi_task import MultiTask
from tl_lab.strategies.multi_task.weighting import WEIGHTINGS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class BlobTasks(TasksInBatches):
    """Which patch is bright, as a class; how bright images are, as a number; and two labels that each third lacks."""

    def __init__(self, tasks=("place", "light", "marks"), **options) -> None:
        super().__init__(**options)
        self.kept = tasks

    def read(self) -> dict[str, Samples]:
        every = {"place": SingleLabel(["a", "b", "c"]), "light": Regression(["lux"]), "marks": MultiLabel(["x", "y"])}
        self.several = Several(tasks={name: every[name] for name in self.kept})
        self.class_names = self.several.output_names
        sets = {}
        for i, (name, count) in enumerate(SIZES.items()):
            found = blobs(count, self.seed + i)
            labels = {
                "place": found.y[:, None].float(),
                "light": found.x.mean((1, 2, 3))[:, None],
                "marks": torch.stack([found.y == 0, found.y < 2], 1).float(),
            }
            labels["marks"][::3] = math.nan
            sets[name] = Samples(found.x, torch.cat([labels[task] for task in self.kept], 1))
        return sets


def built(weighting="uniform", tasks=("place", "light", "marks"), **options):
    data, adam = BlobTasks(tasks, batch_size=20, seed=0), functools.partial(torch.optim.Adam, lr=0.03)
    return make(MultiTask, data, weighting=weighting, optimizer=adam, layers=LayerPolicy(backbone_lr=1.0), **options)


@pytest.mark.parametrize("weighting", sorted(WEIGHTINGS))
def test_every_weighting_learns(weighting):
    data, model = built(weighting, cosines_every=2)
    trainer = fit(data, model, epochs=4)
    trainer.test(model, datamodule=data, verbose=False)
    scores = model.last_test
    assert all(math.isfinite(value) for value in scores.values())
    assert scores["test/place/acc"] > 0.5
    parts = [scores["test/place/acc"], scores["test/light/r2"], scores["test/marks/auroc"]]
    assert scores["test/task_mean"] == pytest.approx(sum(parts) / 3)
    assert model.cosines.diagonal().tolist() == pytest.approx([1, 1, 1])
    assert model.artifacts(None, data)["gradient_cosines"]["tasks"] == ["place", "light", "marks"]
    if weighting in ("dwa", "gradnorm"):
        assert model.weighting.current_weights().sum().item() == pytest.approx(3)
        assert model.weighting.current_weights().tolist() != pytest.approx([1, 1, 1])


class Watched(MultiTask):
    """Keeps each task's gradients, and what the optimizer gets."""

    def task_loss(self, outputs, y, weights=None):
        loss = super().task_loss(outputs, y, weights)
        parameters = [*self.network.backbone.parameters(), *self.network.head.parameters()]
        self.of_each = [
            torch.autograd.grad(one, parameters, retain_graph=True, allow_unused=True) for one in self._losses[0]
        ]
        return loss

    def on_gradients(self):
        self.of_shared = [p.grad.clone() for p in self.network.backbone.parameters()]
        self.of_heads = [p.grad.clone() for p in self.network.head.parameters()]


def one_update(weighting):
    data = BlobTasks(batch_size=20, seed=0)
    _, model = make(Watched, data, weighting=weighting, cosines_every=0)
    fit(data, model, epochs=1, limit_train_batches=1)
    count = len(model.of_shared)
    flat = [torch.cat([part.flatten() for part in one[:count]]).double() for one in model.of_each]
    heads = [torch.stack(parts).sum(0) for parts in list(zip(*model.of_each, strict=True))[count:]]
    return model, torch.cat([p.flatten() for p in model.of_shared]).double(), torch.stack(flat), heads


def test_the_tasks_count_alike():
    model, shared, gradients, heads = one_update("uniform")
    torch.testing.assert_close(shared, gradients.sum(0), rtol=1e-4, atol=1e-6)  # in single precision
    for own, expected in zip(model.of_heads, heads, strict=True):
        torch.testing.assert_close(own, expected)


def test_conflicts_are_taken_out_of_the_shared_gradient_and_not_of_the_heads(monkeypatch):
    conflicting = torch.tensor([2.0, -0.5, 1.0], dtype=torch.double)
    monkeypatch.setattr("tl_lab.strategies.multi_task.weighting.pcgrad", lambda gram, orders: conflicting)
    model, shared, gradients, heads = one_update("pcgrad")
    torch.testing.assert_close(shared, conflicting @ gradients, rtol=1e-4, atol=1e-6)
    for own, expected in zip(model.of_heads, heads, strict=True):
        torch.testing.assert_close(own, expected)


def test_a_single_task_is_trained_equally_with_every_weighting():
    states = []
    for weighting in ("uniform", "dwa", "pcgrad", "cagrad"):
        data, model = built(weighting, tasks=("place",), cosines_every=0)
        fit(data, model, epochs=1)
        states.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    for other in states[1:]:
        torch.testing.assert_close(other, states[0], rtol=1e-5, atol=1e-6)


def test_dynamic_weights_follow_the_epochs_losses():
    data, model = built("dwa", cosines_every=0)
    kept = []
    original = model.weighting.end_epoch
    model.weighting.end_epoch = lambda losses: (kept.append(losses.clone()), original(losses))
    fit(data, model, epochs=3)
    torch.testing.assert_close(model.weighting.current_weights(), dynamic_weights(kept[2], kept[1]).float())


def test_figures_of_every_task_and_of_the_cosines():
    data, model = built(tasks=("place", "light"), cosines_every=1)
    fit(data, model, epochs=1).test(model, datamodule=data, verbose=False)
    assert set(model.figures(data)) == {"confusion_place_test", "predictions_light_test", "gradient_cosines"}


def test_draws_follow_the_tasks_shares():
    data = Tasks(datasets=["digits", "digits_value"], sampling="uniform", batch_size=50, batches_per_epoch=40, seed=0)
    data.load()
    order = data.train_loader("train").order
    first = len(data.sets["train"]) // 2
    drawn = torch.cat(list(order.epoch(0)))
    assert abs(float((drawn < first).double().mean()) - 0.5) < 0.03
    counts = torch.bincount(drawn, minlength=2 * first)
    assert int(counts.max() - counts[counts > 0].min()) <= 1  # a set goes round before it repeats
    assert not torch.equal(torch.cat(list(order.epoch(1))), drawn)
    assert data.shares(0).tolist() == pytest.approx([0.5, 0.5])


def test_sets_of_classes_labels_and_numbers_in_one_run_and_its_answers(tmp_path):
    results = run_in(
        tmp_path / "run", "strategy=multi_task", "data=tasks", "data.datasets=[digits,digits_properties,digits_value]",
        "backbone=mlp", "backbone.hidden=[16]", "trainer.max_epochs=1", "data.batches_per_epoch=8", "logger=none",
        "data.test_count=40", "trainer.enable_progress_bar=false", "strategy.cosines_every=4", "figures=false",
    )  # fmt: skip
    assert results["status"] == "completed"
    assert {"test/digits/acc", "test/digits_properties/auroc", "test/digits_value/r2"} <= set(results["metrics"])
    assert results["problem"] == {"name": "several", "monitor": "task_mean"}
    assert len(results["gradient_cosines"]["mean"]) == 3
    assert results["sizes"]["test"] == 120
    model = tl_lab.load(tmp_path / "run")
    answers = model.predict(torch.rand(3, 1, 8, 8))
    assert answers.labels[0].startswith("digits: ")
    assert "; digits_value: " in answers.labels[0]


def test_two_folders_of_images_are_two_tasks(tmp_path):
    for folder, classes in (("pets", ["cat", "dog", "cow"]), ("cars", ["van", "bus"])):
        for number, name in enumerate(classes):
            (tmp_path / folder / name).mkdir(parents=True)
            for i in range(10):
                pixels = np.random.default_rng(i).integers(0, 60, (8, 8, 3)).astype(np.uint8)
                pixels[:, 2 * number : 2 * number + 2] = 230
                Image.fromarray(pixels).save(tmp_path / folder / name / f"{i}.png")
    kind = "data: image_folder, size: 8"
    results = run_in(
        tmp_path / "run", "strategy=multi_task", "data=tasks", "backbone=mlp", "backbone.hidden=[16]", "logger=none",
        f"data.datasets=[{{{kind}, root: {tmp_path / 'pets'}}},{{{kind}, root: {tmp_path / 'cars'}}}]", "figures=false",
        "trainer.max_epochs=1", "data.batches_per_epoch=4", "trainer.enable_progress_bar=false",
    )  # fmt: skip
    assert {"test/pets/acc", "test/cars/acc"} <= set(results["metrics"])
    assert results["sizes"]["test"] == 6 + 4
    model = tl_lab.load(tmp_path / "run")
    assert model.problem.output_names == ["pets: cat", "pets: cow", "pets: dog", "cars: bus", "cars: van"]
    twice = f"{{{kind}, root: {tmp_path / 'pets'}}}"
    with pytest.raises(UserError, match=r"data\.datasets contains pets twice"):
        run_in(
            tmp_path / "twice", "strategy=multi_task", "data=tasks", "backbone=mlp", f"data.datasets=[{twice},{twice}]"
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{data: image_folder, rot: x}", "data=image_folder has no option 'rot'; did you mean 'root'?"),
        ("{data: image_foldr, root: x}", "there is no data=image_foldr; did you mean 'image_folder'"),
        ("{root: x}", r"\{'root': 'x'\} is not a data set: write the name of a data choice, or"),
        ("{data: image_folder, root: x, labels: 3}", "labels is not supported for data nested in other data"),
        ("{data: digits, val_share: many}", "val_share"),
        ("3", "3 is not a data set"),
    ],
)
@pytest.mark.parametrize("data", [["strategy=multi_task", "data=tasks"], ["strategy=naive", "data=stream"]])
def test_a_set_that_cannot_be_read_as_a_choice_is_refused(given, message, data, tmp_path):
    with pytest.raises(UserError, match=message):
        run_in(tmp_path / "run", *data, "backbone=mlp", f"data.datasets=[digits,{given}]", "logger=none")


def test_a_set_given_by_its_choice_is_recorded_as_a_whole(tmp_path):
    place = tmp_path / "run"
    run_in(
        place, "strategy=multi_task", "data=tasks", "backbone=mlp", "data.datasets=[digits,{data: digits_value}]",
        "trainer.max_epochs=1", "data.batches_per_epoch=1", "logger=none", "figures=false",
        "trainer.enable_progress_bar=false",
    )  # fmt: skip
    saved = OmegaConf.load(place / "config.yaml").data.datasets
    assert saved[0] == "digits"
    assert saved[1]["_target_"] == read_node(choices("data")["data"]["digits_value"])["_target_"]
    assert saved[1]["augmentation"] is None


def test_a_set_given_by_its_choice_splits_by_its_own_seed_or_that_of_the_run():
    given = ["digits", {"data": "digits_value"}, {"data": "digits_properties", "seed": 77}]
    assert [module.seed for module in Tasks(datasets=given, seed=5).modules] == [5, 5, 77]


@pytest.mark.parametrize(("resumed", "seeds"), [(None, [9, 3]), ("run", [None, 3])])
def test_a_node_without_a_seed_gets_that_of_the_run(resumed, seeds):
    nodes = [{"_target_": "tl_lab.data.sets.digits.Digits"}, {"_target_": "tl_lab.data.sets.digits.Digits", "seed": 3}]
    cfg = OmegaConf.create({"seed": 9, "resume": resumed, "data": {"datasets": ["digits", *nodes]}})
    expand(cfg)
    assert cfg.data.datasets[0] == "digits"
    assert [node.get("seed") for node in cfg.data.datasets[1:]] == seeds


def test_advice_on_a_nested_set_names_the_option_in_its_mapping(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.new("L", (8, 8), i).save(tmp_path / name / f"{i}.png")
    (tmp_path / "cat" / "0.png").write_bytes(b"no image")
    broken = {"data": "image_folder", "root": str(tmp_path), "size": 8}
    sizes = {"way": 2, "shot": 1, "queries": 1}
    advice = r"^image_folder: .*0\.png.* write \{data: image_folder, unreadable: skip\} in data\.datasets to leave them"
    for kind in (Tasks, DataStream):
        with pytest.raises(UserError, match=advice):
            kind(datasets=["digits", broken]).load()
    Tasks(datasets=[broken | {"unreadable": "skip"}]).load()
    with pytest.raises(UserError, match=r"set data\.of\.unreadable=skip to leave them out"):
        EpisodesOf(of=ImageFolder(root=str(tmp_path), size=8), train=sizes, test=sizes).load()


def test_the_order_of_a_stream_names_modules_as_in_older_runs(tmp_path):
    stream = DataStream(datasets=["digits", ImageFolder(root=str(tmp_path))])
    assert (stream.describe_order(), stream.describe_tasks()) == ("digits, imagefolder", "digits, image_folder")


def test_a_set_built_from_a_node_is_named_after_its_choice(tmp_path):
    assert Tasks(datasets=["digits", ImageFolder(root=str(tmp_path))]).names == ["digits", "image_folder"]
    assert name_of(StsB()) == "stsb"


def names_of(*places):
    return Tasks(datasets=[ImageFolder(root=str(place)) for place in places]).names


def test_folders_of_one_name_are_told_apart_by_their_parents(tmp_path, monkeypatch):
    for name in ("imgs.2019", "imgs.2020", "pets/train", "cars/train", "x/a/train", "y/a/train"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert names_of("imgs.2019", "imgs.2020") == ["imgs.2019", "imgs.2020"]
    assert names_of("pets/train", "cars/train", "imgs.2019") == ["pets_train", "cars_train", "imgs.2019"]
    assert names_of("x/a/train", "y/a/train", "pets/train") == ["x_a_train", "y_a_train", "pets_train"]
    (tmp_path / "link").symlink_to(tmp_path / "pets" / "train")
    for same in (tmp_path / "pets" / "train", "pets/../pets/train", "link"):
        with pytest.raises(UserError, match=r"data\.datasets contains \w+ twice: list each set once"):
            names_of("pets/train", same)


def _grey_folder(place, size=8):
    for number, name in enumerate(("cat", "dog")):
        (place / name).mkdir(parents=True)
        for i in range(10):
            pixels = np.full((size, size), 100 * number + i, np.uint8)
            Image.fromarray(pixels).save(place / name / f"{i}.png")
    return place


def test_images_on_disk_join_those_in_memory_of_the_same_shape(tmp_path):
    folder = ImageFolder(root=str(_grey_folder(tmp_path / "photos")), size=8, channels=1)
    data = Tasks(datasets=["digits", folder], seed=0)
    data.load()
    alone = Tasks(datasets=["digits"], seed=0)
    alone.load()
    x, count = data.sets["train"].x, len(alone.sets["train"])
    assert data.shape == (1, 8, 8)
    assert data.notes == ["image_folder: images decoded to 8x8, as in digits"]
    assert alone.notes == []
    assert torch.equal(x[:count], alone.sets["train"].x)
    owner = data.several.known(data.sets["train"].y).int().argmax(1)
    assert owner.tolist() == [0] * count + [1] * 14
    scale = 255 if x.is_floating_point() else 1
    values = (x[count:] * scale).round().flatten(1)
    assert bool((values == values[:, :1]).all())
    assert values.min() < 10
    assert values.max() >= 100


def test_images_of_other_shapes_are_named_with_the_options_that_match(tmp_path):
    photos = {"data": "image_folder", "root": str(_grey_folder(tmp_path / "photos")), "size": 16}
    message = (
        "data.datasets have inputs of different shapes, (1, 8, 8) of digits and (3, 16, 16) of image_folder: list sets "
        "of one shape (set {data: ..., size: 8, channels: 1} for image_folder)"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        Tasks(datasets=["digits", photos]).load()
    Tasks(datasets=["digits", photos | {"size": 8, "channels": 1}]).load()
    with pytest.raises(UserError, match=r"\(1, 8, 8\) of digits and \(1, 28, 28\) of mnist: list sets of one shape$"):
        Tasks(datasets=["digits", Blobs28()]).load()


class Blobs28(Blobs):
    """Images in memory of another shape, under the name of a choice."""

    def read(self):
        sets = super().read()
        return {name: replace(one, x=torch.zeros(len(one), 1, 28, 28)) for name, one in sets.items()}


Blobs28.__name__ = "Mnist"


@pytest.mark.parametrize("kind", [Tasks, DataStream])
def test_tables_are_refused_with_what_to_do_instead(kind):
    table = {"data": "table", "path": "loans.csv"}
    message = r"^data\.datasets cannot contain tables, whose columns differ: .*data\.label_column=\[a,b\] \(all 0 and 1"
    with pytest.raises(UserError, match=message):
        kind.modality_for({"datasets": [table | {"label_column": "a"}, table | {"label_column": "b"}]})


def test_a_table_of_texts_given_twice_is_referred_to_tasks_of_table(tmp_path):
    (tmp_path / "news.csv").write_text("text,a,b\nx,1,2\n")
    sets = [TextTable(path=str(tmp_path / "news.csv"), label_column=name) for name in "ab"]
    with pytest.raises(
        UserError, match=r"contains news twice: list each set once, or several label columns of one table"
    ):
        Tasks(datasets=sets)


def test_a_stream_names_its_sets_as_several_tasks_do(tmp_path, monkeypatch):
    for name in ("photos", "animals"):
        _grey_folder(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    sets = [{"data": "image_folder", "root": name, "size": 8} for name in ("photos", "animals")]
    stream = DataStream(datasets=[*sets, "digits"], scenario="task")
    assert stream.names == Tasks(datasets=[*sets, "digits"]).names == ["photos", "animals", "digits"]
    stream.load()
    assert stream.describe_sizes()[0] == "3 tasks (photos, animals, digits), each train 14 to 1,258"
    assert stream.describe_order() == "image_folder, image_folder, digits"  # the identity of a resumed run
    again = DataStream(datasets=[sets[0], sets[1], sets[0]], scenario="task")
    assert again.names == ["photos", "animals", "photos"]


def test_files_are_named_without_their_endings(tmp_path):
    paths = [tmp_path / name for name in ("a/news.csv", "b/news.csv", "b/talks.csv", "b/talks.tsv", "b/mail.2020.csv")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("text,label\nx,1\n")
    names = Tasks(datasets=[TextTable(path=str(path)) for path in paths]).names
    assert names == ["a_news", "b_news", "talks.csv", "talks.tsv", "mail.2020"]


class SeenBy(MMD):
    """Keeps how many samples of each domain it saw."""

    def adapt(self, source, target, update):
        self.seen = [*getattr(self, "seen", []), (len(source.features), len(target.features))]
        return super().adapt(source, target, update)


def test_an_adaptation_acts_on_the_task_that_has_a_target():
    data = Tasks(datasets=[BlobPair(seed=0), Blobs(seed=5)], batch_size=20, seed=0)
    assert (data.adapted, data.has_target) == ("blobpair", True)
    adaptation = SeenBy(align=["features"])
    data, model = make(MultiTask, data, adaptation=adaptation, cosines_every=0)
    assert data.test_names == ["test", "target/test"]
    assert data.sets["target/train"].y is None
    fit(data, model, epochs=1).test(model, datamodule=data, verbose=False)
    assert sum(source for source, _ in adaptation.seen) < 20 * len(adaptation.seen)  # samples of the pair alone
    batches = [batch.source for batch in data.train_dataloader()]
    assert [source for source, _ in adaptation.seen] == [int(data.several.known(b.y)[:, 0].sum()) for b in batches]
    assert {"test/blobs/acc", "test/blobpair/acc", "test/target/blobpair/acc"} <= set(model.last_test)
    assert "test/target/blobs/acc" not in model.last_test


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        (["digits", "digits"], "contains digits twice"),
        (["digits", "split_digits"], "split_digits is not a plain labelled set"),
        (["printed_to_handwritten", "printed_to_handwritten_value"], "can contain at most one pair of domains"),
        ([], "must be a list of sets, such as"),
        (["digit"], "there is no data=digit; did you mean"),
    ],
)
def test_sets_that_are_no_tasks_are_refused(datasets, message):
    with pytest.raises(UserError, match=message):
        Tasks(datasets=datasets)


def test_inputs_of_two_kinds_are_refused():
    with pytest.raises(UserError, match="different kinds of inputs, image and text: list"):
        Tasks.modality_for({"datasets": ["digits", "sst2"]})


@pytest.fixture
def table(tmp_path):
    rows = {
        "text": [f"text {i}" for i in range(20)],
        "topic": ["a", "b", "", "b"] * 5,
        "stars": ["1", "", "", "4.5"] * 5,
        "polite": ["1", "0", "", ""] * 5,
        "formal": ["0", "0", "", "1"] * 5,
    }
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    return str(tmp_path / "table.csv")


def test_a_table_with_empty_cells(table):
    tasks = {"topic": "classes", "stars": "numbers", "tone": ["polite", "formal"]}
    data = TasksOfTable(path=table, tasks=tasks, batch_size=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.load()
    assert "5 of 20 rows have no label and were dropped" in data.notes
    assert {name: len(samples) for name, samples in data.sets.items()} == {"train": 10, "val": 2, "test": 3}
    y = torch.cat([samples.y for samples in data.sets.values()])
    assert data.several.known(y).sum(0).tolist() == [15, 10, 10]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (
            {"topic": "class"},
            "data.tasks.topic=class must be classes, numbers or a list of columns; did you mean 'classes'",
        ),
        ({"topics": "classes"}, "data.tasks.topics: .* has no column 'topics'; did you mean 'topic'"),
        ({"topic": "numbers"}, "column 'topic', row 1, has 'a', which is not a number"),
        ({"tone": ["polite", "stars"]}, "column 'stars', row 4, has '4.5', which is not 0 or 1"),
        ({"topic": "classes", "all": ["topic"]}, "uses the column 'topic' in two tasks: use each column"),
        (None, "data.tasks must define the tasks"),
    ],
)
def test_tasks_that_a_table_does_not_have_are_refused(table, tasks, message):
    with pytest.raises(UserError, match=message):
        TasksOfTable(path=table, tasks=tasks).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weighting": "pgrad"}, "strategy.weighting=pgrad does not exist; did you mean 'pcgrad'"),
        ({"weighting": "pcgrad", "accumulate_batches": 2}, "set update.accumulate_batches=1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        built(**options)
