"""Output of a sweep during its run."""

import io
import sys

import pytest

from tl_lab.sweeps import progress
from tl_lab.sweeps.progress import SweepProgress, outcome_of

GOOD = {"status": "completed", "metrics": {"test/acc": 0.915, "val/loss": 0.25}, "objective_metric": "val/loss"}


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True


def test_the_remaining_time_follows_from_the_mean_duration_and_concurrency() -> None:
    sweep = SweepProgress(at_once=2)
    sweep.start(total=7)
    assert sweep.summary() == "0 of 7 done"
    sweep.started(0, "a")
    sweep.started(1, "b")
    assert sweep.summary() == "0 of 7 done, 2 running"
    sweep.ended(0, "a", False, GOOD, 10.0)
    assert sweep.summary() == "1 of 7 done, 1 running, 30 s left"  # 6 jobs of 10 s, two at once
    sweep.ended(1, "b", False, {"status": "failed"}, 20.0)
    assert sweep.summary() == "2 of 7 done, 1 failed, 38 s left"  # 5 jobs of 15 s, two at once: 37.5
    sweep.ended(2, "c", True, GOOD, 0.1)  # kept: no time of a job's
    assert sweep.summary() == "3 of 7 done, 1 failed, 30 s left"


def test_a_log_gets_one_line_per_job(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = SweepProgress(at_once=1)
    sweep.start(total=2)
    sweep.ended(0, "seed=0", False, GOOD, 12.3)
    sweep.ended(1, "seed=1", True, GOOD, 0.1)
    sweep.other_code = 2
    sweep.stop()
    assert capsys.readouterr().out.splitlines() == [
        "job 0: seed=0  completed  test/acc 91.5 %  12 s  (1 of 2 done, 12 s left)",
        "job 1: seed=1  completed  test/acc 91.5 %  kept  (2 of 2 done)",
        "tl_lab: 2 kept runs are from another code version (git_commit in results.csv)",
    ]


def test_a_search_shows_its_objective_but_no_test_metric(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = SweepProgress(at_once=1)
    sweep.start(total=1, searches=True)
    sweep.ended(0, "lr=1", False, GOOD, 2.0)
    assert capsys.readouterr().out == "job 0: lr=1  completed  val/loss 0.25  2.0 s  (1 of 1 done)\n"


def test_a_failure_is_reported_by_its_first_line() -> None:
    assert outcome_of({"status": "failed", "error": "one\ntwo"}, 1.0) == "failed  one  1.0 s"
    assert outcome_of({"status": "failed"}) == "failed"


def test_a_terminal_gets_a_transient_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", screen)
    sweep = progress.SweepProgress(at_once=1)
    sweep.start(total=2)
    sweep.started(0, "seed=0")
    sweep.ended(0, "seed=0", False, GOOD, 3.0)
    sweep.started(1, "seed=1")
    drawn = screen.getvalue()
    assert "━" in drawn
    assert "1 of 2 done, 1 running, 3.0 s left" in drawn
    assert "job 1: seed=1" in drawn
    sweep.ended(1, "seed=1", False, GOOD, 3.0)
    sweep.stop()
    assert "job 1: seed=1  completed" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")  # the bar's lines are erased
