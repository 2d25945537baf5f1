"""A resumed run or sweep uses its original data or reports changes; tables mark runs on different data."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from laboratory import Blobs
from omegaconf import OmegaConf
from PIL import Image

from tl_lab.cli.train import main
from tl_lab.data.sets.amazon_reviews import AmazonReviews
from tl_lab.data.sets.image_folder import ImageFolder, ImageFolderPair
from tl_lab.data.sets.office_caltech10 import OfficeCaltech10
from tl_lab.errors import UserError
from tl_lab.results.folder.files import write_json
from tl_lab.results.folder.record import Record
from tl_lab.results.tables.collecting import collect
from tl_lab.results.tables.summarising import summarise
from tl_lab.run.data_identity import check_beside, has_changed, use_places

FOLDER = "tl_lab.data.sets.image_folder.ImageFolder"
SMALL = [
    "data=image_folder", "data.root=base", "data.size=8", "data.channels=1", "data.workers=0", "data.batch_size=8",
    "backbone=mlp", "backbone.hidden=[8]", "trainer.max_epochs=1", "trainer.enable_progress_bar=false", "logger=none",
    "figures=false",
]  # fmt: skip

TABLE = [
    "data=table", "data.path=base.csv", "data.label_column=kind", "data.val_share=0.2", *SMALL[5:],
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path_factory.mktemp("data")))


def images(root, start=0):
    """Write two classes of ten random images each."""
    for label, name in enumerate(("ant", "bee")):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(10):
            pixels = np.random.default_rng([start, label, i]).integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def results(folder):
    return json.loads((folder / "results.json").read_text())


def loaded(root, seed=0):
    data = ImageFolder(root=str(root), seed=seed)
    data.load()
    return data


# ---------------------------------------------------------------------- hashes


def test_the_content_hash_is_that_of_the_files_whatever_the_seed(tmp_path):
    base, copy = images(tmp_path / "base"), tmp_path / "copy"
    shutil.copytree(base, copy)
    first, other, moved = loaded(base), loaded(base, seed=1), loaded(copy)
    assert first.content_hash == other.content_hash == moved.content_hash != ""
    assert first.fingerprint() == moved.fingerprint() != other.fingerprint()
    assert Blobs().content_hash == ""
    data = (copy / "ant" / "3.png").read_bytes()
    (copy / "ant" / "3.png").write_bytes(data + b"x")
    changed = loaded(copy)
    assert changed.content_hash != first.content_hash
    (copy / "ant" / "3.png").write_bytes(data)
    (copy / "ant" / "3.png").rename(copy / "bee" / "33.png")
    assert loaded(copy).content_hash not in (first.content_hash, changed.content_hash)


def test_data_of_data_have_their_content_hash(tmp_path):
    from tl_lab.data.scenarios.data_stream import DataStream

    one, other = images(tmp_path / "one"), images(tmp_path / "other", start=1)
    hashes = []
    for second in (other, one, other):
        stream = DataStream(datasets=[ImageFolder(root=str(one)), ImageFolder(root=str(second))], scenario="task")
        stream.load()
        hashes.append(stream.content_hash)
        assert stream.shape == (3, 224, 224)
    assert hashes[0] == hashes[2] != hashes[1]
    assert "" not in hashes


def test_changed_data_are_refused_with_both_hashes_or_start_anew(tmp_path):
    data = loaded(images(tmp_path / "base"))
    now, content = data.fingerprint(), data.content_hash
    assert not has_changed({}, data, restarts=False)  # it ended before it had read them
    assert not has_changed({"data_hash": now, "content_hash": content}, data, restarts=False)
    assert not has_changed({"data_hash": "of names and sizes"}, data, restarts=False)  # of an earlier version
    before = {"data_hash": "0123456789abcdef", "content_hash": "0"}
    assert has_changed(before, data, restarts=True)
    with pytest.raises(UserError, match=rf"their hash was 0123456789abcdef and is {now}; .*changed_data=restart"):
        has_changed(before, data, restarts=False)
    computed = Blobs()
    computed.load()
    with pytest.raises(UserError, match="the data have changed"):
        has_changed({"data_hash": "0123456789abcdef"}, computed, restarts=False)


# ---------------------------------------------------------------------- places


@pytest.mark.parametrize(
    ("kind", "node", "options"),
    [
        (ImageFolder, {"root": "base"}, {"root": "base"}),
        (ImageFolderPair, {"source": ["a", "b"], "target": "c"}, {"source": ["a", "b"], "target": "c"}),
        (OfficeCaltech10, {"source": "amazon", "target": "dslr", "root": None}, {"root": None}),
        (AmazonReviews, {"root": "here"}, {"root": "here"}),
        (Blobs, {}, {}),
    ],
)
def test_places_are_absolute(tmp_path, monkeypatch, kind, node, options):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path / "data"))

    def absolute(given):
        if isinstance(given, list):
            return [absolute(one) for one in given]
        return str(tmp_path / ("data" if given is None else given))

    assert kind.places_for(node) == {option: absolute(given) for option, given in options.items()}


@pytest.mark.parametrize(
    ("kind", "option", "base"),
    [(FOLDER, "root", "base"), ("tl_lab.data.sets.table.Table", "path", "base.csv")],
    ids=["folder", "file"],
)
def test_recorded_places_are_used_while_they_are_there(tmp_path, monkeypatch, kind, option, base):
    monkeypatch.chdir(tmp_path)
    for name in (f"there/{base}", f"new-{base}"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch() if option == "path" else (tmp_path / name).mkdir()
    key = f"data.datasets.0.{option}"

    def used(before, given=None):
        inner = {"_target_": kind, option: base}
        cfg = OmegaConf.create(
            {"data": {"_target_": "tl_lab.data.scenarios.data_stream.DataStream", "datasets": [inner]}}
        )
        stored = {key: {"given": base, "used": before}} if before else {}
        (found,) = use_places(cfg, stored, given).values()
        assert found["given"] == base
        return cfg.data.datasets[0][option], found["used"]

    there = str(tmp_path / "there" / base)
    assert used(None) == (base, str(tmp_path / base))
    assert used(there) == (there, there)
    assert used(str(tmp_path / "gone")) == (base, str(tmp_path / base))
    for foreign in ("${oc.env:HOME}", "relative", 5, [there, "${oc.env:HOME}"]):
        assert used(foreign)[0] == base
    new = str(tmp_path / f"new-{base}")
    assert used(there, {key: f"new-{base}"}) == (new, new)
    with pytest.raises(
        UserError, match=rf"data\.batch_size is not a folder or file of .*only these can be changed: {key}"
    ):
        used(there, {"data.batch_size": "3"})


# ---------------------------------------------------------------------- runs


def rows(path, start=0):
    """Write a table of two classes of ten random rows each."""
    path.parent.mkdir(parents=True)
    values = np.random.default_rng(start).normal(size=(20, 2))
    lines = [f"{a},{b},{('ant', 'bee')[i % 2]}\n" for i, (a, b) in enumerate(values)]
    path.write_text("a,b,kind\n" + "".join(lines))
    return path


@pytest.mark.parametrize(
    ("write", "place", "options"),
    [(images, "data.root=base", SMALL), (rows, "data.path=base.csv", TABLE)],
    ids=["folder", "file"],
)
def test_a_run_that_is_resumed_with_other_data(tmp_path, monkeypatch, capsys, write, place, options):
    key, name = place.split("=")
    base = write(tmp_path / "here" / name)
    write(tmp_path / "there" / name, start=1)
    monkeypatch.chdir(tmp_path / "here")
    main([*options, f"hydra.run.dir={tmp_path / 'run'}"])
    first = results(tmp_path / "run")
    assert first["data_places"] == {key: {"given": name, "used": str(base)}}
    write_json(tmp_path / "run" / "results.json", first | {"status": "running", "metrics": {}})
    monkeypatch.chdir(tmp_path / "there")
    main([f"resume={tmp_path / 'run'}"])  # other data of that name are here
    again = results(tmp_path / "run")
    assert again["metrics"] == first["metrics"]
    assert again["config_hash"] == first["config_hash"]
    assert again["data_places"] == first["data_places"]
    write_json(tmp_path / "run" / "results.json", first | {"status": "running", "metrics": {}})
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([f"resume={tmp_path / 'run'}", place])
    assert f"their hash was {first['data_hash']} and is " in capsys.readouterr().err
    main([f"resume={tmp_path / 'run'}", place, "changed_data=restart"])
    main([*options, f"hydra.run.dir={tmp_path / 'fresh'}"])
    anew, fresh = results(tmp_path / "run"), results(tmp_path / "fresh")
    assert anew["metrics"] == fresh["metrics"]
    assert anew["data_hash"] == fresh["data_hash"] != first["data_hash"]
    assert (tmp_path / "run" / "metrics.csv").read_text() == (tmp_path / "fresh" / "metrics.csv").read_text()


@pytest.mark.slow
def test_a_sweep_that_is_resumed_with_other_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images(tmp_path / "base")
    sweep = ["-m", *SMALL, f"hydra.sweep.dir={tmp_path / 'sweep'}", "hydra.launcher.jobs=1"]
    main([*sweep, "seed=0"])
    first = results(tmp_path / "sweep" / "0")
    images(tmp_path / "base", start=1)
    shutil.rmtree(tmp_path / "sweep" / "sweep.json", ignore_errors=True)
    with pytest.raises(SystemExit):
        main([*sweep, "seed=0,1", "sweep.resume=true"])
    refused = results(tmp_path / "sweep" / "1")
    assert refused["status"] == "failed"
    assert f"their content_hash was {first['content_hash']} and is " in refused["error"]
    assert results(tmp_path / "sweep" / "0") == first
    main([*sweep, "seed=0,1", "sweep.resume=true", "changed_data=restart"])
    anew = [results(tmp_path / "sweep" / str(job)) for job in (0, 1)]
    assert [one["status"] for one in anew] == ["completed"] * 2
    assert anew[0]["content_hash"] == anew[1]["content_hash"] != first["content_hash"]
    runs = collect(tmp_path / "sweep")
    assert runs["setting"].nunique() == 1


def test_runs_of_a_sweep_that_saw_other_data_are_found(tmp_path):
    data = loaded(images(tmp_path / "base"))
    own = {"comparison_key": "k", "data_places": {"data.root": {"given": "base", "used": "/x/base"}}}
    other = {**own, "status": "completed", "content_hash": "0123456789abcdef"}
    record = Record(tmp_path / "sweep" / "1")
    record.content |= own
    for changed in (
        {"status": "failed"},
        {"content_hash": data.content_hash},
        {"comparison_key": "another setting"},
        {"data_places": {"data.root": {"given": "other", "used": "/x/other"}}},
    ):
        write_json(tmp_path / "sweep" / "0" / "results.json", other | changed)
        check_beside(record, data, tmp_path / "sweep")
    write_json(tmp_path / "sweep" / "0" / "results.json", other)
    with pytest.raises(UserError, match=rf"content_hash was 0123456789abcdef and is {data.content_hash}, and both"):
        check_beside(record, data, tmp_path / "sweep")
    check_beside(record, SimpleNamespace(content_hash=""), tmp_path / "sweep")


# ---------------------------------------------------------------------- tables


def test_runs_of_other_data_are_no_repeats(tmp_path):
    for number, (seed, content) in enumerate([(0, "a" * 16), (1, "a" * 16), (2, "b" * 16)]):
        folder = tmp_path / str(number)
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "overrides.yaml").write_text(
            f"- seed={seed}\n- changed_data=restart\n" if seed else "[]\n"
        )
        content = {"status": "completed", "metrics": {"test/acc": 0.1 * seed}, "seed": seed, "content_hash": content}
        write_json(folder / "results.json", content)
    table = summarise(collect(tmp_path))
    assert table["setting"].tolist() == ["all runs (data aaaaaaaa)", "all runs (data bbbbbbbb)"]
    assert table["n"].tolist() == [2, 1]
    assert table["test/acc mean"].tolist() == pytest.approx([0.05, 0.2])
