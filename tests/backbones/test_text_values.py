"""Known values of the packaged text weights on real data, by scikit-learn and scipy over readers and backbones."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from tl_lab.backbones.packaged import PACKAGED
from tl_lab.backbones.word_vectors import WordVectors
from tl_lab.data.sets.text import Sst2
from tl_lab.data.sets.text_corpora import StsB

ROOT = Path(os.environ.get("TL_LAB_DATA", ""))
STORED = json.loads((Path(__file__).parents[2] / "docs" / "results" / "text_values.json").read_text())
pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_data,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # duplicates between the published parts
]
TWO_SENTENCES = 2.01 / 1821  # of the test set: the solver stops early, and versions differ in where


def needs(name: str, folder: str = "text/sst2") -> None:
    if PACKAGED[name].state() == "missing":
        pytest.skip(f"{PACKAGED[name].package} is absent: {PACKAGED[name].how_to_get()}")
    pytest.importorskip("pyarrow" if name == "glove" else "transformers", reason="tl_lab[text] is not installed")
    if not (ROOT / folder).is_dir():
        pytest.skip(f"TL_LAB_DATA with the folder {folder} is not here")


def features(backbone: nn.Module, texts: list[str]) -> Tensor:
    """Encode texts in batches of similar lengths, ``(N, D)``, in the order given."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    found = torch.empty(len(texts), backbone.num_features)
    with torch.no_grad():
        for start in range(0, len(order), 64):
            batch = order[start : start + 64]
            found[batch] = backbone(backbone.spec.fit([texts[i] for i in batch]))
    return found


def drawn(backbone: nn.Module, labels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Encode SST-2's training sentences as a seed draws them; return features and classes."""
    data = Sst2(labels=labels, seed=seed)
    data.load()
    train = data.sets["train"]
    assert len(train) == labels
    return features(backbone, train.x.items).double().numpy(), train.y.numpy()


def sentences_to_score(backbone: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Encode SST-2's test sentences; return features and classes."""
    test = Sst2().read()["test"]
    assert len(test) == 1821
    return features(backbone, test.x.items).double().numpy(), test.y.numpy()


def interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean (Student's t)."""
    mean, error = np.mean(values), stats.sem(values)
    return stats.t.interval(0.95, len(values) - 1, mean, error)


def test_cosines_of_minilm_follow_the_similarities_of_stsb() -> None:
    needs("minilm", "glue/stsb")
    from tl_lab.backbones.hf_text import HFText

    data = StsB()
    data.load()
    test = data.sets["test"]
    assert len(test) == 1379
    backbone = HFText().eval()
    first, second = (features(backbone, [pair[side] for pair in test.x.items]) for side in (0, 1))
    cosines = torch.cosine_similarity(first, second)
    correlation = stats.spearmanr(cosines.numpy(), test.y[:, 0].numpy()).statistic
    assert correlation == pytest.approx(0.8203, abs=5e-5)


def test_mean_word_vectors_of_20000_sentences() -> None:
    needs("glove")
    backbone = WordVectors().eval()
    test, found = sentences_to_score(backbone), []
    for seed in STORED["seeds"]:
        train = drawn(backbone, 20_000, seed)
        found.append(LogisticRegression(max_iter=1000).fit(*train).score(*test))
        if seed == 0:  # Newton's method finds the minimum itself
            newton = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(*train).score(*test)
            assert newton == pytest.approx(0.728, abs=5e-4)
    assert found == pytest.approx(STORED["glove_20000"], abs=TWO_SENTENCES)
    low, high = interval(found)
    assert low < 0.728 < high


def test_frozen_minilm_of_2000_sentences() -> None:
    """One of the three stored draws, for time; the others differ from it by .6 points."""
    needs("minilm")
    from tl_lab.backbones.hf_text import HFText

    backbone = HFText().eval()
    seed = 2
    model = LogisticRegression(max_iter=1000).fit(*drawn(backbone, 2_000, seed))
    found = model.score(*sentences_to_score(backbone))
    assert found == pytest.approx(0.785, abs=TWO_SENTENCES)
    assert found == pytest.approx(STORED["minilm_2000"][STORED["seeds"].index(seed)], abs=TWO_SENTENCES)
    low, high = interval(STORED["minilm_2000"])
    assert low < 0.785 < high
