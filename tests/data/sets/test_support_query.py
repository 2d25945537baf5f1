"""Fixed lists of support and query images."""

import numpy as np
import pandas as pd
import pytest
import torch
from composing import run_in
from PIL import Image

from tl_lab.data.sets.support_query import SupportQuery
from tl_lab.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
SIZES = {"train": {"way": 3, "shot": 1, "queries": 1}, "test": {"way": 3, "shot": 1, "queries": 2}}
BARS = {"left": (slice(None), slice(1, 3)), "right": (slice(None), slice(5, 7)), "top": (slice(1, 3), slice(None))}


@pytest.fixture
def table(tmp_path):
    """Two episodes of three classes, a support image and two queries each: bright bars, in the second episode dark."""
    rows = []
    for episode in ("one", "two"):
        for label, bar in BARS.items():
            for i in range(3):
                pixels = np.full((8, 8), 10 + i, np.uint8)
                pixels[bar] = 240 - i
                name = f"{episode}_{label}_{i}.png"
                Image.fromarray(pixels if episode == "one" else 255 - pixels).save(tmp_path / name)
                role = "query" if i else "support"
                rows.append({"path": name, "label": label, "role": role, "episode": episode})
    pd.DataFrame(rows).sample(frac=1, random_state=0).to_csv(tmp_path / "lists.csv", index=False)
    return tmp_path / "lists.csv"


def test_listed_episodes_are_served_as_they_are(table):
    data = SupportQuery(path=str(table), size=8, ground="dark", **SIZES)
    data.request = data.request.__class__(serves="classes")
    data.load()
    assert "9 of 18 drawings were inverted" in data.notes
    (episode,) = list(data.episodes("test", 2))
    assert episode.support.x.shape == (2, 3, 1, 8, 8)
    assert episode.query.x.shape == (2, 6, 1, 8, 8)
    listed = pd.read_csv(table)
    for part, role, count in ((episode.support, "support", 1), (episode.query, "query", 2)):
        found = listed.iloc[part.index.flatten().tolist()]
        assert set(found["role"]) == {role}
        assert (
            found["episode"].tolist() == ["one"] * 3 * count + ["two"] * 3 * count
            or found["episode"].tolist() == ["two"] * 3 * count + ["one"] * 3 * count
        )
        of_class = found["label"].to_numpy().reshape(2, 3, count)
        assert (of_class == of_class[:, :, :1]).all()
    assert torch.equal(episode.query.y, torch.tensor([[0, 0, 1, 1, 2, 2]] * 2))


def test_a_backbone_is_scored_on_the_lists(table, tmp_path):
    results = run_in(
        tmp_path / "run", "strategy=nearest_centroid", "data=support_query", f"data.path={table}", "data.size=8",
        "data.ground=dark", "data.test.way=3", "data.test.queries=2", "backbone=mlp", "backbone.hidden=[32]",
        "logger=none", "figures=false", "trainer.enable_progress_bar=false", "strategy.transform=none",
    )  # fmt: skip
    assert results["metrics"]["test/acc"] == 1  # images of a class are nearly equal, whatever the random network


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[~((t["label"] == "top") & (t["role"] == "support"))], "'top' of episode one has 0 support and 2"),
        (lambda t: t[t["label"] != "top"], "episode .* has 2 classes, but data.test.way is 3"),
        (lambda t: t.replace("query", "test"), "has the role 'test': roles are support and query"),
        (lambda t: t.drop(columns="label"), "has no column 'label'"),
    ],
)
def test_lists_that_are_no_episodes_are_refused(table, change, message):
    change(pd.read_csv(table).sort_values(["episode", "path"])).to_csv(table, index=False)
    data = SupportQuery(path=str(table), **SIZES)
    data.request = data.request.__class__(serves="classes")
    with pytest.raises(UserError, match=message):
        data.load()


def test_nothing_is_trained_on_them(table):
    with pytest.raises(UserError, match="contains episodes for scoring and no training classes"):
        SupportQuery(path=str(table), **SIZES).load()
