"""The file with the correctness of each test sample."""

import pandas as pd
import pytest
from composing import run_in

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def test_answers_are_stored_on_request(tmp_path):
    given = [
        "data=digits", "backbone=mlp", "backbone.hidden=[8]", "domain_adaptation=none", "trainer.max_epochs=1",
        "data.batches_per_epoch=5", "logger=none", "figures=false", "trainer.enable_progress_bar=false",
    ]  # fmt: skip
    results = run_in(
        tmp_path / "run",
        *given,
        "+callbacks.answers._target_=tl_lab.training.answers.KeepAnswers",
        "data.test_count=50",
    )
    answers = pd.read_csv(tmp_path / "run" / "answers.csv")
    assert answers["index"].tolist() == list(range(50))
    assert set(answers["set"]) == {"test"}
    assert answers["right"].mean() == pytest.approx(results["metrics"]["test/acc"])
