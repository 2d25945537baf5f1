"""Streams, episodes and pairs of texts under the strategies and adaptations that images have."""

import csv
import json
import math
from pathlib import Path

import pytest
from composing import run_in
from encoders_at_hand import tiny
from streams_at_hand import stream_is_learned

from tl_lab.run.inference import load

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
QUICK = ["trainer.max_epochs=2", "optimizer.lr=0.01", "logger=none", "health=false", "forgetting=false"]
TABLE = "tl_lab.data.sets.text_table.TextTable"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables of made-up texts, whose class is told by a word, and an encoder of two blocks."""
    folder = tmp_path_factory.mktemp("texts")
    for name, classes in (("reviews", "ab"), ("others", ["a a", "b b", "c c", "a c", "b c", "a b"])):
        rows = [
            {
                "text": f"{label} {'c ' * (k % 4)}{'a' if k % 5 else 'b'}",
                "label": f"kind {label}",
                "domain": "xy"[k % 2],
            }
            for label in classes
            for k in range(40)
        ]
        with (folder / f"{name}.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, ["text", "label", "domain"])
            table.writeheader()
            table.writerows(rows)
    tiny(folder / "bert", "bert")
    return folder


def encoder(place: Path) -> list[str]:
    return ["backbone=hf_text", f"backbone.name={place / 'bert'}", "backbone.max_length=8"]


def test_a_pair_of_texts_is_aligned_and_its_points_carry_the_texts(place: Path, tmp_path: Path) -> None:
    data = ["data=text_table_pair", f"data.path={place / 'reviews.csv'}", "data.source=x", "data.target=y"]
    data += ["data.batch_size=8"]
    found = run_in(
        tmp_path / "run", *data, *encoder(place), "domain_adaptation=coral", "strategy=fine_tuning", "figures=true",
        *QUICK,
    )  # fmt: skip
    assert math.isfinite(found["metrics"]["test/target/acc"])
    content = json.loads((tmp_path / "run" / "figures" / "texts.json").read_text())
    assert set(content["groups"]) == {"kind a", "kind b"}
    with (tmp_path / "queries.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in content["texts"])])
    answers = load(tmp_path / "run").predict(tmp_path / "queries.csv").labels
    assert answers == content["answers"]


@pytest.mark.parametrize("strategy", ["ewc", "replay"])
def test_a_stream_of_texts_is_learned_without_forgetting_them_all(place: Path, tmp_path: Path, strategy: str) -> None:
    sets = [f"{{_target_:{TABLE},path:{place / name}.csv}}" for name in ("reviews", "others")]
    precision = stream_is_learned(tmp_path / "run", sets, strategy, *encoder(place), *QUICK)
    if strategy == "ewc":
        for part in ("word_embeddings", "position_embeddings", "LayerNorm", "query"):  # all ways of summing reach
            assert any(float(value.sum()) > 0 for name, value in precision.items() if part in name), part


def test_prototypes_of_texts_classify_episodes(place: Path, tmp_path: Path) -> None:
    found = run_in(
        tmp_path / "run", "data=episodes_of", "data@data.of=text_table", f"data.of.path={place / 'others.csv'}",
        "data.train.way=2", "data.test.way=2", "data.train.shot=2", "data.test.shot=2", "data.test.queries=2",
        "strategy=prototypical", *encoder(place), "domain_adaptation=none", "figures=false", *QUICK,
    )  # fmt: skip
    assert 0 <= found["metrics"]["test/acc"] <= 1
