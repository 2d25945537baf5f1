"""Episodes of printed characters: no character and no look-alike is in two parts, and targets are separate."""

import pytest
import torch

from tl_lab.data.request import Request
from tl_lab.data.sets.glyph_episodes import GlyphEpisodes
from tl_lab.data.sets.glyphs import _alike, glyph_set, same_form
from tl_lab.data.sets.glyphs_to_handwritten import GlyphsToHandwritten
from tl_lab.errors import UserError

SIZES = {"train": {"way": 5, "shot": 1, "queries": 5}, "test": {"way": 5, "shot": 1, "queries": 5}}


@pytest.fixture(scope="module")
def data() -> GlyphEpisodes:
    data = GlyphEpisodes(**SIZES)
    data.load()
    return data


def test_no_character_and_no_form_of_one_is_in_two_parts(data):
    assert [*data.classes] == ["train", "val", "test"]
    forms = [{same_form(character) for character in names} for names in data.classes.values()]
    assert sum(map(len, forms)) == len(set.union(*forms)) == len(glyph_set().characters) > 1000


def test_no_look_alike_is_in_two_parts(data):
    """Compare the drawings of a tenth of the training characters with all test drawings of the same face."""
    glyphs = glyph_set()
    of_image = [glyphs.characters[label] for label in glyphs.labels.tolist()]
    train, test = (set(data.classes[part]) for part in ("train", "test"))
    some = set(sorted(train)[::10])
    for face in range(len(glyphs.face_names)):
        here = (glyphs.faces == face).nonzero()[:, 0].tolist()
        left, right = ([i for i in here if of_image[i] in chosen] for chosen in (some, test))
        images = glyphs.images[left + right, 0].numpy()
        assert not _alike(images, 0.02)[: len(left), len(left) :].any()


def test_the_split_follows_the_seed(data):
    again, other = GlyphEpisodes(**SIZES), GlyphEpisodes(seed=1, **SIZES)
    again.load()
    other.load()
    assert again.classes == data.classes
    assert again.fingerprint() == data.fingerprint()
    assert other.classes["test"] != data.classes["test"]


def test_handwritten_digits_are_no_training_classes_and_have_no_labels_in_training():
    data = GlyphsToHandwritten(**SIZES)
    data.load()
    learned = {*data.classes["source/train"], *data.classes["source/val"]}
    assert not learned & set("0123456789")
    assert set("0123456789") <= {*data.classes["source/test"]}
    assert data.sets["target/train"].y is None
    assert (len(data.sets["target/train"]), len(data.sets["target/test"])) == (1197, 600)
    assert data.val_names == ["source/val"]
    assert data.test_names == ["source/test", "target/test"]
    assert (data.primary, data.monitor) == ("source/train", "val/source/acc")


def test_training_episodes_carry_as_many_unlabelled_target_images():
    data = GlyphsToHandwritten(episodes_per_step=2, **SIZES)
    data.load(Request(adapts=True))
    batch = next(iter(data.train_dataloader()))
    assert len(batch.target.x) == len(batch.x) == 2 * 5 * 6
    assert not hasattr(batch.target, "y")
    assert torch.equal(batch.target.x, data.sets["target/train"].x[batch.target.index])


@pytest.mark.parametrize("options", [{"target": "letters"}, {"class_shares": [1, 2]}])
def test_wrong_options_are_refused(options):
    with pytest.raises(UserError, match=r"data\.(target|class_shares)"):
        GlyphsToHandwritten(**SIZES, **options)
