"""The decoder: every kind of image is decoded as it would be displayed, or is refused with its name."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

import tl_lab
from tl_lab.data.inputs.decoding import IMAGE_TYPES, decode, picture
from tl_lab.data.inputs.examining import examine, keep_readable, levels_for
from tl_lab.data.inputs.finding import images_below
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.image_files import ImageFiles
from tl_lab.data.inputs.levels import Depth, Levels
from tl_lab.errors import UserError

RAMP = np.linspace(0, 1, 32)  # 32 greys from black to white
GREY = np.rint(255 * RAMP).astype(np.uint8)
SQUARE = ImageSpec((32, 32), 1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))


def ramp(high, dtype):
    """A picture whose columns go from 0 to the largest value."""
    values = high * RAMP
    return np.tile((np.rint(values) if np.dtype(dtype).kind in "iu" else values).astype(dtype), (32, 1))


def read_set(folder):
    """Decode a folder as training does."""
    files, _, _ = keep_readable(ImageFiles(folder, images_below(folder)), None, "stop")
    return files.with_levels(levels_for([files], None, folder)).load_all(SQUARE)


def change_tag(path, number, value):
    """Write another short number into the little-endian TIFF that Pillow has written."""
    data = bytearray(path.read_bytes())
    data[data.index(number.to_bytes(2, "little") + bytes([3, 0, 1, 0, 0, 0])) + 8] = value
    path.write_bytes(data)


# ---------------------------------------------------------------------- depths


@pytest.mark.parametrize(
    ("name", "high", "dtype"),
    [
        ("a.tif", 1, np.float32),
        ("a.tif", 255, np.float32),
        ("a.tif", 4095, np.float32),
        ("a.tif", 65535, np.float32),
        ("a.tif", 255, np.int32),
        ("a.tif", 65535, np.int32),
        ("a.tif", 2**31 - 1, np.int32),
        ("a.tif", 255, np.uint8),
        ("a.tif", 65535, np.uint16),
        ("a.png", 255, np.uint16),
        ("a.png", 1023, np.uint16),
        ("a.png", 4095, np.uint16),
        ("a.png", 16383, np.uint16),
        ("a.png", 65535, np.uint16),
        ("a.pgm", 65535, np.uint16),
        ("a.jp2", 65535, np.uint16),
        ("a.pfm", 1, np.float32),
    ],
)
def test_a_ramp_keeps_its_greys_at_every_depth(tmp_path, name, high, dtype):
    Image.fromarray(ramp(high, dtype)).save(tmp_path / name)
    decoded = read_set(tmp_path)[0, 0, 0].tolist()
    near = 1 if name == "a.jp2" else 0  # a lossy format
    assert decoded == pytest.approx(GREY.tolist(), abs=near)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    st.sampled_from(["16-bit", "32-bit", "float"]),
    st.lists(st.floats(0, 65535), min_size=1, max_size=5),
)
def test_the_levels_of_a_set_hold_all_its_values_and_waste_less_than_two_bits(kind, highs):
    highs = [high if kind == "float" else round(high) for high in highs]
    top = max(highs)
    depths = [Depth(kind, 0.0, high) for high in highs]
    if kind == "float" and 1.01 < top < 64:
        with pytest.raises(ValueError, match=r"float values from 0 to .* set data\.levels"):
            Levels.of(depths)
        return
    black, white = Levels.of(depths).ranges[kind]
    assert black == 0
    assert top <= 1.01 * white
    if kind == "float" and white == 1:
        return
    assert white == 255 or white + 1 <= 4 * (top + 1)
    of_signed = [15] if kind == "32-bit" else []  # 16 bits, one of which is the sign
    assert np.log2(white + 1) in (8, 10, 12, 14, *of_signed, 16)


def test_darker_images_stay_darker(tmp_path):
    for i, high in enumerate((1000, 4000)):
        Image.fromarray(np.full((32, 32), high, np.uint16)).save(tmp_path / f"{i}.png")
    assert read_set(tmp_path)[:, 0, 0, 0].tolist() == [round(255 * high / 4095) for high in (1000, 4000)]


def test_levels_are_given_for_what_does_not_say_them(tmp_path):
    Image.fromarray(ramp(3000, np.float32) - 1000).save(tmp_path / "ct.tif")
    files, _, _ = keep_readable(ImageFiles(tmp_path, ["ct.tif"]), None, "stop")
    with pytest.raises(UserError, match=r"float values from -1000 to 2000, .* set data\.levels, for example"):
        levels_for([files], None, tmp_path)
    levels = levels_for([files], Levels.given([-1000, 2000]), tmp_path)
    assert files.with_levels(levels).read(0, SQUARE)[0, 0].tolist() == GREY.tolist()
    window = files.with_levels(Levels.given([0, 1000])).read(0, SQUARE)[0, 0]
    assert int(window[0]) == 0
    assert int(window[-1]) == 255
    with pytest.raises(UserError, match=r"data\.levels must be the values of black and white"):
        Levels.given([1, 1])


def test_twelve_bits_that_a_file_declares_are_its_range(tmp_path):
    dim = np.rint(900 * RAMP).astype(int)  # would be taken for ten bits
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(tmp_path / "a.tif")
    data = (tmp_path / "a.tif").read_bytes()
    start = len(data) - 2 * 32 * 32
    row = int("".join(f"{value:012b}" for value in dim), 2).to_bytes(48, "big")
    (tmp_path / "a.tif").write_bytes(data[:start] + 32 * row + bytes(512))
    change_tag(tmp_path / "a.tif", 258, 12)
    assert read_set(tmp_path)[0, 0, 0].tolist() == np.rint(dim * 255 / 4095).tolist()


def test_unsigned_values_of_32_bits_are_positive(tmp_path):
    Image.fromarray(ramp(2**32 - 1, np.uint32).view(np.int32)).save(tmp_path / "a.tif")
    change_tag(tmp_path / "a.tif", 339, 1)
    assert read_set(tmp_path)[0, 0, 0].tolist() == GREY.tolist()


def test_white_may_be_zero(tmp_path):
    Image.fromarray(ramp(65535, np.uint16)).save(tmp_path / "a.tif")
    change_tag(tmp_path / "a.tif", 262, 0)
    assert read_set(tmp_path)[0, 0, 0].tolist() == GREY[::-1].tolist()


def test_values_that_are_no_numbers_are_unreadable(tmp_path):
    values = ramp(1, np.float32)
    values[3, 3] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert examine(ImageFiles(tmp_path, ["a.tif"])).unreadable == {0: "contains NaN or infinity"}


def test_values_beyond_those_learned_are_unreadable(tmp_path):
    Image.fromarray(ramp(65535, np.uint16)).save(tmp_path / "a.png")
    files = ImageFiles(tmp_path, ["a.png"])
    learned = Levels({"16-bit": (0.0, 4095.0)})
    with pytest.raises(UserError, match=r"a\.png \(16-bit values from 0 to 65535, while others are in 0\.\.4095\)"):
        keep_readable(files, None, "stop", known=learned)
    assert Levels.from_state(learned.state()) == learned


# ---------------------------------------------------------------------- colours and transparency


@pytest.mark.parametrize(
    ("below", "shape", "seen"),
    [
        (0, 255 - GREY, GREY),  # black, seen through the white behind it
        (255, GREY, GREY),  # white is not seen on white
        (100, np.full(32, 255), np.full(32, 100)),
        (7, np.zeros(32), np.full(32, 255)),  # what is wholly transparent is not there
    ],
)
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_shape_in_transparency_is_seen(tmp_path, below, shape, seen, mode):
    layers = np.empty((32, 32, 4), np.uint8)
    layers[..., :3], layers[..., 3] = below, shape
    Image.fromarray(layers).convert(mode).save(tmp_path / "a.png")
    decoded = decode(tmp_path / "a.png", SQUARE)[0, 0].numpy().astype(int)
    assert np.abs(decoded - seen).max() <= 1


def test_a_transparent_colour_of_a_palette_is_not_there(tmp_path):
    image = Image.new("P", (32, 32), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(0, (0, 0, 16, 32))
    for name in ("a.png", "a.gif"):
        image.save(tmp_path / name, transparency=1)
        x = decode(tmp_path / name, ImageSpec((32, 32), 3))
        assert x[:, 0, 0].tolist() == [0, 0, 0]
        assert x[:, 0, 31].tolist() == [255, 255, 255]


def test_other_colour_spaces_are_the_same_colour(tmp_path):
    red = Image.new("RGB", (32, 32), (200, 30, 40))
    red.save(tmp_path / "ycbcr.jpg", quality=100)
    red.convert("CMYK").save(tmp_path / "cmyk.tif")
    red.convert("YCbCr").save(tmp_path / "ycbcr.tif")
    lab = Image.merge("LAB", [Image.new("L", (32, 32), value) for value in (135, 128, 128)])  # a middle grey
    lab.save(tmp_path / "lab.tif")
    for name in ("ycbcr.jpg", "cmyk.tif", "ycbcr.tif"):
        x = decode(tmp_path / name, ImageSpec((32, 32), 3)).flatten(1).float().mean(1)
        assert x.tolist() == pytest.approx([200, 30, 40], abs=3)
    grey = decode(tmp_path / "lab.tif", ImageSpec((32, 32), 3))[:, 0, 0].tolist()
    assert max(grey) - min(grey) <= 2
    assert 110 < grey[0] < 140


# ---------------------------------------------------------------------- orientation, frames, formats, sizes


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_an_image_is_turned_as_its_camera_says(tmp_path, name, tag):
    upright = Image.new("L", (32, 48))
    upright.paste(255, (0, 0, 16, 24))  # one white corner, top left
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that the camera's position amounts to
    stored = upright if tag == 1 else upright.transpose(Image.Transpose(undo[tag]))
    exif = Image.Exif()
    exif[0x0112] = tag
    stored.convert("RGB").save(tmp_path / name, exif=exif)
    seen = np.asarray(picture(tmp_path / name, "L")).astype(int)
    assert np.abs(seen - np.asarray(upright)).mean() < 6


def test_damaged_metadata_leave_the_picture(tmp_path):
    Image.new("RGB", (32, 32), (9, 9, 9)).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert int(decode(tmp_path / "a.png", SQUARE).max()) <= 10


def test_the_first_frame_counts(tmp_path):
    frames = [Image.new("L", (32, 32), value) for value in (40, 200)]
    for name in ("a.gif", "a.tif", "a.webp", "a.apng"):
        options = {"format": "PNG"} if name == "a.apng" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert decode(tmp_path / name, SQUARE).float().mean() == pytest.approx(40, abs=2)


@pytest.mark.parametrize("ending", sorted(IMAGE_TYPES))
def test_every_ending_that_counts_as_an_image_is_read(tmp_path, ending):
    if ending == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    kinds = {".jfif": "JPEG", ".jpe": "JPEG", ".apng": "PNG", ".dib": "DIB", ".pbm": "PPM"}
    image = Image.fromarray(np.tile(GREY, (32, 1)))
    if ending == ".pbm":
        image = image.point(lambda value: 255 * (value > 127)).convert("1")
    if ending == ".pfm":
        image = Image.fromarray(ramp(1, np.float32))
    image.save(tmp_path / f"a{ending.upper()}", kinds.get(ending))
    (name,) = images_below(tmp_path)
    middle = decode(tmp_path / name, SQUARE)[0, 16].numpy().astype(int)
    expected = 255 * (GREY > 127) if ending == ".pbm" else GREY
    assert np.abs(middle - expected).mean() < 6


def test_what_an_ending_hides_is_found_by_content(tmp_path):
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # would start Ghostscript
    assert examine(ImageFiles(tmp_path, ["a.png"])).unreadable == {0: "not an image"}


def test_too_many_pixels_are_refused_by_name(tmp_path, monkeypatch):
    Image.new("1", (60, 60)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    reasons = {0: "more than 2,000 pixels, the limit of decoding"}
    assert examine(ImageFiles(tmp_path, ["a.png"])).unreadable == reasons
    with pytest.raises(OSError, match="more than 2,000 pixels"):
        decode(tmp_path / "a.png", SQUARE)


@pytest.mark.parametrize("size", [(2000, 1), (1, 2000), (3, 500), (700, 20)])
def test_a_long_strip_is_resized_where_it_is_kept_only(tmp_path, size, monkeypatch):
    values = np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    factor = 26 / min(size)
    whole = Image.fromarray(values).resize([round(side * factor) for side in size], Image.Resampling.BILINEAR)
    left, top = round((whole.width - 24) / 2), round((whole.height - 24) / 2)
    kept = np.asarray(whole.crop((left, top, left + 24, top + 24))).astype(int)
    made, resize = [], Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda *given: made.append(given[1]) or resize(*given))
    x = decode(tmp_path / "a.png", ImageSpec((24, 24), 1, crop_pct=0.9))
    assert made == [(24, 24)]
    assert np.abs(x[0].numpy() - kept).max() <= 2


def test_images_are_opened_in_one_place():
    sources = {path.name: path.read_text(encoding="utf-8") for path in Path(tl_lab.__file__).parent.rglob("*.py")}
    opening = r"Image\.open\(|imread\(|read_image\(|decode_image\(|default_loader"
    assert [name for name, text in sources.items() if re.search(opening, text)] == ["decoding.py"]


# ---------------------------------------------------------------------- which files


def test_files_of_the_operating_system_are_no_images(tmp_path):
    image = Image.new("L", (4, 4))
    for name in (
        "b/a.png",
        "a.png",
        "._a.png",
        "__MACOSX/a.png",
        ".ipynb_checkpoints/a.png",
        "b/.c/a.png",
        "@eaDir/a.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / name)
    assert images_below(tmp_path) == ["a.png", "b/a.png"]


def test_folders_linked_in_a_circle_are_read_once(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "again").symlink_to(tmp_path)
    assert images_below(tmp_path) == ["a.png"]


def test_a_name_that_is_not_utf8_is_read_and_shown(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("L", (32, 32), 60).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / name)
    (tmp_path / os.fsdecode(b"bad\xe9.png")).write_text("no image")
    files = ImageFiles(tmp_path, images_below(tmp_path))
    kept, _, message = keep_readable(files, None, "skip")
    assert "bad\\xe9.png (not an image)" in message
    assert torch.all(kept.read(0, SQUARE) == 60)
    assert len(kept.fingerprint()) == 64
    with pytest.raises(UserError, match=r"bad\\xe9\.png"):
        keep_readable(files, None, "stop")
