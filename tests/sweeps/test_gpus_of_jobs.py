"""Concurrent jobs use the GPUs of a machine in turn, a free one first."""

import os
import time
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from small_sweeps import sweep

import tl_lab.run.experiment
from tl_lab.errors import UserError
from tl_lab.run.experiment import out_of_memory
from tl_lab.sweeps import jobs as jobs_of_sweeps
from tl_lab.sweeps import running
from tl_lab.sweeps.devices import free_place, gpu_at, gpus, takes_one_gpu
from tl_lab.sweeps.jobs import Job
from tl_lab.sweeps.progress import SweepProgress


def test_gpus_are_those_that_the_process_may_use():
    assert gpus({"CUDA_VISIBLE_DEVICES": "3, GPU-8f1a"}) == ["3", "GPU-8f1a"]
    assert gpus({"CUDA_VISIBLE_DEVICES": ""}) == []
    assert gpus({}) == [str(number) for number in range(torch.cuda.device_count())]


def test_places_are_filled_from_below_and_gpus_taken_in_turn():
    assert [free_place(taken) for taken in ([], [0], [1, 2], [0, 2], [0, 1, 2])] == [0, 1, 0, 1, 3]
    assert [gpu_at(place, ["4", "7"]) for place in range(4)] == ["4", "7", "4", "7"]
    assert gpu_at(1, ["4"]) is None


@pytest.mark.parametrize(
    ("accelerator", "devices", "one"), [("gpu", 1, True), ("gpu", -1, False), ("gpu", [1], False), ("cpu", 1, False)]
)
def test_jobs_on_several_gpus_see_all_of_them(accelerator, devices, one):
    assert takes_one_gpu({"accelerator": accelerator, "devices": devices}) is one


@pytest.mark.parametrize(("accelerator", "seen"), [("gpu", "7"), ("cpu", "4,7")])
def test_a_job_sees_the_gpu_that_it_was_given(accelerator, seen, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(jobs_of_sweeps, "to_plain", lambda config: {"trainer": config.trainer})
    config = SimpleNamespace(trainer={"accelerator": accelerator, "devices": 1})
    monkeypatch.setattr(Job, "compose", lambda self: config)

    def stop(plain):
        raise RuntimeError("far enough")

    monkeypatch.setattr(jobs_of_sweeps, "config_hash", stop)
    job = Job(0, [], "", context=None, task=None, config=None)  # type: ignore[arg-type]
    assert job.run(lambda message: None, gpu="7") == {"error": "far enough"}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def test_a_gpu_that_is_full_is_reported_in_one_sentence():
    message = (
        "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79 GiB of which 1 GiB is free."
    )
    assert str(out_of_memory(torch.OutOfMemoryError(message))).startswith(
        "the GPU has no memory left for another 2.50 GiB:"
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("jobs", "trainer", "seen"),
    [
        (2, "gpu", {0: "4", 1: "7"}),
        (3, "gpu", {0: "4", 1: "7", 2: "4"}),
        (1, "gpu", dict.fromkeys(range(3), "4,7")),
        (2, "cpu", dict.fromkeys(range(3), "4,7")),
    ],
)
def test_a_sweep_divides_its_jobs_among_the_gpus(jobs, trainer, seen, tmp_path, monkeypatch):
    """Each job fails with the name of what it sees, which is then in its row."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")

    def says_what_it_sees(cfg):
        raise UserError(f"sees {os.environ['CUDA_VISIBLE_DEVICES']}")

    monkeypatch.setattr(tl_lab.run.experiment, "run", says_what_it_sees)
    assert sweep(tmp_path / "sweep", "seed=0,1,2", f"trainer={trainer}", f"hydra.launcher.jobs={jobs}") == 1
    rows = pd.read_csv(tmp_path / "sweep" / "results.csv").set_index("seed")["error"]
    found = {seed: rows[seed].partition("sees ")[2] for seed in range(3)}
    assert {seed: found[seed] for seed in seen} == seen
    assert set(found.values()) <= ({"4", "7"} if jobs > 1 and trainer == "gpu" else {"4,7"})
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,7"


def test_a_job_takes_the_gpu_of_the_one_that_has_ended(monkeypatch):
    """Two at once on two GPUs: while the first one runs, the others follow each other on the second GPU."""

    class Named:
        def __init__(self, number):
            self.number, self.name, self.overrides = number, str(number), []

        def run(self, tell, gpu=None):
            time.sleep(1.5 if self.number == 0 else 0.1)
            return {"value": float(gpu)}

        def settle(self, *given, **options):
            return {"status": "completed"}

    monkeypatch.setattr(running, "gpus", lambda: ["4", "7"])
    progress = SweepProgress(at_once=2)
    progress.start(total=4)
    ended = running.run_jobs([Named(number) for number in range(4)], 2, progress)  # type: ignore[misc]
    progress.stop()
    assert [one.return_value for one in ended] == [4.0, 7.0, 7.0, 7.0]
