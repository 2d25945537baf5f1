"""Concurrent jobs use the GPUs of a machine in turn, a free one first."""

import os
from types import SimpleNamespace

import pytest
import torch

from tl_lab.run.experiment import out_of_memory
from tl_lab.sweeps import jobs as jobs_of_sweeps
from tl_lab.sweeps.devices import free_place, gpu_at, gpus, takes_one_gpu
from tl_lab.sweeps.jobs import Job


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
