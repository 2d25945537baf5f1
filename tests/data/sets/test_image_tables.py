"""Images listed in a table: findings, uncertain labels, patients, views, DICOM; and the stored X-rays."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from composing import run_in
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from tl_lab.assess.card import write_card
from tl_lab.cli.main import main
from tl_lab.data.inputs.decoding import picture
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.levels import Levels
from tl_lab.data.sets.chest_xray import ChestXray
from tl_lab.data.sets.image_table import ImageTable
from tl_lab.data.sets.pneumonia_xray import PneumoniaXray
from tl_lab.data.splits import group_split
from tl_lab.errors import UserError
from tl_lab.run.inference import load
from tl_lab.training.explaining import _explained

ROOT = Path(os.environ.get("TL_LAB_DATA", ""))
real = pytest.mark.skipif(not (ROOT / "pneumonia_xray").is_dir(), reason="TL_LAB_DATA with pneumonia_xray is not here")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
COUNT = 30


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty films of fifteen patients, two each; the upper or the lower half is bright."""
    folder, draw = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    rows = []
    for i in range(COUNT):
        pixels = draw.integers(0, 60, (20, 20)).astype(np.uint8)
        high, low = i % 2, (i // 2) % 2
        pixels[:10] += np.uint8(120 * high)
        pixels[10:] += np.uint8(120 * low)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        view = "PA" if i % 5 else "L"
        row = {"path": f"{i}.png", "high": high, "low": "" if i % 7 == 0 else -1 if i % 7 == 1 else low}
        rows.append({**row, "who": f"p{i // 2}", "view": view, "class": "ab"[high], "part": "train"})
    pd.DataFrame(rows).to_csv(folder / "films.csv", index=False)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def loaded(data: ImageTable | PneumoniaXray):
    data.load()
    return data


def table(films: Path, **options) -> ImageTable:
    return loaded(ImageTable(path=str(films / "films.csv"), **options))


FINDINGS = {"findings": ["high", "low"], "patient_column": "who"}


def test_no_patient_is_in_two_parts(films: Path) -> None:
    data = table(films, **FINDINGS)
    patients = {name: set(samples.columns["patient"].tolist()) for name, samples in data.sets.items()}
    assert sum(len(samples) for samples in data.sets.values()) == COUNT
    assert sum(len(found) for found in patients.values()) == len(set.union(*patients.values())) == COUNT // 2
    assert len(data.sets["test"]) == 6
    assert data.screens


def test_groups_of_a_column_and_of_several(films: Path) -> None:
    data = table(films, label_column="class", group_column="view")
    seen = torch.cat([samples.columns["group"] for samples in data.sets.values()])
    assert data.column_values["group"] == ["L", "PA"]
    assert torch.bincount(seen).tolist() == [6, 24]  # every fifth film is lateral
    both = table(films, label_column="class", group_column=["view", "high"])
    assert both.column_values["group"] == ["L-0", "L-1", "PA-0", "PA-1"]
    for samples in both.sets.values():
        assert torch.equal(samples.columns["group"] % 2, samples.y)  # the class is that of ``high``
    with pytest.raises(UserError, match=r"data\.group_column: .* has no column 'sex'"):
        table(films, label_column="class", group_column="sex")


def test_groups_are_drawn_by_seed() -> None:
    groups = torch.arange(100) // 4
    first, again, other = (group_split(groups, {"val": 0.1, "test": 0.2}, seed, "patients") for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["test"], other["test"])
    assert {name: len(index) for name, index in first.items()} == {"train": 68, "val": 12, "test": 20}
    with pytest.raises(UserError, match="2 patients are too few for training and val, test"):
        group_split(torch.tensor([0, 0, 1]), {"val": 0.2, "test": 0.2}, 0, "patients")


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, (-1, -1)), ({"uncertain": "one", "missing": "zero"}, (1, 0)), ({"uncertain": "self_train"}, (-2, -1))],
)
def test_uncertain_and_missing_labels_are_read_as_asked(films: Path, options: dict, expected: tuple) -> None:
    data = table(films, **FINDINGS, **options)
    given = pd.read_csv(films / "films.csv", dtype=str, keep_default_na=False)
    for name, samples in data.sets.items():
        for path, y in zip(samples.x.names, samples.y[:, 1].tolist(), strict=True):
            cell = given.low[given.path == path].item()
            uncertain = expected[0] if name == "train" else max(expected[0], -1)
            assert y == {"-1": uncertain, "": expected[1], "0": 0, "1": 1}[cell]


def test_a_patient_on_both_sides_of_a_given_split_is_refused(films: Path, tmp_path: Path) -> None:
    given = pd.read_csv(films / "films.csv")
    given["part"] = ["train"] * 20 + ["test"] * 10
    given.to_csv(tmp_path / "films.csv", index=False)
    options = {**FINDINGS, "split_column": "part", "root": str(films)}
    data = table(tmp_path, **options)
    assert len(data.sets["test"]) == 10
    assert len(data.sets["train"]) + len(data.sets["val"]) == 20
    given.loc[0, "part"] = "test"
    given.to_csv(tmp_path / "films.csv", index=False)
    with pytest.raises(UserError, match=r"1 patients are in train and in test \(p0\): assign each patient to one part"):
        table(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "set either data.label_column .* or data.findings .*, not both"),
        ({"findings": ["hihg"]}, "data.findings: .* has no column 'hihg'; did you mean 'high'"),
        ({"findings": ["view"]}, "the finding 'view' is 'L' in row 1: findings must be 1, 0, -1"),
        ({**FINDINGS, "view_column": "view", "views": ["AP"]}, "has no view 'AP'; valid: L, PA"),
        ({**FINDINGS, "image_column": "class"}, "30 of 30 images in .* cannot be read: a .no such file"),
        ({**FINDINGS, "split_column": "part"}, "cells in .* must be train, val or test, and train and test"),
    ],
)
def test_mistakes_are_one_sentence(films: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        table(films, **options)
    assert "\n" not in str(refused.value)


def test_views_classes_and_lists_of_findings(films: Path, tmp_path: Path) -> None:
    data = table(films, label_column="class", view_column="view", views=["PA"], patient_column="who")
    assert sum(len(samples) for samples in data.sets.values()) == 24
    assert data.class_names == ["a", "b"]
    given = pd.read_csv(films / "films.csv")
    both = {(0, 0): "No Finding", (1, 0): "Mass", (0, 1): "Edema", (1, 1): "Edema|Mass"}
    listed = [both[i % 2, (i // 2) % 2] for i in range(COUNT)]
    nih = pd.DataFrame({"Image Index": given.path, "Finding Labels": listed, "Patient ID": given.who})
    nih.to_csv(tmp_path / "films.csv", index=False)
    chest = loaded(ChestXray(path=str(tmp_path / "films.csv"), root=str(films)))
    assert len(chest.class_names) == 14
    train = chest.sets["train"]
    places = [int(name.removesuffix(".png")) for name in train.x.names]
    assert train.y[:, chest.class_names.index("Mass")].tolist() == [i % 2 for i in places]
    assert train.y[:, chest.class_names.index("Edema")].tolist() == [(i // 2) % 2 for i in places]


def test_patients_of_chexpert_stand_in_the_paths(films: Path, tmp_path: Path) -> None:
    for i in range(COUNT):
        place = tmp_path / f"patient{i // 2:05}" / "study1"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"view{i % 2}.png").write_bytes((films / f"{i}.png").read_bytes())
    paths = [f"patient{i // 2:05}/study1/view{i % 2}.png" for i in range(COUNT)]
    rows = pd.DataFrame({"Path": paths, "Edema": [float(i % 2) for i in range(COUNT)], "Fracture": [-1.0, None] * 15})
    rows.to_csv(tmp_path / "train.csv", index=False)
    options = {"style": "chexpert", "findings": ["Edema", "Fracture"], "uncertain": "one", "missing": "zero"}
    data = loaded(ChestXray(path=str(tmp_path / "train.csv"), **options))
    assert len(data.column_values["patient"]) == 15
    assert set(data.sets["train"].y[:, 1].tolist()) == {0.0, 1.0}
    paths[0] = "somewhere.png"
    rows.assign(Path=paths).to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(UserError, match=r"'somewhere\.png' contains no patient: set data\.patient_column"):
        loaded(ChestXray(path=str(tmp_path / "train.csv"), **options))


def test_a_run_reports_each_finding(films: Path, tmp_path: Path) -> None:
    options = ["data=image_table", f"data.path={films / 'films.csv'}", "data.label_column=null", "data.size=20"]
    options += ["data.findings=[high,low]", "data.patient_column=who", "data.workers=0", "data.batch_size=8"]
    options += ["backbone=conv4", "backbone.width=4", "trainer.max_epochs=4", "logger=none", "figures=false"]
    results = run_in(tmp_path / "run", *options)
    rows = {row["finding"]: row for row in results["findings"]}
    assert set(rows) == {"high", "low"}
    data = table(films, **FINDINGS, size=20)
    test, model = data.sets["test"], load(tmp_path / "run")
    p = model.predict([films / name for name in test.x.names]).probabilities
    known = test.y[:, 1] >= 0
    for k, (name, here) in enumerate((("high", torch.ones(len(test), dtype=torch.bool)), ("low", known))):
        assert rows[name]["samples"] == int(here.sum())
        expected = roc_auc_score(test.y[here, k], p[here, k])
        assert rows[name]["auroc"] == pytest.approx(expected)
        assert rows[name]["low"] <= rows[name]["auroc"] <= rows[name]["high"]
        false, true, _ = roc_curve(test.y[here, k], p[here, k])
        assert rows[name]["sensitivity_at_90"] == pytest.approx(true[false <= 0.1].max())
    written = pd.read_csv(tmp_path / "run" / "findings.csv")
    assert written.finding.tolist() == ["high", "low"]
    card = write_card(tmp_path / "run", tmp_path)[0].read_text(encoding="utf-8")
    assert f"| high | {rows['high']['positive']} of {rows['high']['samples']} |" in " ".join(card.split())


def test_maps_explain_each_finding_in_images_that_have_it(films: Path, tmp_path: Path) -> None:
    pytest.importorskip("captum", reason="tl_lab[explain] is not installed")
    options = ["data=image_table", f"data.path={films / 'films.csv'}", "data.label_column=null", "data.size=20"]
    options += ["data.findings=[high,low]", "data.patient_column=who", "data.workers=0", "data.batch_size=8"]
    options += ["data.test_share=0.5", "backbone=conv4", "backbone.width=4", "trainer.max_epochs=1", "logger=none"]
    run_in(tmp_path / "run", *options, "figures=true")
    assert (tmp_path / "run" / "figures" / "activation_maps_test.png").stat().st_size > 5000
    data = table(films, **FINDINGS, size=20, test_share=0.5)
    index, finding = _explained(data, "test")
    assert finding is not None
    y = data.sets["test"].y
    assert bool((y[index, finding] == 1).all())
    assert torch.bincount(finding).tolist() == [min(4, int((y[:, k] == 1).sum())) for k in range(2)]


def test_findings_are_audited_by_group_where_they_are_known(films: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TL_LAB_OUTPUTS", str(tmp_path))
    given = ["data=image_table", f"data.path={films / 'films.csv'}", "data.label_column=null", "data.size=20"]
    given += ["data.findings=[high,low]", "data.patient_column=who", "data.group_column=view", "backbone=conv4"]
    main(["assess", *given, "data.workers=0", "data.test_share=0.4", "backbone.width=4", "assess=bias"])
    content = json.loads(next(tmp_path.glob("assessments/*/*/assessment.json")).read_text())
    part = content["parts"]["bias"]
    assert part["status"] == "assessed"
    test = table(films, **FINDINGS, size=20, group_column="view", test_share=0.4).sets["test"]
    known = test.y[:, 1] >= 0
    for number, view in enumerate(["L", "PA"]):
        here = (test.columns["group"] == number) & known
        assert bool(here.any())
        assert f"group/a linear probe on conv4, low/{view}/tpr" in part["measures"]
        stated = part["measures"][f"group/low/calibration/{view}"]["value"] + float(
            (test.y[here, 1] == 1).double().mean()
        )
        assert 0 <= stated <= 1
    assert not any(key.startswith("patient/") for key in part["measures"])
    assert not any("/difference/" in key for key in part["measures"])  # of fewer than 30 films, nothing is concluded
    assert part["confidence"] == "low"


# ---------------------------------------------------------------------- DICOM


def dicom(path: Path, pixels: np.ndarray, **facts) -> Path:
    pydicom = pytest.importorskip("pydicom", reason="tl_lab[medical] is not installed")
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = pixels.astype(np.uint16).tobytes()
    for name, value in facts.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def test_dicom_is_shown_in_its_window(tmp_path: Path) -> None:
    pixels = np.array([[0, 1000, 1112], [1200, 1300, 4000]])
    plain = dicom(tmp_path / "a.dcm", pixels)
    assert np.asarray(picture(plain, "L")).tolist() == np.rint(pixels * 255 / 4000).astype(int).tolist()
    facts = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 76.5, "WindowWidth": 201}
    windowed = np.asarray(picture(dicom(tmp_path / "b.dcm", pixels, **facts), "L"))
    # in units: -1024, -24, 88, 176, 276, 2976; black at 76.5 - .5 - 100 = -24, white at 176
    assert windowed.tolist() == [[0, 0, 143], [255, 255, 255]]
    inverted = picture(dicom(tmp_path / "c.dcm", pixels, PhotometricInterpretation="MONOCHROME1"), "L")
    assert np.asarray(inverted).tolist() == np.rint(255 - pixels * 255 / 4000).astype(int).tolist()
    chosen = picture(tmp_path / "b.dcm", "L", Levels.given([-24, 276]))
    assert np.asarray(chosen).tolist() == [[0, 0, 95], [170, 255, 255]]


def test_dicom_files_are_images_of_a_table(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for i in range(12):
        dicom(tmp_path / f"{i}.dcm", draw.integers(0, 3000, (18, 18)))
    rows = pd.DataFrame({"path": [f"{i}.dcm" for i in range(12)], "label": ["a", "b"] * 6})
    rows.to_csv(tmp_path / "films.csv", index=False)
    data = table(tmp_path, label_column="label", test_share=0.25, val_share=0.2)
    data.use(ImageSpec((18, 18), 1))
    x = data.sets["train"].x
    assert x.shape[1:] == (1, 18, 18)
    assert float(x.max()) == 1.0


# ---------------------------------------------------------------------- the X-rays at hand


@real
def test_the_balanced_subset() -> None:
    data = loaded(PneumoniaXray())
    assert "not comparable with published ones" in data.notes[-1]
    counts = {name: torch.bincount(samples.y).tolist() for name, samples in data.sets.items()}
    assert counts == {"train": [1214, 1214], "val": [135, 135], "test": [234, 234]}
    assert data.sets["test"].x.shape == (468, 1, 28, 28)
