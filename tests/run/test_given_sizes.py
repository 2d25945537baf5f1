"""Sizes and channels that a configuration states have an effect, are refused, or are reported."""

import re
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tl_lab.config import compose
from tl_lab.data.scenarios.inner import expand
from tl_lab.errors import UserError
from tl_lab.run.build import Parts, build
from tl_lab.run.plan import Plan

ANY_SIZE = "choose a backbone for any size, such as conv4 or mlp, or leave data.size out"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, value in (("cat", 50), ("dog", 200)):
        (folder / name).mkdir()
        for i in range(10):
            Image.new("RGB", (40, 40), (value, i, 0)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def built(*overrides: str) -> tuple[Parts, list[str]]:
    cfg = compose(["domain_adaptation=none", *overrides])
    expand(cfg)
    plan = Plan.of(cfg)  # names of choices and overrides are known within the program only
    name = next(text.partition("=")[2] for text in (*overrides, "backbone=lenet") if text.startswith("backbone="))
    plan = replace(plan, overrides=list(overrides), backbone=replace(plan.backbone, choice=name))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parts = build(plan)
    return parts, [str(one.message) for one in caught if "has no effect" in str(one.message)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["backbone=lenet", "backbone.input_size=[32,32]"],
            "backbone.input_size=[32, 32] has no effect, because backbone=lenet takes inputs of 1x28x28: choose a "
            "backbone for any size, such as conv4 or mlp, or leave it out",
        ),
        (
            ["backbone=timm", "backbone.name=test_resnet", "backbone.input_size=[64,64]", "backbone.resize_to=[32,32]"],
            "backbone.input_size=[64, 64] has no effect, because backbone=timm takes inputs of 1x32x32: set "
            "backbone.resize_to=[64,64], or leave it out",
        ),
        (
            ["backbone=torchvision", "backbone.name=vit_b_32", "backbone.input_size=[60,60]"],
            "backbone.input_size=[60, 60] has no effect, because backbone=torchvision takes inputs of 1x224x224: set "
            "backbone.resize_to=[60,60], or leave it out",
        ),
        (
            ["backbone=conv4", "backbone.input_size=[8,8]"],
            "backbone.input_size=[8, 8] has no effect, because backbone=conv4 takes inputs of 1x28x28: set "
            "backbone.resize_to=[8,8], or leave it out",
        ),
    ],
)
def test_a_size_that_the_backbone_does_not_use_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        built("data=digits", *overrides)


def test_sizes_that_the_backbone_uses_are_accepted() -> None:
    parts, said = built("data=digits", "backbone=conv4", "backbone.input_size=[32,32]", "backbone.in_channels=3")
    assert (parts.data.sets["train"].x.shape[1:], said) == ((3, 32, 32), [])  # type: ignore[union-attr]
    assert built("data=moons", "backbone=mlp", "backbone.in_channels=2")[1] == []


def test_channels_of_a_table_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "loans.csv"
    table.write_text("age,label\n" + "".join(f"{i % 7},{i % 2}\n" for i in range(40)))
    with pytest.raises(UserError, match=r"^backbone\.in_channels=3 has no effect, because a table has none: leave it"):
        built("data=table", f"data.path={table}", "backbone=mlp", "backbone.in_channels=3")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["data.size=32"],
            ["data.size=32 has no effect, because backbone=lenet takes inputs of 3x28x28: " + ANY_SIZE],
        ),
        (["data.size=28"], []),
        ([], []),
        (
            ["data.size=224"],
            ["data.size=224 has no effect, because backbone=lenet takes inputs of 3x28x28: " + ANY_SIZE],
        ),
        (["data.size=20", "backbone=conv4"], []),
        (
            ["data.size=20", "backbone=conv4", "backbone.resize_to=[24,24]"],
            ["data.size=20 has no effect, because backbone=conv4 takes inputs of 3x24x24: set "
             "backbone.resize_to=[20,20], or leave data.size out"],
        ),
        (
            ["data.channels=1", "backbone.in_channels=3"],
            ["data.channels=1 has no effect, because backbone=lenet takes inputs of 3x28x28: leave data.channels out"],
        ),
    ],
)  # fmt: skip
def test_a_size_of_the_data_that_the_backbone_does_not_use_is_reported(
    photos: Path, overrides: list[str], expected: list[str]
) -> None:
    parts, said = built("data=image_folder", f"data.root={photos}", "data.workers=0", *overrides)
    assert said == expected
    size = parts.data.spec.size[0]  # type: ignore[union-attr]
    assert any(f"to {size}x{size} RGB" in note for note in parts.data.notes)


def test_sizes_of_sets_in_other_data_are_reported(photos: Path) -> None:
    same = f"[{{data: image_folder, root: {photos}, size: 16}},{{data: image_folder, root: {photos}, size: 20}}]"
    _, said = built("strategy=naive", "data=stream", "backbone=conv4", f"data.datasets={same}")
    assert said == [
        "data.datasets.0.size=16 has no effect, because backbone=conv4 takes inputs of 3x20x20: set "
        "backbone.resize_to=[16,16], or leave data.datasets.0.size out"
    ]


def test_images_decoded_to_the_size_of_a_set_in_memory_use_their_size(photos: Path) -> None:
    sets = f"[digits,{{data: image_folder, root: {photos}, size: 8, channels: 1}}]"
    parts, said = built("strategy=multi_task", "data=tasks", f"data.datasets={sets}")
    assert said == []
    assert parts.data.notes == ["image_folder: images decoded to 8x8, as in digits", "all sets: 8x8 -> 28x28 pixels"]
