"""Data served to others than the run: in copies, so that nothing is left behind."""

import ast
from pathlib import Path

import pytest
import torch
from laboratory import Blobs, BlobStream, TinyNet, blobs

import tl_lab
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.request import Request
from tl_lab.data.waiting import Waiting

PACKAGE = Path(tl_lab.__file__).parent


def loaded() -> Blobs:
    data = Blobs(batch_size=20)
    data.load(Request(adapts=True))
    data.use(TinyNet().spec)
    data.keep_features({"val": torch.zeros(30, 2)})
    return data


def state(data: Blobs) -> dict[str, object]:
    """What another use might leave behind."""
    held = ("spec", "request", "notes", "batch_size", "eval_batch_size", "read_as_needed", "waiting", "trainer")
    return {**{name: getattr(data, name) for name in held}, "notes": list(data.notes)}


def test_a_copy_serves_other_sets_for_another_backbone() -> None:
    data = loaded()
    before, sets, values = state(data), dict(data.sets), data.sets["train"].x.clone()
    spec = ImageSpec((12, 12), 1, (0.0,), (1.0,))
    other = data.serving({"train": blobs(9, 5)}, spec, Request(at_most=4))
    assert [tuple(batch.x.shape) for batch in other.loader("train")] == [(3, 1, 12, 12)] * 3
    assert other.spec is spec
    assert not other.has_features("val")
    assert state(data) == before
    assert data.sets == sets
    torch.testing.assert_close(data.sets["train"].x, values)
    assert data.has_features("val")


def test_a_copy_without_a_spec_keeps_converted_sets() -> None:
    data = loaded()
    other = data.serving({"train": data.sets["val"]})
    torch.testing.assert_close(other.sets["train"].x, data.sets["val"].x)
    assert other.spec is data.spec
    assert other.request == data.request


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_rehearsal_leaves_no_request_features_or_waiting_time(error: type[BaseException] | None) -> None:
    data = BlobStream(batch_size=20, epochs_per_task=2)
    request, waiting = data.request, data.waiting
    try:
        with data.rehearsing(epochs_per_task=7):
            assert (data.request.epochs_per_task, data.request.serves) == (7, request.serves)
            data.keep_features({"task1/train": torch.zeros(1, 2)})
            if error is not None:
                raise error
    except KeyboardInterrupt:
        pass
    assert data.request is request
    assert not data.has_features("task1/train")
    assert isinstance(data.waiting, Waiting)
    assert data.waiting is not waiting


def test_batches_hold_no_more_than_was_requested() -> None:
    data = Blobs(batch_size=20, eval_batch_size=25)
    data.load(Request(at_most=100))
    assert data.evaluated_at_once == 25
    data.load(Request(at_most=7))
    data.use(TinyNet().spec)
    assert [len(batch.index) for batch in data.loader("val")] == [6, 6, 6, 6, 6]
    assert not any("enlarged" in note for note in data.notes)


def _assigned(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        every = [
            part for target in node.targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])
        ]
        return every
    return [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []


def _poked(code: str) -> list[int]:
    """Return the lines that assign attributes or sets of a data module from outside."""
    lines = []
    for node in ast.walk(ast.parse(code)):
        for target in _assigned(node):
            whole = target.value if isinstance(target, ast.Subscript) else target
            if not isinstance(whole, ast.Attribute):
                continue
            owner = whole.value
            name = getattr(owner, "attr", getattr(owner, "id", ""))
            if name in ("data", "stream", "template", "datamodule"):
                lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("data.sets = {}", [1]),
        ("self.data.batch_size = 3", [1]),
        ("x, data.sets = 1, {}", [1]),
        ("data.sets['train'] = 3", [1]),
        ("data.seed += 1", [1]),
        ("self.data = data\ndata = 3\nself.sets = 1", []),
    ],
)
def test_assignments_are_found_where_they_are(code: str, found: list[int]) -> None:
    assert _poked(code) == found


def test_nothing_is_set_on_data_from_outside() -> None:
    files = list(PACKAGE.rglob("*.py"))
    assert len(files) > 300
    found = {str(file.relative_to(PACKAGE)): lines for file in files if (lines := _poked(file.read_text("utf-8")))}
    assert found == {}
