"""The benchmark of GPUs: it tries every choice, or names it as left out, and keeps what it does not reach."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tl_lab.config import choices, compose
from tl_lab.run.pairing import check_modality, check_pairing
from tl_lab.run.plan import Plan
from tl_lab.training.seen_replayed import GROUPS

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
TRIED = (*GROUPS, "scheduler", "augmentation", "callbacks", "validator", "data", "trainer")


@pytest.fixture(scope="module")
def runs():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import gpu_runs

        yield gpu_runs
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def cases(runs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return runs.cases("gpu", runs.files(tmp_path_factory.mktemp("own"), write=False))


def test_every_choice_is_tried_or_left_out_with_its_reason(runs, cases) -> None:
    every = {f"{group}={name}" for group in TRIED for name in choices(group)[group]}
    assert len(every) > 170
    assert every - set(cases) == set(runs.LEFT_OUT)
    assert not {name for name in runs.LEFT_OUT if name.partition("=")[0] in GROUPS}
    assert all(runs.LEFT_OUT.values())
    others = {"trainer.precision", "precision_of_matmul", "update.compile"}
    assert {name.partition("=")[0] for name in set(cases) - every} == others


@pytest.mark.parametrize("group", GROUPS)
def test_the_choices_of_an_update_fit_each_other(group, cases) -> None:
    """Their tiny runs are composed, and no pairing of theirs is refused."""
    for name, options in cases.items():
        if name.partition("=")[0] != group or name in ("strategy=distillation", "adapter=qlora"):
            continue  # they look for the teacher's files, and for a GPU
        plan = Plan.of(compose(list(dict.fromkeys([*options, name]))))
        check_modality(plan)
        check_pairing(plan)


def test_results_that_are_not_reached_are_kept(runs) -> None:
    import gpu

    stored = {"a=1": {"plain": "completed"}, "a=2": {"plain": "failed"}}
    found = {"a=1": {"plain": runs.NOT_TRIED}, "a=2": {"plain": "completed"}, "a=3": {"plain": runs.NOT_TRIED}}
    merged = gpu.merged(stored, found, "of the code")
    assert merged["a=2"].pop("commit") == "of the code"
    assert merged == {"a=1": stored["a=1"], "a=2": found["a=2"], "a=3": found["a=3"]}


def test_a_run_is_observed_by_its_weights_and_replays(runs) -> None:
    """The distance of two runs is a share of the distance that training moved the weights."""
    start = torch.zeros(2)
    plain = runs._Seen(start=start, end=torch.tensor([3.0, 4.0]))
    assert runs._Seen(replays=2, start=start, end=torch.tensor([3.0, 4.5])).apart_from(plain) == pytest.approx(0.1)
    assert runs._Seen(replays=2, start=start, end=start).apart_from(plain) == pytest.approx(1.0)  # replays did nothing
    assert runs._Seen().apart_from(plain) is None


def test_a_tiny_run_is_observed(runs, tmp_path: Path) -> None:
    found = runs._one("strategy=naive", runs.STREAM, "cpu", str(tmp_path))
    assert found["plain"] == "completed"


def test_kernels_are_summed_by_kind(runs) -> None:
    import gpu_steps

    def seen(name: str, microseconds: float, count: int) -> SimpleNamespace:
        return SimpleNamespace(key=name, self_device_time_total=microseconds, count=count)

    averages = [
        seen("multi_tensor_apply_kernel<FusedOptimizerTensorListMetadata>", 30.0, 10),
        seen("multi_tensor_apply_kernel<TensorListMetadata>", 10.0, 5),
        seen("sm80_xmma_gemm_f32f32", 50.0, 20),
        seen("vectorized_elementwise_kernel", 5.0, 10),
        seen("cudaStreamIsCapturing", 0.0, 99),
    ]
    kinds = {"fused optimizer": 3.0, "lists of tensors": 1.0, "others": 0.5, "products and convolutions": 5.0}
    assert gpu_steps.kernels(averages, 10) == {"busy_us": 9.5, "launches": 4.5, "kinds_us": kinds}


def test_without_a_gpu_it_says_so_and_stores_nothing(runs, tmp_path: Path, monkeypatch, capsys) -> None:
    import gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "parts_of", lambda *given: pytest.fail("something is measured"))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--output", str(tmp_path / "gpu.json")])
    gpu.main()
    assert capsys.readouterr().out == "There is no GPU here: nothing is measured.\n"
    assert not list(tmp_path.iterdir())


def test_everything_ends_within_five_minutes(runs) -> None:
    """By the stored times: the choices stop early enough for those that still run, and for what comes after them."""
    import gpu

    stored = json.loads(gpu.RESULTS.read_text())
    seconds = {name: time for name, time in stored["seconds"].items() if name != "choices"}
    steps = sum(time for name, time in seconds.items() if name.startswith("steps/"))
    longest = max(one.get("seconds", 0.0) for one in stored["choices"].values())
    after = longest + sum(seconds.values()) - steps
    assert after < gpu._AFTER_CHOICES_S
    assert steps < gpu.SECONDS - gpu._AFTER_CHOICES_S, "no choice would be tried"
    assert gpu.SECONDS - gpu._AFTER_CHOICES_S + after < 300
