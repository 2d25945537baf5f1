"""The user's own classes from a few examples each: every few-shot strategy, and any trained backbone."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from composing import run_in
from encoders_at_hand import tiny
from omegaconf import OmegaConf
from PIL import Image
from sklearn.neighbors import NearestCentroid
from torch.nn import functional as F

from tl_lab.__main__ import main
from tl_lab.errors import UserError
from tl_lab.run.given import read_given
from tl_lab.run.inference import TrainedModel, load
from tl_lab.run.support import FewShotModel

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

QUIET = ["logger=none", "figures=false", "health=false", "threads=1", "trainer.enable_progress_bar=false"]
EPISODES = ["data=episodes_of", "data.train.way=3", "data.episodes_per_epoch=4", "data.val_episodes=2"]
EPISODES += ["data.test_episodes=2", "trainer.max_epochs=1", "backbone=conv4", "backbone.width=8"]
EPISODES += ["domain_adaptation=none"]
CLASSES = {"left": (slice(None), slice(0, 3)), "right": (slice(None), slice(5, 8)), "top": (slice(0, 3), slice(None))}
STRATEGIES = ["prototypical", "matching", "maml", "baseline_plus_plus", "nearest_centroid"]


def picture(name: str, seed: int) -> np.ndarray:
    """A grey image of 8x8 pixels: noise, and a bright bar whose place is the class."""
    pixels = np.random.default_rng(seed).integers(0, 60, (8, 8)).astype(np.uint8)
    pixels[CLASSES[name]] = 230
    return pixels


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three, four and five examples of the classes, and two queries of each, named by their class."""
    support, queries = tmp_path_factory.mktemp("support"), tmp_path_factory.mktemp("queries")
    for number, name in enumerate(CLASSES):
        (support / name).mkdir()
        for i in range(3 + number):
            Image.fromarray(picture(name, 10 * number + i)).save(support / name / f"{i}.png")
        for i in range(2):
            Image.fromarray(picture(name, 100 + 10 * number + i)).save(queries / f"{name}_{i}.png")
    return support, queries


@pytest.fixture(scope="module", params=STRATEGIES)
def learned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / request.param
    run_in(folder, *EPISODES, *QUIET, f"strategy={request.param}")
    return folder


def test_queries_are_classified_as_a_test_classifies_them(learned: Path, folders: tuple[Path, Path]) -> None:
    support, queries = folders
    model = load(learned)
    assert isinstance(model, FewShotModel)
    supported = model.with_support(support)
    assert supported.class_names == list(CLASSES)
    answers = supported.predict(queries)
    expected = supported.learner.logits(supported.support, prepared(model, queries)).softmax(1)
    assert torch.equal(answers.probabilities, expected)
    assert torch.equal(answers.values, expected.argmax(1))
    assert answers.labels == [supported.class_names[i] for i in answers.values]
    assert torch.equal(answers.confidence, expected.max(1).values)
    assert answers.names == sorted(file.name for file in queries.iterdir())
    features = model.embed(supported.support.x)
    distances = ((model.embed(prepared(model, queries))[:, None] - features[None]) ** 2).sum(2)
    assert answers.nearest == [supported.support.names[i] for i in distances.argmin(1)]
    # an example is nearest to itself
    assert supported.predict(support).nearest == supported.support.names == sorted(supported.support.names)


def prepared(model: FewShotModel | TrainedModel, images: Path) -> torch.Tensor:
    (batch,) = read_given(images, model)
    return model.spec.prepare(batch.x)


@pytest.fixture(scope="module")
def prototypical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "prototypical"
    run_in(folder, *EPISODES, *QUIET, "strategy=prototypical")
    return folder


def test_prototypes_are_means_of_unequal_numbers_of_examples(prototypical: Path, folders: tuple[Path, Path]) -> None:
    support, queries = folders
    model = load(prototypical)
    answers = model.with_support(support).predict(queries)
    groups = [model.embed(prepared(model, support / name)) for name in CLASSES]
    assert [len(group) for group in groups] == [3, 4, 5]
    means = torch.stack([group.mean(0) for group in groups])
    distances = ((model.embed(prepared(model, queries))[:, None] - means[None]) ** 2).sum(2)
    torch.testing.assert_close(answers.probabilities, (-distances).softmax(1), rtol=1e-4, atol=1e-5)


def test_a_folder_a_table_and_arrays_give_the_same(
    prototypical: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    support, queries = folders
    model = load(prototypical)
    files = sorted(support.rglob("*.png"))
    table = tmp_path / "support.csv"
    pd.DataFrame({"path": files, "label": [file.parent.name for file in files]}).to_csv(table, index=False)
    arrays = {name: [np.array(Image.open(file)) for file in sorted((support / name).iterdir())] for name in CLASSES}
    answers = [model.with_support(given).predict(queries) for given in (support, table, arrays)]
    for other in answers[1:]:
        torch.testing.assert_close(other.probabilities, answers[0].probabilities, rtol=1e-5, atol=1e-6)
        assert other.labels == answers[0].labels


def test_any_trained_backbone_takes_a_support(folders: tuple[Path, Path], tmp_path: Path) -> None:
    support, queries = folders
    given = ["data=digits", "domain_adaptation=none", "backbone=mlp", "backbone.hidden=[16]", "trainer.max_epochs=1"]
    run_in(tmp_path / "run", *given, *QUIET, "trainer.limit_train_batches=2")
    model = load(tmp_path / "run")
    assert isinstance(model, TrainedModel)
    supported = model.with_support(support)
    parts = [prepared(model, support / name) for name in CLASSES]
    features = [F.normalize(model.network.features(x).flatten(1)).detach() for x in parts]
    labels = np.repeat(list(CLASSES), [3, 4, 5])
    reference = NearestCentroid().fit(torch.cat(features).numpy(), labels)
    of_queries = F.normalize(model.network.features(prepared(model, queries)).flatten(1)).detach().numpy()
    assert supported.predict(queries).labels == reference.predict(of_queries).tolist()


def test_answers_below_the_threshold_have_no_label(prototypical: Path, folders: tuple[Path, Path]) -> None:
    support, queries = folders
    supported = load(prototypical).with_support(support)
    every = supported.predict(queries)
    middle = float(every.confidence.median())
    some = supported.predict(queries, reject_below=middle)
    assert [bool(label) for label in some.labels] == (every.confidence >= middle).tolist()
    assert torch.equal(some.values, every.values)
    with pytest.raises(UserError, match=r"must be in \[0, 1\], not 2"):
        supported.predict(queries, reject_below=2)


def test_the_command_writes_label_confidence_and_nearest_example(
    prototypical: Path, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    support, queries = folders
    words = ["predict", str(prototypical), str(queries), "--support", str(support)]
    main([*words, "--output", str(tmp_path / "out.csv")])
    rows = pd.read_csv(tmp_path / "out.csv")
    answers = load(prototypical).with_support(support).predict(queries)
    assert rows.columns.tolist() == ["input", "label", "confidence", "nearest_support"]
    assert rows["label"].tolist() == answers.labels
    assert rows["nearest_support"].tolist() == answers.nearest
    np.testing.assert_allclose(rows["confidence"], answers.confidence, atol=5e-5)
    capsys.readouterr()
    for wrong, message in (
        (["predict", str(prototypical), str(queries)], "has no classes of its own: give a few examples"),
        ([*words[:3], "--reject-below", "0.5"], "requires --support"),
        ([*words[:4], str(tmp_path / "nowhere")], "there is no folder or file"),
        ([*words, "--arrays"], "leave --arrays out"),
    ):
        with pytest.raises(SystemExit):
            main(wrong)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (["a/1.png"], "at least two classes, not 1 (a)"),
        (["a/1.png", "b/notes.txt"], "contains no images"),
        (["1.png", "2.png"], "has no folders of classes"),
    ],
)
def test_a_wrong_support_is_reported(made: list[str], message: str, prototypical: Path, tmp_path: Path) -> None:
    for name in made:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith(".png"):
            Image.fromarray(picture("left", 0)).save(tmp_path / name)
        else:
            (tmp_path / name).write_text("")
    with pytest.raises(UserError) as refused:
        load(prototypical).with_support(tmp_path)
    assert message in str(refused.value)


def test_more_ways_of_a_wrong_support(prototypical: Path, tmp_path: Path) -> None:
    model = load(prototypical)
    with pytest.raises(UserError, match="the class 'b' of the support set has no example"):
        model.with_support({"a": [picture("left", 0)], "b": []})
    (tmp_path / "t.csv").write_text("path,class\na.png,1\n")
    with pytest.raises(UserError, match="has no column 'label'"):
        model.with_support(tmp_path / "t.csv")
    with pytest.raises(UserError, match="there is no folder or table"):
        model.with_support(tmp_path / "nowhere")


def test_support_sets_that_name_no_examples_are_refused(prototypical: Path, tmp_path: Path) -> None:
    model, image = load(prototypical), picture("left", 0)[None, None]
    with pytest.raises(UserError, match="the class 'b' of the support set has no example"):
        model.with_support({"a": image, "b": image[:0]})
    with pytest.raises(UserError, match=r"a folder, a table or a mapping .* not list"):
        model.with_support([image, image])  # type: ignore[arg-type]
    Image.fromarray(image[0, 0]).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("path,label\na.png,x\na.png,\n")
    with pytest.raises(UserError, match=r"t\.csv: row 2 has no label"):
        model.with_support(tmp_path / "t.csv")


def test_unreadable_examples_are_skipped_on_request(
    prototypical: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    support, queries = folders
    shutil.copytree(support, tmp_path / "support")
    (tmp_path / "support" / "left" / "broken.png").write_text("")
    model = load(prototypical)
    with pytest.raises(UserError, match=r"cannot be read: broken\.png"):
        model.with_support(tmp_path / "support")
    with pytest.warns(UserWarning, match="broken"):
        supported = model.with_support(tmp_path / "support", skip_unreadable=True)
    assert supported.support.names == model.with_support(support).support.names
    command = ["predict", str(prototypical), str(queries), "--support", str(tmp_path / "support")]
    main([*command, "--skip-unreadable", "--output", str(tmp_path / "out.csv")])
    labels = pd.read_csv(tmp_path / "out.csv")["label"].tolist()
    assert labels == model.with_support(support).predict(queries).labels


def test_examples_are_named_by_their_class(prototypical: Path) -> None:
    arrays = {8: picture("left", 0)[None, None], 10: np.stack([picture("top", i)[None] for i in range(2)])}
    supported = load(prototypical).with_support(arrays)  # type: ignore[dict-item]
    assert supported.class_names == ["10", "8"]  # in alphabetical order
    assert supported.support.names == ["10/0", "10/1", "8/0"]
    assert torch.equal(supported.predict(arrays[8]).values, torch.tensor([1]))
    assert supported.predict(arrays[8]).nearest == ["8/0"]
    with pytest.raises(UserError, match="two classes of the support set have the same name: 8, '8'"):
        load(prototypical).with_support({8: arrays[8], "8": arrays[10]})  # type: ignore[dict-item]


def test_examples_that_are_files_keep_their_paths(prototypical: Path, tmp_path: Path) -> None:
    for name in ("left", "top"):
        Image.fromarray(picture(name, 0)).save(tmp_path / f"{name}.png")
        Image.fromarray(picture(name, 1)).save(tmp_path / f"second {name}.png")
    files = {"top": [str(tmp_path / f"{number}top.png") for number in ("", "second ")], "left": tmp_path / "left.png"}
    assert load(prototypical).with_support(files).support.names == ["left/left.png", *files["top"]]


def test_a_table_or_folders_of_texts_are_a_support(tmp_path: Path) -> None:
    pd.DataFrame([(word, word) for word in "abc"] * 10, columns=["text", "label"]).to_csv(tmp_path / "t.csv")
    encoder = tiny(tmp_path / "encoder", "bert")
    data = ["data=text_table", f"data.path={tmp_path / 't.csv'}", "backbone=hf_text", f"backbone.name={encoder}"]
    run_in(tmp_path / "run", *QUIET, *data, "strategy=feature_extraction", "trainer.max_epochs=1")
    (tmp_path / "support.csv").write_text("text, label\na,first\nb,second\na a,first \n")
    for name, text in (("first", "a"), ("second", "b")):
        (tmp_path / "texts" / name).mkdir(parents=True)
        (tmp_path / "texts" / name / "1.txt").write_text(text)
    model = load(tmp_path / "run")
    of_table = model.with_support(tmp_path / "support.csv")
    assert of_table.support.names == ["first/0", "first/1", "second/0"]
    assert of_table.predict(["b", "a"]).labels == ["second", "first"]
    of_folders = model.with_support(tmp_path / "texts")
    assert of_folders.support.names == ["first/1.txt", "second/1.txt"]
    assert of_folders.predict(["b", "a"]).labels == ["second", "first"]


def test_a_head_for_a_number_of_classes_takes_no_other(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run_in(tmp_path / "maml", *EPISODES, *QUIET, "strategy=maml")
    arrays = {name: [picture(name, i) for i in range(2)] for name in ("left", "right")}
    with pytest.raises(UserError, match=r"trained with a head for 3 classes, .* a support of 3 classes, not 2"):
        load(tmp_path / "maml").with_support(arrays)


def test_a_foreign_strategy_is_not_built(prototypical: Path, tmp_path: Path) -> None:
    folder, mark = tmp_path / "run", tmp_path / "mark"
    shutil.copytree(prototypical, folder)
    stored = OmegaConf.load(folder / "config.yaml")
    stored.strategy.layers = {"_target_": "os.system", "command": f"touch {mark}"}
    OmegaConf.save(stored, folder / "config.yaml")
    with pytest.raises(UserError, match=r"call 'os\.system'"):
        load(folder)
    assert not mark.exists()


def test_an_adapter_under_episodes_takes_a_support(folders: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("peft")
    support, queries = folders
    run_in(tmp_path / "run", *EPISODES, *QUIET, "strategy=prototypical", "adapter=lora")
    answers = load(tmp_path / "run").with_support(support).predict(queries)
    assert len(answers.labels) == 6
    assert set(answers.labels) <= set(CLASSES)


def test_drawings_are_inverted_to_the_background_of_training(
    prototypical: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    support, queries = folders
    other = tmp_path / "inverted"
    for file in sorted(support.rglob("*.png")):
        (other / file.parent.name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - np.array(Image.open(file))).save(other / file.parent.name / file.name)
    model = load(prototypical)
    model.reading["ground"] = "dark"
    expected = model.with_support(support).predict(queries)
    with pytest.warns(
        UserWarning, match="12 of 12 support images have a bright background, but the run was trained on drawings"
    ):
        supported = model.with_support(other)
    brought = supported.predict(queries).probabilities
    torch.testing.assert_close(brought, expected.probabilities, rtol=0, atol=2e-4)  # images are resized as bytes
    model.reading.pop("ground")  # as it was before
    as_given = model.with_support(other).predict(queries).probabilities
    assert float((as_given - expected.probabilities).abs().max()) > 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_answers_as_the_cpu(learned: Path, folders: tuple[Path, Path]) -> None:
    support, queries = folders
    on_cpu, on_gpu = (load(learned, device=device).with_support(support).predict(queries) for device in ("cpu", "gpu"))
    assert on_gpu.labels == on_cpu.labels  # which support image is nearest can be close to a tie
    torch.testing.assert_close(on_gpu.probabilities, on_cpu.probabilities, atol=1e-3, rtol=1e-3)


def test_the_strategy_knows_its_device_after_a_move(learned: Path) -> None:
    assert load(learned).to("meta").strategy.device.type == "meta"
