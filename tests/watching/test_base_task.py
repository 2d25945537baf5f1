"""Scores of a backbone on its earlier task, against known values of small ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapted_texts import options_of, place_of_texts, trained
from composing import run_in
from encoders_at_hand import tiny
from PIL import Image
from scipy import stats
from torch import nn

from tl_lab.backbones.base import Backbone, Classifier
from tl_lab.backbones.hf_causal import HFCausal
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.watching.base_task import base_task, label_mapped, last_words

QUIET = ["logger=none", "figures=false", "health=false", "threads=1", "trainer.enable_progress_bar=false"]
SMALL = ["data=digits", "backbone=mlp", "backbone.hidden=[16]", "data.labels=100", "trainer.max_epochs=1"]


def test_last_words_have_the_probability_of_their_tokens(tmp_path: Path) -> None:
    model = HFCausal(name=str(tiny(tmp_path / "model", "gpt2")), max_length=12)
    text = tmp_path / "passages.txt"
    passages = ["a b c a b", "c c a"]
    text.write_text("\n".join(passages) + "\n")
    task = last_words(text)
    assert task is not None
    expected = []
    for passage in passages:
        before, _, word = passage.rpartition(" ")
        begun, ending = model.tokeniser.whole(before), model.tokeniser.pieces(f" {word}")
        ids = torch.tensor([[*begun, *ending]])
        with torch.no_grad():
            p = model.net.eval()(input_ids=ids).logits[0].softmax(-1)
        expected.append(-sum(float(p[len(begun) - 1 + k, one].log()) for k, one in enumerate(ending)))
    model.train()
    assert task.score(model) == pytest.approx(np.mean(expected), rel=1e-5)
    assert model.training
    assert last_words(tmp_path / "none.txt") is None


def _similarities(root: Path) -> list[tuple[float, str, str]]:
    """Write 200 pairs of made-up sentences in the format of STS-B's test part, none of two equal ones."""
    draw, rows = np.random.default_rng(0), []
    while len(rows) < 200:
        first, second = (" ".join(draw.choice(["a", "b", "c"], draw.integers(2, 8))) for _ in range(2))
        if first != second:
            rows.append((round(float(draw.uniform(0, 5)), 3), first, second))
    (root / "glue" / "stsb").mkdir(parents=True)
    lines = [f"main-news\tx\t2012\t{i}\t{score}\t{a}\t{b}\n" for i, (score, a, b) in enumerate(rows)]
    (root / "glue" / "stsb" / "sts-test.tsv").write_text("".join(lines))
    return rows


def _rank_correlation(net: Any, folder: Path, rows: list[tuple[float, str, str]]) -> float:
    """Correlate cosines of mean states with similarities: 150 pairs, evenly spaced, each text on its own."""
    from transformers import AutoTokenizer

    tokeniser, net = AutoTokenizer.from_pretrained(folder), net.eval()

    def embedded(text: str) -> np.ndarray:
        with torch.no_grad():
            ids = tokeniser(text, return_tensors="pt", return_token_type_ids=False)
            return net(**ids).last_hidden_state[0].double().mean(0).numpy()

    chosen = [rows[int(len(rows) / 150 * i)] for i in range(150)]
    pairs = [(embedded(first), embedded(second)) for _, first, second in chosen]
    cosines = [a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in pairs]
    return float(stats.spearmanr(cosines, [score for score, _, _ in chosen]).statistic)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec")
def test_a_text_encoder_is_scored_by_similarities_of_sentences_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
    place = place_of_texts(tmp_path)
    rows = _similarities(tmp_path)
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path))
    run = trained(tmp_path / "run", *options_of(place), "strategy=fine_tuning", "forgetting=true")
    found = run.results["forgetting"]
    assert found["task"] == "Spearman's correlation of cosines with 150 similarities of STS-B"
    start = transformers.AutoModel.from_pretrained(place / "bert")
    before = _rank_correlation(start, place / "bert", rows)
    after = _rank_correlation(run.network.backbone.net, place / "bert", rows)
    assert before != pytest.approx(after)
    assert found["before"] == pytest.approx(before)
    assert found["after"] == pytest.approx(after)
    metrics = run.results["metrics"]
    assert (metrics["base/before/spearman"], metrics["base/after/spearman"]) == (found["before"], found["after"])


class Brightness(Backbone):
    """Its feature is a picture's mean; its classifier calls bright ones mugs."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features, self.spec = 1, ImageSpec((8, 8), 3, (0.0,) * 3, (1.0,) * 3)
        self.sign = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sign * x.mean((1, 2, 3))[:, None]

    def classifier(self) -> Classifier:
        return Classifier(
            torch.tensor([[1.0], [-1.0], [5.0]]), torch.tensor([-0.5, 0.5, 0.0]), [["coffee mug"], ["mouse"], ["ox"]]
        )


def test_photographs_are_classified_among_their_own_classes(tmp_path: Path) -> None:
    for name, level in (("mug", 220), ("mouse", 30), ("calculator", 90)):
        (tmp_path / name).mkdir()
        for number in range(10):
            shown = 30 if name == "mug" and number < 2 else level  # two dark mugs
            Image.new("RGB", (12, 12), (shown,) * 3).save(tmp_path / name / f"{number}.png")
    task = label_mapped(tmp_path)
    assert task is not None
    assert "20 photographs of 2 of its classes" in task.description
    backbone = Brightness()
    assert task.score(backbone) == pytest.approx(0.9)
    with torch.no_grad():
        backbone.sign.neg_()
    assert task.score(backbone) == pytest.approx(0.5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_tuned_run_reports_forgetting_and_trains_identically(tmp_path: Path, capsys) -> None:
    run_in(tmp_path / "first", *SMALL, *QUIET, "trainer.max_epochs=3")
    tuned = [*SMALL, *QUIET, "data=digits_properties", "strategy=fine_tuning", f"init_from={tmp_path / 'first'}"]
    capsys.readouterr()
    watched = run_in(tmp_path / "watched", *tuned)
    printed = capsys.readouterr().out
    other = run_in(tmp_path / "other", *tuned, "forgetting=false")
    base = {name: watched["metrics"].pop(name) for name in ("base/before/acc", "base/after/acc")}
    assert watched["metrics"] == other["metrics"]
    assert watched["config_hash"] == other["config_hash"]
    assert 0.5 < base["base/before/acc"] <= 1
    assert base["base/after/acc"] == watched["forgetting"]["after"]
    assert f"{100 * base['base/before/acc']:.1f} % before" in " ".join(printed.split())
    assert "forgetting" not in other


def test_missing_data_are_not_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path))
    assert base_task(Brightness(), None) is None
