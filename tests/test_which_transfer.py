"""The practitioner's question on a small scale: three ways of training on embedded digits, with few and all labels."""

import json

import numpy as np
import pandas as pd
import pytest
from hydra.core.hydra_config import HydraConfig
from scipy.io import wavfile

from tl_lab.cli.train import main
from tl_lab.config import compose
from tl_lab.errors import UserError
from tl_lab.run.plan import Plan
from tl_lab.run.weights import check_weights, describe_weights, weights_hash

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SMALL = [
    "data=digits",
    "backbone=mlp",
    "domain_adaptation=none",
    "logger=none",
    "figures=false",
    "trainer.max_epochs=1",
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "run"
    main([*SMALL, "strategy.bottleneck=null", "trainer.max_epochs=5", f"hydra.run.dir={folder}"])
    return folder


def test_a_sweep_leaves_weights_aside_and_reports_it(source, tmp_path):
    few = [*SMALL, "data.labels=20", "strategy=from_scratch"]
    main([*few, f"hydra.run.dir={tmp_path / 'plain'}"])
    with pytest.warns(UserWarning, match="starts from random weights and ignores init_from="):
        main(["-m", *few, f"init_from={source}", f"hydra.sweep.dir={tmp_path / 'given'}", "hydra/launcher=basic"])
    HydraConfig.instance().cfg = None  # of the sweep, which runs in this process: what follows is no part of it
    plain, given = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("plain", "given/0"))
    assert given["metrics"] == plain["metrics"]
    assert given["weights"] == {
        "from": f"random (strategy=from_scratch ignores init_from={source})",
        "sha256": None,
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["strategy=from_scratch", "init_from={source}"], "starts from random weights and ignores init_from="),
        (["backbone=torchvision", "backbone.pretrained=true"], "and ignores backbone.pretrained=true"),
        (["backbone=timm", "backbone.weights={source}/config.yaml"], "and ignores backbone.weights="),
        (["backbone=timm", "backbone.weights=nowhere.pt"], "backbone.weights: there is no file"),
        (["strategy=fine_tuning", "init_from=nowhere"], "init_from: 'nowhere' is not the folder of a run"),
        (["strategy=from_scratch", "init_from=nowhere"], "init_from: 'nowhere' is not the folder of a run"),
    ],
)
def test_a_single_run_uses_the_weights_that_it_names(overrides, message, source):
    given = [text.format(source=source) for text in overrides]
    with pytest.raises(UserError, match=message):
        check_weights(Plan.of(compose(given)))


def test_a_transfer_of_nothing_is_reported():
    with pytest.warns(UserWarning, match="no pretrained weights to start from, so that it transfers nothing"):
        check_weights(Plan.of(compose(["strategy=fine_tuning"])))


def test_several_tasks_transfer_to_each_other_from_any_weights(recwarn):
    plan = Plan.of(compose(["strategy=multi_task", "data.datasets=[digits,digits_value]"]))
    check_weights(plan)
    assert [str(one.message) for one in recwarn if "transfers nothing" in str(one.message)] == []
    assert describe_weights(plan) == "random"


def test_which_weights_are_left_aside():
    pretrained = ["backbone=torchvision", "backbone.pretrained=true"]
    scratch, tuned = (compose([*pretrained, f"strategy={name}"]) for name in ("from_scratch", "fine_tuning"))
    assert describe_weights(Plan.of(tuned)) == "pretrained, as published"
    assert "backbone.pretrained=true" in describe_weights(Plan.of(scratch))
    assert (
        weights_hash(Plan.of(compose(["backbone=torchvision", "backbone.weights=none.pth", "strategy=from_scratch"])))
        is None
    )


def test_one_command_answers_which_transfer(source, tmp_path):
    main(
        [
            "experiment=which_transfer", "data=digits", "backbone=mlp", f"init_from={source}", "data.labels=20,null",
            "strategy=from_scratch,zero_shot,feature_extraction", "seed=0", "data.batches_per_epoch=5",
            "trainer.max_epochs=2", f"hydra.sweep.dir={tmp_path}",
        ]
    )  # fmt: skip
    runs = pd.read_csv(tmp_path / "results.csv")
    assert len(runs) == 6
    assert (runs["status"] == "completed").all()
    assert runs.groupby("override.data.labels", dropna=False)["train_samples"].unique().map(list).tolist() in (
        [[20], [1258]],
        [[20.0], [1258.0]],
    )
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "## Accuracy by number of labels" in text
    assert "1,258 (all)" in text
    table = text.partition("## Does transfer help?")[2]
    assert table.count("too few to tell") == 2  # one seed says nothing
    assert (tmp_path / "figures" / "label_budgets.png").exists()
    # a multilayer perceptron answers for no class without examples: chance, and no accuracy
    shot = runs[runs["override.strategy"] == "zero_shot"]
    assert shot["test/acc"].isna().all()
    assert shot["test/chance"].tolist() == [0.1, 0.1]
    accuracy = runs.set_index(["override.strategy", "train_samples"])["test/acc"]
    # the source learned the same digits: its frozen features beat ten updates of a random network
    assert accuracy["feature_extraction", 1258] > accuracy["from_scratch", 1258]


def test_the_command_for_recordings_includes_partial_fine_tuning(tmp_path):
    for name, hertz in (("low", 300), ("high", 2000)):
        (tmp_path / "tones" / name).mkdir(parents=True)
        for i in range(10):
            wave = 12000 * np.sin(2 * np.pi * (hertz + 20 * i) * np.arange(400) / 8000)
            wavfile.write(tmp_path / "tones" / name / f"{i}.wav", 8000, wave.astype(np.int16))
    main(
        [
            "experiment=which_transfer", "data=audio_folder", f"data.path={tmp_path / 'tones'}", "data.labels=8",
            "backbone=audio_cnn", "backbone.widths=[4,8]", "backbone.bands=8", "seed=0", "data.batch_size=4",
            "strategy=from_scratch,zero_shot,partial_tuning", "data.batches_per_epoch=2", "adapter=none",
            f"hydra.sweep.dir={tmp_path / 'sweep'}",
        ]
    )  # fmt: skip
    runs = pd.read_csv(tmp_path / "sweep" / "results.csv").set_index("override.strategy")
    assert runs["status"].tolist() == ["completed"] * 3
    assert runs.loc["zero_shot", "test/chance"] == 0.5  # no decoder, no answer
    learned = runs["parameters_trainable"]
    head = 8 * 2 + 2
    assert head < learned["partial_tuning"] < learned["from_scratch"]
