"""Repeating a run from its saved configuration, to the last bit, and reports of differences."""

import json
import shutil

import pytest

from tl_lab import __main__
from tl_lab.cli import train as cli
from tl_lab.errors import UserError
from tl_lab.run.reproducing import compare_runs, reproduce

TINY = ["data=digits", "backbone=mlp", "domain_adaptation=none", "logger=none", "figures=false", "trainer.max_epochs=1"]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    cli.main([*TINY, f"hydra.run.dir={folder}"])
    return folder


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_run_again_is_equal_to_the_last_bit(first, tmp_path, capfd):
    __main__.main(["reproduce", str(first), "--output", str(tmp_path / "again")])
    printed = capfd.readouterr().out
    assert "equal to the last bit" in printed
    assert (tmp_path / "again" / "metrics.csv").read_text() == (first / "metrics.csv").read_text()
    old, new = (json.loads((run / "results.json").read_text()) for run in (first, tmp_path / "again"))
    assert old["metrics"] == new["metrics"]
    assert old["config_hash"] == new["config_hash"]
    assert new["choices"] == old["choices"]
    with pytest.raises(UserError, match="contains a run, which would be overwritten"):
        reproduce(first, tmp_path / "again")


def _changed(first, tmp_path, change):
    other = tmp_path / "other"
    shutil.copytree(first, other)
    content = json.loads((other / "results.json").read_text())
    change(content)
    (other / "results.json").write_text(json.dumps(content))
    return other


def test_what_is_no_configuration_of_a_run_is_refused(first, tmp_path):
    other = _changed(first, tmp_path, lambda content: None)
    (other / "config.yaml").write_text("logger: 3\n")
    with pytest.raises(UserError, match=r"not the configuration of a run"):
        reproduce(other, tmp_path / "again")


def test_the_same_folder_twice_is_equal(first):
    found = compare_runs(first, first)
    assert found.equal
    assert found.metrics > 5
    assert found.logged > 5
    assert found.circumstances == []


def test_the_last_bit_of_a_metric_counts(first, tmp_path):
    def change(content):
        content["metrics"]["test/acc"] += 2**-52

    found = compare_runs(first, _changed(first, tmp_path, change))
    assert not found.equal
    assert len(found.differences) == 1
    assert found.differences[0].startswith("test/acc: ")
    assert "versions, device, threads, code and data are the same" in found.report()


def test_what_only_one_run_has_logged_is_reported(first, tmp_path):
    other = _changed(first, tmp_path, lambda content: None)
    (other / "metrics.csv").unlink(missing_ok=True)
    assert compare_runs(first, other).differences == ["metrics.csv: only in the first run"]
    assert compare_runs(other, first).differences == ["metrics.csv: only in the second run"]


def test_what_may_explain_a_difference_is_named(first, tmp_path):
    def change(content):
        content["versions"]["torch"] = "0.1"
        content["device"], content["data_hash"] = "an abacus", "other"
        del content["metrics"]["test/acc"]

    found = compare_runs(first, _changed(first, tmp_path, change))
    assert found.differences == ["test/acc: only in the first run"]
    assert [text.partition(":")[0] for text in found.circumstances] == ["data", "device", "torch"]
    assert "device: cpu and an abacus" in found.report()


def test_the_update_at_which_curves_part_is_named(first, tmp_path):
    other = _changed(first, tmp_path, lambda content: None)
    lines = (other / "metrics.csv").read_text().splitlines()
    step = lines[1].split(",")[1]
    lines[1] = ",".join([*lines[1].split(",")[:2], *("9.5" if cell else "" for cell in lines[1].split(",")[2:])])
    (other / "metrics.csv").write_text("\n".join(lines) + "\n")
    (difference,) = compare_runs(first, other).differences
    assert f"first at update {step}: " in difference
    assert difference.endswith(" and 9.5")


def test_a_difference_is_exit_code_1(first, tmp_path, monkeypatch, capsys):
    def change(content):
        content["metrics"]["test/acc"] = 0.0

    monkeypatch.setattr(
        "tl_lab.run.reproducing.reproduce", lambda *_: compare_runs(first, _changed(first, tmp_path, change))
    )
    with pytest.raises(SystemExit) as end:
        __main__.main(["reproduce", str(first)])
    assert end.value.code == 1
    assert "not equal:" in capsys.readouterr().out


def test_only_a_completed_run_is_repeated(first, tmp_path):
    with pytest.raises(UserError, match=r"has failed.*, so that there are no numbers"):
        reproduce(_changed(first, tmp_path, lambda content: content.update(status="failed")))
