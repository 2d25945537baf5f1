"""Streams, episodes and pairs of texts under the strategies and adaptations that images have."""

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from composing import run_in
from encoders_at_hand import tiny
from streams_at_hand import stream_is_learned

from tl_lab.cli import train
from tl_lab.run.inference import load
from tl_lab.run.reproducing import reproduce

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


def test_a_pair_of_texts_is_watched_validated_and_reproduced_to_the_last_bit(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ["data=text_table_pair", f"data.path={place / 'reviews.csv'}", "data.source=x", "data.target=y"]
    words = [*data, "data.batch_size=8", *encoder(place), "domain_adaptation=dann", "strategy=fine_tuning"]
    words += ["validator=[entropy,snd]", "figures=false"]
    found = run_in(tmp_path / "run", *words, *QUICK, "health=true")
    assert {row["chooser"] for row in found["selection"]} >= {"snd", "entropy"}
    for name in ("snd", "entropy"):
        assert math.isfinite(found["metrics"][f"val/target/{name}"])
    assert found["health"]["reading"]
    assert all(0 <= found["health"][name] <= 2 for name in ("a_distance_start", "a_distance"))

    def in_this_process(command: list[str], **_: object) -> SimpleNamespace:  # a new one would take seconds to start
        train.main([command[-1]])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr("tl_lab.run.reproducing.subprocess.run", in_this_process)
    again = reproduce(tmp_path / "run", tmp_path / "again")
    assert again.equal
    assert again.metrics == len(found["metrics"])


def _genres(root: Path) -> None:
    """Write pairs of two genres in the format of STS-B: the more words both sentences share, the more similar."""
    folder = root / "glue" / "stsb"
    folder.mkdir(parents=True)
    for part in ("train", "dev", "test"):
        lines = [
            f"main-{('captions', 'news')[i % 2]}\tx\t2012\t{i}\t{i % 6}\t{'a ' * (i % 6)}b\t{'a ' * (5 - i % 4)}c\n"
            for i in range(48)
        ]
        (folder / f"sts-{part}.tsv").write_text("".join(lines))


def test_genres_of_similarities_are_aligned(place: Path, tmp_path: Path) -> None:
    _genres(tmp_path)
    words = ["data=stsb_genres", f"data.root={tmp_path}", "data.source=captions", "data.target=news"]
    words += ["data.batch_size=8", *encoder(place), "domain_adaptation=coral", "strategy=fine_tuning", "figures=false"]
    found = run_in(tmp_path / "run", *words, *QUICK, "trainer.max_epochs=1", "trainer.limit_train_batches=2")
    scores = {name: value for name, value in found["metrics"].items() if name.startswith("test/")}
    assert {"test/source/r2", "test/target/r2", "test/target/mae", "test/target/spearman"} <= scores.keys()
    assert all(value is not None and math.isfinite(value) for value in scores.values())
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        terms = [
            float(value) for row in csv.DictReader(file) for name, value in row.items() if value and "coral" in name
        ]
    assert terms
    assert all(math.isfinite(term) for term in terms)
    assert max(terms) > 0


def test_prototypes_of_many_fine_classes_classify_episodes_of_one_example(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "text" / "trec"
    folder.mkdir(parents=True)
    for name in ("train_5500.label", "TREC_10.label"):
        rows = [f"KIND:{k:02} {'a ' * (k % 4)}{'b ' * (k % 3)}{'c ' * i}" for k in range(20) for i in range(1, 7)]
        (folder / name).write_text("\n".join(rows) + "\n", encoding="latin-1")
    words = ["data=episodes_of", "data@data.of=trec", f"data.of.root={tmp_path}", "data.of.fine=true"]
    words += [f"data.{part}.{size}" for part in ("train", "test") for size in ("way=5", "shot=1", "queries=2")]
    words += ["data.episodes_per_epoch=2", "data.val_episodes=4", "data.test_episodes=10"]
    found = run_in(
        tmp_path / "run", *words, "strategy=prototypical", *encoder(place), "domain_adaptation=none", "figures=false",
        *QUICK, "trainer.max_epochs=1",
    )  # fmt: skip
    share = found["metrics"]["test/acc"]
    assert 0 < share <= 1
    assert 100 * share == pytest.approx(round(100 * share)), "a share of 10 episodes of 5 classes with 2 queries each"
