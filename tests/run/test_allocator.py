"""Freed memory is reused: the second tensor of a size causes no work in the kernel."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tl_lab.run.allocator import keep_freed_memory

_FAULTS = """
import resource, torch
from tl_lab.run.allocator import keep_freed_memory
set_ = keep_freed_memory() if {keep} else None
for _ in range(20):  # until there is room for it beside what else is allocated
    torch.ones(16_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16_000_000)
print(set_, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / 6.4e8)
"""


def _faults(keep: bool) -> tuple[str, float]:
    """Return what was returned, and the share of ten tensors' bytes that the kernel mapped anew."""
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS.format(keep=keep)], capture_output=True, text=True, check=True, env={}
    )
    accepted, share = done.stdout.split()
    return accepted, float(share)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have other allocators")
def test_a_tensor_of_the_same_size_takes_the_same_memory() -> None:
    huge = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if resource.getpagesize() != 4096 or (huge.exists() and "[always]" in huge.read_text()):
        pytest.skip("counts pages of 4096 bytes, and this system has larger ones")
    accepted, share = _faults(keep=True)
    if accepted == "False":
        pytest.skip("this C library cannot be told")
    assert share < 0.1
    assert _faults(keep=False)[1] > 0.5  # else there is nothing to keep, and the test shows nothing


def test_a_users_own_choice_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()
