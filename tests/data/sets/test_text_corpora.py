"""Published sets of texts with splits made here, and folders and domain pairs of texts."""

import os
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import torch

from tl_lab.data.duplicates import shared_samples
from tl_lab.data.samples import Samples
from tl_lab.data.sets.columns import together
from tl_lab.data.sets.text import Sst2
from tl_lab.data.sets.text_corpora import AgNews, Cola, Mr, Mrpc, Rte, StsB
from tl_lab.data.sets.text_folder import TextFolder
from tl_lab.data.sets.text_pairs import StsBGenres, TextTablePair
from tl_lab.data.sets.text_table import TextTable
from tl_lab.errors import UserError
from tl_lab.problems import MultiLabel, Regression

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ROOT = Path(os.environ.get("TL_LAB_DATA", ""))
real = pytest.mark.skipif(not (ROOT / "glue").is_dir(), reason="TL_LAB_DATA with the folder glue is not here")


def sizes(data) -> dict[str, int]:
    return {name: len(samples) for name, samples in data.sets.items()}


# classes of all training samples as published, before the validation part is cut from them
PUBLISHED = {
    Cola: ({"unacceptable": 2528, "acceptable": 6023}, 516),
    AgNews: (None, 7600),
    Rte: ({"entailment": 1249, "not_entailment": 1241}, 277),
    Mrpc: ({"different": 1323, "paraphrase": 2753}, 1725),
    Mr: (None, None),
}


@real
@pytest.mark.real_data
@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_sets_have_their_samples(kind) -> None:
    data = kind(test_count=100)
    data.load()
    whole = data.sets["train"].y.tolist() + data.sets["val"].y.tolist()
    counts, _ = PUBLISHED[kind]
    if counts is not None:
        assert Counter(data.class_names[label] for label in whole) == counts
    else:
        assert len(whole) == {Mr: 10_662 - 1_066, AgNews: 10_001 - 10}[kind]
    assert len(data.sets["test"]) == 100
    assert data.modality == "text"


@real
@pytest.mark.real_data
def test_two_thirds_of_mr_stand_in_sst2() -> None:
    mr, sst2 = Mr(), Sst2()
    whole = Samples.concatenate(list(mr.read().values()))
    of_sst2 = sst2.read()
    (found,) = shared_samples({"train": whole, "test": Samples.concatenate([*of_sst2.values()])})
    assert (found.name, found.other) == ("test", "train")
    in_mr = set(whole.x.digests())
    assert sum(key in in_mr for key in of_sst2["test"].x.digests()) == 1369
    words = [
        {tuple(re.findall(r"\w+", str(text).lower())) for text in samples.x.texts()}
        for samples in (whole, of_sst2["test"])
    ]
    assert len(words[0] & words[1]) == 1327
    near = shared_samples({"train": whole, "test": of_sst2["test"]}, similarity=1.0)
    assert 1327 <= near[0].found < 1400
    both = in_mr.intersection(*[{key for part in of_sst2.values() for key in part.x.digests()}])
    assert len(both) / len(in_mr) == pytest.approx(2 / 3, abs=0.01)


@real
@pytest.mark.real_data
def test_similarities_and_their_genres() -> None:
    data = StsB()
    data.load()
    assert sizes(data) == {"train": 5749, "val": 1500, "test": 1379}
    assert isinstance(data.problem, Regression)
    y = torch.cat([samples.y for samples in data.sets.values()])
    assert (float(y.min()), float(y.max())) == (0.0, 5.0)
    pair = StsBGenres(source="captions", target="news", labels=200, test_count=50)
    pair.load()
    assert sizes(pair) == {
        "source/train": 200, "source/val": 625, "source/test": 50, "target/train": 3299, "target/test": 50,
    }  # fmt: skip
    assert pair.sets["target/train"].y is None
    forums = StsBGenres(pair="captions+news_to_forums")
    forums.load()
    assert (len(forums.sets["target/train"]), len(forums.sets["target/test"])) == (450, 254)


def test_a_damaged_file_of_similarities_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "glue" / "stsb"
    folder.mkdir(parents=True)
    for part in ("train", "dev", "test"):
        (folder / f"sts-{part}.tsv").write_text("main-news\tx\t2012\t1\tmany\ta\tb\n")
    with pytest.raises(UserError, match=r"sts-train\.tsv, line 1, is not a pair with a score"):
        StsB(root=str(tmp_path)).read()


# ---------------------------------------------------------------------- texts of one's own


def rows(count: int = 60) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": [f"text {i}" for i in range(count)],
            "label": [("bad", "good")[i % 2] for i in range(count)],
            "stars": [i / 10 for i in range(count)],
            "shop": [("books", "dvd", "music")[i % 3] for i in range(count)],
            "day": [f"2024-01-{1 + i % 28:02d}" for i in range(count)],
        }
    )


def test_a_domain_column_makes_a_pair(tmp_path: Path) -> None:
    rows().to_csv(tmp_path / "t.csv", index=False)
    given = {"path": str(tmp_path / "t.csv"), "domain_column": "shop", "source": "books", "target": "dvd"}
    data = TextTablePair(**given)
    data.load()
    assert sizes(data) == {"source/train": 14, "source/val": 2, "source/test": 4, "target/train": 16, "target/test": 4}
    numbers = {
        domain: {int(text[5:]) % 3 for text in data.sets[f"{domain}/train"].x.items} for domain in ("source", "target")
    }
    assert numbers == {"source": {0}, "target": {1}}
    stars = TextTablePair(**given, label_column="stars", predict="numbers")
    stars.load()
    assert isinstance(stars.problem, Regression)
    assert stars.class_names == ["stars"]
    with pytest.raises(UserError, match="there is no domain 'cds'"):
        TextTablePair(**{**given, "target": "cds"}).load()
    with pytest.raises(UserError, match=r"data\.domain_column: .* has no column 'shops'; did you mean 'shop'"):
        TextTablePair(**{**given, "domain_column": "shops"}).load()


def test_further_columns_of_a_table_are_kept(tmp_path: Path) -> None:
    rows().to_csv(tmp_path / "t.csv", index=False)
    data = TextTable(path=str(tmp_path / "t.csv"), group_column="shop", time_column="day")
    data.load()
    for samples in data.sets.values():
        numbers = [int(text[5:]) for text in samples.x.items]
        assert samples.columns["group"].tolist() == [i % 3 for i in numbers]
        day = samples.columns["time"]
        assert day.tolist() == [(19723 + i % 28) * 86400.0 for i in numbers]  # 2024 began 19,723 days after 1970
    with pytest.raises(UserError, match="neither a number nor a date"):
        TextTable(path=str(tmp_path / "t.csv"), time_column="shop").read()
    with pytest.raises(UserError, match="has 'bad' in row 1, which is not a number"):
        TextTable(path=str(tmp_path / "t.csv"), predict="numbers").read()


def test_several_columns_together(tmp_path: Path) -> None:
    table = rows().assign(rude=[i % 2 for i in range(60)], long=[i % 3 // 2 for i in range(60)], clock="12:00")
    table["land"] = [("uk", "us")[i % 2] for i in range(60)]
    table.to_csv(tmp_path / "t.csv", index=False)
    given = {"path": str(tmp_path / "t.csv")}
    roles = {"group_column": ["shop", "land"], "time_column": ["day", "clock"]}
    data = TextTable(**given, label_column=["rude", "long"], **roles)
    data.load()
    assert isinstance(data.problem, MultiLabel)
    assert data.class_names == ["rude", "long"]
    names = sorted({f"{shop}-{land}" for shop, land in zip(table["shop"], table["land"], strict=True)})
    for samples in data.sets.values():
        numbers = [int(text[5:]) for text in samples.x.items]
        assert samples.y.tolist() == [[i % 2, i % 3 // 2] for i in numbers]
        found = [names[code] for code in samples.columns["group"]]
        assert found == [f"{table['shop'][i]}-{table['land'][i]}" for i in numbers]
        assert samples.columns["time"].tolist() == [(19723 + i % 28) * 86400.0 + 43200 for i in numbers]
    both = TextTable(**given, label_column=["stars", "rude"], predict="numbers")
    both.load()
    assert isinstance(both.problem, Regression)
    assert both.sets["test"].y.shape == (12, 2)
    pair = TextTablePair(**given, domain_column=["shop", "land"], source=["books-uk", "books-us"], target="dvd-us")
    pair.load()
    assert {int(text[5:]) % 6 for text in pair.sets["target/train"].x.items} == {1}
    with pytest.raises(UserError, match=r"'stars' has '0\.1' in row 2: several columns .* must be labels of 0 and 1"):
        TextTable(**given, label_column=["rude", "stars"]).read()
    mixed = pd.DataFrame({"a": ["x-y", "x"], "b": ["z", "y-z"]})
    with pytest.raises(UserError, match="'x-y-z' results from different cells"):
        together(mixed, ["a", "b"])


def test_folders_of_texts_split_or_not(tmp_path: Path) -> None:
    def fill(folder: Path, count: int) -> None:
        for name in ("bad", "good"):
            (folder / name).mkdir(parents=True)
            for i in range(count):
                (folder / name / f"{i}.txt").write_text(f"{name} {folder.name} {i}\n", encoding="utf-8")

    fill(tmp_path / "flat", 20)
    data = TextFolder(path=str(tmp_path / "flat"))
    data.load()
    assert sizes(data) == {"train": 28, "val": 4, "test": 8}
    fill(tmp_path / "cut" / "train", 20)
    fill(tmp_path / "cut" / "test", 5)
    data = TextFolder(path=str(tmp_path / "cut"))
    data.load()
    assert sizes(data) == {"train": 36, "val": 4, "test": 10}
    assert all(data.class_names[y] == text.split()[0] for text, y in zip(
        data.sets["train"].x.items, data.sets["train"].y, strict=True))  # fmt: skip
    (tmp_path / "flat" / "bad" / "0.txt").write_bytes("schön".encode("latin-1"))
    with pytest.raises(UserError, match=r"0\.txt is not in the encoding utf-8"):
        TextFolder(path=str(tmp_path / "flat")).read()
    (tmp_path / "flat" / "bad" / "0.txt").write_text(" ")
    with pytest.raises(UserError, match=r"0\.txt contains no text"):
        TextFolder(path=str(tmp_path / "flat")).read()
