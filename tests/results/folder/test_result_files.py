import errno
import json
import math
import os
import subprocess
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from tl_lab.errors import UserError
from tl_lab.results.folder import files
from tl_lab.results.folder.files import not_completed, plain, read_results, replacing, write_json, write_text


def test_numbers_of_every_kind_become_json(tmp_path):
    content = {
        "python": [1, 2.5, True, None, "é"],
        "numpy": [np.float32(0.5), np.int64(3), np.bool_(True), np.arange(3)],
        "torch": [torch.tensor(0.25), torch.tensor([1, 2]), torch.tensor(1.5, dtype=torch.bfloat16)],
        "grad": torch.tensor(2.0, requires_grad=True),
        "path": Path("a") / "b",
        "config": OmegaConf.create({"lr": 0.1, "layers": [1, 2]}),
        "ordered": OrderedDict([(1, (2, 3))]),
        "set": {"b", "a"},
    }
    read = json.loads(write_json(tmp_path / "new" / "x.json", content).read_text(encoding="utf-8"))
    assert read == {
        "python": [1, 2.5, True, None, "é"],
        "numpy": [0.5, 3, True, [0, 1, 2]],
        "torch": [0.25, [1, 2], 1.5],
        "grad": 2.0,
        "path": os.path.join("a", "b"),  # noqa: PTH118
        "config": {"lr": 0.1, "layers": [1, 2]},
        "ordered": {"1": [2, 3]},
        "set": ["a", "b"],
    }
    assert isinstance(read["numpy"][1], int)


def test_nan_and_infinity_become_null(tmp_path):
    values = [math.nan, math.inf, -math.inf, np.float64("nan"), np.array([1.0, np.nan]), torch.tensor(math.inf)]
    text = write_json(tmp_path / "x.json", values).read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == [
        None,
        None,
        None,
        None,
        [1.0, None],
        None,
    ]


def test_what_has_no_place_in_json_is_refused():
    with pytest.raises(TypeError, match="object"):
        plain({"x": object()})


def test_nothing_but_the_file_is_left(tmp_path):
    write_text(tmp_path / "a.txt", "one\r\ntwo\n")
    write_text(tmp_path / "a.txt", "three\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"three\n"


def test_a_new_file_gets_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    assert write_text(tmp_path / "ours", "").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_an_earlier_file_survives_a_failure_in_the_block(tmp_path):
    write_text(tmp_path / "a.txt", "earlier")

    def fails():
        with replacing(tmp_path / "a.txt") as beside:
            beside.write_text("half", encoding="utf-8")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fails()
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["earlier"]


def test_a_full_disk_is_one_sentence_and_the_earlier_file_is_intact(tmp_path, monkeypatch):
    write_json(tmp_path / "results.json", {"acc": 0.5})

    def full(path, text):
        path.write_text(text[:3], encoding="utf-8")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "_write", full)
    with pytest.raises(
        UserError, match=r"results\.json: no space left on device; the earlier file is intact"
    ) as caught:
        write_json(tmp_path / "results.json", {"acc": 0.75})
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == {"acc": 0.5}


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 KiB; needs root and the right to mount."""
    where = tmp_path / "tiny"
    where.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(where)]
        done = subprocess.run(mount, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"cannot mount a tiny disk: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount a tiny disk: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", str(where)], check=True, timeout=10)


def test_a_really_full_disk(tiny_disk):
    write_text(tiny_disk / "results.json", "{}")
    with pytest.raises(UserError, match="no space left on device; the earlier file is intact"):
        write_text(tiny_disk / "results.json", "x" * 200_000)
    assert [path.name for path in tiny_disk.iterdir()] == ["results.json"]
    assert (tiny_disk / "results.json").read_text(encoding="utf-8") == "{}"
    write_text(tiny_disk / "results.json", "y" * 1000)


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "folder").touch()
    with pytest.raises(UserError, match="Cannot write"):
        write_text(tmp_path / "folder" / "a.txt", "")


def test_results_are_read(tmp_path):
    write_json(tmp_path / "results.json", {"schema": 1, "metrics": {"test/acc": 0.5}})
    assert read_results(tmp_path)["metrics"] == {"test/acc": 0.5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "contains no results.json"),
        ("{", "cannot be read"),
        ("", "cannot be read"),
        ("[1]", "a mapping is expected"),
        ('{"schema": 99}', "newer tl_lab"),
        ('{"schema": "x"}', "newer tl_lab"),
        ('{"metrics": [1, 2]}', r"has \[1, 2\] as metrics"),
        ('{"parameters": 3}', "has 3 as parameters"),
        ('{"duration_s": "long"}', "has 'long' as duration_s"),
        ('{"sizes": [3]}', r"has \[3\] as sizes"),
        ('{"metrics": {"test/acc": "hello"}}', "has 'hello' as test/acc"),
    ],
)
def test_damaged_results_are_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "results.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read_results(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no run folder .*absent"):
        read_results(tmp_path / "absent")


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ({"status": "running"}, "has not finished"),
        ({"status": "failed", "error": "data.root=x is no folder"}, "has failed (data.root=x is no folder)"),
        ({"status": "failed", "error": None}, "has failed"),
        ({}, "has no status (its results.json is incomplete)"),
    ],
)
def test_a_run_that_is_not_completed_is_described(results, said):
    assert not_completed(results) == said
