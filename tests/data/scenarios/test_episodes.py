"""Episodes: their composition, and their dependence on the seed only."""

import pytest
import torch
from PIL import Image

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.episodes import ClassIndex, EpisodeSize, draw_episodes
from tl_lab.data.scenarios.episodes_of import EpisodesOf
from tl_lab.data.sets.image_folder import ImageFolder
from tl_lab.errors import UserError

SIZE = {"way": 3, "shot": 2, "queries": 3}


class Numbered(DataModule):
    """Twelve classes of 6 to 17 images; each image's pixels hold its class and its number."""

    def read(self) -> dict[str, Samples]:
        self.class_names = [f"class {c}" for c in range(12)]
        y = torch.cat([torch.full((6 + c,), c) for c in range(12)])
        x = torch.stack([y, torch.arange(len(y))], 1).view(-1, 1, 1, 2).to(torch.uint8)
        whole, part = Samples(x, y), torch.arange(len(y)) % 3
        return {name: whole.subset((part == k).nonzero()[:, 0]) for k, name in enumerate(("train", "val", "test"))}


def loaded(**options) -> EpisodesOf:
    options = {"train": SIZE, "test": SIZE, "test_episodes": 60, "val_episodes": 60, "eval_batch_size": 900, **options}
    data = EpisodesOf(of=Numbered(), **options)
    data.load()
    data.use(ImageSpec(size=(1, 2), channels=1))
    return data


def indices(loader) -> torch.Tensor:
    return torch.cat(list(loader.indices()))


def test_classes_are_disjoint_and_keep_all_their_images():
    data = loaded()
    names = [name for part in ("train", "val", "test") for name in data.classes[part]]
    assert sorted(names) == sorted(f"class {c}" for c in range(12))
    for part in ("train", "val", "test"):
        counts = torch.bincount(data.sets[part].y)
        assert counts.tolist() == [6 + int(name.split()[1]) for name in data.classes[part]]


def test_an_episode_has_its_classes_and_images_once():
    data = loaded()
    batch = next(iter(data.episodes("test", 60)))
    assert batch.support.x.shape == (60, 6, 1, 1, 2)
    assert batch.query.x.shape == (60, 9, 1, 1, 2)
    assert batch.support.y[0].tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.query.y[7].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for e in range(60):
        of_set = data.sets["test"].y[torch.cat([batch.support.index[e], batch.query.index[e]])]
        label = torch.cat([batch.support.y[e], batch.query.y[e]])
        assert len(of_set.unique()) == 3
        assert len({*zip(of_set.tolist(), label.tolist(), strict=True)}) == 3  # each class has one label
        drawn = torch.cat([batch.support.index[e], batch.query.index[e]])
        assert len(drawn.unique()) == 15  # support and queries share no image
    assert torch.equal(batch.support.x, data.sets["test"].x[batch.support.index])
    assert torch.equal(batch.query.x, data.sets["test"].x[batch.query.index])


def test_flat_order_and_its_inverse():
    batch = next(iter(loaded().episodes("test", 60)))
    support, query = batch.split(batch.x.flatten(1))
    assert torch.equal(support, batch.support.x.flatten(2))
    assert torch.equal(query, batch.query.x.flatten(2))
    assert torch.equal(torch.cat(batch.split(batch.index[:, None]), 1).flatten(), batch.index)


def test_every_class_and_image_is_drawn_equally_often():
    y = torch.cat([torch.zeros(5), torch.ones(8), torch.full((6,), 2)]).long()
    classes = ClassIndex(y, 3)
    drawn = torch.cat([draw_episodes(classes, EpisodeSize(2, 1, 2), 0, "train", 0, block) for block in range(200)])
    assert drawn.shape == (10_000, 2, 3)
    of_class = y[drawn]
    assert (of_class == of_class[:, :, :1]).all()
    often = torch.bincount(of_class[:, :, 0].flatten(), minlength=3) / 20_000
    assert often == pytest.approx([1 / 3] * 3, abs=0.01)  # three standard deviations
    for c, size in enumerate((5, 8, 6)):
        of_images = torch.bincount(drawn[of_class == c], minlength=19)[y == c] / (of_class == c).sum()
        assert of_images == pytest.approx([1 / size] * size, abs=0.015)
        in_support = torch.bincount(drawn[:, :, 0][of_class[:, :, 0] == c], minlength=19)[y == c]
        assert in_support / in_support.sum() == pytest.approx([1 / size] * size, abs=0.015)


def test_episodes_depend_on_seed_set_and_epoch_alone():
    base = indices(loaded().episodes("test", 60))
    assert torch.equal(indices(loaded().episodes("test", 60)), base)
    assert torch.equal(indices(loaded(eval_batch_size=40).episodes("test", 60)), base)  # two at a time
    assert torch.equal(indices(loaded().episodes("test", 130))[:60], base)
    assert torch.equal(indices(loaded(train={**SIZE, "way": 5}).episodes("test", 60)), base)
    assert not torch.equal(indices(loaded(seed=1).episodes("test", 60)), base)
    assert not torch.equal(indices(loaded().episodes("val", 60)), base)


def test_evaluation_episodes_are_the_same_in_every_epoch():
    loader = loaded().episodes("val", 60)
    first = indices(loader)
    loader.set_epoch(5)
    assert torch.equal(indices(loader), first)


def test_training_episodes_change_with_the_epoch_and_not_with_the_step():
    def epoch(number: int, **options) -> torch.Tensor:
        loader = loaded(episodes_per_epoch=120, **options).train_dataloader()
        loader.set_epoch(number)
        return indices(loader)

    assert len(epoch(0)) == 120
    assert torch.equal(epoch(3), epoch(3))
    assert not torch.equal(epoch(0), epoch(1))
    assert torch.equal(epoch(1), epoch(1, episodes_per_step=8))


def test_processes_divide_the_steps_episodes(monkeypatch):
    data = loaded(episodes_per_step=4, episodes_per_epoch=12)
    whole = list(data.train_dataloader().indices())
    shares = []
    for rank in range(2):
        monkeypatch.setattr(data, "_processes", lambda rank=rank: (rank, 2))
        shares.append(list(data.train_dataloader().indices()))
    for step, all_of_it in enumerate(whole):
        together = torch.cat([share[step] for share in shares])
        assert sorted(map(str, together.tolist())) == sorted(map(str, all_of_it.tolist()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": {**SIZE, "way": 5}}, "'val' has 3 classes, 2 too few for 5-way episodes: lower data.test.way"),
        (
            {"train": {**SIZE, "shot": 9, "queries": 8}},
            r"9 \+ 8 = 17 .* of the 6 classes of the set 'train' have fewer",
        ),
        ({"train": {"way": 3, "shot": 1}}, "data.train.queries must be a whole number of at least 1, not None"),
        ({"train": {**SIZE, "ways": 1}}, "did you mean 'way'"),
        ({"episodes_per_step": 3}, "not 100 and 3"),
        ({"test_episodes": 1}, "at least 2"),
        ({"class_shares": [0.5, 0.5]}, "three numbers"),
        ({"class_shares": [0.98, 0.01, 0.01]}, "12 classes are too few"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_its_numbers(options, message):
    with pytest.raises(UserError, match=message):
        loaded(**options)


@pytest.mark.parametrize("on_disk", [False, True])
def test_folders_of_images_of_different_sizes_make_episodes(on_disk, tmp_path, monkeypatch):
    for c in range(9):
        (tmp_path / f"class{c}").mkdir()
        for i in range(5 + c):
            Image.new("L", (8, 8), 20 * c + i).save(tmp_path / f"class{c}" / f"{i:02d}.png")
    monkeypatch.setattr("tl_lab.data.base._READY_BYTES", 0 if on_disk else 2**30)
    of = ImageFolder(root=str(tmp_path), size=8, channels=1)
    data = EpisodesOf(of=of, train=SIZE, test={**SIZE, "way": 2}, class_shares=[1, 1, 1], test_episodes=4)
    data.load()
    data.use(ImageSpec(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,)))
    assert isinstance(data.sets["test"].x, torch.Tensor) is not on_disk
    batch = next(iter(data.episodes("test", 4)))
    grey = (batch.x.flatten(1).mean(1) * 255).round()
    drawn = grey // 20  # the class that an image was painted by
    assert batch.x.shape[1:] == (1, 8, 8)
    names = data.classes["test"]
    expected = [int(names[data.sets["test"].y[i]].removeprefix("class")) for i in batch.index.tolist()]
    assert drawn.tolist() == expected
