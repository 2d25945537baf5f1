"""Inputs of predictions are read by the rules of training, with the same messages."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.pixels import check_pixels
from tl_lab.data.sets.image_folder import ImageFolder
from tl_lab.errors import UserError
from tl_lab.run.given import read_given, rows_of


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))


def model(reading=None, shape=(1, 4, 4)):
    return SimpleNamespace(spec=ImageSpec(shape[1:], shape[0]), shape=shape, reading=reading or {})


def read(path, **options):
    """Read everything: names and images."""
    batches = list(read_given(path, model(options.pop("reading", None)), batch_size=3, **options))
    return [name for one in batches for name in one.names], torch.cat([one.x for one in batches])


def write(path, value, dtype=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, dtype)).save(path)


def test_all_bad_files_are_named_at_once_as_in_training(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png", "b/5.png"):
        write(tmp_path / name, 10)
    for name in ("a/2.png", "b/4.png"):
        (tmp_path / name).write_text("no image")
    message = r"2 of 5 images .*: a/2\.png \(not an image\), b/4\.png \(not an image\); remove or replace them, or "
    with pytest.raises(UserError, match=message + r"skip such images \(--skip-unreadable; "):
        read(tmp_path)
    with pytest.raises(UserError, match=message + r"set data\.unreadable=skip"):
        ImageFolder(root=str(tmp_path)).load()
    with pytest.warns(UserWarning, match=r"skipped: 2 of 5 images"):
        names, x = read(tmp_path, skip=True)
    assert names == ["a/1.png", "b/3.png", "b/5.png"]
    assert x.shape == (3, 1, 4, 4)


def test_a_table_of_paths_names_missing_files(tmp_path):
    write(tmp_path / "a.png", 10)
    (tmp_path / "table.csv").write_text("path\na.png\nnowhere.png\n")
    with pytest.raises(UserError, match=r"1 of 2 images .* nowhere\.png \(no such file\)"):
        read(tmp_path / "table.csv")


def test_files_of_the_operating_system_are_not_predicted(tmp_path):
    for name in ("a.png", "._a.png", "__MACOSX/a.png", ".ipynb_checkpoints/a.png"):
        write(tmp_path / name, 10)
    assert read(tmp_path)[0] == ["a.png"]


def test_deep_images_are_shown_as_training_showed_them(tmp_path):
    for split in ("train", "new"):
        for i in range(4 if split == "train" else 1):
            for name in ("dim", "light"):
                write(tmp_path / split / name / f"{i}.png", 500 + i if name == "dim" else 4000 + i, np.uint16)
    data = ImageFolder(root=str(tmp_path / "train"), val_share=0.25, test_share=0.25)
    data.load()
    data.use(ImageSpec((4, 4), 1))
    assert data.reading == {"levels": {"16-bit": [0.0, 4095.0]}}
    _, x = read(tmp_path / "new" / "dim", reading=data.reading)  # alone it would be taken for ten bits
    assert x.flatten().tolist() == [round(500 * 255 / 4095)] * 16
    write(tmp_path / "new" / "dim" / "1.png", 60000, np.uint16)
    with pytest.raises(UserError, match=r"1\.png \(16-bit values from 60000 to 60000, while others are in 0\.\.4095\)"):
        read(tmp_path / "new" / "dim", reading=data.reading)


@pytest.mark.parametrize("value", [9e9, -1, 255.5])
def test_a_table_holds_pixel_values(tmp_path, value):
    columns = ",".join(f"p{i}" for i in range(16))
    rows = ["7," * 15 + "255", "7," * 15 + f"{value:g}"]
    (tmp_path / "table.csv").write_text("\n".join([columns, *rows]))
    with pytest.raises(UserError, match=r"has the value .* in row 2: pixel values must be in 0\.\.255"):
        read(tmp_path / "table.csv")
    (tmp_path / "table.csv").write_text("\n".join([columns, *rows[:1]]))
    assert read(tmp_path / "table.csv")[1].flatten()[[0, -1]].tolist() == pytest.approx([7 / 255, 1])


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    st.sampled_from([torch.uint8, torch.int16, torch.int64, torch.float32, torch.float64]),
    st.floats(allow_nan=True, width=32),
)
def test_arrays_are_taken_within_their_range_only(kind, value):
    whole = not kind.is_floating_point
    finite = value == value and abs(value) < 3e4
    if whole and not (finite and value == int(value) and (kind != torch.uint8 or 0 <= value <= 255)):
        value = 17
    x = torch.full((1, 1, 2, 2), value, dtype=kind)
    fits = 0 <= value <= (255 if whole else 1)
    if fits:
        assert check_pixels(x).float().equal(x.float())
        assert check_pixels(x).dtype in (torch.uint8, kind)
    elif not -1e-3 <= value <= (255 if whole else 1) + 1e-3:
        with pytest.raises(UserError, match=r"images must be .*, not"):
            check_pixels(x)


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.uint32, np.uint64])
def test_whole_numbers_of_every_size_are_pixels(kind):
    values = np.arange(256).astype(kind).reshape(1, 1, 16, 16)
    assert torch.equal(check_pixels(torch.from_numpy(values)), torch.arange(256).view(1, 1, 16, 16).to(torch.uint8))
    with pytest.raises(UserError, match=r"integers in 0\.\.255, not 0 to 4095"):
        check_pixels(torch.from_numpy((values * 16 + 15) * (values > 0).astype(kind)))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "an input of type NoneType cannot be predicted: give paths, images or arrays"),
        ([None], "an input of type NoneType cannot be predicted"),
        (3 + 2j, "complex"),
        (np.zeros((2, 4, 4), np.complex64), "an array of complex numbers cannot be predicted"),
        (np.array(["a", "b"]), "an array of <U1 values cannot be predicted"),
        (np.array([{}, None]), "an array of object values cannot be predicted"),
        (np.array(["2020-01-01"], "datetime64[D]"), "an array of datetime64"),
        (object(), "an input of type object cannot be predicted"),
        ([], "the list of inputs is empty"),
        (iter([]), "the list of inputs is empty"),
        (set(), "the list of inputs is empty"),
        ([np.zeros((4, 4)), "a.png"], "paths, images or arrays, not several of these"),
        ([[0.1, 0.2], [0.3]], r"not of shape \(2,\)"),
        (np.zeros(()), r"not of shape \(\)"),
    ],
)
def test_what_is_no_image_is_refused_by_its_type(inputs, message):
    with pytest.raises(UserError, match=message):
        read(inputs)


@pytest.mark.parametrize("size", [0, -1, 2.5, None, "3"])
def test_batches_have_a_size(size):
    with pytest.raises(UserError, match="batch_size must be a whole number of at least 1"):
        list(read_given(np.zeros((2, 4, 4)), model(), batch_size=size))


def test_a_generator_of_images_is_read_as_a_list():
    images = [np.full((4, 4), i, np.uint8) for i in range(5)]
    names, x = read(image for image in images)
    assert names == list("01234")
    assert x.flatten(1)[:, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", r"row 2 has more cells than the header"),
        ("a,b, a\n1,2,3\n", r"several columns called 'a': rename them"),
        ("a,b\n", "has no rows below its header"),
    ],
)
def test_tables_to_predict_have_one_cell_below_each_name(text, message, tmp_path):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        rows_of(tmp_path / "table.csv")
