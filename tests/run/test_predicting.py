"""Predictions in Python and as CSV: input formats, and outputs in addition to the labels."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from laboratory import TinyNet, blobs
from PIL import Image
from test_combinations import PAIR, QUIET

from tl_lab.cli.train import main
from tl_lab.errors import UserError
from tl_lab.model.network import Network
from tl_lab.problems import SingleLabel
from tl_lab.run import inference
from tl_lab.run.inference import TrainedModel, predict_to_csv
from tl_lab.run.scoring import score


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def model() -> TrainedModel:
    return TrainedModel(Network(TinyNet(), 3, seed=1), SingleLabel(["=a", "b", "c"]), (1, 6, 6))


@pytest.fixture
def x() -> torch.Tensor:
    return (blobs(5, 0).x * 255).round().to(torch.uint8)  # (5, 1, 6, 6)


@pytest.fixture
def folder(x: torch.Tensor, tmp_path: Path) -> Path:
    place = tmp_path / "new photos"
    place.mkdir()
    for i, image in enumerate(x):
        Image.fromarray(image[0].numpy()).save(place / f"{i}.png")
    return place


def same(model: TrainedModel, given: object, expected: torch.Tensor, **options: int) -> list[str]:
    answer = model.predict(given, **options)
    torch.testing.assert_close(answer.probabilities, expected)
    assert answer.values.tolist() == expected.argmax(1).tolist()
    return answer.names


def test_every_form_of_the_same_images_is_predicted_alike(
    model: TrainedModel, x: torch.Tensor, folder: Path, tmp_path: Path
) -> None:
    with torch.no_grad():
        p = model(x).softmax(1)
    numbers, files = [str(i) for i in range(5)], sorted(map(str, folder.iterdir()))
    grey = x[:, 0].numpy()
    assert same(model, x, p) == numbers
    assert same(model, x, p, batch_size=2) == numbers
    assert same(model, x.long(), p) == numbers
    assert same(model, x.permute(0, 2, 3, 1).numpy(), p) == numbers
    assert same(model, grey, p) == numbers
    assert same(model, x.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy(), p) == numbers  # grey, as RGB
    assert same(model, list(grey), p) == numbers
    assert same(model, [Image.fromarray(image) for image in grey], p) == numbers
    assert same(model, folder, p) == [f"{i}.png" for i in range(5)]
    assert same(model, files, p, batch_size=2) == files
    assert same(model, [folder], p) == [f"{i}.png" for i in range(5)]
    (tmp_path / "table.csv").write_text("path\n" + "".join(f"new photos/{i}.png\n" for i in range(5)))
    assert same(model, tmp_path / "table.csv", p) == [f"new photos/{i}.png" for i in range(5)]
    for one in (x[2], x[2, 0], x[2].permute(1, 2, 0).numpy(), Image.fromarray(grey[2]), files[2]):
        same(model, one, p[2:3])
    outside = tmp_path / "outside.png"
    Image.fromarray(grey[2]).save(outside)
    assert same(model, [outside, folder], torch.cat([p[2:3], p])) == [str(outside), *files]


def test_images_of_several_sizes_are_one_list(model: TrainedModel, x: torch.Tensor) -> None:
    twice = x[1, 0].numpy().repeat(2, 0).repeat(2, 1)
    answer = model.predict([x[0, 0].numpy(), twice])
    with torch.no_grad():
        resized = model.spec.fit(torch.as_tensor(twice)[None, None])
        expected = torch.cat([model(x[:1]), model(resized)]).softmax(1)
    torch.testing.assert_close(answer.probabilities, expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((3, 6, 6), np.uint8), r"one image of 3 channels or 3 grey images: give it the shape \(1, 3, 6, 6\)"),
        (np.zeros((2, 6, 6, 4), np.uint8), r"\(B, C, H, W\) or \(B, H, W, C\) of 1 or 3 channels, not of shape"),
        (np.zeros(6), "not of shape"),
        (np.full((2, 1, 6, 6), 7.0), r"floats in 0\.\.1, not 7"),
        ([], "the list of inputs is empty"),
        (np.zeros((0, 1, 6, 6), np.uint8), "nothing to predict"),
        (["a.png", np.zeros((6, 6))], "must contain paths, images or arrays"),
        (["a.png", "b.csv"], r"b\.csv is a table, which must be the only input"),
        ("nowhere", "there is no folder or file nowhere"),
        (["nowhere.png", "nowhere2.png"], r"nowhere\.png \(no such file\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_predicted_is_refused_in_one_sentence(model: TrainedModel, given: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        model.predict(given)


def test_unreadable_images_are_left_out_in_python_too(model: TrainedModel, folder: Path) -> None:
    (folder / "3.png").write_text("no image")
    with pytest.raises(UserError, match=r"3\.png \(not an image\)"):
        model.predict(folder)
    with pytest.warns(UserWarning, match=r"skipped: 1 of 5 images"):
        answer = model.predict(folder, skip_unreadable=True)
    assert answer.names == ["0.png", "1.png", "2.png", "4.png"]
    assert len(answer.labels) == len(answer.values) == 4


def test_logits_and_features_come_when_asked_for(model: TrainedModel, x: torch.Tensor) -> None:
    plain, full = model.predict(x), model.predict(x, batch_size=2, logits=True, features=True)
    assert (plain.logits, plain.features) == (None, None)
    assert full.features.shape == (5, 8)
    with torch.no_grad():
        torch.testing.assert_close(model.network.head(full.features), full.logits)
    torch.testing.assert_close(full.logits.softmax(1), plain.probabilities)


def test_a_table_of_predictions(
    model: TrainedModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "load", lambda *_: model)
    (folder / "0.png").rename(folder / "=cmd.png")
    written = predict_to_csv(tmp_path / "run", [folder / "=cmd.png", folder / "1.png"], arrays=True)
    assert written == tmp_path / "run" / "predictions" / "=cmd.png_and_1_more.csv"
    with written.open(newline="") as file:
        rows = list(csv.DictReader(file))
    answer = model.predict([folder / "=cmd.png", folder / "1.png"], features=True)
    labels = [f"'{label}" if label.startswith("=") else label for label in answer.labels]
    assert [row["label"] for row in rows] == labels
    assert [float(row["confidence"]) for row in rows] == pytest.approx(answer.confidence.tolist(), abs=5e-5)
    kept = np.load(written.with_suffix(".npz"))
    np.testing.assert_allclose(kept["features"], answer.features.numpy())
    assert kept["names"].tolist() == answer.names
    written = predict_to_csv(tmp_path / "run", folder)
    assert written.read_text().splitlines()[-1].startswith("'=cmd.png,")
    assert written.name == "new photos.csv"


def test_an_unfinished_run_predicts_with_a_warning_and_without_a_checkpoint_not_at_all(tmp_path: Path) -> None:
    run = tmp_path / "run"
    main([*PAIR, *QUIET, "trainer.max_epochs=1", "trainer.limit_train_batches=2", f"hydra.run.dir={run}"])
    inference.load(run)
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({**results, "status": "running"}))
    with pytest.warns(UserWarning, match="has not finished: its model so far is used"):
        inference.load(run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(
        UserError, match="has not finished, and has no checkpoint: the run ended before its first epoch was complete"
    ):
        inference.load(run)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    small = ["data=digits", "domain_adaptation=none", "backbone=lenet", "trainer.max_epochs=1", *QUIET]
    main([*small, "trainer.limit_train_batches=4", "health=false", f"hydra.run.dir={run}"])
    return run


def test_the_device_of_predictions_is_named(trained: Path, folder: Path, tmp_path: Path) -> None:
    table = predict_to_csv(trained, folder, tmp_path / "on_cpu.csv").read_text()
    if not torch.cuda.is_available():
        assert predict_to_csv(trained, folder, tmp_path / "auto.csv", device="auto").read_text() == table
        with pytest.raises(
            UserError, match=r"^--device gpu .* is not available: PyTorch finds no GPU here; --device cpu uses the CPU$"
        ):
            predict_to_csv(trained, folder, device="gpu")
        with pytest.raises(UserError, match=r"^--device gpu "):
            score(trained, folder, device="gpu")
    with pytest.raises(UserError, match="the device must be one of cpu, gpu, auto, not 'tpu'"):
        predict_to_csv(trained, folder, device="tpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_predicts_as_the_cpu(trained: Path, folder: Path) -> None:
    on_cpu, on_gpu = (inference.load_classifier(trained, device=device).predict(folder) for device in ("cpu", "gpu"))
    assert on_gpu.labels == on_cpu.labels
    torch.testing.assert_close(on_gpu.probabilities, on_cpu.probabilities, atol=1e-3, rtol=1e-3)
