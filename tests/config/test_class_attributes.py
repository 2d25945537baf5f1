"""Attributes of classes, read without importing the classes."""

from pathlib import Path

import pytest

from tl_lab.config import choices
from tl_lab.config.class_attributes import class_attribute
from tl_lab.config.instantiate import class_of
from tl_lab.config.nodes import read_node

DATA = choices("data")["data"]


@pytest.mark.parametrize("name", DATA)
def test_attributes_of_data_equal_those_of_the_imported_class(name: str) -> None:
    node = read_node(DATA[name])
    for attribute in ("traits", "modality", "paired", "in_tasks"):
        assert class_attribute(node._target_, attribute) == getattr(class_of(node), attribute)


def test_a_base_that_two_classes_share_comes_after_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shared_base.py").write_text(
        "class Base:\n    modality = 'image'\n    traits: frozenset[str] = frozenset()\n\n"
        "class Rows(Base):\n    pass\n\n"
        "class Pair(Base):\n    modality = 'table'\n    traits = frozenset({'target'})\n\n"
        "class RowPair(Rows, Pair):\n    computed = len('abc')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert class_attribute("shared_base.RowPair", "modality") == "table"
    assert class_attribute("shared_base.RowPair", "traits") == {"target"}
    assert class_attribute("shared_base.Rows", "traits") == frozenset()


@pytest.mark.parametrize("name", ["no_such_package.sets.Images", "tl_lab.data.base.NoSuchClass", "Images", "None"])
def test_a_class_that_cannot_be_found_has_the_default(name: str) -> None:
    assert class_attribute(name, "traits", frozenset()) == frozenset()
