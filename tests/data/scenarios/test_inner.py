"""Messages about nested data name their options by the place in which they are nested."""

import pytest
from laboratory import Blobs

from tl_lab.data.scenarios.inner import read_inner
from tl_lab.data.sets.image_folder import ImageFolder
from tl_lab.errors import UserError


class Refused(Blobs):
    """Blobs that cannot be read."""

    def __init__(self, message: str, *, root: str = "", val_share: float = 0.1, test_share: float = 0.2, **options):
        super().__init__(**options)
        self.message, self.encoding = message, (root, val_share, test_share)

    def _read(self):
        raise UserError(self.message)


def told(message: str, place: str) -> str:
    with pytest.raises(UserError) as refused:
        read_inner(Refused(message), "blobs", place)
    return str(refused.value)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("/home/a/data.v2/photos: lower data.val_share", "/home/a/data.v2/photos: lower data.of.val_share"),
        ("/x/data.root/my-data.root/data.csv is empty", "/x/data.root/my-data.root/data.csv is empty"),
        (
            "data.root: data.csv is empty, see data.batch_size",
            "data.of.root: data.csv is empty, see data.of.batch_size",
        ),
    ],
)
def test_only_options_are_named_by_their_place(message: str, expected: str) -> None:
    assert told(message, "data.of") == expected


def test_a_folder_with_the_name_of_an_option_is_kept(tmp_path) -> None:
    folder = tmp_path / "data.v2" / "photos"
    folder.mkdir(parents=True)
    with pytest.raises(UserError) as refused:
        read_inner(ImageFolder(root=str(folder)), "image_folder", "data.of")
    assert str(refused.value).startswith("data.of.root: ")
    assert str(folder) in str(refused.value)
