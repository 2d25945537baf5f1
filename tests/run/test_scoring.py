"""``python -m tl_lab test``: scoring a finished run on other labelled samples."""

from pathlib import Path

import pytest
import torch
from laboratory import TinyNet, blobs
from PIL import Image
from sklearn.metrics import roc_auc_score

from tl_lab.errors import UserError
from tl_lab.model.network import Network
from tl_lab.problems import Findings, MultiLabel, Problem, Regression, SingleLabel
from tl_lab.run import scoring
from tl_lab.run.inference import TrainedModel


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))


def trained(monkeypatch: pytest.MonkeyPatch, problem: Problem) -> TrainedModel:
    model = TrainedModel(Network(TinyNet(), problem.num_outputs, seed=1), problem, (1, 6, 6))
    monkeypatch.setattr(scoring, "load_classifier", lambda *_, device: model)
    return model


def images(folder: Path, names: list[str]) -> torch.Tensor:
    x = (blobs(len(names), 0).x * 255).round().to(torch.uint8)
    for image, name in zip(x, names, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / name)
    return x


def test_a_folder_of_classes_gives_the_scores_of_its_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(monkeypatch, SingleLabel(["a", "b", "c"]))
    x = images(tmp_path / "new", [f"{'ac'[i % 2]}/{i}.png" for i in range(6)])
    y = torch.tensor([0, 2] * 3)
    found = scoring.score(tmp_path / "run", tmp_path / "new")
    answer = model.predict(x)
    right = answer.values == y
    assert found["metrics"]["test/new/acc"] == pytest.approx(float(right.float().mean()))
    balanced = (right[y == 0].float().mean() + right[y == 2].float().mean()) / 2
    assert found["metrics"]["test/new/balanced_acc"] == pytest.approx(float(balanced))
    assert (found["count"], found["absent"]) == (6, ["b"])
    assert Path(found["file"]) == tmp_path / "run" / "tests" / "new.json"
    table = "path,label\n" + "".join(f"new/{'ac'[i % 2]}/{i}.png,{'ac'[i % 2]}\n" for i in range(6))
    (tmp_path / "table.csv").write_text(table)
    assert list(scoring.score(tmp_path / "run", tmp_path / "table.csv")["metrics"].values()) == pytest.approx(
        list(found["metrics"].values())
    )


def test_labels_and_numbers_stand_in_columns_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(tmp_path, ["1.png", "2.png", "3.png"])
    table = tmp_path / "table.csv"
    table.write_text("path,u,v\n1.png,1,0\n2.png,0,1\n3.png,1,1\n")
    y = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    model = trained(monkeypatch, MultiLabel(["u", "v"]))
    found = scoring.score(tmp_path, table)["metrics"]
    exact = (model.predict(x).values == y).all(1).double().mean()
    assert found["test/table/subset_acc"] == pytest.approx(float(exact))
    numbers = Regression(["u", "v"])
    numbers.learn(y)
    model = trained(monkeypatch, numbers)
    found = scoring.score(tmp_path, table)["metrics"]
    assert found["test/table/mae"] == pytest.approx(float((model.predict(x).values - y).abs().mean()), rel=1e-5)


def test_findings_that_are_not_known_are_not_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(tmp_path, ["1.png", "2.png", "3.png", "4.png"])
    table = tmp_path / "table.csv"
    table.write_text("path,u,v\n1.png,1,\n2.png,0,1\n3.png,1,-1\n4.png,0,0\n")
    model = trained(monkeypatch, Findings(["u", "v"]))
    found = scoring.score(tmp_path, table)["metrics"]
    p = model.predict(x).probabilities
    expected = (roc_auc_score([1, 0, 1, 0], p[:, 0]) + roc_auc_score([1, 0], p[[1, 3], 1])) / 2
    assert found["test/table/auroc"] == pytest.approx(expected)
    assert found["test/table/subset_acc"] == pytest.approx(
        float(((p[[1, 3]] >= 0.5) == torch.tensor([[False, True], [False, False]])).all(1).double().mean())
    )


@pytest.mark.parametrize(
    ("names", "table", "message"),
    [
        (["a/1.png", "bb/2.png"], None, "'bb' is not a class of the run; did you mean"),
        (["1.png"], None, "no sub-folders: give one for each class, such as 'a'"),
        (["1.png"], "path,klass\n1.png,a\n", "has no column 'label'"),
        (["1.png"], "path,label\n1.png,a\n1.png,b\n", "two different labels"),
    ],
)
def test_wrong_labels_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], table: str | None, message: str
) -> None:
    trained(monkeypatch, SingleLabel(["a", "b", "c"]))
    images(tmp_path / "new", names)
    place = tmp_path / "new"
    if table is not None:
        place = tmp_path / "new" / "table.csv"
        place.write_text(table)
    with pytest.raises(UserError, match=message):
        scoring.score(tmp_path, place)
