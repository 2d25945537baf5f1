"""Results of the scripts in ``examples``."""

import importlib.util
from pathlib import Path

import torch

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_nearest_words_are_those_of_the_largest_cosines() -> None:
    spec = importlib.util.spec_from_file_location("word_in_context", EXAMPLES / "word_in_context.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    words = ["bank", "river", "money", "river", "of", "4th"]
    vectors = torch.tensor([[1.0, 0], [1, 1], [2, 0.1], [0, 1], [1, 0], [1, 0]])
    found = module.nearest(torch.tensor([3.0, 0]), words, vectors, "bank")
    assert [name for name, _ in found] == ["money", "river"], "each word once, no numbers, no words of two letters"
    assert abs(found[1][1] - 0.5**0.5) < 1e-6
