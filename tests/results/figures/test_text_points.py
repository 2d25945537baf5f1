"""Texts as points: their places, what a page says of each, and files that cannot be read."""

import html
import json
import re

import numpy as np
import pytest

from tl_lab.results.figures.embedding import plane_of
from tl_lab.results.figures.texts import read_points, text_points, texts_figure, write_points
from tl_lab.results.report.page import svg

TEXTS = ["a  good film", "</title><script>alert(1)</script>", "x" * 500, ("one side", "the other")]


@pytest.fixture
def found():
    features = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [0.0, -0.5]])
    return text_points(features, [0, 0, 1, 1], TEXTS, ["bad & worse", "good"], "class", ["good"] * 4)


def test_few_samples_are_placed_by_their_principal_components():
    features = np.array([[3.0, 0.0, 1.0], [-3.0, 0.0, 1.0], [np.nan, 0.0, 0.0]])
    np.testing.assert_allclose(np.abs(plane_of(features)), [[3, 0], [3, 0], [0, 0]], atol=1e-12)


def test_each_point_of_a_page_has_its_text_and_nothing_of_it_is_markup(found):
    text = svg(texts_figure({"first": found, "second": found}), "texts")
    titles = [html.unescape(one) for one in re.findall(r"<use [^>]*><title>(.*?)</title></use>", text)]
    assert titles[:4] == titles[4:]
    assert titles[0] == "bad & worse (predicted: good): a good film"
    assert "<script>" not in text
    assert titles[1].endswith(": </title><script>alert(1)</script>")
    assert titles[2].endswith("x…")
    assert len(titles[2]) < 200
    assert titles[3].endswith(": one side | the other")


def test_points_are_read_back_and_damaged_files_are_none(found, tmp_path):
    path = write_points(found, tmp_path)
    assert read_points(tmp_path) == found
    for content in ("", "{}", json.dumps(found._asdict() | {"labels": [7] * 4}), json.dumps({"points": []})):
        path.write_text(content)
        assert read_points(tmp_path) is None
    assert read_points(tmp_path / "nowhere") is None
