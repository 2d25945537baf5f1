"""Whole runs: their files, their end, and resuming."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch
from program_starts import Start, two_processes

from tl_lab.cli.train import main
from tl_lab.config import compose
from tl_lab.errors import UserError
from tl_lab.run.inference import load, predict_to_csv
from tl_lab.run.plan import Plan
from tl_lab.run.trainer import prepare_machine

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

TRAIN = str(Path(__file__).resolve().parents[2] / "train.py")
SMALL = [
    "data.source_count=400",
    "data.source_test_count=100",
    "data.target_test_count=1500",
    "data.batches_per_epoch=11",
    "data.batch_size=16",
    "trainer.max_epochs=2",
    "logger=none",
    "figures=false",
    "threads=1",
]


def run(folder: Path, *overrides: str) -> dict:
    """Run in this process; later overrides win over the small defaults."""
    main([*_given(overrides), f"hydra.run.dir={folder}"])
    return json.loads((folder / "results.json").read_text())


def _given(overrides: Sequence[str]) -> list[str]:
    given = {override.split("=")[0]: override for override in (*SMALL, *overrides)}
    if "data" in given:  # the small defaults are those of the main job's data
        given = {name: override for name, override in given.items() if not name.startswith("data.")}
    return list(given.values())


def refused(capsys, folder: Path, *overrides: str) -> str:
    """Run what must end in one sentence and exit code 1; returns the sentence."""
    with pytest.raises(SystemExit) as stopped:
        run(folder, *overrides)
    assert stopped.value.code == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tl_lab: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A small complete run of the main job."""
    folder = tmp_path_factory.mktemp("runs") / "main"
    run(folder, "figures=true")
    return folder


def test_a_run_writes_the_folder_that_is_promised(finished):
    files = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    assert {
        ".hydra/config.yaml",
        ".hydra/overrides.yaml",
        "config.yaml",
        "results.json",
        "metrics.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "figures/learning_curves.png",
        "figures/confusion_source_test.png",
        "figures/confusion_target_test.png",
        "figures/domain_embedding.png",
    } <= files
    results = json.loads((finished / "results.json").read_text())
    assert results["status"] == "completed"
    assert results["seed"] == 0
    assert results["parameters"]["trainable"] == results["parameters"]["total"] > 0
    assert results["sizes"]["target/test"] == 1500
    for name in ("test/source/acc", "test/target/acc", "test/target/f1_macro", "val/source/acc"):
        assert 0 <= results["metrics"][name] <= 1
    assert {"versions", "git_commit", "device", "config_hash", "data_hash", "duration_s", "protocol"} <= set(results)


def test_metrics_hold_every_term_and_schedule(finished):
    metrics = pd.read_csv(finished / "metrics.csv")
    wanted = {"task_loss", "domain_loss", "domain_acc", "lambda", "lr", "acc", "loss"}
    assert {f"train/{name}" for name in wanted} <= set(metrics.columns)
    train = metrics.dropna(subset=["train/loss"])
    total = train["train/task_loss"] + train["train/domain_loss"]
    pd.testing.assert_series_equal(train["train/loss"], total, check_names=False, rtol=1e-5)
    assert train["train/lambda"].is_monotonic_increasing
    assert train["train/lr"].is_monotonic_decreasing
    assert "val/target/acc" not in metrics.columns


def test_the_same_run_again_gives_the_same_numbers_to_the_last_bit(finished, tmp_path):
    again = run(tmp_path / "again")
    first = json.loads((finished / "results.json").read_text())
    assert again["metrics"] == first["metrics"]
    assert again["config_hash"] == first["config_hash"]
    assert again["data_hash"] == first["data_hash"]
    weights = [
        torch.load(f / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for f in (finished, tmp_path / "again")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_target_labels_change_nothing_but_the_score(finished, tmp_path, monkeypatch):
    from tl_lab.data.sets import printed_to_handwritten

    original = printed_to_handwritten.handwritten_digits

    def shuffled():
        x, y = original()
        return x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]

    monkeypatch.setattr(printed_to_handwritten, "handwritten_digits", shuffled)
    run(tmp_path / "shuffled")
    weights = [
        torch.load(f / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for f in (finished, tmp_path / "shuffled")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_trained_model_loads_and_predicts_as_it_was_tested(finished, tmp_path):
    from tl_lab.data.sets.printed_digits import handwritten_digits

    model = load(finished)
    x = handwritten_digits()[0]
    predicted = model.predict(x)
    assert len(predicted.labels) == len(x)
    torch.testing.assert_close(predicted.probabilities.sum(1), torch.ones(len(x)))
    from tl_lab.data.sets.printed_to_handwritten import PrintedToHandwritten

    data = PrintedToHandwritten(source_count=400, source_test_count=100, target_test_count=1500, seed=0)
    data.load()
    test = data.sets["target/test"]
    right = sum(int(a) == b for a, b in zip(model.predict(test.x).labels, test.y.tolist(), strict=True))
    reported = json.loads((finished / "results.json").read_text())["metrics"]["test/target/acc"]
    assert right / 1500 == pytest.approx(reported, abs=1e-6)


def test_predictions_for_a_folder_and_a_table_agree(finished, tmp_path):
    from PIL import Image

    from tl_lab.data.sets.printed_digits import handwritten_digits

    x = handwritten_digits()[0][:12]
    (tmp_path / "images").mkdir()
    for i, image in enumerate(x):
        Image.fromarray(image[0].numpy()).save(tmp_path / "images" / f"{i:02d}.png")
    columns = [f"p{i}" for i in range(64)]
    pd.DataFrame(x.view(12, 64).numpy(), columns=columns).to_csv(tmp_path / "pixels.csv", index=False)
    listed = pd.DataFrame({"path": [f"images/{i:02d}.png" for i in range(12)]})
    listed.to_csv(tmp_path / "paths.csv", index=False)
    tables = [
        pd.read_csv(predict_to_csv(finished, tmp_path / name, tmp_path / f"out_{name}.csv"))
        for name in ("images", "pixels.csv", "paths.csv")
    ]
    assert list(tables[0].columns) == ["input", "label", "confidence"]
    assert tables[0]["confidence"].between(0.1, 1).all()
    pd.testing.assert_series_equal(tables[0]["label"], tables[2]["label"])
    pd.testing.assert_series_equal(tables[0]["confidence"], tables[2]["confidence"])
    # PIL's bilinear filter on bytes and PyTorch's on floats round differently
    assert (tables[0]["label"] == tables[1]["label"]).mean() >= 0.9


@pytest.fixture(scope="module")
def of_vectors(tmp_path_factory) -> Path:
    """A small complete run on points of the plane."""
    folder = tmp_path_factory.mktemp("runs") / "moons"
    run(folder, "data=moons", "backbone=mlp", "figures=true")
    return folder


def test_vectors_are_predicted_as_they_were_tested(of_vectors, tmp_path):
    from tl_lab.data.sets.moons import Moons

    data = Moons(seed=0)
    data.load()
    test = data.sets["target/test"]
    pd.DataFrame(test.x.numpy(), columns=["x", "y"]).to_csv(tmp_path / "points.csv", index=False)
    table = pd.read_csv(predict_to_csv(of_vectors, tmp_path / "points.csv", tmp_path / "out.csv"))
    right = [data.class_names.index(label) == y for label, y in zip(table["label"], test.y.tolist(), strict=True)]
    reported = json.loads((of_vectors / "results.json").read_text())["metrics"]["test/target/acc"]
    assert sum(right) / len(right) == pytest.approx(reported, abs=1e-6)
    predicted = load(of_vectors).predict(test.x)
    assert table["label"].tolist() == predicted.labels
    assert (of_vectors / "figures" / "decision_boundary.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,3\n", "has 3 columns; give the 2 values of each vector"),
        ("a,b\n1,2\n1,nan\n", "NaN or infinity in row 2"),
        ("a,b\n1,two\n", "not a number"),
    ],
)
def test_tables_that_fit_no_vector_are_refused(of_vectors, tmp_path, text, message):
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        predict_to_csv(of_vectors, tmp_path / "points.csv", tmp_path / "out.csv")


def test_a_folder_of_images_is_no_table_of_vectors(of_vectors, tmp_path):
    with pytest.raises(UserError, match="the model takes vectors: give a CSV file of 2 columns"):
        predict_to_csv(of_vectors, tmp_path, tmp_path / "out.csv")


@pytest.mark.parametrize("strategy", ["from_scratch", "feature_extraction", "fine_tuning"])
def test_every_strategy_adapts_where_there_is_a_target(strategy, tmp_path):
    results = run(tmp_path / strategy, f"strategy={strategy}", "strategy.bottleneck=16", "trainer.max_epochs=1")
    assert results["status"] == "completed"
    assert 0 < results["metrics"]["test/target/acc"] < 1


def test_a_run_starts_from_the_backbone_of_another(finished, tmp_path, capsys):
    frozen = ["strategy=feature_extraction", "domain_adaptation=none", "trainer.max_epochs=1"]
    run(tmp_path / "next", "data=digits", f"init_from={finished}", *frozen)
    assert f"trained by {finished}" in capsys.readouterr().out.replace("\n", "").replace(" " * 14, "")
    first = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    second = torch.load(tmp_path / "next" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    names = [name for name in second if name.startswith("network.backbone.")]
    assert len(names) == 14  # weights and statistics of two convolutions and their batch-norm
    for name in names:
        learned = name.replace(".running_", ".target_running_")  # those of the domain adapted to
        assert torch.equal(first[learned], second[name])
    fine = ["strategy=fine_tuning"]  # from scratch would leave the weights aside
    message = refused(capsys, tmp_path / "other", "backbone=mlp", f"init_from={finished}", *fine)
    assert "differs from that of this run" in message


def test_the_pair_of_the_same_data_is_suggested_first(capsys, tmp_path):
    message = refused(capsys, tmp_path / "run", "data=text_table", "data.path=x.csv", "domain_adaptation=dann")
    assert message.endswith(
        "which data=text_table does not have: use data=text_table_pair, or domain_adaptation=none, or other data with "
        "text inputs and a target: data=stsb_genres, data=text_folder_pair"
    )


def test_dann_without_a_target_is_refused_before_data_is_read(capsys, tmp_path):
    message = refused(capsys, tmp_path / "run", "data=digits", "domain_adaptation=dann")
    assert "domain_adaptation=dann needs a target domain" in message
    assert "data=printed_to_handwritten" in message
    assert "data=table_pair" not in message  # data with other inputs
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["status"] == "failed"
    assert "target domain" in results["error"]


def test_alignment_that_reaches_no_parameter_is_refused(capsys, tmp_path):
    assert "strategy.bottleneck=256" in refused(
        capsys, tmp_path / "run", "strategy=feature_extraction", "domain_adaptation=dann"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=fast", "is not a number"),
        ("optimizer.lr=1e25", "diverged"),
        ("data.target_test_count=5000", "cannot hold out 5000 of 1797"),
        ("data.source_count=12", "too few samples"),
        ("trainer.max_epochs=0", "max_epochs"),
        ("strategy.layers.trainable=5", "2 layer groups"),
        ("strategy.layers.trainable=[conv3]", "conv2"),
        ("callbacks.checkpoint.monitor=test/target/acc", "validation metric only"),
        ("trainer=gpu", "trainer=gpu needs a GPU, and PyTorch finds none: use trainer=cpu"),
        ("trainer.accelerator=cuda", "trainer.accelerator=cuda needs a GPU, and PyTorch finds none: leave it out"),
        ("trainer=ddp", "trainer=ddp needs a GPU, and PyTorch finds none: use trainer=cpu"),
        ("trainer=fsdp", "trainer=fsdp needs a GPU, and PyTorch finds none: use trainer=cpu"),
        ("callbacks.checkpoint.monitor=val/source/ac", "val/source/acc"),
        ("callbacks.early_stopping.monitor=no/such", "validation metric only"),
        ("trainer.num_nodes=2", "trainer.num_nodes=2 would wait for machines that nothing starts"),
        ("trainer.limit_train_batches=0", "nothing was trained"),
        ("+trainer.max_steps=5", "max_steps is not supported"),
        ("trainer.precision=16-mixed", "needs a GPU"),
        ("trainer.sync_batchnorm=true", "nothing to synchronise, because there is one process: leave it out"),
        ("update.graph=true", "needs CUDA graphs: set trainer=gpu, or leave update.graph at auto"),
        ("precision_of_matmul=low", "highest"),
        ("trainer.log_every_n_steps=0", "at least 1"),
        ("data.batches_per_epoch=0", "at least 1"),
        ("optimizer.lr=-1", "at least 0"),
        ("strategy.bottleneck=-3", "at least 1"),
        ("strategy.head.dropout=-1", "at least 0 and below 1"),
        ("+strategy.head.hiden=1", "'hidden'"),
        ("strategy.label_smoothing=2", "at least 0 and below 1"),
        ("domain_adaptation.gamma=-5", "above 0"),
        ("augmentation.scale=[0,1]", "above 0"),
        ("update.gradient_clip_norm=0", "above 0"),
    ],
)
def test_mistakes_end_in_one_sentence(override, message, capsys, tmp_path):
    if (
        override in ("trainer=gpu", "trainer.accelerator=cuda", "trainer=ddp", "trainer=fsdp")
        and torch.cuda.is_available()
    ):
        pytest.skip("there is a GPU")
    assert message in refused(capsys, tmp_path / "run", override)


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_weights_and_biases_needs_no_account_and_no_network(mode, tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    began = time.monotonic()
    drawn = mode == "offline"
    options = ["logger=wandb", f"logger.mode={mode}", "tags=[first]", "trainer.max_epochs=1", f"figures={drawn}"]
    assert run(tmp_path / "run", *options)["status"] == "completed"
    assert time.monotonic() - began < 120
    (stored,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    expected = [b"test/target/acc", b"domain_adaptation", b"first"]
    expected += [b"figures/domain_embedding"] if drawn else []
    while not all(written in stored.read_bytes() for written in expected):  # W&B writes in a process of its own
        assert time.monotonic() - began < 180, "W&B has not written the run's scores, configuration and tag"
        time.sleep(0.2)
    content = stored.read_bytes()
    assert (b"figures/domain_embedding" in content) == drawn


@pytest.mark.parametrize("without", ["callbacks.checkpoint.best=false", "trainer.limit_val_batches=0"])
def test_the_best_checkpoint_is_not_replaced_by_another(without, capsys, tmp_path):
    assert "evaluate=last" in refused(capsys, tmp_path / "run", "evaluate=best", without)


def test_a_run_makes_one_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_OUTPUTS", str(tmp_path))
    main([*SMALL, "trainer.max_epochs=1"])
    (folder,) = (tmp_path / "runs" / "dann-from_scratch-printed_to_handwritten").iterdir()
    assert (folder / "results.json").exists()


def test_a_place_that_cannot_be_written_to_is_named(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        main([*SMALL, f"hydra.run.dir={tmp_path / 'file' / 'run'}"])
    assert "cannot write to" in capsys.readouterr().err


def test_validation_and_test_scores_are_of_the_same_checkpoint(tmp_path):
    # a rate that grows worse with time makes the first epochs the best ones
    options = ["evaluate=best", "trainer.max_epochs=5", "optimizer=sgd", "optimizer.lr=0.3", "scheduler=constant"]
    results = run(tmp_path / "run", *options)
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv").dropna(subset=["val/source/acc"])
    assert results["metrics"]["val/source/acc"] == pytest.approx(rows["val/source/acc"].max())
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert f"after {best['updates_done']} updates" in results["tested_checkpoint"]
    row = rows[rows["step"] == best["updates_done"]].iloc[0]
    assert results["metrics"]["val/source/loss"] == pytest.approx(row["val/source/loss"], rel=1e-5)


def test_a_figure_that_fails_leaves_the_results(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no figure today")

    monkeypatch.setattr("tl_lab.run.experiment.draw_figures", broken)
    with pytest.warns(UserWarning, match="no figure today"):
        results = run(tmp_path / "run", "figures=true")
    assert results["status"] == "completed"
    assert "test/target/acc" in results["metrics"]


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("stopping", [[], ["callbacks=early_stopping", "callbacks.early_stopping.patience=1"]])
def test_a_run_killed_between_training_and_test_is_only_tested(stopping, moved, tmp_path):
    options = [*stopping, "optimizer=sgd", "optimizer.lr=1e-9"] if stopping else []
    whole = run(tmp_path / "run", *options, "trainer.max_epochs=4")
    table = pd.read_csv(tmp_path / "run" / "metrics.csv")
    (tmp_path / "run" / "results.json").write_text(json.dumps({**whole, "status": "running", "metrics": {}}))
    folder = (tmp_path / "run").rename(tmp_path / "moved") if moved else tmp_path / "run"
    main([f"resume={folder}"])
    resumed = json.loads((folder / "results.json").read_text())
    assert resumed["metrics"] == whole["metrics"]
    assert resumed["tested_checkpoint"] == whole["tested_checkpoint"]
    pd.testing.assert_frame_equal(pd.read_csv(folder / "metrics.csv"), table)


def test_unreadable_images_stop_predictions_or_are_left_out(finished, tmp_path):
    from PIL import Image

    for name in ("a.png", "c.png"):
        Image.new("L", (8, 8), 100).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 of 3 images .* b\.png \(not an image\)"):
        predict_to_csv(finished, tmp_path, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    with pytest.warns(UserWarning, match=r"skipped: 1 of 3 images .* b\.png"):
        predict_to_csv(finished, tmp_path, tmp_path / "out.csv", skip_unreadable=True)
    assert pd.read_csv(tmp_path / "out.csv")["input"].tolist() == ["a.png", "c.png"]
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match=r"table\.csv is in the encoding utf-16, not utf-8: save it in utf-8"):
        predict_to_csv(finished, tmp_path / "table.csv", tmp_path / "out.csv")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root can mount a tiny disk")
def test_a_full_disk_is_reported_and_damages_nothing(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let tests mount a disk")
    try:
        (disk / "earlier").write_bytes(bytes(2**20))
        ended = Start(*SMALL, f"hydra.run.dir={disk / 'run'}", output=tmp_path / "output.txt")
        assert ended.wait(200) == 1
        (message,) = (line for line in ended.errors.splitlines() if line.startswith("tl_lab: "))
        assert "no space left on device" in message
        results = json.loads((disk / "run" / "results.json").read_text())
        assert results["status"] == "failed"
        assert "no space left" in results["error"]
        for path in (disk / "run").rglob("*.ckpt"):  # whole, if there at all
            torch.load(path, weights_only=True)
        assert (disk / "earlier").read_bytes() == bytes(2**20)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)  # the run's log file may still be open


def test_a_finished_run_is_not_run_again(finished, capsys):
    before = (finished / "results.json").read_text()
    main([f"resume={finished}"])
    assert "already complete" in capsys.readouterr().out
    assert (finished / "results.json").read_text() == before


def test_an_existing_folder_is_not_overwritten(finished, capsys):
    before = (finished / "results.json").read_text()
    assert "earlier run" in refused(capsys, finished)
    assert (finished / "results.json").read_text() == before


def test_a_damaged_checkpoint_is_named(finished, tmp_path, capsys):
    folder = tmp_path / "damaged"
    shutil.copytree(finished, folder)
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "status": "running"}))
    last = folder / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    with pytest.raises(SystemExit):
        main([f"resume={folder}"])
    message = capsys.readouterr().err
    assert "last.ckpt" in message
    assert "damaged" in message
    assert last.stat().st_size == 5000


def test_a_sweep_continues_after_a_failed_job_and_reports_both(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["-m", *SMALL, "optimizer.lr=0.01,1e25", f"hydra.sweep.dir={tmp_path}"])
    assert stopped.value.code == 1
    rows = pd.read_csv(tmp_path / "results.csv")
    assert sorted(rows["status"]) == ["completed", "failed"]
    assert (tmp_path / "summary.md").exists()


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_result_of_an_unbroken_one(tmp_path):
    epochs = ["trainer.max_epochs=12"]
    whole = run(tmp_path / "whole", *epochs)
    killed = tmp_path / "killed"
    process = Start(*_given(epochs), f"hydra.run.dir={killed}", output=tmp_path / "output.txt")
    last = killed / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 180
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert json.loads((killed / "results.json").read_text())["status"] == "running"
    assert torch.load(last, weights_only=True)["updates_done"] < 12 * 11

    main([f"resume={killed}"])
    resumed = json.loads((killed / "results.json").read_text())
    assert resumed["metrics"] == whole["metrics"]
    tables = [pd.read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "launched"),
    [
        # batch-norm would see half a batch in each process; the run says so, and this comparison does without
        (
            [
                "backbone.batch_norm=false",
                "domain_adaptation.batch_norm=joint",
                "optimizer=sgd",
                "data.batches_per_epoch=11",
            ],
            True,
        ),
        # here it stands still, and the features of a set are shared out among the processes
        (["strategy=feature_extraction", "domain_adaptation=none"], False),
    ],
    ids=["dann", "cached features"],
)
def test_two_processes_train_as_one_with_the_same_global_batch(options, launched, tmp_path):
    results = [run(tmp_path / "cpu", *options, "trainer=cpu")]
    pair = tmp_path / "ddp_cpu"
    if launched:  # by Lightning, with the command line of the first
        given = [*_given([*options, "trainer=ddp_cpu"]), f"hydra.run.dir={pair}"]
        subprocess.run([sys.executable, TRAIN, *given], check=True, timeout=400)
    else:
        two_processes(*_given(options), folder=pair)
    results.append(json.loads((pair / "results.json").read_text()))
    assert [result["status"] for result in results] == ["completed"] * 2
    one, two = (result["metrics"] for result in results)
    assert set(one) == set(two)
    for name in one:
        assert two[name] == pytest.approx(one[name], abs=2e-3), name
    assert sum(1 for _ in tmp_path.rglob("results.json")) == 2
    rows = [pd.read_csv(tmp_path / trainer / "metrics.csv") for trainer in ("cpu", "ddp_cpu")]
    assert rows[0]["step"].tolist() == rows[1]["step"].tolist()
    pd.testing.assert_series_equal(rows[0]["train/loss"], rows[1]["train/loss"], atol=1e-3)


def test_the_number_of_threads_is_the_configurations_own(monkeypatch):
    """Lightning's launchers of several processes set their own number unless the environment names one."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        prepare_machine(Plan.of(compose(["data=digits", "threads=2"])))
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (2, "2")
    finally:
        torch.set_num_threads(before)
        os.environ.pop("OMP_NUM_THREADS", None)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_the_precision_of_products_is_the_configurations_own(precision, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    try:
        prepare_machine(Plan.of(compose(["data=digits", f"precision_of_matmul={precision}"])))
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
        torch.set_num_threads(threads)
