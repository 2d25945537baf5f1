"""Folders of images: finding, splitting and decoding files, and error messages."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from tl_lab.data.batches import DomainBatch
from tl_lab.data.inputs.decoding import decode
from tl_lab.data.inputs.examining import examine
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.image_files import ImageFiles
from tl_lab.data.sets.class_folders import find_folder, given_parts, scan_classes, scan_flat
from tl_lab.data.sets.image_folder import ImageFolder, ImageFolderPair
from tl_lab.errors import UserError
from tl_lab.texts import listed

_DATA = os.environ.get("TL_LAB_DATA", "")
_OFFICE = "office_caltech10/images"
needs_office = pytest.mark.skipif(
    not (_DATA and (Path(_DATA) / _OFFICE).is_dir()), reason=f"TL_LAB_DATA has no {_OFFICE}"
)
SMALL = ImageSpec((8, 8), 3)
IMAGES = ImageFolder.file_kind


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))


def write_images(folder, count, value=0, size=(10, 10), start=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        Image.new("RGB", size, (value, i % 256, 0)).save(folder / f"{i:03}.png")


def write_classes(root, counts, **knobs):
    for i, (name, count) in enumerate(counts.items()):
        write_images(root / name, count, value=50 * (i + 1), **knobs)
    return root


def flat_files(folder):
    return ImageFiles(folder, scan_flat(folder, IMAGES).names)


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def sizes(data):
    return {name: len(samples) for name, samples in data.sets.items()}


# ---------------------------------------------------------------------- decoding


@pytest.mark.parametrize(("size", "crop_pct"), [((24, 24), 1.0), ((24, 24), 0.875), ((32, 32), 0.9)])
@pytest.mark.parametrize("source", [(60, 40), (40, 61), (24, 24), (9, 7), (33, 200)])
def test_decoding_is_torchvisions_resize_and_centre_crop(tmp_path, size, crop_pct, source):
    pixels = np.random.default_rng(0).integers(0, 256, (source[1], source[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    reference = transforms.Compose([transforms.Resize(int(size[0] / crop_pct)), transforms.CenterCrop(size)])
    expected = np.asarray(reference(Image.fromarray(pixels))).transpose(2, 0, 1)
    assert np.array_equal(decode(tmp_path / "a.png", ImageSpec(size, 3, crop_pct=crop_pct)).numpy(), expected)


def test_decoding_to_a_size_that_is_not_square_keeps_proportions(tmp_path):
    pixels = np.zeros((40, 40), np.uint8)
    pixels[:, 20:] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    x = decode(tmp_path / "a.png", ImageSpec((10, 20), 1))
    assert x.shape == (1, 10, 20)
    assert int(x[0, :, :9].max()) == 0
    assert int(x[0, :, 11:].min()) == 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_all_kinds_of_images_become_grey_or_rgb(tmp_path, mode, channels):
    name = "a.tif" if mode == "CMYK" else "a.png"
    Image.new("RGB", (12, 12), (255, 255, 255)).convert(mode).save(tmp_path / name)
    x = decode(tmp_path / name, ImageSpec((8, 8), channels))
    assert x.shape == (channels, 8, 8)
    assert x.dtype == torch.uint8
    assert int(x.min()) >= 254


def test_image_files_serve_one_and_all(tmp_path):
    write_images(tmp_path, 7, value=90)
    files = ImageFiles(tmp_path, [f"{i:03}.png" for i in range(7)])
    one, beside = files.load_all(SMALL), files.load_all(SMALL, workers=3)
    assert one.shape == (7, 3, 8, 8)
    assert torch.equal(one, beside)
    assert one[:, 1, 0, 0].tolist() == list(range(7))
    part = files.subset(torch.tensor([5, 2]))
    assert part.names == ["005.png", "002.png"]
    assert torch.equal(part.read(0, SMALL), one[5])
    assert part.fingerprint() != files.fingerprint()


class _Items(torch.utils.data.Dataset):
    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        return self.files.read(i, SMALL)


def test_image_files_pass_through_worker_processes(tmp_path):
    write_images(tmp_path, 6)
    files = flat_files(tmp_path)
    batches = list(DataLoader(_Items(files), batch_size=3, num_workers=1))
    assert torch.equal(torch.cat(batches), files.load_all(SMALL))


def test_the_fingerprint_follows_content_and_order_wherever_it_lies(tmp_path):
    for name in ("a", "b"):
        write_images(tmp_path / name, 3)
    first, second = (flat_files(tmp_path / name) for name in ("a", "b"))
    assert first.fingerprint() == second.fingerprint()
    assert first.subset(torch.tensor([1, 0, 2])).fingerprint() != first.fingerprint()
    data = (tmp_path / "b" / "001.png").read_bytes()
    (tmp_path / "b" / "001.png").write_bytes(data[:-1] + b"x")  # of the same size
    assert first.fingerprint() != second.fingerprint()


# ---------------------------------------------------------------------- finding


def test_find_folder_here_or_among_the_data_sets(tmp_path, monkeypatch):
    (tmp_path / "data" / "photos").mkdir(parents=True)
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path / "data"))
    assert find_folder("photos", "data.root") == tmp_path / "data" / "photos"
    monkeypatch.chdir(tmp_path / "data")
    (tmp_path / "data" / "photos" / "inner").mkdir()
    assert find_folder("photos/inner", "data.root") == tmp_path / "data" / "photos" / "inner"
    with pytest.raises(UserError, match=r"data\.root=elsewhere is not a folder: looked for .* and "):
        find_folder("elsewhere", "data.root")
    with pytest.raises(UserError, match=r"data\.source is not set"):
        find_folder(None, "data.source")


def test_scan_takes_images_at_any_depth_in_order(tmp_path):
    write_classes(tmp_path, {"b": 2, "a": 1})
    write_images(tmp_path / "a" / "deeper", 2, start=5)
    write_images(tmp_path / ".hidden", 2)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "b" / "PHOTO.PNG").write_bytes((tmp_path / "b" / "000.png").read_bytes())
    write_images(tmp_path, 1)
    scan = scan_classes(tmp_path, IMAGES)
    assert scan.class_names == ["a", "b"]
    assert scan.names == [
        "a/000.png", "a/deeper/005.png", "a/deeper/006.png", "b/000.png", "b/001.png", "b/PHOTO.PNG",
    ]  # fmt: skip
    assert scan.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert any("ignored 1 file other than images" in note and "1 .txt" in note for note in scan.notes)
    assert any("ignored 1 image outside the class folders" in note for note in scan.notes)


def test_empty_class_folders_are_named(tmp_path):
    write_classes(tmp_path, {"cat": 2, "dog": 2})
    (tmp_path / "emu").mkdir()
    (tmp_path / "yak").mkdir()
    (tmp_path / "yak" / "yak.txt").write_text("no image")
    with pytest.raises(UserError, match=r"2 of the 4 class folders in .* contain no images \(emu, yak\)"):
        scan_classes(tmp_path, IMAGES)


def test_nothing_to_read(tmp_path):
    with pytest.raises(UserError, match="has no class folders"):
        scan_classes(tmp_path, IMAGES)
    with pytest.raises(UserError, match=r"neither images .* nor class folders"):
        scan_flat(tmp_path, IMAGES)


def test_which_split_is_given(tmp_path):
    for name in ("train", "valid", "test"):
        (tmp_path / "all" / name).mkdir(parents=True)
    assert given_parts(tmp_path / "all", "auto") == {
        "train": tmp_path / "all" / "train",
        "val": tmp_path / "all" / "valid",
        "test": tmp_path / "all" / "test",
    }
    assert given_parts(tmp_path / "all", "random") == {}
    for name in ("train", "bus"):  # vehicles
        (tmp_path / "vehicles" / name).mkdir(parents=True)
    assert given_parts(tmp_path / "vehicles", "auto") == {}
    assert given_parts(tmp_path / "vehicles", "given") == {"train": tmp_path / "vehicles" / "train"}
    (tmp_path / "none" / "bus").mkdir(parents=True)
    with pytest.raises(UserError, match="no folder 'train': it has bus"):
        given_parts(tmp_path / "none", "given")
    with pytest.raises(UserError, match=r"data\.split"):
        given_parts(tmp_path / "none", "automatic")


# ---------------------------------------------------------------------- one folder


def test_an_automatic_split_keeps_shares_and_labels(tmp_path):
    write_classes(tmp_path, {"ant": 40, "bee": 20})
    data = ImageFolder(root=str(tmp_path))
    data.load()
    assert sizes(data) == {"train": 42, "val": 6, "test": 12}
    assert data.class_counts.tolist() == [28, 14]
    assert torch.bincount(data.sets["test"].y).tolist() == [8, 4]
    assert data.shape == (3, 224, 224)
    names = [name for samples in data.sets.values() for name in samples.x.names]
    assert len(set(names)) == 60
    data.use(SMALL)
    for samples in data.sets.values():
        assert samples.x.shape[1:] == (3, 8, 8)
        red = (samples.x[:, 0, 0, 0] * 255).round().long()
        assert torch.equal(red, 50 * (samples.y + 1))
    assert "decoded into memory" in data.notes[-1]


def test_the_seed_fixes_the_split(tmp_path):
    write_classes(tmp_path, {"ant": 20, "bee": 20})
    prints = []
    for seed in (0, 0, 1):
        data = ImageFolder(root=str(tmp_path), seed=seed)
        data.load()
        prints.append(data.fingerprint())
    assert prints[0] == prints[1] != prints[2]


def test_a_given_split_is_kept(tmp_path):
    write_classes(tmp_path / "train", {"ant": 5, "bee": 4})
    write_classes(tmp_path / "val", {"ant": 2, "bee": 2})
    write_images(tmp_path / "test" / "bee", 3)
    data = ImageFolder(root=str(tmp_path))
    data.load()
    assert sizes(data) == {"train": 9, "val": 4, "test": 3}
    assert data.sets["test"].y.tolist() == [1, 1, 1]  # by name, though it is the only folder there
    assert any("no images of 1 of the 2 classes (ant)" in note for note in data.notes)


@pytest.mark.parametrize("given", ["val", "test"])
def test_parts_that_are_not_given_are_held_out_of_training(tmp_path, given):
    write_classes(tmp_path / "train", {"ant": 20, "bee": 20})
    write_classes(tmp_path / given, {"ant": 3, "bee": 3})
    data = ImageFolder(root=str(tmp_path))
    data.load()
    made = {"val": {"test": 8}, "test": {"val": 4}}[given]
    assert sizes(data) == {"train": 40 - sum(made.values()), given: 6, **made}


def test_a_class_that_is_not_trained_is_refused(tmp_path):
    write_classes(tmp_path / "train", {"ant": 5, "bee": 5})
    write_classes(tmp_path / "test", {"ant": 2, "Bee": 2})
    with pytest.raises(UserError, match=r"that are not among the 2 of training \(Bee\).*'bee'"):
        ImageFolder(root=str(tmp_path)).load()


def test_too_few_images_for_the_split(tmp_path):
    write_classes(tmp_path, {"ant": 20, "bee": 2})
    with pytest.raises(UserError, match=r"too few samples .*'bee' \(2\): a class needs at least 3; add samples, merge"):
        ImageFolder(root=str(tmp_path)).load()


def test_batches_in_memory_and_from_disk_are_the_same(tmp_path, monkeypatch):
    write_classes(tmp_path, {"ant": 30, "bee": 30})
    batches = []
    for limit in (2**30, 1):
        monkeypatch.setattr("tl_lab.data.base._READY_BYTES", limit)
        data = ImageFolder(root=str(tmp_path), batch_size=8, workers=1)
        data.load()
        data.use(ImageSpec((8, 8), 3, mean=(0.5,) * 3, std=(0.25,) * 3))
        batches.append(list(data.train_dataloader()))
    assert "on demand" in data.notes[-1]
    for memory, disk in zip(*batches, strict=True):
        assert torch.equal(memory.index, disk.index)
        assert torch.equal(memory.y, disk.y)
        assert torch.allclose(memory.x, disk.x, atol=1e-6)


@pytest.mark.parametrize("knobs", [{"val_share": 0}, {"test_share": 1.0}, {"channels": 2}, {"size": 0}])
def test_options_out_of_range(knobs):
    with pytest.raises(UserError, match=r"data\."):
        ImageFolder(root=".", **knobs)


# ---------------------------------------------------------------------- unreadable images


@pytest.fixture
def damaged(tmp_path):
    write_classes(tmp_path, {"ant": 20, "bee": 20})
    cut_off(tmp_path / "ant" / "003.png")
    (tmp_path / "bee" / "007.png").write_text("this is text")
    (tmp_path / "bee" / "008.png").write_bytes(b"")
    (tmp_path / "bee" / "009.png").unlink()
    (tmp_path / "bee" / "009.png").symlink_to(tmp_path / "nowhere.png")
    return tmp_path


def test_unreadable_images_stop_the_run_named_and_counted(damaged):
    with pytest.raises(
        UserError, match=r"4 of 40 images .*ant/003\.png .*bee/007\.png \(not an image\).*unreadable=skip"
    ):
        ImageFolder(root=str(damaged)).load()


def test_unreadable_images_are_skipped_named_and_counted(damaged):
    data = ImageFolder(root=str(damaged), unreadable="skip")
    data.load()
    assert sum(sizes(data).values()) == 36
    assert sum(torch.bincount(samples.y, minlength=2) for samples in data.sets.values()).tolist() == [19, 17]
    assert any("skipped: 4 of 40 images" in note and "bee/008.png" in note for note in data.notes)
    data.use(SMALL)
    assert sum(len(samples.x) for samples in data.sets.values()) == 36


def test_a_cut_off_jpeg_is_found(tmp_path):
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.jpg")
    path = tmp_path / "1.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert list(examine(flat_files(tmp_path)).unreadable) == [1]


def test_images_are_checked_once_and_again_when_they_change(tmp_path, monkeypatch):
    write_images(tmp_path, 4)
    files = flat_files(tmp_path)
    assert examine(files).unreadable == {}
    with monkeypatch.context() as patch:
        patch.setattr("tl_lab.data.inputs.examining._look", lambda _: pytest.fail("checked again"))
        assert examine(files).unreadable == {}
    cut_off(tmp_path / "002.png")
    assert list(examine(files, workers=2).unreadable) == [2]


def test_an_image_damaged_after_the_check_is_named(tmp_path):
    write_images(tmp_path, 3)
    files = flat_files(tmp_path)
    cut_off(tmp_path / "001.png")
    with pytest.raises(UserError, match=r"the image .*001\.png cannot be read"):
        files.load_all(SMALL)


def test_an_unknown_choice_for_unreadable_images(tmp_path):
    write_classes(tmp_path, {"ant": 5, "bee": 5})
    with pytest.raises(UserError, match=r"data\.unreadable must be 'stop' or 'skip', not 'ignore'"):
        ImageFolder(root=str(tmp_path), unreadable="ignore").load()


def test_listed_counts_what_it_does_not_name():
    assert listed(list("abc")) == "a, b, c"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"


# ---------------------------------------------------------------------- a pair


def pair(root, **knobs):
    data = ImageFolderPair(source=str(root / "source"), target=str(root / "target"), batch_size=4, **knobs)
    data.load()
    return data


def test_a_target_with_class_folders_is_matched_by_name(tmp_path):
    write_classes(tmp_path / "source", {"ant": 20, "bee": 20, "cow": 20})
    write_images(tmp_path / "target" / "cow", 10, value=150)
    write_images(tmp_path / "target" / "bee", 20, value=100)
    data = pair(tmp_path)
    assert sizes(data) == {
        "source/train": 42, "source/val": 6, "source/test": 12, "target/train": 21, "target/test": 9,
    }  # fmt: skip
    assert data.class_names == ["ant", "bee", "cow"]
    assert data.sets["target/train"].y is None
    assert any("no images of 1 of the 3 classes (ant)" in note for note in data.notes)
    assert data.test_names == ["source/test", "target/test"]
    data.use(SMALL)
    test = data.sets["target/test"]
    assert torch.equal((test.x[:, 0, 0, 0] * 255).round().long(), 50 * (test.y + 1))
    data.request = replace(data.request, adapts=True)
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, DomainBatch)
    assert not hasattr(batch.target, "y")


def test_the_target_split_is_independent_of_labels(tmp_path):
    parts = []
    for name, counts in (("one", {"ant": 10, "bee": 20}), ("two", {"ant": 20, "bee": 10})):
        write_classes(tmp_path / name / "source", {"ant": 9, "bee": 9})
        write_classes(tmp_path / name / "target", counts)
        data = ImageFolderPair(source=str(tmp_path / name / "source"), target=str(tmp_path / name / "target"))
        every = scan_classes(tmp_path / name / "target", IMAGES).names
        data.load()
        parts.append([every.index(image) for image in data.sets["target/test"].x.names])
    assert parts[0] == parts[1]


def test_target_classes_that_the_source_lacks_are_named_and_not_scored(tmp_path):
    write_classes(tmp_path / "source", {"ant": 9, "bee": 9})
    write_classes(tmp_path / "target", {"ant": 9, "bee": 9, "cow": 9, "dog": 9})
    data = ImageFolderPair(source=str(tmp_path / "source"), target=str(tmp_path / "target"), size=8, batch_size=4)
    with pytest.warns(UserWarning, match=r"2 classes that the source lacks \(cow, dog\)"):
        data.load()
    assert len(data.sets["target/train"]) == 25  # 11 of all 36 are held out, whatever their class
    assert set(data.sets["target/test"].y.tolist()) <= {0, 1}


def test_domains_without_a_common_class_are_refused(tmp_path):
    write_classes(tmp_path / "source", {"ant": 9, "bee": 9})
    write_classes(tmp_path / "target", {"cow": 9})
    data = ImageFolderPair(source=str(tmp_path / "source"), target=str(tmp_path / "target"), size=8, batch_size=4)
    with pytest.raises(UserError, match="no class in common"):
        data.load()


def test_a_flat_target_is_for_training_only(tmp_path):
    write_classes(tmp_path / "source", {"ant": 9, "bee": 9})
    write_images(tmp_path / "target", 12)
    data = pair(tmp_path)
    assert len(data.sets["target/train"]) == 12
    assert data.sets["target/train"].y is None
    assert data.test_names == ["source/test"]
    assert any("target is not scored" in note for note in data.notes)


@pytest.mark.parametrize("flat", [True, False])
def test_a_given_target_split(tmp_path, flat):
    write_classes(tmp_path / "source", {"ant": 9, "bee": 9})
    if flat:
        write_images(tmp_path / "target" / "train", 12)
    else:
        write_classes(tmp_path / "target" / "train", {"ant": 6, "bee": 6})
    write_classes(tmp_path / "target" / "test", {"ant": 3, "bee": 4})
    data = pair(tmp_path)
    assert len(data.sets["target/train"]) == 12
    assert data.sets["target/train"].y is None
    assert data.sets["target/test"].y.tolist() == [0] * 3 + [1] * 4


def test_unreadable_target_images_are_skipped_too(tmp_path):
    write_classes(tmp_path / "source", {"ant": 9, "bee": 9})
    write_images(tmp_path / "target", 12)
    cut_off(tmp_path / "target" / "004.png")
    with pytest.raises(UserError, match=r"1 of 12 images"):
        pair(tmp_path)
    assert len(pair(tmp_path, unreadable="skip").sets["target/train"]) == 11


# ---------------------------------------------------------------------- photographs


@pytest.mark.real_data
@needs_office
def test_office_caltech_as_a_pair():
    data = ImageFolderPair(source=f"{_OFFICE}/amazon", target=f"{_OFFICE}/webcam")
    data.load()
    assert sizes(data) == {
        "source/train": 670, "source/val": 96, "source/test": 192, "target/train": 207, "target/test": 88,
    }  # fmt: skip
    assert data.num_classes == 10
    assert data.class_names[:2] == ["backpack", "bike"]
    data.use(ImageSpec((16, 16), 3))
    assert data.sets["target/train"].x.shape == (207, 3, 16, 16)


@pytest.mark.real_data
@needs_office
def test_grey_photographs_become_rgb():
    data = ImageFolder(root=f"{_OFFICE}/dslr")
    data.load()
    assert sum(sizes(data).values()) == 157
    data.use(ImageSpec((32, 32), 3, crop_pct=0.875))
    assert all(float(s.x.min()) >= 0 and float(s.x.max()) <= 1 for s in data.sets.values())
