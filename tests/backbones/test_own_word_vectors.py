"""A run on word vectors of one's own predicts from its folder alone: neither their file nor a package is needed."""

from pathlib import Path

import numpy as np
import pytest
import torch

import tl_lab
from tl_lab.cli.train import main

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

TEXTS = ["good warm day", "bad cold day", "warm warm day", "cold bad night"]
SMALL = ["logger=none", "figures=false", "forgetting=false", "threads=1", "trainer.enable_progress_bar=false"]
SMALL += ["domain_adaptation=none", "strategy=fine_tuning", "trainer.max_epochs=1", "data.batch_size=8"]


@pytest.mark.parametrize("backbone", ["word_vectors", "lstm", "text_cnn"])
def test_a_run_predicts_after_the_file_of_its_vectors_is_gone(
    backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    words, draw = sorted({word for text in TEXTS for word in text.split()}), np.random.default_rng(0)
    file = tmp_path / "vectors.txt"
    file.write_text("".join(f"{word} {' '.join(f'{v:.3f}' for v in draw.normal(size=5))}\n" for word in words))
    rows = [f"{text} {number},{'yes' if 'warm' in text else 'no'}" for number in range(8) for text in TEXTS]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    given = [f"data.path={tmp_path / 'texts.csv'}", f"backbone.weights={file}", f"hydra.run.dir={tmp_path / 'run'}"]
    main(["data=text_table", f"backbone={backbone}", *given, *SMALL])

    file.unlink()
    monkeypatch.setattr("tl_lab.backbones.word_vectors._glove", lambda: pytest.fail("no vectors are read anew"))
    model = tl_lab.load(tmp_path / "run")
    assert model.network.backbone.vectors.embedding_dim == 5
    kept = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close(model.network.state_dict(), {n.removeprefix("network."): t for n, t in kept.items()})
    ids = model.spec.fit(["warm day unheard"])["ids"][0]
    assert [model.spec.tokeniser.words[int(i) - 2] if int(i) > 1 else None for i in ids] == ["warm", "day", None]
    found = model.predict(TEXTS)
    assert set(found.labels) <= {"yes", "no"}
    assert found.probabilities.shape == (4, 2)
