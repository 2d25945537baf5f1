"""Graphs that another program runs: the outputs of onnxruntime are those of the exported network."""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from composing import run_in
from encoders_at_hand import tiny
from small_sets import recordings, rows, texts

from tl_lab.config.identity import to_plain
from tl_lab.config.instantiate import build_node
from tl_lab.config.stored import read_stored
from tl_lab.data.base import DataModule
from tl_lab.data.request import Request
from tl_lab.errors import UserError
from tl_lab.run.exporting import export
from tl_lab.run.inference import load_classifier

QUIET = ["logger=none", "figures=false", "health=false", "trainer.max_epochs=1", "forgetting=false"]
pytestmark = pytest.mark.filterwarnings("ignore")


def _images(place: Path) -> list[str]:
    return ["data=digits", "data.labels=100", "backbone=conv4", "adapter=lora", "strategy=fine_tuning"]


def _vectors(place: Path) -> list[str]:
    return ["data=moons", "backbone=mlp", "backbone.hidden=[8]"]


def _pairs(place: Path) -> list[str]:
    """Write pairs of sentences, for which BERT has embeddings of the first and of the second."""
    draw = np.random.default_rng(0)
    first, second = ([" ".join(draw.choice(["a", "b", "c"], 3 + i % 4)) for i in range(60)] for _ in range(2))
    table = pd.DataFrame({"one": first, "two": second, "label": np.tile(["no", "yes"], 30)})
    table.to_csv(place / "pairs.csv", index=False)
    words = ["data=text_table", f"data.path={place / 'pairs.csv'}", "data.text_column=[one,two]"]
    return [*words, "backbone=hf_text", f"backbone.name={tiny(place / 'encoder', 'bert')}"]


def _decoded(place: Path) -> list[str]:
    words = [word for word in texts(place) if not word.startswith("backbone")]
    return [*words, "backbone=hf_text", f"backbone.name={tiny(place / 'decoder', 'gpt2')}"]


CASES = {
    "images": (_images, {"x"}),
    "vectors": (_vectors, {"x"}),
    "tables": (rows, {"numbers", "known", "categories"}),
    "texts": (texts, {"ids", "mask"}),
    "texts, decoder": (_decoded, {"ids", "mask"}),  # GPT-2 would look up types among its words
    "pairs": (_pairs, {"ids", "mask", "types"}),
}


@pytest.mark.parametrize("name", CASES)
def test_onnxruntime_gives_the_outputs_of_the_network(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("onnxscript", reason="tl_lab[onnx] is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    made, inputs = CASES[name]
    run = tmp_path / "run"
    run_in(run, *made(tmp_path), "domain_adaptation=none", *QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = runtime.InferenceSession(export(run, "onnx") / "model.onnx", providers=["CPUExecutionProvider"])
    assert {one.name for one in session.get_inputs()} == inputs
    model = load_classifier(run)
    data: DataModule = build_node(to_plain(read_stored(run).data))
    data.load(Request())
    last = data.test_names[-1]
    data = data.serving({last: data.sets[last]}, model.spec)
    seen = 0
    for batch in data.loader(last, cached=False, shared=False):
        with torch.no_grad():
            expected = model.see(batch.x).outputs
        given = {"x": batch.x} if isinstance(batch.x, torch.Tensor) else dict(batch.x)
        if name.startswith("texts"):  # single texts have no types
            assert "types" not in given
        if name == "pairs":
            assert set(given["types"].unique().tolist()) == {0, 1}
        (outputs,) = session.run(None, {key: value.numpy() for key, value in given.items() if key in inputs})
        torch.testing.assert_close(torch.from_numpy(outputs), expected, atol=1e-5, rtol=1e-5)
        seen += len(outputs)
    assert seen == len(data.sets[last])
    assert seen > 2  # the graph was traced with batches of two


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    run_in(tmp_path / "heard", *recordings(tmp_path), *QUIET)
    with pytest.raises(UserError, match=r"supports networks of images, vectors, tables and texts, .* audio inputs"):
        export(tmp_path / "heard", "onnx")
    run_in(tmp_path / "run", *_vectors(tmp_path), "domain_adaptation=none", *QUIET)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"needs the libraries onnx and onnxscript \(.*\): install tl_lab\[onnx\]"):
        export(tmp_path / "run", "onnx")


@pytest.mark.parametrize(
    ("output", "kind", "words"),
    [
        ("t.onnx", None, "an export is a folder with model.onnx in it: write --format onnx --output t"),
        ("t.ONNX", "onnx", "an export is a folder with model.onnx in it: write --format onnx --output t"),
        ("a/t.safetensors", None, "with model.safetensors in it: write --format safetensors --output a/t"),
        ("t.pt", "peft", "an export is a folder: write --format peft --output t"),
        ("t.pth", None, "an export is a folder: name a folder"),
    ],
)
def test_the_name_of_a_file_is_refused_as_output(output: str, kind: str | None, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        export(tmp_path, kind, output)
    assert str(refused.value).startswith(f"--output {output} names a file, but ")
    assert str(refused.value).endswith(words)


def test_a_file_is_not_replaced_by_an_export(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UserError, match=r"notes is a file, but an export is a folder: name another one$"):
        export(tmp_path, "onnx", tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == "mine"


def test_an_export_replaces_an_earlier_one_and_no_other_folder(tmp_path: Path) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    (own / "notes").write_text("mine")
    with pytest.raises(
        UserError, match=r"mine is a folder with other files, .*: name a new folder, such as .*mine/export$"
    ):
        export(tmp_path / "run", None, own)
    (own / "about.json").write_text("{}")
    with pytest.raises(UserError, match="mine is a folder with other files"):
        export(tmp_path / "run", None, own)
    assert (own / "notes").read_text() == "mine"
    for above in (".", "..", own / ".."):
        with pytest.raises(UserError, match=r"is the current folder or one above it: name a new folder$"):
            export(tmp_path / "run", None, above)
    given = ["data=digits", "domain_adaptation=none", "backbone=mlp", "backbone.hidden=[8]", "trainer.max_epochs=1"]
    run_in(tmp_path / "run", *given, "trainer.limit_train_batches=2", *QUIET)
    for place in (tmp_path / "empty", tmp_path / "new"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        for _ in range(2):
            assert export(tmp_path / "run", None, place) == place
            assert (place / "model.safetensors").is_file()
