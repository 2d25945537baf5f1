"""Printed characters: complete, distinct, and split correctly."""

import unicodedata
from collections import Counter

import numpy as np
import pytest
import torch

from tl_lab.data.sets.fonts import text_faces
from tl_lab.data.sets.glyphs import (
    Glyphs,
    candidates,
    distinct_drawings,
    draw_glyphs,
    glyph_set,
    look_alikes,
    same_form,
    split_classes,
    split_faces,
)
from tl_lab.errors import UserError


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def glyphs(cache):
    return glyph_set(cache=cache)


def test_many_characters_with_enough_drawings(glyphs):
    count = len(glyphs.characters)
    # exact numbers depend on the version of the fonts; matplotlib has shipped DejaVu 2.37 since 2016
    assert 1200 < count < 1500
    assert glyphs.images.shape == (len(glyphs.labels), 1, 28, 28)
    assert glyphs.images.dtype == torch.uint8
    per_class = torch.bincount(glyphs.labels, minlength=count)
    assert int(per_class.min()) >= 12
    assert int(per_class.max()) == len(glyphs.face_names) == 16
    assert len(set(zip(glyphs.labels.tolist(), glyphs.faces.tolist(), strict=True))) == len(glyphs.labels)
    assert glyphs.characters == sorted(set(glyphs.characters))
    assert {"A", "a", "7", "Ж", "Ω", "ß", "&"} <= set(glyphs.characters)


def test_the_counts_go_down_and_add_up(glyphs):
    counts = list(glyphs.counts.values())
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == len(glyphs.characters)
    assert counts[-2] - counts[-1] == len(glyphs.twins)


def test_every_image_has_ink_and_room(glyphs):
    ink = glyphs.images.flatten(1).long().sum(1)
    assert int(ink.min()) > 255
    assert int(ink.max()) < 28 * 28 * 255 * 0.75
    edges = torch.cat([glyphs.images[:, 0, :, 0], glyphs.images[:, 0, :, -1]], 1)
    assert float((edges > 128).any(1).float().mean()) < 0.01  # not cut off at the sides


def test_no_marks_spaces_or_controls(glyphs):
    kinds = Counter(unicodedata.category(character)[0] for character in glyphs.characters)
    assert set(kinds) <= set("LNPS")


def test_no_two_characters_are_alike_in_any_face(glyphs):
    for face in range(16):
        x = glyphs.images[glyphs.faces == face].flatten(1).double()
        energy = (x * x).sum(1)
        total = energy[:, None] + energy
        difference = (total - 2 * x @ x.T) / (total / 2)
        difference.fill_diagonal_(1)
        assert float(difference.min()) > 0.02


def test_known_twins_are_gone(glyphs):
    kept = dict(glyphs.twins)
    assert kept["\N{GREEK CAPITAL LETTER ALPHA}"] == "A"
    assert kept["\N{CYRILLIC CAPITAL LETTER A}"] == "A"
    assert kept["\N{CYRILLIC SMALL LETTER O}"] == "o"
    assert kept["\N{OHM SIGN}"] == "\N{GREEK CAPITAL LETTER OMEGA}"
    assert not set(kept) & set(glyphs.characters)
    assert set(kept.values()) <= set(glyphs.characters)


def test_the_cache_gives_the_same(glyphs, cache):
    again = glyph_set(cache=cache)
    assert torch.equal(again.images, glyphs.images)
    assert again.characters == glyphs.characters
    assert len(list(cache.glob("glyphs-*.npz"))) == 1
    glyph_set(min_faces=16, cache=cache)
    assert len(list(cache.glob("glyphs-*.npz"))) == 2


def test_drawing_keeps_size_and_height():
    faces = text_faces()[3:4]
    images = draw_glyphs([ord(character) for character in "cC,'"], faces, 28)[:, 0]
    rows = [np.flatnonzero(image.any(1)) for image in images]
    assert len(rows[0]) < len(rows[1])  # c is smaller than C
    assert rows[2].min() > rows[3].max()  # the comma lies below the apostrophe
    assert images.max() == 255


def test_a_face_without_the_character_draws_nothing():
    faces = text_faces()
    codes = [0x378, 0xE000, ord("A")]  # unassigned, private, present
    images = draw_glyphs(codes, faces, 28)
    assert not images[0].any()
    assert images[2].any((1, 2)).all()
    assert 0x378 not in candidates(faces, 1)
    assert 0x301 not in candidates(faces, 1)  # combining acute
    assert ord(" ") not in candidates(faces, 1)


def test_equal_drawings_count_once():
    a, b = np.eye(8, dtype=np.uint8) * 200, np.full((8, 8), 100, np.uint8)
    empty = np.zeros((8, 8), np.uint8)
    assert distinct_drawings(np.stack([a, a, empty, b, b]), 0.02).tolist() == [True, False, False, True, False]


def test_look_alikes_keep_the_first_and_are_not_chained():
    base = np.zeros((3, 1, 10, 10), np.uint8)
    base[:, 0, :, :5] = 200
    base[1, 0, 0, 5] = 200  # 1 of 50 pixels more: squared difference 1/50.5
    base[2, 0, 0:2, 5] = 200  # 2 of 50 more than the first, 1 of 51 more than the second
    assert look_alikes(base, 0.0).tolist() == [-1, -1, -1]
    assert look_alikes(base, 0.02).tolist() == [-1, 0, -1]
    assert look_alikes(base, 0.05).tolist() == [-1, 0, 0]


def test_one_face_is_enough_to_be_alike():
    images = np.zeros((2, 2, 8, 8), np.uint8)
    images[:, 0, 2:4] = 255
    images[0, 1, :2], images[1, 1, 6:] = 255, 255
    assert look_alikes(images, 0.02).tolist() == [-1, 0]


@pytest.mark.parametrize(
    ("character", "family"),
    [
        ("𝐀", "A"),
        ("Ａ", "A"),
        ("ſ", "s"),
        ("\N{ANGSTROM SIGN}", "\u00c5"),
        ("²", "²"),
        ("①", "①"),
        ("½", "½"),
        ("ﬁ", "ﬁ"),
        ("A", "A"),
    ],
)
def test_forms_of_one_character(character, family):
    assert same_form(character) == family


def test_split_by_face_and_by_image(cache, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(cache))
    by_face, by_image = Glyphs(), Glyphs(split="image")
    for data in (by_face, by_image):
        data.load()
        assert sum(len(samples) for samples in data.sets.values()) == len(glyph_set(cache=cache).labels)
        assert int(data.class_counts.min()) >= 7
        assert data.shape == (1, 28, 28)
    assert int(torch.bincount(by_image.sets["test"].y).min()) >= 1
    assert by_face.fingerprint() != by_image.fingerprint()
    assert "without a twin" in by_face.notes[0]


def test_held_out_faces_are_in_no_other_part(glyphs):
    parts = split_faces(glyphs.faces, glyphs.labels, 0.1, 0.2, 0)
    faces = {name: set(glyphs.faces[index].tolist()) for name, index in parts.items()}
    assert {name: len(chosen) for name, chosen in faces.items()} == {"train": 11, "val": 2, "test": 3}
    assert not faces["train"] & faces["val"]
    assert not faces["train"] & faces["test"]
    assert not faces["val"] & faces["test"]
    other = split_faces(glyphs.faces, glyphs.labels, 0.1, 0.2, 1)
    assert set(glyphs.faces[other["test"]].tolist()) != faces["test"]
    with pytest.raises(UserError, match="no training image"):
        split_faces(torch.arange(8), torch.arange(8), 0.1, 0.2, 0)  # each character in a face of its own


def test_classes_split_in_three():
    parts = split_classes(100, (0.64, 0.16, 0.2), seed=0)
    assert [len(part) for part in parts] == [64, 16, 20]
    assert sorted(torch.cat(parts).tolist()) == list(range(100))
    assert [part.tolist() for part in split_classes(100, (0.64, 0.16, 0.2), 0)] == [part.tolist() for part in parts]
    with pytest.raises(UserError, match="3 classes are too few"):
        split_classes(3, (0.9, 0.05, 0.05), 0)
    with pytest.raises(UserError, match="above 0"):
        split_classes(30, (0.9, 0.0, 0.1), 0)


@pytest.mark.parametrize("knobs", [{"min_faces": 0}, {"min_faces": 17}, {"size": 4}, {"alike": 2.0}])
def test_options_out_of_range(knobs, cache):
    with pytest.raises(UserError, match=r"min_faces in 1\.\.16"):
        glyph_set(**knobs, cache=cache)


def test_an_unknown_split():
    with pytest.raises(UserError, match=r"data\.split"):
        Glyphs(split="font")
