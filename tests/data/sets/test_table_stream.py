"""Tables that are read part by part: the same samples, batches and errors as by reading them as a whole."""

import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tl_lab.data.cache import CACHE_VARIABLE, cached_folder
from tl_lab.data.inputs.stored_texts import StoredTexts
from tl_lab.data.inputs.texts import Texts
from tl_lab.data.inputs.tokenisers import FastTokeniser, Words
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.data.samples import Samples
from tl_lab.data.sets import table_stream, text_table
from tl_lab.data.sets.tasks_of_table import TasksOfTable
from tl_lab.data.sets.text_pairs import TextTablePair
from tl_lab.data.sets.text_table import TextTable
from tl_lab.errors import UserError

WORDS = ("good", "bad", "film", "plot", "very", "é", "🎬")
SPEC = TokenSpec(len(WORDS) + 2, 6, tokeniser=Words(WORDS))
COUNT = 60
KINDS = ["csv", "tsv", "jsonl", "parquet"]


@pytest.fixture(autouse=True)
def _small_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read seven rows at a time, and keep nothing from one test to the next."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(table_stream, "_ROWS", 7)


def _columns() -> dict[str, list[Any]]:
    draw = np.random.default_rng(0)
    texts = [f"{' '.join(draw.choice(WORDS, 1 + i % 9))} {i}" for i in range(COUNT)]
    texts[3], texts[17], texts[18] = 'a "quoted", text', "two\nlines\tand a tab", "  surrounded  "
    texts[40:52] = ["again"] * 12  # in several parts of the split, with different labels
    return {
        "text": texts,
        "second": [WORDS[i // 20] for i in range(COUNT)],
        "label": [(1, 2, 10)[i % 3] for i in range(COUNT)],
        "score": [round(0.1 * (i % 7), 3) for i in range(COUNT)],
        "funny": [i % 2 for i in range(COUNT)],
        "sad": [i % 5 // 4 for i in range(COUNT)],
        "author": [
            None if i % 11 == 0 else i % 4 for i in range(COUNT)
        ],  # whole numbers with gaps are floats to pandas
        "site": [f" {'abcab'[i % 5]}" for i in range(COUNT)],
        "day": [f"2020-01-{1 + i % 28:02}" for i in range(COUNT)],
    }


def _write(folder: Path, kind: str, columns: dict[str, list[Any]] | None = None) -> Path:
    path, table = folder / f"table.{kind}", pd.DataFrame(columns or _columns())
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        table.to_parquet(path)
    elif kind == "jsonl":
        rows = [dict(zip(table, row, strict=True)) for row in zip(*(columns or _columns()).values(), strict=True)]
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    else:
        table.to_csv(path, sep="," if kind == "csv" else "\t", index=False)
    return path


def _loaded(path: Path, lazy: bool | str, kind: type = TextTable, spec: TokenSpec | None = SPEC, **options: Any) -> Any:
    data = kind(path=str(path), lazy=lazy, **{"batch_size": 8, "seed": 3, "test_share": 0.3, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal texts in several parts
        data.load()
    if spec is not None:
        data.use(spec)
    return data


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are the same, types and bits included."""
    if isinstance(one, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape
        return same and one.numpy().tobytes() == other.numpy().tobytes()  # a missing label is NaN
    if isinstance(one, dict):
        return [*one] == [*other] and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(_equal(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def _all_of(data: Any) -> dict[str, Any]:
    """Return all that a run sees of its data."""
    loaders = [*data.val_dataloader(), *data.test_dataloader()]
    train = data.train_dataloader()
    batches = []
    for epoch in (0, 1):
        train.set_epoch(epoch)
        batches += [tuple(batch) for batch in train]
    return {
        "hashes": [data.fingerprint(), data.content_hash],
        "outputs": data.class_names,
        "duplicates": data.duplicates,
        "strings": {name: list(texts.items) for name, texts in getattr(data, "strings", {}).items()},
        "digests": {name: texts.digests() for name, texts in getattr(data, "strings", {}).items()},
        "labels": {name: samples.y for name, samples in data.sets.items() if samples.y is not None},
        "columns": {name: dict(samples.columns) for name, samples in data.sets.items()},
        "train": batches,
        "scored": [[tuple(batch) for batch in loader] for loader in loaders],
        "notes": [note for note in data.notes if note != "read on demand"],
    }


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in one if not _equal(one[name], other[name])]


ROLES: dict[str, dict[str, Any]] = {
    "classes": {},
    "pairs of texts": {"text_column": ["text", "second"]},
    "numbers": {"label_column": "score", "predict": "numbers"},
    "several labels": {"label_column": ["funny", "sad"]},
    "further columns": {"group_column": "author", "domain_column": ["site", "author"], "time_column": "day"},
    "any lengths": {"length_buckets": False},
    "few labels": {"labels": 12, "test_count": 5},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", ROLES)
def test_a_table_read_in_parts_gives_what_the_whole_one_gives(kind: str, role: str, tmp_path: Path) -> None:
    path = _write(tmp_path, kind)
    stored, whole = (_loaded(path, lazy, **ROLES[role]) for lazy in (True, False))
    assert all(isinstance(samples.x, StoredTexts) for samples in stored.sets.values())
    assert stored.read_as_needed
    assert not whole.read_as_needed
    assert whole.duplicates, "the test would compare nothing"
    assert any("cut to 6 tokens" in note for note in whole.notes)
    assert _differing(_all_of(stored), _all_of(whole)) == []
    again = _loaded(path, True, **ROLES[role])  # from the cache
    assert _differing(_all_of(again), _all_of(whole)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_of_domains_read_in_parts(kind: str, tmp_path: Path) -> None:
    path = _write(tmp_path, kind)
    options = {"domain_column": "site", "source": ["a", "b"], "target": "c", "kind": TextTablePair}
    stored, whole = (_loaded(path, lazy, **options) for lazy in (True, False))
    assert stored.read_as_needed
    assert _differing(_all_of(stored), _all_of(whole)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_of_a_table_read_in_parts(kind: str, tmp_path: Path) -> None:
    path = _write(tmp_path, kind)
    options = {"tasks": {"label": "classes", "score": "numbers", "mood": ["funny", "sad"], "author": "classes"}}
    stored, whole = (_loaded(path, lazy, kind=TasksOfTable, **options) for lazy in (True, False))
    assert stored.read_as_needed
    assert _differing(_all_of(stored), _all_of(whole)) == []


def test_pairs_of_a_librarys_tokeniser_have_types(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="tl_lab[text] is not installed")
    numbers = {word: i for i, word in enumerate(["[P]", "[U]", "[C]", "[S]", *WORDS])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token="[U]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[C] $A [S]", pair="[C] $A [S] $B:1 [S]:1", special_tokens=[("[C]", 2), ("[S]", 3)]
    )
    spec = TokenSpec(len(numbers), 8, tokeniser=FastTokeniser(made.to_str()))
    path = _write(tmp_path, "csv")
    stored, whole = (_loaded(path, lazy, spec=spec, text_column=["text", "second"]) for lazy in (True, False))
    assert whole.sets["train"].x["types"].any()
    assert _differing(_all_of(stored), _all_of(whole)) == []


def test_workers_read_the_same_batches(tmp_path: Path) -> None:
    path = _write(tmp_path, "csv")
    alone, helped = (_all_of(_loaded(path, True, workers=workers)) for workers in (0, 2))
    assert _differing(alone, helped) == []


def test_a_table_above_the_limit_is_read_in_parts_and_kept_in_memory_if_its_tokens_fit(tmp_path, monkeypatch) -> None:
    path = _write(tmp_path, "jsonl")
    whole = _loaded(path, "auto")
    assert isinstance(whole.strings["train"], Texts)
    assert not isinstance(whole.strings["train"], StoredTexts)
    monkeypatch.setattr(text_table, "_WHOLE", path.stat().st_size - 1)
    stored = _loaded(path, "auto")
    assert isinstance(stored.strings["train"], StoredTexts)
    assert not stored.read_as_needed
    assert _differing(_all_of(stored), _all_of(whole)) == []


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_size_of_a_table_is_that_of_its_cells(kind: str, tmp_path: Path) -> None:
    path = _write(tmp_path, kind, {"text": [f"text {i}" for i in range(5000)], "label": [1, 2] * 2500})
    least, most = (50_000, 100_000) if kind == "parquet" else (path.stat().st_size, path.stat().st_size)
    assert least <= text_table._bytes_in(path) <= most


def test_a_row_shorter_than_the_header_a_mark_and_a_column_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{i},text {i},{'ab'[i % 2]},more" if i % 3 else f"{i},text {i},{'ab'[i % 2]}" for i in range(30)]
    path.write_text("\n\n".join([",text,label,more", *rows]) + "\n", encoding="utf-8-sig")
    stored, whole = (_loaded(path, lazy, group_column="more") for lazy in (True, False))
    assert stored.read_as_needed
    assert _differing(_all_of(stored), _all_of(whole)) == []


MISTAKES: list[tuple[str, bytes, dict[str, Any]]] = [
    ("csv", b"text,label\na,1\nb,2\n", {"text_column": "txt"}),
    ("csv", b"text,label\na,1\nb,2\n", {"label_column": "lable"}),
    ("csv", b"text,label\na,1\nb,2\n", {"group_column": "author"}),
    ("csv", b"text,label,label\na,1,1\nb,2,2\n", {}),
    ("csv", b"text,label\n" + b"a,1\nb,2\n" * 9 + b" ,1\n,2\n", {}),
    ("tsv", b"text\tlabel\na\t1\n\tb\n" + b"a\t1\n" * 20, {"text_column": ["label", "text"]}),
    ("csv", b"text,label\n" + b"a,1\nb,2\n" * 9 + b"a,\n", {}),
    ("csv", b"text,label\na,2\nb,2\n", {}),
    ("csv", b"text,label\na,2\nb,x\n", {}),
    ("csv", b"text,label\na,2\nb,x\n", {"predict": "numbers"}),
    ("csv", b"text,a,b\na,0,1\nb,1,2\n", {"label_column": ["a", "b"]}),
    ("csv", b"text,label\n" + b"a,1\n" * 10 + b"b,2,3\n", {}),
    ("csv", "text,label\ncafé,1\nb,2\n".encode("latin-1"), {}),
    ("csv", b"text,label\na,1\nb,2\n", {"encoding": "latin-11"}),
    ("csv", b"", {}),
    ("csv", b'text,label\n"a,1\n', {}),
    ("jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "label": 2}\n', {"text_column": "txt"}),
    ("jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "label": 2}\n', {"label_column": "lable"}),
    ("jsonl", b'{"text": "a", "label": 1}\n' * 9 + b'{"text": null, "label": 2}\n{"label": 2}\n', {}),
    ("jsonl", b'{"text": "a", "label": 1}\n' * 9 + b'{"text": "b"}\n', {}),
    ("jsonl", b'{"text": "a", "label": 1}\n' * 9 + b'{"text": "b", "label": 2\n', {}),
    ("jsonl", b"not a table\n", {}),
    ("jsonl", b'{"text": "a", "label": 1}\n\n\n' * 9 + b"[1", {}),
    ("jsonl", '{"text": "café", "label": 1}\n'.encode("latin-1"), {}),
    ("parquet", b"PAR1 damaged", {}),
    ("txt", b"text,label\na,1\nb,2\n", {}),
]


@pytest.mark.parametrize(("kind", "content", "options"), MISTAKES)
def test_mistakes_are_reported_in_the_same_sentence(kind: str, content: bytes, options: dict, tmp_path: Path) -> None:
    path, messages = tmp_path / f"t.{kind}", []
    path.write_bytes(content)
    for lazy in (True, False):
        with pytest.raises(UserError) as caught:
            _loaded(path, lazy, **options)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert [*(tmp_path / "cache").glob("*.part")] == []


@pytest.mark.parametrize(("kind", "options"), [("parquet", {"text_column": "txt"}), ("parquet", {"label_column": "x"})])
def test_columns_that_a_parquet_file_lacks(kind: str, options: dict, tmp_path: Path) -> None:
    path = _write(tmp_path, kind)
    messages = []
    for lazy in (True, False):
        with pytest.raises(UserError, match="has no column") as caught:
            _loaded(path, lazy, **options)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_texts_that_are_numbers_are_read_as_a_whole(tmp_path: Path) -> None:
    """One float makes all numbers of a JSON column floats, so that no part can be read on its own."""
    columns = {"text": [*range(39), 0.5], "label": [1, 2] * 20}
    path = _write(tmp_path, "jsonl", columns)
    data, whole = (_loaded(path, lazy, length_buckets=False) for lazy in (True, False))
    assert any("is read into memory" in note for note in data.notes)
    assert not isinstance(data.strings["train"], StoredTexts)
    assert data.fingerprint() == whole.fingerprint()


def test_another_version_of_the_file_is_read_again(tmp_path: Path) -> None:
    path = _write(tmp_path, "csv")
    before = _loaded(path, True, spec=None)
    columns = _columns()
    columns["text"][0] = "another"
    _write(tmp_path, "csv", columns)
    after = _loaded(path, True, spec=None)
    assert before.fingerprint() != after.fingerprint()
    assert after.fingerprint() == _loaded(path, False, spec=None).fingerprint()


def test_stored_texts_are_cut_joined_and_sent_to_other_processes(tmp_path: Path) -> None:
    texts = _loaded(_write(tmp_path, "csv"), True, spec=None).sets["train"].x
    whole = list(texts.items)
    assert texts.items[1:3] == whole[1:3]
    assert list(texts.subset(torch.tensor([4, 0])).items) == [whole[4], whole[0]]
    mask = torch.zeros(len(texts), dtype=torch.bool)
    mask[[2, 5]] = True
    assert list(texts.subset(mask).items) == [whole[2], whole[5]]
    joined = Samples.concatenate([Samples(texts, None), Samples(texts.subset(torch.tensor([1])), None)]).x
    assert isinstance(joined, StoredTexts)
    assert list(joined.items) == [*whole, whole[1]]
    mixed = texts.concatenate([texts, Texts(["a"])])
    assert list(mixed.items) == [*whole, "a"]
    texts.prepare(SPEC)
    sent = pickle.loads(pickle.dumps(texts))
    assert list(sent.items) == whole
    assert _equal(sent.read(3, SPEC), texts.read(3, SPEC))


# ---------------------------------------------------------------------- the cache

_WRITER = """
import os, signal, sys, time
from pathlib import Path
from tl_lab.data.cache import cached_folder

def write(folder):
    for number in range(4):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 1000)
        if number == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)

cached_folder("rows", {}, write)
"""


@pytest.mark.parametrize("number", [0, 3])
def test_a_killed_process_leaves_no_broken_folder(number: int, tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", _WRITER, str(number)], capture_output=True, check=False)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    cache = tmp_path / "cache"
    assert [path.suffix for path in sorted(cache.iterdir())] == [".lock", ".part"]
    calls = []

    def write(folder: Path) -> None:
        assert [*folder.iterdir()] == []
        calls.append(folder)
        (folder / "0.bin").write_bytes(b"whole")

    folder = cached_folder("rows", {}, write)
    assert (folder / "0.bin").read_bytes() == b"whole"
    assert [path.suffix for path in sorted(cache.iterdir())] == ["", ".lock"]
    assert cached_folder("rows", {}, write) == folder
    assert len(calls) == 1
    (folder / "0.bin").write_bytes(b"dam")  # as after a power cut
    assert (cached_folder("rows", {}, write) / "0.bin").read_bytes() == b"whole"
    assert len(calls) == 2


def test_a_table_whose_reader_was_killed_is_read_from_its_start(tmp_path: Path) -> None:
    path = _write(tmp_path, "csv")
    code = f"""
import os, signal
from tl_lab.data.inputs.stored_texts import TextsWriter
from tl_lab.data.sets import table_stream
from tl_lab.data.sets.text_table import TextTable
table_stream._ROWS = 7
add, calls = TextsWriter.add, []
def dies(self, texts):
    add(self, texts)
    calls.append(None)
    if len(calls) == 4:
        self._rows._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
TextsWriter.add = dies
TextTable(path={str(path)!r}, lazy=True).load()
"""
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=os.environ.copy())
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    assert len([*(tmp_path / "cache").glob("*.part")]) == 1
    stored, whole = (_loaded(path, lazy) for lazy in (True, False))
    assert stored.read_as_needed
    assert _differing(_all_of(stored), _all_of(whole)) == []


def test_processes_that_need_the_same_folder_write_it_once(tmp_path: Path) -> None:
    code = """
import os, time
from pathlib import Path
from tl_lab.data.cache import cached_folder

def write(folder):
    time.sleep(0.5)
    (folder / "by").write_text(str(os.getpid()))

print((cached_folder("rows", {}, write) / "by").read_text())
"""
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len(set(outputs)) == 1


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"the cache .*file cannot be written .*: set TL_LAB_CACHE to a folder"):
        _loaded(_write(tmp_path, "csv"), True)
