"""The digits of scikit-learn as a supervised set."""

import pytest
import torch
from sklearn.datasets import load_digits

from tl_lab.data.sets.digits import Digits
from tl_lab.errors import UserError


def test_all_digits_once_and_each_class_keeps_its_share():
    data = Digits()
    data.load()
    assert {name: len(samples) for name, samples in data.sets.items()} == {"train": 1258, "val": 180, "test": 359}
    total = torch.bincount(torch.from_numpy(load_digits().target))
    for name, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        counts = torch.bincount(data.sets[name].y)
        assert (counts - share * total).abs().max() <= 1.1
    ink = sum(int(samples.x.long().sum()) for samples in data.sets.values())
    assert ink == pytest.approx(load_digits().images.sum() * 255 / 16, rel=1e-3)
    assert data.shape == (1, 8, 8)
    assert data.num_classes == 10


def test_the_seed_fixes_the_split():
    prints = []
    for seed in (0, 0, 1):
        data = Digits(seed=seed)
        data.load()
        prints.append(data.fingerprint())
    assert prints[0] == prints[1] != prints[2]


def test_shares_out_of_range():
    with pytest.raises(UserError, match="together below 1"):
        Digits(val_share=0.5, test_share=0.5)
