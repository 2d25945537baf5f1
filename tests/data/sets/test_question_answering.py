"""Questions about passages: files, the split by paragraphs in all languages, loss and scores, and a run."""

import json
import math
import os
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from composing import run_in
from encoders_at_hand import tiny
from finished_runs import is_assessed, is_monitored_and_described

from tl_lab.data.inputs.spec import spec_from
from tl_lab.data.sets.question_answering import Squad, XQuad, read_squad
from tl_lab.errors import UserError
from tl_lab.functional.answers import Passage
from tl_lab.problems import Spans
from tl_lab.run.given_passages import passages_in
from tl_lab.run.inference import load, predict_to_csv
from tl_lab.run.reporting import _samples
from tl_lab.run.scoring import score

ROOT = Path(os.environ.get("TL_LAB_DATA", ""))
real = pytest.mark.skipif(not (ROOT / "xquad").is_dir(), reason="TL_LAB_DATA with the folder xquad is not here")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def written(path: Path, count: int) -> str:
    """Paragraphs of which the word behind ``a`` is the answer."""
    paragraphs = []
    for i in range(count):
        context = " ".join(["x"] * (i % 3) + ["a", "bc"[i % 2]] + ["y"] * (i % 2))
        answer = {"answer_start": context.index("a") + 2, "text": "bc"[i % 2]}
        paragraphs.append({"context": context, "qas": [{"question": "a ?", "id": str(i), "answers": [answer]}]})
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return str(path)


def test_the_loss_is_over_the_words_of_the_passage() -> None:
    outputs = torch.tensor([[[1.0, 0.0], [2.0, 1.0], [9.0, 9.0]]])
    y = torch.tensor([[1, 1, 2, 0]])  # the third word is padding
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-1))) / 2
    problem = Spans(["first", "last"])
    assert float(problem.criterion(y)(outputs, y)) == pytest.approx(expected)
    assert float(problem.losses(outputs, y)[0]) == pytest.approx(expected)
    smooth = problem.criterion(y, label_smoothing=0.5)(outputs, y)
    other = (expected + (math.log(1 + math.exp(1)) + math.log(1 + math.exp(1))) / 2) / 2  # of both words
    assert float(smooth) == pytest.approx(0.5 * expected + 0.5 * other)


def test_scores_compare_texts() -> None:
    problem = Spans(["first", "last"])
    problem.passages = [Passage("?", "one two three", ("two",)), Passage("?", "one two three", ("the two.",))]
    y = torch.tensor([[1, 1, 3, 0], [1, 1, 3, 1]])
    outputs = torch.full((2, 3, 2), -9.0)
    outputs[0, 1], outputs[1, 1, 0], outputs[1, 2, 1] = 9.0, 9.0, 9.0  # "two", "two three"
    meter = problem.meter()
    meter.update(outputs, y)
    scores = meter.compute()
    assert scores["exact_match"] == 0.5
    assert scores["span_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["loss"] == pytest.approx(float(problem.losses(outputs, y).mean()), rel=1e-5)
    prediction = problem.predict(outputs)
    assert prediction.values.tolist() == [[1, 1], [1, 2]]
    with pytest.raises(UserError, match="sample 1 of the set 'test' has no answer in its passage"):
        problem.check("test", torch.tensor([[2, 1, 3, 0]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": []}, "the question 0 has no answer"),
        ({"answers": [{"answer_start": 0, "text": "z"}]}, "the answer to 0 is not at its stated position"),
    ],
)
def test_files_that_cannot_be_right(change: dict, message: str, tmp_path: Path) -> None:
    content = json.loads(Path(written(tmp_path / "q.json", 1)).read_text())
    content["data"][0]["paragraphs"][0]["qas"][0].update(change)
    (tmp_path / "q.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        read_squad(tmp_path / "q.json")


def test_a_run_finds_the_answers(tmp_path: Path) -> None:
    encoder = tiny(tmp_path / "encoder", "bert")
    files = [f"data.path={written(tmp_path / 'train.json', 24)}", f"data.test_path={written(tmp_path / 'dev.json', 6)}"]
    options = [f"backbone.name={encoder}", "backbone.max_length=12", "strategy.layers.backbone_lr=1.0"]
    options += ["optimizer.lr=0.05", "scheduler=constant", "data.batch_size=8", "trainer.max_epochs=8"]
    found = run_in(
        tmp_path / "run", "data=squad", *files, *options, "data.val_share=0.2", "logger=none", "figures=true"
    )
    assert (tmp_path / "run" / "figures" / "answers_test.png").is_file()
    assert found["sizes"] == {"train": 19, "val": 5, "test": 6}
    assert found["metrics"]["test/span_f1"] > 0.8
    asked = [("a ?", "a b"), Passage("a ?", "x x a c y", ())]  # the shorter passage is padded
    answers = load(tmp_path / "run").predict(asked)
    assert answers.labels == ["b", "c"]
    assert answers.values.tolist() == [[1, 1], [3, 3]]
    table = pd.read_csv(predict_to_csv(tmp_path / "run", tmp_path / "dev.json", tmp_path / "said.csv"))
    assert table.columns.tolist() == ["input", "label", "confidence"]
    assert table.label.isin(["b", "c"]).mean() > 0.8
    with pytest.raises(UserError, match=r"dev\.json cannot be tested on.*data\.test_path of data=squad"):
        score(tmp_path / "run", tmp_path / "dev.json")
    is_monitored_and_described(tmp_path / "run", "data=squad", *files, "data.val_share=0.2")
    is_assessed(tmp_path / "assessed", "data=squad", *files, "data.val_share=0.2", "backbone=hf_words", *options[:2])
    with pytest.warns(UserWarning, match="1 of 1 passages were cut to 12 tokens"):
        load(tmp_path / "run").predict([("a ?", "b " * 30)])


def test_padding_is_no_answer() -> None:
    outputs = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [9.0, 9.0]]])
    problem = Spans(["first", "last"])
    prediction = problem.predict(problem.without_padding(outputs, torch.tensor([2])))
    assert prediction.values.tolist() == [[0, 0]]
    start, end = 1 / (1 + math.e), math.e / (1 + math.e)
    assert float(prediction.confidence) == pytest.approx(start * end)


def test_questions_to_predict(tmp_path: Path) -> None:
    content = {"data": [{"paragraphs": [{"context": "one two", "qas": [{"question": "Who?", "id": "q7"}]}]}]}
    (tmp_path / "q.json").write_text(json.dumps(content))
    expected = Passage("Who?", "one two", ())
    assert passages_in(tmp_path / "q.json") == [("q7", expected)]
    (tmp_path / "q.csv").write_text('context,question\n"one two",Who?\n')
    assert passages_in(tmp_path / "q.csv") == [("0", expected)]
    (tmp_path / "q.jsonl").write_text('{"question": "Who?", "context": "one two", "id": 5}\n')
    assert passages_in(tmp_path / "q.jsonl") == [("5", expected)]
    plan = SimpleNamespace(data=SimpleNamespace(kind=Squad, node={}))
    assert _samples(plan) == ("questions", "new_questions.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.json", '{"data": [{"paragraphs": [{"context": "a"}]}]}', r"q\.json is not a file .*SQuAD's format"),
        ("q.json", '{"data": []}', r"q\.json contains no questions"),
        ("q.csv", "question,contxt\nWho?,one\n", "has no column 'context'; did you mean 'contxt'"),
        ("q.csv", "question,context\nWho?,\n", r"q\.csv, row 1: its context is empty"),
        ("q.txt", "Who?", r"q\.txt contains no questions that can be read: give a file in SQuAD's format"),
    ],
)
def test_questions_that_cannot_be_predicted(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        passages_in(tmp_path / name)


def test_passages_become_tensors(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
    from tl_lab.backbones.hf_words import HFWords

    net = HFWords(name=str(tiny(tmp_path, "bert")), max_length=5).eval()
    x = net.spec.fit([Passage("a", "b c b c b", ()), Passage("a b", "c", ())])
    assert x["ids"].tolist() == [[2, 3, 4, 3, 4], [2, 4, 0, 0, 0]]  # questions are cut to a quarter
    assert x["first"].tolist() == [[1, 2, 3, 4, -1], [1, -1, -1, -1, -1]]
    assert x["words"].tolist() == [5, 1]
    with torch.no_grad():
        together, alone = net(x), net(net.spec.fit([Passage("a b", "c", ())]))
    torch.testing.assert_close(together[1, :1], alone[0], atol=1e-5, rtol=1e-5)
    assert not bool(together[0, 4].any())
    assert spec_from(net.spec.state()) == net.spec


@real
def test_paragraphs_are_the_same_in_all_languages() -> None:
    data = XQuad()
    data.load()
    sizes = {name: len(samples) for name, samples in data.sets.items()}
    assert sizes["test"] == sizes["de/test"] == sizes["es/test"]
    assert sum(sizes[name] for name in ("train", "val", "test")) == 1190
    train = {item.context for item in data.sets["train"].x.items}
    assert not train & {item.context for item in data.sets["test"].x.items}
    first, last, _, number = data.sets["test"].y[0].tolist()
    passage = data.problem.passages[number]
    assert passage.text(first, last) == passage.answers[0]
