"""Three sources named by domain, alone and against handwritten digits."""

import json

import pytest
import torch

from tl_lab.cli.main import main as tl_lab_main
from tl_lab.cli.train import main
from tl_lab.data.request import Request
from tl_lab.data.sets.fonts import text_faces
from tl_lab.data.sets.fonts_to_handwritten import FontsToHandwritten, _family
from tl_lab.data.sets.printed_digits import handwritten_digits
from tl_lab.errors import UserError
from tl_lab.results.names import split_name

FAST = ["backbone=mlp", "backbone.hidden=[32]", "logger=none", "figures=false", "threads=1", "health=false"]
FAST += ["data=fonts_to_handwritten", "data.count=900", "trainer.max_epochs=4", "data.batches_per_epoch=40"]
FAST += ["optimizer.lr=0.01"]


def test_every_font_belongs_to_one_family() -> None:
    families = [_family(face.stem) for face in text_faces()]
    assert {name: families.count(name) for name in ("sans", "mono", "serif")} == {"sans": 4, "mono": 4, "serif": 8}


def test_sources_share_batches_and_keep_their_numbers() -> None:
    data = FontsToHandwritten(count=800, target="handwritten", batch_size=64)
    data.load(Request(adapts=True))
    assert data.domain_names == ["sans", "mono", "serif"]
    sizes = {name: len(samples) for name, samples in data.sets.items()}
    assert sizes["train"] + sizes["val"] + sum(sizes[f"{name}/test"] for name in data.domain_names) == 800
    assert sizes["target/train"] + sizes["target/test"] < len(handwritten_digits()[1])  # its validation part is unused
    assert data.sets["target/train"].y is None
    batch = next(iter(data.train_loader("train")))
    assert sorted(batch.domain.unique().tolist()) == [0, 1, 2]
    share = (data.sets["train"].domain == 2).double().mean()
    torch.testing.assert_close(share, torch.tensor(0.5, dtype=torch.double), atol=0.03, rtol=0)


def test_a_domain_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.target=serifs is not one of the domains; did you mean 'serif'"):
        FontsToHandwritten(count=400, target="serifs").load()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("further", "tested", "facts"),
    [
        ([], ["mono", "sans", "serif", "target"], {"target": "handwritten"}),
        (["data.target=null", "data.held_out=serif"], ["handwritten", "mono", "sans", "serif"], {"held out": "serif"}),
    ],
    ids=["adapted", "held_out"],
)
def test_the_command_scores_each_domain_by_its_name(further, tested, facts, tmp_path) -> None:
    run = tmp_path / "run"
    main([*FAST, *further, f"hydra.run.dir={run}"])
    results = json.loads((run / "results.json").read_text())
    assert results["status"] == "completed"
    scores = [split_name(name) for name in results["metrics"]]
    assert sorted(score.part for score in scores if (score.split, score.metric) == ("test", "acc")) == tested
    assert results["metrics"]["test/sans/acc"] > 0.3
    assert facts.items() <= results["protocol"].items()
    tl_lab_main(["report", str(run), "--output", str(tmp_path / "report"), "--no-figures"])
    assert "test sans accuracy" in (tmp_path / "report" / "summary.md").read_text()
