"""Messages about nested data name their options by the place in which they are nested."""

import pytest
from laboratory import Blobs

from tl_lab.data.scenarios.data_stream import DataStream
from tl_lab.data.scenarios.inner import read_inner
from tl_lab.data.scenarios.permuted_stream import PermutedStream
from tl_lab.data.scenarios.rotated_stream import RotatedStream
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


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "lower data.val_share or data.test_share",
            "lower the option val_share of {data: blobs} in data.datasets or its option test_share",
        ),
        (
            "set data.root to the folder, such as data.root=/x/data.v2",
            "set the option root of {data: blobs} in data.datasets to the folder, such as {data: blobs, root: "
            "/x/data.v2}",
        ),
        (
            "data.root: /data.root has no class folders",
            "the option root of {data: blobs} in data.datasets: /data.root has no class folders",
        ),
        ("set data.root=skip to go on", "write {data: blobs, root: skip} in data.datasets to go on"),
        ("data.root=a,b, set data.val_share=[0, 1]; see data.csv", "{data: blobs, root: [a,b]} in data.datasets, write "
         "{data: blobs, val_share: [0, 1]}; see data.csv"),
        ("'data.root=a'; use data.val_share=0.1.",
         "'{data: blobs, root: a} in data.datasets'; use {data: blobs, val_share: 0.1}."),
        ("data.root.of.two=3: no", "{data: blobs, root: {of: {two: 3}}} in data.datasets: no"),
    ],
)  # fmt: skip
def test_options_of_listed_sets_are_named_by_their_node(message: str, expected: str) -> None:
    assert told(message, "data.datasets") == f"blobs: {expected}"


def test_streams_name_the_options_of_their_sets() -> None:
    for kind in (PermutedStream, RotatedStream):
        with pytest.raises(UserError) as refused:
            kind(of=Refused("lower data.val_share"), num_tasks=2).load()
        assert str(refused.value) == "lower data.of.val_share"
    with pytest.raises(UserError) as refused:
        DataStream(datasets=[Refused("lower data.val_share"), Blobs()]).load()
    assert str(refused.value) == "refused: lower the option val_share of {data: refused} in data.datasets"
